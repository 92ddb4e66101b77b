"""The programs of the stack: versions, Go modules, and where each binary is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from folders import cache_folder

CONFIG = Path(__file__).resolve().parent.parent
GO_VERSION = "1.27"
_PROMETHEUS = "github.com/prometheus/prometheus/cmd"
_PROMETHEUS_VERSION = "github.com/prometheus/common/version.Version"


class StackError(Exception):
    """A failure that is reported in one message, without a traceback."""


@dataclass(frozen=True)
class Part:
    """One program.

    `package` is what Go installs at the tag `module_version`, or builds where there is none (for the
    Collector: its builder). `version_variable` is the linker's name for the version that the program reports,
    `sources` are the files of this folder that it is made from, `commands` its names on PATH.
    """

    name: str
    version: str
    package: str
    commands: tuple[str, ...]
    version_argument: str = "--version"
    module_version: str = ""
    version_variable: str = ""
    sources: tuple[str, ...] = ()
    first_build: str = "about 1 min"


PARTS = {
    part.name: part
    for part in (
        Part(
            name="otelcol",
            version="0.155.0",
            package="go.opentelemetry.io/collector/cmd/builder",
            commands=("codoperf-otelcol", "otelcol-contrib", "otelcol"),
            module_version="v0.155.0",
            sources=("builder.yaml",),
            first_build="about 2 min",
        ),
        Part(
            name="jaeger",
            version="2.13.0",
            package="github.com/jaegertracing/jaeger/cmd/jaeger",
            commands=("jaeger",),
            version_argument="version",
            version_variable="github.com/jaegertracing/jaeger/internal/version.latestVersion",
            sources=("jaeger/go.mod", "jaeger/go.sum"),
            first_build="about 5 min",
        ),
        Part(
            name="prometheus",
            version="3.16.0",
            package=f"{_PROMETHEUS}/prometheus",
            commands=("prometheus",),
            module_version="v0.316.0",
            version_variable=_PROMETHEUS_VERSION,
            first_build="about 2 min",
        ),
        Part(
            name="promtool",
            version="3.16.0",
            package=f"{_PROMETHEUS}/promtool",
            commands=("promtool",),
            module_version="v0.316.0",
            version_variable=_PROMETHEUS_VERSION,
        ),
    )
}


def cached(part: Part) -> Path:
    """The place of a built binary: another version, or other sources, is another folder."""
    digest = hashlib.sha256(f"{part.package} {part.module_version}".encode())
    for source in part.sources:
        digest.update((CONFIG / source).read_bytes())
    return cache_folder() / f"{part.name}-{part.version}-{digest.hexdigest()[:8]}" / part.name


def find(part: Part) -> Path | None:
    """The binary on PATH if it is of our version, else the one in the cache, else None."""
    for command in part.commands:
        found = shutil.which(command)
        if found and reported_version(found, part.version_argument) == part.version:
            return Path(found)
    binary = cached(part)
    return binary if os.access(binary, os.X_OK) else None


def locate(name: str) -> Path:
    """The binary of the part `name`; StackError if it is not there."""
    part = PARTS[name]
    binary = find(part)
    if binary is None:
        raise StackError(f"{name} {part.version} is neither on PATH nor built: run `make stack`")
    return binary


def reported_version(binary: str, *arguments: str) -> str:
    """The first version number that the program prints, or an empty text."""
    try:
        ran = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+\.\d+[-+.\w]*", ran.stdout + ran.stderr)
    return found.group() if found else ""
