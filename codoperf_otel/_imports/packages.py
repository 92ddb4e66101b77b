"""Names of a package that are imported at their first use, by the module's own `__getattr__` (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from codoperf_otel._imports.lazy_loads import is_half_made, measured_import


def lazy_imports(namespace: dict[str, Any], package: str, names: Iterable[str]) -> None:
    """Let a package's ``__init__`` offer submodules, and what is in them, each imported at its first use.

    Puts ``__getattr__`` and ``__dir__`` into the package, and the names into its ``__all__``. What is not
    listed is looked for by the ``__getattr__`` that was there before, if any.

    Args:
        namespace: ``globals()`` of the package.
        package: its ``__name__``.
        names: ``"submodule"``, or ``"submodule:name"`` for a function, class or value in it.

    Raises:
        ValueError: if one of the names is written differently, or *names* is one text.

    In the ``__init__`` of a package::

        lazy_imports(globals(), __name__, ["filters", "edges:sobel"])

    >>> namespace = {}
    >>> lazy_imports(namespace, "json", ["decoder", "tool:main"])
    >>> namespace["__all__"]
    ['decoder', 'main']
    >>> namespace["__getattr__"]("decoder")  # doctest: +ELLIPSIS
    <module 'json.decoder' from ...>
    """
    if isinstance(names, str):  # whose letters would be names
        raise ValueError(f"lazy_imports takes a list of names, not {names!r}")
    origins = dict(_origin(name) for name in names)
    namespace["__getattr__"] = _getattr(namespace, package, origins)
    namespace["__dir__"] = lambda: sorted({*namespace, *origins})
    namespace["__all__"] = [*dict.fromkeys([*namespace.get("__all__", ()), *sorted(origins)])]
    _keep_from_modules(namespace, package, {name for name, (_, attribute) in origins.items() if attribute})


def _origin(name: str) -> tuple[str, tuple[str, str]]:
    """What a name is called in the package, and the submodule and the attribute in it, which may be none."""
    submodule, colon, attribute = name.partition(":")
    parts = [*submodule.split("."), attribute] if colon else [submodule]
    if not all(part.isidentifier() for part in parts):
        raise ValueError(f'lazy_imports takes "submodule" and "submodule:name", not {name!r}')
    return attribute or submodule, (submodule, attribute)


def _getattr(
    namespace: dict[str, Any], package: str, origins: dict[str, tuple[str, str]]
) -> Callable[[str], Any]:
    before = namespace.get("__getattr__")

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in origins:
            submodule, attribute = origins[name]
            module = measured_import(f"{package}.{submodule}")
            value = getattr(module, attribute) if attribute else module
            if not is_half_made(module):
                namespace[name] = value
            return value
        if before is not None:
            return before(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)

    return __getattr__


def _keep_from_modules(namespace: dict[str, Any], package: str, attributes: set[str]) -> None:
    """Keep the import of a submodule from hiding what the package offers by the same name."""
    module = sys.modules.get(package)
    if attributes and type(module) is ModuleType and vars(module) is namespace:

        class Package(ModuleType):
            def __setattr__(self, name: str, value: object) -> None:
                if not (name in attributes and _is_submodule(value, f"{package}.{name}")):
                    super().__setattr__(name, value)

        module.__class__ = Package


def _is_submodule(value: object, name: str) -> bool:
    return isinstance(value, ModuleType) and value.__name__ == name
