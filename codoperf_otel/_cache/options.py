"""What a cached function was asked for, and what it takes from its manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from codoperf_otel._cache.store import Store


class Manager(Protocol):
    """What a function's cache takes from a `CacheManager`."""

    name: str
    default_ttl: float
    _store: Store


class Options(NamedTuple):
    """What `cached_function` was asked for; `ttl` None stands for the manager's."""

    ttl: float | None = None
    prefix: str | None = None
    version: str | None = None
    key: Callable[..., Any] | None = None
    disk: bool = True
    stale_if_error: float = 0
    span_events: bool = False
    span_links: bool = False
