"""The ``CODOPERF_OTEL_*`` variables, each read where it is used, and the one error of a wrong setting."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

AGENT = "CODOPERF_OTEL_AGENT"
ALLOW_PLAINTEXT_CREDENTIALS = "CODOPERF_OTEL_ALLOW_PLAINTEXT_CREDENTIALS"
CACHE_DISK = "CODOPERF_OTEL_CACHE_DISK"
CLEAR_REFS = "CODOPERF_OTEL_CLEAR_REFS"
ENABLED = "CODOPERF_OTEL_ENABLED"
EXCLUDE = "CODOPERF_OTEL_EXCLUDE"
LEAN_METRICS = "CODOPERF_OTEL_LEAN_METRICS"
LEAN_SPANS = "CODOPERF_OTEL_LEAN_SPANS"
LIVE_DIR = "CODOPERF_OTEL_LIVE_DIR"
MAX_SPANS_PER_SECOND = "CODOPERF_OTEL_MAX_SPANS_PER_SECOND"
MIN_SPAN_DURATION = "CODOPERF_OTEL_MIN_SPAN_DURATION"
MONITOR = "CODOPERF_OTEL_MONITOR"
REDACT = "CODOPERF_OTEL_REDACT"
SPOOL_AGE = "CODOPERF_OTEL_SPOOL_AGE"
SPOOL_DIR = "CODOPERF_OTEL_SPOOL_DIR"
SPOOL_SIZE = "CODOPERF_OTEL_SPOOL_SIZE"

_FLAGS = {"true": True, "false": False}
_PATTERN = re.compile(r"[\w.*?!\[\]-]+")
_PATTERNS = "a dotted name such as 'package.*', with wildcards *, ? and [...], or several with commas between"
NAMES = "names of attributes such as 'enduser.id' or '*password*', with wildcards *, ? and [...]"
_NAME = re.compile(r"[\w*?\[][\w.*?!\[\]/:@-]*")  # no regular expression, which would hide nothing
_QUERY = r"(?s)(?<=//)(.*?)\?.*|\?.*=.*"
_CREDENTIALS = r"(?s)^(\w+://)?.*@"

T = TypeVar("T")


def flag(name: str, default: bool) -> bool:
    """The variable as true or false, `default` where it is not set.

    Raises:
        ValueError: it is neither.
    """
    value = _given(name)
    return default if value is None else true_or_false(name, value)


def option_or_variable(
    option: str, given: object, variable: str, parse: Callable[[str, object], T]
) -> T | None:
    """An option, else the variable that stands for it; None where neither is given.

    Raises:
        ValueError: `parse` does not take it.
    """
    if given is not None:
        return parse(option, given)
    value = _given(variable)
    return None if value is None else parse(variable, value)


def check_all() -> None:
    """Check every variable of this package, for the start of a program. A misspelt one is one warning.

    Raises:
        ValueError: one of them is wrong.
    """
    from codoperf_otel._environment_variables.misspelt import name_misspelt  # not for who only decorates

    name_misspelt(known())
    check_values()


def check_values() -> None:
    """Check the value of every variable of this package.

    Raises:
        ValueError: one of them is wrong.
    """
    for variable, parse in _PARSERS.items():
        option_or_variable(variable, None, variable, parse)


def known() -> list[str]:
    """The names of all variables of this package."""
    return [AGENT, *_PARSERS]


def _given(variable: str) -> str | None:
    """The value of a variable. An empty one counts as unset, as OpenTelemetry has it."""
    return os.environ.get(variable, "").strip() or None


def true_or_false(name: str, value: object) -> bool:
    """A setting as a truth value.

    Raises:
        ValueError: it is none.
    """
    known = _FLAGS.get(str(value).lower())
    if known is None:
        raise setting_error(name, value, "true or false")
    return known


def patterns(name: str, value: object) -> tuple[str, ...]:
    """A setting as patterns of functions: a text with commas between them, or a list of such texts.

    Raises:
        ValueError: it is neither, or one of them is no pattern.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise setting_error(name, value, "a text or a list of texts")
    return tuple(part for text in texts for part in _listed(name, text, _PATTERN, _PATTERNS))


def attribute_names(name: str, value: object) -> tuple[str, ...]:
    """A setting as patterns of the names of attributes: a text with commas between them.

    Raises:
        ValueError: it is no text, or one of them is no pattern.
    """
    if not isinstance(value, str):
        raise setting_error(name, value, NAMES)
    return tuple(_listed(name, value, _NAME, f"{NAMES}, or several with commas between"))


def _listed(name: str, text: str, pattern: re.Pattern[str], allowed: str) -> Iterator[str]:
    for part in filter(None, map(str.strip, text.split(","))):
        if not pattern.fullmatch(part):
            raise setting_error(name, part, allowed)
        yield part


def positive(name: str, value: object) -> float:
    """A setting as a number above 0.

    Raises:
        ValueError: it is no such number.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 < number < float("inf"):
        raise setting_error(name, value, "a number above 0")
    return number


def folder(name: str, value: object) -> Path:
    """A setting as the path of a folder, which need not be there.

    Raises:
        ValueError: something else is there, or nothing can be.
    """
    from pathlib import Path  # not for who only decorates

    path = Path(os.fspath(value)).absolute() if isinstance(value, str | os.PathLike) else None
    if path is None or not str(value).strip() or "\0" in str(path):
        raise setting_error(name, value, "the path of a folder")
    if _is_no_folder(path):
        raise setting_error(name, str(value), "the path of a folder, not of a file")
    return path


def _is_no_folder(path: Path) -> bool:
    """Whether something else stands there. To say no of what cannot be asked is for those who make it."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        if error.errno is None:  # a signal handler's time-out
            raise
        return False


def setting_error(name: str, value: object, allowed: str) -> ValueError:
    """The error for a wrong setting or option.

    >>> str(setting_error("size", -1, "a number above 0"))
    'size is -1: it must be a number above 0'
    """
    return ValueError(f"{name} is {shown(value)}: it must be {allowed}")


def shown(value: object) -> str:
    """A setting's value as messages show it, without the user, the password and the query of a URL.

    >>> shown("https://me:secret@collector:4318"), shown("https://collector?key=secret"), shown(3)
    ("'https://***@collector:4318'", "'https://collector?***'", '3')
    """
    if not isinstance(value, str):
        return repr(value)
    return repr(re.sub(_QUERY, r"\1?***", re.sub(_CREDENTIALS, r"\1***@", value)))


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    from ipaddress import ip_address  # few programs name a host

    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


_PARSERS: dict[str, Callable[[str, object], object]] = {
    ALLOW_PLAINTEXT_CREDENTIALS: true_or_false,
    CACHE_DISK: true_or_false,
    CLEAR_REFS: true_or_false,
    ENABLED: true_or_false,
    EXCLUDE: patterns,
    LEAN_METRICS: true_or_false,
    LEAN_SPANS: true_or_false,
    LIVE_DIR: folder,
    MAX_SPANS_PER_SECOND: positive,
    MIN_SPAN_DURATION: positive,
    MONITOR: patterns,
    REDACT: attribute_names,
    SPOOL_AGE: positive,
    SPOOL_DIR: folder,
    SPOOL_SIZE: positive,
}
