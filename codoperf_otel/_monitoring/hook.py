"""The import hook: tells of each module that was loaded, and loads none itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Loaded = Callable[[ModuleType], None]


class Hook:
    """A finder before the others that lets them find, and calls `loaded` after ``exec_module``."""

    def __init__(self, concerns: Callable[[str], bool], loaded: Loaded) -> None:
        self._concerns = concerns
        self._loaded = loaded

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find."""
        if not self._concerns(name):
            return None
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if finder is self or find_spec is None:
                continue
            spec: ModuleSpec | None = find_spec(name, path, target)
            if spec is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader: Any) -> None:
        """Follow the loader; it stays the one that `inspect` and others ask for source and resources.

        A class that is a loader (of built-in and frozen modules) is everybody's and is left alone.
        """
        exec_module = getattr(loader, "exec_module", None)
        followed = isinstance(exec_module, _ExecModule) and exec_module.loaded is self._loaded
        if exec_module is None or followed or isinstance(loader, type):
            return
        try:
            loader.exec_module = _ExecModule(exec_module, self._loaded)
        except AttributeError:  # it takes no attributes
            return


class _ExecModule:
    def __init__(self, exec_module: Loaded, loaded: Loaded) -> None:
        self._exec_module = exec_module
        self.loaded = loaded

    def __call__(self, module: ModuleType) -> None:
        self._exec_module(module)
        self.loaded(module)


# the interpreter leaves importlib's frames out of the traceback of a module that fails, and so this one
_ExecModule.__call__.__code__ = _ExecModule.__call__.__code__.replace(
    co_filename="<frozen importlib._bootstrap>"
)
