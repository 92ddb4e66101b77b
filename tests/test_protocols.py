"""Generators driven at random, decorated against undecorated: same values, same exceptions, same ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context

from codoperf_otel.performance_monitor import monitor_performance


class Planned(Exception):  # noqa: N818  # what a plan raises is no error of the test
    """What plans and steps raise."""


EXCEPTIONS = (Planned, ValueError, GeneratorExit, KeyboardInterrupt, StopIteration, StopAsyncIteration)
BODIES = st.lists(
    st.one_of(
        st.tuples(st.just("yield"), st.integers(0, 3)),
        st.tuples(st.just("raise"), st.sampled_from(EXCEPTIONS)),
        st.tuples(st.just("return"), st.integers(0, 3)),
    ),
    max_size=5,
)
CATCHES = st.sets(st.sampled_from(EXCEPTIONS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.none()),
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("throw"), st.sampled_from(EXCEPTIONS)),
        st.tuples(st.just("close"), st.none()),
    ),
    max_size=8,
)


# a plan may catch GeneratorExit and yield again: decorated or not, Python warns of it when it is collected
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """What Python warns of is collected here, not at another test's expense."""
    yield
    gc.collect()


RANDOM = settings(max_examples=300)


def generator_of(body: list[tuple[str, Any]], catches: set[type], seen: list[Any]) -> Any:
    """A generator function that follows a plan; what reaches it is put down in `seen`."""

    def generator():
        for what, value in body:
            try:
                if what == "yield":
                    seen.append((yield value))
                elif what == "raise":
                    raise value
                else:
                    return value
            except tuple(catches) as error:
                seen.append(type(error))
            finally:
                seen.append("passed")
        return "end"

    return generator


def async_generator_of(body: list[tuple[str, Any]], catches: set[type], seen: list[Any]) -> Any:
    """The same as an async generator function, which suspends before each part of its plan."""

    async def generator():
        for what, value in body:
            try:
                await asyncio.sleep(0)
                if what == "yield":
                    seen.append((yield value))
                elif what == "raise":
                    raise value
                else:
                    return
            except tuple(catches) as error:
                seen.append(type(error))
            finally:
                seen.append("passed")

    return generator


def outcome(call: Any) -> tuple[Any, ...]:
    """What a step gave, or the exception it ended with."""
    try:
        return ("gave", call())
    except BaseException as error:
        return ("raised", type(error), str(error), getattr(error, "value", None))


async def async_outcome(call: Any) -> tuple[Any, ...]:
    """The same of a step that is awaited."""
    try:
        return ("gave", await call())
    except BaseException as error:
        return ("raised", type(error), str(error))


def drive(generator: Any, steps: list[tuple[str, Any]]) -> list[Any]:
    """The outcomes of the steps, and of a close at the end."""
    calls = {"next": lambda _: next(generator), "send": generator.send, "throw": generator.throw}
    done = [
        outcome(lambda what=what, value=value: generator.close() if what == "close" else calls[what](value))
        for what, value in steps
    ]
    return [*done, outcome(generator.close)]


async def async_drive(generator: Any, steps: list[tuple[str, Any]]) -> list[Any]:
    """The same for an async generator."""
    done = []
    for what, value in steps:
        if what == "close":
            done.append(await async_outcome(generator.aclose))
        elif what == "next":
            done.append(await async_outcome(lambda: anext(generator)))
        else:
            step = generator.asend if what == "send" else generator.athrow
            done.append(await async_outcome(lambda step=step, value=value: step(value)))
    return [*done, await async_outcome(generator.aclose)]


@RANDOM
@given(BODIES, CATCHES, STEPS)
def test_generator_protocol_is_the_undecorated_one(telemetry, body, catches, steps):
    """Any plan under any steps gives what it gives undecorated, and leaves the caller's context alone."""
    plain_seen: list[Any] = []
    seen: list[Any] = []
    before = context.get_current()
    plain = generator_of(body, catches, plain_seen)()
    decorated = monitor_performance(generator_of(body, catches, seen))()
    assert drive(decorated, steps) == drive(plain, steps)
    assert seen == plain_seen  # while both are held: a drop closes again what ignored its close
    assert context.get_current() is before


@RANDOM
@given(BODIES, CATCHES, STEPS)
def test_async_generator_protocol_is_the_undecorated_one(telemetry, body, catches, steps):
    """The same for async generators."""
    plain_seen: list[Any] = []
    seen: list[Any] = []

    async def compare():
        plain = async_generator_of(body, catches, plain_seen)()
        decorated = monitor_performance(async_generator_of(body, catches, seen))()
        assert await async_drive(decorated, steps) == await async_drive(plain, steps)
        assert seen == plain_seen

    asyncio.run(compare())
