"""Errors that the user can mend."""

from __future__ import annotations

NEEDS_RICH = "this needs rich: pip install 'codoperf-otel[cli]'"


class CommandError(Exception):
    """Wrong input, or something that is missing: the text is one line for the user, the exit status 2."""
