"""What `record_metrics` takes and refuses, and how many names the statistics keep apart."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction

import pytest

from codoperf_otel import PerformanceMonitor, monitor_performance

NAMES = 10_000

VALUES = ("execution_time", "memory_usage_mb", "cpu_percent")
values = pytest.mark.parametrize("parameter", VALUES)


def record(monitor, **given):
    """One call, of which something else than usual is said."""
    monitor.record_metrics(**{"function_name": "f", "execution_time": 0.1, **given})


class Failing:
    """Says that it is a number, and cannot say which."""

    def __float__(self):
        raise LookupError

    def __repr__(self):
        raise LookupError


@values
@pytest.mark.parametrize("value", ["0.1", b"1", [1], 1j, object, Failing()], ids=lambda value: type(value))
def test_what_is_no_number_is_refused(parameter, value):
    """It is a `TypeError` that names the parameter, where it is handed over, and nothing is counted."""
    monitor = PerformanceMonitor()
    with pytest.raises(TypeError, match=parameter):
        record(monitor, **{parameter: value})
    assert monitor.get_stats() == {}


def test_a_duration_must_be_given():
    """None is no duration; it is what stands for a memory and a CPU that are to be read."""
    with pytest.raises(TypeError, match="execution_time"):
        record(PerformanceMonitor(), execution_time=None)


@values
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, -1])
def test_a_number_that_cannot_be_is_refused(parameter, value):
    """Not a number, infinite, negative: a `ValueError` that names the parameter, and nothing is counted."""
    monitor = PerformanceMonitor()
    with pytest.raises(ValueError, match=parameter):
        record(monitor, **{parameter: value})
    assert monitor.get_stats() == {}


@pytest.mark.parametrize("name", [None, 3, b"f"])
def test_a_name_must_be_a_text(name):
    """A name that is no text is a `TypeError`."""
    with pytest.raises(TypeError, match="function_name"):
        record(PerformanceMonitor(), function_name=name)


@pytest.mark.parametrize("value", [0, 1, 0.5, Fraction(1, 2)])
def test_numbers_of_any_class_are_taken(value):
    """Zero, integers and fractions are numbers as any."""
    monitor = PerformanceMonitor()
    record(monitor, execution_time=value, memory_usage_mb=value, cpu_percent=value)
    stats = monitor.get_stats("f")
    assert stats["execution_time"]["total"] == value
    assert stats["memory_usage_mb"]["max"] == value
    assert stats["cpu_percent"]["max"] == value


def test_a_refused_call_spoils_nothing():
    """The statistics of all others are as they would be without it, and so are those that come later."""
    monitor = PerformanceMonitor()
    for number in range(600):
        with pytest.raises(TypeError):
            record(monitor, execution_time=None)
        record(monitor, function_name="good", execution_time=number)
    assert monitor.get_stats("good")["total_calls"] == 600
    assert [metrics.function_name for metrics in monitor.metrics] == ["good"] * 600


FILLED = """
import json, threading, time
from codoperf_otel import PerformanceMonitor

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

monitor = PerformanceMonitor()
monitor.record_metrics("f", 0.1)
wall, cpu = time.perf_counter(), time.process_time()
threads = [threading.Thread(target=burn, args=(0.1,)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
time.sleep(0.05)
expected = 100 * (time.process_time() - cpu) / (time.perf_counter() - wall)
monitor.record_metrics("f", 0.1)
time.sleep(0.1)
monitor.record_metrics("f", 0.1)
for _ in range(100):
    monitor.record_metrics("f", 0.1)
monitor.record_metrics("f", 0.1, cpu_percent=12.5)
print(json.dumps([expected, [metrics.cpu_percent for metrics in monitor.metrics]]))
"""


@pytest.mark.measures
def test_cpu_percent_is_filled_in():
    """Without `cpu_percent` it is the process's CPU since the last such reading: 0.0 at the first."""
    program = [sys.executable, "-c", FILLED]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    expected, (first, busy, idle, *quick, given) = json.loads(done.stdout)
    assert first == 0.0
    assert busy == pytest.approx(expected, rel=0.1, abs=2)
    assert 0 <= idle < 20
    assert all(0 <= percent < math.inf for percent in quick)
    assert given == 12.5


def test_names_are_kept_apart_up_to_a_bound():
    """Of more names than 10,000 each further one is counted with all further ones, and nothing is lost."""
    monitor = PerformanceMonitor()
    for number in range(NAMES + 500):
        monitor.record_metrics(f"name {number}", 1.0, 1.0, 1.0)
    monitor.record_metrics("name 0", 1.0, 1.0, 1.0)
    assert monitor.get_stats()["total_calls"] == NAMES + 501
    assert monitor.get_stats("name 0")["total_calls"] == 2
    assert monitor.get_stats(f"name {NAMES - 10}")["total_calls"] == 1
    assert monitor.get_stats(f"name {NAMES + 10}") == {}
    assert monitor.get_stats(f"name {NAMES + 499}") == {}
    monitor.clear_metrics()
    monitor.record_metrics("name later", 1.0, 1.0, 1.0)
    assert monitor.get_stats("name later")["total_calls"] == 1


OPERATIONS = """
import codoperf_otel as co
for number in range(10_500):
    with co.performance_context(f"operation {number}"):
        pass
assert co.get_performance_stats()["total_calls"] == 10_500
assert co.get_performance_stats("operation 9000")["total_calls"] == 1
assert co.get_performance_stats("operation 10499") == {}
"""


def test_operations_count_against_the_bound_of_names():
    """Operations whose names are made of data are bounded too, and none of their calls is lost."""
    done = subprocess.run([sys.executable, "-c", OPERATIONS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_clearing_keeps_the_calls_of_a_function_under_a_recorded_name():
    """A name may have calls of a function and calls measured elsewhere; both are counted afterwards."""
    monitor = PerformanceMonitor()
    work = monitor_performance("work", monitor)(lambda: None)
    work()
    monitor.record_metrics("work", 1.0)
    assert monitor.get_stats("work")["total_calls"] == 2
    monitor.clear_metrics()
    assert monitor.get_stats() == {}
    work()
    monitor.record_metrics("work", 1.0)
    assert monitor.get_stats("work")["total_calls"] == 2


def test_a_finalizer_may_record_while_all_is_cleared():
    """A name that comes while the names are gone through breaks nothing."""

    class Records(str):
        __slots__ = ()

        def __hash__(self):
            if armed:
                armed.clear()
                monitor.record_metrics("new", 1.0)
            return str.__hash__(self)

    armed = []
    monitor = PerformanceMonitor()
    for name in ("one", Records("two"), "three"):
        monitor.record_metrics(name, 1.0)
    armed.append(True)
    monitor.clear_metrics()
    assert not armed
    monitor.record_metrics("last", 1.0)
    assert monitor.get_stats("last")["total_calls"] == 1
