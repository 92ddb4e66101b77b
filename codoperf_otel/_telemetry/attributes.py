"""What attributes and points may hold without cleaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NANOSECOND_DIGITS = 9
"""Decimal places of seconds. What a sum has beyond them is rounding errors."""

SCALARS = frozenset({str, int, float, bool})


class CleanAttributes(dict[str, Any]):
    """Attributes that an SDK would keep as they are: strings, numbers and truth values by name."""

    __slots__ = ()


def cleaned(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as `CleanAttributes` if they are such, else as they are.

    >>> type(cleaned({"rows": 3})).__name__, type(cleaned({"rows": [3]})).__name__
    ('CleanAttributes', 'dict')
    """
    clean = all(type(name) is str and name and type(value) in SCALARS for name, value in attributes.items())
    return CleanAttributes(attributes) if clean else dict(attributes)
