"""What every kind of memory high-water mark has in common."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal, Protocol
from weakref import ref

Source = Literal["kernel", "sampled"]

MarkReading = tuple[int | None, int, Source, float]
"""Resident memory, its highest value and how that is known; CPU time of the process, in seconds."""


class Token:
    """What the windows hold while they are open."""

    __slots__ = ("__weakref__",)


Opening = tuple[Token, int, int, float]
"""Where a window begins: what it holds while it is open, its moment among the marks, resident memory, and
the CPU time of the process in seconds."""


class OpenWindows:
    """Whether any window is open: those that are hold one token, which nobody else does.

    So a window that nobody has any more is not open, as after an interrupt.

    >>> windows = OpenWindows()
    >>> token = windows.token()
    >>> bool(windows)
    True
    >>> del token
    >>> bool(windows)
    False
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known = ref(Token())

    def __bool__(self) -> bool:
        return self._known() is not None

    def token(self) -> Token:
        """The token, for one more window."""
        token = self._known()
        if token is None:
            token = Token()
            self._known = ref(token)
        return token


class OpenWindow(Protocol):
    """A window as its mark knows it."""

    token: Token | None
    """None once it is closed."""


class Mark(Protocol):
    """A high-water mark that windows are opened on."""

    def open(self) -> Opening | None:
        """Begin a window, open while somebody has its token; None where memory cannot be read."""
        ...

    def read(self, moment: int, closing: OpenWindow | None) -> MarkReading:
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
