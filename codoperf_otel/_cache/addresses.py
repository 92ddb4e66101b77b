"""Scopes on disk: what separates a function's entries from all others, and its versions from each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from codoperf_otel._cache.descriptions import is_code
from codoperf_otel._cache.digests import PROGRAM, NotPortableError, digest, module_or_file
from codoperf_otel._cache.encoding import UnkeyableError, encode
from codoperf_otel._cache.explanation import PYTHON, CacheExplanation
from codoperf_otel._cache.installed import home
from codoperf_otel._cache.keys import identity
from codoperf_otel._cache.members import carried, is_ours
from codoperf_otel._cache.own_sources import Sources, sources_of
from codoperf_otel._cache.reached_code import Reach
from codoperf_otel._telemetry.interrupts import raise_interrupt
from codoperf_otel._telemetry.paths import real_path

_LONGEST_NAME = 100
_DIGITS = 32


class Function(NamedTuple):
    """A cached function as its keys see it: with its cache's name, and what its user calls it."""

    func: Callable[..., Any]
    cache: str
    names: Hashable = None
    version: str | None = None
    key: Callable[..., Any] | None = None


class Pickled(NamedTuple):
    """What a cached function takes along to another process, which may run another program."""

    explanation: CacheExplanation
    program: str | None
    """The file of the program in which it was pickled first."""


def program() -> str | None:
    """The file of the program that this process runs, if it has one."""
    try:
        return module_or_file(PROGRAM[0])
    except NotPortableError:
        return None


def explain(function: Function) -> CacheExplanation:
    """What distinguishes a function from every other one and from its other versions."""
    what = CacheExplanation(function.cache, version=function.version)
    try:
        return _covered(function, what)
    except Exception as error:  # of objects that are not what they seem
        raise_interrupt(error)
        return what._replace(reason=str(error) or type(error).__name__)


def _covered(function: Function, what: CacheExplanation) -> CacheExplanation:
    func, cache, names, version, key = function
    what = what._replace(place=_place_of(func.__module__))
    code: Hashable = None
    if version is None:
        code, what = _code_of([*_layers(func), *([] if key is None else [key])], what)
    which = module_or_file(func.__module__), func.__qualname__, what.place
    known_as = cache[:_LONGEST_NAME].encode(errors="replace").decode()
    return what._replace(scope=f"{known_as} {digest((which, names, version, code))[:_DIGITS]}")


def _place_of(module: str) -> str | None:
    """Where a program stands: two copies of one are two programs. Of an installed one, what it is called."""
    if module in PROGRAM:
        return module_or_file(module)
    found = home(module)
    if found.paths:
        return real_path(found.paths[0])
    return " ".join(each.partition("-")[0] for each in found.distributions) or None


def _code_of(functions: Iterable[Any], what: CacheExplanation) -> tuple[Hashable, CacheExplanation]:
    """What functions reach, and where that has a gap, the files of all that they may reach."""
    reach = Reach(map(_checked, functions))
    sources = Sources({}, frozenset()) if reach.gap is None else sources_of(reach.modules)
    what = what._replace(
        objects=tuple(reach.objects),
        packages=tuple(sources.packages),
        distributions=tuple(sorted(reach.distributions | sources.distributions)),
        reason=reach.gap,
    )
    return (PYTHON, tuple(reach.parts), tuple(sources.packages.items()), what.distributions), what


def _checked(func: Any) -> Any:
    if not isinstance(func, FunctionType):
        raise NotPortableError(f"it is a {type(func).__qualname__}, of which the code is not known")
    return func


def state(func: Callable[..., Any]) -> Hashable:
    """The values that a function brings along beside its code: its owner, defaults and closures.

    Raises:
        NotPortableError: one of them has no key.
    """
    layers = list(_layers(func))
    try:
        values = [value for layer in layers for value in carried(layer)]
        return owner(func), tuple(map(_state_of, values))
    except (UnkeyableError, RecursionError, ValueError) as error:  # ValueError: a closure not filled yet
        raise_interrupt(error)
        raise NotPortableError(str(error)) from None


def _state_of(value: Any) -> Hashable:
    """A value's key; of what is code, the name."""
    return getattr(value, "__qualname__", None) if is_code(value) else encode(value)


def owner(func: Callable[..., Any]) -> Hashable:
    """The object or class that a method is bound to.

    Raises:
        UnkeyableError: its key has a part that has none.
    """
    of = func.__self__ if isinstance(func, MethodType) else None
    return encode(of) if of is None or isinstance(of, type) else identity(of)


def _layers(func: Any) -> Iterator[Any]:
    """The function and, where decorators wrapped one, those below it; none of this package's own."""
    while func is not None:
        if not is_ours(func):
            yield func.__func__ if isinstance(func, MethodType) else func
        func = getattr(func, "__wrapped__", None)
