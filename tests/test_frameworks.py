"""How frameworks are found and put back. tests/frameworks tries each real one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from contextlib import suppress

import pytest

import codoperf_otel as co
from codoperf_otel._frameworks.recorded import Execution, block

BASE = """
class BaseTool:
    def __init__(self, name):
        self.name = name
    def run(self, value):
        return value * 2
    async def arun(self, value):
        return value
"""


@pytest.fixture
def langchain(write_modules, caplog):
    """A function that writes a framework's module, and nothing is instrumented afterwards."""

    def write(text=BASE):
        return write_modules(langchain_core__about="", langchain_core__tools__base=text)

    yield write
    co.uninstrument_agents()


def imported():
    """The framework's class of tools."""
    return importlib.import_module("langchain_core.tools.base").BaseTool


ADAPTERS = """
import importlib, sys
from codoperf_otel._frameworks import ADAPTERS
for name in ADAPTERS.values():
    assert callable(importlib.import_module(f"codoperf_otel._frameworks.{name}").replacements)
assert not ADAPTERS.keys() & set(sys.modules)
"""


def test_each_adapter_is_there():
    """What waits for a framework's module is a module of the room, which imports no framework."""
    subprocess.run([sys.executable, "-c", ADAPTERS], check=True)


@pytest.mark.parametrize("is_loaded_first", [True, False])
def test_a_framework_that_is_loaded_before_or_after(langchain, telemetry, is_loaded_first):
    """Its tools are recorded, until they are put back."""
    langchain()
    if is_loaded_first:
        imported()
    co.instrument_agents()
    kind = imported()
    assert kind("search").run(2) == 4
    assert [span.name for span in telemetry.spans()] == ["execute_tool search"]
    co.uninstrument_agents()
    assert kind("search").run(2) == 4
    assert len(telemetry.spans()) == 1
    assert not hasattr(kind.run, "__wrapped__")


def test_instrumenting_twice_changes_nothing(langchain, telemetry):
    """There is one span, and one call puts all back."""
    langchain()
    co.instrument_agents()
    co.instrument_agents()
    kind = imported()
    kind("search").run(2)
    assert len(telemetry.spans()) == 1
    co.uninstrument_agents()
    co.uninstrument_agents()
    assert not hasattr(kind.run, "__wrapped__")


def test_after_uninstrumenting_nothing_waits(langchain, telemetry):
    """A framework that is loaded then is left alone."""
    langchain()
    co.instrument_agents()
    co.uninstrument_agents()
    imported()("search").run(2)
    assert telemetry.spans() == []


def test_a_framework_of_another_shape(langchain, telemetry, caplog):
    """What an adapter does not find there leaves the framework as it is, with a warning."""
    langchain(BASE.replace("arun", "another_run"))
    co.instrument_agents()
    assert imported()("search").run(2) == 4
    assert telemetry.spans() == []
    assert "the agents and tools of langchain_core are not recorded" in caplog.text


def test_a_framework_that_cannot_be_imported(langchain):
    """Its own error is what the program gets."""
    langchain("raise LookupError('broken')")
    co.instrument_agents()
    with pytest.raises(LookupError, match="broken"):
        imported()


@pytest.mark.parametrize("name", ["agents.run", "workflows.runtime.control_loop.runner"])
def test_a_package_of_a_frameworks_name(write_modules, caplog, name):
    """A program may have a package named ``agents`` of its own."""
    write_modules(**{name.replace(".", "__"): "def main():\n    return 1\n"})
    co.instrument_agents()
    assert importlib.import_module(name).main() == 1
    co.uninstrument_agents()
    assert caplog.text == ""


MADE = """
class SdkMcpTool:
    def __init__(self, name, handler):
        self.name, self.handler = name, handler
"""


def test_tools_made_before_and_after(write_modules, telemetry):
    """Where a framework keeps a tool's function in the tool, it is recorded whenever the tool was made."""
    write_modules(claude_agent_sdk=MADE)
    kind = importlib.import_module("claude_agent_sdk").SdkMcpTool
    made = [kind("before", lambda value: value * 2)]
    co.instrument_agents()
    made.append(kind("after", lambda value: value * 2))
    assert [tool.handler(2) for tool in made] == [4, 4]
    co.uninstrument_agents()
    assert [tool.handler(2) for tool in made] == [4, 4]
    assert [span.name for span in telemetry.spans()] == ["execute_tool before", "execute_tool after"]
    assert not hasattr(kind, "handler")


def test_where_the_package_is_switched_off(langchain, telemetry, monkeypatch):
    """No framework is touched."""
    monkeypatch.setenv("CODOPERF_OTEL_ENABLED", "false")
    langchain()
    co.instrument_agents()
    assert not hasattr(imported().run, "__wrapped__")


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_framework_with_histograms_of_its_own(telemetry, has_failed):
    """What it records itself is not recorded again, but is in the totals of the agent."""
    execution = Execution("tool", "timed", "framework", is_timed=True)
    with co.agent("planner"):
        for _ in range(2):
            with suppress(LookupError), block(execution), co.tool("timed"):
                if has_failed:
                    raise LookupError("nothing")
        with co.tool("timed"):
            pass
    durations = telemetry.points("gen_ai.execute_tool.duration").values()
    assert [(point.attributes["gen_ai.tool.name"], point.count) for point in durations] == [("timed", 1)]
    assert telemetry.values("codoperf.agent.tool_calls")[frozenset({("gen_ai.agent.name", "planner")})] >= 3


PROGRAM = """
from langchain_core.tools.base import BaseTool
BaseTool("search").run(2)
"""


@pytest.mark.once
def test_under_codoperf_run(langchain, tmp_path):
    """A program's frameworks are recorded without a line."""
    folder = langchain()
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "codoperf_otel.cli", "run", "--file", "telemetry", "program.py"]
    subprocess.run(command, cwd=folder, check=True)
    lines = (folder / "telemetry" / "traces.jsonl").read_text().splitlines()
    assert "execute_tool search" in {
        span["name"]
        for line in lines
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }


def test_under_opentelemetry_instrument(langchain, telemetry):
    """So they are by the entry point, and are put back with it."""
    langchain()
    instrumentor = co.CodoperfInstrumentor()
    instrumentor.instrument()
    kind = imported()
    kind("search").run(2)
    assert [span.name for span in telemetry.spans()] == ["execute_tool search"]
    instrumentor.uninstrument()
    assert not hasattr(kind.run, "__wrapped__")
