"""What every kind of memory high-water mark has in common."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal, Protocol
from weakref import ref

Source = Literal["kernel", "sampled"]

MarkReading = tuple[int | None, int, Source, float]
"""Resident memory, its highest value and how that is known; CPU time of the process, in seconds."""


Opening = tuple[int, int, float]
"""Where a window begins: its moment among the marks, resident memory, CPU time of the process in seconds."""


class OpenWindows:
    """Whether any window is open. One that nobody has any more is not, as after an interrupt.

    >>> windows, window = OpenWindows(), Marks()
    >>> windows.add(window)
    >>> bool(windows)
    True
    >>> del window
    >>> bool(windows)
    False
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[ref[object]] = set()

    def __bool__(self) -> bool:
        return bool(self._known)

    def add(self, window: object) -> None:
        """It is open."""
        # `discard` is not Python code, in which the exception of a signal handler would be lost
        self._known.add(ref(window, self._known.discard))

    def remove(self, window: object) -> None:
        """It is closed."""
        self._known.discard(ref(window))


class Mark(Protocol):
    """A high-water mark that windows are opened on."""

    def open(self, window: object) -> Opening | None:
        """Begin a window, which is open as long as somebody has it; None where memory cannot be read."""
        ...

    def read(self, moment: int, closing: object) -> MarkReading:
        """The figures now and since the window's beginning; `closing` is the window at its end, else None."""
        ...


class Marks:
    """The highest of the marks noted since any earlier moment, in memory that does not grow with them.

    >>> marks = Marks()
    >>> for mark in (7, 3, 5):
    ...     marks.note(mark)
    >>> marks.since(0), marks.since(1), marks.since(3)
    (7, 5, 0)
    """

    def __init__(self) -> None:
        self.noted = 0
        # a mark is kept while it is above all later ones: the first one kept since a moment is the highest
        self._moments: list[int] = []
        self._highest: list[int] = []

    def note(self, mark: int) -> None:
        """Note the highest value between the note before and this one."""
        while self._highest and self._highest[-1] <= mark:
            self._highest.pop()
            self._moments.pop()
        self._moments.append(self.noted)
        self._highest.append(mark)
        self.noted += 1

    def since(self, moment: int) -> int:
        """The highest mark noted when ``noted`` was `moment` or more; 0 if there was none."""
        index = bisect_left(self._moments, moment)
        return self._highest[index] if index < len(self._highest) else 0
