"""Numbers and names as short text."""

from __future__ import annotations

from typing import TypeGuard

_TOO_MUCH = 1e300
DASH = "\u2013"
TIMES = "\u00d7"
_REPLACEMENT = "�"


def duration(seconds: float | None) -> str:
    """Three significant figures and a unit: ``1.23 s``, ``45.6 ms``; from two minutes on as ``2 min 5 s``."""
    if not _is_shown(seconds):
        return DASH
    for limit, unit, scale in ((1, "s", 1.0), (1e-3, "ms", 1e3), (1e-6, "µs", 1e6), (1e-9, "ns", 1e9)):
        if abs(seconds) >= limit * 0.9995:
            return _long(seconds) if abs(seconds) >= 120 else f"{_figures(seconds * scale)} {unit}"
    return "0 s"


def _long(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def memory(size: float | None) -> str:
    """A size with a binary unit and, below ten, one decimal: ``148 MiB``, ``3.1 MiB``."""
    if not _is_shown(size):
        return DASH
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= scale:
            return f"{size / scale:.{0 if abs(size) >= 9.5 * scale else 1}f} {unit}"
    return f"{size:.0f} B"


def growth(size: float | None) -> str:
    """As :func:`memory`, with a sign."""
    return DASH if not _is_shown(size) else f"{'+' if size >= 0 else ''}{memory(size)}"


def percent(ratio: float | None) -> str:
    """A percentage, below ten with one decimal."""
    return DASH if not _is_shown(ratio) else f"{100 * ratio:.{0 if ratio >= 0.0995 or not ratio else 1}f} %"


def number(value: float | None) -> str:
    """A count with separators of thousands."""
    return f"{value:,.0f}" if _is_shown(value) else DASH


def plural(count: int, noun: str) -> str:
    """``1 span``, ``2 spans``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def times(count: int) -> str:
    """A multiplication sign and the count; nothing for a count of one."""
    return f" {TIMES}{count:,}" if count > 1 else ""


def clean(text: str) -> str:
    """Text from data as one printable line, that can neither move the cursor nor reverse the writing."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _REPLACEMENT for char in " ".join(text.split()))


def _is_shown(value: float | None) -> TypeGuard[float]:
    """Whether there is a number that fits in a cell: a sum may overflow."""
    return value is not None and abs(value) < _TOO_MUCH


def _figures(value: float) -> str:
    size = abs(value)
    return f"{value:.{0 if size >= 99.95 else 1 if size >= 9.995 else 2}f}"
