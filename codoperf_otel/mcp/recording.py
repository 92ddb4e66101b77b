"""A recording that may still grow: it is read again where its files have changed."""

from __future__ import annotations

from pathlib import Path

from mcp.server.mcpserver.exceptions import ToolError

from codoperf_otel._report.files import FILES, UnreadableError, read
from codoperf_otel._report.model import Telemetry


class Recording:
    """The telemetry of one file or folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[object, Telemetry] | None = None

    def telemetry(self) -> Telemetry:
        """What is in it now.

        Raises:
            ToolError: there is nothing to read; the client is told.
        """
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
