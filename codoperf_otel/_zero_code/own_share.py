"""Which share of a run's CPU time telemetry took, measured by samples."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import process_time_ns
from types import FrameType

import opentelemetry

from codoperf_otel._telemetry.interrupts import raise_interrupt

_INTERVAL = 0.02
"""Seconds between two samples."""

_OURS = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parent.parent, *opentelemetry.__path__))
_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
_CARRIERS = frozenset({"grpc", "google", "requests", "urllib3"})


class OwnShare:
    """Reads now and then how much CPU time each thread has used since, and whose code it is in."""

    def __init__(self) -> None:
        self._ns = process_time_ns()  # the package was loaded and set up
        self._seen: dict[int | None, int | None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="codoperf-share", daemon=True)

    def begin(self) -> None:
        """Begin to read, where the system tells the CPU time of a thread."""
        used = {each.ident: _cpu_ns(each.native_id or 0) for each in threading.enumerate()}
        if used[threading.get_ident()] is not None:
            self._seen = used
            self._thread.start()

    def end(self) -> float | None:
        """The share so far; None where it could not be measured."""
        if not self._thread.is_alive():
            return None
        self._ended.set()
        self._thread.join()
        return min(1.0, self._ns / process_time_ns())

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        # read before: to read gives way to threads, and who holds their frames holds what they let go of
        used = {thread.ident: _cpu_ns(thread.native_id or 0) for thread in threading.enumerate()}
        for ident, ns in used.items():
            since = (ns or 0) - (self._seen.get(ident) or 0)
            if since > 0 and ident is not None and _is_ours(sys._current_frames().get(ident)):
                self._ns += since
        self._seen.update(used)


def _cpu_ns(native_id: int) -> int | None:
    """The CPU time of a thread of this process."""
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_bytes().split()[0])
    except (OSError, ValueError, IndexError) as error:
        raise_interrupt(error)
        return None


def _is_ours(frame: FrameType | None) -> bool:
    """Whether the code that runs, or that called what both use, is telemetry's."""
    return next((file.startswith(_OURS) for file in _files(frame) if not _is_anybodys(file)), False)


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


def _is_anybodys(file: str) -> bool:
    """Whether it is of the standard library, or of what carries telemetry."""
    if file.startswith("<frozen "):
        return True
    if "site-packages" in file:
        return file.rpartition("site-packages")[2][1:].partition(os.sep)[0] in _CARRIERS
    return file.startswith(_LIBRARY)
