"""What the dashboard shows: rows of panels in reading order, each with its queries."""

from __future__ import annotations

import promql as q
from grafana import Query, Row, graph, stat, table
from measures import (
    AGENT_RUNS,
    CHILD_CPU,
    COUNTS,
    CPU,
    FAILED,
    FUNCTION_CPU,
    FUNCTIONS,
    HITS,
    INFERENCES,
    LAZY,
    LOADS,
    LOOKUPS,
    MEMORY,
    MEMORY_PEAK,
    MISSES,
    OPERATION_CPU,
    OPERATION_NAME,
    OPERATIONS,
    TOKENS,
    TOOL_RUNS,
    WAITING,
    counted,
    durations,
    hit_ratio,
    named,
    rate_by,
    runs,
    saved,
    self_cpu,
)
from promql import AGENT, CACHE, FUNCTION, INPUT_OR_OUTPUT, MODULE, OPERATION, TOOL

SO_FAR = "Counted since each selected process started."
CORES = "100 % is one core."
CALLS = "Functions, operations, agents and tools"


OVERVIEW = (
    stat("Calls", "none", q.add(q.union(q.total, COUNTS)), f"{CALLS}. {SO_FAR}"),
    stat(
        "Failed calls",
        "none",
        q.or_zero(q.add(q.union(q.total, COUNTS, FAILED)), q.add(q.union(q.total, COUNTS))),
        f"{CALLS} that raised. {SO_FAR}",
    ),
    stat("Agent runs", "none", counted(f"{AGENT_RUNS}_count"), f"Invocations of agents. {SO_FAR}"),
    stat(
        "Self CPU",
        "s",
        q.add(q.union(q.total, CPU)),
        f"CPU time of all monitored calls, each second counted once. {SO_FAR}",
    ),
    stat(
        "Peak memory",
        "bytes",
        q.most(q.union(q.highest, (MEMORY, MEMORY_PEAK))),
        "Highest physical memory of one process, as exported or as its operations measured it.",
    ),
    stat(
        "Cache hit ratio",
        "percentunit",
        hit_ratio(q.total),
        f"Hits over all lookups. {SO_FAR}",
    ),
    stat("Saved by caches", "s", saved(q.total), f"What the hits would have taken to compute. {SO_FAR}"),
    stat("Lazy loads", "none", counted(f"{LAZY}_count"), f"Modules imported at their first use. {SO_FAR}"),
)

AGENTS = table(
    "Agents",
    24,
    f"{SO_FAR} Total adds up the durations: time of nested and of concurrent runs counts more than once;"
    " in self CPU it counts once. Peak memory is that of the whole process while the agent ran.",
    {AGENT: "Agent"},
    *runs(AGENT_RUNS, AGENT),
    Query(q.add(q.union(q.total, CPU), AGENT), "Self CPU", "s"),
    Query(counted(CHILD_CPU, AGENT), "Programs' CPU", "s"),
    Query(counted(WAITING, AGENT), "Waiting", "s"),
    Query(q.most(q.highest(MEMORY_PEAK), AGENT), "Peak memory", "bytes"),
    Query(hit_ratio(q.total, AGENT), "Cache hits", "percentunit"),
    Query(saved(q.total, AGENT), "Saved", "s"),
    Query(counted(f"{LAZY}_sum", AGENT), "Lazy loads", "s"),
    sort="Self CPU",
)

WHAT_AGENTS_WAIT_FOR = (
    graph(
        "Waiting by agent",
        8,
        "percentunit",
        "Time for which runs waited for models, tools, programs and other threads, over the time that passed:"
        " 100 % is one run that waits all the time. It is counted when a run ends.",
        Query(q.add(q.rate(WAITING), AGENT), named(AGENT)),
        stacked=True,
    ),
    graph(
        "Model calls by agent",
        8,
        "cps",
        "As the spans of GenAI instrumentations tell them.",
        Query(q.add(q.rate(INFERENCES), AGENT), named(AGENT)),
        stacked=True,
    ),
    graph(
        "Tokens by agent",
        8,
        "none",
        "Per second, as the spans of model calls tell them.",
        Query(q.add(q.rate(TOKENS), AGENT, INPUT_OR_OUTPUT), f"{named(AGENT)} {named(INPUT_OR_OUTPUT)}"),
        stacked=True,
    ),
)

TIME_AXIS = (
    graph(
        "Operations running",
        24,
        "none",
        "Operations, agents and tools in progress at each export; shorter ones show in the CPU below.",
        Query(q.add(q.now("codoperf_operation_active"), AGENT, OPERATION), OPERATION_NAME),
        stacked=True,
    ),
    graph(
        "CPU",
        24,
        "percentunit",
        f"{CORES} Areas: self CPU of the {q.SHOWN} functions and the {q.SHOWN} operations that used the most."
        " Line: the whole processes; what is in between is not monitored.",
        self_cpu(FUNCTION_CPU, named(FUNCTION), FUNCTION),
        self_cpu(OPERATION_CPU, OPERATION_NAME, AGENT, OPERATION),
        Query(q.add(q.rate("process_cpu_time_seconds_total")), "process"),
        stacked=True,
        line="process",
    ),
    graph(
        "Memory",
        24,
        "bytes",
        "Physical memory of each process; and its peak during the operations that run or ended in the last"
        f" minute, the {q.SHOWN} highest.",
        Query(
            q.add(q.now(MEMORY), "service_name", "service_instance_id"),
            "process {{service_name}} {{service_instance_id}}",
        ),
        Query(
            q.top(q.most(q.now(MEMORY_PEAK), AGENT, OPERATION), MEMORY_PEAK, AGENT, OPERATION),
            f"peak {OPERATION_NAME}",
        ),
    ),
)

CALLS_BY_AGENT = q.add(q.union(q.rate, COUNTS), AGENT)
FAILED_BY_AGENT = q.add(q.union(q.rate, COUNTS, FAILED), AGENT)

RATE_ERRORS_DURATION = (
    graph("Call rate", 8, "cps", f"{CALLS}.", Query(CALLS_BY_AGENT, named(AGENT)), stacked=True),
    graph(
        "Failure rate",
        8,
        "cps",
        f"{CALLS} that raised.",
        Query(q.or_zero(FAILED_BY_AGENT, CALLS_BY_AGENT), named(AGENT)),
        stacked=True,
    ),
    graph(
        "Share of failed calls",
        8,
        "percentunit",
        "Calls that raised over all calls.",
        Query(q.share(FAILED_BY_AGENT, CALLS_BY_AGENT), named(AGENT)),
    ),
    durations("Duration of agents", AGENT_RUNS, AGENT),
    durations("Duration of tools", TOOL_RUNS, TOOL),
    durations("Duration of operations", OPERATIONS, OPERATION),
    durations("Duration of functions", FUNCTIONS, FUNCTION),
)

CPU_TOOLS_AND_FUNCTIONS = (
    graph(
        "Self CPU by agent",
        8,
        "percentunit",
        f"{CORES} CPU of everything that ran for the agent, its tools and functions included.",
        Query(q.add(q.union(q.rate, CPU), AGENT), named(AGENT)),
        stacked=True,
    ),
    graph(
        "CPU of programs by agent",
        8,
        "percentunit",
        f"{CORES} CPU of the child processes that were started for the agent, and of those below. It is"
        " counted when a child process ends.",
        Query(q.add(q.rate(CHILD_CPU), AGENT), named(AGENT)),
        stacked=True,
    ),
    graph(
        "Self CPU by function",
        8,
        "percentunit",
        f"{CORES} The {q.SHOWN} functions that took the most.",
        self_cpu(FUNCTION_CPU, named(FUNCTION), FUNCTION),
        stacked=True,
    ),
    table("Tools", 12, SO_FAR, {TOOL: "Tool", AGENT: "Agent"}, *runs(TOOL_RUNS, TOOL, AGENT), sort="Total"),
    table(
        "Functions",
        12,
        SO_FAR,
        {FUNCTION: "Function"},
        *runs(FUNCTIONS, FUNCTION),
        Query(counted(FUNCTION_CPU, FUNCTION), "Self CPU", "s"),
        sort="Self CPU",
    ),
)

CACHE_AND_LAZY_LOADING = (
    graph(
        "Cache hit ratio by cache",
        8,
        "percentunit",
        "Hits over all lookups.",
        Query(hit_ratio(q.rate, CACHE), named(CACHE)),
    ),
    graph(
        "Lookups by result and tier",
        8,
        "cps",
        "Cache lookups per second; only hits have a tier.",
        Query(
            f"sum by (codoperf_cache_result, codoperf_cache_tier) ({q.rate(LOOKUPS)})",
            "{{codoperf_cache_result}} {{codoperf_cache_tier}}",
        ),
        stacked=True,
    ),
    graph(
        "Time saved by caches",
        8,
        "percentunit",
        "What the hits would have taken to compute, over the time that passed: 100 % is 1 s per second.",
        Query(saved(q.rate, CACHE), named(CACHE)),
        stacked=True,
    ),
    table(
        "Caches",
        12,
        SO_FAR,
        {CACHE: "Cache"},
        Query(counted(LOOKUPS, CACHE), "Lookups", "none"),
        Query(q.or_zero(q.add(q.total(LOOKUPS, HITS), CACHE), counted(LOOKUPS, CACHE)), "Hits", "none"),
        Query(q.or_zero(q.add(q.total(LOOKUPS, MISSES), CACHE), counted(LOOKUPS, CACHE)), "Misses", "none"),
        Query(hit_ratio(q.total, CACHE), "Hit ratio", "percentunit"),
        Query(saved(q.total, CACHE), "Saved", "s"),
        Query(q.quantile(0.95, q.total(f"{LOADS}_bucket"), CACHE), "Load p95", "s"),
        sort="Saved",
    ),
    table(
        "Lazy loads by module",
        12,
        SO_FAR,
        {MODULE: "Module", AGENT: "Agent"},
        *runs(LAZY, MODULE, AGENT),
        sort="Total",
    ),
)

SWITCH_TYPE, FAULT_TYPE = "process_context_switch_type", "system_paging_fault_type"
DIRECTION, GENERATION = "disk_io_direction", "cpython_gc_generation"

PROCESS = (
    graph(
        "Threads and file descriptors",
        6,
        "none",
        "Of all selected processes.",
        Query(q.add(q.now("process_thread_count")), "threads"),
        Query(q.add(q.now("process_unix_file_descriptor_count")), "file descriptors"),
    ),
    graph(
        "Context switches and page faults",
        6,
        "cps",
        "Of all selected processes.",
        rate_by("process_context_switches_total", SWITCH_TYPE, "{} switches"),
        rate_by("process_paging_faults_total", FAULT_TYPE, "{} faults"),
    ),
    graph(
        "Disk",
        6,
        "binBps",
        "Read from and written to storage by all selected processes.",
        rate_by("process_disk_io_bytes_total", DIRECTION, "{}"),
    ),
    graph(
        "Garbage collections",
        6,
        "cps",
        "By generation, in all selected processes.",
        rate_by("cpython_gc_collections_total", GENERATION, "generation {}"),
    ),
)

ROWS = (
    Row("Overview", 4, OVERVIEW),
    Row("Agents and their resources", 8, (AGENTS, *WHAT_AGENTS_WAIT_FOR)),
    Row("What ran, and what it took", 9, TIME_AXIS),
    Row("Rate, errors, duration", 8, RATE_ERRORS_DURATION),
    Row("CPU, tools, functions", 9, CPU_TOOLS_AND_FUNCTIONS),
    Row("Caches and lazy loading", 8, CACHE_AND_LAZY_LOADING),
    Row("Process", 7, PROCESS),
)
