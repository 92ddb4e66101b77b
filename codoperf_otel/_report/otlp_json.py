"""Decodes OTLP's JSON, liberally.

Writers differ: 64-bit integers are strings or numbers, doubles may be integers, enums are names or numbers,
keys are lowerCamelCase or the field names of the protocol. All of these are read. What cannot be used is
reported and left out: one bad span loses nothing but itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codoperf_otel._report.model import Attributes, Event, MetricPoint, Scalar, Span, string

OnProblem = Callable[[str], None]
"""Called with the reason why something cannot be used."""

_NO_PARENT = {"", "0000000000000000", "AAAAAAAAAAA="}
_SIGNALS = ("resourceSpans", "resourceMetrics", "resourceLogs")
_MAX_UINT64 = 2**64


class MalformedError(ValueError):
    """A part of the document is not as OTLP defines it."""


@dataclass(slots=True)
class DataPoint:
    """One data point as written: ``source`` is who wrote it, ``start`` and ``time`` are nanoseconds."""

    source: tuple[object, ...]
    point: MetricPoint
    start: int
    time: int
    is_delta: bool

    @property
    def series(self) -> tuple[object, ...]:
        """The identity of its series: a cumulative one begins anew where its start time does."""
        attributes = frozenset(self.point.attributes.items())
        return self.source, self.point.name, attributes, self.start, self.is_delta


def decode(document: object, on_problem: OnProblem) -> Iterator[Span | DataPoint]:
    """Yield the spans and data points of one line; *on_problem* is called for each that cannot be used."""
    fields = _mapping(document, "the line")
    if not any(key in fields for key in _SIGNALS):
        fields = _mapping(_camel_case(fields), "the line")
    if not any(key in fields for key in _SIGNALS):
        raise MalformedError("no resourceSpans or resourceMetrics: not OTLP JSON")
    for resource, scope, item in _items(fields, "resourceSpans", "scopeSpans", "spans"):
        yield from _guarded(_spans, item, resource, scope, on_problem)
    for resource, scope, item in _items(fields, "resourceMetrics", "scopeMetrics", "metrics"):
        yield from _guarded(_data_points, item, resource, scope, on_problem)


def _items(fields: Mapping[str, Any], *levels: str) -> Iterator[tuple[Attributes, str, object]]:
    """Walk the three levels of every OTLP signal: resource, scope and item."""
    outer, middle, inner = levels
    for group in _groups(fields, outer):
        resource = _attributes(_mapping(group.get("resource"), "resource").get("attributes"))
        for scoped in _groups(group, middle):
            scope = _mapping(scoped.get("scope"), "scope").get("name")
            for item in _sequence(scoped.get(inner), inner):
                yield resource, str(scope or ""), item


def _groups(fields: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    return (_mapping(item, key) for item in _sequence(fields.get(key), key))


def _guarded(
    read: Callable[[Mapping[str, Any], Attributes, str], Iterator[Span | DataPoint]],
    item: object,
    resource: Attributes,
    scope: str,
    on_problem: OnProblem,
) -> Iterator[Span | DataPoint]:
    """Yield what *read* makes of *item*; a malformed one is reported, and the others go on."""
    try:
        yield from read(_mapping(item, "an item"), resource, scope)
    except MalformedError as error:
        on_problem(str(error))


def _spans(fields: Mapping[str, Any], resource: Attributes, _scope: str) -> Iterator[Span]:
    attributes = _attributes(fields.get("attributes"))
    status = _mapping(fields.get("status"), "status")
    yield Span(
        trace_id=_identifier(fields, "traceId"),
        span_id=_identifier(fields, "spanId"),
        parent_id=_parent(fields),
        name=_text(fields.get("name")),
        start=_integer(fields, "startTimeUnixNano"),
        end=_integer(fields, "endTimeUnixNano", 0),
        service=string(resource, "service.name") or "",
        attributes=attributes,
        events=[_event(item) for item in _sequence(fields.get("events"), "events")],
        failed=_is(status.get("code"), 2, "ERROR") or "error.type" in attributes,
        message=_text(status.get("message")),
        process=string(resource, "service.instance.id") or "",
    )


def _parent(fields: Mapping[str, Any]) -> str:
    parent = _identifier(fields, "parentSpanId") if fields.get("parentSpanId") else ""
    return "" if parent in _NO_PARENT else parent


def _event(item: object) -> Event:
    fields = _mapping(item, "an event")
    return Event(_text(fields.get("name")), _attributes(fields.get("attributes")))


def _data_points(fields: Mapping[str, Any], resource: Attributes, scope: str) -> Iterator[DataPoint]:
    name, unit = _text(fields.get("name")), _text(fields.get("unit"))
    source = (frozenset(resource.items()), scope)
    for kind in ("sum", "gauge", "histogram", "exponentialHistogram", "summary"):
        data = _mapping(fields.get(kind), kind)
        is_delta = _is(data.get("aggregationTemporality"), 1, "DELTA")
        for item in _sequence(data.get("dataPoints"), "dataPoints"):
            point = _mapping(item, "a data point")
            value, count = _value(point)
            if value is None:
                continue
            metric = MetricPoint(name, unit, _attributes(point.get("attributes")), value, count)
            start = 0 if is_delta else _integer(point, "startTimeUnixNano", 0)
            yield DataPoint(source, metric, start, _integer(point, "timeUnixNano", 0), is_delta)


def _value(point: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """The value, and the count of a histogram; ``None`` where the point says that it has no value."""
    if _integer(point, "flags", 0) & 1:
        return None, None
    if "count" in point:
        return _finite(point.get("sum", 0)), _integer(point, "count")
    return _finite(point.get("asDouble", point.get("asInt"))), None


def _attributes(items: object) -> dict[str, Scalar]:
    """The attributes that are plain values; nothing here uses lists and maps."""
    attributes: dict[str, Scalar] = {}
    for item in _sequence(items, "attributes"):
        fields = _mapping(item, "an attribute")
        for kind, raw in _mapping(fields.get("value"), "an attribute's value").items():
            value = _scalar(kind, raw)
            if value is not None:
                attributes[_text(fields.get("key"))] = value
    return attributes


def _scalar(kind: str, raw: object) -> Scalar | None:
    if kind == "stringValue":
        return raw if isinstance(raw, str) else None
    if kind == "boolValue":
        return raw if isinstance(raw, bool) else None
    if kind == "intValue":
        return _whole(raw)
    return _finite(raw) if kind == "doubleValue" else None


def _whole(raw: object) -> int | None:
    """A whole number; exact where it is written without a fraction."""
    value = _finite(raw)
    if value is None:
        return None
    return int(raw) if isinstance(raw, int | str) and str(raw).lstrip("-").isdigit() else int(value)


def _finite(raw: object) -> float | None:
    """A number, also one written as text; ``None`` for anything else, NaN and infinities included."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        value = float(raw)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _integer(fields: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """An unsigned 64-bit integer; *default* where the field is absent."""
    raw = default if fields.get(key) is None else fields[key]
    try:
        value = -1 if isinstance(raw, bool | None) else int(raw)
    except (ValueError, TypeError, OverflowError):
        value = -1
    if not 0 <= value < _MAX_UINT64:
        raise MalformedError(
            f"{_label(fields)}{key} is {'absent' if raw is None else 'not a 64-bit integer'}"
        )
    return value


def _identifier(fields: Mapping[str, Any], key: str) -> str:
    """An id as it is written, but hex in lower case; base64 is left alone."""
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{_label(fields)}{key} is absent or not text")
    return value.lower() if len(value) in (16, 32) else value


def _label(fields: Mapping[str, Any]) -> str:
    name = fields.get("name")
    return f"span {name!r}: " if isinstance(name, str) else ""


def _is(raw: object, value: int, name: str) -> bool:
    """Whether an enum, written as a number or by its name with or without a prefix, has this value."""
    return raw == value or raw == str(value) or (isinstance(raw, str) and raw.upper().endswith(name))


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else ""


def _mapping(raw: object, what: str) -> Mapping[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise MalformedError(f"{what} is not a JSON object")
    return raw


def _sequence(raw: object, what: str) -> Sequence[Any]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise MalformedError(f"{what} is not a list")
    return raw


def _camel_case(raw: object) -> object:
    """The document with the protocol's field names as JSON names; attribute keys are values and stay."""
    if isinstance(raw, dict):
        return {_camel_key(key): _camel_case(value) for key, value in raw.items()}
    return [_camel_case(item) for item in raw] if isinstance(raw, list) else raw


def _camel_key(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(word.capitalize() for word in others)
