"""What a program returns and raises reaches its caller, also where its own methods or its metaclass fail."""

from __future__ import annotations

import asyncio

import pytest

import codoperf_otel as co


def failing(*_):
    """A method that fails."""
    raise RuntimeError("foreign")


def made_by(**methods):
    """An object whose class has a metaclass with these methods."""
    return type("Meta", (type,), methods)("Made", (), {})()


def error_of(base, *arguments, **methods):
    """An exception whose class has these methods."""
    return type("Odd", (base,), methods)(*arguments)


RESULTS = {
    "no attribute of the class": made_by(__getattr__=failing),
    "every attribute of the class": made_by(__getattr__=lambda *_: failing),
    "no attribute at all": made_by(__getattribute__=failing),
    "a class that cannot be hashed": made_by(__eq__=failing),
    "no attribute of the object": type("Odd", (), {"__getattribute__": failing})(),
    "no truth and no text": type("Odd", (), dict.fromkeys(("__bool__", "__repr__", "__eq__"), failing))(),
}
ERRORS = {
    "class": error_of(Exception, __class__=property(failing)),
    "exit code": error_of(SystemExit, code=property(failing)),
    "truth of the exit code": SystemExit(type("Odd", (), {"__bool__": failing})()),
    "split": error_of(ExceptionGroup, "several", [ValueError()], split=failing),
    "text": error_of(Exception, __str__=failing, __repr__=failing),
    "traceback": error_of(Exception, __traceback__=property(failing)),
    "context": error_of(Exception, __context__=property(failing), __cause__=property(failing)),
    "all attributes": error_of(Exception, __getattribute__=failing),
    "name": type("Meta", (type,), {"__module__": property(failing)})("Odd", (Exception,), {})(),
}


def block(func):
    """Runs a function in a block."""

    def inside(*arguments):
        with co.performance_context("block"):
            return func(*arguments)

    return inside


WAYS = {
    "function": co.monitor_performance("function"),
    "captured": co.monitor_performance("captured", capture=("value", "return")),
    "tool": co.tool("tool"),
    "agent with a budget": co.agent("agent", budget=co.Budget(tool_calls=1)),
    "tracked": co.track_resource_usage("tracked"),
    "late span": co.monitor_performance("late", min_span_duration=1e-9),
    "block": block,
}
ways = pytest.mark.parametrize("way", WAYS)


def same(value):
    return value


def throw(value):
    raise value


async def same_later(value):
    await asyncio.sleep(0)
    return value


async def throw_later(value):
    await asyncio.sleep(0)
    raise value


def run(coroutine):
    """What a coroutine returns, without a loop, which would ask for an exception's class."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        return end.value


def caught(func, error):
    """What comes where an error is raised."""
    try:
        func(error)
    except BaseException as found:
        return found


@pytest.mark.usefixtures("capture_telemetry")
@ways
def test_what_is_returned(way):
    """Every result comes as it is, from functions and coroutines."""
    function = WAYS[way](same)
    assert [name for name, value in RESULTS.items() if function(value) is not value] == []
    if way != "block":
        later = WAYS[way](same_later)
        assert [name for name, value in RESULTS.items() if run(later(value)) is not value] == []


@ways
def test_what_is_raised(way, capture_telemetry):
    """Every exception comes as it is, and ends a call and its span."""
    function = WAYS[way](throw)
    assert [name for name, error in ERRORS.items() if caught(function, error) is not error] == []
    assert len(capture_telemetry.spans) == len(ERRORS)
    if way != "block":
        later = WAYS[way](throw_later)
        awaited = {name: caught(lambda error: run(later(error)), error) for name, error in ERRORS.items()}
        assert [name for name, error in awaited.items() if error is not ERRORS[name]] == []


def test_an_error_whose_class_cannot_be_told(capture_telemetry):
    """It has the value of OpenTelemetry's convention for such."""
    caught(co.monitor_performance("function")(throw), ERRORS["name"])
    assert capture_telemetry.span("function").attributes["error.type"] == "_OTHER"
