"""Values as bytes. JSON, for the values that come back from it exactly as they were."""

from __future__ import annotations

from typing import Any

JSON = "json"

_SCALARS = frozenset({type(None), bool, int, float, str})


def encode(value: Any) -> bytes | None:
    """The value as JSON; None where JSON would give back another value or another type.

    >>> encode({"a": [1, None]}), encode((1, 2)), encode(float("nan"))
    (b'{"a":[1,null]}', None, None)
    """
    import json

    try:
        if not _exact(value):
            return None
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RuntimeError):  # NaN, lone surrogates, huge integers; cycles, changes meanwhile
        return None


def decode(data: bytes) -> Any:
    """The value again.

    Raises:
        ValueError: `data` is not what `encode` made.
    """
    import json

    return json.loads(data)


def _exact(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return all(map(_exact, value))
    return kind is dict and all(type(key) is str for key in value) and all(map(_exact, value.values()))
