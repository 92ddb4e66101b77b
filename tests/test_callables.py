"""What callables promise to those who look at them or call them, and decorated ones keep as plain ones do."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import doctest
import functools
import gc
import inspect
import itertools
import operator
import pickle
import sys
import types
import typing
import unittest.mock
import weakref
import xmlrpc.client
from collections.abc import Callable

import pytest
from decorators import MONITORING, monitoring

import codoperf_otel as co

CACHING = {"cached_function": co.cached_function}
decorating = pytest.mark.parametrize("decorator", (MONITORING | CACHING).values(), ids=MONITORING | CACHING)

pytestmark = pytest.mark.usefixtures("capture_telemetry")


def function(left: int, /, right: str = "r", *rest: float, key: Later = None, **more: bytes) -> Later | None:
    """Adds nothing.

    >>> 1 + 1
    2
    """
    return (left, right, rest, key, more)


class Later:
    """Stands after what is annotated with it."""


async def coroutine_function(value: Later = None) -> Later:
    """Suspends once."""
    await asyncio.sleep(0)
    return value


def generator_function(value: int = 1) -> typing.Iterator[int]:
    """Yields twice."""
    got = yield value
    return (yield got)


async def async_generator_function(value: int = 1) -> typing.AsyncIterator[int]:
    """Yields twice."""
    got = yield value
    yield got


@types.coroutine
def generator_based_coroutine(value: int = 5):
    """Suspends once, as coroutines did before they had a keyword."""
    yield
    return value


class Thing:
    """Has methods of every kind."""

    def method(self, value: int, *, key: str = "k") -> tuple:
        """Gives what it gets."""
        return self, value, key

    async def coroutine_method(self, value: int) -> tuple:
        """Gives what it gets, later."""
        return self, value

    def __call__(self, value: int = 2) -> int:
        """Doubles."""
        return 2 * value


if sys.version_info >= (3, 12):
    marked = inspect.markcoroutinefunction(lambda value=5: asyncio.ensure_future(asyncio.sleep(0, value)))
else:
    marked = None

THING = Thing()
CALLABLES = {
    "function": function,
    "lambda": lambda value, key=1: value,
    "coroutine function": coroutine_function,
    "generator function": generator_function,
    "async generator function": async_generator_function,
    "generator-based coroutine": generator_based_coroutine,
    "marked coroutine function": marked,
    "function of a class": Thing.method,
    "bound method": THING.method,
    "bound coroutine method": THING.coroutine_method,
    "object": THING,
    "partial": functools.partial(function, 1, key=2),
    "partial of a coroutine function": functools.partial(coroutine_function, 1),
    "partial of a generator function": functools.partial(generator_function, 1),
    "lru_cache": functools.lru_cache(lambda value: value),
    "singledispatch": functools.singledispatch(lambda value: value),
    "built-in function": len,
    "built-in method": [3, 1, 2].index,
    "method of a built-in class": str.upper,
    "class method of a built-in class": dt.datetime.fromisoformat,
    "special method of a built-in class": int.__add__,
    "special method of a number": (5).__add__,
    "itemgetter": operator.itemgetter(1),
    "mock": unittest.mock.Mock(return_value=1),
    "object that has every attribute": xmlrpc.client._Method(lambda name, args: name, "call"),
}
CALLABLES = {name: made for name, made in CALLABLES.items() if made is not None}
BOUND = {
    "bound method",
    "bound coroutine method",
    "object",
    "built-in method",
    "class method of a built-in class",
    "special method of a number",
    "itemgetter",
    "mock",
    "object that has every attribute",
}
CACHED = ("function", "coroutine function", "partial", "lru_cache", "method of a built-in class")
every_callable = pytest.mark.parametrize(
    ("decorator", "plain"),
    [
        pytest.param(decorator, plain, id=f"{how}-{what}")
        for (how, decorator), (what, plain) in itertools.product(MONITORING.items(), CALLABLES.items())
    ]
    + [
        pytest.param(decorator, CALLABLES[what], id=f"{how}-{what}")
        for (how, decorator), what in itertools.product(CACHING.items(), CACHED)
    ],
)


def outcome(ask: Callable[..., object], *args: object) -> object:
    """What a question gives, or the class of the error that it raises."""
    try:
        return ask(*args)
    except Exception as error:
        return type(error)


PREDICATES = [
    callable,
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.isclass,
]
if sys.version_info < (3, 14):
    PREDICATES.append(asyncio.iscoroutinefunction)


@every_callable
def test_kind(decorator, plain):
    """It is of the same kind, whoever asks."""
    decorated = decorator(plain)
    assert [is_kind(decorated) for is_kind in PREDICATES] == [is_kind(plain) for is_kind in PREDICATES]


@every_callable
def test_signature(decorator, plain):
    """`inspect.signature` gives the same, annotations resolved, or fails in the same way."""
    resolved = functools.partial(inspect.signature, eval_str=True)
    for ask in (inspect.signature, resolved):
        assert outcome(ask, decorator(plain)) == outcome(resolved, plain)


@pytest.mark.parametrize(
    ("decorator", "plain"),
    [
        pytest.param(decorator, CALLABLES[what], id=f"{how}-{what}")
        for how, decorator in (MONITORING | CACHING).items()
        for what in sorted(CALLABLES.keys() - BOUND - {"lru_cache", "singledispatch"})
        if how in MONITORING or what in CACHED
    ],
)
def test_argument_names(decorator, plain):
    """`inspect.getfullargspec` gives the same, annotations resolved.

    Of what is bound it shows `self`, which no function has.
    """
    *found, annotations = inspect.getfullargspec(decorator(plain))
    *expected, unresolved = inspect.getfullargspec(plain)
    assert (found, annotations.keys()) == (expected, unresolved.keys())
    assert not any(isinstance(each, str) for each in annotations.values())


@decorating
def test_argument_check_of_a_function_that_stands_for_another(decorator):
    """Where `functools.wraps` names other parameters than are taken, what is taken is accepted."""

    def query(connection, text):
        return connection, text

    @functools.wraps(query)
    def connected(*args, **kwargs):
        return query("connection", *args, **kwargs)

    decorated = decorator(connected)
    assert inspect.getcallargs(decorated, "text") == inspect.getcallargs(connected, "text")
    assert inspect.signature(decorated) == inspect.signature(connected)
    assert decorated("text") == ("connection", "text")


@decorating
@pytest.mark.parametrize(
    ("args", "kwargs"), [((1,), {}), ((1, "a", 2.5), {"key": 3, "other": b""}), ((), {}), ((), {"left": 1})]
)
def test_argument_check_without_a_call(decorator, args, kwargs):
    """`inspect.getcallargs` and `Signature.bind` accept and refuse the same arguments."""
    decorated = decorator(function)
    for check in (inspect.getcallargs, lambda func, *a, **k: inspect.signature(func).bind(*a, **k).arguments):
        plainly = outcome(lambda check=check: check(function, *args, **kwargs))
        assert outcome(lambda check=check: check(decorated, *args, **kwargs)) == plainly


def documented(plain):
    """What says what a callable does: of a partial its function, as all partials have one docstring."""
    return plain.func if isinstance(plain, functools.partial) else plain


@every_callable
def test_names_and_documentation(decorator, plain):
    """What it is called, where it is from and what it says of itself is the same."""
    decorated = decorator(plain)
    assert decorated.__doc__ == documented(plain).__doc__
    for name in ("__name__", "__qualname__", "__module__", "__annotations__", "__type_params__"):
        said = getattr(plain, name, None)
        if isinstance(said, str | dict) and said:  # from 3.12 on a partial has annotations, but empty ones
            assert getattr(decorated, name) == said, name


@decorating
@pytest.mark.parametrize("plain", [function, coroutine_function], ids=["function", "coroutine function"])
def test_type_hints(decorator, plain):
    """`typing.get_type_hints` resolves the annotations, those too that stand before what they name."""
    assert typing.get_type_hints(decorator(plain)) == typing.get_type_hints(plain)


class City:
    """Somewhere."""


class Weather:
    """An object that is called, with annotations that are texts."""

    def __call__(self, city: City) -> str | None:
        """Says how it is there."""


@decorating
@pytest.mark.parametrize(
    ("plain", "name", "hints"),
    [
        (Weather(), "Weather", {"city": City, "return": str | None}),
        (functools.partial(Weather(), City()), "Weather", {"city": City, "return": str | None}),
        (functools.partial(Thing().method, 1), "Thing.method", typing.get_type_hints(Thing.method)),
        (functools.partial(pow, 2), "pow", {}),
    ],
    ids=["object", "partial of an object", "partial of a method", "partial of a C function"],
)
def test_names_of_what_has_none(decorator, plain, name, hints):
    """Frameworks ask a function for its name and type hints: an object has those of its class."""
    decorated = decorator(plain)
    assert (decorated.__name__, decorated.__qualname__) == (name.rpartition(".")[2], name)
    assert typing.get_type_hints(decorated) == hints
    assert decorated.__doc__ == {"Weather": Weather, "Thing.method": Thing.method, "pow": pow}[name].__doc__


@decorating
def test_the_documentation_of_a_partial(decorator):
    """A partial of a partial says what the function says, unless it was given a docstring itself."""
    plain = functools.partial(functools.partial(function, 1), key=2)
    assert decorator(plain).__doc__ == function.__doc__
    plain.__doc__ = "Its own."
    assert decorator(plain).__doc__ == "Its own."


ELSEWHERE = '''
from __future__ import annotations

class Item:
    """Known in this module only."""

def sync(item: Item, count: int = 1) -> Item:
    """Gives it back.

    >>> 2 + 2
    4
    """
    return item

async def coroutine(item: Item) -> Item:
    """Gives it back.

    >>> 2 + 2
    4
    """
    return item

def generator(item: Item):
    """Gives it.

    >>> 2 + 2
    4
    """
    yield item

async def async_generator(item: Item):
    """Gives it.

    >>> 2 + 2
    4
    """
    yield item
'''
KINDS = ("sync", "coroutine", "generator", "async_generator")


@pytest.fixture
def elsewhere():
    """A module in which annotations are strings, with a function of each kind."""
    module = types.ModuleType("elsewhere")
    exec(compile(ELSEWHERE, "elsewhere.py", "exec", dont_inherit=True), vars(module))
    return module


@monitoring
@pytest.mark.parametrize("name", KINDS)
def test_annotations_resolve_in_the_functions_own_module(decorator, elsewhere, name):
    """A framework that evaluates them in `__globals__`, or has `inspect` do so, finds what they name."""
    decorated = decorator(getattr(elsewhere, name))
    assert eval(decorated.__annotations__["item"], decorated.__globals__) is elsewhere.Item
    for signature in (inspect.signature(decorated), inspect.signature(decorated, eval_str=True)):
        assert signature.parameters["item"].annotation is elsewhere.Item
    assert typing.get_type_hints(decorated)["item"] is elsewhere.Item
    assert inspect.get_annotations(decorated, eval_str=True)["item"] is elsewhere.Item
    assert (
        inspect.signature(decorated.__wrapped__, eval_str=True).parameters["item"].annotation
        is elsewhere.Item
    )


@decorating
def test_annotations_resolve_once_all_names_are_there(decorator):
    """Until then they are texts, as Python has them; nothing else of the signature waits for them."""
    module = types.ModuleType("unfinished")
    exec(compile("def use(item: 'Later', n: 'int' = 1) -> 'Later': ...", "<test>", "exec"), vars(module))
    signature = inspect.signature(decorator(module.use))
    assert str(signature) == "(item: 'Later', n: 'int' = 1) -> 'Later'"
    module.Later = Later
    assert signature == inspect.signature(module.use, eval_str=True)
    assert signature.replace(return_annotation=None).return_annotation is None
    assert pickle.loads(pickle.dumps(signature)) == copy.copy(signature) == signature
    assert signature.bind(1).arguments == {"item": 1}


@decorating
def test_a_tool_of_an_mcp_server(decorator):
    """The MCP SDK makes the schemas of a decorated function with annotations that are texts."""
    server = pytest.importorskip("mcp.server.mcpserver")

    def later(day: dt.date, days: int = 1) -> dict[str, dt.date]:
        return {"day": day + dt.timedelta(days)}

    async def used(function):
        tools = server.MCPServer("test", tools=[server.tools.Tool.from_function(function)])
        result = await tools.call_tool("later", {"day": "2020-01-01", "days": 2})
        return await tools.list_tools(), result.structured_content

    assert asyncio.run(used(decorator(later))) == asyncio.run(used(later))


@monitoring
@pytest.mark.parametrize("name", KINDS)
def test_doctests_are_found(decorator, elsewhere, name):
    """doctest finds the examples of a decorated function as those of a plain one."""
    decorated = decorator(getattr(elsewhere, name))
    for other in KINDS:
        delattr(elsewhere, other)
    setattr(elsewhere, name, decorated)
    found = doctest.DocTestFinder().find(elsewhere)
    assert [(test.name, len(test.examples)) for test in found if test.examples] == [(f"elsewhere.{name}", 1)]


@decorating
def test_source(decorator):
    """`inspect.getsource` and `inspect.getdoc` show the user's function."""
    decorated = decorator(coroutine_function)
    assert inspect.getsource(decorated) == inspect.getsource(coroutine_function)
    assert inspect.getdoc(decorated) == "Suspends once."


@decorating
def test_helpers_of_an_lru_cache(decorator):
    """The helpers of a `functools.lru_cache` below work and are about that cache."""
    plain = functools.lru_cache(maxsize=7)(lambda value: value)
    decorated = decorator(plain)
    decorated(1)
    if decorator not in CACHING.values():  # it has a `cache_clear` of its own
        assert decorated.cache_info().currsize == 1
        decorated.cache_clear()
        assert decorated.cache_info().currsize == 0
    assert decorated.cache_parameters() == plain.cache_parameters()
    assert decorated.__wrapped__ is plain


@monitoring
def test_state_of_a_callable_object(decorator):
    """Methods of an object that is called are its own, and act on it."""

    class Counter:
        limit = 10

        def __init__(self):
            self.count = 0

        def __call__(self):
            self.count += 1
            return self.count

        def reset(self):
            self.count = 0

    counter = Counter()
    decorated = decorator(counter)
    assert (decorated(), decorated(), counter.count, decorated.limit) == (1, 2, 2, 10)
    decorated.reset()
    assert counter.count == 0
    with pytest.raises(AttributeError):
        decorated.nothing  # noqa: B018


@decorating
def test_attributes_of_a_function(decorator):
    """What was set on the function before is there, and what is set later can be set."""

    def tagged():
        return 1

    tagged.tag = "before"
    decorated = decorator(tagged)
    assert decorated.tag == "before"
    decorated.tag = "after"
    assert decorated.tag == "after"
    del decorated.tag
    assert decorated() == 1
    with pytest.raises(AttributeError):
        decorated.nothing  # noqa: B018


@monitoring
def test_parts_of_a_partial(decorator):
    """A partial says what it is made of."""
    decorated = decorator(functools.partial(function, 1, key=2))
    assert (decorated.func, decorated.args, decorated.keywords) == (function, (1,), {"key": 2})


@monitoring
def test_what_a_bound_method_is_bound_to(decorator):
    """A bound method says whose it is."""
    decorated = decorator(THING.method)
    assert decorated.__self__ is THING
    assert decorated.__func__ is Thing.method


@monitoring
@pytest.mark.parametrize(
    ("plain", "args", "result"),
    [
        (str.upper, ("a",), "A"),
        (len, ([1],), 1),
        ([3, 1, 2].index, (2,), 2),
        (dt.datetime.fromisoformat, ("2020-01-01",), dt.datetime(2020, 1, 1)),  # noqa: DTZ001
        (int.__add__, (1, 2), 3),
        ((5).__add__, (2,), 7),
        (operator.itemgetter(1), ("ab",), "b"),
        (functools.partial(pow, 2), (3,), 8),
        (dict.fromkeys, ("ab",), {"a": None, "b": None}),
        (THING, (4,), 8),
        (THING.method, (4,), (THING, 4, "k")),
        (unittest.mock.Mock(return_value=1), (), 1),
        (xmlrpc.client._Method(lambda name, args: name, "call"), (), "call"),
    ],
)
def test_callables_written_in_c_and_others(decorator, plain, args, result):
    """Whatever can be called can be decorated, and gives what it gave."""
    assert decorator(plain)(*args) == result


@monitoring
def test_a_built_in_keeps_no_self(decorator):
    """A decorated method in a class binds, as every function does."""

    class Text:
        upper = decorator(lambda self: self)
        size = staticmethod(decorator(len))

    text = Text()
    assert text.upper() is text
    assert text.size([1, 2]) == 2
    assert inspect.ismethod(text.upper)


@co.monitor_performance
def pickled():
    """Found by its name."""


@co.tool
async def pickled_coroutine():
    """Found by its name."""


class Pickled:
    """A class with a decorated method."""

    @co.monitor_performance
    def method(self):
        """Found by its name."""


@pytest.mark.parametrize("decorated", [pickled, pickled_coroutine, Pickled.method])
def test_pickling_by_reference(decorated):
    """pickle finds the decorated function by its name, under every protocol."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(decorated, protocol)) is decorated


@decorating
def test_copying(decorator):
    """A function is copied as the same one, and lives in containers that are copied."""
    decorated = decorator(coroutine_function)
    assert copy.copy(decorated) is decorated
    assert copy.deepcopy([decorated])[0] is decorated


@monitoring
def test_weak_references(decorator):
    """A decorated function can be referred to weakly, and goes without the cyclic collector."""

    def short_lived():
        return 1

    decorated = decorator(short_lived)
    decorated()
    references = weakref.ref(decorated), weakref.ref(short_lived)
    gc.disable()
    try:
        del decorated, short_lived
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


@monitoring
def test_equality_and_hashing(decorator):
    """A decorated function is equal to itself alone and can be a key."""
    one, other = decorator(function), decorator(function)
    assert {one: 1, other: 2}[one] == 1
    assert one != other


@monitoring
def test_single_dispatch(decorator):
    """`functools.singledispatch` goes over, under and around a decorated function."""

    @functools.singledispatch
    def describe(value):
        return "thing"

    @describe.register
    @decorator
    def _(value: int):
        return "number"

    decorated = decorator(describe)

    @decorated.register
    def _(value: str):
        return "text"

    assert [decorated(value) for value in (1, "a", None)] == ["number", "text", "thing"]
    assert decorated.dispatch(str)("a") == "text"
    assert set(decorated.registry) == {object, int, str}
    assert functools.singledispatch(decorator(lambda value: "any"))(1) == "any"


@monitoring
def test_abstract_methods_stay_abstract(decorator):
    """A class with a decorated abstract method cannot be made."""
    import abc

    class Base(abc.ABC):
        @decorator
        @abc.abstractmethod
        def method(self):
            """To be defined."""

    with pytest.raises(TypeError, match="abstract"):
        Base()


@monitoring
@pytest.mark.parametrize("written_in_c", [str, int, dt.date, Exception])
def test_a_class_whose_methods_cannot_be_replaced(decorator, written_in_c):
    """One error at decoration, and the class is as before."""
    with pytest.raises(TypeError, match=f"cannot decorate <class '.*{written_in_c.__name__}'>: its methods"):
        decorator(written_in_c)


@monitoring
def test_below_other_decorators(decorator):
    """`property`, `cached_property`, `contextmanager`, `wraps` and `lru_cache` go above."""

    class Owner:
        @property
        @decorator
        def value(self):
            return 1

        @functools.cached_property
        @decorator
        def kept(self):
            return 2

    @contextlib.contextmanager
    @decorator
    def opened(value):
        yield value

    @contextlib.asynccontextmanager
    @decorator
    async def opened_later(value):
        yield value

    async def use():
        async with opened_later(4) as got:
            return got

    with opened(3) as got:
        assert (Owner().value, Owner().kept, got, asyncio.run(use())) == (1, 2, 3, 4)
    assert functools.lru_cache(decorator(lambda value: value))(5) == 5


@monitoring
def test_a_generator_based_coroutine(decorator):
    """A `types.coroutine` function can be awaited, delegated to and driven by hand."""
    decorated = decorator(generator_based_coroutine)

    async def main():
        return await decorated(7)

    def delegating():
        return (yield from decorated(8))

    assert asyncio.run(main()) == 7
    assert inspect.isawaitable(decorated()) is inspect.isawaitable(generator_based_coroutine())
    assert list(delegating()) == [None]
    running = decorated(9)
    assert next(running) is None
    with pytest.raises(StopIteration) as stop:
        running.send(None)
    assert stop.value.value == 9


@monitoring
def test_a_generator_based_coroutine_that_fails(decorator, capture_telemetry):
    """What is thrown into it arrives, and what it raises is awaited."""

    @decorator
    @types.coroutine
    def fails():
        try:
            yield
        except KeyError as error:
            raise ValueError("no") from error

    async def main():
        await fails()

    running = main()
    assert running.send(None) is None
    with pytest.raises(ValueError, match="no"):
        running.throw(KeyError())
    assert {span.status for span in capture_telemetry.spans} <= {"ERROR"}


@monitoring
@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction is new in 3.12")
@pytest.mark.parametrize("kind", ["future", "task", "coroutine", "object", "value"])
def test_a_marked_coroutine_function(decorator, kind):
    """A function marked as a coroutine function may return any awaitable; or, wrongly, none."""

    class Awaitable:
        def __await__(self):
            return asyncio.sleep(0, 5).__await__()

    made = {
        "future": lambda: asyncio.ensure_future(asyncio.sleep(0, 5)),
        "task": lambda: asyncio.create_task(asyncio.sleep(0, 5)),
        "coroutine": lambda: asyncio.sleep(0, 5),
        "object": Awaitable,
        "value": lambda: 5,
    }[kind]

    async def main():
        return await decorator(inspect.markcoroutinefunction(lambda: made()))()

    if kind == "value":
        with pytest.raises(TypeError, match="await"):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) == 5


@monitoring
def test_a_result_is_the_very_object(decorator):
    """What a plain function returns is handed on, also where it can be awaited."""

    class Awaitable:
        def __await__(self):
            yield

    class Odd:
        def __getattr__(self, name):
            raise RuntimeError(name)

        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    async def main():
        future = asyncio.get_running_loop().create_future()
        for result in (Awaitable(), Odd(), future, Awaitable, iter(()), (each for each in ())):
            assert decorator(lambda result=result: result)() is result
        future.cancel()

    asyncio.run(main())


@monitoring
def test_a_coroutine_that_is_returned_stays_one(decorator):
    """What a plain function returns of a coroutine function can be scheduled, closed and asked its kind."""

    async def work():
        return 5

    async def main():
        return await asyncio.create_task(decorated())

    decorated = decorator(lambda: work())
    assert asyncio.run(main()) == 5
    coroutine = decorated()
    assert inspect.iscoroutine(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    coroutine.close()
