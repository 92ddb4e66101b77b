"""What stands in the place of ``os._exit``, by which forked workers end."""

from __future__ import annotations

import os
from typing import NoReturn

from codoperf_otel._patching.replacing import Replacement
from codoperf_otel.sdk.ends import last_flush

_exit = os._exit


def exit_after_flush(status: int) -> NoReturn:
    """Send what is left, then end the process at once."""
    try:
        last_flush.flush()
    finally:
        _exit(status)


_replaced = Replacement(os, "_exit", _exit, exit_after_flush)


def replace() -> None:
    """Let ``os._exit`` send what is left, unless somebody else has replaced it."""
    if os._exit is _exit:
        _replaced.put(exit_after_flush)


def restore() -> None:
    """Put the original back, unless somebody else has replaced it since."""
    if _replaced.holds:
        _replaced.put(_exit)
