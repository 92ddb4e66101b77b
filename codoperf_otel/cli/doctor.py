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
    from codoperf_otel.cli import _installation  # not at the top: every command imports this module

    installed = list(_installation.installation())
    yield from installed
    yield from _installation.own_variables()
    yield from _installation.readings()
    yield from _installation.cache_folder()
    yield from _installation.event_loops()
    if all(finding.status != "failed" for finding in installed):
        yield from _outputs(endpoint, seconds)


def _outputs(endpoint: str | None, seconds: float) -> Iterator[Finding]:
    """Where telemetry goes, and whether it arrives."""
    from codoperf_otel.cli._reachability import endpoint as reach
    from codoperf_otel.sdk.outputs import Otlp
    from codoperf_otel.sdk.settings import Arguments, is_disabled, resolve

    if is_disabled(os.environ):
        yield note("switch", "OTEL_SDK_DISABLED is true: nothing is sent", "unset it")
    if os.environ.get("OTEL_CONFIG_FILE"):
        yield note(
            "settings", "OTEL_CONFIG_FILE decides where telemetry goes", "its exporters are not checked here"
        )
        return
    try:
        outputs = resolve(Arguments(endpoint=endpoint), os.environ).outputs
    except ValueError as error:
        yield failed("settings", str(error), "mend or unset it")
        return
    yield ok(
        "settings", ", ".join(f"{output.signal} to {output.label}" for output in outputs) or "no exporter"
    )
    if any(isinstance(each, Otlp) and each.protocol == "grpc" for each in outputs) and hasattr(os, "fork"):
        yield note("forks", "a fork may wait for a gRPC export", "send over http/protobuf where you fork")
    traces = [each for each in outputs if isinstance(each, Otlp) and each.signal == "traces"]
    for output in traces:
        yield from reach(replace(output, spool=None), seconds)


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
