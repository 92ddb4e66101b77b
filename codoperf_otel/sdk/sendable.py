"""What no encoder takes, made such that it does: one bad text or number must not lose the batch it is in.

Lone surrogates are written as escapes, texts are cut at a length, and integers over 64 bits become text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from opentelemetry.sdk.metrics.export import Metric, MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

from codoperf_otel._calls.short_repr import cut
from codoperf_otel.sdk.overlay import Overlay

LONGEST_TEXT = 1_000_000
"""Characters of one text."""

_LEAST, _MOST = -(2**63), 2**63 - 1

T = TypeVar("T")


def sendable_value(value: Any) -> Any:
    """An attribute's value as it can be sent; the same object where it can be already.

    >>> sendable_value("half an emoji: \\ud83d"), sendable_value([2**64, 1])
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
    if isinstance(value, Mapping):
        return sendable_attributes(value)
    return _items(value) if isinstance(value, list | tuple) else value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST_TEXT else cut(text, LONGEST_TEXT)


def _items(items: Sequence[Any]) -> Sequence[Any]:
    cleaned = tuple(map(sendable_value, items))
    return items if _are_same(items, cleaned) else cleaned


def _are_same(items: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(item is other for item, other in zip(items, others, strict=True))


def sendable_attributes(attributes: T) -> T:
    """Attributes as they can be sent; the same object where they can be already."""
    if not attributes:
        return attributes
    items = tuple(cast("Mapping[str, Any]", attributes).items())
    cleaned = tuple((sendable_value(name), sendable_value(value)) for name, value in items)
    if all(_are_same(item, other) for item, other in zip(items, cleaned, strict=True)):
        return attributes
    return cast("T", dict(cleaned))


def sendable_spans(spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
    """Spans as they can be sent."""
    return [span if _is_plain(span) else _span(span) for span in spans]


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


def _span(span: ReadableSpan) -> ReadableSpan:
    return _changed(
        span,
        name=sendable_value(str(span.name)),
        attributes=sendable_attributes(span.attributes),
        events=_same_or([_event(event) for event in span.events], span.events),
        links=_same_or([_link(link) for link in span.links], span.links),
        status=_status(span.status),
    )


def _changed(item: T, **parts: Any) -> T:
    """The item, with those of its parts that are not the same any more."""
    changed = {name: part for name, part in parts.items() if part != getattr(item, name)}
    return cast("T", Overlay(item, **changed)) if changed else item


def _same_or(parts: list[T], before: Sequence[T]) -> Sequence[T]:
    return before if _are_same(before, parts) else parts


def _event(event: Event) -> Event:
    return _changed(event, name=sendable_value(event.name), attributes=sendable_attributes(event.attributes))


def _link(link: Link) -> Link:
    return _changed(link, attributes=sendable_attributes(link.attributes))


def _status(status: Status) -> Status:
    return _changed(status, description=sendable_value(status.description))


def sendable_logs(batch: Sequence[T]) -> Sequence[T]:
    """Log records as they can be sent."""
    return [_log(readable) for readable in batch]


def _log(readable: Any) -> Any:
    record = readable.log_record
    changed = _changed(
        record,
        body=sendable_value(record.body),
        attributes=sendable_attributes(record.attributes),
        severity_text=sendable_value(record.severity_text),
        event_name=sendable_value(record.event_name),
    )
    return readable if changed is record else Overlay(readable, log_record=changed)


def sendable_metrics(data: MetricsData) -> MetricsData:
    """Metrics as they can be sent."""
    groups = [
        replace(
            group,
            scope_metrics=[
                replace(scope, metrics=[_metric(metric) for metric in scope.metrics])
                for scope in group.scope_metrics
            ],
        )
        for group in data.resource_metrics
    ]
    return replace(data, resource_metrics=groups)


def _metric(metric: Metric) -> Metric:
    data: Any = metric.data
    points = [_point(point) for point in data.data_points]
    if _are_same(data.data_points, points):
        return metric
    return replace(metric, data=replace(data, data_points=points))


def _point(point: Any) -> Any:
    attributes = sendable_attributes(point.attributes)
    if attributes is not point.attributes:
        point = replace(point, attributes=attributes)
    value: Any = getattr(point, "value", 0)
    is_sendable = isinstance(value, float) or _LEAST <= value <= _MOST
    return point if is_sendable else replace(point, value=_float(value))


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
