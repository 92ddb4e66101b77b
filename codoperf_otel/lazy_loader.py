"""Modules that are imported at their first use; your traces and metrics show what the import cost.

>>> from codoperf_otel import lazy_import
>>> json = lazy_import("json")
>>> json
LazyLoader(json, status=unloaded)
>>> json.loads("[1]")
[1]
>>> json
LazyLoader(json, status=loaded)
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from codoperf_otel._imports.lazy_loads import is_half_made, measured_import
from codoperf_otel._imports.packages import lazy_imports

__all__ = [
    "LazyLoader",
    "anthropic",
    "docker",
    "get_lazy_loader",
    "git",
    "google_genai",
    "is_loaded",
    "lazy_function",
    "lazy_import",
    "lazy_imports",
    "load_module",
    "matplotlib",
    "numpy",
    "openai",
    "pandas",
    "plotly",
    "seaborn",
]

# doctest, inspect and abc ask any object for these: no use of the module, and no module has them
_PROBES = frozenset({"__isabstractmethod__", "__wrapped__"})


class _SharedDict:
    """The dict that the interpreter itself reads a loader's attributes from: after the load, the module's."""

    __slots__ = ("__dict__",)


_put_dict = vars(_SharedDict)["__dict__"].__set__


class LazyLoader(_SharedDict):
    """Stands for a module, and imports it when one of its attributes is first used.

    From then on the loader's attributes are the module's own, as fast to read as those of the module.
    What is set or deleted on the loader is set or deleted on the module. ``module_name`` and
    ``package`` alone are the loader's. ``isinstance``, ``inspect`` and ``vars`` take it for the module. Where
    only the module itself will do, as for ``importlib.reload``, there is `load_module`.

    A first use that imports puts an event ``codoperf.lazy_load`` on the current span, with duration, process
    memory and number of modules, and records ``codoperf.lazy_load.duration``.

    Args:
        module_name: what an ``import`` statement would name; relative if it begins with a dot.
        package: what a relative name is relative to.
        install_hint: what ``pip`` installs to bring the module; the error of a missing module says so.

    Raises:
        ImportError: at each use, if there is no such module. What a module's own code raises is raised
            unchanged.

    >>> LazyLoader("statistics").mean([1, 3])
    2
    >>> LazyLoader("no_such_module").attribute
    Traceback (most recent call last):
    ModuleNotFoundError: No module named 'no_such_module'
    >>> LazyLoader("no_such_module", install_hint="its-project").attribute
    Traceback (most recent call last):
    ModuleNotFoundError: No module named 'no_such_module': pip install its-project
    """

    # the private ones are mangled: a module may have any other name
    __slots__ = ("__install_hint", "__module", "__weakref__", "module_name", "package")

    if TYPE_CHECKING:  # else they would be the annotations of an unloaded module
        module_name: str
        package: str | None
        __install_hint: str | None
        __module: ModuleType | None

    def __init__(self, module_name: str, package: str | None = None, install_hint: str | None = None) -> None:
        put = super().__setattr__
        put("module_name", module_name)
        put("package", package)
        put("_LazyLoader__install_hint", install_hint)
        put("_LazyLoader__module", None)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The module's class, by which `isinstance` and `inspect` judge; before the load, that of modules."""
        return ModuleType if self.__module is None else type(self.__module)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The module's."""
        return vars(self.__loaded())

    def __getattr__(self, name: str) -> Any:
        if name in _PROBES and self.__module is None:
            raise AttributeError(name)
        return getattr(self.__loaded(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__loaded(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__loaded(), name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__loaded()), "module_name", "package"})

    def __repr__(self) -> str:
        status = "unloaded" if self.__module is None else "loaded"
        return f"{type(self).__name__}({self.module_name}, status={status})"

    def __reduce__(self) -> tuple[type[LazyLoader], tuple[str, str | None, str | None]]:
        return type(self), (self.module_name, self.package, self.__install_hint)

    def __loaded(self) -> ModuleType:
        if self.__module is None:
            module = measured_import(_absolute(self.module_name, self.package), self.__install_hint)
            if is_half_made(module):
                return module
            super().__setattr__("_LazyLoader__module", module)
        if type(self.__module) is ModuleType:  # asked each time: a signal handler may have come before it
            _put_dict(self, vars(self.__module))
        return self.__module  # type: ignore[return-value]

    def __is_loaded(self) -> bool:
        return self.__module is not None


class _Doc:
    """The docstring of the class, and that of the module on a loader that is not loaded."""

    def __init__(self, of_class: str | None) -> None:
        self._of_class = of_class

    def __get__(self, loader: LazyLoader | None, owner: type) -> str | None:
        return self._of_class if loader is None else load_module(loader).__doc__


LazyLoader.__doc__ = _Doc(LazyLoader.__doc__)  # type: ignore[assignment]


def load_module(loader: LazyLoader) -> ModuleType:
    """The module that a loader stands for, imported if it was not yet used.

    >>> import json
    >>> load_module(lazy_import("json")) is json
    True

    Raises:
        ImportError: if there is no such module. What a module's own code raises is raised unchanged.
    """
    module: ModuleType = loader._LazyLoader__loaded()
    return module


def is_loaded(loader: LazyLoader) -> bool:
    """Whether a loader has been used, so that its module is imported. Asking imports nothing.

    >>> loader = lazy_import("json")
    >>> is_loaded(loader), loader.loads("1"), is_loaded(loader)
    (False, 1, True)
    """
    loaded: bool = loader._LazyLoader__is_loaded()
    return loaded


def lazy_import(module_name: str, package: str | None = None, install_hint: str | None = None) -> LazyLoader:
    """A new loader for a module. The arguments are those of `LazyLoader`.

    >>> lazy_import(".abc", "collections")
    LazyLoader(.abc, status=unloaded)
    """
    return LazyLoader(module_name, package, install_hint)


_loaders: dict[tuple[str, str | None], LazyLoader] = {}


def get_lazy_loader(
    module_name: str, package: str | None = None, install_hint: str | None = None
) -> LazyLoader:
    """The one loader that this function returns for a module, whoever asks; the first one's hint holds.

    >>> get_lazy_loader("csv") is get_lazy_loader("csv")
    True
    """
    key = (module_name, package)
    return _loaders.get(key) or _loaders.setdefault(key, LazyLoader(module_name, package, install_hint))


def lazy_function(module_name: str, function_name: str, package: str | None = None) -> Callable[..., Any]:
    """A function whose module is imported when it is first called; looked up there at each call.

    >>> dumps = lazy_function("json", "dumps")
    >>> dumps([1]), dumps.__name__, dumps.__qualname__
    ('[1]', 'dumps', 'json.dumps')

    Raises:
        ImportError, AttributeError: at the call, if there is no such module or no such function in it.
    """
    loader = get_lazy_loader(module_name, package)

    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(loader, function_name)(*args, **kwargs)

    function.__name__ = function_name
    function.__qualname__ = f"{module_name}.{function_name}"
    return function


def _absolute(module_name: str, package: str | None) -> str:
    if not module_name.startswith("."):
        return module_name
    from importlib.util import resolve_name

    return resolve_name(module_name, package)


matplotlib = get_lazy_loader("matplotlib.pyplot", install_hint="matplotlib")
numpy = get_lazy_loader("numpy", install_hint="numpy")
pandas = get_lazy_loader("pandas", install_hint="pandas")
seaborn = get_lazy_loader("seaborn", install_hint="seaborn")
plotly = get_lazy_loader("plotly.graph_objects", install_hint="plotly")
openai = get_lazy_loader("openai", install_hint="openai")
anthropic = get_lazy_loader("anthropic", install_hint="anthropic")
google_genai = get_lazy_loader("google.genai", install_hint="google-genai")
docker = get_lazy_loader("docker", install_hint="docker")
git = get_lazy_loader("git", install_hint="GitPython")
