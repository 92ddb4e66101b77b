"""Attributes that are known to need no cleaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCALARS = frozenset({str, int, float, bool})


class CleanAttributes(dict[str, Any]):
    """Names to strings, numbers and truth values: an SDK would keep each as it is."""


def cleaned(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as `CleanAttributes` if they are such, else as they are.

    >>> type(cleaned({"rows": 3})).__name__, type(cleaned({"rows": [3]})).__name__
    ('CleanAttributes', 'dict')
    """
    clean = all(type(name) is str and name and type(value) in SCALARS for name, value in attributes.items())
    return CleanAttributes(attributes) if clean else dict(attributes)
