"""What all decorators here have in common: they refuse what cannot be decorated, and know its name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, ParamSpec, TypeVar

from codoperf_otel import _environment_variables as variables
from codoperf_otel._calls.driver import monitored
from codoperf_otel._calls.scopes import Scope
from codoperf_otel._calls.sites import Site
from codoperf_otel._telemetry import names

P = ParamSpec("P")
R = TypeVar("R")


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
    return inspect.getdoc(inner_function(func))


def place_in_code(func: Callable[..., Any]) -> dict[str, Any]:
    """The file and the line of a callable, as attributes; nothing where it has no code of Python's."""
    try:
        code = getattr(inspect.unwrap(func), "__code__", None)
    except ValueError:  # an object that has whatever attribute is asked for
        return {}
    if not isinstance(code, CodeType):
        return {}
    return {names.CODE_FILE_PATH: code.co_filename, names.CODE_LINE_NUMBER: code.co_firstlineno}
