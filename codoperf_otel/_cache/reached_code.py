"""What a function reaches by the names in it: functions, classes and constants of the program's own code.

Each object is described once, with numbers in place of those that it refers to, so nothing recurses. What
cannot be described exactly leaves a gap: a global that may change, a C function, an import inside a function.
What a function brings along in its closure has no name by which others could find it. So there is no scope if
that cannot be described.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Hashable, Iterable
from types import ModuleType
from typing import Any

from codoperf_otel._cache.bytecode import Names
from codoperf_otel._cache.descriptions import Found, describe, refer_to_global
from codoperf_otel._cache.digests import NotPortableError, digest
from codoperf_otel._cache.encoding import encode, is_immutable
from codoperf_otel._cache.installed import Home, home
from codoperf_otel._cache.members import has_full_name, members_of

MOST_OBJECTS = 200

_FINDS_ATTRIBUTES = frozenset({"getattr", "attrgetter", "methodcaller", "__dict__", "__getattribute__"})


class Reach:
    """What these functions reach.

    Raises:
        NotPortableError: what one of them brings along cannot be described.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.parts: list[Hashable] = []
        self.objects: dict[str, None] = {}
        self.modules: dict[str, None] = {}
        self.distributions: set[str] = set()
        self.gap: str | None = None
        self._homes: dict[str, Home] = {}
        self._count = 0
        self._numbers: dict[int, int] = {}
        self._constants: dict[Hashable, str] = {}
        self._kept: list[Any] = []  # so that no later object gets the identity of one
        self._waiting: deque[Found] = deque()
        self._names: dict[str, None] = {}
        self._modules: list[tuple[ModuleType, set[str]]] = []
        for root in roots:
            name = f"{root.__module__}.{root.__qualname__}"
            self.parts.append(self.refer(Found(root, name, is_brought=True, is_root=True)))
        self._walk()
        self._check_modules()

    def _walk(self) -> None:
        while self._waiting:
            self._visit(self._waiting.popleft())
            if not self._waiting and self.gap is None:
                self._look_into_modules()

    def _visit(self, found: Found) -> None:
        if found.is_brought or self.gap is None:
            self.parts.append((self._numbers[id(found.value)], describe(found, self)))
        elif has_full_name(found.value):
            self.home_of(found.value.__module__)

    def refer(self, found: Found) -> Hashable:
        """What stands for an object where another refers to it: its number, or a constant's digest."""
        if is_immutable(found.value) and not found.is_root:
            if found.is_global and found.name not in self.objects:
                self._add(found)
            return self._digest(encode(found.value))
        number = self._numbers.setdefault(id(found.value), len(self._kept))
        if number == len(self._kept):
            self._kept.append(found.value)
            self._add(found)
            (self._waiting.appendleft if found.is_brought else self._waiting.append)(found)
        return number

    def _digest(self, constant: Hashable) -> str:
        """Most constants are annotations, of which many are the same."""
        known = self._constants.get(constant)
        if known is None:
            known = self._constants[constant] = digest(constant)
        return known

    def _add(self, found: Found) -> None:
        self._count += 1
        if has_full_name(found.value) or is_immutable(found.value):
            self.objects[found.name] = None
        if self._count > MOST_OBJECTS:
            self.leave_gap(f"more than {MOST_OBJECTS} objects are reached")

    def leave_gap(self, reason: str) -> None:
        """Note that something cannot be described; the first reason counts."""
        self.gap = self.gap or reason

    def home_of(self, module: str) -> Home:
        """Where a module that something was found in comes from; it counts from now on."""
        known = self._homes.get(module)
        if known is None:
            known = self._homes[module] = home(module)
            self.distributions.update(known.distributions)
            if not known.is_outside:
                self.modules[module] = None
        return known

    def use(self, names: Names) -> None:
        """Take the names in a function for attributes of all modules that are reached."""
        self._names.update(dict.fromkeys(names.used))

    def look_into(self, module: ModuleType) -> None:
        """Reach what the names find in a module."""
        self._modules.append((module, set()))

    def _look_into_modules(self) -> None:
        for module, known in self._modules:
            members = members_of(module)
            for name in [name for name in self._names if name in members and name not in known]:
                known.add(name)
                found = refer_to_global(members[name], f"{members['__name__']}.{name}", self)
                self.parts.append((self._numbers[id(module)], name, found))

    def _check_modules(self) -> None:
        """Whether names may find more in these modules than they do now."""
        used = self._names.keys()
        for module, _ in self._modules:
            members = members_of(module)
            for name in sorted(used & _FINDS_ATTRIBUTES):
                self.leave_gap(f"{members['__name__']} may be asked for anything by {name}")
            for name in sorted(used & _modules_in(members.get("__path__", ())) - members.keys()):
                self.leave_gap(f"{members['__name__']}.{name} is not imported yet")


def _modules_in(folders: Iterable[str]) -> set[str]:
    try:
        return {entry.partition(".")[0] for folder in folders for entry in os.listdir(folder)}
    except OSError as error:
        raise NotPortableError(str(error)) from None
