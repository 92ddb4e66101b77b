"""Variables that nothing reads, because their name is not quite right."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from codoperf_otel._once import OncePerKey

log = logging.getLogger("codoperf_otel.settings")

PREFIX = "CODOPERF_OTEL_"

_is_first = OncePerKey()


def name_misspelt(known: Iterable[str]) -> None:
    """Warn once of each variable of this package that resembles one of the `known` names and is none."""
    for given, nearest in misspelt(known).items():
        if _is_first(given):
            log.warning("%s is not known: did you mean %s?", given, nearest)


def misspelt(known: Iterable[str]) -> dict[str, str]:
    """The variables that resemble one of the `known` names and are none, each with that name."""
    by_ending = {name.removeprefix(PREFIX): name for name in known}
    endings = [name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX)]
    nearest = {ending: _nearest(ending, by_ending) for ending in endings if ending not in by_ending}
    return {f"{PREFIX}{ending}": by_ending[name] for ending, name in nearest.items() if name is not None}


def _nearest(ending: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # only where a variable is not known

    return next(iter(get_close_matches(ending.upper(), known, n=1)), None)
