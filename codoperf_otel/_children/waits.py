"""Waiting for child processes: `os.waitpid` answered by `os.wait4`, which also returns what they took."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps

from codoperf_otel._children import table

Wait = Callable[[int, int], tuple[int, int]]


def reporting_waitpid(original: Wait) -> Wait:
    """What stands in the place of `original`, `os.waitpid`.

    It must work while modules are taken down, too: `os.wait4` then fails when it has reaped the process, for
    it imports `resource` each time.
    """
    wait4, is_finalizing, has_exited, was_killed = os.wait4, sys.is_finalizing, os.WIFEXITED, os.WIFSIGNALED
    ended, reaped, no_child = table.ended, table.reaped, ChildProcessError

    @wraps(original)
    def waitpid(pid: int, options: int, /) -> tuple[int, int]:
        if is_finalizing():
            return original(pid, options)
        try:
            found, status, usage = wait4(pid, options)
        except no_child:
            reaped(pid)
            raise
        if found and (has_exited(status) or was_killed(status)):
            ended(found, usage)
        return found, status

    return waitpid
