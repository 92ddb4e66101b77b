"""The source digests of a program's own packages, for what cannot be read from loaded code.

Of a top-level package all files count, imported or not. So do all own modules that an import statement in
them names, wherever it stands, and those that these import. What they import of installed modules counts by
its distribution.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from typing import NamedTuple

from codoperf_otel._cache.digests import NotPortableError
from codoperf_otel._cache.installed import Home, home, refuse_changed
from codoperf_otel._telemetry.paths import is_folder, real_path

_SOURCES = tuple(SOURCE_SUFFIXES)
_CODE = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)
_LONGEST_LINE = 300
_BEHIND = (b" ", b"\t", b"(", b"\\")
_FROM = re.compile(rb"\bfrom[ \t]+(?:\.|([\w\x80-\xff]+))[\w\x80-\xff.]*[ \t]*$")
_ARGUMENT = rb"""\(\s*(?:(?:module_)?name\s*=\s*)?["']([\w\x80-\xff]+)"""
_CALLED = re.compile(rb"(?:__|_module|_?[Ll]oader|_function)?" + _ARGUMENT)
_NAME = re.compile(rb"[ \t\\\r\n]*([\w\x80-\xff]+)[\w\x80-\xff.]*(?:[ \t]+as[ \t]+[\w\x80-\xff]+)?[ \t]*(,?)")


class Sources(NamedTuple):
    """The own top-level modules that count, with the digest of their files, and distributions."""

    packages: dict[str, str]
    distributions: frozenset[str]


def sources_of(modules: Iterable[str]) -> Sources:
    """What counts for these modules.

    Raises:
        NotPortableError: a file was changed since this process began, or cannot be read.
    """
    packages: dict[str, str] = {}
    distributions: set[str] = set()
    waiting = {_found(module).name for module in modules}
    seen: set[str] = set()
    while waiting:
        seen |= waiting
        homes = [home(name) for name in waiting]
        waiting = set()
        for found in homes:
            distributions.update(found.distributions)
            if found.paths:
                packages[found.name], imported = _read(found)
                waiting |= imported
        waiting -= seen
    return Sources(dict(sorted(packages.items())), frozenset(distributions))


def _found(module: str) -> Home:
    found = home(module)
    if not found.paths and not found.is_outside:
        raise NotPortableError(f"{module or 'a function'} has no source files")
    return found


def _read(of: Home) -> tuple[str, set[str]]:
    """The digest of all files, and the names of the top-level modules that they import."""
    digest = hashlib.sha256()
    imported: set[bytes] = set()
    known: set[bytes] = set()
    for relative, path in _files(of):
        content = _content(path)
        digest.update(b"%b\0%d\0" % (os.fsencode(relative), len(content)))
        digest.update(content)
        if path.endswith(_SOURCES):
            imported.update(_imported(content, known))
    return digest.hexdigest(), {name.decode(errors="replace") for name in imported}


def _files(of: Home) -> list[tuple[str, str]]:
    """The files of a top-level module, each by its path within it."""
    found = []
    for path in of.paths:
        if is_folder(path):
            found += [(file[len(path) :], file) for file in _below(path)]
        else:
            found.append((os.path.basename(path), path))
    if not found:
        raise NotPortableError(f"{of.name} has no source files")
    return sorted(found)


def _below(folder: str) -> Iterator[str]:
    """The files of code below a package's folder; a folder whose name cannot be imported holds none."""
    folders = [folder]
    seen = set()
    while folders:
        folder = folders.pop()
        real = real_path(folder)
        if real not in seen:  # a link may lead back
            seen.add(real)
            for entry in _entries(folder):
                if entry.name.endswith(_CODE):
                    yield entry.path
                elif entry.name.isidentifier() and entry.name != "__pycache__" and is_folder(entry.path):
                    folders.append(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise NotPortableError(str(error)) from None


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise NotPortableError(str(error)) from None
    refuse_changed(path, found)
    return content


def _imported(source: bytes, known: set[bytes]) -> Iterator[bytes]:
    """The top-level names after ``from`` and ``import``, and in calls such as ``import_module("name")``.

    Those of texts and comments do no harm. What stands before an ``import`` is `known` once it was read:
    modules mostly import the same.
    """
    yield from (called[1] for after in source.split(b"azy")[1:] if (called := _CALLED.match(after)))
    before, *rest = source.split(b"import")
    for after in rest:
        if called := _CALLED.match(after):
            yield called[1]
        elif after[:1] in _BEHIND:
            lines = before[-_LONGEST_LINE:]
            line = lines[lines.rfind(b"\n") + 1 :]
            if line not in known:
                if _FROM.search(line):
                    known.add(line)
                yield from _stated(lines, after)
        before = after


def _stated(lines: bytes, after: bytes) -> Iterator[bytes]:
    """The top-level names in the statement that has an ``import`` between these."""
    line = lines.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").rpartition(b"\n")[2]
    module = _FROM.search(line)
    yield from filter(None, module.groups()) if module else _listed(after)


def _listed(after: bytes) -> Iterator[bytes]:
    """The top-level names in what stands behind ``import``."""
    at = 0
    while named := _NAME.match(after, at):
        yield named[1]
        at = named.end()
        if not named[2]:
            break
