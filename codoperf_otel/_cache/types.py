"""What type checkers know of a cached function; at run time nothing needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from codoperf_otel._cache.explanation import CacheExplanation
from codoperf_otel._cache.functions import CacheInfo

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class CachedFunction(Protocol[P, R_co]):
    """A function that `cached_function` made."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, else call the function."""
        ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> CachedFunction[P, R_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None, /
    ) -> CachedFunction[Q, R]: ...

    def cache_bypass(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function. Nothing is looked up, kept or counted."""
        ...

    def cache_refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, and keep what it returns in place of what is kept."""
        ...

    def cache_clear(self) -> None:
        """Forget this function's entries, in memory and on disk. What was counted stays counted."""

    def cache_stats(self) -> dict[str, Any]:
        """``name``, ``hits``, ``misses``, ``memory_items``, ``max_memory_items``, ``disk_files``."""
        ...

    def cache_info(self) -> CacheInfo:
        """``hits, misses, maxsize, currsize``, as `functools.lru_cache` returns it."""
        ...

    def cache_explain(self) -> CacheExplanation:
        """What the keys cover outside memory, and why; ``print`` shows it as text."""
        ...


class Decorator(Protocol):
    def __call__(self, func: Callable[P, R], /) -> CachedFunction[P, R]: ...
