"""The resource tracker's figures one by one: defaults, bounds, units and keys, where a clock is handed in."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import time
from types import SimpleNamespace

import pytest

from codoperf_otel import resource_tracker
from codoperf_otel._calls import trackings
from codoperf_otel._readings import process_readings, snapshots
from codoperf_otel._readings.process_readings import Cpu, Memory
from codoperf_otel._readings.snapshots import BoundedSnapshots, Snapshots
from codoperf_otel._statistics import rank_test as rank_tests
from codoperf_otel._statistics.rank_test import RankTest, rank_test
from codoperf_otel.resource_tracker import (
    ResourceSnapshot,
    ResourceTracker,
    ResourceTrackingResult,
    benchmark_resource_usage,
    compare_benchmarks,
    create_resource_report,
)

MIB = 1 << 20


class Process:
    """What the process seems to use, and the clocks by which that is measured."""

    def __init__(self) -> None:
        self.now = self.cpu_time = 0.0
        self.memory = Memory(10 * MIB, 20 * MIB)
        self.threads, self.descriptors = 3, 7

    def time(self) -> float:
        """Unix seconds."""
        return 1000 + self.now

    def perf_counter(self) -> float:
        """Seconds."""
        return self.now

    def perf_counter_ns(self) -> int:
        """Nanoseconds."""
        return round((self.now + 5) * 1e9)

    def process_time_ns(self) -> int:
        """Nanoseconds of CPU time."""
        return round((self.cpu_time + 3) * 1e9)


@pytest.fixture
def process(monkeypatch, idle):
    """Nothing changes but what a test changes; no thread samples."""
    given = Process()
    monkeypatch.setattr(trackings, "time", given)
    monkeypatch.setattr(snapshots, "time", given)
    monkeypatch.setattr(trackings.peak, "open_window", lambda: None)
    monkeypatch.setattr(process_readings, "memory", lambda: given.memory)
    monkeypatch.setattr(process_readings, "cpu", lambda: Cpu(given.cpu_time * 0.75, given.cpu_time * 0.25))
    monkeypatch.setattr(process_readings, "threads", lambda: given.threads)
    monkeypatch.setattr(process_readings, "descriptors", lambda: given.descriptors)
    given.sampler = idle
    return given


def tracked(process, *, seconds=1.0, cpu_time=0.0, samples=0):
    """The result of an operation of so many seconds, with so many snapshots between its two ends."""
    tracker = ResourceTracker()
    tracker.start_tracking("load")
    for tracking in list(process.sampler._turns) * samples:
        tracking(0)
    process.now += seconds
    process.cpu_time += cpu_time
    return tracker.stop_tracking("load")


def defaults(callable_):
    """The parameters of a callable that may be left out, and what they are then."""
    parameters = inspect.signature(callable_).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def test_defaults():
    """What is not given is what the docs say, and can be read from the tracker."""
    assert defaults(ResourceTracker) == {"sample_interval": 0.1, "max_snapshots": 1000, "allocations": False}
    assert defaults(benchmark_resource_usage) == {"iterations": 10}
    assert defaults(ResourceTracker.start_tracking) == {"context": None}
    tracker = ResourceTracker()
    assert (tracker.sample_interval, tracker.max_snapshots) == (0.1, 1000)
    assert not tracker.is_tracking()
    assert tracker.get_snapshot_count() == 0


def test_fields_of_the_data():
    """Names and order of the fields, and those that may be left out."""
    assert [each.name for each in dataclasses.fields(ResourceSnapshot)] == [
        "timestamp", "memory_rss_mb", "memory_vms_mb", "cpu_percent", "cpu_times_user",
        "cpu_times_system", "num_threads", "num_fds", "context",
    ]  # fmt: skip
    assert [each.name for each in dataclasses.fields(ResourceTrackingResult)] == [
        "operation", "start_time", "end_time", "duration", "snapshots", "peak_memory_rss_mb",
        "peak_memory_vms_mb", "average_cpu_percent", "total_cpu_time", "memory_delta_mb", "summary",
    ]  # fmt: skip
    assert (ResourceSnapshot(1, 2, 3, 4, 5, 6, 7).num_fds, ResourceSnapshot(1, 2, 3, 4, 5, 6, 7).context) == (
        0,
        {},
    )
    assert ResourceTrackingResult("o", 0, 0, 0, [], 0, 0, 0, 0, 0).summary == {}


def test_every_figure_of_a_result(process):
    """Times in seconds, memory in MiB, CPU in percent of one CPU."""
    tracker = ResourceTracker(0.5, 4)
    tracker.start_tracking("load", {"shard": 3})
    (tracking,) = process.sampler._turns
    assert process.sampler._turns[tracking].interval_ns == 500_000_000
    process.now, process.cpu_time, process.memory = 2.0, 0.5, Memory(30 * MIB, 50 * MIB)
    tracking(0)
    assert tracker.get_snapshot_count() == 2
    process.now, process.cpu_time, process.memory = 4.0, 1.5, Memory(15 * MIB, 40 * MIB)
    process.threads, process.descriptors = 5, 9
    found = tracker.stop_tracking("load")
    assert found.to_dict() == {
        "operation": "load", "start_time": 1000.0, "end_time": 1004.0, "duration": 4.0, "snapshot_count": 3,
        "peak_memory_rss_mb": 30.0, "peak_memory_vms_mb": 50.0, "average_cpu_percent": 37.5,
        "total_cpu_time": 1.5, "memory_delta_mb": 5.0,
        "summary": {
            "total_snapshots": 3, "sample_interval": 0.5, "memory_trend": "increasing",
            "cpu_intensity": "medium", "thread_count": 5, "tracking_quality": "limited",
        },
    }  # fmt: skip
    assert [each.to_dict() for each in found.snapshots] == [
        {
            "timestamp": 1000.0 + now, "memory_rss_mb": rss, "memory_vms_mb": vms, "cpu_percent": percent,
            "cpu_times_user": cpu * 0.75, "cpu_times_system": cpu * 0.25, "num_threads": threads,
            "num_fds": descriptors, "context": {"shard": 3},
        }
        for now, rss, vms, percent, cpu, threads, descriptors in [
            (0.0, 10.0, 20.0, 0.0, 0.0, 3, 7),
            (2.0, 30.0, 50.0, 25.0, 0.5, 3, 7),
            (4.0, 15.0, 40.0, 50.0, 1.5, 5, 9),
        ]
    ]  # fmt: skip


@pytest.mark.parametrize("highest", [11 * MIB, 9 * MIB])
def test_the_kernels_mark_is_the_peak_where_it_is_higher(process, monkeypatch, highest):
    """Memory between two snapshots is known to the kernel only."""
    window = SimpleNamespace(close=lambda: SimpleNamespace(peak=highest))
    monkeypatch.setattr(trackings.peak, "open_window", lambda: window)
    assert tracked(process).peak_memory_rss_mb == max(highest / MIB, 10)


@pytest.mark.parametrize(
    ("percent", "intensity"), [(0, "low"), (20, "low"), (21, "medium"), (50, "medium"), (51, "high")]
)
def test_cpu_intensity(process, percent, intensity):
    """High is above half of a CPU, medium above a fifth."""
    found = tracked(process, seconds=1.0, cpu_time=percent / 100)
    assert (found.average_cpu_percent, found.summary["cpu_intensity"]) == (percent, intensity)


@pytest.mark.parametrize(("samples", "quality"), [(8, "limited"), (9, "good")])
def test_tracking_quality(process, samples, quality):
    """It is good from 11 snapshots on."""
    found = tracked(process, samples=samples)
    assert (found.summary["total_snapshots"], found.summary["tracking_quality"]) == (samples + 2, quality)


@pytest.mark.parametrize(
    ("after", "trend"), [(11, "stable"), (11.5, "increasing"), (9, "stable"), (8.5, "decreasing")]
)
def test_memory_trend(process, after, trend):
    """More than 1 MiB is a trend, 1 MiB is none."""
    tracker = ResourceTracker()
    tracker.start_tracking("load")
    process.memory = Memory(round(after * MIB), 20 * MIB)
    assert tracker.stop_tracking("load").summary["memory_trend"] == trend


def test_an_operation_of_no_time(process):
    """It has no share of a CPU; a clock that stood still divides nothing."""
    found = tracked(process, seconds=0.0, cpu_time=1.0)
    assert (found.average_cpu_percent, found.total_cpu_time) == (0.0, 1.0)
    assert [each.cpu_percent for each in found.snapshots] == [0.0, 0.0]


def test_what_the_platform_does_not_have_is_zero(process, monkeypatch):
    """In each figure of a snapshot."""
    for reading in ("memory", "cpu", "threads", "descriptors"):
        monkeypatch.setattr(process_readings, reading, lambda: None)
    assert Snapshots().take() == ResourceSnapshot(1000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, {})


def test_the_context_is_the_snapshots_own(process):
    """Who changes what was given, or what a snapshot has, changes no other snapshot."""
    given = {"shard": 3}
    tracker = ResourceTracker()
    tracker.start_tracking("load", given)
    given["shard"] = 4
    first, last = tracker.stop_tracking("load").snapshots
    first.context["shard"] = 5
    assert last.context == {"shard": 3}
    assert tracker.get_current_snapshot().context == {}


def test_current_snapshots_follow_each_other(process):
    """The share of a CPU is since the tracker's one before."""
    tracker = ResourceTracker()
    assert tracker.get_current_snapshot().cpu_percent == 0.0
    process.now, process.cpu_time = 2.0, 1.0
    assert tracker.get_current_snapshot().cpu_percent == 50.0


@pytest.mark.parametrize("limit", [3, 4, 7])
def test_the_first_the_last_and_the_highest_are_kept(process, limit):
    """Also where a tracker may have no more than these three."""
    tracker = ResourceTracker(0.1, limit)
    tracker.start_tracking("load")
    (tracking,) = process.sampler._turns
    for number in range(1, 50):
        process.now, process.memory = float(number), Memory((99 if number == 31 else 10) * MIB, 20 * MIB)
        tracking(0)
    process.now = 50.0
    found = tracker.stop_tracking("load")
    times = [each.timestamp - 1000 for each in found.snapshots]
    assert len(times) <= limit
    assert (times[0], times[-1]) == (0.0, 50.0)
    assert 31.0 in times
    assert found.peak_memory_rss_mb == 99.0


def test_while_there_is_place_all_are_kept():
    """None goes before there are too many."""
    bounded = BoundedSnapshots(6)
    for number in range(5):
        bounded.add(ResourceSnapshot(float(number), 1.0, 0, 0, 0, 0, 1))
    assert [each.timestamp for each in bounded.kept] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_of_equal_heights_the_first_is_the_highest():
    """Where there is no place left every other one goes, and the highest stays."""
    bounded = BoundedSnapshots(3)
    for number in range(8):
        bounded.add(ResourceSnapshot(float(number), 9.0 if number in (3, 5) else 1.0, 0, 0, 0, 0, 1))
    assert [each.timestamp for each in bounded.kept] == [0.0, 3.0, 4.0]


def test_an_unknown_operation_has_no_figures(caplog, monkeypatch):
    """The result is empty, at the time of the stop; the warning says the same as the result."""
    monkeypatch.setattr(resource_tracker, "time", SimpleNamespace(time=lambda: 5.0))
    found = ResourceTracker().stop_tracking("load")
    error = "no operation 'load' is tracked"
    assert found == ResourceTrackingResult(
        "load", 5.0, 5.0, 0.0, [], 0.0, 0.0, 0.0, 0.0, 0.0, {"error": error}
    )
    assert [record.getMessage() for record in caplog.records] == [error]


def test_a_report_of_none():
    """Status and message, and nothing else."""
    assert create_resource_report([]) == {"status": "no_data", "message": "no operation was tracked"}


def test_the_keys_of_a_report(process):
    """Each list has the five highest at most, the highest first."""
    results = [
        ResourceTrackingResult(f"o{n}", 0, n, n, [], 10.0 * n, 0, float((n * 3) % 7), 0, 0)
        for n in range(1, 7)
    ]
    report = create_resource_report(results)
    assert set(report) == {"summary", "top_consumers", "detailed_results", "generated_at"}
    top = report["top_consumers"]
    assert top == {
        "memory_hogs": [{"operation": f"o{n}", "peak_memory_mb": 10.0 * n} for n in (6, 5, 4, 3, 2)],
        "cpu_hogs": [
            {"operation": f"o{n}", "avg_cpu_percent": percent}
            for n, percent in [(2, 6.0), (4, 5.0), (6, 4.0), (1, 3.0), (3, 2.0)]
        ],
        "slow_operations": [{"operation": f"o{n}", "duration_seconds": n} for n in (6, 5, 4, 3, 2)],
    }
    assert [each["operation"] for each in report["detailed_results"]] == [f"o{n}" for n in range(1, 7)]


def test_the_figures_of_a_benchmark(monkeypatch):
    """Durations in seconds and peaks in MiB, of the iterations that did not fail."""
    s = 1_000_000_000
    readings = itertools.chain.from_iterable([10 * n * s, 11 * n * s] for n in (1, 2, 3, 5))
    monkeypatch.setattr(resource_tracker, "time", SimpleNamespace(perf_counter_ns=lambda: next(readings)))
    peaks = iter([7.0, 5.0, 100.0, 6.0])
    real = ResourceTracker.stop_tracking
    monkeypatch.setattr(
        ResourceTracker,
        "stop_tracking",
        lambda *given: dataclasses.replace(real(*given), peak_memory_rss_mb=next(peaks)),
    )
    divisors = iter([1, 1, 1, 0, 1])

    def call():
        return 1 / next(divisors)

    report = benchmark_resource_usage(call, 4)
    assert report["benchmark_metrics"] == {
        "iterations": 4,
        "duration_stats": {
            "min": 1.0, "max": 5.0, "mean": 8 / 3, "std_dev": pytest.approx((13 / 3) ** 0.5), "median": 2.0,
        },
        "memory_stats": {"min_peak": 5.0, "max_peak": 7.0, "mean_peak": 6.0},
        "durations": [1.0, 2.0, 5.0],
        "failures": [{"iteration": 2, "error": "ZeroDivisionError: division by zero"}],
    }  # fmt: skip
    assert report["summary"]["total_operations"] == 4
    name = f"benchmark {__name__}.{call.__qualname__}"
    assert [each["operation"] for each in report["detailed_results"]] == [name] * 4


@pytest.mark.parametrize("iterations", [1, 2])
def test_a_benchmark_of_few_or_no_figures(iterations):
    """One duration does not spread, and none has no figure: None is said, and no zero."""
    benchmark = benchmark_resource_usage(int, iterations)["benchmark_metrics"]
    one = benchmark["duration_stats"]
    assert (one["std_dev"] == 0.0) == (len(set(benchmark["durations"])) == 1)
    none = benchmark_resource_usage(lambda: 1 / 0, iterations)["benchmark_metrics"]
    assert none["duration_stats"] == {"min": None, "max": None, "mean": None, "std_dev": None, "median": None}
    assert none["memory_stats"] == {"min_peak": None, "max_peak": None, "mean_peak": None}


def test_a_real_benchmark_takes_its_time():
    """Durations are those of the calls."""
    began = time.perf_counter()
    durations = benchmark_resource_usage(sum, 3, range(200_000))["benchmark_metrics"]["durations"]
    assert 0 < sum(durations) < time.perf_counter() - began


@pytest.mark.parametrize(
    ("p_value", "u", "verdict"),
    [
        (0.05, 0.0, "same"),
        (0.049, 0.0, "slower"),
        (0.049, 1.5, "slower"),
        (0.049, 4.0, "faster"),
        (0.049, 2.0, "faster"),
    ],
)
def test_a_verdict_needs_a_p_value_below_five_percent(monkeypatch, p_value, u, verdict):
    """Which one is faster, the test's figure says."""
    monkeypatch.setattr(rank_tests, "rank_test", lambda *_: RankTest(u, p_value))
    before, after = (
        {"benchmark_metrics": {"durations": durations}} for durations in ([1.0, 3.0], [4.0, 6.0])
    )
    assert compare_benchmarks(before, after) == {
        "verdict": verdict,
        "change": 1.5,
        "p_value": p_value,
        "u": u,
    }


def test_what_is_no_benchmark():
    """The one that is not is named."""
    good = {"benchmark_metrics": {"durations": [1.0]}}
    for pair, name in (({}, good), "before"), ((good, {"benchmark_metrics": {}}), "after"):
        with pytest.raises(ValueError, match=f"^{name} is no benchmark with an iteration that did not fail$"):
            compare_benchmarks(*pair)


def test_the_rank_test_by_hand():
    """With ties, worked out by the formula of the normal approximation."""
    # u = 0.5 + 0 + 1 + 0.5 = 2.0 of 6 pairs; spread 6 - (8 - 2 + 8 - 2) / 20 = 5.4; deviation sqrt(0.5 * 5.4)
    assert rank_test([1, 2], [1, 2, 3]) == (2.0, pytest.approx(0.7609, abs=1e-4))


@pytest.mark.parametrize("number", [3, 4])
def test_with_ties_few_values_say_no_more_than_they_can(number):
    """Of all ways to deal three and three values out, a tenth is as far apart; with four it is a 35th."""
    tested = rank_test([1] * number, [9] * number)
    assert tested.p_value == pytest.approx({3: 1 / 10, 4: 1 / 35}[number])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResourceTracker(0), "sample_interval is 0: it must be a number of seconds above 0"),
        (lambda: ResourceTracker(0.1, 2), "max_snapshots is 2: it must be an integer from 3 up"),
        (lambda: benchmark_resource_usage(int, 0), "iterations is 0: it must be an integer above 0"),
        (lambda: benchmark_resource_usage(int, True), "iterations is True: it must be an integer above 0"),
    ],
)
def test_wrong_settings_say_what_is_allowed(make, message):
    """Name, value and what is allowed."""
    with pytest.raises(ValueError, match="is") as raised:
        make()
    assert str(raised.value) == message


async def coroutine():
    """Nothing here would await it."""


async def asynchronous_generator():
    """Nothing here would iterate over it."""
    yield


def test_a_coroutine_function_is_no_benchmark():
    """It is told before it is called."""
    with pytest.raises(TypeError) as raised:
        benchmark_resource_usage(coroutine)
    said = "benchmark_resource_usage calls plain functions, not coroutine functions or generator functions"
    assert str(raised.value) == said


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "function",
    [
        lambda: coroutine(),
        lambda: asynchronous_generator(),
        lambda: (each for each in ()),
        lambda: asyncio.Future(loop=SimpleNamespace(get_debug=bool)),
    ],
)
def test_what_returns_work_to_do_is_no_benchmark(function):
    """What the first call returns tells it, and no warning follows."""
    said = "^benchmark_resource_usage calls functions whose work is done when they return, not <"
    with pytest.raises(TypeError, match=said):
        benchmark_resource_usage(function)
