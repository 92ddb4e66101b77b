"""Log records: the package's own, as JSON lines, and those of the program over OTLP."""

from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
import math
import queue
import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry import trace

import codoperf_otel
from codoperf_otel._telemetry.records import AREAS
from codoperf_otel.logs import JsonFormatter, add_trace_context

PACKAGE = Path(codoperf_otel.__file__).parent


@pytest.fixture
def span(telemetry):
    """A span that is current, and its ids as texts."""
    with telemetry.tracer.start_as_current_span("around") as opened:
        context = opened.get_span_context()
        yield f"{context.trace_id:032x}", f"{context.span_id:016x}"


def made(level=logging.INFO, text="text", *args, exc_info=None, extra=None, sinfo=None):
    """A record as a logger makes it."""
    return logging.getLogger("shop").makeRecord(
        "shop", level, "/a.py", 7, text, args, exc_info, extra=extra, sinfo=sinfo
    )


def line(record):
    """A record's JSON line, read back; it must be strict JSON."""
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text, parse_constant=lambda constant: pytest.fail(constant))


def failed(error):
    """The exc_info of an exception that was raised."""
    try:
        raise error
    except type(error):
        return sys.exc_info()


# the package's own records


def test_every_logger_of_the_package_is_known():
    """The filter is on each logger that the source names, and no handler on any."""
    named = {
        area
        for path in PACKAGE.rglob("*.py")
        for area in re.findall(r'getLogger\("codoperf_otel\.(\w+)"\)', path.read_text())
    }
    assert named == set(AREAS)
    for area in AREAS:
        assert logging.getLogger(f"codoperf_otel.{area}").handlers == []


@pytest.mark.parametrize("area", AREAS)
def test_own_records_carry_the_span(area, span, caplog):
    """Trace and span id are fields of the record."""
    logging.getLogger(f"codoperf_otel.{area}").warning("something")
    assert (caplog.records[0].trace_id, caplog.records[0].span_id) == span


def test_own_records_outside_any_span_have_no_ids(caplog):
    """What is not there is absent."""
    logging.getLogger("codoperf_otel.cache").warning("something")
    assert not hasattr(caplog.records[0], "trace_id")


@pytest.mark.parametrize(
    ("args", "more"),
    [
        pytest.param((), {"exc_info": failed(KeyError("x"))}, id="raised"),
        pytest.param((KeyError("x"),), {}, id="in the text"),
        pytest.param((), {"extra": {"error": "KeyError"}}, id="named"),
    ],
)
def test_own_records_name_the_error(args, more, caplog):
    """The class of the exception is a field."""
    logging.getLogger("codoperf_otel.cache").warning("something %s" if args else "something", *args, **more)
    assert caplog.records[0].error == "KeyError"


def test_a_tracked_operation_logs_under_its_own_span(telemetry, caplog):
    """Its record has the ids of its span, although that has ended its work."""
    caplog.set_level(logging.INFO, "codoperf_otel.performance_monitor")
    with codoperf_otel.track_resource_usage("load"):
        pass
    context = telemetry.span("load").context
    assert caplog.records[0].span_id == trace.format_span_id(context.span_id)
    assert caplog.records[0].trace_id == trace.format_trace_id(context.trace_id)


def test_other_loggers_are_left_alone(span, caplog):
    """Records of the program are not changed, nor are other loggers."""
    logging.getLogger("shop").warning("something")
    assert not hasattr(caplog.records[0], "trace_id")
    assert logging.getLogger("codoperf_otel").filters == logging.getLogger().filters == []


# JSON lines


def test_a_line_has_these_fields_in_this_order(span):
    """Timestamp in UTC, severity, logger, message, ids, then the extra fields."""
    record = made(logging.WARNING, "%d left", 3, extra={"article": "tea", "price": 2.5})
    found = line(record)
    created = datetime.fromtimestamp(record.created, UTC)
    assert found.pop("timestamp") == created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert list(found.items()) == [
        ("severity", "WARNING"),
        ("logger", "shop"),
        ("message", "3 left"),
        ("trace_id", span[0]),
        ("span_id", span[1]),
        ("article", "tea"),
        ("price", 2.5),
    ]


def test_a_line_outside_any_span_has_no_ids():
    """Nothing stands in for them."""
    assert list(line(made())) == ["timestamp", "severity", "logger", "message"]


def test_a_line_has_the_exception():
    """Type, message and stack trace are under the names of OpenTelemetry's convention."""
    found = line(made(exc_info=failed(json.JSONDecodeError("bad", "x", 0))))
    assert found["exception.type"] == "json.decoder.JSONDecodeError"
    assert found["exception.message"] == "bad: line 1 column 1 (char 0)"
    assert found["exception.stacktrace"].startswith("Traceback (most recent call last):\n")


def test_a_line_has_the_stack():
    """`stack_info=True` is not lost."""
    assert line(made(sinfo="Stack (most recent call last): …"))["code.stacktrace"].startswith("Stack")


class Unprintable:
    """Its `repr` fails."""

    def __repr__(self):
        raise RuntimeError


class MuteError(Exception):
    """Its text fails."""

    def __str__(self):
        raise RuntimeError


def cycle():
    """A list that holds itself."""
    ring = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(math.nan, "nan", id="no number"),
        pytest.param([1, -math.inf], "[1, -inf]", id="infinite"),
        pytest.param({1, 2}, "{1, 2}", id="set"),
        pytest.param({(1, 2): 3}, "{(1, 2): 3}", id="keys"),
        pytest.param(cycle(), "[[...]]", id="cycle"),
        pytest.param(Unprintable(), "<Unprintable>", id="repr fails"),
        pytest.param({"in": Unprintable()}, {"in": "<Unprintable>"}, id="inner repr fails"),
        pytest.param(Path("/a"), repr(Path("/a")), id="object"),
        pytest.param("\ud800", "\ud800", id="surrogate"),
    ],
)
def test_what_json_cannot_hold_is_its_repr(value, shown):
    """The line stays whole and strict JSON."""
    assert line(made(extra={"value": value}))["value"] == shown


def test_the_formatter_never_raises():
    """Arguments that do not fit, an exception without a text, a time that is none."""
    assert line(made(logging.INFO, "%d left", "a", "b"))["message"] == "'%d left' ('a', 'b')"
    found = line(made(exc_info=failed(MuteError())))
    assert found["exception.type"] == f"{__name__}.MuteError"
    assert found["exception.message"] == ""
    assert line(logging.makeLogRecord({"created": math.inf}))["timestamp"] == "inf"


def test_extra_fields_do_not_replace_the_lines_own():
    """Who names a field like one of the line's own loses it."""
    assert line(made(extra={"severity": "mine", "logger": "mine"}))["severity"] == "INFO"


def test_it_can_be_named_in_a_logging_configuration(capsys, span):
    """`dictConfig` makes it like any formatter."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"class": "codoperf_otel.logs.JsonFormatter"}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "json"}},
            "loggers": {"configured": {"handlers": ["out"], "propagate": False}},
        }
    )
    logging.getLogger("configured").warning("something")
    assert json.loads(capsys.readouterr().err)["span_id"] == span[1]


@pytest.mark.parametrize("filtered", [True, False])
def test_a_line_that_is_formatted_in_another_thread(telemetry, span, filtered):
    """It has the ids that the filter took when it was made, else none: never those of another span."""
    lines = []
    target = logging.Handler()
    target.emit = lambda record: lines.append(line(record))
    records = queue.Queue()
    handler = logging.handlers.QueueHandler(records)
    if filtered:
        handler.addFilter(add_trace_context)
    handler.handle(made(logging.INFO, "text"))

    def listen():
        with telemetry.tracer.start_as_current_span("elsewhere"):
            target.handle(records.get())

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert lines[0].get("span_id") == (span[1] if filtered else None)
