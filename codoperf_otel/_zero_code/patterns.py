"""Which functions are monitored: patterns over ``module.qualname``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from codoperf_otel import _environment_variables as variables

# telemetry is made of these: recording them would record the recording
_NEVER = frozenset({"codoperf_otel", "opentelemetry"})
_NAMED_EXACTLY = sys.stdlib_module_names
_NAMED_FIRST = frozenset(
    (
        "certifi", "charset_normalizer", "google", "grpc", "idna", "importlib_metadata", "psutil", "requests",
        "typing_extensions", "urllib3", "wrapt", "zipp",
    )
)  # fmt: skip


def option_patterns(option: str, given: object, variable: str) -> tuple[str, ...]:
    """The patterns of an option, else of the variable that stands for it.

    An option is a text with commas between patterns, or a list of such texts.

    Raises:
        ValueError: it is neither, or one of them is no pattern.
    """
    return variables.option_or_variable(option, given, variable, variables.patterns) or ()


class Patterns:
    """What is monitored, and what is not although one of those patterns matches it."""

    def __init__(self, monitor: Iterable[str], exclude: Iterable[str] = ()) -> None:
        self.monitor = tuple(monitor)
        self.exclude = tuple(exclude)
        self._monitor = [_Pattern(text) for text in self.monitor]
        self._exclude = [_matcher(text) for text in self.exclude]
        self._used: set[_Pattern] = set()

    @property
    def unused(self) -> list[str]:
        """The patterns that have selected nothing so far."""
        return [pattern.text for pattern in self._monitor if pattern not in self._used]

    def may_select(self, module: str) -> bool:
        """Whether something in that module can be selected."""
        return any(pattern.may_select(module) for pattern in self._monitor)

    def select(self, module: str, qualname: str) -> bool:
        """Whether that function is monitored; the patterns that say so count as used."""
        named = _names_and_rests(module, qualname)
        found = [pattern for pattern in self._monitor if pattern.selects(module, qualname, named)]
        self._used.update(found)
        return bool(found) and not any(matches(name) for matches in self._exclude for name, _ in named)


class _Pattern:
    def __init__(self, text: str) -> None:
        self.text = text
        self._head = re.split(r"[*?[]", text, maxsplit=1)[0]
        self._is_exact = self._head == text
        self._matches = _matcher(text)

    def may_select(self, module: str) -> bool:
        package = module.partition(".")[0]
        if package in _NEVER:
            return False
        if package in _NAMED_EXACTLY:
            return self._is_exact and self.text.startswith(f"{module}.")
        if package in _NAMED_FIRST and not self._head.startswith(f"{package}."):
            return False
        return f"{module}.".startswith(self._head) or self._head.startswith(f"{module}.")

    def selects(self, module: str, qualname: str, named: Sequence[tuple[str, str]]) -> bool:
        """A class that matches stands for its methods. What is private must be named without a wildcard."""
        if not self.may_select(module):
            return False
        return any(
            self._matches(name) and not _is_private(rest if name == self.text else qualname)
            for name, rest in named
        )


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(translate(pattern)).match


def _names_and_rests(module: str, qualname: str) -> list[tuple[str, str]]:
    """The full names of the function and of the classes around it, each with the rest of the name."""
    named = [(f"{module}.{qualname}", "")]
    outer, dot, rest = qualname.rpartition(".")
    while dot:
        named.append((f"{module}.{outer}", rest))
        outer, dot, last = outer.rpartition(".")
        rest = f"{last}.{rest}"
    return named


def _is_private(qualname: str) -> bool:
    return qualname.startswith("_") or "._" in qualname
