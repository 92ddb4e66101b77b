"""What each operation of an agent or program costs, in the OpenTelemetry stack you already run.

Decorate functions, agents and tools; call `configure` once; look at traces and metrics wherever
OTLP goes. Importing this package needs ``opentelemetry-api`` alone.

PYTEST_DONT_REWRITE: pytest may run in a program that has imported this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codoperf_otel.__about__ import __version__
from codoperf_otel.agents import (
    agent,
    current_agent,
    propagate_context,
    propagation_env,
    tool,
    workflow,
)
from codoperf_otel.performance_monitor import (
    Operation,
    PerformanceMonitor,
    clear_performance_metrics,
    current_operation,
    get_performance_stats,
    monitor_performance,
    performance_context,
    profile_function,
    profile_memory_usage,
    track_resource_usage,
)

if TYPE_CHECKING:
    # at run time these are imported at their first use, by `__getattr__`
    from codoperf_otel.agent_reports import AgentFigures, AgentReport, AgentUsage, agent_report
    from codoperf_otel.budgets import Budget, BudgetExceeded
    from codoperf_otel.cache_manager import (
        CacheExplanation,
        CacheInfo,
        CacheManager,
        DiskTier,
        MemoryTier,
        RedisTier,
        cached_function,
        clear_cache,
        get_cache_stats,
    )
    from codoperf_otel.instrumentation import (
        CodoperfInstrumentor,
        instrument,
        instrument_agents,
        uninstrument,
        uninstrument_agents,
    )
    from codoperf_otel.lazy_loader import (
        LazyLoader,
        get_lazy_loader,
        is_loaded,
        lazy_function,
        lazy_import,
        lazy_imports,
        load_module,
    )
    from codoperf_otel.performance_monitor import HAS_PSUTIL, PerformanceMetrics
    from codoperf_otel.resource_tracker import (
        ResourceSnapshot,
        ResourceTracker,
        ResourceTrackingResult,
        benchmark_resource_usage,
        compare_benchmarks,
        create_resource_report,
        track_memory_usage,
    )
    from codoperf_otel.sdk import configure, shutdown
    from codoperf_otel.system_monitor import SystemMetrics, SystemMonitor, get_system_metrics

PERFORMANCE_MONITOR_AVAILABLE = True

__all__ = [
    "HAS_PSUTIL",
    "PERFORMANCE_MONITOR_AVAILABLE",
    "AgentFigures",
    "AgentReport",
    "AgentUsage",
    "Budget",
    "BudgetExceeded",
    "CacheExplanation",
    "CacheInfo",
    "CacheManager",
    "CodoperfInstrumentor",
    "DiskTier",
    "LazyLoader",
    "MemoryTier",
    "Operation",
    "PerformanceMetrics",
    "PerformanceMonitor",
    "RedisTier",
    "ResourceSnapshot",
    "ResourceTracker",
    "ResourceTrackingResult",
    "SystemMetrics",
    "SystemMonitor",
    "__version__",
    "agent",
    "agent_report",
    "benchmark_resource_usage",
    "cached_function",
    "clear_cache",
    "clear_performance_metrics",
    "compare_benchmarks",
    "configure",
    "create_resource_report",
    "current_agent",
    "current_operation",
    "get_cache_stats",
    "get_lazy_loader",
    "get_performance_stats",
    "get_system_metrics",
    "instrument",
    "instrument_agents",
    "is_loaded",
    "lazy_function",
    "lazy_import",
    "lazy_imports",
    "load_module",
    "monitor_performance",
    "performance_context",
    "profile_function",
    "profile_memory_usage",
    "propagate_context",
    "propagation_env",
    "shutdown",
    "tool",
    "track_memory_usage",
    "track_resource_usage",
    "uninstrument",
    "uninstrument_agents",
    "workflow",
]


_MODULES = {
    "agent_reports": ("AgentFigures", "AgentReport", "AgentUsage", "agent_report"),
    "budgets": ("Budget", "BudgetExceeded"),
    "cache_manager": (
        "CacheExplanation",
        "CacheInfo",
        "CacheManager",
        "DiskTier",
        "MemoryTier",
        "RedisTier",
        "cached_function",
        "clear_cache",
        "get_cache_stats",
    ),
    "instrumentation": (
        "CodoperfInstrumentor",
        "instrument",
        "instrument_agents",
        "uninstrument",
        "uninstrument_agents",
    ),
    "lazy_loader": (
        "LazyLoader",
        "get_lazy_loader",
        "is_loaded",
        "lazy_function",
        "lazy_import",
        "lazy_imports",
        "load_module",
    ),
    "resource_tracker": (
        "ResourceSnapshot",
        "ResourceTracker",
        "ResourceTrackingResult",
        "benchmark_resource_usage",
        "compare_benchmarks",
        "create_resource_report",
        "track_memory_usage",
    ),
    "performance_monitor": ("HAS_PSUTIL", "PerformanceMetrics"),
    "sdk": ("configure", "shutdown"),
    "system_monitor": ("SystemMetrics", "SystemMonitor", "get_system_metrics"),
}
_ORIGINS = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _ORIGINS:
        return getattr(import_module(f"codoperf_otel.{_ORIGINS[name]}"), name)
    if name in _MODULES:
        return import_module(f"codoperf_otel.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
