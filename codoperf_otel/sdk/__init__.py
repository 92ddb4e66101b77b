"""Set up OpenTelemetry's SDK: `configure` and `shutdown`. Needs ``pip install 'codoperf-otel[otlp]'``."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

from codoperf_otel import _environment_variables as variables
from codoperf_otel import _telemetry
from codoperf_otel._calls.context import continue_from_environment
from codoperf_otel.sdk import declarative
from codoperf_otel.sdk.handle import Handle
from codoperf_otel.sdk.settings import INSTALL, Arguments, is_disabled, resolve

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from codoperf_otel.sdk.span_processor import ResourceSpanProcessor

__all__ = ["Handle", "ResourceSpanProcessor", "configure", "new_event_loop", "shutdown"]

log = logging.getLogger("codoperf_otel.sdk")

_lock = RLock()
_under_way: list[None] = []
_configured: tuple[Arguments, Handle] | None = None


def __getattr__(name: str) -> Any:
    if name == "ResourceSpanProcessor":  # the SDK is loaded only where it is used
        from codoperf_otel.sdk.span_processor import ResourceSpanProcessor

        return ResourceSpanProcessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    file: str | os.PathLike[str] | None = None,
    shutdown_timeout: float = 5.0,
    metric_export_interval: float | None = None,
    logs: bool = False,
    system: bool = False,
    subprocess: bool = True,
    threads: bool = True,
    gc_pauses: bool = False,
    event_loop: float | None = None,
    other_spans: bool = True,
    asyncio: bool = False,
    trace_imports: float | None = None,
    durable: bool | Literal["strict"] | None = None,
    signals: bool = True,
    redact: Sequence[str | re.Pattern[str]] | str | None = None,
    live: bool | None = None,
) -> Handle:
    """Send spans and metrics, the readings of the process among them, over OTLP, to files, or both.

    The standard ``OTEL_*`` variables and their defaults hold, so with nothing set it is OTLP to the local
    Collector; an argument takes precedence over its variable. With `file`, OTLP is used as well for the
    signals that have an endpoint or a variable ``OTEL_TRACES_EXPORTER``, ``OTEL_METRICS_EXPORTER`` or
    ``OTEL_LOGS_EXPORTER``; these variables may be ``otlp``, ``console`` or ``none``. With
    ``OTEL_SDK_DISABLED=true`` nothing is set up.

    Where ``OTEL_CONFIG_FILE`` names a file, ``opentelemetry-configuration`` sets up the providers as it says,
    and only what `endpoint` and `file` ask for is added to them: `service_name` and other variables do not
    count.

    Where a global provider is there already, only what `endpoint` and `file` ask for is added to it. A
    second call changes nothing and returns the first one's handle, until that is shut down; a warning names
    the arguments that differ.

    A program that was started with the variables of `codoperf_otel.propagation_env` goes on from there. In
    the calling thread and what it starts, spans are children of the starter's, and its agent is in force.

    The end of the program sends what is left; so does that of a forked or `multiprocessing` child, which
    reports its own counts. What still runs then has a span with the outcome ``interrupted``. ``os._exit``,
    SIGTERM and SIGHUP are such ends too, as `signals` says.

    ::

        with codoperf_otel.configure("shop", file="telemetry"):
            main()

    Args:
        service_name: ``service.name``; else that of the variables, else the name of the script.
        endpoint: base URL to send to. The protocol is that of ``OTEL_EXPORTER_OTLP_PROTOCOL``, else HTTP for
            port 4318, else gRPC. Over HTTP the signal's path is added.
        file: a folder, in which ``traces.jsonl``, ``metrics.jsonl`` and ``logs.jsonl`` are appended to in the
            OTLP file format. Processes may share it.
        shutdown_timeout: seconds that sending may take at the end; one second if an endpoint is not there.
        metric_export_interval: seconds between two exports of metrics; else that of the variable, else 60.
        logs: send the records of the standard `logging`, each with the span it was made in. The levels and
            filters of your loggers decide which there are; handlers go on as they are.
        system: report ``system.*``, the figures of the whole machine, too.
        subprocess: measure the child processes that operations and functions start: CPU time and memory.
        threads: let what runs in a thread belong to the operation and the agent that handed it over, until
            shutdown: see `codoperf_otel.instrument`.
        gc_pauses: report how long each garbage collection stops the program; one of 10 ms or more is also an
            event on the span that it hit.
        event_loop: watch each loop of asyncio's, and report how late it is. A call that blocks one for that
            many seconds has an event on its span, with the stack of what it did.
        other_spans: put CPU time and the agent in force on the spans of other libraries.
        asyncio: follow asyncio's tasks, until shutdown, so that blocks and spans of other libraries in them
            have CPU time. It begins here for a loop that runs already, and for others with their first span.
            `new_event_loop` makes a loop whose main task is followed, too.
        trace_imports: make a span of each import from now on that takes that many seconds or more, until
            shutdown.
        durable: keep on disk what goes to an endpoint until it is acknowledged; this process sends it, the
            next one, or ``codoperf replay``. With ``"strict"`` a span is on disk before its end returns. If
            this is left out, ``CODOPERF_OTEL_SPOOL_DIR`` decides; it names the folder.
        signals: send what is left, within 1.5 seconds, at ends that run no ``atexit`` handler, until
            shutdown: ``os._exit``, the ends of uvicorn and of Celery's workers, and SIGTERM and SIGHUP where
            nothing handles them. These two can be handled only where this is called in the main thread.
        redact: what is hidden before anything is written or sent: names of attributes, with wildcards and in
            any case, whose values are replaced, and regular expressions, made by `re.compile`, what of a text
            matches being replaced. ``CODOPERF_OTEL_REDACT`` adds names, with commas between.
        live: answer ``codoperf mcp`` of the same user while the process runs, at a Unix socket, until
            shutdown. If this is left out, ``CODOPERF_OTEL_LIVE_DIR`` decides; it names the socket's folder.

    Raises:
        ValueError: a setting or a variable is wrong; the message names it, its value and what is allowed.
        ImportError: a package is missing; the message says how to install it.
    """
    global _configured
    arguments = Arguments(
        service_name,
        endpoint,
        file,
        shutdown_timeout,
        metric_export_interval,
        logs,
        system,
        subprocess,
        threads,
        gc_pauses,
        event_loop,
        other_spans,
        asyncio,
        trace_imports,
        durable,
        signals,
        redact,
        live,
    )
    with _lock:
        if _under_way:  # a signal handler or a finalizer calls it in the midst of this thread's call
            log.warning("configure() is under way on this thread: this call changes nothing")
            return Handle(shutdown_timeout)
        if _configured is None or not _configured[1].is_running:
            _under_way.append(None)
            try:
                _configured = arguments, _set_up(arguments)
            finally:
                _under_way.clear()
        held, handle = _configured
    if held != arguments:
        differences = _differences(held, arguments)
        log.warning("configure() was called before, and the first call's arguments hold: %s", differences)
    return handle


def shutdown() -> None:
    """Send what there is and end what `configure` set up, if it did."""
    if _configured is not None:
        _configured[1].shutdown()


def new_event_loop() -> AbstractEventLoop:
    """A new event loop of asyncio's, all of whose tasks are followed: the main one too.

    `configure(asyncio=True)` comes too late for the main task of ``asyncio.run``. It is not needed here, and
    the loop's tasks are followed as long as it is there.

    >>> import asyncio
    >>> async def main():
    ...     return "done"
    >>> with asyncio.Runner(loop_factory=new_event_loop) as runner:
    ...     runner.run(main())
    'done'
    """
    from codoperf_otel._workers import tasks  # which loads asyncio

    return tasks.new_followed_loop()


def _differences(held: Arguments, given: Arguments) -> str:
    """The arguments that differ, each with the value that holds first."""
    pairs = zip(held._fields, held, given, strict=True)
    return ", ".join(
        f"{name} is {variables.shown(first)}, not {variables.shown(second)}"
        for name, first, second in pairs
        if first != second
    )


def _set_up(arguments: Arguments) -> Handle:
    variables.check_all()
    if is_disabled(os.environ):
        _telemetry.bind()  # providers that are there make nothing, so they need not be asked
        return Handle(arguments.shutdown_timeout)
    config_file = declarative.config_file(os.environ)
    settings = (declarative.resolve if config_file else resolve)(arguments, os.environ)
    lean_spans = variables.flag(variables.LEAN_SPANS, default=True)
    lean_metrics = variables.flag(variables.LEAN_METRICS, default=True)
    try:
        from codoperf_otel.sdk import lean
        from codoperf_otel.sdk.pipeline import Pipeline
    except ImportError as error:
        raise ImportError(f"configure() needs {error.name}: {INSTALL}") from error
    declared = declarative.set_up(config_file) if config_file else ()
    if declared is None:
        return Handle(arguments.shutdown_timeout)
    if lean_spans:
        _telemetry.set_tracer_wrapper(lean.lean_or_own)
    handle = Pipeline(settings, declared, lean_metrics=lean_metrics).handle
    continue_from_environment()
    return handle


def _forked() -> None:
    """In a forked child: the thread that was at it is not there."""
    global _lock
    _lock = RLock()
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
