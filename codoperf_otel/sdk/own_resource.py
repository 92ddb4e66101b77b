"""Spans and log records of a forked child, whose providers, and so their resource, are the parent's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from opentelemetry.sdk.resources import Resource

from codoperf_otel.sdk.overlay import Overlay

T = TypeVar("T")


def with_resource(items: Sequence[T], resource: Resource | None) -> Sequence[T]:
    """The same spans or log records, with `resource` where there is one."""
    if resource is None:
        return items
    return [cast("T", Overlay(item, resource=resource)) for item in items]
