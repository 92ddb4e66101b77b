"""Let the program's own parts of telemetry fail or call monitored code, and say what became of the calls.

foreign.py SETUP FOLDER

SETUP is one of SETUPS. Each case runs in a forked child of its own; one JSON object is printed, case by case.
"""

import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import RandomIdGenerator, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

import codoperf_otel as co

CALLS = 600
FOLDER = Path(sys.argv[2])


@co.monitor_performance("helper")
def helper():
    """What foreign code calls."""


class Foreign:
    """What foreign code does wherever it is asked: it fails, or it calls monitored code."""

    def __init__(self, behaviour):
        self.asked = 0
        self.act = {"fails": self.fail, "calls": helper}[behaviour]

    def fail(self):
        raise ValueError("foreign")

    def __call__(self):
        self.asked += 1
        self.act()


class Sampling(Sampler):
    def __init__(self, foreign):
        self.foreign = foreign

    def should_sample(self, *args, **kwargs):
        self.foreign()
        return ALWAYS_ON.should_sample(*args, **kwargs)

    def get_description(self):
        return "foreign"


class Starting(SpanProcessor):
    def __init__(self, foreign):
        self.foreign = foreign

    def on_start(self, span, parent_context=None):
        self.foreign()


class Ending(SpanProcessor):
    def __init__(self, foreign):
        self.foreign = foreign

    def on_end(self, span):
        self.foreign()


class Exporting(SpanExporter):
    def __init__(self, foreign):
        self.foreign = foreign

    def export(self, spans):
        self.foreign()
        return SpanExportResult.SUCCESS


class Numbering(RandomIdGenerator):
    def __init__(self, foreign):
        self.foreign = foreign

    def generate_span_id(self):
        self.foreign()
        return super().generate_span_id()


class Sending(MetricExporter):
    def __init__(self, foreign):
        super().__init__()
        self.foreign = foreign

    def export(self, metrics_data, timeout_millis=0, **_):
        self.foreign()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=0):
        return True

    def shutdown(self, timeout_millis=0, **_):
        pass


class Choosing:
    """An exemplar filter."""

    def __init__(self, foreign):
        self.foreign = foreign

    def should_sample(self, value, time_unix_nano, attributes, context):
        self.foreign()
        return True


class Logging(logging.Handler):
    def __init__(self, foreign):
        super().__init__()
        self.foreign = foreign

    def handle(self, record):
        self.foreign()


class Shown:
    """An argument."""

    def __init__(self, foreign):
        self.foreign = foreign

    def __repr__(self):
        self.foreign()
        return "shown"


class SaidError(Exception):
    """An error."""

    def __init__(self, foreign):
        self.foreign = foreign

    def __str__(self):
        self.foreign()
        return "said"


class Case:
    """The parts of one case, and the function that is called."""

    def __init__(self):
        self.sampler = ALWAYS_ON
        self.ids = RandomIdGenerator()
        self.processors = []
        self.readers = []
        self.exemplars = {}
        self.function = co.monitor_performance("function")(lambda: 1)
        self.spans = InMemorySpanExporter()


def sampler(case, foreign):
    case.sampler = Sampling(foreign)


def span_ids(case, foreign):
    case.ids = Numbering(foreign)


def processor_at_start(case, foreign):
    case.processors = [Starting(foreign)]


def processor_at_end(case, foreign):
    case.processors = [Ending(foreign)]


def exporter(case, foreign):
    case.processors = [SimpleSpanProcessor(Exporting(foreign))]


def exporter_of_batches(case, foreign):
    case.processors = [BatchSpanProcessor(Exporting(foreign))]


def metric_exporter(case, foreign):
    case.readers = [PeriodicExportingMetricReader(Sending(foreign), export_interval_millis=20)]


def exemplar_filter(case, foreign):
    case.exemplars = {"exemplar_filter": Choosing(foreign)}


def log_handler(case, foreign):
    """Something fails, so that there is something to log."""
    case.processors = [Ending(Foreign("fails"))]
    logging.getLogger("codoperf_otel").addHandler(Logging(foreign))


def log_of_a_tracked_call(case, foreign):
    logging.getLogger("codoperf_otel.performance_monitor").addHandler(Logging(foreign))
    logging.getLogger("codoperf_otel").setLevel(logging.INFO)
    case.function = co.track_resource_usage("function")(lambda: 1)


def redaction(case, foreign):
    def redact(name, value):
        foreign()
        return value

    options = {"capture": ("value", "return"), "redact": redact}
    case.function = co.monitor_performance("function", **options)(lambda value=2: value)


def argument(case, foreign):
    shown = Shown(foreign)
    case.function = co.monitor_performance("function", capture=("value",))(lambda value=shown: 1)


def exception_text(case, foreign):
    @co.monitor_performance("function")
    def failing():
        raise SaidError(foreign)

    def function():
        try:
            failing()
        except SaidError:
            pass

    case.function = function


PARTS = (
    sampler,
    span_ids,
    processor_at_start,
    processor_at_end,
    exporter,
    exporter_of_batches,
    metric_exporter,
    exemplar_filter,
    log_handler,
    log_of_a_tracked_call,
    redaction,
    argument,
    exception_text,
)
OWN_PROVIDERS = {sampler, span_ids, metric_exporter, exemplar_filter}


def instrumented(case):
    reader = InMemoryMetricReader()
    provider = TracerProvider(sampler=case.sampler, id_generator=case.ids, shutdown_on_exit=False)
    meters = MeterProvider([*case.readers, reader], **case.exemplars, shutdown_on_exit=False)
    for processor in case.processors:
        provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(case.spans))
    co.instrument(tracer_provider=provider, meter_provider=meters)

    def end():
        provider.force_flush()
        try:
            meters.force_flush()
            return json.loads(reader.get_metrics_data().to_json())["resource_metrics"]
        except Exception:  # an exemplar filter that fails
            return []

    return end


def lean(case):
    os.environ["CODOPERF_OTEL_LEAN_SPANS"] = "true"
    return instrumented(case)


def configured(case):
    folder = FOLDER / f"{os.getpid()}"
    co.configure("foreign", file=folder)
    for processor in (*case.processors, SimpleSpanProcessor(case.spans)):
        trace.get_tracer_provider().add_span_processor(processor)

    def end():
        co.shutdown()
        *_, last = (folder / "metrics.jsonl").read_text().splitlines()
        return json.loads(last)["resourceMetrics"]

    return end


SETUPS = {"instrument": instrumented, "lean spans": lean, "configure": configured}


def points(data):
    """The points of all metrics, as (metric, attributes, what it says)."""
    for resource in data:
        for scope in resource.get("scope_metrics") or resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                kind = metric.get("data") or metric.get("histogram") or metric.get("sum") or metric["gauge"]
                for point in kind.get("data_points") or kind.get("dataPoints"):
                    yield metric["name"], str(point.get("attributes")), point


def value_of(point):
    """What a point counts or sums up."""
    names = ("count", "value", "asInt", "asDouble")
    return float(next(point[name] for name in names if name in point))


def run(part, behaviour):
    """What became of the calls of one case."""
    foreign, case, escaped = Foreign(behaviour), Case(), []
    logged = []
    for area in ("sdk", "calls", "telemetry", "performance_monitor", "export", "readings"):
        logging.getLogger(f"codoperf_otel.{area}").addFilter(
            lambda record: logged.append(record.levelname) or True
        )
    part(case, foreign)
    end = SETUPS[sys.argv[1]](case)
    for _ in range(CALLS):
        try:
            case.function()
        except BaseException as error:
            escaped.append(repr(error))
    data = list(points(end()))
    statistics = {
        name: co.get_performance_stats(name).get("total_calls", 0) for name in ("function", "helper")
    }
    mine = [(name, value_of(point)) for name, attributes, point in data if "helper" not in attributes]
    return {
        "escaped": escaped[:3],
        "asked": foreign.asked,
        "logged": sum(level != "INFO" for level in logged),
        "function": statistics["function"],
        "helper": statistics["helper"],
        "durations": sum(
            value for name, value in mine if name.endswith((".function.duration", ".operation.duration"))
        ),
        "has CPU time": any(name.endswith(("function.cpu.time", "operation.cpu.time")) for name, _ in mine),
        "active": sum(value_of(point) for name, _, point in data if name.endswith(".active")),
        "helper spans": sum(span.name == "helper" for span in case.spans.get_finished_spans()),
        "current": trace.get_current_span().get_span_context().is_valid,
    }


def in_a_child(part, behaviour):
    """The same in a process of its own; None where that ends badly."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            os.write(writing, json.dumps(run(part, behaviour)).encode())
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    return json.loads(os.read(reading, 1 << 16)) if status == 0 else None


logging.getLogger("codoperf_otel").propagate = False
logging.getLogger("codoperf_otel").addHandler(logging.NullHandler())
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
cases = {
    f"{part.__name__} {behaviour}": in_a_child(part, behaviour)
    for part in PARTS
    for behaviour in ("fails", "calls")
    if sys.argv[1] != "configure" or part not in OWN_PROVIDERS
}
print(json.dumps(cases))
