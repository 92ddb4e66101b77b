"""Pydantic AI: its agents and tools, by a capability that takes part in each run."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

from codoperf_otel._frameworks.recorded import Execution, block, call_as, is_running, recorded_in
from codoperf_otel._patching.replacing import Replacement

ORIGIN = "pydantic-ai"


def replacements(_: str, module: ModuleType) -> Iterator[Replacement]:
    """``Agent.iter``, by which every run goes, and ``run``."""
    agent = module.Agent
    base = sys.modules["pydantic_ai.capabilities"].AbstractCapability
    yield Replacement(agent, "iter", agent.iter, _with_capability(agent.iter, _capability(base)()))
    yield recorded_in(sys.modules["pydantic_ai.agent.abstract"].AbstractAgent, "run", _run_of)


def _with_capability(original: Callable[..., Any], ours: object) -> Callable[..., Any]:
    @functools.wraps(original)
    def iterate(*args: Any, **kwargs: Any) -> Any:
        kwargs["capabilities"] = [*(kwargs.get("capabilities") or ()), ours]
        return original(*args, **kwargs)

    return iterate


def _run_of(agent: Any, *_: Any, **__: Any) -> Execution | None:
    """A run whose CPU time is known: it is driven. Where Pydantic AI has spans, ours would double them."""
    return None if _has_spans(agent) else _execution(agent)


def _has_spans(agent: Any) -> bool:
    while hasattr(agent, "wrapped"):
        agent = agent.wrapped
    if agent._resolve_instrumentation_settings() is not None:
        return True
    return any(type(each).__name__ == "Instrumentation" for each in agent.root_capability.capabilities)


def _execution(agent: Any) -> Execution:
    return Execution("agent", agent.name or "agent", ORIGIN)


def _capability(base: type[Any]) -> type[Any]:
    class Recording(base):  # type: ignore[misc]  # the framework's class
        """Records a run, if ``Agent.run`` has not begun to, and its tools: inside Pydantic AI's own spans."""

        _safe_at_runtime = True

        async def wrap_run(self, ctx: Any, *, handler: Callable[[], Awaitable[Any]]) -> Any:
            execution = _execution(ctx.agent)
            if ctx.realtime or is_running(execution):
                return await handler()
            with block(execution):
                return await handler()

        async def wrap_tool_execute(
            self, _: Any, *, tool_def: Any, args: Any, handler: Callable[[Any], Awaitable[Any]], **__: Any
        ) -> Any:
            return await call_as(Execution("tool", tool_def.name, ORIGIN), handler, args)

    return Recording
