"""The pytest fixtures `capture_telemetry` and `empty_cache`.

They stand outside of the package because every pytest run of an environment loads it: in there, it would
import the package and OpenTelemetry for tests that use neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from codoperf_otel.testing import CapturedTelemetry


@pytest.fixture
def capture_telemetry() -> Iterator[CapturedTelemetry]:
    """The spans, events and metrics of codoperf_otel that the test makes, as plain data."""
    from codoperf_otel import testing

    with testing.capture_telemetry() as captured:
        yield captured


@pytest.fixture
def empty_cache() -> Iterator[None]:
    """Every cache of codoperf_otel is empty when the test begins, and leaves nothing behind."""
    from codoperf_otel import testing

    with testing.empty_cache():
        yield
