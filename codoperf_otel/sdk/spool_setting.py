"""Where the spool is, and how much it may hold."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

from codoperf_otel import _environment_variables as variables
from codoperf_otel._environment_variables import setting_error
from codoperf_otel.sdk.outputs import Otlp, Spool

_MIB = 512.0
_HOURS = 72.0
_NO_NAME = re.compile(r"[^\w.-]+")


def spool_setting(durable: bool | Literal["strict"] | None) -> Spool | None:
    """The spool that the argument `durable`, or else the variable of its folder, asks for.

    Raises:
        ValueError: a setting is wrong, or this platform has no locks of files.
    """
    if durable not in (None, True, False, "strict"):
        raise setting_error("durable", durable, "True, False or 'strict'")
    folder = variables.option_or_variable("", None, variables.SPOOL_DIR, variables.folder)
    if durable is False or (durable is None and folder is None):
        return None
    if sys.platform == "win32":
        raise setting_error(
            "durable", durable or str(folder), "left out on Windows, whose files have no such locks"
        )
    mebibytes = variables.option_or_variable("", None, variables.SPOOL_SIZE, variables.positive)
    hours = variables.option_or_variable("", None, variables.SPOOL_AGE, variables.positive)
    return Spool(
        folder or default_folder(), (mebibytes or _MIB) * 2**20, (hours or _HOURS) * 3600, durable == "strict"
    )


def default_folder() -> Path:
    """The folder of this user, unless the variable names one."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if Path(configured).is_absolute() else Path("~/.local/state").expanduser()
    return base / "codoperf-otel" / "spool"


def for_endpoint(spool: Spool, output: Otlp) -> Spool:
    """The part of the spool of one endpoint: nothing may be sent to another unless somebody asks for it."""
    digest = hashlib.sha256(f"{output.label} {output.protocol}".encode()).hexdigest()[:8]
    name = _NO_NAME.sub("_", output.label.partition("//")[2])
    return replace(spool, folder=spool.folder / f"{name}-{digest}")
