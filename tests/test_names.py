"""The names that leave the process, against OpenTelemetry's own constants."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import codoperf_otel
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.instruments import INSTRUMENTS

pytestmark = pytest.mark.newest

ATTRIBUTES = (
    "code.CODE_FUNCTION_NAME", "code.CODE_FILE_PATH", "code.CODE_LINE_NUMBER", "code.CODE_STACKTRACE",
    "cpu.CPU_MODE",
    "cpython.CPYTHON_GC_GENERATION", "disk.DISK_IO_DIRECTION", "error.ERROR_TYPE",
    "exception.EXCEPTION_MESSAGE", "exception.EXCEPTION_STACKTRACE", "exception.EXCEPTION_TYPE",
    "gen_ai.GEN_AI_AGENT_DESCRIPTION", "gen_ai.GEN_AI_AGENT_NAME", "gen_ai.GEN_AI_CONVERSATION_ID",
    "gen_ai.GEN_AI_OPERATION_NAME", "gen_ai.GEN_AI_TOOL_CALL_ID", "gen_ai.GEN_AI_TOOL_DESCRIPTION",
    "gen_ai.GEN_AI_TOOL_NAME", "gen_ai.GEN_AI_TOOL_TYPE", "process.PROCESS_CONTEXT_SWITCH_TYPE",
    "system.SYSTEM_PAGING_FAULT_TYPE",
)  # fmt: skip


def test_the_schema_is_the_conventions():
    """The schema URL is that of the conventions which the names are compared with."""
    from opentelemetry.semconv.schemas import Schemas

    assert list(Schemas)[-1].value == names.SCHEMA_URL


def convention(module: str) -> dict[str, object]:
    """A module of the semantic conventions that are still in development."""
    from importlib import import_module

    return vars(import_module(f"opentelemetry.semconv._incubating.{module}"))


def test_attributes_are_the_conventions():
    """An attribute that OpenTelemetry defines is spelled as it does."""
    for entry in ATTRIBUTES:
        group, constant = entry.split(".")
        assert (
            getattr(names, constant.removeprefix("SYSTEM_"))
            == convention(f"attributes.{group}_attributes")[constant]
        )


def test_gen_ai_operations_are_the_conventions():
    """The two operation names are among those that the convention lists."""
    values = convention("attributes.gen_ai_attributes")["GenAiOperationNameValues"]
    assert {names.INVOKE_AGENT, names.EXECUTE_TOOL} <= {value.value for value in values}


def test_metrics_of_process_and_interpreter_are_the_conventions():
    """Name and unit of every `process.*` and `cpython.*` metric are the convention's."""
    known = {
        name: value
        for group in ("process", "cpython", "system")
        for name, value in convention(f"metrics.{group}_metrics").items()
    }
    for name, entry in INSTRUMENTS.items():
        if name.startswith(("process.", "cpython.", "system.")):
            constant = name.upper().replace(".", "_")
            assert known[constant] == name
            assert f'unit="{entry.unit}"' in source_of(known[f"create_{constant.lower()}"])


def source_of(function: object) -> str:
    """The source text of a function."""
    import inspect

    return inspect.getsource(function)


def test_own_names_follow_the_naming_rules():
    """Own metrics stand under one name space, and carry neither unit nor `_total` in their names."""
    for name in INSTRUMENTS:
        assert name.startswith(("codoperf.", "process.", "cpython.", "gen_ai.", "system."))
        assert not name.endswith(("_total", ".total", "seconds", "bytes"))


def test_every_metric_name_has_an_instrument():
    """Each metric constant is in the table of instruments, and no instrument is unnamed."""
    constants = {value for key, value in vars(names).items() if key.isupper()}
    assert set(INSTRUMENTS) <= constants


PACKAGE = Path(codoperf_otel.__file__).parent
NAMES = PACKAGE / "_telemetry" / "names.py"
# they read what any version of the package has written
READERS = {"_report", "cli"}


def literals(path: Path) -> set[str]:
    """The texts in a module's code, docstrings left out."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    stated = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in stated]
    return {node.value for node in constants if isinstance(node.value, str)}


def test_names_stand_in_one_module():
    """No other module that writes telemetry spells a name of its own."""
    spaces = ("codoperf.", "gen_ai.", "process.", "cpython.", "system.", "code.", "exception.", "otel.")
    for path in PACKAGE.rglob("*.py"):
        if path != NAMES and path.relative_to(PACKAGE).parts[0] not in READERS:
            assert not [text for text in literals(path) if text.startswith(spaces)], path


def test_every_name_is_used():
    """A name that nothing sends or reads is no name of this package."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if path != NAMES]
    used = set().union(*(re.findall(r"\bnames\.([A-Z_]+)\b", source) for source in sources))
    assert {name for name in vars(names) if name.isupper()} - used == set()
