"""What ``codoperf doctor`` checks of Python and this machine: packages, variables, readings."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from codoperf_otel import _environment_variables as variables
from codoperf_otel.__about__ import __version__
from codoperf_otel._environment_variables.misspelt import PREFIX, misspelt
from codoperf_otel._readings import cgroup, peak
from codoperf_otel.cli import _format
from codoperf_otel.cli._findings import Finding, failed, note, ok

INSTALL = "pip install 'codoperf-otel[otlp]'"
EXPORTERS = ("opentelemetry-exporter-otlp-proto-grpc", "opentelemetry-exporter-otlp-proto-http")


def installation() -> Iterator[Finding]:
    """The packages that telemetry needs, with their versions."""
    here = f"codoperf-otel {__version__}, Python {platform.python_version()} on {platform.system()}"
    yield ok("package", here)
    sdk = _version("opentelemetry-sdk")
    if sdk is None:
        yield failed("OpenTelemetry", "the SDK is not installed", INSTALL)
    else:
        yield ok("OpenTelemetry", f"API {_version('opentelemetry-api')}, SDK {sdk}")
    missing = [name for name in EXPORTERS if _version(name) is None]
    if missing:
        yield failed("exporters", f"not installed: {', '.join(missing)}", INSTALL)
    else:
        yield ok("exporters", f"OTLP over gRPC and HTTP, {_version(EXPORTERS[0])}")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def own_variables() -> Iterator[Finding]:
    """The variables of this package."""
    given = sorted(name for name in os.environ if name.startswith(PREFIX))
    try:
        variables.check_values()
    except ValueError as error:
        yield failed("variables", str(error), "mend or unset it")
    else:
        yield ok("variables", ", ".join(given) or "none of this package's is set")
    for name, nearest in misspelt(variables.known()).items():
        yield note("variables", f"{name} is not known", f"did you mean {nearest}?")


def readings() -> Iterator[Finding]:
    """How memory and CPU time are read here."""
    window = peak.open_window()
    source = None if window is None else window.close().source
    if source == "kernel":
        yield ok("peak memory", "exact, by the kernel's mark")
    else:
        text = "not known here" if source is None else "sampled: shorter peaks are missed"
        yield note("peak memory", text, "it is exact on Linux, where /proc/self/clear_refs can be written")
    if find_spec("psutil") is None and sys.platform != "linux":
        yield note("psutil", "not installed: fewer readings", "pip install 'codoperf-otel[process]'")
    yield ok("container", ", ".join(_limits()) or "no limit of CPU time or memory")


def _limits() -> Iterator[str]:
    cpus, size = cgroup.cpu_limit(), cgroup.memory_limit()
    if cpus is not None and math.isfinite(cpus):
        yield f"{cpus:g} CPUs"
    if size is not None and math.isfinite(size):
        yield f"{_format.memory(size)} of memory"


def event_loops() -> Iterator[Finding]:
    """Which of them cannot be followed in full."""
    if find_spec("uvloop") is None:
        yield ok("event loop", "asyncio")
    else:
        advice = "start those with asyncio's loop, or by subprocess in a thread"
        yield note("event loop", "the child processes that uvloop starts are not seen", advice)
