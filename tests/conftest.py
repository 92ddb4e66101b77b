"""What several tests share: the real SDK with in-memory exporters, bound for one test."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # its hook must come before that of a provider, which waits for it
import gc
import importlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import real_stack
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scaling import scaled
from valkey import Valkey

from codoperf_otel import _telemetry
from codoperf_otel._calls import (
    drive_coroutines,
    drive_functions,
    drive_generators,
    task_steps,
    thread_clock,
)
from codoperf_otel._readings import sampler

# how long an example takes says more of the machine than of the code; fixtures are the same for all examples
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")

collect_ignore = ["frameworks"]  # each has an environment of its own

# a shell that starts this in the background has SIGINT ignored; the programs of tests that send it need it
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with the marker `measures` has three tries: see CONTRIBUTING.md."""
    for item in items:
        if item.get_closest_marker("measures"):
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=["AssertionError"]))


def pytest_xdist_auto_num_workers() -> int:
    """As many processes as there are cores: what is measured should not wait for others."""
    return os.cpu_count() or 1


class Telemetry:
    """The spans and metrics that one test made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.tracer = self.tracer_provider.get_tracer("test")

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """The finished spans, in the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if name in (None, span.name)]

    def span(self, name: str) -> ReadableSpan:
        """The one finished span of that name."""
        (span,) = self.spans(name)
        return span

    def parent(self, span: ReadableSpan) -> str | None:
        """The name of a span's parent."""
        if span.parent is None:
            return None
        return next(s.name for s in self.spans() if s.context.span_id == span.parent.span_id)

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """The data points of a metric by their attributes; cumulative values."""
        data = self.reader.get_metrics_data()
        return {
            frozenset(point.attributes.items()): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def values(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """The sums, gauges or counts of a metric by their attributes."""
        return {
            key: getattr(p, "value", None) if hasattr(p, "value") else p.count
            for key, p in self.points(name).items()
        }


@pytest.fixture(scope="session", autouse=True)
def freeze_what_is_there() -> Iterator[None]:
    """The cyclic collector looks at what tests make, not at pytest and all modules each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage of other tests is collected at this test's expense."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """The package bound to in-memory exporters, and back to the global providers afterwards."""
    bound = Telemetry()
    _telemetry.bind(bound.tracer_provider, bound.meter_provider)
    yield bound
    _telemetry.bind()
    bound.tracer_provider.shutdown()
    bound.meter_provider.shutdown()


class HandedInClock:
    """A CPU clock per thread that goes on only where something burns."""

    def __init__(self) -> None:
        self.readings: Counter[int] = Counter()

    def __call__(self) -> int:
        return self.readings[threading.get_ident()]

    def burn(self, ms: int) -> None:
        """Use CPU time on this thread."""
        self.readings[threading.get_ident()] += ms * 1_000_000


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> HandedInClock:
    """The clock by which everything in a test is measured."""
    clock = HandedInClock()
    for module in (thread_clock, drive_functions, drive_coroutines, drive_generators, task_steps):
        monkeypatch.setattr(module, "thread_time_ns", clock)
    monkeypatch.setattr(thread_clock.thread.clock, "since_ns", 0)
    return clock


@pytest.fixture
def module_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules can be imported; they are forgotten at the test's end, and those made by hand.

    What came from elsewhere stays: a second copy of a package would have a state of its own.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    new = set(sys.modules) - before
    for name in [name for name in new if not _is_from_elsewhere(sys.modules[name], tmp_path)]:
        del sys.modules[name]


def _is_from_elsewhere(module: object, folder: Path) -> bool:
    try:
        spec = getattr(module, "__spec__", None)
    except Exception:  # a module of a test's that refuses to be asked
        return False
    if not isinstance(spec, ModuleSpec):
        return False
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations or ()
    return any(not Path(str(place)).is_relative_to(folder) for place in places)


@pytest.fixture
def write_modules(module_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes modules of one test; `a__b` is `a.b`.

    They, and import hooks left behind, are forgotten at the test's end.
    """
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def write(**modules: str) -> Path:
        for name, text in modules.items():
            path = module_folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return module_folder

    return write


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[sampler.Sampler]:
    """The shared sampler, for which no time passes: it never calls anybody."""
    never = sampler.Sampler(lambda: 0, lambda changed, seconds: changed.wait(10))
    monkeypatch.setattr(sampler, "shared", never)
    yield never
    for subscriber in list(never._turns):
        never.unsubscribe(subscriber)


@pytest.fixture(scope="session")
def scale() -> Callable[[int], int]:
    """How much of a heavy count is run."""
    return scaled


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real Valkey server of this session."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real_stack.Stack]:
    """A real Collector, Jaeger and Prometheus of this session."""
    folder = tmp_path_factory.mktemp("stack")
    try:
        yield real_stack.start(folder)
    finally:
        real_stack.stop(folder)
