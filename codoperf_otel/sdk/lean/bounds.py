"""What is left of attributes, events and links under the SDK's limits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext
from opentelemetry.util.types import Attributes

from codoperf_otel._telemetry import SCALARS, CleanAttributes

Values = dict[str, Any] | BoundedAttributes
Items: TypeAlias = "BoundedList[Any] | tuple[()]"


class Bounds:
    """Keeps a span's attributes in a plain dict while the SDK would keep each as it is, else in the SDK's.

    >>> bounds = Bounds(SpanLimits(max_span_attributes=2))
    >>> values = bounds.add({}, {"a": 1, "b": 2})
    >>> type(values).__name__, type(bounds.add(values, {"c": 3})).__name__
    ('dict', 'BoundedAttributes')
    """

    def __init__(self, limits: SpanLimits) -> None:
        self._limits = limits
        self._length = limits.max_span_attribute_length
        self._cleaned_at_once = (
            0 if limits.max_span_attributes == 0 else None
        )  # the SDK cleans none to drop it
        self._room = sys.maxsize if limits.max_span_attributes is None else limits.max_span_attributes
        if self._length is not None:
            self._room = -1  # the SDK has to look at each

    def first(self, attributes: Mapping[str, Any]) -> Values:
        """The attributes that a span starts with."""
        if type(attributes) is CleanAttributes and len(attributes) <= self._room:
            return dict(attributes)
        return self.add({}, attributes)

    def add(self, values: Values, attributes: Mapping[str, Any]) -> Values:
        """`values` with `attributes` set in them."""
        if type(values) is dict and len(values) + len(attributes) <= self._room:
            if type(attributes) is CleanAttributes and values.keys().isdisjoint(attributes):
                values.update(attributes)
                return values
            for key, value in attributes.items():
                if not _is_clean(key, value):
                    break
                values.pop(key, None)  # what is set again moves to the end
                values[key] = value
            else:
                return values
        return self._merged(values, BoundedAttributes(self._cleaned_at_once, attributes, False, self._length))

    def put(self, values: Values, key: str, value: Any) -> Values:
        """`values` with one attribute set in them."""
        if type(values) is dict and len(values) < self._room and _is_clean(key, value):
            values.pop(key, None)  # what is set again moves to the end
            values[key] = value
            return values
        cleaned = BoundedAttributes(self._cleaned_at_once, None, False, self._length)
        cleaned[key] = value
        return self._merged(values, cleaned)

    def _merged(self, values: Values, cleaned: BoundedAttributes) -> BoundedAttributes:
        if not isinstance(values, BoundedAttributes):
            values = BoundedAttributes(self._limits.max_span_attributes, values, False)
        values.update(cleaned)
        values.dropped += cleaned.dropped
        return values

    def event(self, name: str, attributes: Attributes, timestamp: int | None) -> Event:
        """An event with what is left of its attributes."""
        limits = self._limits
        kept = BoundedAttributes(limits.max_event_attributes, attributes, True, limits.max_attribute_length)
        return Event(name, kept, timestamp)

    def more_events(self, events: Items, event: Event) -> BoundedList[Any]:
        """`events` and one more."""
        return _more(events, event, self._limits.max_events)

    def links(self, links: Iterable[Link | None]) -> Items:
        """The links of a new span."""
        given = ((link.context, link.attributes) for link in links if link is not None)
        valid = [self.link(*parts) for parts in given if is_valid(*parts)]
        return BoundedList.from_seq(self._limits.max_links, valid)

    def link(self, context: SpanContext, attributes: Attributes) -> Link:
        """A link with what is left of its attributes."""
        limits = self._limits
        kept = BoundedAttributes(limits.max_link_attributes, attributes, True, limits.max_attribute_length)
        return Link(context, kept)

    def more_links(self, links: Items, link: Link) -> BoundedList[Any]:
        """`links` and one more."""
        return _more(links, link, self._limits.max_links)


def is_valid(context: SpanContext | None, attributes: Attributes) -> bool:
    """Whether a link has something at its other end, or on it."""
    return context is not None and bool(context.is_valid or attributes or context.trace_state)


def _is_clean(key: object, value: object) -> bool:
    return type(value) in SCALARS and type(key) is str and key != ""


def _more(items: Items, item: Any, most: int | None) -> BoundedList[Any]:
    kept = items if isinstance(items, BoundedList) else BoundedList(most)
    kept.append(item)
    return kept
