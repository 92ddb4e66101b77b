"""Following asyncio's tasks: the task factory of each loop has the steps of a task bracketed.

A factory that a loop has already goes on making the tasks. The eager one of asyncio is made anew, as others
know it by its code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import Any
from weakref import ref

from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.task_steps import TaskSteps
from codoperf_otel._workers.wrappers import Switch

_REPLACED = "codoperf_replaced"
"""The attribute of a factory of ours that says which one the loop had before."""

_switch = Switch()
_switch.is_on = False
_followed: set[ref[asyncio.AbstractEventLoop]] = set()

Make = Callable[..., Any]


def start() -> None:
    """Follow the tasks of the loop that runs here, and of each that `follow_running_loop` comes to."""
    global _switch
    if not _switch.is_on:
        _switch = Switch()
    follow_running_loop()


def stop() -> None:
    """Let every loop have the factory that it had."""
    _switch.is_on = False
    while _followed:
        loop = _followed.pop()()
        factory = None if loop is None or loop.is_closed() else loop.get_task_factory()
        if loop is not None and hasattr(factory, _REPLACED):
            loop.set_task_factory(getattr(factory, _REPLACED))


def follow_running_loop() -> None:
    """Follow the tasks of the loop that runs on this thread, from its next task on."""
    loop = asyncio._get_running_loop()
    if loop is None or not _switch.is_on:
        return
    try:
        if follow(loop, _switch):
            _followed.add(ref(loop, _followed.discard))
    except Exception as error:
        failed("the tasks of a loop are not followed", error)


def follow(loop: asyncio.AbstractEventLoop, switch: Switch) -> bool:
    """Follow the tasks of a loop as long as the switch is on; False if they are followed already."""
    standing = loop.get_task_factory()
    if hasattr(standing, _REPLACED):
        return False
    constructor = _eager_constructor(standing)
    if constructor is not None:
        factory: Any = asyncio.create_eager_task_factory(_bracketing_constructor(constructor, switch))  # type: ignore[attr-defined]
    elif standing is not None:
        factory = _bracketing_factory(standing, switch)
    else:
        factory = _plain_factory(switch)
    setattr(factory, _REPLACED, standing)
    loop.set_task_factory(factory)
    return True


def new_followed_loop() -> asyncio.AbstractEventLoop:
    """A new loop, all of whose tasks are followed."""
    loop = asyncio.new_event_loop()
    follow(loop, Switch())
    return loop


def _eager_constructor(factory: Any) -> Make | None:
    """What makes the tasks, if this is an eager factory of asyncio's (from Python 3.12 on)."""
    eager = getattr(asyncio, "eager_task_factory", None)
    if eager is None or getattr(factory, "__code__", None) is not eager.__code__:
        return None
    constructor: Make = factory.__closure__[0].cell_contents
    return constructor


def _bracketing_constructor(constructor: Make, switch: Switch) -> Make:
    def construct(coro: Any, **named: Any) -> Any:
        return constructor(_bracketed(coro) if switch.is_on else coro, **named)

    return construct


def _bracketing_factory(standing: Make, switch: Switch) -> Make:
    def factory(loop: Any, coro: Any, **named: Any) -> Any:
        return standing(loop, _bracketed(coro) if switch.is_on else coro, **named)

    return factory


def _plain_factory(switch: Switch) -> Make:
    def factory(loop: Any, coro: Any, **named: Any) -> Any:
        steps = _bracketed(coro) if switch.is_on else coro
        task = asyncio.Task(steps, loop=loop, **named)
        if type(steps) is TaskSteps and steps.task is None:
            steps.task = task  # to ask which one runs takes longer
        if stack := task._source_traceback:  # type: ignore[attr-defined]  # in debug mode: without this frame
            del stack[-1]
        return task

    return factory


def _bracketed(coro: Any) -> Any:
    """The steps of a coroutine; what is none, asyncio refuses."""
    kind = type(coro)
    if kind is CoroutineType or (kind is not TaskSteps and asyncio.iscoroutine(coro)):
        return TaskSteps(coro)
    return coro
