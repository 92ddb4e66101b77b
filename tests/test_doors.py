"""The public decorators and scopes as people write them: bare, called, above other decorators, or wrongly."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import logging

import pytest

import codoperf_otel as co
from codoperf_otel.testing import capture_telemetry

DECORATORS = {
    "monitor_performance": co.monitor_performance,
    "monitor_performance()": co.monitor_performance(),
    "monitor_performance(name)": co.monitor_performance("named"),
    "agent": co.agent,
    "agent()": co.agent(),
    "agent(name)": co.agent("named"),
    "tool": co.tool,
    "tool()": co.tool(),
    "tool(name)": co.tool("named"),
    "workflow": co.workflow,
    "workflow()": co.workflow(),
    "workflow(name)": co.workflow("named"),
    "performance_context(name)": co.performance_context("named"),
    "track_resource_usage(name)": co.track_resource_usage("named"),
    "profile_memory_usage": co.profile_memory_usage,
    "cached_function": co.cached_function,
    "cached_function()": co.cached_function(),
}
every_decorator = pytest.mark.parametrize("decorator", DECORATORS.values(), ids=DECORATORS)
named_door = pytest.mark.parametrize(
    "door",
    [
        co.agent,
        co.tool,
        co.workflow,
        co.performance_context,
        co.track_resource_usage,
        co.monitor_performance,
    ],
)


@pytest.mark.parametrize("kind", ["agent", "tool"])
@pytest.mark.parametrize("called", [False, True], ids=["bare", "called"])
def test_agent_and_tool_take_name_and_docstring_of_the_function(capture_telemetry, kind, called):
    """Without a name the decorator takes the function's own, and its docstring as the description."""
    decorator = getattr(co, kind)

    @decorator() if called else decorator
    def search(query):
        """Look it up.

        In the index.
        """
        return query.upper()

    assert search("a") == "A"
    (span,) = capture_telemetry.spans
    assert span.name == {"agent": "invoke_agent search", "tool": "execute_tool search"}[kind]
    assert span.attributes[f"gen_ai.{kind}.name"] == "search"
    assert span.attributes[f"gen_ai.{kind}.description"] == "Look it up.\n\nIn the index."


@pytest.mark.parametrize("kind", ["agent", "tool"])
def test_what_is_given_is_not_taken_from_the_function(capture_telemetry, kind):
    """A given description stays; with a given name there is none unless it is given too."""

    def search():
        """Look it up."""

    getattr(co, kind)(description="mine")(search)()
    getattr(co, kind)("named")(search)()
    described, named = capture_telemetry.spans
    assert described.attributes[f"gen_ai.{kind}.description"] == "mine"
    assert f"gen_ai.{kind}.description" not in named.attributes


def test_names_of_what_is_no_plain_function(capture_telemetry):
    """A partial is named after its function, an object after its class, a C method as it is."""

    class Finder:
        def __call__(self):
            return 1

    def find(what):
        return what

    assert co.tool(functools.partial(find, 2))() == 2
    assert co.tool(Finder())() == 1
    assert co.tool(str.upper)("a") == "A"
    assert [span.name for span in capture_telemetry.spans] == [
        "execute_tool find",
        "execute_tool Finder",
        "execute_tool upper",
    ]
    assert "gen_ai.tool.description" not in capture_telemetry.spans[0].attributes


def test_the_description_of_a_partial(capture_telemetry):
    """It is that of the function, unless the partial has one of its own."""

    def find(what):
        """Find what was lost."""
        return what

    plain = functools.partial(find, 2)
    co.tool(plain)()
    plain.__doc__ = "Find a two."
    co.tool(plain)()
    said = [span.attributes["gen_ai.tool.description"] for span in capture_telemetry.spans]
    assert said == ["Find what was lost.", "Find a two."]


def test_a_nameless_tool_is_no_scope():
    """A `with` block has no function to take a name from."""
    with pytest.raises(TypeError), co.tool():
        pass


@every_decorator
def test_above_a_classmethod(decorator):
    """Written above `@classmethod`, bare or called, the method stays one."""

    class Owner:
        @decorator
        @classmethod
        def method(cls, value):
            return cls, value

    assert Owner.method(1) == (Owner, 1)
    assert Owner().method(value=2) == (Owner, 2)


@every_decorator
def test_above_a_staticmethod(decorator):
    """Written above `@staticmethod`, bare or called, the method stays one."""

    class Owner:
        @decorator
        @staticmethod
        def method(value):
            return value

    assert Owner.method(1) == 1
    assert Owner().method(value=2) == 2


@pytest.mark.parametrize(
    "descriptor", [property, functools.cached_property, functools.singledispatchmethod, classmethod]
)
@every_decorator
def test_above_a_property(decorator, descriptor):
    """What is called through an attribute only is refused, and the message says what to write instead."""
    member = classmethod(property(len)) if descriptor is classmethod else descriptor(lambda self: self)
    with pytest.raises(TypeError, match=f"cannot decorate a .*: put it below @{type(member).__name__}"):
        decorator(member)


@pytest.mark.parametrize(
    "name", sorted(DECORATORS.keys() - {"cached_function"})
)  # that one takes a number first
def test_on_what_is_not_callable(name):
    """What cannot be called is refused at decoration, by its own `repr`."""
    with pytest.raises(TypeError, match=r"not \[3\]: only a callable can be decorated"):
        DECORATORS[name]([3])


@pytest.mark.parametrize("name", [3, b"name", 1.5, ["name"]])
@named_door
def test_a_name_that_is_no_text_is_refused(door, name):
    """A wrong name is a `TypeError` that shows the public function and the value, at decoration."""
    with pytest.raises(TypeError) as error:
        door(name)
    assert door.__name__ in str(error.value)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize("door", [co.performance_context, co.track_resource_usage])
def test_an_operation_without_a_name_is_refused(door):
    """None is no name either, where nothing could stand for it."""
    with pytest.raises(TypeError, match=rf"{door.__name__}: the name must be a text, not None"):
        door(None)


@named_door
def test_an_empty_name_is_refused(door):
    """An empty name is a `ValueError` at decoration."""
    with pytest.raises(ValueError, match=f"{door.__name__}: the name must not be empty"):
        door("")


def test_an_unknown_option_is_refused_under_the_public_name():
    """The error names `monitor_performance` and the option, before anything is decorated."""
    with pytest.raises(TypeError, match=r"monitor_performance\(\) got an unexpected .* 'memroy'"):
        co.monitor_performance(memroy=True)


def test_options_hold_for_a_function_handed_over_directly(capture_telemetry):
    """`monitor_performance(func, memory=True)` heeds its options."""
    co.monitor_performance(len, memory=True)([])
    (span,) = capture_telemetry.spans
    assert span.attributes["codoperf.process.cpu.time"] >= 0


async def drained(source):
    """The items of an async generator."""
    return [item async for item in source]


@pytest.mark.parametrize("door", [co.performance_context, co.track_resource_usage])
def test_an_operation_as_a_decorator(capture_telemetry, door):
    """Each call of the function is one operation, whatever its kind, and the function stays of its kind."""

    @door("operation")
    def function(value):
        return value

    @door("operation")
    async def coroutine(value):
        await asyncio.sleep(0)
        return value

    @door("operation")
    def generator(value):
        yield value

    @door("operation")
    async def async_generator(value):
        yield value

    co.clear_performance_metrics()
    assert function(1) == 1
    assert asyncio.run(coroutine(2)) == 2
    assert list(generator(3)) == [3]
    assert asyncio.run(drained(async_generator(4))) == [4]
    assert [span.name for span in capture_telemetry.spans] == ["operation"] * 4
    assert all("codoperf.cpu.time" in span.attributes for span in capture_telemetry.spans)
    duration = capture_telemetry.metric("codoperf.operation.duration")
    assert duration.point({"codoperf.operation.name": "operation"}).count == 4
    assert co.get_performance_stats("operation")["total_calls"] == 4


def test_an_operations_attributes_are_on_each_call(capture_telemetry):
    """What `performance_context` was given is on the span of each call of what it decorates."""

    @co.performance_context("operation", shard=3)
    def work(left):
        return left and work(left - 1)

    work(2)
    assert [span.attributes["shard"] for span in capture_telemetry.spans] == [3, 3, 3]


def test_a_tracked_function_logs_each_call(caplog):
    """`track_resource_usage` as a decorator makes one log record per call."""
    caplog.set_level(logging.INFO, "codoperf_otel.performance_monitor")

    @co.track_resource_usage("load")
    def load():
        pass

    load()
    load()
    assert [record.operation for record in caplog.records] == ["load", "load"]


def test_an_operation_that_decorates_can_still_be_entered(capture_telemetry):
    """One object is both: decorating with it leaves its `with` as it was."""
    operation = co.performance_context("operation")
    with operation:
        operation(lambda: None)()
    assert capture_telemetry.tree().splitlines() == ["operation", "  operation"]


def test_below_one_span_per_second_the_first_call_has_one(capture_telemetry):
    """A rate below 1 is one span in so many seconds, not none for ever."""

    @co.monitor_performance(max_spans_per_second=0.01)
    def seldom():
        pass

    for _ in range(10):
        seldom()
    assert len(capture_telemetry.spans) == 1


@dataclasses.dataclass
class Answer:
    """What a search gives."""

    numbers: object
    hidden: object = dataclasses.field(default=None, repr=False)


class Tags(set):
    """A set with a name."""


LOOP: list = [1]
LOOP.append(LOOP)
SHORT = [
    None,
    b"x'",
    (1,),
    (),
    {1},
    set(),
    Tags("a"),
    frozenset("a"),
    {"a": {1: [2.5]}},
    collections.deque([1], 3),
    collections.deque([1]),
    collections.defaultdict(list, a=[1]),
    collections.OrderedDict(a=1),
    collections.OrderedDict(),
    collections.Counter("abb"),
    {1: 2}.keys(),
    {1: 2}.values(),
    {1: 2}.items(),
    Answer(Answer([1])),
    range(3),
    LOOP,
]


def shown(value):
    """What a span shows of an argument."""
    with capture_telemetry() as captured:
        co.monitor_performance(capture=("value",))(lambda value: None)(value)
    (span,) = captured.spans
    return span.attributes["codoperf.argument.value"]


@pytest.mark.parametrize("value", SHORT, ids=repr)
def test_a_short_value_is_shown_as_its_repr(value):
    """What is short is shown whole, exactly as `repr` writes it."""
    assert shown(value) == repr(value)


class Counted:
    """Counts how often it is formatted."""

    formatted = 0

    def __repr__(self):
        Counted.formatted += 1
        return "c"


MANY = [Counted() for _ in range(100_000)]
LONG = {
    "list": MANY,
    "tuple": tuple(MANY),
    "set": set(MANY),
    "dict": dict.fromkeys(MANY),
    "values": dict(enumerate(MANY)).values(),
    "deque": collections.deque(MANY),
    "defaultdict": collections.defaultdict(list, a=MANY),
    "OrderedDict": collections.OrderedDict(enumerate(MANY)),
    "Counter": collections.Counter(MANY),
    "dataclass": Answer(MANY),
    "nested": [[MANY] * 1000] * 1000,
    "in a dict": {"a": {"b": MANY}},
}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_a_long_value_is_not_formatted_whole(value):
    """Of a large container no more items are formatted than are shown, whichever way it holds them."""
    Counted.formatted = 0
    text = shown(value)
    assert len(text) == 256
    assert text.endswith("…")
    assert Counted.formatted <= 256


@pytest.mark.parametrize("value", ["x" * 10_000_000, b"x" * 10_000_000], ids=["str", "bytes"])
def test_a_long_text_is_cut(value):
    """Of a long text the first characters are shown."""
    assert shown(value).lstrip("b'").startswith("x" * 253)
    assert len(shown(value)) == 256


def test_a_value_that_cannot_be_shown_is_reported_once(caplog, capture_telemetry):
    """A `repr` or a redaction that fails costs the attribute, not the call, and is one log record."""

    def redact(name, value):
        raise ValueError(name)

    @co.monitor_performance(capture=("value",), redact=redact)
    def call(value):
        return value

    assert [call(number) for number in range(5)] == list(range(5))
    assert len(caplog.records) == 1
    assert "value of a call cannot be shown" in caplog.text
    assert not any("codoperf.argument.value" in span.attributes for span in capture_telemetry.spans)
