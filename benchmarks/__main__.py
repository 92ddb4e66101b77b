"""The benchmarks: every figure is a ratio of two things measured in turn, in one run.

python benchmarks                 all of them
python benchmarks imports calls   some of them
python benchmarks calls.lean      one part of one
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import caches
import calls
import coroutines
import demo
import hanging
import imports
import lazy
import memory
import other_spans
import peers
import redaction
import sampler
import spool
import tasks
import threads
import whole_programs

Part = Callable[[], Iterable[str]]
BENCHMARKS: dict[str, dict[str, Part]] = {
    "imports": imports.PARTS,
    "calls": calls.PARTS,
    "coroutines": coroutines.PARTS,
    "tasks": tasks.PARTS,
    "threads": threads.PARTS,
    "other-spans": other_spans.PARTS,
    "sampler": sampler.PARTS,
    "memory": memory.PARTS,
    "lazy": lazy.PARTS,
    "peers": peers.PARTS,
    "caches": caches.PARTS,
    "spool": spool.PARTS,
    "redaction": redaction.PARTS,
    "demo": demo.PARTS,
    "hanging": hanging.PARTS,
    "whole-programs": whole_programs.PARTS,
}
PARTS = {f"{name}.{part}": run for name, parts in BENCHMARKS.items() for part, run in parts.items()}


def main(chosen: list[str]) -> int:
    """Run the chosen benchmarks, all where none is named; gives how many parts failed."""
    unknown = set(chosen) - set(BENCHMARKS) - set(PARTS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join((*BENCHMARKS, *PARTS))}")
    if len(chosen) == 1 and chosen[0] in PARTS:
        for line in PARTS[chosen[0]]():
            print(line, flush=True)
        return 0
    wanted = chosen or list(BENCHMARKS)
    return sum(_run_apart(part) for part in PARTS if part in wanted or part.split(".")[0] in wanted)


def _run_apart(part: str) -> bool:
    """Run a part in a process of its own, for providers are global; gives whether it failed."""
    print(f"== {part}", flush=True)
    return subprocess.run([sys.executable, Path(__file__).parent, part], check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
