"""What is done in a forked child: the only place that asks the operating system for it, but for `sdk/`.

The pipeline of `sdk/` has hooks of its own, because they must run after the SDK's, which a program may import
late.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock
from time import sleep
from typing import TypeVar

ROOMS = ("_telemetry", "_readings", "_statistics", "_calls", "_cache", "_children", "_workers", "_frameworks")
"""The order in which rooms begin anew: each relies on those before it."""

Hook = TypeVar("Hook", bound=Callable[[], object])

_LONGEST_WAIT = 2.0

generation = 0
"""How many forks lie between the first process and this one. Read it as an attribute of this module."""

_hooks: dict[str, list[Callable[[], object]]] = {room: [] for room in ROOMS}
_hooks_before: list[Callable[[], object]] = []


def in_child(hook: Hook) -> Hook:
    """Call `hook` in every forked child, after the hooks of the rooms before its own.

    Within a room, hooks run in the order of their registration. A hook takes no lock: a thread that is not in
    the child may hold it, so a hook replaces locks by new ones.
    """
    room = hook.__module__.split(".")[1]
    _hooks[room].append(hook)
    return hook


def before_fork(hook: Hook) -> Hook:
    """Call `hook` before each fork, in the thread that forks."""
    _hooks_before.append(hook)
    return hook


class ForkSafeLock:
    """A reentrant lock that no other thread has when the process forks: a child finds nothing done by half.

    ``with safe.lock`` takes it: a context manager written in Python could be interrupted between its steps. A
    fork waits for it, though not for ever. It is there as long as the process.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.is_wanted = False
        _fork_safe.append(self)

    def give_way(self) -> None:
        """Let a fork that waits go first: a thread that takes the lock again and again would keep it."""
        if self.is_wanted:
            sleep(0.001)

    def hold(self) -> None:
        """Take it before a fork."""
        self.is_wanted = True
        self.lock.acquire(timeout=_LONGEST_WAIT)

    def let_go(self) -> bool:
        """Give it back after a fork; False if another thread kept it for longer than this one waited."""
        self.is_wanted = False
        try:
            self.lock.release()
        except RuntimeError:
            return False
        return True

    def begin_anew(self) -> None:
        """Give it back in the child too, where a thread that is not there may have it."""
        if not self.let_go():
            self.lock = RLock()


_fork_safe: list[ForkSafeLock] = []
importing = ForkSafeLock()
"""Held while this package imports something late: a child would wait for a module that is half imported."""


def _before() -> None:
    for hook in _hooks_before:
        hook()
    for lock in _fork_safe:
        lock.hold()


def _after_in_parent() -> None:
    for lock in reversed(_fork_safe):
        lock.let_go()


def _begin_anew() -> None:
    global generation
    generation += 1
    for lock in _fork_safe:
        lock.begin_anew()
    failure: BaseException | None = None
    for hook in [hook for room in ROOMS for hook in _hooks[room]]:
        try:
            hook()
        except BaseException as error:  # the others begin anew all the same
            failure = failure or error
    if failure is not None:
        raise failure  # which Python prints


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_begin_anew)
