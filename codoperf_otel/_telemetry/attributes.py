"""Attributes that are the same at every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCALARS = frozenset({str, int, float, bool})


class Constants(dict[str, Any]):
    """Attributes that need no cleaning: names to strings, numbers and truth values. Never changed."""


def constants(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as `Constants` if they are such, else as they are.

    >>> type(constants({"rows": 3})).__name__, type(constants({"rows": [3]})).__name__
    ('Constants', 'dict')
    """
    clean = all(type(name) is str and name and type(value) in SCALARS for name, value in attributes.items())
    return Constants(attributes) if clean else dict(attributes)
