"""Statistics in the process: exact counts, percentiles, the log file and the export."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codoperf_otel import performance_monitor as module
from codoperf_otel.performance_monitor import (
    PerformanceMetrics,
    PerformanceMonitor,
    clear_performance_metrics,
    get_performance_stats,
    monitor_performance,
    performance_context,
    profile_function,
)


def test_stats_are_empty_before_the_first_call():
    """Nothing recorded gives an empty dict, by name and over all."""
    monitor = PerformanceMonitor()
    assert monitor.get_stats() == {}
    monitor.record_metrics("known", 1.0)
    assert monitor.get_stats("unknown") == {}


def test_stats_have_the_documented_keys():
    """The keys and figures that programs format are all there."""
    monitor = PerformanceMonitor()
    monitor.record_metrics("load", 1.0, 10.0, 50.0)
    monitor.record_metrics("load", 3.0, 30.0, 100.0)
    monitor.record_metrics("save", 5.0, 20.0, 0.0)
    stats = monitor.get_stats("load")
    assert stats["function_name"] == "load"
    assert stats["total_calls"] == 2
    times = stats["execution_time"]
    assert (times["min"], times["max"], times["avg"], times["total"]) == (1.0, 3.0, 2.0, 4.0)
    assert stats["memory_usage_mb"] == {"min": 10.0, "max": 30.0, "avg": 20.0}
    assert stats["cpu_percent"] == {"min": 50.0, "max": 100.0, "avg": 75.0}
    whole = monitor.get_stats()
    assert whole["function_name"] == "all"
    assert whole["total_calls"] == 3


@given(st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=600))
def test_percentiles_are_within_one_percent(values):
    """p50, p95 and p99 lie within 1 % of the value that the sorted list has there."""
    monitor = PerformanceMonitor()
    for value in values:
        monitor.record_metrics("f", value, 1.0)
    times = monitor.get_stats("f")["execution_time"]
    ordered = sorted(values)
    for share in (50, 95, 99):
        exact = ordered[max(-(-share * len(values) // 100) - 1, 0)]
        assert times[f"p{share}"] == pytest.approx(exact, rel=0.01)


def test_only_the_newest_are_kept_while_counts_go_on():
    """`metrics` is bounded; the statistics are over every call ever recorded."""
    monitor = PerformanceMonitor(newest=10)
    for number in range(1000):
        monitor.record_metrics("f", float(number), 1.0)
    assert [m.execution_time for m in monitor.metrics] == [float(n) for n in range(990, 1000)]
    assert monitor.get_stats("f")["total_calls"] == 1000
    assert monitor.get_stats("f")["execution_time"]["min"] == 0.0


def test_recording_from_threads_loses_nothing():
    """Eight threads that record at once are all counted."""
    monitor = PerformanceMonitor()

    def loop():
        for _ in range(2000):
            monitor.record_metrics("f", 0.5, 1.0, 1.0)

    threads = [threading.Thread(target=loop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.get_stats("f")["total_calls"] == 16000
    assert monitor.get_stats("f")["execution_time"]["total"] == 8000.0


def test_clearing_forgets_statistics_and_leaves_counters(telemetry):
    """`clear_performance_metrics` empties the statistics; the counters do not run back."""

    @monitor_performance("cleared")
    def cleared():
        pass

    cleared()
    clear_performance_metrics()
    assert get_performance_stats("cleared") == {}
    cleared()
    assert get_performance_stats("cleared")["total_calls"] == 1
    assert list(telemetry.values("codoperf.function.duration").values()) == [2]


def test_monitor_given_gets_the_call_and_the_global_one_does_not():
    """The given monitor is the one that counts."""
    monitor = PerformanceMonitor()
    clear_performance_metrics()

    @monitor_performance(monitor=monitor)
    def counted():
        pass

    counted()
    assert monitor.get_stats("counted")["total_calls"] == 1
    assert get_performance_stats("counted") == {}


@pytest.mark.measures
def test_metrics_of_a_call_are_measured(telemetry):
    """A call's record has time in s, memory in MiB, CPU in percent and its end."""
    monitor = PerformanceMonitor()

    @monitor_performance("work", monitor)
    def work():
        return sum(range(200_000))

    work()
    (metrics,) = monitor.metrics
    assert isinstance(metrics, PerformanceMetrics)
    assert 0 < metrics.execution_time < 5
    assert 5 < metrics.memory_usage_mb < 5000
    assert 0 < metrics.cpu_percent <= 120
    span = telemetry.span("work")
    assert metrics.timestamp == pytest.approx(span.end_time / 1e9, abs=1e-3)
    assert metrics.execution_time == pytest.approx((span.end_time - span.start_time) / 1e9)


def test_operations_are_in_the_same_statistics():
    """`performance_context` counts under its operation's name."""
    clear_performance_metrics()
    with performance_context("op"):
        pass
    assert get_performance_stats("op")["total_calls"] == 1


def test_log_file_has_one_object_a_line(tmp_path):
    """Each call is a JSON line; what JSON cannot hold is written as its repr."""
    monitor = PerformanceMonitor(tmp_path / "log.jsonl")
    monitor.record_metrics("f", 0.5, 1.0, 2.0, {"odd": {1, 2}})
    monitor.record_metrics("g", 0.5)
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert first["function_name"] == "f"
    assert first["metadata"] == {"odd": "{1, 2}"}
    assert second["memory_usage_mb"] > 0


def test_unwritable_log_warns_once_and_breaks_nothing(tmp_path, caplog):
    """A log that cannot be written is one warning, and the calls are counted all the same."""
    monitor = PerformanceMonitor(tmp_path / "missing" / "log.jsonl")
    monitor.record_metrics("f", 0.5)
    monitor.record_metrics("f", 0.5)
    assert len(caplog.records) == 1
    assert monitor.get_stats("f")["total_calls"] == 2


def test_export_replaces_the_file_in_one_step(tmp_path):
    """The export is a JSON list, nothing else is left beside it, and it is ours alone to read."""
    monitor = PerformanceMonitor()
    target = tmp_path / "out.json"
    target.write_text("old")
    monitor.record_metrics("f", 0.5, 1.0, 2.0)
    monitor.export_metrics(target)
    assert [row["function_name"] for row in json.loads(target.read_text())] == ["f"]
    assert list(tmp_path.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600


def test_export_that_cannot_be_written_names_the_path(tmp_path):
    """The error of an impossible export says which path it was, and leaves nothing behind."""
    monitor = PerformanceMonitor()
    with pytest.raises(OSError, match="cannot be exported") as error:
        monitor.export_metrics(tmp_path / "missing" / "out.json")
    assert "missing" in str(error.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="cannot be exported"):
        monitor.export_metrics(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_profile_function_is_monitor_performance():
    """The alias is the same object."""
    assert profile_function is monitor_performance


def test_decorating_something_else_says_so():
    """What is not callable is refused by name."""
    with pytest.raises(TypeError, match="not 3"):
        monitor_performance(3)
    with pytest.raises(TypeError, match="only a callable"):
        monitor_performance("name")(3)


def test_has_psutil_is_known_without_importing_it():
    """`HAS_PSUTIL` says whether psutil can be found."""
    import importlib.util

    assert (importlib.util.find_spec("psutil") is not None) is module.HAS_PSUTIL
