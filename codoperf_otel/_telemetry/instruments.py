"""The table of instruments: what each metric is, in which unit, with which bucket bounds."""

from __future__ import annotations

from typing import NamedTuple

from codoperf_otel._telemetry import names

DURATION_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
CALL_BOUNDS = tuple(float(2**n) for n in range(8))
AGENT_BOUNDS = tuple(0.1 * 2**n for n in range(13))
PAUSE_BOUNDS = tuple(bound for bound in DURATION_BOUNDS if bound <= 1)
TOOL_BOUNDS = tuple(0.01 * 2**n for n in range(14))
WORKFLOW_BOUNDS = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)


class Instrument(NamedTuple):
    """What an instrument is made from; ``bounds`` belongs to histograms only."""

    kind: str
    unit: str
    description: str
    bounds: tuple[float, ...] | None = None


INSTRUMENTS: dict[str, Instrument] = {
    names.FUNCTION_DURATION: Instrument(
        "histogram", "s", "Duration of monitored function calls", DURATION_BOUNDS
    ),
    names.FUNCTION_CPU_TIME: Instrument(
        "counter", "s", "CPU time of monitored functions, without the monitored calls inside them"
    ),
    names.FUNCTION_ACTIVE: Instrument("updowncounter", "{call}", "Monitored function calls running now"),
    names.OPERATION_DURATION: Instrument("histogram", "s", "Duration of operations", DURATION_BOUNDS),
    names.OPERATION_CPU_TIME: Instrument(
        "counter", "s", "CPU time of operations, agents and tools, without the monitored calls inside them"
    ),
    names.OPERATION_ACTIVE: Instrument("updowncounter", "{call}", "Operations, agents and tools running now"),
    names.OPERATION_MEMORY_PEAK: Instrument(
        "gauge", "By", "Highest process memory of the operations running now or ended in the last minute"
    ),
    names.CHILD_PROCESS_CPU_TIME: Instrument(
        "counter", "s", "CPU time of ended child processes, by what started them"
    ),
    names.INVOKE_AGENT_DURATION: Instrument("histogram", "s", "Duration of agent invocations", AGENT_BOUNDS),
    names.EXECUTE_TOOL_DURATION: Instrument("histogram", "s", "Duration of tool executions", TOOL_BOUNDS),
    names.WORKFLOW_DURATION: Instrument("histogram", "s", "Duration of workflows", WORKFLOW_BOUNDS),
    names.INVOKE_AGENT_TOOL_CALLS: Instrument(
        "histogram", "{call}", "Tools executed in an agent invocation", CALL_BOUNDS
    ),
    names.INVOKE_AGENT_INFERENCE_CALLS: Instrument(
        "histogram", "{call}", "Model calls seen in an agent invocation", CALL_BOUNDS
    ),
    names.AGENT_WALL_TIME: Instrument("counter", "s", "Duration of all invocations of agents"),
    names.AGENT_CPU_TIME: Instrument("counter", "s", "CPU time of agents, without the agents inside them"),
    names.AGENT_CHILD_PROCESS_CPU_TIME: Instrument(
        "counter", "s", "CPU time of ended child processes, by the agent in force where they were started"
    ),
    names.AGENT_SUSPENDED_TIME: Instrument(
        "counter",
        "s",
        "Time for which invocations of agents were suspended or blocked",
    ),
    names.AGENT_TOOL_CALLS: Instrument("counter", "{call}", "Tools that agents executed"),
    names.AGENT_INFERENCE_CALLS: Instrument("counter", "{call}", "Model calls seen in agents"),
    names.AGENT_ERRORS: Instrument(
        "counter", "{error}", "Calls of agents that failed: invocations, tools, functions, model calls"
    ),
    names.AGENT_TOKEN_USAGE: Instrument("counter", "{token}", "Tokens of the model calls seen in agents"),
    names.AGENT_LAZY_LOAD_TIME: Instrument("counter", "s", "Time that lazy loads took in agents"),
    names.AGENT_CACHE_LOOKUPS: Instrument("counter", "{lookup}", "Cache lookups of agents by result"),
    names.AGENT_CACHE_SAVED_TIME: Instrument(
        "counter", "s", "Time that the cache hits of agents would have taken to compute"
    ),
    names.CACHE_LOOKUPS: Instrument("counter", "{lookup}", "Cache lookups by result"),
    names.CACHE_EVICTIONS: Instrument("counter", "{entry}", "Cache entries removed by the cache itself"),
    names.CACHE_SIZE: Instrument("updowncounter", "By", "Size of the values in the cache"),
    names.CACHE_ENTRY_COUNT: Instrument("updowncounter", "{entry}", "Entries in the cache"),
    names.CACHE_ENTRY_LIMIT: Instrument("updowncounter", "{entry}", "Most entries the cache may hold"),
    names.CACHE_LOAD_DURATION: Instrument(
        "histogram", "s", "Time taken to compute values that the cache lacked", DURATION_BOUNDS
    ),
    names.CACHE_SAVED_TIME: Instrument("counter", "s", "Time that cache hits would have taken to compute"),
    names.LAZY_LOAD_DURATION: Instrument(
        "histogram", "s", "Time taken to import lazy modules at first use", DURATION_BOUNDS
    ),
    names.PROCESS_CPU_TIME: Instrument("counter", "s", "CPU time of the process by mode"),
    names.PROCESS_CPU_UTILIZATION: Instrument(
        "gauge", "1", "CPU time of the process over elapsed time and the CPUs it may use"
    ),
    names.PROCESS_UPTIME: Instrument("gauge", "s", "Time since the process started"),
    names.PROCESS_MEMORY_USAGE: Instrument("updowncounter", "By", "Physical memory in use"),
    names.PROCESS_MEMORY_VIRTUAL: Instrument("updowncounter", "By", "Committed virtual memory"),
    names.PROCESS_THREAD_COUNT: Instrument("updowncounter", "{thread}", "Threads of the process"),
    names.PROCESS_FILE_DESCRIPTOR_COUNT: Instrument(
        "updowncounter", "{file_descriptor}", "File descriptors in use by the process"
    ),
    names.PROCESS_CONTEXT_SWITCHES: Instrument("counter", "{context_switch}", "Context switches by type"),
    names.PROCESS_PAGING_FAULTS: Instrument("counter", "{fault}", "Page faults by type"),
    names.PROCESS_DISK_IO: Instrument("counter", "By", "Bytes read from and written to disk"),
    names.PROCESS_MEMORY_LIMIT: Instrument(
        "updowncounter", "By", "Memory that the container may use, where it has a limit"
    ),
    names.PROCESS_CPU_THROTTLED_TIME: Instrument(
        "counter", "s", "Time for which the container had used up its share of CPU time"
    ),
    names.CPYTHON_GC_COLLECTIONS: Instrument("counter", "{collection}", "Garbage collections by generation"),
    names.CPYTHON_GC_COLLECTED_OBJECTS: Instrument("counter", "{object}", "Objects freed by the collector"),
    names.CPYTHON_GC_UNCOLLECTABLE_OBJECTS: Instrument(
        "counter", "{object}", "Objects that the collector could not free"
    ),
    names.GC_PAUSE_DURATION: Instrument(
        "histogram", "s", "Time for which the garbage collector stopped the program", PAUSE_BOUNDS
    ),
    names.EVENT_LOOP_LAG: Instrument(
        "histogram", "s", "Time after which asyncio's loops run what is ready", PAUSE_BOUNDS
    ),
    names.TELEMETRY_DROPPED: Instrument(
        "counter", "{item}", "Spans, metric points and log records that were not delivered"
    ),
    names.SYSTEM_CPU_UTILIZATION: Instrument("gauge", "1", "Share of the CPUs' time by mode"),
    names.SYSTEM_MEMORY_USAGE: Instrument("updowncounter", "By", "Memory of the machine by state"),
    names.SYSTEM_MEMORY_UTILIZATION: Instrument("gauge", "1", "Share of the machine's memory by state"),
    names.SYSTEM_NETWORK_IO: Instrument("counter", "By", "Bytes received and transmitted by the machine"),
    names.SYSTEM_FILESYSTEM_UTILIZATION: Instrument(
        "gauge", "1", "Share of the root directory's file system by state"
    ),
}
