"""Platforms with fewer readings: without `/proc`, `resource`, `fork` and psutil all imports and works.

The platform is this one with all that taken away before the package is imported; it stands in for a real
macOS and a real Windows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has"),
]

# what each platform lacks of what Linux has
LACKS = {
    "darwin": {"os": ["sched_getaffinity"], "time": ["CLOCK_BOOTTIME"], "modules": []},
    "win32": {
        "os": [
            "O_CLOEXEC", "fchmod", "fork", "geteuid", "getuid", "pread", "register_at_fork",
            "sched_getaffinity", "sysconf", "uname", "wait4",
        ],
        "time": ["CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "clock_gettime"],
        "modules": ["fcntl", "grp", "pwd", "resource", "termios"],
    },
}  # fmt: skip

# the SDK and the standard library are loaded as they are here; only this package meets the other platform
TAKE_AWAY = """
import builtins, errno, io, json, os, pkgutil, sys, time
import codoperf_otel
import opentelemetry.sdk.metrics.export, opentelemetry.sdk.trace.export.in_memory_span_exporter

def modules():
    for found in pkgutil.walk_packages(codoperf_otel.__path__, "codoperf_otel."):
        if not found.name.endswith("__main__"):
            yield __import__(found.name)

list(modules())
for name in [name for name in sys.modules if name.partition(".")[0] == "codoperf_otel"]:
    del sys.modules[name]

platform, lacks = sys.argv[1], json.loads(sys.argv[2])
sys.platform = platform
for module in (os, time):
    for name in lacks[module.__name__]:
        delattr(module, name)
sys.modules.update(dict.fromkeys([*lacks["modules"], "psutil"]))

def without_proc(function):
    def guarded(path, *args, **kwargs):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return function(path, *args, **kwargs)
    return guarded

builtins.open = io.open = without_proc(io.open)
for name in ("open", "stat", "listdir"):
    setattr(os, name, without_proc(getattr(os, name)))
os.access = lambda path, *_, access=os.access: not str(path).startswith("/proc") and access(path, *_)

import codoperf_otel
"""

IMPORTS = """
print(len(list(modules())))
"""

CALLS = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

@codoperf_otel.monitor_performance("function", memory=True)
def function(): return sum(range(100_000))

@codoperf_otel.monitor_performance("generator")
def generator(): yield from (1, 2)

@codoperf_otel.monitor_performance("coroutine")
async def coroutine():
    await asyncio.sleep(0)
    return 3

@codoperf_otel.monitor_performance("stream")
async def stream():
    yield 4

async def main():
    return [await coroutine(), *[item async for item in stream()]]

@codoperf_otel.tool("tool")
@codoperf_otel.profile_memory_usage
def profiled(): return 5

with codoperf_otel.agent("agent"), codoperf_otel.performance_context("operation"):
    found = [function(), *generator(), *asyncio.run(main()), profiled()]
assert found == [4999950000, 1, 2, 3, 4, 5], found
stats = codoperf_otel.get_performance_stats("function")
assert stats["total_calls"] == 1
print(json.dumps({span.name: sorted(span.attributes) for span in exporter.get_finished_spans()}))
"""

READINGS = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
codoperf_otel.instrument(meter_provider=MeterProvider([reader], shutdown_on_exit=False), system=True)
print(json.dumps([
    metric.name
    for group in reader.get_metrics_data().resource_metrics
    for scope in group.scope_metrics
    for metric in scope.metrics
    if metric.data.data_points
]))
machine = codoperf_otel.get_system_metrics()
assert machine["disk_free_gb"] > 0
assert machine["memory_total_mb"] is None
with codoperf_otel.SystemMonitor(interval=0.01):
    pass
"""

CACHE = """
from codoperf_otel.cache_manager import CacheManager

cache = CacheManager()
cache.set("key", {"a": 1})
assert CacheManager().get("key") == {"a": 1}

@codoperf_otel.cached_function
def double(x): return 2 * x
assert (double(2), double(2), double.cache_info().hits) == (4, 4, 1)
print(cache.cache_dir)
"""

CONFIGURE = """
with codoperf_otel.configure("shop", file="out") as handle:
    with codoperf_otel.performance_context("operation"):
        pass
    assert handle.force_flush()
from pathlib import Path
print(*[len(Path("out", f"{signal}.jsonl").read_text().splitlines()) for signal in ("traces", "metrics")])
"""


@pytest.fixture(params=LACKS)
def platform(request):
    """The name of the platform."""
    return request.param


@pytest.fixture
def on(platform, tmp_path):
    """Runs a program on that platform, in a folder of its own, and gives what it printed."""

    def run(program):
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("OTEL_", "CODOPERF_", "XDG_"))}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", TAKE_AWAY + program, platform, json.dumps(LACKS[platform])],
            env={**kept, "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path / "Local")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


def test_every_module_imports(on):
    """None needs at its import what only Linux has."""
    assert int(on(IMPORTS)) > 80


def test_monitored_calls_work(on):
    """Calls of every kind have their spans and CPU times; memory, which nothing tells here, is absent."""
    spans = json.loads(on(CALLS))
    assert set(spans) == {
        "function", "generator", "coroutine", "stream", "execute_tool tool", "invoke_agent agent",
        "operation", "__main__.profiled",
    }  # fmt: skip
    assert all("codoperf.cpu.time" in attributes for attributes in spans.values())
    assert not [name for attributes in spans.values() for name in attributes if "memory" in name]


def test_readings_are_those_that_there_are(on, platform):
    """What the standard library gives is reported, the rest is left out."""
    found = {name for name in json.loads(on(READINGS)) if not name.startswith("codoperf.")}
    everywhere = {
        "process.cpu.time", "cpython.gc.collections", "cpython.gc.collected_objects",
        "cpython.gc.uncollectable_objects", "system.filesystem.utilization",
    }  # fmt: skip
    of_rusage = {"process.context_switches", "process.paging.faults"}
    assert found == everywhere | (of_rusage if platform == "darwin" else set())


def test_the_cache_stands_in_the_users_folder(on, platform, tmp_path):
    """Memory and disk tier work, in the platform's own folder for caches."""
    folder = on(CACHE).strip()
    assert folder.startswith(str(tmp_path / {"darwin": "Library/Caches", "win32": "Local"}[platform]))


def test_configure_writes_files(on):
    """`configure` sends spans and metrics where nothing can fork."""
    assert on(CONFIGURE).split() == ["1", "2"]
