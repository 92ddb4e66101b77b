"""The seed's resource tracker: several operations at once, bounded snapshots, reports, benchmarks."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import itertools
import os
import pickle
import random
import statistics
import threading
import time
import unittest.mock
import weakref

import pytest
from fresh_memory import fresh
from opentelemetry.context import attach, get_current

from codoperf_otel import resource_tracker
from codoperf_otel._calls import thread_clock
from codoperf_otel._readings import process_readings, sampler
from codoperf_otel._readings.snapshots import BoundedSnapshots, Snapshots
from codoperf_otel._statistics.rank_test import rank_test
from codoperf_otel.performance_monitor import monitor_performance
from codoperf_otel.resource_tracker import (
    ResourceSnapshot,
    ResourceTracker,
    ResourceTrackingResult,
    benchmark_resource_usage,
    compare_benchmarks,
    create_resource_report,
    track_memory_usage,
)

MIB = 1 << 20


def snapshot(number, memory=0.0):
    """A snapshot that can be told from others."""
    return ResourceSnapshot(float(number), memory, 0.0, 0.0, 0.0, 0.0, 1)


def result(operation="o", duration=1.0, peak=1.0, cpu=1.0):
    """A result with some figures."""
    return ResourceTrackingResult(operation, 0.0, duration, duration, [], peak, 0.0, cpu, 0.0, 0.0)


class TestSnapshots:
    """What is read at one time, and how many are kept."""

    @pytest.mark.measures
    def test_fields(self):
        """All figures of this process, in their units, and the given context."""
        found = Snapshots({"shard": 3}).take()
        assert abs(found.timestamp - time.time()) < 5
        assert found.memory_rss_mb == pytest.approx(process_readings.memory().resident / MIB, rel=0.2)
        assert found.memory_vms_mb >= found.memory_rss_mb
        assert found.cpu_times_user + found.cpu_times_system == pytest.approx(time.process_time(), abs=0.5)
        assert found.num_threads >= 1
        assert found.num_fds >= 3
        assert (found.cpu_percent, found.context) == (0.0, {"shard": 3})
        assert set(found.to_dict()) == {
            "timestamp", "memory_rss_mb", "memory_vms_mb", "cpu_percent", "cpu_times_user",
            "cpu_times_system", "num_threads", "num_fds", "context",
        }  # fmt: skip

    @pytest.mark.measures
    def test_cpu_percent_is_since_the_one_before(self):
        """A busy process is near 100, one that waits is near 0."""
        snapshots = Snapshots()
        snapshots.take()
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        busy = snapshots.take().cpu_percent
        time.sleep(0.05)
        assert snapshots.take().cpu_percent < busy

    def test_unknown_figures_are_zero(self, monkeypatch):
        """A platform that reports nothing makes no error."""
        for reading in ("memory", "cpu", "threads", "descriptors"):
            monkeypatch.setattr(process_readings, reading, lambda: None)
        found = Snapshots().take()
        assert (found.memory_rss_mb, found.cpu_times_user, found.num_threads, found.num_fds) == (0, 0, 0, 0)

    @pytest.mark.parametrize("highest_at", [0, 1, 2, 50, 97, 98, 99])
    def test_bounded(self, highest_at):
        """The first and the highest stay, the rest covers the time evenly."""
        bounded = BoundedSnapshots(10)
        for number in range(100):
            bounded.add(snapshot(number, 9.0 if number == highest_at else 1.0))
        times = [each.timestamp for each in bounded.kept]
        assert len(times) <= 10
        assert times == sorted(times)
        assert times[0] == 0
        assert highest_at in times
        assert max(after - before for before, after in itertools.pairwise(times)) <= 32


class TestTracker:
    """Starts and stops, by name, thread and task."""

    def test_result(self, idle):
        """Every figure of a tracked operation."""
        tracker = ResourceTracker(0.25, 100)
        tracker.start_tracking("load", {"shard": 3})
        assert tracker.is_tracking()
        assert tracker.get_snapshot_count() == 1
        found = tracker.stop_tracking("load")
        assert not tracker.is_tracking()
        assert tracker.get_snapshot_count() == 0
        assert found.operation == "load"
        assert found.end_time - found.start_time == pytest.approx(found.duration, abs=1e-5)
        assert found.peak_memory_rss_mb >= max(each.memory_rss_mb for each in found.snapshots)
        assert found.peak_memory_vms_mb > 0
        assert found.average_cpu_percent == pytest.approx(100 * found.total_cpu_time / found.duration)
        assert [each.context for each in found.snapshots] == [{"shard": 3}] * 2
        assert {key: value for key, value in found.summary.items() if key != "cpu_intensity"} == {
            "total_snapshots": 2, "sample_interval": 0.25, "memory_trend": "stable",
            "thread_count": found.snapshots[-1].num_threads, "tracking_quality": "limited",
        }  # fmt: skip
        assert found.summary["cpu_intensity"] in ("low", "medium", "high")
        fields = found.to_dict()
        assert fields.pop("snapshot_count") == 2
        assert set(fields) == set(vars(found)) - {"snapshots"}

    def test_samples_while_it_tracks(self):
        """Snapshots come by themselves, and end with the operation."""
        tracker = ResourceTracker(0.001)
        tracker.start_tracking("load")
        deadline = time.monotonic() + 60
        while tracker.get_snapshot_count() < 12 and time.monotonic() < deadline:
            time.sleep(0.005)
        found = tracker.stop_tracking("load")
        assert found.summary["tracking_quality"] == "good"
        assert not sampler.shared._turns

    def test_no_thread_where_nothing_is_tracked(self, idle):
        """The sampler is asked for the time of the tracking, and by each operation."""
        tracker = ResourceTracker()
        tracker.start_tracking("a")
        tracker.start_tracking("b")
        assert len(idle._turns) == 2
        tracker.stop_tracking("a")
        tracker.stop_tracking("b")
        assert not idle._turns

    def test_short_peak_is_seen(self, no_collection):
        """Memory that is held between two samples only."""
        tracker = ResourceTracker(60)
        tracker.start_tracking("load")
        fresh(64).close()
        found = tracker.stop_tracking("load")
        assert found.peak_memory_rss_mb - found.snapshots[0].memory_rss_mb > 55

    @pytest.mark.parametrize(
        ("delta", "trend"), [(8, "increasing"), (-8, "decreasing"), (0.5, "stable"), (-0.5, "stable")]
    )
    def test_trend(self, idle, monkeypatch, delta, trend):
        """Memory that changed by more than 1 MiB."""
        monkeypatch.setattr(process_readings, "memory", lambda: process_readings.Memory(10 * MIB, 10 * MIB))
        tracker = ResourceTracker()
        tracker.start_tracking("load")
        after = process_readings.Memory(round((10 + delta) * MIB), 10 * MIB)
        monkeypatch.setattr(process_readings, "memory", lambda: after)
        found = tracker.stop_tracking("load")
        assert (found.summary["memory_trend"], found.memory_delta_mb) == (trend, delta)

    def test_unknown_operation(self, caplog):
        """An empty result that says why, and one warning."""
        found = ResourceTracker().stop_tracking("nobody's")
        assert (found.snapshots, found.duration) == ([], 0.0)
        assert found.summary == {"error": 'no operation "nobody\'s" is tracked'}
        assert [record.levelname for record in caplog.records] == ["WARNING"]

    def test_same_name_in_threads(self, idle):
        """Each thread stops its own; without one of its own, the newest."""
        tracker, started = ResourceTracker(), threading.Barrier(3)
        found = {}

        def work(name):
            tracker.start_tracking("load", {"by": name})
            started.wait(60)
            started.wait(60)
            found[name] = tracker.stop_tracking("load").snapshots[0].context["by"]

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        started.wait(60)
        newest = tracker._open[-1].snapshots.kept[0].context["by"]
        started.wait(60)
        for thread in threads:
            thread.join()
        assert found == {"a": "a", "b": "b"}
        assert newest in "ab"
        around = get_current(), thread_clock.thread.clock.current
        tracker.start_tracking("load", {"by": "main"})
        other = threading.Thread(target=lambda: found.update(other=tracker.stop_tracking("load")))
        other.start()
        other.join()
        attach(around[0])
        thread_clock.thread.clock.current = around[1]
        assert found["other"].snapshots[0].context == {"by": "main"}

    def test_stopped_in_another_thread(self, telemetry, idle):
        """What runs in the thread that started it belongs to the call around it again."""
        tracker = ResourceTracker()

        @monitor_performance("outer")
        def outer():
            tracker.start_tracking("load")
            other = threading.Thread(target=tracker.stop_tracking, args=("load",))
            other.start()
            other.join()
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass

        outer()
        attributes = telemetry.span("outer").attributes
        assert attributes["codoperf.cpu.self_time"] == attributes["codoperf.cpu.time"] > 0.02
        assert "codoperf.cpu.time" not in telemetry.span("load").attributes

    def test_same_name_in_tasks(self, idle):
        """Each task stops its own."""
        tracker = ResourceTracker()

        async def work(name):
            tracker.start_tracking("load", {"by": name})
            await asyncio.sleep(0)
            return tracker.stop_tracking("load").snapshots[0].context["by"]

        async def main():
            return await asyncio.gather(*map(work, "abc"))

        assert asyncio.run(main()) == ["a", "b", "c"]

    def test_nested_same_name(self, idle):
        """The newest ends first."""
        tracker = ResourceTracker()
        for depth in range(3):
            tracker.start_tracking("load", {"depth": depth})
        assert [tracker.stop_tracking("load").snapshots[0].context["depth"] for _ in range(3)] == [2, 1, 0]

    def test_span_and_metrics(self, telemetry, idle):
        """An operation as any other, around what runs inside it; its context stays here."""
        tracker = ResourceTracker()
        tracker.start_tracking("load", {"secret": "s"})
        with telemetry.tracer.start_as_current_span("inside"):
            pass
        tracker.stop_tracking("load")
        span = telemetry.span("load")
        assert telemetry.parent(telemetry.span("inside")) == "load"
        assert span.attributes["codoperf.operation.name"] == "load"
        assert "codoperf.cpu.time" in span.attributes
        assert "codoperf.process.memory.peak" in span.attributes
        assert "s" not in span.attributes.values()
        key = frozenset({("codoperf.operation.name", "load")})
        assert telemetry.values("codoperf.operation.duration") == {key: 1}

    def test_dropped_tracker_is_sampled_no_more(self, idle):
        """Who forgets a tracker that tracks leaves no thread."""
        tracker = ResourceTracker()
        tracker.start_tracking("load")
        del tracker
        gc.collect()
        assert not idle._turns

    @pytest.mark.parametrize("readings", [0, 1], ids=["at the start", "at the stop"])
    def test_an_interrupt_leaves_nothing(self, idle, monkeypatch, readings):
        """What a signal handler raises ends the operation, also while the program keeps the exception."""
        before = thread_clock.thread.clock.current, get_current()
        tracker, take, left = ResourceTracker(), Snapshots.take, [None] * readings

        def interrupted(snapshots):
            if not left:
                raise TimeoutError
            left.pop()
            return take(snapshots)

        monkeypatch.setattr(Snapshots, "take", interrupted)
        if readings:
            tracker.start_tracking("load")
        with pytest.raises(TimeoutError) as kept:
            (tracker.stop_tracking if readings else tracker.start_tracking)("load")
        assert not tracker.is_tracking()
        assert not idle._turns
        assert (thread_clock.thread.clock.current, get_current()) == before
        assert kept.value is not None

    def test_many_threads_at_once(self):
        """Every start has its stop, and nothing is left."""
        tracker = ResourceTracker(0.001)

        def work():
            for number in range(20):
                tracker.start_tracking(f"o{number % 3}")
                assert not tracker.stop_tracking(f"o{number % 3}").summary.get("error")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not tracker.is_tracking()
        assert not sampler.shared._turns

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_forked_child_tracks_too(self):
        """What was open ends there, and what is new is sampled there."""
        tracker = ResourceTracker(0.001)
        tracker.start_tracking("before")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                tracker.start_tracking("inside")
                deadline = time.monotonic() + 60
                while tracker.get_snapshot_count() < 6 and time.monotonic() < deadline:
                    time.sleep(0.005)
                inside = len(tracker.stop_tracking("inside").snapshots)
                code = 0 if inside > 3 and tracker.stop_tracking("before").snapshots else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not tracker.stop_tracking("before").summary.get("error")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_what_ends_in_a_forked_child_has_the_figures_of_the_child(self):
        """CPU time and snapshots of the time before the fork are the parent's."""
        tracker = ResourceTracker(60)
        tracker.start_tracking("before")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                ended = tracker.stop_tracking("before")
                (last,) = ended.snapshots
                assert 0 <= ended.total_cpu_time <= time.process_time()
                assert last.cpu_percent == ended.memory_delta_mb == 0
                assert ended.peak_memory_rss_mb == last.memory_rss_mb
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        tracker.stop_tracking("before")

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"sample_interval": 0}, "sample_interval is 0"),
            ({"sample_interval": "fast"}, "sample_interval is 'fast'"),
            ({"sample_interval": float("nan")}, "sample_interval is nan"),
            ({"sample_interval": True}, "sample_interval is True"),
            ({"max_snapshots": 2}, "max_snapshots is 2"),
            ({"max_snapshots": 10.0}, "max_snapshots is 10.0"),
        ],
    )
    def test_wrong_settings(self, options, name):
        """One error that names setting and value."""
        with pytest.raises(ValueError, match=name):
            ResourceTracker(**options)

    @pytest.mark.parametrize(("name", "error"), [("", ValueError), (None, TypeError), (3, TypeError)])
    def test_wrong_names(self, name, error):
        """A name is a text with something in it."""
        tracker = ResourceTracker()
        with pytest.raises(error, match="start_tracking"):
            tracker.start_tracking(name)
        assert not tracker.is_tracking()


@track_memory_usage
def doubled(x: int = 1) -> int:
    """Twice the number."""
    return 2 * x


class TestTrackMemoryUsage:
    """A decorator, and a context manager over a function."""

    def test_both_forms(self, telemetry, caplog):
        """One operation and one log record per call."""
        caplog.set_level("INFO")
        with track_memory_usage(doubled.__wrapped__) as tracked:
            assert tracked(2) == 4
        assert doubled(3) == 6
        assert len(telemetry.spans(f"{__name__}.doubled")) == 2
        assert len(caplog.records) == 2

    def test_stays_what_it_was(self):
        """Name, docstring, signature, kind, binding and pickling."""
        assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice the number.")
        assert inspect.signature(doubled) == inspect.signature(doubled.__wrapped__, eval_str=True)
        assert inspect.isfunction(doubled)
        assert inspect.getsource(doubled) == inspect.getsource(doubled.__wrapped__)
        assert weakref.ref(doubled)() is copy.deepcopy(doubled) is doubled
        assert repr(doubled).startswith("<function doubled")

        class Holder:
            @track_memory_usage
            def method(self):
                return self

            @track_memory_usage
            @classmethod
            def made(cls):
                return cls

        holder = Holder()
        assert holder.method() is holder
        assert Holder.method(holder) is holder
        assert Holder.made() is Holder

        async def coroutine():
            return 1

        def generator():
            yield 1

        assert inspect.iscoroutinefunction(track_memory_usage(coroutine))
        assert inspect.isgeneratorfunction(track_memory_usage(generator))
        assert asyncio.run(track_memory_usage(coroutine)()) == 1

    def test_every_argument_is_the_functions(self):
        """Also one of the name `self`, as Celery's tasks have, and they are checked as the function's."""

        @track_memory_usage
        def bound(self, **more):
            return self, more

        assert bound(self=1, function=2) == (1, {"function": 2})
        with pytest.raises(TypeError, match="missing a required argument: 'self'"):
            unittest.mock.create_autospec(bound)()

    def test_attributes_are_the_functions(self):
        """They are read, set and deleted."""

        def tagged():
            pass

        tagged.tag = 1
        tracked = track_memory_usage(tagged)
        assert tracked.tag == 1
        tracked.tag = 2
        assert tracked.tag == 2
        del tracked.tag
        assert not hasattr(tracked, "tag")

    def test_is_pickled_by_name(self, monkeypatch):
        """As a function is."""
        monkeypatch.setattr(resource_tracker, "doubled", doubled, raising=False)
        monkeypatch.setattr(doubled, "__module__", resource_tracker.__name__)
        assert pickle.loads(pickle.dumps(doubled)) is doubled

    def test_class_stays_a_class(self, telemetry):
        """Its public methods are recorded."""

        @track_memory_usage
        class Holder:
            def method(self):
                return self

        assert isinstance(Holder().method(), Holder)
        assert telemetry.spans()

    def test_errors_leave(self):
        """What the function raises is raised."""
        with pytest.raises(ZeroDivisionError), track_memory_usage(lambda: 1 / 0) as tracked:
            tracked()

    def test_of_what_is_not_callable(self):
        """One error at decoration."""
        with pytest.raises(TypeError, match="track_memory_usage takes"):
            track_memory_usage(3)


class TestReport:
    """Totals, averages and the five highest."""

    def test_none(self):
        """Nothing was tracked."""
        report = create_resource_report([])
        assert report["status"] == "no_data"
        assert report["message"]

    def test_figures(self):
        """Every figure of the report."""
        results = [result(f"o{n}", duration=n, peak=10.0 * n, cpu=100.0 - n) for n in range(1, 8)]
        report = create_resource_report(results)
        assert report["summary"] == {
            "total_operations": 7, "total_duration_seconds": 28, "average_duration_seconds": 4,
            "max_peak_memory_mb": 70, "average_peak_memory_mb": 40,
            "max_cpu_usage_percent": 99, "average_cpu_usage_percent": 96,
        }  # fmt: skip
        top = report["top_consumers"]
        assert [each["operation"] for each in top["memory_hogs"]] == ["o7", "o6", "o5", "o4", "o3"]
        assert top["memory_hogs"][0] == {"operation": "o7", "peak_memory_mb": 70}
        assert top["cpu_hogs"][0] == {"operation": "o1", "avg_cpu_percent": 99}
        assert top["slow_operations"][0] == {"operation": "o7", "duration_seconds": 7}
        assert report["detailed_results"][0] == results[0].to_dict()
        assert abs(report["generated_at"] - time.time()) < 5


class TestBenchmark:
    """Iterations, failures and comparisons."""

    def test_figures(self, telemetry):
        """A warm-up that is no iteration, then the report with the figures of the iterations."""
        calls = []
        report = benchmark_resource_usage(lambda *args, **named: calls.append((args, named)), 4, 1, key=2)
        assert calls == [((1,), {"key": 2})] * 5
        metrics = report["benchmark_metrics"]
        durations = metrics["durations"]
        assert (metrics["iterations"], len(durations), metrics["failures"]) == (4, 4, [])
        assert metrics["duration_stats"] == {
            "min": min(durations), "max": max(durations), "mean": statistics.fmean(durations),
            "std_dev": statistics.stdev(durations), "median": statistics.median(durations),
        }  # fmt: skip
        assert set(metrics["memory_stats"]) == {"min_peak", "max_peak", "mean_peak"}
        assert report["summary"]["total_operations"] == 4
        assert len(telemetry.spans()) == 4

    def test_failures_are_told(self):
        """Each with its iteration and error; the rest is counted."""
        numbers = iter([1, 1, 0, 1])
        metrics = benchmark_resource_usage(lambda: 1 / next(numbers), 3)["benchmark_metrics"]
        assert metrics["failures"] == [{"iteration": 1, "error": "ZeroDivisionError: division by zero"}]
        assert len(metrics["durations"]) == 2

    def test_failure_without_a_text(self):
        """An exception whose own method fails is a failure like others."""

        class MuteError(Exception):
            def __str__(self):
                raise ValueError

        def fail():
            raise MuteError

        (failure,) = benchmark_resource_usage(fail, 1)["benchmark_metrics"]["failures"]
        assert failure["error"].endswith("MuteError: ")

    def test_all_fail(self):
        """There are no figures then."""
        metrics = benchmark_resource_usage(lambda: 1 / 0, 2)["benchmark_metrics"]
        assert len(metrics["failures"]) == 2
        assert metrics["duration_stats"]["mean"] is None
        assert metrics["memory_stats"]["max_peak"] is None

    def test_an_exit_is_no_failure(self):
        """What is no error of the function's leaves, and nothing stays open."""

        def leave():
            raise SystemExit

        with pytest.raises(SystemExit):
            benchmark_resource_usage(leave, 2)
        assert not sampler.shared._turns

    def test_wrong_arguments(self):
        """One clear error each."""

        class Asynchronous:
            async def __call__(self):
                pass

        def generator():
            yield

        with pytest.raises(ValueError, match="iterations is 0"):
            benchmark_resource_usage(int, 0)
        with pytest.raises(TypeError, match="only a callable"):
            benchmark_resource_usage(3)
        for runs_later in (Asynchronous(), generator):
            with pytest.raises(TypeError, match="calls plain functions"):
                benchmark_resource_usage(runs_later)

    def test_comparison(self):
        """Faster, slower, or the same; with the share of change and the test's figure."""
        one, two = (
            {"benchmark_metrics": {"durations": [base + n / 100 for n in range(10)]}} for base in (1, 2)
        )
        slower, faster, same = (compare_benchmarks(*pair) for pair in ((one, two), (two, one), (one, one)))
        assert (slower["verdict"], faster["verdict"], same["verdict"]) == ("slower", "faster", "same")
        assert slower["change"] == pytest.approx(1 / 1.045)
        assert (slower["u"], faster["u"], same["u"]) == (0, 100, 50)
        assert slower["p_value"] < 0.001
        with pytest.raises(ValueError, match="after is no benchmark"):
            compare_benchmarks(one, {"benchmark_metrics": {"durations": []}})

    @pytest.mark.parametrize("seed", range(5))
    def test_rank_test_against_all_orders(self, seed):
        """The share of all ways to deal the values out that are as far from the middle; ties among them."""
        chance = random.Random(seed)
        first, second = ([chance.randrange(12) for _ in range(7)] for _ in range(2))
        tested = rank_test(first, second)
        middle, both = 24.5, sorted([*first, *second])
        far = [
            abs(rank_test(dealt, _without(both, dealt)).u - middle) >= abs(tested.u - middle)
            for dealt in itertools.combinations(both, 7)
        ]
        assert tested.p_value == pytest.approx(statistics.fmean(far), abs=0.03)

    def test_equal_values_are_no_difference(self):
        """Where there is no spread there is no verdict."""
        assert rank_test([1, 1], [1, 1]) == (2.0, 1.0)


def _without(values, taken):
    """The values that are left."""
    left = list(values)
    for value in taken:
        left.remove(value)
    return left
