"""The report of all agents: as a table, as a dict, and as a text for a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from codoperf_otel._calls.agent_figures import AgentFigures, AgentUsage
from codoperf_otel._environment_variables import setting_error

_TITLES = (
    "agent", "runs", "wall", "CPU", "total CPU", "programs", "waiting", "peak", "tools", "models", "tokens",
    "errors", "hits", "saved", "lazy",
)  # fmt: skip
_NOTHING = "-"
_EMPTY = {_NOTHING, "0"}
_LONGEST_NAME = 40


class AgentReport:
    """What each agent used since the process began. Printed, it is a table.

    >>> print(AgentReport([]))
    no agent has run
    """

    def __init__(self, agents: Sequence[AgentUsage]) -> None:
        self.agents = tuple(agents)
        """Each agent's figures, in the order in which they were first in force."""

    def __str__(self) -> str:
        return self.to_table()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The figures by agent: ``self`` without the agents inside it, ``total`` with them."""
        return {agent.name: agent.to_dict() for agent in self.agents}

    def to_table(self) -> str:
        """A line per agent. ``total CPU`` and ``programs`` include the agents inside it.

        A column is left out where no agent has anything in it.
        """
        if not self.agents:
            return "no agent has run"
        rows = [_TITLES, *(_row(agent) for agent in self.agents)]
        columns = [column for column in zip(*rows, strict=True) if {*column[1:]} - _EMPTY]
        widths = [max(map(len, column)) for column in columns]
        return "\n".join(_line(row, widths) for row in zip(*columns, strict=True))

    def to_prompt(self, max_chars: int = 2000) -> str:
        """A sentence per agent, those with the most CPU time first, in at most so many characters.

        Raises:
            ValueError: `max_chars` is no whole number, or below 100.
        """
        _check_length(max_chars)
        if not self.agents:
            return "No agent has run."
        return _fitting(
            [_sentence(agent) for agent in sorted(self.agents, key=_cpu, reverse=True)], max_chars
        )


def _check_length(max_chars: Any) -> None:
    if not isinstance(max_chars, int) or max_chars < 100:
        raise setting_error("max_chars", max_chars, "a whole number from 100 up")


def _cpu(agent: AgentUsage) -> float:
    return (agent.total.cpu_seconds or 0) + (agent.total.child_process_cpu_seconds or 0)


def _row(agent: AgentUsage) -> tuple[str, ...]:
    own, total = agent.own, agent.total
    return (
        _name(agent), f"{agent.invocations}", _seconds(agent.wall_seconds), _seconds(own.cpu_seconds),
        _seconds(total.cpu_seconds), _seconds(total.child_process_cpu_seconds),
        _seconds(agent.waiting_seconds), _mebibytes(agent.memory_peak_bytes), f"{own.tool_calls}",
        f"{own.inference_calls}", _tokens(own), f"{own.errors}", _percent(own.cache_hit_ratio),
        _seconds(own.cache_saved_seconds), _seconds(own.lazy_load_seconds),
    )  # fmt: skip


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        value.ljust(width) if not number else value.rjust(width)
        for number, (value, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join((first, *others)).rstrip()


def _sentence(agent: AgentUsage) -> str:
    return f"{_name(agent)}: {', '.join(_parts(agent))}."


def _parts(agent: AgentUsage) -> Iterator[str]:
    own, total = agent.own, agent.total
    yield f"{_number(agent.invocations, 'run')}, {_seconds(agent.wall_seconds)} wall"
    if agent.waiting_seconds is not None:
        yield f"{_seconds(agent.waiting_seconds)} of it waiting"
    yield f"{_seconds(total.cpu_seconds)} CPU ({_seconds(own.cpu_seconds)} without the agents inside)"
    if total.child_process_cpu_seconds is not None:
        yield f"{_seconds(total.child_process_cpu_seconds)} CPU of programs"
    if agent.memory_peak_bytes is not None:
        yield f"peak memory {_mebibytes(agent.memory_peak_bytes)}"
    yield f"{_number(own.tool_calls, 'tool call')}, {_number(own.inference_calls, 'model call')}"
    if own.input_tokens is not None or own.output_tokens is not None:
        yield f"{own.input_tokens or 0} tokens in, {own.output_tokens or 0} out"
    yield _number(own.errors, "error")
    if own.cache_lookups:
        saved = _seconds(own.cache_saved_seconds)
        yield f"{own.cache_hits} of {own.cache_lookups} cache look-ups were hits and saved {saved}"
    if own.lazy_load_seconds is not None:
        yield f"{_seconds(own.lazy_load_seconds)} of lazy loads"


def _fitting(sentences: Sequence[str], max_chars: int) -> str:
    shown = len(sentences)
    while len(text := "\n".join([*sentences[:shown], *_left_out(sentences, shown)])) > max_chars:
        shown -= 1
    return text


def _left_out(sentences: Sequence[str], shown: int) -> list[str]:
    number = len(sentences) - shown
    if not shown:
        return [f"{_number(number, 'agent')}: more than fits here."]
    return [f"{_number(number, 'more agent')} used less."] if number else []


def _number(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _name(agent: AgentUsage) -> str:
    """The name as one printable line: it may come from data."""
    name = agent.name if agent.name.isprintable() else ascii(agent.name)[1:-1]
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _seconds(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:.1f} s" if value >= 100 else f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _mebibytes(value: int | None) -> str:
    return _NOTHING if value is None else f"{value / 2**20:.0f} MiB"


def _tokens(own: AgentFigures) -> str:
    found = [each for each in (own.input_tokens, own.output_tokens) if each is not None]
    return f"{sum(found)}" if found else _NOTHING


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.0f} %"
