"""What is counted at the end of an agent's run, and at that of its tools."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from codoperf_otel._calls.lineages import (
    ERRORS,
    INFERENCE_CALLS,
    INPUT_TOKENS,
    INVOCATIONS,
    OUTPUT_TOKENS,
    TOKENS,
    TOOL_CALLS,
    WAITING_NS,
    WALL_NS,
)
from codoperf_otel._calls.model_calls import is_model_call, tokens_in
from codoperf_otel._calls.run_counts import record_run
from codoperf_otel._calls.totals import PEAK
from codoperf_otel._telemetry import names

if TYPE_CHECKING:
    from codoperf_otel._calls.call import Call
    from codoperf_otel._calls.foreign_spans import ForeignSpan
    from codoperf_otel._calls.lineages import Lineage


def end_agent(call: Call, wall_ns: int, cpu_ns: int | None, measured: Mapping[str, Any]) -> None:
    """Count a run that has ended."""
    here = call.site_for_agent
    if here.lineage is None or call.invocation is None:
        return
    used = [(INVOCATIONS, 1), (WALL_NS, wall_ns)]
    if (waiting_ns := _waiting_ns(call, wall_ns, cpu_ns)) is not None:
        used.append((WAITING_NS, waiting_ns))
    if (peak := measured.get(names.PROCESS_MEMORY_PEAK)) is not None:
        used.append((PEAK, peak))
    here.lineage.add_all(used)
    if (attributes := here.duration_attributes) is not None:
        record_run(attributes, call.epoch_ns + call.paused_ns, call.invocation.values())


def _waiting_ns(call: Call, wall_ns: int, cpu_ns: int | None) -> int | None:
    """For how long it did not run: was suspended, or blocked where it cannot be suspended."""
    if call.suspended_ns or cpu_ns is None:
        return call.suspended_ns or None
    return max(wall_ns - cpu_ns, 0)


def count_span(span: ForeignSpan, lineage: Lineage, *, has_failed: bool) -> None:
    """Count a span of another library that ends in an agent: a call of a model, or a run of the agent."""
    attributes = span.attributes()
    if has_failed and span.shared_ns is None:
        lineage.add(ERRORS, 1)
    if is_model_call(attributes):
        _count_model_call(span, lineage, attributes)
    elif attributes.get(names.GEN_AI_OPERATION_NAME) == names.INVOKE_AGENT and _is_outermost(span, lineage):
        lineage.add(INVOCATIONS, 1)
        lineage.add(WALL_NS, perf_counter_ns() - span.started_ns)


def _is_outermost(span: ForeignSpan, lineage: Lineage) -> bool:
    """Whether nothing else stands for the same run of an agent: no call of ours, and no span around."""
    if span.shared_ns is not None or span.attributes().get(names.GEN_AI_AGENT_NAME) != lineage.name:
        return False
    outer = span.around if span.within is None else span.within.lineage()
    return outer is None or outer.name != lineage.name


def _count_model_call(span: ForeignSpan, lineage: Lineage, attributes: Mapping[str, Any]) -> None:
    """Count a call of a model. Where several libraries have a span for one, the outermost of them counts."""
    tokens = tokens_in(attributes) | span.tokens
    around = span.within
    while around is not None and not is_model_call(around.attributes()):
        around = around.within
    if around is not None:
        around.tokens = around.tokens.and_those_of(tokens)
        return
    lineage.add(INFERENCE_CALLS, 1)
    if tokens.input is not None:
        lineage.add(INPUT_TOKENS, tokens.input)
    if tokens.output is not None:
        lineage.add(OUTPUT_TOKENS, tokens.output)
    if span.invocation is not None:
        span.invocation.add(INFERENCE_CALLS, 1)
        span.invocation.use(TOKENS, (tokens.input or 0) + (tokens.output or 0))


def end_tool(call: Call, *_: object) -> None:
    """Count a tool that has been executed."""
    lineage = call.site_for_agent.lineage
    if lineage is not None:
        lineage.add(TOOL_CALLS, 1)
    if call.invocation is not None:
        call.invocation.add(TOOL_CALLS, 1)
