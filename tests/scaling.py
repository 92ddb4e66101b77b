"""How much of a heavy count is run: a twentieth, or what ``CODOPERF_OTEL_TEST_SCALE`` says (1: all)."""

from __future__ import annotations

import os

import pytest

SHARE = float(os.environ.get("CODOPERF_OTEL_TEST_SCALE", "0.05"))


def scaled(full: int) -> int:
    """So many of a full count."""
    return max(1, round(full * SHARE))


soak_only = pytest.mark.skipif(SHARE < 1, reason="takes minutes, and says little when it is short: make soak")
