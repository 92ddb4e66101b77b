"""Calls over gRPC and forks: gRPC aborts a child that was forked in the midst of a call of its parent's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from threading import Lock, get_ident
from types import FrameType

from codoperf_otel._telemetry.living import Living

_LONGEST_PAUSE = 0.1
_LONGEST_CUT = 1.0
_GIVE_WAY = 0.01


class Turn:
    """A lock that is held while something calls over gRPC. A fork waits for it, then ends the call."""

    def __init__(self, cut_short: Callable[[], object], is_hopeless: Callable[[], bool]) -> None:
        self._lock = Lock()
        self._cut_short = cut_short
        self._is_hopeless = is_hopeless
        self._thread = 0
        self._is_wanted = False
        _turns.add(self)

    def __enter__(self) -> None:
        if self._is_wanted:  # who takes it again at once would keep it from the fork
            time.sleep(_GIVE_WAY)
        self._lock.acquire()
        self._thread = get_ident()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._lock.locked()

    def pause(self, deadline: float) -> None:
        """Before a fork: let nobody begin. Whoever waits between two attempts is not in the way."""
        self._is_wanted = True
        seconds = 0.0 if self._is_hopeless() else max(0.0, deadline - time.monotonic())
        if not self._is_had_within(seconds) and _is_in_grpc(sys._current_frames().get(self._thread)):
            self._cut_short()
            self._is_had_within(_LONGEST_CUT)
        self._is_wanted = False

    def _is_had_within(self, seconds: float) -> bool:
        is_had = self._lock.acquire(timeout=seconds)
        if is_had:
            _paused.append(self._lock)
        return is_had


_turns: Living[Turn] = Living()
_paused: list[Lock] = []


def _is_in_grpc(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "grpc":
            return True
        frame = frame.f_back
    return False


def pause() -> None:
    """Before a fork: let no call be under way."""
    deadline = time.monotonic() + _LONGEST_PAUSE
    for turn in _turns:
        turn.pause(deadline)


def resume() -> None:
    """After a fork, in either process: let calls begin again."""
    while _paused:
        _paused.pop().release()


def begin_anew() -> None:
    """In a forked child: who was calling is not here."""
    resume()
    _turns.clear()
