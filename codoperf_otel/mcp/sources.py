"""Where the answers come from: a recording, which may still grow, or a process that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mcp.server.mcpserver.exceptions import ToolError

from codoperf_otel._live.client import NoAnswerError, ask
from codoperf_otel._report import agents, caches, operations, regressions, resources
from codoperf_otel._report.agents import Agent
from codoperf_otel._report.caches import Cache
from codoperf_otel._report.files import FILES, UnreadableError, read
from codoperf_otel._report.model import Telemetry
from codoperf_otel._report.operations import Operation
from codoperf_otel._report.regressions import Durations
from codoperf_otel._report.resources import Resources

Row = TypeVar("Row")


class Source(Protocol):
    """What can be asked. Where nothing answers, each raises a `ToolError`: the client is told."""

    def operations(self) -> list[Operation]:
        """Every operation by agent, the one with the most CPU time first."""
        ...

    def agents(self) -> list[Agent]:
        """Every agent."""
        ...

    def caches(self) -> list[Cache]:
        """Every cache."""
        ...

    def resources(self) -> Resources:
        """What the programs used in all."""
        ...

    def durations(self) -> Durations:
        """The durations of the calls of each operation."""
        ...


class Recording:
    """The telemetry of one file or folder. It is read again where its files have changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[object, Telemetry] | None = None

    def operations(self) -> list[Operation]:
        return operations.operations(self._telemetry().spans)

    def agents(self) -> list[Agent]:
        telemetry = self._telemetry()
        return agents.agents(telemetry.spans, telemetry.points)

    def caches(self) -> list[Cache]:
        return caches.caches(self._telemetry().points)

    def resources(self) -> Resources:
        return resources.resources(self._telemetry())

    def durations(self) -> Durations:
        return regressions.durations(self._telemetry().spans)

    def _telemetry(self) -> Telemetry:
        state = self._state()
        if self._read is None or self._read[0] != state:
            try:
                self._read = state, read(self._path)
            except UnreadableError as error:
                raise ToolError(str(error)) from error
        return self._read[1]

    def _state(self) -> object:
        files = [self._path, *(self._path / name for name in FILES)]
        stats = [file.stat() for file in files if file.exists()]
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


class LiveProcess:
    """A process that listens; without a pid the only one that does, looked for at each question."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid

    def operations(self) -> list[Operation]:
        return self._rows("operations", Operation)

    def agents(self) -> list[Agent]:
        return self._rows("agents", Agent)

    def caches(self) -> list[Cache]:
        return self._rows("caches", Cache)

    def resources(self) -> Resources:
        return self._rows("resources", Resources)[0]

    def durations(self) -> Durations:
        return dict(self._asked("durations"))

    def _rows(self, question: str, row: Callable[..., Row]) -> list[Row]:
        return [row(**fields) for fields in self._asked(question)]

    def _asked(self, question: str) -> list[Any]:
        try:
            return ask(self._pid, question)
        except NoAnswerError as error:
            raise ToolError(str(error)) from error
