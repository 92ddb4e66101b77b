"""Operations that say in the log what they took."""

from __future__ import annotations

import asyncio
import logging
import pickle

import pytest
from fresh_memory import fresh
from opentelemetry import trace

from codoperf_otel._readings import memory
from codoperf_otel.performance_monitor import (
    clear_performance_metrics,
    get_performance_stats,
    profile_memory_usage,
    track_resource_usage,
)

MIB = 1 << 20


@pytest.fixture
def logged(caplog):
    """The log of this package's operations."""
    caplog.set_level(logging.INFO, "codoperf_otel.performance_monitor")
    clear_performance_metrics()
    return caplog


def test_a_tracked_block_is_an_operation_with_a_log_record(logged, telemetry, no_collection):
    """Span, histogram and statistics are those of an operation; one INFO record says what it took."""
    with track_resource_usage("load"):
        fresh(60).close()
    span = telemetry.span("load")
    assert span.attributes["codoperf.operation.name"] == "load"
    assert list(telemetry.values("codoperf.operation.duration").values()) == [1]
    assert get_performance_stats("load")["total_calls"] == 1
    (record,) = logged.records
    assert (record.levelname, record.operation) == ("INFO", "load")
    assert record.duration == pytest.approx((span.end_time - span.start_time) / 1e9)
    assert record.memory_start_mb * MIB == span.attributes["codoperf.process.memory.start"]
    assert record.memory_end_mb * MIB == span.attributes["codoperf.process.memory.end"]
    assert record.memory_peak_mb * MIB == span.attributes["codoperf.process.memory.peak"]
    assert record.memory_peak_mb - record.memory_start_mb > 55
    assert not hasattr(record, "error")


def test_the_message_holds_the_figures(logged):
    """Without a span, too, the message has name, duration, and memory at start, end and peak."""
    with track_resource_usage("load"):
        pass
    (record,) = logged.records
    assert record.getMessage() == (
        f"load: {record.duration:.3f} s, memory {record.memory_start_mb:.1f} MiB at start, "
        f"{record.memory_end_mb:.1f} MiB at end, {record.memory_peak_mb:.1f} MiB at peak"
    )


def test_a_block_that_fails_says_how(logged):
    """The exception leaves unchanged, and its class is in the record."""
    error = KeyError("mine")
    with pytest.raises(KeyError) as raised, track_resource_usage("load"):
        raise error
    assert raised.value is error
    assert logged.records[0].error == "KeyError"
    assert logged.records[0].getMessage().endswith(", failed with KeyError")


def test_memory_that_cannot_be_read_is_unknown(logged, monkeypatch):
    """Where the platform tells no memory, the fields are None, not 0."""
    monkeypatch.setattr(memory, "rss", lambda: None)
    with track_resource_usage("load"):
        pass
    (record,) = logged.records
    assert (record.memory_start_mb, record.memory_end_mb, record.memory_peak_mb) == (None, None, None)
    assert "memory unknown" in record.getMessage()


def test_the_record_is_logged_under_its_own_span(caplog, telemetry):
    """Who adds trace and span id to records finds the operation's."""
    seen = []
    logger = logging.getLogger("codoperf_otel.performance_monitor")
    caplog.set_level(logging.INFO, logger.name)
    keep = lambda record: seen.append(trace.get_current_span().get_span_context()) or True  # noqa: E731
    logger.addFilter(keep)
    try:
        with track_resource_usage("load"):
            pass
    finally:
        logger.removeFilter(keep)
    assert seen == [telemetry.span("load").context]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_profiled_function_is_recorded_under_its_name(logged, telemetry, no_collection):
    """The statistics have its name, telemetry the qualified one; it stays what it was."""

    @profile_memory_usage
    def load(size: int) -> int:
        """Take some."""
        with fresh(size) as block:
            return len(block)

    assert load(60) == 60 * MIB
    assert (load.__name__, load.__doc__) == ("load", "Take some.")
    qualified = f"{__name__}.{load.__qualname__}"
    assert telemetry.span(qualified).attributes["codoperf.operation.name"] == qualified
    assert get_performance_stats("load")["total_calls"] == 1
    (record,) = logged.records
    assert record.operation == "load"
    assert record.memory_peak_mb - record.memory_start_mb > 55


def test_every_kind_of_function_can_be_profiled(logged):
    """A coroutine function and a generator function each log one record when they end."""

    @profile_memory_usage
    async def fetch() -> int:
        await asyncio.sleep(0)
        return 1

    @profile_memory_usage
    def count():
        yield 1
        yield 2

    assert asyncio.run(fetch()) == 1
    assert list(count()) == [1, 2]
    assert [record.operation for record in logged.records] == ["fetch", "count"]


@profile_memory_usage
def profiled() -> int:
    """At module level, so that it can be pickled."""
    return 1


def test_a_profiled_function_can_be_pickled():
    """It goes to another process by reference."""
    assert pickle.loads(pickle.dumps(profiled)) is profiled


def test_switched_off_the_function_itself_is_given_back(monkeypatch):
    """With the package disabled a decorator leaves the function alone."""
    monkeypatch.setenv("CODOPERF_OTEL_ENABLED", "false")
    assert profile_memory_usage(len) is len


def test_what_cannot_be_called_is_refused():
    """Decorating something else says so."""
    with pytest.raises(TypeError, match="not 3"):
        profile_memory_usage(3)


def test_a_handler_that_tracks_is_called_once_per_operation(caplog):
    """What a log handler does is no telemetry: what it tracks is counted, and not logged again."""

    class Tracking(logging.Handler):
        def emit(self, record):
            with track_resource_usage("in the handler"):
                said.append(record.operation)

    said = []
    caplog.set_level(logging.INFO, "codoperf_otel.performance_monitor")
    log = logging.getLogger("codoperf_otel.performance_monitor")
    log.addHandler(handler := Tracking())
    try:
        with track_resource_usage("outside"):
            pass
    finally:
        log.removeHandler(handler)
    assert said == ["outside"]
