"""What no encoder takes, made such that it does: one bad text or number must not lose the batch it is in.

Lone surrogates are written as escapes, texts are cut at a length, lists and maps at a depth, and integers
over 64 bits become text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from opentelemetry.sdk.metrics.export import Metric, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Status

from codoperf_otel._calls.short_repr import cut
from codoperf_otel.sdk.overlay import Overlay

LONGEST_TEXT = 1_000_000
"""Characters of one text."""

DEEPEST = 32
"""Lists and maps within each other: decoders of protobuf refuse about 100 messages within each other."""

_LEAST, _MOST = -(2**63), 2**63 - 1

T = TypeVar("T")


class Sendable:
    """Spans, log records and metrics as they can be sent; what can be already stays the same object."""

    def spans(self, spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        """Spans as they can be sent."""
        return [span if _is_plain(span) else self.span(span) for span in spans]

    def logs(self, batch: Sequence[T]) -> Sequence[T]:
        """Log records as they can be sent."""
        return [self.log(readable) for readable in batch]

    def metrics(self, data: MetricsData) -> MetricsData:
        """Metrics as they can be sent."""
        groups = [
            replace(
                group,
                resource=self.resource(group.resource),
                scope_metrics=[
                    replace(
                        scope,
                        scope=self.scope(scope.scope),
                        metrics=[self._metric(metric) for metric in scope.metrics],
                    )
                    for scope in group.scope_metrics
                ],
            )
            for group in data.resource_metrics
        ]
        return replace(data, resource_metrics=groups)

    def value(self, value: Any, depth: int = 0) -> Any:
        """An attribute's value, within so many lists and maps.

        >>> sendable = Sendable()
        >>> sendable.value("half an emoji: \\ud83d"), sendable.value([2**64, 1])
        ('half an emoji: \\\\ud83d', ('18446744073709551616', 1))
        """
        kind = type(value)
        if kind is str:
            return value if value.isascii() and len(value) <= LONGEST_TEXT else _text(value)
        if kind is bool or kind is float or value is None:
            return value
        if isinstance(value, int):
            return value if _LEAST <= value <= _MOST else str(value)
        if isinstance(value, str):
            return _text(value)
        if not isinstance(value, list | tuple | Mapping):
            return value
        if depth == DEEPEST:
            return "…"
        return (
            self.attributes(value, depth + 1) if isinstance(value, Mapping) else self._items(value, depth + 1)
        )

    def _items(self, items: Sequence[Any], depth: int) -> Sequence[Any]:
        cleaned = tuple(self.value(item, depth) for item in items)
        return items if _are_same(items, cleaned) else cleaned

    def attributes(self, attributes: T, depth: int = 0) -> T:
        """Attributes, and the entries of a map among their values."""
        if not attributes:
            return attributes
        items = tuple(cast("Mapping[str, Any]", attributes).items())
        cleaned = tuple(self.attribute(*item, depth) for item in items)
        if all(_are_same(item, other) for item, other in zip(items, cleaned, strict=True)):
            return attributes
        return cast("T", dict(cleaned))

    def attribute(self, name: str, value: Any, depth: int) -> tuple[str, Any]:
        """One attribute: its name and its value."""
        return self.name(name), self.value(value, depth)

    def name(self, name: Any) -> Any:
        """A name: of an attribute, a span, an event, a severity."""
        return Sendable.value(self, name)

    def description(self, text: str | None) -> str | None:
        """The description of a span's status."""
        return cast("str | None", self.value(text))

    def resource(self, resource: Resource) -> Resource:
        """Who sends. The resource of this process is sendable since it was made."""
        return resource

    def scope(self, scope: InstrumentationScope) -> InstrumentationScope:
        """Which library made it."""
        return scope

    def span(self, span: ReadableSpan) -> ReadableSpan:
        """One span."""
        return changed(
            span,
            name=self.name(str(span.name)),
            attributes=self.attributes(span.attributes),
            events=_same_or([self._event(event) for event in span.events], span.events),
            links=_same_or([self._link(link) for link in span.links], span.links),
            status=self._status(span.status),
        )

    def _event(self, event: Event) -> Event:
        return changed(event, name=self.name(event.name), attributes=self.attributes(event.attributes))

    def _link(self, link: Link) -> Link:
        return changed(link, attributes=self.attributes(link.attributes))

    def _status(self, status: Status) -> Status:
        return changed(status, description=self.description(status.description))

    def log(self, readable: Any) -> Any:
        """One log record."""
        record = readable.log_record
        made = changed(
            record,
            body=self.value(record.body),
            attributes=self.attributes(record.attributes),
            severity_text=self.name(record.severity_text),
            event_name=self.name(record.event_name),
        )
        return changed(readable, log_record=made)

    def _metric(self, metric: Metric) -> Metric:
        data: Any = metric.data
        points = [self.point(point) for point in data.data_points]
        if _are_same(data.data_points, points):
            return metric
        return replace(metric, data=replace(data, data_points=points))

    def point(self, point: Any) -> Any:
        """One point of a metric."""
        parts = {
            "attributes": self.attributes(point.attributes),
            "exemplars": _same_or([self._exemplar(each) for each in point.exemplars], point.exemplars),
        }
        value: Any = getattr(point, "value", 0.0)
        if not (isinstance(value, float) or _LEAST <= value <= _MOST):
            parts["value"] = _float(value)
        found = {name: part for name, part in parts.items() if part is not getattr(point, name)}
        return replace(point, **found) if found else point

    def _exemplar(self, exemplar: Any) -> Any:
        attributes = self.attributes(exemplar.filtered_attributes)
        is_same = attributes is exemplar.filtered_attributes
        return exemplar if is_same else replace(exemplar, filtered_attributes=attributes)


SENDABLE = Sendable()


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST_TEXT else cut(text, LONGEST_TEXT)


def _are_same(items: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(item is other for item, other in zip(items, others, strict=True))


def _same_or(parts: list[T], before: Sequence[T]) -> Sequence[T]:
    return before if _are_same(before, parts) else parts


def changed(item: T, **parts: Any) -> T:
    """The item, with those of its parts that are not the same any more."""
    new = {name: part for name, part in parts.items() if _differ(part, getattr(item, name))}
    return cast("T", Overlay(item, **new)) if new else item


def _differ(part: Any, other: Any) -> bool:
    return part is not other and part != other


def _is_plain(span: ReadableSpan) -> bool:
    """Whether it can be sent at first glance, as nearly all can."""
    if span.events or span.links or span.status.description or type(span.name) is not str:
        return False
    for name, value in (span.attributes or {}).items():
        kind = type(value)
        if not name.isascii() or not (kind is float or kind is bool or _is_short(kind, value)):
            return False
    return span.name.isascii() and len(span.name) <= LONGEST_TEXT


def _is_short(kind: type, value: Any) -> bool:
    if kind is str:
        return value.isascii() and len(value) <= LONGEST_TEXT
    return kind is int and _LEAST <= value <= _MOST


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
