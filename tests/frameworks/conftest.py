"""What the tests of all frameworks share. Each runs in an environment of its framework's own."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from observed import Recorded, exporter, reader, tree_of
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from vendor import Vendor

import codoperf_otel as co
from codoperf_otel.sdk import ResourceSpanProcessor

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frameworks.md"
OURS = re.compile(r"^(import codoperf_otel as co|co\.).*\n", re.MULTILINE)


@pytest.fixture(scope="session", autouse=True)
def providers() -> None:
    """The global providers, to which a framework's own spans go, too."""
    provider = TracerProvider()
    provider.add_span_processor(ResourceSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    co.instrument(threads=True, subprocess=True)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """What is recorded with the frameworks' agents instrumented."""
    exporter.clear()
    co.instrument_agents()
    yield Recorded()
    co.uninstrument_agents()


@pytest.fixture
def unrecorded() -> Recorded:
    """What is recorded without: the frameworks' own spans, and those of decorated functions."""
    exporter.clear()
    return Recorded()


@pytest.fixture(scope="session")
def vendor() -> Iterator[Vendor]:
    """A local server that speaks the protocols of vendors of models."""
    with Vendor() as server:
        yield server


@pytest.fixture
def vendors_variables(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients in this process find the local server."""
    for name, value in vendor.variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def check_example(
    tmp_path: Path, vendor: Vendor, vendors_variables: None, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], None]:
    """A check of an example: it prints the same without us, and has the spans that the page shows.

    With us it runs in a process that imports the framework only after `instrument_agents`.
    """

    def check(framework: str) -> None:
        section = PAGE.read_text().partition(f"\n## {framework}\n")[2].partition("\n## ")[0]
        code, tree = re.findall(r"```(?:python|text)\n(.*?)```", section, re.DOTALL)
        ours = "".join(line.group() for line in OURS.finditer(code))
        program = tmp_path / "example.py"
        program.write_text(plain := OURS.sub("", code))
        runpy.run_path(str(program), run_name="__main__")
        program.write_text(ours + plain)
        assert _run(program, vendor) == capsys.readouterr().out != ""
        assert tree_of(tmp_path / "telemetry") == tree

    return check


def _run(program: Path, vendor: Vendor) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program],
        cwd=program.parent,
        env=vendor.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
