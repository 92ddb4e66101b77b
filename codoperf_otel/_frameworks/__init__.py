"""Agents and tools of agent frameworks, recorded as those that are decorated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

from codoperf_otel import _environment_variables as variables
from codoperf_otel import _forks
from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._patching.import_hook import Hook
from codoperf_otel._patching.one_at_a_time import OneAtATime
from codoperf_otel._patching.replacing import Replacement, is_module, namespace, replace_imported, restore


class Adapter(Protocol):
    """What each module of this room is. It never imports the framework by itself."""

    __name__: str

    def replacements(self, name: str, module: ModuleType, /) -> Iterator[Replacement]:
        """What is to be replaced, once the framework's module of a name in `ADAPTERS` has been loaded.

        Nothing if it is not the framework's, but another of that name.
        """
        ...


ADAPTERS = {
    "agent_framework._tools": "agent_framework",
    "agent_framework.observability": "agent_framework",
    "agents.run": "openai_agents",
    "agno.agent._run": "agno",
    "agno.team._run": "agno",
    "agno.tools.function": "agno",
    "anthropic.lib.tools._beta_functions": "anthropic",
    "autogen_agentchat.agents._assistant_agent": "autogen",
    "autogen_core.tools._function_tool": "autogen",
    "claude_agent_sdk": "claude_agent_sdk",
    "claude_agent_sdk._internal.client": "claude_agent_sdk",
    "claude_agent_sdk.client": "claude_agent_sdk",
    "crewai.agent.core": "crewai",
    "crewai.lite_agent": "crewai",
    "crewai.tools.base_tool": "crewai",
    "crewai.tools.structured_tool": "crewai",
    "dspy.adapters.types.tool": "dspy",
    "dspy.predict.react": "dspy",
    "google.adk.agents.llm_agent": "google_adk",
    "google.adk.agents.loop_agent": "google_adk",
    "google.adk.agents.parallel_agent": "google_adk",
    "google.adk.agents.sequential_agent": "google_adk",
    "google.adk.flows.llm_flows.tools._caller": "google_adk",
    "langchain_core.tools.base": "langchain",
    "langgraph.pregel.main": "langgraph",
    "llama_index.core.agent.workflow.multi_agent_workflow": "llama_index",
    "llama_index.core.tools.function_tool": "llama_index",
    "llama_index.core.tools.query_engine": "llama_index",
    "llama_index.core.tools.retriever_tool": "llama_index",
    "mcp.server.mcpserver.tools.base": "mcp",
    "openai.lib.responses_tool_runner": "openai",
    "opentelemetry.sdk.trace": "lent_spans",
    "pydantic_ai.agent": "pydantic_ai",
    "smolagents.agents": "smolagents",
    "smolagents.tools": "smolagents",
    "strands.agent.agent": "strands",
    "strands.tools.executors._executor": "strands",
    "workflows.runtime.control_loop.runner": "llama_index",
}
"""The adapter that waits for a framework's module."""


class Adaptation:
    """The frameworks that are loaded, and those to come, as they are recorded."""

    def __init__(self) -> None:
        self._hook = Hook(ADAPTERS.__contains__, self._adapt_after)
        self._replaced: list[Replacement] = []

    def begin(self) -> None:
        """Adapt what is loaded, and wait for the rest."""
        self._hook.install()
        for name in ADAPTERS:
            module = sys.modules.get(name)
            if is_module(module) and not getattr(namespace(module).get("__spec__"), "_initializing", False):
                self.adapt(name, module)

    @contextmanager
    def _adapt_after(self, module: ModuleType) -> Iterator[None]:
        name = module.__name__  # a framework may change it afterwards
        yield
        self.adapt(name, module)

    def adapt(self, name: str, module: ModuleType) -> None:
        """Replace in a framework what its adapter says. What fails leaves the framework as it is."""
        done: list[Replacement] = []
        try:
            with _forks.importing.lock:
                adapter = cast("Adapter", import_module(f"{__name__}.{ADAPTERS[name]}"))
            with _adaptations.lock:
                for replacement in adapter.replacements(name, module):
                    self._replaced.append(replacement)
                    done.append(replacement)
                    replacement.put(replacement.replacement)
                replace_imported(done)
                if self is not _adaptations.running:  # it has ended while the module ran
                    restore(done)
        except Exception as error:
            restore(done)
            failed("the agents and tools of %s are not recorded", error, name.partition(".")[0])

    def end(self) -> None:
        """Put every original back."""
        self._hook.remove()
        restore(self._replaced)


_adaptations: OneAtATime[Adaptation] = OneAtATime()


def start() -> None:
    """Record the agents and tools of every framework that is loaded, and of those loaded later.

    Raises:
        ValueError: ``CODOPERF_OTEL_ENABLED`` is wrong.
    """
    if variables.flag(variables.ENABLED, default=True):
        _adaptations.start(Adaptation)


def stop() -> None:
    """Put every original back."""
    _adaptations.stop()
