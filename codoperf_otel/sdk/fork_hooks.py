"""Hooks at forks that end with their set-up: what Python is told of once, it calls for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from opentelemetry.sdk.version import __version__

_FORGETS_WHAT_IS_GONE = (1, 45)

_kept: list[object] = []


class _Hooks(NamedTuple):
    before: Callable[[], object]
    in_parent: Callable[[], object]
    in_child: Callable[[], object]


class _Thread(threading.local):
    def __init__(self) -> None:
        self.begun: list[tuple[ForkHooks, _Hooks]] = []


_thread = _Thread()


class ForkHooks:
    """Called at each fork until `leave`. What was called before a fork is called after it in any case.

    Those that are made last are called first before a fork, and last after it.
    """

    __slots__ = ("_hooks",)

    def __init__(
        self,
        before: Callable[[], object],
        in_parent: Callable[[], object],
        in_child: Callable[[], object],
    ) -> None:
        self._hooks: _Hooks | None = _Hooks(before, in_parent, in_child)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def leave(self) -> None:
        """Be called no more, and keep nothing."""
        self._hooks = None

    def _before(self) -> None:
        hooks = self._hooks
        if hooks is not None:
            _thread.begun.append((self, hooks))
            hooks.before()

    def _in_parent(self) -> None:
        if hooks := self._begun():
            hooks.in_parent()

    def _in_child(self) -> None:
        if hooks := self._begun():
            hooks.in_child()

    def _begun(self) -> _Hooks | None:
        begun = _thread.begun
        return begun.pop()[1] if begun and begun[-1][0] is self else None


def outlive(parts: Iterable[object]) -> None:
    """Keep processors and readers of the SDK's, where it prints an error at each fork once they are gone."""
    if tuple(map(int, __version__.split(".")[:2])) < _FORGETS_WHAT_IS_GONE:
        _kept.extend(parts)
