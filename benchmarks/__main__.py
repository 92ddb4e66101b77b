"""The benchmarks: every figure is a ratio of two things measured in turn, in one run.

python benchmarks                 all of them
python benchmarks imports calls   some of them
"""

from __future__ import annotations

import sys

import calls
import demo
import imports

BENCHMARKS = {"imports": imports.run, "calls": calls.run, "demo": demo.run}


def main(chosen: list[str]) -> None:
    """Run the chosen benchmarks, all where none is named."""
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    for name in chosen or BENCHMARKS:
        print(f"== {name}")
        for line in BENCHMARKS[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
