"""The call that travels in the OpenTelemetry Context, and with it the agent in force."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, create_key
from opentelemetry.trace import Span

from codoperf_otel._calls.call import Call, RemoteCall
from codoperf_otel._calls.carrier import extract, inject
from codoperf_otel._calls.foreign_spans import ForeignSpan, charged_for
from codoperf_otel._calls.lending import run_lent
from codoperf_otel._calls.lineages import Lineage, lineage_of
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.shares import Lender, lender_of, prepare

P = ParamSpec("P")
R = TypeVar("R")

CALL_KEY = create_key("codoperf-call")
SPAN_KEY = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))


def with_call(around: Context, span: Span, call: Call) -> Context:
    """A new Context: the values of the one around, with this span and this call as the current ones."""
    return Context({**around, SPAN_KEY: span, CALL_KEY: call})


def call_in(context: Context) -> Call | None:
    """The call that a Context carries."""
    return context.get(CALL_KEY)  # type: ignore[return-value]


def current_call() -> Call | None:
    """The innermost call in force here."""
    return call_in(runtime.get_current())


def lender_in(context: Context) -> Lender | None:
    """Who has what is run in a Context by nobody else: the innermost span of another library, or call."""
    call = call_in(context)
    span = context.get(SPAN_KEY)
    if span is None or (call is not None and span is call.span):
        return call
    return lender_of(charged_for(span)) or call


def prepared_lender_in(context: Context) -> Lender | None:
    """The same, prepared for what another thread runs for it."""
    lender = lender_in(context)
    if lender is not None and lender.shares is None:
        prepare(lender)
    return lender


def named_in(context: Context, call: Call | None) -> tuple[Lineage | None, ForeignSpan | None]:
    """The agent in force in a Context, which carries this call, and the innermost span that may name one.

    Such a span is one of another library.
    """
    span = context.get(SPAN_KEY)
    if span is not None and (call is None or span is not call.span):
        found = charged_for(span)
        if found is not None:
            return found.lineage(), found
    if call is None:
        return None, None
    return (call.lineage if call.within is None else call.within.lineage()), call.within


def place(opened: ForeignSpan, context: Context) -> None:
    """Tell a span of another library what is around it, where it starts in this Context.

    Which agent is in force there need not be known yet.
    """
    call = call_in(context)
    span = context.get(SPAN_KEY)
    if call is not None:
        opened.around, opened.within, opened.invocation = call.lineage, call.within, call.invocation
    if span is not None and (call is None or span is not call.span):
        opened.within = charged_for(span) or opened.within


def agent_in(context: Context) -> Lineage | None:
    """The agent in force in a Context."""
    return named_in(context, call_in(context))[0] if context else None


def agent_in_force() -> Lineage | None:
    """The agent in force here."""
    return agent_in(runtime.get_current())


def current_agent() -> str | None:
    """The name of the agent in force here."""
    found = agent_in_force()
    return None if found is None else found.name


def propagate_context(func: Callable[P, R]) -> Callable[P, R]:
    """Let `func`, run elsewhere, belong to the operation and the agent that are in force here.

    Hand the result to an executor or a thread. Its CPU time is charged to the operation it was made in.
    It can also be pickled, for process pools. The spans of the other process are then children of the
    operation's span and name its agent, and the CPU time is that process's own.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as pool:
    ...     pool.submit(propagate_context(sum), [1, 2]).result()
    3

    Raises:
        TypeError: `func` is a coroutine function; tasks take their context along by themselves.
    """
    if inspect.iscoroutinefunction(func):
        raise TypeError(f"propagate_context takes a plain function, not the coroutine function {func!r}")
    context = runtime.get_current()
    return _propagated(prepared_lender_in(context), context, func)


class _Propagated(functools.partial[R]):
    """A partial of `run_lent` that another process gets with variables in the place of the Context."""

    def __reduce__(self) -> tuple[Any, ...]:
        _, context, func = self.args
        return _resumed, (func, inject(context, agent_in(context)))


def _propagated(lender: Lender | None, context: Context, func: Callable[P, R]) -> Callable[P, R]:
    return functools.update_wrapper(_Propagated(run_lent, lender, context, func), func)


def _resumed(func: Callable[P, R], variables: Mapping[str, str]) -> Callable[P, R]:
    context = _context_of(variables)
    return _propagated(call_in(context), context, func)


def propagation_env() -> dict[str, str]:
    """The environment variables by which a program that is started here belongs to what is in force here.

    They are ``TRACEPARENT`` and the others of the propagators that are set, and ``CODOPERF_OTEL_AGENT``. If
    the program calls `codoperf_otel.configure` or `codoperf_otel.instrument`, its spans are children of the
    span that is current here, and name the agent.

    >>> import os, subprocess, sys
    >>> from codoperf_otel import agent
    >>> with agent("planner"):
    ...     environment = os.environ | propagation_env()
    >>> program = "import codoperf_otel as co; co.instrument(); print(co.current_agent())"
    >>> subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip()
    'planner'
    """
    return inject(runtime.get_current(), agent_in_force())


def continue_from_environment() -> None:
    """Where nothing is current, let this thread go on from the variables of `propagation_env`, if any."""
    if not runtime.get_current():
        context = _context_of(os.environ)
        if context:
            runtime.attach(context)


def _context_of(variables: Mapping[str, str]) -> Context:
    context, path = extract(variables)
    lineage = lineage_of(path)
    return context if lineage is None else Context({**context, CALL_KEY: RemoteCall(lineage)})
