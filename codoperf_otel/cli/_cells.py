"""Figures as cells of a table."""

from __future__ import annotations

from rich.text import Text

from codoperf_otel.cli import _format

HOT = 0.2


def cell(text: str, style: str = "") -> Text:
    """A figure; one that was not measured is dim."""
    return Text(text, "dim" if text == _format.DASH else style)


def heat(share: float | None) -> str:
    """The style of a figure by its share of the whole."""
    return "bold yellow" if share is not None and share >= HOT else ""
