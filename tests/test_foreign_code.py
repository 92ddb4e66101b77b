"""Telemetry parts of the program itself: whether they fail or call monitored code, calls are counted."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import codoperf_otel as co

PROGRAM = Path(__file__).parent / "programs" / "foreign.py"
CALLS = 600

OWN_PROVIDERS = ("sampler", "span_ids", "metric_exporter", "exemplar_filter")
ANYWHERE = (
    "processor_at_start",
    "processor_at_end",
    "exporter",
    "exporter_of_batches",
    "log_handler",
    "log_of_a_tracked_call",
    "redaction",
    "argument",
    "exception_text",
)
CASES = [
    *((setup, part) for setup in ("instrument", "lean spans") for part in (*OWN_PROVIDERS, *ANYWHERE)),
    *(("configure", part) for part in ANYWHERE),
]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(scope="session")
def became(tmp_path_factory):
    """What became of the calls of a case; the program of a set-up tries all its cases once."""

    @cache
    def outcomes(setup):
        arguments = [sys.executable, PROGRAM, setup, tmp_path_factory.mktemp("foreign")]
        done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return lambda setup, case: outcomes(setup)[case]


def assert_calls_are_whole(outcome):
    """The program noticed nothing, and nothing is left."""
    assert outcome is not None, "it hung or broke"
    assert outcome["escaped"] == []
    assert outcome["function"] == CALLS
    assert not outcome["current"]


@forks
@pytest.mark.parametrize(("setup", "part"), CASES)
def test_a_part_that_fails(became, setup, part):
    """Calls return what they return, every one is in statistics and metrics, and it is reported once."""
    outcome = became(setup, f"{part} fails")
    assert_calls_are_whole(outcome)
    assert outcome["asked"]
    assert outcome["logged"] <= 2
    if part in ("sampler", "span_ids", "processor_at_start", "processor_at_end", "redaction", "argument"):
        assert outcome["logged"]
    if part != "exemplar_filter":  # for which the SDK collects nothing at all
        assert outcome["durations"] == CALLS
        assert outcome["has CPU time"]
        assert outcome["active"] == 0


@forks
@pytest.mark.parametrize(("setup", "part"), CASES)
def test_a_part_that_calls_monitored_code(became, setup, part):
    """What it calls is counted too, and calls no further part of the same kind without end."""
    outcome = became(setup, f"{part} calls")
    assert_calls_are_whole(outcome)
    assert outcome["durations"] == CALLS
    assert outcome["active"] == 0
    assert outcome["helper"] == outcome["asked"] <= 6 * CALLS


@forks
@pytest.mark.parametrize(
    ("setup", "part"),
    [
        (setup, part)
        for setup, part in CASES
        if part.startswith(("sampler", "span_ids", "processor", "exporter"))
    ],
)
def test_no_spans_inside_a_sampler_or_processor(became, setup, part):
    """What a sampler or a processor calls has no span, which that sampler or processor would be asked for."""
    outcome = became(setup, f"{part} calls")
    assert_calls_are_whole(outcome)
    assert outcome["helper spans"] == 0
    if part != "exporter_of_batches":
        assert outcome["asked"] == CALLS


@forks
@pytest.mark.parametrize("setup", ["instrument", "lean spans", "configure"])
def test_no_spans_inside_a_warning(became, setup):
    """What a log handler calls has no span while this package's own warning is handled."""
    outcome = became(setup, "log_handler calls")
    assert_calls_are_whole(outcome)
    assert outcome["helper spans"] == 0


class Unshowable:
    """Its `repr` fails."""

    def __repr__(self):
        raise ValueError("unshowable")


def test_a_log_file_that_takes_nothing(caplog, tmp_path):
    """A log file that cannot be written is reported once, and every call is counted."""
    monitor = co.PerformanceMonitor(tmp_path / "missing" / "log.jsonl")
    work = co.monitor_performance("work", monitor)(lambda: 1)
    assert [work() for _ in range(300)] == [1] * 300
    assert monitor.get_stats("work")["total_calls"] == 300
    assert len(caplog.records) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_file_on_a_full_disk(caplog):
    """So is a log file on a disk that is full."""
    monitor = co.PerformanceMonitor("/dev/full")
    work = co.monitor_performance("work", monitor)(lambda: 1)
    assert [work() for _ in range(300)] == [1] * 300
    assert monitor.get_stats("work")["total_calls"] == 300
    assert len(caplog.records) == 1


def test_metadata_that_a_log_file_cannot_show(caplog, tmp_path):
    """Metadata whose `repr` fails is shown by its class, and costs nothing else."""
    monitor = co.PerformanceMonitor(tmp_path / "log.jsonl")
    for _ in range(3):
        monitor.record_metrics("work", 0.1, metadata={"value": Unshowable()})
    monitor.record_metrics("work", 0.2)
    assert monitor.get_stats("work")["total_calls"] == 4
    assert not caplog.records
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[0]["metadata"] == {"value": "<Unshowable>"}
    assert [line["execution_time"] for line in lines] == [0.1, 0.1, 0.1, 0.2]


def test_a_log_handler_that_fails_under_a_log_file(tmp_path):
    """A handler that raises at this package's warning does not reach the program."""

    class Failing(logging.Handler):
        def handle(self, record):
            raise ValueError("handler")

    logger = logging.getLogger("codoperf_otel.performance_monitor")
    handler = Failing()
    logger.addHandler(handler)
    try:
        monitor = co.PerformanceMonitor(tmp_path / "missing" / "log.jsonl")
        assert co.monitor_performance("work", monitor)(lambda: 1)() == 1
        assert monitor.get_stats("work")["total_calls"] == 1
    finally:
        logger.removeHandler(handler)
