"""Which modules are a program's own, and what counts for those that are installed: their distributions."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from codoperf_otel._cache.digests import PROGRAM, NotPortableError
from codoperf_otel._cache.members import members_of
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.paths import is_folder, is_there

_THIS = __name__.partition(".")[0]
_FOLDERS = ("site-packages", "dist-packages")
_METADATA = (".dist-info", ".egg-info")
_STANDARD = (os.path.dirname(os.__file__), os.path.join(sys.base_prefix, "DLLs"))


class Home(NamedTuple):
    """Where a top-level module comes from."""

    name: str
    paths: tuple[str, ...]
    """Its file, or the folders of a package; only those of the program's own code."""
    distributions: tuple[str, ...]
    """Names and versions of those that it is installed by."""
    is_outside: bool
    """Whether it is installed, or of the standard library; not so a module that is nowhere to be found."""


def home(name: str) -> Home:
    """Where the top-level module of a module comes from, whether it is imported or not.

    Raises:
        NotPortableError: it was installed while this process ran.
    """
    top = _imported_as(name).partition(".")[0]
    if top == _THIS:  # what it does around a function decides no result
        return Home(top, (), (), True)
    paths = list(_paths(top))
    own: list[str] = []
    distributions: list[str] = []
    for path in paths:
        site = _site_of(path)
        found = _distributions(site, top) if site else ()
        distributions += found
        if not found and (site or not _is_standard(path)):
            own.append(path)
    is_outside = not own if paths else top in sys.builtin_module_names
    return Home(top, tuple(own), tuple(distributions), is_outside)


def _imported_as(name: str) -> str:
    """The name of a module; for a program that ``python -m`` runs, that by which others import it."""
    spec = getattr(sys.modules.get(name), "__spec__", None) if name in PROGRAM else None
    return name if spec is None else str(spec.name)


def _paths(top: str) -> Iterator[str]:
    """The folders of a package, or the file of a module; nothing for one that has neither."""
    module = sys.modules.get(top)
    if module is None:
        spec = _found(top)
        folders, file = getattr(spec, "submodule_search_locations", None), getattr(spec, "origin", None)
        file = file if getattr(spec, "has_location", False) else None
    else:
        folders, file = members_of(module).get("__path__"), members_of(module).get("__file__")
    if folders is not None:
        yield from map(str, folders)
    elif file:
        yield file


def _found(top: str) -> Any:
    try:
        return find_spec(top) if top else None
    except Exception as error:  # finders are anybody's
        raise_interrupt(error)
        return None


def _is_standard(path: str) -> bool:
    return any(path.startswith(folder + os.sep) for folder in _STANDARD)


def _site_of(path: str) -> str | None:
    """The folder of installed packages that a path is in."""
    return next((site for site in _sites(tuple(sys.path)) if path.startswith(site + os.sep)), None)


@cache
def _sites(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for folder in path if os.path.basename(folder) in _FOLDERS)


@cache
def _distributions(site: str, top: str) -> tuple[str, ...]:
    """The distributions in a folder that have a part of that top-level module."""
    stems = {entry: entry.rpartition(".")[0] for entry in _metadata(site)}
    named_alike = sorted(stems, key=lambda entry: stems[entry].partition("-")[0].lower() != top.lower())
    found = []
    for entry in named_alike:
        if _has(os.path.join(site, entry), top.encode()):
            found.append(_unchanged(os.path.join(site, entry), stems[entry]))
            if not _is_shared(site, top):
                break
    return tuple(found)


def _is_shared(site: str, top: str) -> bool:
    """Whether several distributions may have parts of it: a package without a file of its own."""
    folder = os.path.join(site, top)
    return is_folder(folder) and not is_there(os.path.join(folder, "__init__.py"))


@cache
def _metadata(site: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry for entry in os.listdir(site) if entry.endswith(_METADATA)))
    except OSError as error:
        raise_interrupt(error)
        return ()


def _has(metadata: str, top: bytes) -> bool:
    """Whether a distribution lists files of that top-level module."""
    listed = b"\n" + _content(metadata, "RECORD")
    if b"\n" + top + b"/" in listed or b"\n" + top + b"." in listed:
        return True
    return top in _content(metadata, "top_level.txt").split()


@cache
def _content(metadata: str, name: str) -> bytes:
    try:
        with open(os.path.join(metadata, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise_interrupt(error)
        return b""


def _unchanged(metadata: str, stem: str) -> str:
    refuse_changed(metadata, os.stat(metadata))
    return stem


def refuse_changed(path: str, found: os.stat_result) -> None:
    """Refuse what was changed since this process began: it has loaded what was there before.

    Raises:
        NotPortableError: it was changed.
    """
    if max(found.st_mtime, found.st_ctime) > _BEGAN:
        raise NotPortableError(f"{path} was changed since this process began")


def _began() -> float:
    """When this process began to run Python code, by the clock of files; no later than now."""
    now = time.time()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19]) + 1
        return min(now, now - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError) as error:
        raise_interrupt(error)
        return now


_BEGAN = _began()
"""In a forked child it stays that of the process that has loaded the code."""
