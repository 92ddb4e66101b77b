"""What all decorators here have in common: they refuse what cannot be decorated, and know its name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any, ParamSpec, TypeVar

from codoperf_otel import _environment_variables as variables
from codoperf_otel._calls.driver import monitored
from codoperf_otel._calls.scopes import Scope
from codoperf_otel._calls.sites import Site
from codoperf_otel._calls.wrapping import documented
from codoperf_otel._statistics.monitor import PerformanceMonitor, global_monitor
from codoperf_otel._telemetry import names

P = ParamSpec("P")
R = TypeVar("R")


_IMMUTABLE = 1 << 8
"""The flag of classes that nothing can be set on, as those written in C."""


class OperationScope(Scope):
    """A block of code recorded as one call; as a decorator, each call of the function."""

    def __init__(
        self, caller: str, make_site: Callable[..., Site], attributes: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(make_site(), attributes)
        self._caller = caller
        self._make_site = functools.partial(make_site, attributes=attributes) if attributes else make_site

    def __call__(self, func: Callable[P, R]) -> Callable[P, R]:
        return decorated(self._caller, func, lambda _: self._make_site())


def decorated(
    caller: str, func: Callable[P, R], make_site: Callable[[Callable[..., Any]], Site]
) -> Callable[P, R]:
    """`func` with its calls monitored; `func` itself where the package is switched off.

    Raises:
        TypeError: `func` cannot be decorated.
    """
    check_callable(caller, func)
    if isinstance(func, type) and func.__flags__ & _IMMUTABLE:
        raise TypeError(f"{caller} cannot decorate {func!r}: its methods cannot be replaced")
    return monitored(func, make_site) if variables.flag(variables.ENABLED, default=True) else func


def check_callable(caller: str, func: object) -> None:
    """Refuse what the decorator named `caller` cannot decorate.

    Raises:
        TypeError: `func` is not callable; of a property it says where the decorator belongs.
    """
    if callable(inner_function(func)):
        return
    kind = type(func)
    if hasattr(kind, "__get__"):
        name = kind.__name__
        raise TypeError(f"{caller} cannot decorate a {name}: put it below @{name}, on the function")
    raise TypeError(f"{caller} takes a name or a function, not {func!r}: only a callable can be decorated")


def checked_name(caller: str, name: object) -> str:
    """The name that `caller` was given.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"{caller}: the name must be a text, not {name!r}")
    if not name:
        raise ValueError(f"{caller}: the name must not be empty")
    return name


def checked_monitor(caller: str, monitor: object) -> PerformanceMonitor:
    """The monitor that `caller` was given, else the global one.

    Raises:
        TypeError: it is none.
    """
    if monitor is None:
        return global_monitor
    if not isinstance(monitor, PerformanceMonitor):
        raise TypeError(f"{caller}: the monitor must be a PerformanceMonitor, not {monitor!r}")
    return monitor


def checked_names(option: str, given: object) -> tuple[str, ...]:
    """Several names that an option was given.

    Raises:
        ValueError: they are none.
    """
    if isinstance(given, Iterable) and not isinstance(given, str):
        found: tuple[Any, ...] = tuple(given)
        if all(isinstance(name, str) for name in found):
            return found
    raise variables.setting_error(option, given, "a tuple of names")


def inner_function(func: Any) -> Any:
    """What a class method, a static method or a partial is made of."""
    while isinstance(func, functools.partial | classmethod | staticmethod):
        func = func.func if isinstance(func, functools.partial) else func.__func__
    return func


def names_of(func: Callable[..., Any]) -> tuple[str, str]:
    """The name of a callable, and its module and qualified name.

    >>> names_of(str.upper)
    ('upper', 'builtins.str.upper')
    """
    func = inner_function(func)
    named = func if isinstance(getattr(func, "__qualname__", None), str) else type(func)
    module = getattr(named, "__module__", None) or _owner_of(named).__module__
    return named.__name__, f"{module}.{named.__qualname__}"


def _owner_of(method: Any) -> type:
    """The class that a method written in C belongs to."""
    owner = getattr(method, "__objclass__", None) or getattr(method, "__self__", None)
    return owner if isinstance(owner, type) else type(owner)


def description_of(func: Callable[..., Any]) -> str | None:
    """The docstring of a callable."""
    said_by = documented(func)
    return inspect.getdoc(said_by if isinstance(said_by, functools.partial) else inner_function(said_by))


def place_in_code(func: Callable[..., Any]) -> dict[str, Any]:
    """File and line of a callable, as attributes; none of what is written in C."""
    try:
        code = getattr(inspect.unwrap(func), "__code__", None)
    except ValueError:  # an object that has whatever attribute is asked for
        return {}
    if not isinstance(code, CodeType):
        return {}
    return {names.CODE_FILE_PATH: code.co_filename, names.CODE_LINE_NUMBER: code.co_firstlineno}
