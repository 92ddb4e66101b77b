"""What a command tells the user to change."""

from __future__ import annotations

NEEDS_RICH = "this needs rich: pip install 'codoperf-otel[cli]'"


class CommandError(Exception):
    """A wrong input or a missing part; its text is one line for the user, and the exit status is 2."""
