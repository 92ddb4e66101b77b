"""Whether points of durations kept in this package come out as the SDK's own would, and when they start."""

from __future__ import annotations

import re
from time import time_ns
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from codoperf_otel._telemetry import durations, names
from codoperf_otel._telemetry.binding import Instruments
from codoperf_otel._telemetry.distributions import Distribution, Exemplar, Series, distribution
from codoperf_otel._telemetry.durations import Position
from codoperf_otel.sdk.lean import points
from codoperf_otel.sdk.lean.starts import StartRule, by_attribute_set, by_histogram

_NAME = names.FUNCTION_DURATION
_SPAN = SpanContext(1, 2, False, TraceFlags(TraceFlags.SAMPLED))
_TIMES = re.compile(r"(time_unix_nano=)\d+")

Recorded = dict[str, list[float]]
"""Durations by the one attribute they have."""

_FIRST: Recorded = {"old": [0.5, 0.25, 400.0]}
_SECOND: Recorded = {"old": [0.125], "new": [2.0, 0.0625]}


class _Times(NamedTuple):
    """The times of one point."""

    started: int
    ended: int


class _Round(NamedTuple):
    """One collection: when its durations were recorded, and the times of its points."""

    began: int
    ended: int
    cumulative: dict[str, _Times]
    delta: dict[str, _Times]

    def holds(self, started: int) -> bool:
        """Whether it is a time at which durations of this round were recorded."""
        return self.began <= started <= self.ended


def start_rule() -> StartRule | None:
    """When deltas start in this release of the SDK; None where its points are not as expected."""
    cumulative, delta = _Side(AggregationTemporality.CUMULATIVE), _Side(AggregationTemporality.DELTA)
    provider = sdk.MeterProvider(
        [cumulative.reader, delta.reader],
        Resource.get_empty(),
        sdk.AlwaysOnExemplarFilter(),
        shutdown_on_exit=False,
    )
    histogram = Instruments(provider).histograms[_NAME]
    try:
        first = _round(histogram, _FIRST, cumulative, delta)
        second = _round(histogram, _SECOND, cumulative, delta)
        return _rule(first, second) if first and second else None
    finally:
        provider.shutdown()


def _rule(first: _Round, second: _Round) -> StartRule | None:
    old, new = second.delta["old"], second.delta["new"]
    collected = first.delta["old"].ended
    expected = (
        first.holds(first.cumulative["old"].started),
        first.cumulative["old"].started == second.cumulative["old"].started,
        second.holds(second.cumulative["new"].started),
        first.holds(first.delta["old"].started),
        old.started == collected,
    )
    if not all(expected):
        return None
    if new.started == collected:
        return by_histogram
    return by_attribute_set if second.holds(new.started) else None


def _round(histogram: Histogram, recorded: Recorded, cumulative: _Side, delta: _Side) -> _Round | None:
    """Record and collect; None where more than the times of a point differ from the SDK's."""
    last = time_ns()
    while (began := time_ns()) == last:  # a coarse clock must not make two moments one
        pass
    context = set_span_in_context(NonRecordingSpan(_SPAN), Context())
    for name, seconds in recorded.items():
        for duration in seconds:
            histogram.record(duration, {"name": name}, context)
    ended = time_ns()
    found = cumulative.collect(recorded), delta.collect(recorded)
    return _Round(began, ended, found[0], found[1]) if found[0] and found[1] else None


class _Side:
    """One of the SDK's readers, and what it should have."""

    def __init__(self, temporality: AggregationTemporality) -> None:
        self._temporality = temporality
        self._position = Position(takes=temporality is AggregationTemporality.DELTA)
        self._kept: dict[str, Distribution] = {}
        self.reader = InMemoryMetricReader({sdk.Histogram: temporality})

    def collect(self, recorded: Recorded) -> dict[str, _Times] | None:
        """The times of the points by their attribute; None where more than the times differ."""
        data = self.reader.get_metrics_data()
        if data is None or _timeless(data) != _timeless(self._expected(recorded)):
            return None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        return {
            str(point.attributes["name"]): _Times(point.start_time_unix_nano, point.time_unix_nano)
            for point in metric.data.data_points
            if point.attributes
        }

    def _expected(self, recorded: Recorded) -> MetricsData:
        whole = dict(self._kept)
        for name, seconds in recorded.items():
            more = _distribution(seconds)
            whole[name] = whole[name].merged(more) if name in whole else more
        rests = {name: self._position.rest(distribution) for name, distribution in whole.items()}
        self._kept = {name: rest for name, rest in rests.items() if rest is not None}
        found = [(Series(_NAME, {"name": name}, distribution), 0) for name, distribution in whole.items()]
        return points.alone(points.metrics(found, self._temporality, 0), Resource.get_empty())


def _distribution(seconds: list[float]) -> Distribution:
    exemplars = [Exemplar(duration, 0, _SPAN.trace_id, _SPAN.span_id) for duration in seconds]
    return distribution(seconds, durations.bounds_of(_NAME), exemplars)


def _timeless(data: MetricsData) -> str:
    return _TIMES.sub(r"\g<1>0", repr(data.resource_metrics[0].scope_metrics))
