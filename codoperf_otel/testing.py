"""For your tests: the spans, events and metrics that a block of code made, as plain data.

Needs the SDK: ``pip install 'codoperf-otel[otlp]'``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from codoperf_otel import _telemetry

if TYPE_CHECKING:
    from codoperf_otel.sdk.recorder import Recorder

__all__ = [
    "CapturedEvent",
    "CapturedMetric",
    "CapturedPoint",
    "CapturedSpan",
    "CapturedTelemetry",
    "capture_telemetry",
]


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """One event of a span."""

    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """One span that ended in the block.

    ``parent`` is the name of its parent, where that was captured too, and ``parent_id`` the id of any
    parent. ``start_time`` is in Unix nanoseconds, ``duration`` in seconds, ids are hexadecimal; ``kind`` and
    ``status`` are OpenTelemetry's words, such as ``INTERNAL`` and ``ERROR``.
    """

    name: str
    parent: str | None
    attributes: dict[str, Any]
    events: tuple[CapturedEvent, ...]
    status: str
    status_description: str | None
    kind: str
    start_time: int
    duration: float
    trace_id: str
    span_id: str
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class CapturedPoint:
    """What a metric says for one set of attributes.

    Of a histogram ``count`` and ``sum`` are what the block recorded. Of a counter ``value`` is what the
    block added, of up-down counters and gauges the value at its end. The others are None.
    """

    attributes: dict[str, Any]
    value: float | None = None
    count: int | None = None
    sum: float | None = None


@dataclass(frozen=True, slots=True)
class CapturedMetric:
    """A metric and its points; ``kind`` is ``histogram``, ``counter``, ``updowncounter`` or ``gauge``."""

    name: str
    kind: str
    unit: str
    points: tuple[CapturedPoint, ...]

    def point(self, attributes: Mapping[str, Any] | None = None) -> CapturedPoint:
        """The one point that has these attributes, among others.

        Raises:
            AssertionError: none has, or several have; it lists the attributes of all points.
        """
        __tracebackhide__ = True
        wanted = attributes or {}
        found = [point for point in self.points if wanted.items() <= point.attributes.items()]
        if len(found) != 1:
            there = _listed(str(point.attributes) for point in self.points)
            raise AssertionError(f"{len(found)} points of {self.name} have {wanted!r} among\n{there}")
        return found[0]


class CapturedTelemetry:
    """The telemetry of one block: what there is so far inside it, all of it afterwards."""

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
            there = _listed(self.tree().splitlines())
            raise AssertionError(f"{len(found)} spans are named {name!r} among\n{there}")
        return found[0]

    def metric(self, name: str) -> CapturedMetric:
        """The metric of that name.

        Raises:
            AssertionError: the block gave it no value; it lists the metrics there are.
        """
        __tracebackhide__ = True
        metrics = self.metrics
        if name not in metrics:
            raise AssertionError(f"no metric is named {name!r} among\n{_listed(sorted(metrics))}")
        return metrics[name]

    def tree(self) -> str:
        """The spans as lines of text, children under their parents in the order of their starts.

        A failed span says so, events are marked by ``*``. No times are in it, so it can be compared.
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

    Every call is sampled, nothing is sent and nothing runs in the background. Afterwards telemetry goes
    where it went before. Captures may be nested or overlap: each has all that was done while it was open.
    After a call of `configure` or `instrument` in the block, telemetry goes there and is not captured.

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
def _recording() -> Iterator[Recorder]:
    """The recorder that is in force, else a new one, until the last capture it has is closed."""
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
    from codoperf_otel.sdk.settings import INSTALL, is_disabled, wrong

    if is_disabled(os.environ):
        raise wrong(
            "OTEL_SDK_DISABLED",
            os.environ["OTEL_SDK_DISABLED"],
            "unset, or false, for telemetry to be captured",
        )
    try:
        from codoperf_otel.sdk.recorder import Recorder
    except ImportError as error:
        raise ImportError(f"capture_telemetry() needs {error.name}: {INSTALL}") from error
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


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines) or "  none"
