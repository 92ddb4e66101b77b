"""What spans, metrics and logs have in common in OTLP JSON."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

Json = dict[str, Any]


def filled(**fields: Any) -> Json:
    """Protobuf's JSON leaves out what is empty or 0; a message that is there stays, even an empty one."""
    return {name: value for name, value in fields.items() if value or type(value) is dict}


def grouped(items: Iterable[Any], encode: Callable[[Any], Json], scope_key: str, item_key: str) -> list[Json]:
    """Spans or log records, encoded, by resource and by scope."""
    groups: dict[int, tuple[Resource, dict[InstrumentationScope | None, list[Json]]]] = {}
    for item in items:
        # a resource's hash is that of its JSON text, made anew each time: its identity will do
        _, scopes = groups.setdefault(id(item.resource), (item.resource, {}))
        scopes.setdefault(item.instrumentation_scope, []).append(encode(item))
    return [
        filled(
            resource=encode_resource(resource),
            **{scope_key: [of_scope(scope, **{item_key: made}) for scope, made in scopes.items()]},
            schemaUrl=resource.schema_url,
        )
        for resource, scopes in groups.values()
    ]


def encode_resource(resource: Resource) -> Json:
    """The ``Resource`` message."""
    return filled(attributes=encode_attributes(resource.attributes))


def of_scope(scope: InstrumentationScope | None, **items: list[Json]) -> Json:
    """What one scope made, with its description."""
    if scope is None:
        return filled(scope={}, **items)
    described = filled(name=scope.name, version=scope.version, attributes=encode_attributes(scope.attributes))
    return filled(scope=described, **items, schemaUrl=scope.schema_url)


def encode_attributes(attributes: Mapping[str, Any] | None) -> list[Json]:
    """A list of ``KeyValue``."""
    return [{"key": key, "value": encode_value(value)} for key, value in (attributes or {}).items()]


def encode_value(value: Any) -> Json:
    """An ``AnyValue``: bool before int, because it is one."""
    match value:
        case None:
            return {}
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": double(value)}
        case bytes():
            return {"bytesValue": b64encode(value).decode()}
        case Mapping():
            return {"kvlistValue": filled(values=encode_attributes(value))}
        case _:
            return {"arrayValue": filled(values=[encode_value(item) for item in value])}


def double(value: float) -> float | str:
    """JSON has no number for these three."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def integer(value: int | None) -> str:
    """64-bit integers are texts in OTLP JSON."""
    return str(value) if value else ""


def integers(values: Iterable[int]) -> list[str]:
    """Several of them, 0 included."""
    return [str(value) for value in values]


def hex_trace_id(number: int) -> str:
    """Ids are hex in OTLP JSON, not base64."""
    return f"{number:032x}"


def hex_span_id(number: int) -> str:
    """The same for a span's id."""
    return f"{number:016x}"
