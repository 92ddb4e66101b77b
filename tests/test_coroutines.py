"""Coroutines, async generators and tracebacks at their edges: as without a decorator, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
import warnings
import weakref
from pathlib import Path

import pytest
from decorators import monitoring

import codoperf_otel as co

pytestmark = pytest.mark.usefixtures("capture_telemetry")


@pytest.fixture
def active_calls(capture_telemetry):
    """How many more calls count as running now than before the test."""

    def active():
        metrics = [
            capture_telemetry.metrics.get(f"codoperf.{kind}.active") for kind in ("function", "operation")
        ]
        return sum(point.value for metric in metrics if metric for point in metric.points)

    before = active()
    return lambda: active() - before


@monitoring
@pytest.mark.parametrize("returned", [False, True], ids=["coroutine function", "function that returns one"])
def test_cancelled_before_the_first_step(decorator, active_calls, returned):
    """A task that is cancelled before it starts leaves no call running, and nothing is reported."""

    async def work():
        await asyncio.sleep(10)

    decorated = decorator((lambda: work()) if returned else work)
    reported = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        tasks = [asyncio.create_task(decorated()) for _ in range(5)]
        for task in tasks:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(main())
    gc.collect()
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 5
    assert active_calls() == 0
    assert reported == []


@monitoring
@pytest.mark.parametrize("returned", [False, True], ids=["coroutine function", "function that returns one"])
def test_never_awaited(decorator, active_calls, returned):
    """A coroutine that nobody awaits is warned of once, by its own name, and leaves no call running."""

    async def forgotten():
        """Is not awaited."""

    def warned(make):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make()
            gc.collect()
        return [str(warning.message) for warning in caught]

    plain = (lambda: forgotten()) if returned else forgotten
    assert warned(decorator(plain)) == warned(plain) != []
    assert active_calls() == 0


@monitoring
@pytest.mark.parametrize("ending", ["close", "throw", "drop"])
def test_a_coroutine_that_is_closed_by_hand(decorator, active_calls, ending):
    """Closing, throwing into and dropping a started coroutine runs its `finally` and ends the call."""
    ended = []

    @decorator
    async def work():
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(1)

    async def main():
        running = work()
        running.send(None)
        if ending == "close":
            running.close()
        elif ending == "throw":
            with pytest.raises(KeyError):
                running.throw(KeyError())
        del running

    asyncio.run(main())
    assert ended == [1]
    assert active_calls() == 0


@monitoring
@pytest.mark.parametrize("kind", ["task", "future", "coroutine"])
def test_an_exception_that_nobody_retrieves_is_reported(decorator, kind):
    """asyncio reports the lost exception of a task that a decorated function makes, as of a plain one's."""

    async def fails():
        raise RuntimeError("lost")

    def start():
        loop = asyncio.get_running_loop()
        if kind == "future":
            future = loop.create_future()
            loop.call_soon(future.set_exception, RuntimeError("lost"))
            return future
        return loop.create_task(fails())

    def reported(start):
        messages = []

        async def main():
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, context: messages.append((context["message"], repr(context["exception"])))
            )
            if kind == "coroutine":
                kept.append(asyncio.create_task(start()))
            else:
                start()
            await asyncio.sleep(0.001)
            kept.clear()
            gc.collect()
            await asyncio.sleep(0.001)

        kept = []
        asyncio.run(main())
        return messages

    plain = fails if kind == "coroutine" else start
    assert reported(decorator(plain)) == reported(plain) != []


@monitoring
def test_an_exception_that_is_retrieved_is_not_reported(decorator):
    """Nothing is reported of a task whose exception the program takes."""

    async def fails():
        raise RuntimeError("taken")

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        task = decorator(lambda: asyncio.create_task(fails()))()
        with pytest.raises(RuntimeError, match="taken"):
            await task
        del task
        gc.collect()

    reported = []
    asyncio.run(main())
    assert reported == []


def open_at_the_end(decorator):
    """What is reported and what was cleaned up of async generators left open when `asyncio.run` ends."""
    reported, cleaned, kept = [], [], []

    @decorator
    async def numbers(number):
        try:
            while True:
                yield number
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(repr(context.get("exception") or context["message"]))
        )
        kept.extend(numbers(number) for number in range(5))
        for generator in kept:
            await anext(generator)

    asyncio.run(main())
    return reported, sorted(cleaned)


@monitoring
def test_async_generators_left_open_at_the_loops_end(decorator, active_calls):
    """`asyncio.run` closes them cleanly, with nothing to report."""
    assert open_at_the_end(decorator) == open_at_the_end(lambda func: func) == ([], [0, 1, 2, 3, 4])
    assert active_calls() == 0


def hooks_called(decorator):
    """What the hooks of the running loop are told of: the caller's own async generator, or another."""
    called, own = [], []

    @decorator
    async def numbers():
        yield 1
        yield 2

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(
        lambda generator: called.append(("first", generator is own[0])),
        lambda generator: called.append(("last", type(generator))),
    )
    try:
        own.append(numbers())
        for _ in range(2):
            with pytest.raises(StopIteration):
                own[0].asend(None).send(None)
        own.clear()
        gc.collect()
    finally:
        sys.set_asyncgen_hooks(*before)
    return called


@monitoring
def test_async_generator_hooks(decorator):
    """The loop is told of the generator that the caller holds, once at its first step and once at its end."""
    assert hooks_called(decorator) == hooks_called(lambda func: func)


class Buffer(bytearray):
    """Something large that a generator holds."""

    __slots__ = ("__weakref__",)


@monitoring
def test_an_async_generator_left_by_break_lets_go(decorator):
    """After `break` its locals go within a few steps of the loop, without the cyclic collector."""
    kept = []

    @decorator
    async def chunks():
        buffer = Buffer(1000)
        kept.append(weakref.ref(buffer))
        while True:
            yield len(buffer)

    async def main():
        async for _ in chunks():
            break
        for _ in range(5):
            await asyncio.sleep(0)
        return kept[0]()

    gc.disable()
    try:
        assert asyncio.run(main()) is None
    finally:
        gc.enable()


@monitoring
def test_an_async_generator_is_driven_by_hand(decorator):
    """asend, athrow, aclose, `anext` with a default and a second pass are those of a plain one."""

    async def echo():
        got = yield 0
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = repr(error)

    async def protocol(echo):
        running = echo()
        seen = [await anext(running), await running.asend(1), await running.athrow(KeyError("k"))]
        await running.aclose()
        await running.aclose()
        seen.append(await anext(running, "over"))
        seen += [each async for each in running]
        return seen

    assert asyncio.run(protocol(decorator(echo))) == asyncio.run(protocol(echo))


@monitoring
@pytest.mark.parametrize("asynchronous", [False, True], ids=["generator", "async generator"])
def test_a_generator_that_goes_on_when_closed(decorator, asynchronous):
    """A generator that yields while it is closed is the caller's `RuntimeError`, as ever."""

    def stubborn():
        try:
            yield 1
        finally:
            yield 2

    async def stubborn_later():
        try:
            yield 1
        finally:
            yield 2

    async def close_later():
        running = decorator(stubborn_later)()
        await anext(running)
        await running.aclose()

    def close():
        running = decorator(stubborn)()
        next(running)
        running.close()

    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        asyncio.run(close_later()) if asynchronous else close()


@monitoring
def test_a_stop_iteration_inside_is_a_runtime_error(decorator):
    """A generator in which `StopIteration` escapes fails with `RuntimeError`, and so does a coroutine."""

    @decorator
    def generator():
        yield next(iter(()))

    @decorator
    async def coroutine():
        return next(iter(()))

    @decorator
    def function():
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        next(generator())
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(coroutine())
    with pytest.raises(StopIteration):
        function()


PACKAGE = str(Path(co.__file__).parent)


def users_frames(error):
    """The names of the functions in a traceback that are not this package's."""
    summary = traceback.extract_tb(error.__traceback__)
    return [frame.name for frame in summary if not frame.filename.startswith(PACKAGE)]


def failing(decorate):
    """A function of each kind that fails two calls down."""

    @decorate
    def inner():
        raise KeyError("deep")

    @decorate
    def sync():
        inner()

    @decorate
    async def coroutine_inner():
        await asyncio.sleep(0)
        inner()

    @decorate
    async def coroutine():
        await coroutine_inner()

    @decorate
    def generator_inner():
        yield 1
        inner()

    @decorate
    def generator():
        yield from generator_inner()

    @decorate
    async def async_generator():
        yield 1
        await coroutine_inner()

    async def drained():
        return [each async for each in async_generator()]

    return {
        "sync": sync,
        "coroutine": lambda: asyncio.run(coroutine()),
        "generator": lambda: list(generator()),
        "async_generator": lambda: asyncio.run(drained()),
    }


@monitoring
@pytest.mark.parametrize("kind", ["sync", "coroutine", "generator", "async_generator"])
def test_tracebacks_have_the_users_frames(decorator, kind):
    """Every frame of the program is in the traceback, in its order, and only once."""
    seen = []
    for decorate in (decorator, lambda func: func):
        with pytest.raises(KeyError, match="deep") as caught:
            failing(decorate)[kind]()
        seen.append(users_frames(caught.value))
        assert caught.value.__context__ is None
    assert seen[0] == seen[1]


@monitoring
def test_an_exception_in_flight_stays_the_one_in_flight(decorator):
    """In an `except` block `sys.exc_info`, a bare `raise` and `__context__` are what they are without us."""

    @decorator
    def reraises():
        raise

    @decorator
    def fails():
        raise ValueError("second")

    @decorator
    def generator():
        yield sys.exc_info()[1]

    first = KeyError("first")

    def in_an_except_block(then):
        try:
            raise first
        except KeyError:
            return then()

    assert in_an_except_block(lambda: next(generator())) is first
    with pytest.raises(KeyError) as again:
        in_an_except_block(reraises)
    assert again.value is first
    with pytest.raises(ValueError, match="second") as second:
        in_an_except_block(fails)
    assert second.value.__context__ is first


def stack_depth():
    """How many Python frames are on the caller's stack."""
    return len(list(traceback.walk_stack(sys._getframe(1))))


def depth_of(decorate, levels):
    """The frames at the bottom of so many recursive calls, in a thread of its own."""

    def down(left):
        return down(left - 1) if left else stack_depth()

    def down_generator(left):
        if left:
            yield from down_generator(left - 1)
        else:
            yield stack_depth()

    async def down_coroutine(left):
        await asyncio.sleep(0)
        return await down_coroutine(left - 1) if left else stack_depth()

    down, down_generator = decorate(down), decorate(down_generator)
    down_coroutine = decorate(down_coroutine)
    depths = []

    def measure():
        depths.append(down(levels))
        depths.append(next(down_generator(levels)))
        depths.append(asyncio.run(down_coroutine(levels)))

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    return depths


@monitoring
def test_each_level_of_recursion_costs_little_stack(decorator):
    """A decorated function or generator has one frame more per level, a coroutine at most two."""
    levels = 20
    more = [
        (deeper - plain) / (levels + 1)
        for deeper, plain in zip(depth_of(decorator, levels), depth_of(lambda f: f, levels), strict=True)
    ]
    assert more[0] <= 1
    assert more[1] <= 1
    assert more[2] <= 2
