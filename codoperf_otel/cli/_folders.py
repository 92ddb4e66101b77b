"""What ``codoperf doctor`` checks of the folders in which things are kept: the cache and the spool."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from codoperf_otel import _environment_variables as variables
from codoperf_otel._cache.chosen_tiers import default_folder
from codoperf_otel._cache.database import FILE
from codoperf_otel._cache.folder import check
from codoperf_otel._ownership import demand_own_folder
from codoperf_otel.cli import _format
from codoperf_otel.cli._findings import Finding, failed, note, ok


def cache() -> Iterator[Finding]:
    """Where cached functions keep their values."""
    if os.environ.get(variables.CACHE_DISK, "").strip().lower() == "false":
        yield ok("cache", f"in memory alone, by {variables.CACHE_DISK}")
        return
    folder = default_folder()
    fault = _fault(folder, lambda folder: check(folder / FILE))
    if fault is None:
        yield ok("cache", f"{folder}, SQLite {sqlite3.sqlite_version}")
    else:
        advice = f"mend it, set XDG_CACHE_HOME, or {variables.CACHE_DISK}=false"
        yield failed("cache", f"{fault}, so values stay in memory", advice)


def spool() -> Iterator[Finding]:
    """Where telemetry waits for its endpoint, and whether some of it is there that nobody sends."""
    from codoperf_otel.sdk.spool_setting import default_folder as default_spool
    from codoperf_otel.sdk.spool_setting import spool_setting

    try:
        asked = spool_setting(None)
    except ValueError as error:
        yield failed("spool", str(error), "mend or unset it")
        return
    folder = asked.folder if asked else default_spool()
    fault = _fault(folder)
    if asked and fault:
        yield failed("spool", f"{fault}, so configure() fails", f"mend it, or set {variables.SPOOL_DIR}")
    elif not fault and (size := _waiting(folder)):
        text = f"{folder} has {_format.memory(size)} of ended programs"
        yield note("spool", text, f"the next program sends it, or: codoperf replay {folder}")
    else:
        yield ok("spool", str(folder) if asked else f"not asked for by {variables.SPOOL_DIR}")


def _waiting(spool: Path) -> int:
    """The bytes below a folder that no running program writes or sends."""
    from codoperf_otel.sdk.spool.folder import Folder

    size = 0
    for path in sorted(each for each in spool.glob("*") if each.is_dir() and not each.is_symlink()):
        for segment in Folder(path, float("inf"), float("inf")).orphans():
            size += segment.end - segment.sent
            segment.close()
    return size


def _fault(folder: Path, demand: Callable[[Path], None] = demand_own_folder) -> str | None:
    """Why nothing would be kept in a folder, if so. What others could change there, `demand` refuses."""
    try:
        nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        with TemporaryDirectory(dir=nearest):  # permissions do not tell all, as of a disk that is read-only
            if nearest == folder:
                demand(folder)
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror}" if error.strerror else str(error)
    return None
