"""How the ``codoperf`` command was called, so that a command that the user is shown works as typed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path


def command_line(*arguments: str) -> str:
    """A command line of ``codoperf`` for the shell and the folder from which this one was called."""
    if Path(sys.argv[0]).stem == "codoperf":
        words = [_from_here(sys.argv[0]), *arguments]
    else:
        words = [_from_here(sys.executable), "-m", "codoperf_otel.cli", *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _from_here(program: str) -> str:
    """The path of a program, relative if it is below the current folder; its name alone may not be found."""
    path = Path(program).absolute()
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    relative = path.relative_to(Path.cwd())
    return str(relative) if relative.parent.name else f".{os.sep}{relative}"
