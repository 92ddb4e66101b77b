from codoperf_otel.agents import agent, current_agent, propagate_context, tool
from codoperf_otel.performance_monitor import (
    HAS_PSUTIL,
    PerformanceMetrics,
    PerformanceMonitor,
    clear_performance_metrics,
    get_performance_stats,
    monitor_performance,
    performance_context,
    profile_function,
)
import importlib as _i

for _m, _n in (
    ("cache_manager", ("CacheManager", "cached_function", "clear_cache", "get_cache_stats")),
    ("lazy_loader", ("LazyLoader", "get_lazy_loader", "lazy_function", "lazy_import")),
    ("instrumentation", ("instrument", "uninstrument")),
):
    try:
        _x = _i.import_module(f"codoperf_otel.{_m}")
        globals().update({n: getattr(_x, n) for n in _n})
    except Exception:
        pass


def __getattr__(name):
    if name in {"configure", "shutdown"}:
        from codoperf_otel import sdk

        return getattr(sdk, name)
    raise AttributeError(name)
