"""Set up OpenTelemetry's SDK: `configure` and `shutdown`. Needs ``pip install 'codoperf-otel[otlp]'``."""

from __future__ import annotations

import logging
import os
from threading import Lock

from codoperf_otel import _switches, _telemetry
from codoperf_otel.sdk import declarative
from codoperf_otel.sdk.handle import Handle
from codoperf_otel.sdk.settings import INSTALL, Arguments, is_disabled, resolve

__all__ = ["Handle", "configure", "shutdown"]

log = logging.getLogger("codoperf_otel.sdk")

_lock = Lock()
_configured: tuple[Arguments, Handle] | None = None


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    file: str | os.PathLike[str] | None = None,
    shutdown_timeout: float = 5.0,
    metric_export_interval: float | None = None,
    logs: bool = False,
    system: bool = False,
) -> Handle:
    """Send spans and metrics, the readings of the process among them, over OTLP, to files, or both.

    The standard ``OTEL_*`` variables and their defaults hold, so with nothing set it is OTLP to the local
    Collector; an argument goes before its variable. With `file`, OTLP is used as well for the signals that
    have an endpoint or a variable ``OTEL_TRACES_EXPORTER``, ``OTEL_METRICS_EXPORTER`` or
    ``OTEL_LOGS_EXPORTER``; these variables may be ``otlp``, ``console`` or ``none``. With
    ``OTEL_SDK_DISABLED=true`` nothing is set up.

    Where ``OTEL_CONFIG_FILE`` names a file, ``opentelemetry-configuration`` sets up the providers as it says,
    and only what `endpoint` and `file` ask for is added to them: `service_name` and other variables do not
    count.

    Where a global provider is there already, only what `endpoint` and `file` ask for is added to it. A
    second call changes nothing and gives the first one's handle, until that is shut down.

    The end of the program sends what is left; so does that of a forked or `multiprocessing` child, which
    reports its own counts. ``os._exit`` and signals that kill send nothing.

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

    Raises:
        ValueError: a setting is wrong; the message names it, its value and what is allowed.
        ImportError: a package is missing; the message says how to install it.
    """
    global _configured
    arguments = Arguments(
        service_name, endpoint, file, shutdown_timeout, metric_export_interval, logs, system
    )
    with _lock:
        if _configured is None or not _configured[1].is_running:
            _configured = arguments, _set_up(arguments)
        elif _configured[0] != arguments:
            log.warning("configure() was called before, with other arguments: those of the first call hold")
        return _configured[1]


def shutdown() -> None:
    """Send what there is and end what `configure` set up, if it did."""
    if _configured is not None:
        _configured[1].shutdown()


def _set_up(arguments: Arguments) -> Handle:
    if is_disabled(os.environ):
        return Handle(arguments.shutdown_timeout)
    config_file = declarative.config_file(os.environ)
    settings = (declarative.resolve if config_file else resolve)(arguments, os.environ)
    lean_spans = _switches.flag(_switches.LEAN_SPANS, default=True)
    try:
        from codoperf_otel.sdk import lean
        from codoperf_otel.sdk.pipeline import Pipeline
    except ImportError as error:
        raise ImportError(f"configure() needs {error.name}: {INSTALL}") from error
    declared = declarative.set_up(config_file) if config_file else ()
    if declared is None:
        return Handle(arguments.shutdown_timeout)
    if lean_spans:
        _telemetry.refine_tracers(lean.refined)
    return Pipeline(settings, declared).handle
