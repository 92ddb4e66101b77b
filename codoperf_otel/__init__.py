"""What each operation of an agent or program costs, in the OpenTelemetry stack you already run.

Decorate functions, agents and tools; call `configure` once; look at traces and metrics wherever
OTLP goes. Importing this package needs ``opentelemetry-api`` alone.

PYTEST_DONT_REWRITE: pytest may run in a program that has imported this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codoperf_otel.__about__ import __version__
from codoperf_otel.agents import agent, current_agent, propagate_context, tool
from codoperf_otel.cache_manager import (
    CacheInfo,
    CacheManager,
    cached_function,
    clear_cache,
    get_cache_stats,
)
from codoperf_otel.instrumentation import CodoperfInstrumentor, instrument, uninstrument
from codoperf_otel.lazy_loader import LazyLoader, get_lazy_loader, lazy_function, lazy_import
from codoperf_otel.performance_monitor import (
    HAS_PSUTIL,
    Operation,
    PerformanceMetrics,
    PerformanceMonitor,
    SystemMetrics,
    SystemMonitor,
    clear_performance_metrics,
    current_operation,
    get_performance_stats,
    get_system_metrics,
    monitor_performance,
    performance_context,
    profile_function,
    profile_memory_usage,
    track_resource_usage,
)

if TYPE_CHECKING:
    from codoperf_otel.sdk import configure, shutdown

PERFORMANCE_MONITOR_AVAILABLE = True

__all__ = [
    "HAS_PSUTIL",
    "PERFORMANCE_MONITOR_AVAILABLE",
    "CacheInfo",
    "CacheManager",
    "CodoperfInstrumentor",
    "LazyLoader",
    "Operation",
    "PerformanceMetrics",
    "PerformanceMonitor",
    "SystemMetrics",
    "SystemMonitor",
    "__version__",
    "agent",
    "cached_function",
    "clear_cache",
    "clear_performance_metrics",
    "configure",
    "current_agent",
    "current_operation",
    "get_cache_stats",
    "get_lazy_loader",
    "get_performance_stats",
    "get_system_metrics",
    "instrument",
    "lazy_function",
    "lazy_import",
    "monitor_performance",
    "performance_context",
    "profile_function",
    "profile_memory_usage",
    "propagate_context",
    "shutdown",
    "tool",
    "track_resource_usage",
    "uninstrument",
]


def __getattr__(name: str) -> Any:
    if name in {"configure", "shutdown"}:
        from codoperf_otel import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
