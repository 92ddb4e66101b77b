"""``codoperf doctor``: whether telemetry can leave this machine, and what to do where it cannot."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from shutil import get_terminal_size

from codoperf_otel._readings.sampler import is_seconds
from codoperf_otel.cli import _format
from codoperf_otel.cli._findings import Finding, failed, note, ok

MARKS = {"ok": "ok", "note": "note", "failed": "FAILED"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``doctor`` to the command's parser."""
    parser = subparsers.add_parser(
        "doctor",
        help="check installation, settings and the way to the collector",
        description="Check the installation, the variables, the way to the collector, up to a span that is"
        " acknowledged, and what else telemetry needs. Each line passes or says what to do.",
        epilog="The exit status is 1 where a check failed. With --json: one document with ok and checks.",
    )
    parser.add_argument("--endpoint", metavar="URL", help="as in configure(endpoint=), else the variables'")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="S",
        help="seconds to wait for each answer (default: 5)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Show what the checks find."""
    found = list(_findings(arguments.endpoint, arguments.timeout))
    is_well = all(finding.status != "failed" for finding in found)
    if arguments.json:
        checks = [finding._asdict() for finding in found]
        sys.stdout.write(f"{json.dumps({'ok': is_well, 'checks': checks})}\n")
    else:
        _show(found)
    return 0 if is_well else 1


def _findings(endpoint: str | None, seconds: float) -> Iterator[Finding]:
    from codoperf_otel.cli import _folders, _installation  # not at the top: every command imports this module

    installed = list(_installation.installation())
    yield from installed
    yield from _installation.own_variables()
    yield from _installation.readings()
    yield from _folders.cache()
    yield from _installation.event_loops()
    if all(finding.status != "failed" for finding in installed):
        yield from _folders.spool()
        yield from _outputs(endpoint, seconds)


def _outputs(endpoint: str | None, seconds: float) -> Iterator[Finding]:
    """Where telemetry goes, and whether it arrives."""
    from codoperf_otel.cli import _reachability
    from codoperf_otel.sdk import declarative, settings
    from codoperf_otel.sdk.outputs import Otlp

    if settings.is_disabled(os.environ):
        yield note("switch", "OTEL_SDK_DISABLED is true: nothing is sent", "unset it")
    file = declarative.config_file(os.environ)
    try:
        resolve = declarative.resolve if file else settings.resolve
        outputs = resolve(settings.Arguments(endpoint=endpoint), os.environ).outputs
    except ValueError as error:
        yield failed("settings", str(error), "mend or unset it")
        return
    if file:
        yield _of_file(file)
    places = ", ".join(f"{output.signal} to {output.label}" for output in outputs)
    if places or not file:
        yield ok("settings", places or "no exporter")
    sent = [output for output in outputs if isinstance(output, Otlp)]
    if any(output.protocol == "grpc" for output in sent) and hasattr(os, "fork"):
        yield note("forks", "a fork may wait for a gRPC export", "send over http/protobuf where you fork")
    traces = {output.label: output for output in sent if output.signal == "traces"}
    others = {output.label: output for output in sent if output.label not in traces}
    for output in traces.values():
        yield from _reachability.endpoint(replace(output, spool=None), seconds)
    for output in others.values():
        yield from _reachability.way(output, seconds)


def _of_file(file: str) -> Finding:
    from codoperf_otel.sdk.declarative import ALLOWED, VARIABLE

    if not os.path.isfile(file):  # noqa: PTH113  pathlib's raises for some names
        return failed("settings", f"{VARIABLE} is {file!r}: there is no such file", f"set it to {ALLOWED}")
    return note("settings", f"{VARIABLE} decides where telemetry goes", "its exporters are not checked here")


def _show(found: list[Finding]) -> None:
    width = max(len(finding.check) for finding in found)
    columns = max(get_terminal_size((100, 24)).columns, 40)
    for finding in found:
        first = f"{MARKS[finding.status]:6}  {finding.check:{width}}  "
        texts = [finding.text] + ([f"→ {finding.advice}"] if finding.advice else [])
        for number, text in enumerate(texts):
            lead = " " * len(first)
            lines = textwrap.wrap(
                _format.clean(text), columns, initial_indent=lead if number else first, subsequent_indent=lead
            )
            sys.stdout.write("".join(f"{line}\n" for line in lines))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not is_seconds(seconds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
