"""The dashboard's PromQL: every expression is right over several processes, and where no agent is named.

A total is the counter's last value in the time range, added up over the processes. So the count of a run is
all that the run counted, also before the first export, of which `increase()` sees nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

AGENT = "gen_ai_agent_name"
FUNCTION = "code_function_name"
OPERATION = "codoperf_operation_name"
TOOL = "gen_ai_tool_name"
INPUT_OR_OUTPUT = "gen_ai_token_type"
CACHE = "codoperf_cache_name"
MODULE = "codoperf_module_name"

PROCESSES = 'service_name=~"$service", service_instance_id=~"$instance"'
WITHOUT_AGENT = ("process_", "cpython_")
AGENTS = f'{PROCESSES}, {AGENT}=~"$agent"'

SHOWN = 10

Window = Callable[..., str]


def series(metric: str, *matchers: str) -> str:
    """The series of the selected processes and agents; with all agents, also those without one."""
    scope = PROCESSES if metric.startswith(WITHOUT_AGENT) else AGENTS
    return f"{metric}{{{', '.join((scope, *matchers))}}}"


def rate(metric: str, *matchers: str) -> str:
    """What a counter gains per second."""
    return f"rate({series(metric, *matchers)}[$__rate_interval])"


def total(metric: str, *matchers: str) -> str:
    """What a counter has reached, also where its process has ended."""
    return f"last_over_time({series(metric, *matchers)}[$__range])"


def now(metric: str, *matchers: str) -> str:
    """A gauge over time; a process that ended is gone after one window, not after Prometheus' 5 minutes."""
    return f"max_over_time({series(metric, *matchers)}[$__rate_interval])"


def highest(metric: str, *matchers: str) -> str:
    """The highest value of a gauge in the time range."""
    return f"max_over_time({series(metric, *matchers)}[$__range])"


def union(window: Window, metrics: Iterable[str], *matchers: str) -> str:
    """All series of several metrics, kept apart where only their names differ."""
    return " or ".join(
        f'label_replace({window(metric, *matchers)}, "part", "{number}", "", "")'
        for number, metric in enumerate(metrics)
    )


def add(vector: str, *labels: str) -> str:
    """The sum by labels; what lacks one is named."""
    return _name(f"sum{_by(labels)} ({vector})", labels)


def most(vector: str, *labels: str) -> str:
    """The maximum by labels; what lacks one is named."""
    return _name(f"max{_by(labels)} ({vector})", labels)


def quantile(q: float, buckets: str, *labels: str) -> str:
    """A quantile by labels, from the rates or totals of a histogram's buckets."""
    return _name(f"histogram_quantile({q}, sum{_by((*labels, 'le'))} ({buckets}))", labels)


def or_zero(part: str, whole: str) -> str:
    """The part; 0 where the whole has no such part, and nothing where there is no whole."""
    return f"{part} or 0 * {whole}"


def share(part: str, whole: str) -> str:
    """The part over the whole."""
    return f"({or_zero(part, whole)}) / {whole}"


def top(vector: str, weight: str, *labels: str) -> str:
    """The series of the vector with the highest weight in the time range: the same ones at every step."""
    highest_weight = add(f"max_over_time({series(weight)}[$__range] @ end())", *labels)
    return f"{vector} and on ({', '.join(labels)}) topk({SHOWN}, {highest_weight})"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _name(vector: str, labels: tuple[str, ...]) -> str:
    """Name what has no agent, and what was counted beyond the limit of attribute sets."""
    for label in labels:
        missing = "no agent" if label == AGENT else "others"
        vector = f'label_replace({vector}, "{label}", "{missing}", "{label}", "")'
    return vector
