"""For your tests: the spans, events and metrics that a block of code made, as plain data.

Needs the SDK: ``pip install 'codoperf-otel[otlp]'``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

from codoperf_otel import _telemetry
from codoperf_otel._cache.chosen_tiers import DiskTier
from codoperf_otel._cache.store import living
from codoperf_otel._calls.meters import MEMORY
from codoperf_otel._captured import CapturedEvent, CapturedMetric, CapturedPoint, CapturedSpan, listed
from codoperf_otel._environment_variables import setting_error

if TYPE_CHECKING:
    from codoperf_otel.sdk.recorder import Recorder

__all__ = [
    "CapturedEvent",
    "CapturedMetric",
    "CapturedPoint",
    "CapturedSpan",
    "CapturedTelemetry",
    "capture_telemetry",
    "empty_cache",
]


class CapturedTelemetry:
    """The telemetry of one block: inside the block what there is so far, afterwards all of it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder: Recorder | None = recorder
        self._skipped = len(recorder.spans())
        self._before = recorder.metrics()
        self._spans: list[CapturedSpan] = []
        self._metrics: dict[str, CapturedMetric] = {}

    @property
    def spans(self) -> list[CapturedSpan]:
        """The spans that ended, in the order of their ends."""
        return self._spans if self._recorder is None else self._recorder.spans()[self._skipped :]

    @property
    def metrics(self) -> dict[str, CapturedMetric]:
        """The metrics by name; counters and histograms only with what the block added to them."""
        if self._recorder is None:
            return self._metrics
        added = (_added(now, self._before.get(name)) for name, now in self._recorder.metrics().items())
        return {metric.name: metric for metric in added if metric.points}

    def span(self, name: str) -> CapturedSpan:
        """The one span of that name.

        Raises:
            AssertionError: there is none, or there are several; it shows the tree of all spans.
        """
        __tracebackhide__ = True
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            there = listed(self.tree().splitlines())
            raise AssertionError(f"{len(found)} spans are named {name!r} among\n{there}")
        return found[0]

    def metric(self, name: str) -> CapturedMetric:
        """The metric of that name.

        Raises:
            AssertionError: the block added nothing to it; it lists the metrics there are.
        """
        __tracebackhide__ = True
        metrics = self.metrics
        if name not in metrics:
            raise AssertionError(f"no metric is named {name!r} among\n{listed(sorted(metrics))}")
        return metrics[name]

    def tree(self) -> str:
        """The spans as lines of text, children under their parents in the order of their starts.

        A failed span says so, and events are marked by ``*``. There are no times, so it can be compared.
        """
        spans = sorted(self.spans, key=lambda span: span.start_time)
        ids = {span.span_id for span in spans}
        children: dict[str | None, list[CapturedSpan]] = defaultdict(list)
        for span in reversed(spans):
            children[span.parent_id if span.parent_id in ids else None].append(span)
        lines: list[str] = []
        waiting = [(0, span) for span in children[None]]
        while waiting:
            depth, span = waiting.pop()
            lines += ["  " * depth + line for line in _describe(span)]
            waiting += [(depth + 1, child) for child in children[span.span_id]]
        return "\n".join(lines)

    def _end(self) -> None:
        self._spans, self._metrics, self._recorder = self.spans, self.metrics, None


@contextmanager
def capture_telemetry() -> Iterator[CapturedTelemetry]:
    """Capture what this package emits in a ``with`` block, in all threads and tasks of the process.

    Every call is sampled, nothing is sent and nothing runs in the background. Afterwards telemetry goes where
    it went before. Captures may be nested or overlap: each has all that was done while it was open. After a
    call of `configure` or `instrument` in the block, telemetry goes where they say, and is not captured.

    In pytest it is a fixture of the same name.

    >>> from codoperf_otel import agent, tool
    >>> with capture_telemetry() as captured:
    ...     with agent("planner"), tool("search"):
    ...         pass
    >>> print(captured.tree())
    invoke_agent planner
      execute_tool search
    >>> captured.span("execute_tool search").parent
    'invoke_agent planner'
    >>> captured.metric("gen_ai.execute_tool.duration").point({"gen_ai.tool.name": "search"}).count
    1

    Raises:
        ImportError: the SDK is missing; the message says how to install it.
        ValueError: ``OTEL_SDK_DISABLED`` is true, so that the SDK would make nothing.
    """
    with _recording() as recorder:
        captured = CapturedTelemetry(recorder)
        try:
            yield captured
        finally:
            captured._end()


_lock = Lock()
_open: dict[_telemetry.Binding, Recorder] = {}


@contextmanager
def empty_cache() -> Iterator[None]:
    """Let every cache begin empty, and leave nothing behind.

    Inside the block, what caches keep on disk or on a server is in a temporary folder instead. What is there
    already is neither read nor changed. A `CacheManager` that is made inside the block is not affected. In
    memory all caches are empty afterwards as well. What was counted stays counted.

    >>> from codoperf_otel import cached_function
    >>> @cached_function
    ... def search(query: str) -> str:
    ...     print("searching")
    ...     return query
    >>> for _ in range(2):
    ...     with empty_cache():
    ...         found = search("x")
    searching
    searching
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        for store in living():
            stack.enter_context(store.emptied(DiskTier(folder).make))
        yield


@contextmanager
def _recording() -> Iterator[Recorder]:
    """The recorder in force, or a new one. It is in force until the last capture that it serves is closed."""
    with _lock:
        recorder = _open.get(_telemetry.active()) or _make_recorder()
        _open[recorder.binding] = recorder
        recorder.captures += 1
    try:
        yield recorder
    finally:
        with _lock:
            recorder.captures -= 1
            if not recorder.captures:
                del _open[recorder.binding]
                if _telemetry.active() is recorder.binding:
                    _telemetry.activate(recorder.before)


def _make_recorder() -> Recorder:
    from codoperf_otel.sdk.settings import INSTALL, is_disabled

    if is_disabled(os.environ):
        raise setting_error(
            "OTEL_SDK_DISABLED",
            os.environ["OTEL_SDK_DISABLED"],
            "unset, or false, for telemetry to be captured",
        )
    try:
        from codoperf_otel.sdk.recorder import Recorder
    except ImportError as error:
        raise ImportError(f"capture_telemetry() needs {error.name}: {INSTALL}") from error
    MEMORY.prepare()
    return Recorder()


def _describe(span: CapturedSpan) -> Iterable[str]:
    reason = (span.status_description or "").partition("\n")[0]
    yield f"{span.name}  [ERROR: {reason}]" if span.status == "ERROR" else span.name
    yield from (f"  * {event.name}" for event in span.events)


def _added(now: CapturedMetric, before: CapturedMetric | None) -> CapturedMetric:
    """What was added to a counter or a histogram; where nothing was, there is no point."""
    if now.kind in ("updowncounter", "gauge"):
        return now
    known = {_key(point): point for point in (before.points if before else ())}
    points = (_difference(point, known.get(_key(point), _NOTHING)) for point in now.points)
    return replace(now, points=tuple(point for point in points if point.value or point.count))


def _key(point: CapturedPoint) -> frozenset[tuple[str, Any]]:
    return frozenset(point.attributes.items())


_NOTHING = CapturedPoint({})


def _difference(now: CapturedPoint, before: CapturedPoint) -> CapturedPoint:
    if now.count is None or now.sum is None:
        return replace(now, value=(now.value or 0) - (before.value or 0))
    return replace(now, count=now.count - (before.count or 0), sum=now.sum - (before.sum or 0))
