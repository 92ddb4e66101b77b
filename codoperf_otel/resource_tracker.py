"""What operations use of the process: tracked from a start to a stop, reported, benchmarked and compared."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast
from weakref import finalize

from codoperf_otel._calls.operation_sites import allocation_meter
from codoperf_otel._calls.plain_functions import check_done, check_plain, is_plain
from codoperf_otel._calls.trackings import Tracking, here
from codoperf_otel._decorating import check_callable, checked_name, names_of
from codoperf_otel._environment_variables import setting_error
from codoperf_otel._readings.sampler import is_seconds
from codoperf_otel._readings.snapshots import ResourceSnapshot, Snapshots
from codoperf_otel._statistics.resource_reports import (
    ResourceTrackingResult,
    benchmark_metrics,
    compare_benchmarks,
    create_resource_report,
)
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.records import error_message, error_type
from codoperf_otel.performance_monitor import profile_memory_usage

__all__ = [
    "ResourceSnapshot",
    "ResourceTracker",
    "ResourceTrackingResult",
    "benchmark_resource_usage",
    "compare_benchmarks",
    "create_resource_report",
    "track_memory_usage",
]

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("codoperf_otel.resource_tracker")

_FEWEST_SNAPSHOTS = 3
_BENCHMARK = "benchmark_resource_usage"


class ResourceTracker:
    """Samples the process while operations are tracked, every `sample_interval` seconds.

    Several operations may be tracked at once, from several threads and tasks, each with a span and the
    metrics of an operation. A result holds at most `max_snapshots`: the first, the last and the one with the
    highest memory are always there. All trackers share one daemon thread, which runs while they track.

    >>> tracker = ResourceTracker(sample_interval=0.05)
    >>> tracker.start_tracking("load index")
    >>> result = tracker.stop_tracking("load index")
    >>> result.operation, len(result.snapshots)
    ('load index', 2)

    With `allocations`, the result's ``summary`` and the span also have ``allocated_mb``, what Python
    allocated in the process meanwhile and still uses at the end, and ``top_allocations``: the five lines of
    code that allocated most, each with ``file``, ``line``, ``size_mb`` and ``count`` of blocks. Tracing this
    makes a program slower.

    >>> tracker = ResourceTracker(allocations=True)
    >>> tracker.start_tracking("load index")
    >>> index = [bytes(1000) for _ in range(1000)]
    >>> result = tracker.stop_tracking("load index")
    >>> result.summary["top_allocations"][0]["count"] >= 1000
    True

    Raises:
        ValueError: `sample_interval` is no number of seconds above 0, `max_snapshots` no integer from 3 up.
    """

    def __init__(
        self, sample_interval: float = 0.1, max_snapshots: int = 1000, *, allocations: bool = False
    ) -> None:
        if not is_seconds(sample_interval):
            raise setting_error("sample_interval", sample_interval, "a number of seconds above 0")
        if type(max_snapshots) is not int or max_snapshots < _FEWEST_SNAPSHOTS:
            raise setting_error("max_snapshots", max_snapshots, f"an integer from {_FEWEST_SNAPSHOTS} up")
        self.sample_interval = sample_interval
        self.max_snapshots = max_snapshots
        self._meter = allocation_meter() if allocations else None
        self._open: list[Tracking] = []
        self._reader = Snapshots()
        finalize(self, _drop_all, self._open).atexit = False

    def start_tracking(self, operation: str, context: Mapping[str, Any] | None = None) -> None:
        """Begin to track an operation; each snapshot carries `context`, which telemetry does not.

        Until it is stopped, what runs in this thread or task is inside its span.

        Raises:
            TypeError: the name is no text.
            ValueError: the name is empty.
        """
        name = checked_name("start_tracking", operation)
        tracking = Tracking(name, context, self.sample_interval, self.max_snapshots, self._meter)
        try:
            tracking.begin()
            self._open.append(tracking)
        except BaseException:  # of a signal handler
            self._drop(tracking)
            raise

    def stop_tracking(self, operation: str) -> ResourceTrackingResult:
        """End the newest operation of that name that this thread or task started, else the newest at all.

        Where there is none, one warning is logged, and the result is empty, with ``summary["error"]``.
        """
        named = [each for each in list(self._open) if each.operation == operation]
        owned = [each for each in named if each.owner == here()]
        for tracking in reversed([*named, *owned]):
            result = self._stopped(tracking)
            if result is not None:
                return result
        return _unknown(operation)

    def _stopped(self, tracking: Tracking) -> ResourceTrackingResult | None:
        """The result of an operation; None where another thread has stopped it meanwhile."""
        try:
            return tracking.stop() if self._take(tracking) else None
        except BaseException:  # of a signal handler
            self._drop(tracking)
            raise

    def _take(self, tracking: Tracking) -> bool:
        try:
            self._open.remove(tracking)
        except ValueError as error:
            raise_interrupt(error)
            return False
        return True

    def _drop(self, tracking: Tracking) -> None:
        self._take(tracking)
        tracking.drop()

    def get_current_snapshot(self) -> ResourceSnapshot:
        """What the process uses now; ``cpu_percent`` is since the tracker's snapshot before."""
        return self._reader.take()

    def get_snapshot_count(self) -> int:
        """How many snapshots the operations that are tracked now have."""
        return sum(len(each.snapshots.kept) for each in list(self._open))

    def is_tracking(self) -> bool:
        """Whether any operation is tracked."""
        return bool(self._open)


def _drop_all(trackings: list[Tracking]) -> None:
    for tracking in trackings:
        tracking.drop()


def _unknown(operation: str) -> ResourceTrackingResult:
    error = f"no operation {operation!r} is tracked"
    log.warning("%s", error)
    now = time.time()
    return ResourceTrackingResult(operation, now, now, 0.0, [], 0.0, 0.0, 0.0, 0.0, 0.0, {"error": error})


class _Tracked(Generic[P, R]):
    """A function whose calls are tracked; in a ``with`` block, itself.

    For `inspect` and others it is the function: whatever it is asked, that answers.
    """

    __slots__ = ("__weakref__", "function")

    def __init__(self, function: Callable[P, R]) -> None:
        object.__setattr__(self, "function", function)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        returned: R = _function_of(self)(*args, **kwargs)
        return returned

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return _function_of(self).__get__(instance, owner)

    def __enter__(self) -> Callable[P, R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name) if name in _OWN else getattr(_function_of(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_function_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_function_of(self), name)

    def __repr__(self) -> str:
        return repr(_function_of(self))

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__qualname__)


_OWN = frozenset({"__enter__", "__exit__", "__reduce_ex__"})
_function_of: Callable[[Any], Any] = vars(_Tracked)["function"].__get__


def track_memory_usage(func: Callable[P, R]) -> _Tracked[P, R]:
    """Record each call of a function as `profile_memory_usage` does: as a decorator, or in a ``with`` block.

    A coroutine function, a generator function, a method or a class stays one and is for decorating alone.

    >>> @track_memory_usage
    ... def total():
    ...     return sum(range(10))
    >>> with track_memory_usage(sum) as tracked:
    ...     total() == tracked(range(10))
    True

    Raises:
        TypeError: what is decorated is not callable.
    """
    check_callable("track_memory_usage", func)
    tracked = profile_memory_usage(func)
    return _Tracked(tracked) if is_plain(func) else cast("_Tracked[P, R]", tracked)


def benchmark_resource_usage(
    func: Callable[..., Any], iterations: int = 10, *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """Call a function some times, after once to warm up, and report what it used.

    The report is that of `create_resource_report` with ``benchmark_metrics``: ``iterations``,
    ``duration_stats`` in seconds and ``memory_stats`` in MiB of the iterations that did not fail, their
    ``durations``, and ``failures`` with the iteration and the error of each that did.

    >>> report = benchmark_resource_usage(sum, 3, range(10))
    >>> len(report["benchmark_metrics"]["durations"]), report["benchmark_metrics"]["failures"]
    (3, [])

    Raises:
        TypeError: `func` is not callable, or what it returns would have to be awaited or iterated over.
        ValueError: `iterations` is no integer above 0.
    """
    check_callable(_BENCHMARK, func)
    check_plain(_BENCHMARK, func)
    if type(iterations) is not int or iterations < 1:
        raise setting_error("iterations", iterations, "an integer above 0")
    call, name, tracker = functools.partial(func, *args, **kwargs), names_of(func)[1], ResourceTracker()
    _warm_up(call)
    runs = [_tracked_run(tracker, f"benchmark {name}", call) for _ in range(iterations)]
    succeeded = [(result, seconds) for result, seconds, error in runs if error is None]
    metrics = benchmark_metrics(
        iterations,
        [seconds for _, seconds in succeeded],
        [result.peak_memory_rss_mb for result, _ in succeeded],
        [{"iteration": n, "error": error} for n, (_, _, error) in enumerate(runs) if error is not None],
    )
    report = create_resource_report([result for result, _, _ in runs])
    return {**report, "benchmark_metrics": metrics}


def _warm_up(call: Callable[[], object]) -> None:
    try:
        returned = call()
    except Exception as error:
        raise_interrupt(error)
    else:
        check_done(_BENCHMARK, returned)


def _tracked_run(
    tracker: ResourceTracker, name: str, call: Callable[[], object]
) -> tuple[ResourceTrackingResult, float, str | None]:
    tracker.start_tracking(name)
    try:
        seconds, error = _timed(call)
    finally:
        result = tracker.stop_tracking(name)
    return result, seconds, error


def _timed(call: Callable[[], object]) -> tuple[float, str | None]:
    """The seconds of a call, and its error if it failed."""
    began_ns, failure = time.perf_counter_ns(), None
    try:
        call()
    except Exception as error:
        raise_interrupt(error)
        failure = f"{error_type(error)}: {error_message(error)}"
    return (time.perf_counter_ns() - began_ns) / 1e9, failure
