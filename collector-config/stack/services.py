"""The three services: where they listen, how they are started, and how each shows that it is ready."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from parts import CONFIG

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one running stack; the last two are used between its services."""

    otlp_grpc: int = 4317
    otlp_http: int = 4318
    jaeger: int = 16686
    prometheus: int = 9090
    collector_health: int = 13133
    jaeger_otlp: int = 14317

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on now."""
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in fields(cls)]
            for each in sockets:
                each.bind((LOOPBACK, 0))
            return cls(*(each.getsockname()[1] for each in sockets))

    def addresses(self) -> dict[str, str]:
        """The addresses that a user needs."""
        return {
            name: f"http://localhost:{getattr(self, name)}"
            for name in ("otlp_grpc", "otlp_http", "jaeger", "prometheus")
        }


@dataclass(frozen=True)
class Service:
    """One process: the part it runs, its arguments, the ports it opens, a URL that answers 200 when ready."""

    part: str
    arguments: tuple[str, ...]
    ports: tuple[int, ...]
    ready: str


def services(folder: Path, ports: Ports) -> tuple[Service, ...]:
    """The services in the order in which they start: each before the one that sends to it."""
    return (
        Service(
            part="prometheus",
            arguments=(
                f"--config.file={CONFIG / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={LOOPBACK}:{ports.prometheus}",
                "--web.enable-otlp-receiver",
                "--enable-feature=exemplar-storage",
            ),
            ports=(ports.prometheus,),
            ready=f"http://{LOOPBACK}:{ports.prometheus}/-/ready",
        ),
        Service(
            part="jaeger",
            arguments=("--config", str(CONFIG / "jaeger.yaml")),
            ports=(ports.jaeger, ports.jaeger_otlp),
            ready=f"http://{LOOPBACK}:{ports.jaeger}/api/services",
        ),
        Service(
            part="otelcol",
            arguments=("--config", str(CONFIG / "collector.yaml")),
            ports=(ports.otlp_grpc, ports.otlp_http, ports.collector_health),
            ready=f"http://{LOOPBACK}:{ports.collector_health}",
        ),
    )


STARTED = tuple(service.part for service in services(Path(), Ports()))


def variables(folder: Path, ports: Ports) -> dict[str, str]:
    """What the configuration files read as `${env:NAME}`."""
    return {
        "COLLECTOR_OTLP_GRPC": f"{LOOPBACK}:{ports.otlp_grpc}",
        "COLLECTOR_OTLP_HTTP": f"{LOOPBACK}:{ports.otlp_http}",
        "COLLECTOR_HEALTH": f"{LOOPBACK}:{ports.collector_health}",
        "JAEGER_OTLP": f"{LOOPBACK}:{ports.jaeger_otlp}",
        "JAEGER_QUERY": f"{LOOPBACK}:{ports.jaeger}",
        "JAEGER_DATA": str(folder / "jaeger"),
        "PROMETHEUS_URL": f"http://{LOOPBACK}:{ports.prometheus}",
    }
