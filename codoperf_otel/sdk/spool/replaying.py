"""Sends what ended programs have left in a spool, to an endpoint that somebody names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codoperf_otel._telemetry.paths import is_folder, is_link
from codoperf_otel.sdk.endpoints import otlp
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.losses import WHAT
from codoperf_otel.sdk.outputs import Signal
from codoperf_otel.sdk.spool.delivery import Delivery
from codoperf_otel.sdk.spool.folder import Folder
from codoperf_otel.sdk.spool.senders import sender
from codoperf_otel.sdk.standard_variables import Variables


@dataclass
class Replayed:
    """How many items of each signal were delivered, how many were refused for good, and why it stopped."""

    delivered: dict[Signal, int] = field(default_factory=dict)
    refused: int = 0
    stopped: str = ""


def replay(folder: Path, endpoint: str | None, environ: Mapping[str, str]) -> Replayed:
    """Send all segments below a folder that no running process has; what is acknowledged is removed.

    Raises:
        ValueError: the endpoint or a variable is wrong.
        ImportError: a package is missing.
    """
    result = Replayed()
    for signal in WHAT:
        output = otlp(signal, endpoint, Variables(environ))
        destination = Destination(output.label, output.secrets)
        delivery = Delivery(signal, destination, sender(output))
        for each in _folders(folder):
            for segment in each.orphans(signal):
                stopped = delivery.empty(segment)
                if stopped is not None:
                    result.stopped = destination.shown(stopped.reason)
                    break
        result.delivered[signal] = delivery.items
        result.refused += destination.lost_items.total
    return result


def _folders(folder: Path) -> Iterator[Folder]:
    """The folder itself, and those of the endpoints below it."""
    for path in (
        folder,
        *sorted(each for each in folder.iterdir() if is_folder(each) and not is_link(each)),
    ):
        yield Folder(path, float("inf"), float("inf"))
