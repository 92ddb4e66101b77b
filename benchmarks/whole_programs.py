"""`codoperf run` of a whole program, sphinx over a small project, against the program as it is."""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pairs import Measure, ratio, with_bytecode
from peers import environment

ROUNDS = 5
PAGES = 10
_CHANGING = re.compile(rb"Last updated on [^<]*")

_PAGE = """
Page {number}
=========

Some *text* with ``code``, a :ref:`label <here{number}>` and a :doc:`document <index>`.

.. _here{number}:

Section
-------

.. code-block:: python

   def total(prices):
       return sum(prices)

.. py:function:: shop.f{number}(a: int, b: str = "x") -> list[int]

   Computes a thing.

   :param a: first
   :type a: int

- one
- two

  1. nested
  2. again

+---+---+
| a | b |
+---+---+
| 1 | 2 |
+---+---+
"""


def _project(folder: Path) -> Path:
    folder.mkdir()
    pages = [f"page{number}" for number in range(PAGES)]
    (folder / "conf.py").write_text('project = "shop"\nextensions = ["sphinx.ext.autodoc"]\n')
    (folder / "index.rst").write_text("Shop\n====\n\n.. toctree::\n\n   " + "\n   ".join(pages) + "\n")
    for number, page in enumerate(pages):
        (folder / f"{page}.rst").write_text(_PAGE.format(number=number))
    return folder


def _sphinx() -> Iterator[str]:
    python = environment("sphinx")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build = ["-m", "sphinx", "-q", "-E", "-b", "html", str(_project(root / "source"))]
        run = ["-m", "codoperf_otel.cli", "run", "--file", str(root / "telemetry"), "--monitor"]
        plain = partial(_seconds, [str(python), "-P", *build, str(root / "plain")])
        nothing = partial(_seconds, [str(python), "-P", *run, "nothing.*", *build, str(root / "nothing")])
        monitored = partial(_seconds, [str(python), "-P", *run, "sphinx.*", *build, str(root / "monitored")])
        yield _line("sphinx, nothing monitored", nothing, plain)
        yield _line("sphinx, 'sphinx.*' monitored", monitored, plain)
        _compare(root / "plain", root / "monitored")


def _line(kind: str, measured: Measure, base: Measure) -> str:
    pair = ratio(measured, base, ROUNDS)
    return f"{kind}: {pair.measured:.2f} s, as it is {pair.base:.2f} s: {pair}"


def _seconds(command: list[str]) -> float:
    """CPU seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=with_bytecode(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _compare(one: Path, other: Path) -> None:
    """Refuse figures of a program that has made something else; times of day aside."""
    found = [_results(folder) for folder in (one, other)]
    if found[0] != found[1] or not found[0]:
        raise SystemExit("sphinx has made other pages when it was monitored")


def _results(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): _CHANGING.sub(b"", path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".doctrees" not in path.parts
    }


PARTS = {"sphinx": _sphinx}
