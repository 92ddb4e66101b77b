"""Which imports of a program could wait until a function needs them, and what that saves.

A first run says what each import took. In a second one, those that only functions use are in these functions:
what is not imported then is what nobody else needs.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codoperf_otel._imports.costs import Import
from codoperf_otel._imports.moving import Moved, move, text_of
from codoperf_otel._imports.sources import Source, sources
from codoperf_otel._imports.uses import Name, Statement


@dataclass(frozen=True, slots=True)
class User:
    """The function that was the first to need a module, in the second run."""

    name: str
    file: str
    line: int


@dataclass(slots=True)
class Candidate:
    """An import statement that could wait, and what the second run said about it."""

    source: Source
    statement: Statement
    names: list[Name]
    """Those that could wait; others of the statement stay where they are."""
    saved_ns: int = 0
    """What the modules took that the second run did without."""
    put_off_ns: int = 0
    """What those took that a function imported later."""
    user: User | None = None
    goes_with_others: bool = False
    """Whether others save what they do only if this one waits, too."""

    @property
    def text(self) -> str:
        """The statement, as far as it could wait."""
        return text_of(self.statement.node, [name.alias for name in self.names])

    @property
    def saves(self) -> bool:
        """Whether it is to be changed."""
        return self.saved_ns > 0 or self.goes_with_others

    def has_asked_for(self, one: Import) -> bool:
        """Whether an import is this statement's."""
        first, line = self.statement.node.lineno, one.asked_line or 0
        return one.asked_file == self.source.file and first <= line <= self.statement.last_line


@dataclass(frozen=True, slots=True)
class Unknown:
    """An import statement of which nobody can tell whether it could wait."""

    statement: Candidate
    took_ns: int
    """More than this is not to be saved."""
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """The statements that could wait: what to try in a second run, and after `judge`, what came of it."""

    candidates: list[Candidate]
    unknown: list[Unknown]

    @property
    def changes(self) -> list[Candidate]:
        """Those to change, the most expensive first."""
        return sorted((one for one in self.candidates if one.saves), key=lambda one: -one.saved_ns)

    @property
    def put_off(self) -> list[Candidate]:
        """Those that functions needed later."""
        later = (one for one in self.candidates if not one.saves and one.put_off_ns)
        return sorted(later, key=lambda one: -one.put_off_ns)


def plan(roots: Sequence[Import], package: str | None, threshold: float) -> Advice:
    """What only functions use, of the imports that took *threshold* seconds or more.

    Args:
        roots: the imports of the first run.
        package: the package that was run, if any. It is the program's own also where it is installed.
        threshold: in seconds.
    """
    every = [one for root in roots for one in root.with_inner() if one.duration_ns >= threshold * 1e9]
    expensive = {one.name for one in every if one.error is None}
    found = Advice([], [])
    own = sources(roots, package)
    for source in own:
        for statement in source.statements:
            if expensive.isdisjoint(source.modules(statement.node)):
                continue
            names = [name for name in statement.names if not source.is_needed_at_once(statement, name, own)]
            used = [name for name in names if name.functions]
            if used and statement.block is None:
                found.candidates.append(Candidate(source, statement, used))
            elif len(names) == len(statement.names):
                found.unknown.extend(_unknown(Candidate(source, statement, names), roots, threshold))
    found.unknown.sort(key=lambda one: -one.took_ns)
    return found


def _unknown(candidate: Candidate, roots: Iterable[Import], threshold: float) -> Iterator[Unknown]:
    """It, if it took as long as the threshold: a module may have been imported by others before."""
    block, took_ns = candidate.statement.block, _took_ns(candidate, roots)
    if took_ns >= threshold * 1e9:
        yield Unknown(candidate, took_ns, f"in {block}" if block else "not used here")


def _took_ns(candidate: Candidate, imports: Iterable[Import]) -> int:
    return sum(
        one.duration_ns if candidate.has_asked_for(one) else _took_ns(candidate, one.inner) for one in imports
    )


def moves(candidates: Iterable[Candidate]) -> dict[str, Moved]:
    """The files of some statements, with these moved into functions."""
    by_file: dict[str, list[Candidate]] = {}
    for one in candidates:
        by_file.setdefault(one.source.file, []).append(one)
    return {
        file: move(these[0].source.text, [(one.statement, one.names) for one in these])
        for file, these in by_file.items()
    }


def judge(
    candidates: Sequence[Candidate],
    before: Iterable[Import],
    after: Iterable[Import],
    moved: dict[str, Moved],
) -> None:
    """Note on each statement what it saves. *after* is the second run, with all of them moved."""
    judgement = _Judgement(candidates, after, moved)
    for root in before:
        judgement.charge(root)
    for one in candidates:
        modules = set(one.source.modules(one.statement.node))
        ran = one.source.module not in judgement.saved
        one.goes_with_others = ran and not one.saved_ns and not modules.isdisjoint(judgement.saved)


class _Judgement:
    def __init__(
        self, candidates: Sequence[Candidate], after: Iterable[Import], moved: dict[str, Moved]
    ) -> None:
        self.saved: set[str] = set()
        self._candidates = candidates
        self._moved = moved
        self._users: dict[str, User | None] = {}
        for one in after:
            self._note(one, None)

    def _note(self, one: Import, user: User | None) -> None:
        """Note who imported it in the second run: a function, or who did before."""
        user = user or self._user(one)
        self._users.setdefault(one.name, user)
        for inner in one.inner:
            self._note(inner, user)

    def _user(self, one: Import) -> User | None:
        file = one.asked_file or ""
        moved = self._moved.get(file)
        function = moved.functions.get(one.asked_line or 0) if moved else None
        return None if function is None else User(function.name, file, function.lineno)

    def charge(self, one: Import, saves: Candidate | None = None, puts_off: Candidate | None = None) -> None:
        """Charge what an import took itself to the outermost statement it comes from that could wait."""
        asking = next((candidate for candidate in self._candidates if candidate.has_asked_for(one)), None)
        if one.name not in self._users:
            saves = saves or asking
            if saves is not None:
                saves.saved_ns += one.self_ns
                self.saved.add(one.name)
        elif self._users[one.name] is not None:
            puts_off = puts_off or asking
            if puts_off is not None:
                puts_off.put_off_ns += one.self_ns
                puts_off.user = puts_off.user or self._users[one.name]
        for inner in one.inner:
            self.charge(inner, saves, puts_off)


def patch(candidates: Iterable[Candidate]) -> bytes:
    """The changes as a unified diff, for ``patch -p1`` or ``git apply`` in the folder that `top` returns."""
    chosen = list(candidates)
    found = {one.source.file: one.source for one in chosen}
    below = top(chosen)
    return b"".join(
        line for file, moved in moves(chosen).items() for line in _diff(found[file], moved.source, below)
    )


def top(candidates: Iterable[Candidate]) -> Path:
    """The current folder, if the files of all statements are below it; else the root."""
    here = Path.cwd()
    is_below = all(one.source.path.is_relative_to(here) for one in candidates)
    return here if is_below else Path(here.anchor)


def _diff(source: Source, after: str, below: Path) -> Iterator[bytes]:
    name = source.path.relative_to(below).as_posix()
    old, new = (io.BytesIO(text.encode(source.encoding)).readlines() for text in (source.text, after))
    from_file, to_file = (os.fsencode(f"{side}/{name}") for side in "ab")
    for line in difflib.diff_bytes(difflib.unified_diff, old, new, from_file, to_file):
        yield line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
