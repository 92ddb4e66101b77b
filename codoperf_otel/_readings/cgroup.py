"""What the control groups of Linux allow this process, version 2 and version 1: the limits of a container.

A limit holds for a group and all groups below it, so the lowest one on the way up counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from codoperf_otel._readings.ways import first_that_works

PROC = "/proc/self"

_NO_LIMIT_V1 = 1 << 62
"""Version 1 writes the highest multiple of a page where there is no limit."""


class Folders(NamedTuple):
    """The folders of a controller, from the process's own group upwards."""

    version: int
    paths: tuple[Path, ...]


def memory_limit() -> float | None:
    """The most memory in bytes that the process's group may use; infinite where nothing limits it."""
    return first_that_works(lambda: _lowest("memory", _memory_limit_v2, _memory_limit_v1))


def cpu_limit() -> float | None:
    """How many CPUs' time the process's group may use; infinite where nothing limits it."""
    return first_that_works(lambda: _lowest("cpu", _cpu_limit_v2, _cpu_limit_v1))


def throttled_time() -> float | None:
    """Seconds for which the group was kept from running, because it had used up its share."""
    return first_that_works(_throttled_time)


def _lowest(controller: str, read_v2: Callable[[Path], float], read_v1: Callable[[Path], float]) -> float:
    found = folders(controller)
    read = read_v2 if found.version == 2 else read_v1
    return min(_limit(read, path) for path in found.paths)


def _limit(read: Callable[[Path], float], folder: Path) -> float:
    try:
        return read(folder)
    except FileNotFoundError:  # the topmost group has no limits
        return math.inf


def _memory_limit_v2(folder: Path) -> float:
    limit = _content(folder / "memory.max").strip()
    return math.inf if limit == "max" else int(limit)


def _memory_limit_v1(folder: Path) -> float:
    limit = int(_content(folder / "memory.limit_in_bytes"))
    return math.inf if limit >= _NO_LIMIT_V1 else limit


def _cpu_limit_v2(folder: Path) -> float:
    quota, period = _content(folder / "cpu.max").split()
    return math.inf if quota == "max" else int(quota) / int(period)


def _cpu_limit_v1(folder: Path) -> float:
    quota = int(_content(folder / "cpu.cfs_quota_us"))
    return math.inf if quota < 0 else quota / int(_content(folder / "cpu.cfs_period_us"))


def _throttled_time() -> float:
    found = folders("cpu")
    counts = dict(line.split() for line in _content(found.paths[0] / "cpu.stat").splitlines())
    return int(counts["throttled_usec"]) / 1e6 if found.version == 2 else int(counts["throttled_time"]) / 1e9


def folders(controller: str) -> Folders:
    """Where the controller's files are: in version 1 where it is mounted there, else in version 2.

    Raises:
        LookupError: the process is in no such group that can be seen.
    """
    found = _known_folders(controller)
    if found is None:
        raise LookupError(controller)
    return found


@cache
def _known_folders(controller: str) -> Folders | None:
    return first_that_works(lambda: _folders(1, controller), lambda: _folders(2, ""))


def _folders(version: int, group: str) -> Folders:
    mount = next(mount for mount in _mounts() if group in mount.controllers)
    return Folders(version, tuple(_upwards(mount, dict(_groups())[group])))


def _groups() -> Iterator[tuple[str, str]]:
    """Each controller with the path of the process's group; the name of version 2 is empty."""
    for line in _content(f"{PROC}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


class _Mount(NamedTuple):
    """Where a hierarchy of groups can be seen, and from which of its groups on."""

    root: str
    point: Path
    controllers: set[str]


def _mounts() -> Iterator[_Mount]:
    for line in _content(f"{PROC}/mountinfo").splitlines():
        fields, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _, _, _, root, point, *_ = fields.split(" ")
            controllers = set(options.split(",")) if kind == "cgroup" else {""}
            yield _Mount(root, Path(point), controllers)


def _upwards(mount: _Mount, group: str) -> Iterator[Path]:
    """The folders of a group and of those above it, as far as they can be seen."""
    root, path = PurePosixPath(mount.root), PurePosixPath(group)
    if path.is_relative_to(root) and ".." not in path.parts:
        inside = path.relative_to(root)
        yield from (mount.point / part for part in (inside, *inside.parents) if part.parts)
    yield mount.point


def _content(path: str | Path) -> str:
    return Path(path).read_text(encoding="ascii", errors="replace")
