"""A program run in an interpreter of its own, which records its imports."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from codoperf_otel._imports import tracing
from codoperf_otel._imports.costs import Import, tree
from codoperf_otel.cli._errors import CommandError

_LEAST_PATIENCE = 10.0


@dataclass(frozen=True)
class Ended:
    """A run that is over: its exit status, as a shell says it, and its imports."""

    status: int
    imports: list[Import]


class TracedProgram:
    """A program that is run once, and maybe once more."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._stdin_at: int | None = None
        self._seconds = 0.0
        with suppress(OSError):  # a terminal, or a pipe
            self._stdin_at = os.lseek(0, 0, os.SEEK_CUR)

    def run(self, *, quiet: bool) -> Ended:
        """Run it with the standard streams of this process; if *quiet*, what it prints goes to stderr.

        Raises:
            CommandError: it has left no record.
        """
        began = time.monotonic()
        status, record = self._run({}, stdout=sys.stderr if quiet else None)
        self._seconds = time.monotonic() - began
        if record is None:
            raise CommandError(
                f"{self._command[-1]}: it ended, with status {status}, before its imports were written"
            )
        return _ended(status, record)

    def run_again(self, changed: dict[str, CodeType]) -> Ended:
        """Run it with this code in the place of some files. Nobody sees what it prints.

        Raises:
            CommandError: it has left no record, or takes much longer than before.
        """
        stdin: int | None = subprocess.DEVNULL
        if self._stdin_at is not None:
            os.lseek(0, self._stdin_at, os.SEEK_SET)
            stdin = None
        nowhere, patience = subprocess.DEVNULL, _LEAST_PATIENCE + 3 * self._seconds
        try:
            status, record = self._run(changed, stdin=stdin, stdout=nowhere, stderr=nowhere, timeout=patience)
        except subprocess.TimeoutExpired as error:
            raise CommandError("the second run took much longer than the first") from error
        if record is None:
            raise CommandError(f"the second run ended, with status {status}, before its imports were written")
        return _ended(status, record)

    def _run(self, changed: dict[str, CodeType], **options: object) -> tuple[int, bytes | None]:
        with tempfile.TemporaryDirectory() as folder:
            record, changes = Path(folder) / "record", Path(folder) / "changes"
            changes.write_bytes(marshal.dumps(changed))
            words = [sys.executable, tracing.__file__, str(record), str(changes), *self._command]
            status = subprocess.run(words, check=False, **options).returncode  # type: ignore[call-overload]
            return status, record.read_bytes() if record.exists() else None


def _ended(status: int, record: bytes) -> Ended:
    recorded = marshal.loads(record)  # noqa: S302  # of the run's own
    imports = [one for records in recorded for one in tree(records)]
    return Ended(status if status >= 0 else 128 - status, imports)
