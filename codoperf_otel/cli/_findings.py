"""What ``codoperf doctor`` finds: one line per check."""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["ok", "note", "failed"]


class Finding(NamedTuple):
    """The outcome of a check. `advice` says what to do where it is not ``ok``."""

    check: str
    status: Status
    text: str
    advice: str | None = None


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def note(check: str, text: str, advice: str) -> Finding:
    """It works, but less well than it could."""
    return Finding(check, "note", text, advice)


def failed(check: str, text: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, "failed", text, advice)
