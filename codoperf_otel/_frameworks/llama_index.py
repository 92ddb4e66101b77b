"""LlamaIndex: its workflows, which may be agents, and its tools.

An agent by itself is a workflow. In a workflow of several agents each runs while it is its turn: from its
first step to that of another agent, or to the end of the workflow.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._frameworks.recorded import Execution, call_as, recorded, recorded_in
from codoperf_otel._patching.replacing import Replacement
from codoperf_otel._telemetry.interrupts import raise_interrupt

ORIGIN = "llama-index"
TOOLS = ("FunctionTool", "QueryEngineTool", "RetrieverTool")
STEPS = ("run_agent_step", "call_tool")


def replacements(name: str, module: ModuleType) -> Iterator[Replacement]:
    """What runs a workflow, the steps of several agents, and what runs a tool."""
    if name == "workflows.runtime.control_loop.runner":
        yield from _workflows(module)
    elif name == "llama_index.core.agent.workflow.multi_agent_workflow":
        for step in STEPS:
            original = vars(module.AgentWorkflow)[step]
            yield Replacement(module.AgentWorkflow, step, original, _in_turn(original))
    else:
        (kind,) = (vars(module)[kind] for kind in TOOLS if kind in vars(module))
        for method in ("call", "acall"):
            yield recorded_in(kind, method, _tool)


def _workflows(module: ModuleType) -> Iterator[Replacement]:
    loop = getattr(module, "_ControlLoopRunner", None)
    if loop is not None:  # a program may have its own package of that name
        yield Replacement(loop, "run", loop.run, recorded(_with_turns(loop.run), _workflow))


def _workflow(loop: Any, *_: Any, **__: Any) -> Execution:
    agents = sys.modules.get("llama_index.core.agent.workflow.base_agent")
    if agents is not None and isinstance(loop.workflow, agents.BaseWorkflowAgent):
        return Execution("agent", loop.workflow.name, ORIGIN)
    return Execution("workflow", type(loop.workflow).__name__, ORIGIN)


def _tool(tool: Any, *_: Any, **__: Any) -> Execution:
    return Execution("tool", tool.metadata.name, ORIGIN)


class _Turn:
    """An agent whose turn it is: a task that waits for the end of it. Steps are tasks made in its Context."""

    def __init__(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self._context = loop.create_future()
        self._over = loop.create_future()
        self._task = loop.create_task(call_as(Execution("agent", name, ORIGIN), self._last))
        self._task.add_done_callback(_retrieve)

    async def _last(self) -> None:
        self._context.set_result(runtime.get_current())
        await self._over

    async def run(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a step for the agent."""
        context, around = await self._context, runtime.get_current()
        try:
            runtime.attach(context)
            task = asyncio.create_task(step(*args, **kwargs))
        finally:
            runtime.attach(around)
        return await task

    def end(self, error: BaseException | None = None) -> None:
        """Let its turn be over, with the error with which the workflow ends."""
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    async def has_ended(self) -> None:
        """Wait until its span has ended."""
        await asyncio.wait([self._task])


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Let nobody be told of an error that the workflow raises."""
    if not task.cancelled():
        task.exception()


class _Turns:
    """The agents of one run of a workflow, one after the other."""

    def __init__(self) -> None:
        self._now: _Turn | None = None

    async def of(self, name: str) -> _Turn:
        """The turn of an agent."""
        if self._now is None or self._now.name != name:
            await self.end()
            self._now = _Turn(name)
        return self._now

    async def end(self) -> None:
        """End the last turn."""
        ending, self._now = self._now, None
        if ending is not None:
            ending.end()
            await ending.has_ended()

    def fail(self, error: BaseException) -> None:
        """End it where its workflow fails, perhaps as its loop is closed."""
        if self._now is not None:
            try:
                self._now.end(error)
            except RuntimeError as closed:
                raise_interrupt(closed)


_turns: ContextVar[_Turns] = ContextVar("codoperf-llama-index-turns")


def _with_turns(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def run(*args: Any, **kwargs: Any) -> Any:
        turns = _Turns()
        _turns.set(turns)
        try:
            result = await original(*args, **kwargs)
        except BaseException as error:
            turns.fail(error)
            raise
        await turns.end()
        return result

    return run


def _in_turn(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def step(workflow: Any, ctx: Any, ev: Any) -> Any:
        turns = _turns.get(None)
        name = await ctx.store.get("current_agent_name", default=None)
        if turns is None or not name:
            return await original(workflow, ctx, ev)
        return await (await turns.of(name)).run(original, workflow, ctx, ev)

    return step
