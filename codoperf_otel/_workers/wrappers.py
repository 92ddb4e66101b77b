"""The wrappers of what hands work to a thread.

Each names nothing but what is local to the function that makes it, and adds one frame (see `like`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from opentelemetry.context import Context

from codoperf_otel._calls.context import prepared_lender_in
from codoperf_otel._calls.lending import run_lent
from codoperf_otel._calls.runtime_context import runtime
from codoperf_otel._calls.wrapping import Function, like
from codoperf_otel._patching.replacing import unbound


class Switch:
    """Whether the wrappers made with it lend. Where others have wrapped one, it stays in place."""

    __slots__ = ("is_on",)

    def __init__(self) -> None:
        self.is_on = True


_FOR_MANY = {"codoperf_otel", "concurrent", "grpc", "logging", "multiprocessing", "opentelemetry", "trio"}
"""Packages whose own threads work for the whole program, whoever was the first to need them."""


def lending_submit(submit: Function, pool: type, switch: Switch) -> Function:
    """``ThreadPoolExecutor.submit``, which lends to whatever runs the function."""
    otel, lender_in, run, type_of, leaves, original = (
        runtime, prepared_lender_in, run_lent, type, _leaves_the_process, unbound(submit),
    )  # fmt: skip

    @like(submit)
    def lent(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        context = otel.get_current()
        if not context or not switch.is_on or (type_of(self) is not pool and leaves(self)):
            return original(self, fn, *args, **kwargs)
        return original(self, run, lender_in(context), context, fn, *args, **kwargs)

    return lent


def _leaves_the_process(executor: Any) -> bool:
    """Whether an executor pickles what it runs, as Python 3.14's `InterpreterPoolExecutor` does."""
    return any(base.__name__ == "InterpreterPoolExecutor" for base in type(executor).__mro__)


def lending_run_sync(run_sync: Function, _: object, switch: Switch) -> Function:
    """`run_sync` of ``anyio.to_thread``.

    It lends outside any operation, too: a block that one work opens may be closed by the next, elsewhere.
    """
    otel, lender_in, run = runtime, prepared_lender_in, run_lent

    @like(run_sync)
    async def lent(func: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not switch.is_on:
            return await run_sync(func, *args, **kwargs)
        context = otel.get_current()
        return await run_sync(run, lender_in(context), context, func, *args, **kwargs)

    return lent


def lending_start(start: Function, plain: type, switch: Switch) -> Function:
    """`Thread.start`, which lends to what the thread runs, for exactly `Thread`."""
    otel, type_of, lend, take_back, original = runtime, type, _lend_to_thread, _take_back, unbound(start)

    @like(start)
    def lent(self: Any) -> Any:
        context = otel.get_current()
        if not context or type_of(self) is not plain or not switch.is_on:
            return original(self)
        run = lend(self, context)
        try:
            return original(self)
        except BaseException:  # no thread was to be had, or it has started before
            take_back(self, run)
            raise

    return lent


def _lend_to_thread(thread: Thread, context: Context) -> Callable[[], None] | None:
    """Let a thread that has not started run for the call of the Context; returns its new `run`."""
    if thread.ident is not None or _is_for_many(thread):
        return None
    lent = partial(run_lent, prepared_lender_in(context), context)
    run = partial(_run, thread, vars(thread).get("run"), lent)
    thread.run = run  # type: ignore[method-assign]
    return run


def _is_for_many(thread: Thread) -> bool:
    module = getattr(getattr(thread, "_target", None), "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] in _FOR_MANY


def _take_back(thread: Thread, run: Callable[[], None] | None) -> None:
    if run is not None and vars(thread).get("run") is run:
        del thread.run


def _run(thread: Thread, own: Any, lent: Callable[[Any], None]) -> None:
    """What the thread runs; whoever keeps the thread keeps nothing of the call."""
    if own is None:
        del thread.run
    else:
        thread.run = own  # type: ignore[method-assign]
    lent(thread.run)
