"""What is to be hidden before anything leaves the process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codoperf_otel import _environment_variables as variables
from codoperf_otel._environment_variables import setting_error

_ALLOWED = (
    f"a list of {variables.NAMES}, and of regular expressions for texts, each made by re.compile and matching"
    " at least one character"
)


@dataclass(frozen=True)
class Hidden:
    """Patterns of the names of attributes, and regular expressions of what is hidden in texts."""

    names: tuple[str, ...]
    texts: tuple[re.Pattern[str], ...]


def redact_setting(given: Sequence[str | re.Pattern[str]] | str | None) -> Hidden | None:
    """What the argument and the variable ask for together, so that neither shows what the other hides.

    Raises:
        ValueError: one of them is wrong.
    """
    by_variable = variables.option_or_variable("", None, variables.REDACT, variables.attribute_names) or ()
    by_argument = tuple(_parts(given))
    names = *by_variable, *(each for each in by_argument if isinstance(each, str))
    texts = tuple(each for each in by_argument if isinstance(each, re.Pattern))
    return Hidden(names, texts) if names or texts else None


def _parts(given: object) -> Iterator[str | re.Pattern[str]]:
    parts = (given,) if isinstance(given, str) else () if given is None else given
    if not isinstance(parts, list | tuple):
        raise setting_error("redact", given, _ALLOWED)
    for part in parts:
        if isinstance(part, re.Pattern):
            if not isinstance(part.pattern, str) or part.search(""):
                raise setting_error("redact", part, _ALLOWED)
            yield part
        else:
            yield from variables.attribute_names("redact", part)
