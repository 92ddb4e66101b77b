"""What telemetry is sent to: a file, the console, or an OTLP endpoint, for one signal each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Signal = Literal["traces", "metrics", "logs"]
Protocol = Literal["grpc", "http/protobuf"]


@dataclass(frozen=True)
class File:
    """One signal, appended to a file in the OTLP file format."""

    signal: Signal
    path: Path
    from_argument = True
    secrets = ()

    @property
    def label(self) -> str:
        """What messages call it."""
        return str(self.path)


@dataclass(frozen=True)
class Console:
    """One signal, printed."""

    signal: Signal
    from_argument = False
    label = "the console"
    secrets = ()


@dataclass(frozen=True)
class Spool:
    """Where what is to be sent is kept until it is acknowledged: at most so much, and for so long."""

    folder: Path
    most_bytes: float
    most_seconds: float
    is_strict: bool


@dataclass(frozen=True)
class Otlp:
    """One signal, sent over OTLP; `from_argument` where ``endpoint`` is given and no variable decides.

    `secrets` are the texts that no message may show.
    """

    signal: Signal
    protocol: Protocol
    url: str = field(repr=False)
    compression: str
    label: str
    from_argument: bool
    secrets: tuple[str, ...] = field(default=(), repr=False)
    spool: Spool | None = None


Output = File | Console | Otlp
