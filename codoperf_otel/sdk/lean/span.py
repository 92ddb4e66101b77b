"""The lean span."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from threading import RLock
from time import time_ns
from types import MappingProxyType, TracebackType
from typing import Any, Protocol

from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes

from codoperf_otel.sdk.lean.bounds import Bounds, Items, Values, is_valid

log = logging.getLogger("opentelemetry.sdk.trace")  # misuse of a span is reported as the SDK does

_UNSET = Status(StatusCode.UNSET)
_Lock = type(RLock())  # `RLock` itself is a function around it


class Source(Protocol):
    """The tracer of a span: what all its spans have in common."""

    stock: sdk.Tracer
    info: InstrumentationInfo
    scope: InstrumentationScope
    bounds: Bounds


class LeanSpan(sdk.Span):
    """A span of plain values that becomes the SDK's `ReadableSpan` at its end.

    It is an `sdk.Span` for those who ask for the type. It uses only `record_exception` of that class. Two
    underscores keep its own fields apart from those of the class.
    """

    __slots__ = (
        "__attributes", "__context", "__end_time", "__events", "__fails_on_exception", "__kind", "__links",
        "__lock", "__name", "__parent", "__processor", "__records_exception", "__resource", "__source",
        "__start_time", "__status",
    )  # fmt: skip

    def fill(
        self,
        source: Source,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link],
        start_time: int | None,
        records_exception: bool,
        fails_on_exception: bool,
    ) -> None:
        """Begin. A constructor would have to call the SDK's."""
        stock = source.stock
        bounds = source.bounds
        self.__source = source
        self.__processor = stock.span_processor
        self.__resource = stock.resource
        self.__lock = _Lock()  # as the handler that a warning of the SDK reaches may write on the span
        self.__name = name
        self.__context = context
        self.__parent = parent
        self.__kind = kind
        self.__attributes: Values = bounds.first(attributes) if attributes else {}
        self.__events: Items = ()
        self.__links: Items = bounds.links(links) if links else ()
        self.__status = _UNSET
        self.__records_exception = records_exception
        self.__fails_on_exception = fails_on_exception
        self.__start_time = time_ns() if start_time is None else start_time
        self.__end_time: int | None = None

    def start(self, *_arguments: Any, **_named: Any) -> None:
        """Nothing: the tracer starts it."""
        log.warning("Calling start() on a started span.")

    def is_recording(self) -> bool:
        return self.__end_time is None

    def get_span_context(self) -> SpanContext:
        return self.__context

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        with self.__lock:
            if self.__end_time is None:
                self.__attributes = self.__source.bounds.add(self.__attributes, attributes)
            else:
                log.warning("Setting attribute on ended span.")

    def set_attribute(self, key: str, value: Any) -> None:
        with self.__lock:
            if self.__end_time is None:
                self.__attributes = self.__source.bounds.put(self.__attributes, key, value)
            else:
                log.warning("Setting attribute on ended span.")

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        bounds = self.__source.bounds
        event = bounds.event(name, attributes, timestamp)
        with self.__lock:
            if self.__is_open("_add_event"):
                self.__events = bounds.more_events(self.__events, event)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if not is_valid(context, attributes):
            return
        bounds = self.__source.bounds
        link = bounds.link(context, attributes)
        with self.__lock:
            if self.__is_open("_add_link"):
                self.__links = bounds.more_links(self.__links, link)

    def update_name(self, name: str) -> None:
        with self.__lock:
            if self.__is_open("update_name"):
                self.__name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        with self.__lock:
            if self.__is_open("set_status"):
                self.__status = self.__status_after(status, description)

    def __is_open(self, call: str) -> bool:
        """Whether it has not ended; if it has, complain about the call."""
        if self.__end_time is None:
            return True
        log.warning("Tried calling %s on an ended span.", call)
        return False

    def __status_after(self, status: Status | StatusCode, description: str | None) -> Status:
        """The status after another one is set: OK stays, and UNSET changes nothing."""
        code = status.status_code if isinstance(status, Status) else status
        if self.__status.status_code is StatusCode.OK or code is StatusCode.UNSET:
            return self.__status
        if isinstance(status, StatusCode):
            return Status(status, description)
        if description is not None:
            log.warning(
                "Description %s ignored. Use either `Status` or `(StatusCode, Description)`", description
            )
        return status

    def end(self, end_time: int | None = None) -> None:
        with self.__lock:
            if self.__end_time is not None:
                log.warning("Calling end() on an ended span.")
                return
            self.__end_time = time_ns() if end_time is None else end_time
        self.__processor.on_end(self.__readable())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.is_recording():
            if self.__records_exception:
                self.record_exception(error, escaped=True)
            if self.__fails_on_exception:
                self.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        self.end()

    def __readable(self) -> ReadableSpan:
        source = self.__source
        return ReadableSpan(  # by position, as keywords take twice as long
            self.__name,
            self.__context,
            self.__parent,
            self.__resource,
            self.__attributes,
            self.__events,
            self.__links,
            self.__kind,
            source.info,
            self.__status,
            self.__start_time,
            self.__end_time,
            source.scope,
        )

    @property
    def name(self) -> str:
        return self.__name

    @property
    def context(self) -> SpanContext:
        return self.__context

    @property
    def parent(self) -> SpanContext | None:
        return self.__parent

    @property
    def kind(self) -> SpanKind:
        return self.__kind

    @property
    def resource(self) -> Resource:
        return self.__resource

    @property
    def attributes(self) -> Mapping[str, Any]:
        return MappingProxyType(self.__attributes)

    @property
    def events(self) -> Sequence[Event]:
        return tuple(self.__events)

    @property
    def links(self) -> Sequence[Link]:
        return tuple(self.__links)

    @property
    def status(self) -> Status:
        return self.__status

    @property
    def start_time(self) -> int:
        return self.__start_time

    @property
    def end_time(self) -> int | None:
        return self.__end_time

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        return self.__source.scope

    @property
    def instrumentation_info(self) -> InstrumentationInfo:
        return self.__source.info

    @property
    def dropped_attributes(self) -> int:
        return self.__readable().dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self.__readable().dropped_events

    @property
    def dropped_links(self) -> int:
        return self.__readable().dropped_links

    def to_json(self, indent: int | None = 4) -> str:
        return str(self.__readable().to_json(indent))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(name="{self.__name}", context={self.__context})'
