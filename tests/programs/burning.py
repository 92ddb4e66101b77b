"""Six tools at once, each with a program of known CPU time and memory; prints what their spans say.

The arguments are the MiB that this process itself holds, and how many of the programs have children.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from resource import RUSAGE_CHILDREN, getrusage
from subprocess import check_output

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import codoperf_otel

PROGRAM = """
import os, resource, subprocess, sys, time

def taken(whose):
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime

def burn(until):
    while taken(resource.RUSAGE_SELF) < until:
        pass

seconds, size, hold, parent = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
if parent:
    inner = [sys.executable, "-S", "-E", "-c", parent[0]]
    subprocess.run([*inner, str(seconds / 2), str(size), str(hold)], check=True, stdout=-3)
else:
    held = bytearray(size << 20)
    time.sleep(hold)
    del held
burn(seconds - taken(resource.RUSAGE_CHILDREN))
print(taken(resource.RUSAGE_SELF) + taken(resource.RUSAGE_CHILDREN), size, flush=True)
os._exit(0)  # what taking the interpreter down costs is not known beforehand
"""

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))


def program(seconds: float, size: int, *, nested: bool) -> list[str]:
    """The command of a program that takes so many seconds of CPU and holds so many MiB, itself or below."""
    arguments = [str(seconds), str(size), "1", *([PROGRAM] if nested else [])]
    return [sys.executable, "-S", "-E", "-c", PROGRAM, *arguments]


def run(number: int, nested: int) -> tuple[str, list[str]]:
    name = f"tool {number}"
    with codoperf_otel.tool(name):
        command = program(0.06 + 0.02 * number, 60 + 20 * number, nested=number < nested)
        return name, check_output(command, text=True).split()


if __name__ == "__main__":
    own = bytearray(int(sys.argv[1]) << 20)
    codoperf_otel.instrument(tracer_provider=provider, subprocess=True)
    with ThreadPoolExecutor(6) as pool:
        took = dict(pool.map(partial(run, nested=int(sys.argv[2])), range(6)))
    usage = getrusage(RUSAGE_CHILDREN)
    spans = {span.attributes["gen_ai.tool.name"]: span.attributes for span in exporter.get_finished_spans()}
    found = {
        name: {
            "burnt": float(burnt),
            "held": int(held) << 20,
            "cpu": spans[name]["codoperf.cpu.child_process_time"],
            "peak": spans[name].get("codoperf.child_process.memory.peak"),
            "source": spans[name].get("codoperf.child_process.memory.peak_source"),
        }
        for name, (burnt, held) in took.items()
    }
    print(json.dumps({"programs": found, "all": usage.ru_utime + usage.ru_stime}))
