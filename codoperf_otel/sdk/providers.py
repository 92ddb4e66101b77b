"""The global providers: ours, made where there is none yet, or someone else's, to which ours is added."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from codoperf_otel.sdk.outputs import Output, Signal
from codoperf_otel.sdk.settings import Settings

log = logging.getLogger("codoperf_otel.sdk")

_PROXIES = ("ProxyTracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider")

_ours: list[object] = []  # the global providers that we made


class GlobalProvider:
    """The global provider of one signal. It can be set once."""

    signal: ClassVar[Signal]
    adder: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.is_free = type(provider).__name__ in _PROXIES
        self.is_foreign = not self.is_free and provider not in _ours
        self.is_ours = not (self.is_free or self.is_foreign)

    def outputs(self, settings: Settings) -> list[Output]:
        """The outputs of this signal; on someone else's provider, those that come from an argument."""
        outputs = [output for output in settings.outputs if output.signal == self.signal]
        if not self.is_foreign:
            return outputs
        wanted = [output for output in outputs if output.from_argument]
        if not wanted or hasattr(self.provider, self.adder):
            return wanted
        labels = ", ".join(output.label for output in wanted)
        log.warning(
            "A provider of %s is set already: they do not go to %s. %s", self.signal, labels, self.advice
        )
        return []

    def remove(self, processors: Sequence[Any]) -> None:
        """Let them go again; someone else's provider has no way to."""
        if not self.is_foreign:
            self.provider.remove(processors)

    def _set(self, provider: Any, register: Callable[[Any], None]) -> None:
        """Make `provider` the global one, if there is none; else it stands in for ours that is there."""
        if self.is_free:
            register(provider)
            _ours.append(provider)
        self.provider = provider
