"""The Context as environment variables, for other processes.

They follow OpenTelemetry's convention for environment variables as carriers: the names of the propagators, in
upper case. The agent has a variable of this package, as in baggage it would leave in HTTP headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context

from codoperf_otel._calls.foreign_code import failed
from codoperf_otel._calls.lineages import Lineage
from codoperf_otel._environment_variables import AGENT

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import Getter, Setter

_AS_THEY_ARE = " !()*,;:=@[]{}|'"


def inject(context: Context, agent: Lineage | None) -> dict[str, str]:
    """The variables for a Context and the agent in force in it, after those around it."""
    from opentelemetry import propagate  # here and below: it loads entry points, which few programs need

    carrier: dict[str, str] = {}
    try:
        propagate.inject(carrier, context, _setter())
    except Exception as error:
        failed("another process is not told of the trace: a propagator failed", error)
    if agent is not None:
        from urllib.parse import quote

        path = (*sorted(agent.names - {agent.name}), agent.name)
        carrier[AGENT] = "/".join(quote(name, _AS_THEY_ARE, errors="surrogatepass") for name in path)
    return carrier


def extract(carrier: Mapping[str, str]) -> tuple[Context, list[str]]:
    """What `inject` has put into variables."""
    from opentelemetry import propagate

    context = Context()
    try:
        context = propagate.extract(carrier, context, _getter())
    except Exception as error:
        failed("this process is not part of the trace of its parent: a propagator failed", error)
    return context, [_unquoted(name) for name in carrier.get(AGENT, "").split("/") if name]


def _unquoted(name: str) -> str:
    from urllib.parse import unquote

    try:
        return unquote(name, errors="surrogatepass")
    except UnicodeDecodeError:  # not UTF-8
        return unquote(name)


def _variable(key: str) -> str:
    return re.sub("[^A-Z0-9_]", "_", key.upper())


def _setter() -> Setter[MutableMapping[str, str]]:
    from opentelemetry.propagators.textmap import Setter

    class Variables(Setter[MutableMapping[str, str]]):
        def set(self, carrier: MutableMapping[str, str], key: str, value: str) -> None:
            carrier[_variable(key)] = value

    return Variables()


def _getter() -> Getter[Any]:
    from opentelemetry.propagators.textmap import Getter

    class Variables(Getter[Mapping[str, str]]):
        def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
            value = carrier.get(_variable(key))
            return None if value is None else [value]

        def keys(self, carrier: Mapping[str, str]) -> list[str]:
            return list(carrier)

    return Variables()
