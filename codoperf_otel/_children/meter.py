"""The meter of a call's child processes. It is opened by the first one: most calls start none."""

from __future__ import annotations

from collections.abc import Mapping
from threading import RLock
from typing import Any, Literal

from codoperf_otel import _forks
from codoperf_otel._calls.call import Call
from codoperf_otel._calls.meters import OpenMeter
from codoperf_otel._telemetry import names

Peak = tuple[int, Literal["kernel", "sampled"]]
"""The highest memory of a process in bytes, and how it is known."""


class OpenChildren(OpenMeter):
    """The child processes of a call that have ended while it runs: CPU time in ns, and peak, of each."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended: list[tuple[int, Peak | None]] = []

    def close(self, ended_ns: int) -> Mapping[str, Any]:  # noqa: ARG002
        """What they took, as attributes."""
        ended = self.ended
        if not ended:
            return {}
        measured: dict[str, Any] = {names.CPU_CHILD_PROCESS_TIME: sum(cpu_ns for cpu_ns, _ in ended) / 1e9}
        highest = max((peak for _, peak in ended if peak is not None), default=None)
        if highest is not None:
            measured[names.CHILD_PROCESS_MEMORY_PEAK] = highest[0]
            measured[names.CHILD_PROCESS_MEMORY_PEAK_SOURCE] = highest[1]
        return measured


_lock = RLock()


def meter_of(call: Call) -> OpenChildren:
    """The meter of a running call's child processes."""
    with _lock:
        if call.open_meters is None:
            call.open_meters = []
        for meter in call.open_meters:
            if isinstance(meter, OpenChildren):
                return meter
        made = OpenChildren()
        call.open_meters.append(made)
        return made


@_forks.in_child
def _forked() -> None:
    global _lock
    _lock = RLock()
