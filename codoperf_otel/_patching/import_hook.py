"""The import hook: code of ours around the execution of modules, which others find and load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Around = Callable[[ModuleType], AbstractContextManager[object]]
"""What is entered before a module is executed, and left afterwards with the exception that it raised, if any.

It must neither raise nor suppress an exception.
"""


class Hook:
    """A finder in front of the others. It lets them find, and executes each module that concerns it `around`.

    A module that is being executed when the hook is removed is still left; none is entered from then on.
    """

    def __init__(self, concerns: Callable[[str], bool], around: Around) -> None:
        self._concerns = concerns
        self._around = around

    def install(self) -> None:
        """Take part in the imports to come."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Take part in no import any more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the finders behind this one find."""
        if not self._concerns(name):
            return None
        for finder in self._finders_behind():
            spec: ModuleSpec | None = finder.find_spec(name, path, target)
            if spec is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _finders_behind(self) -> list[Any]:
        """Those before it were asked already; and two hooks that ask each other would never end."""
        finders: list[Any] = list(sys.meta_path)
        behind = finders[finders.index(self) + 1 :] if self in finders else []
        return [finder for finder in behind if hasattr(finder, "find_spec")]

    def _follow(self, loader: Any) -> None:
        """Stand around the loader's `exec_module`; it stays the one that `inspect` and others ask for source.

        A class that is a loader (of built-in and frozen modules) is everybody's and is left alone.
        """
        exec_module = getattr(loader, "exec_module", None)
        if exec_module is None or isinstance(loader, type) or self._is_around(exec_module):
            return
        try:
            loader.exec_module = _ExecModule(exec_module, self)
        except AttributeError:  # it takes no attributes
            return

    def _is_around(self, exec_module: object) -> bool:
        """Whether this hook follows it already, maybe inside other hooks: a loader may serve many modules."""
        while isinstance(exec_module, _ExecModule):
            if exec_module.hook is self:
                return True
            exec_module = exec_module.inner
        return False

    def enter(self, module: ModuleType) -> AbstractContextManager[object]:
        """What stands around this module: nothing if the hook was removed, or is not concerned."""
        is_ours = self in sys.meta_path and self._concerns(module.__name__)
        return self._around(module) if is_ours else nullcontext()


class _ExecModule:
    def __init__(self, inner: Callable[[ModuleType], None], hook: Hook) -> None:
        self.inner = inner
        self.hook = hook

    def __call__(self, module: ModuleType) -> None:
        with self.hook.enter(module):
            self.inner(module)


# the interpreter leaves importlib's frames out of the traceback of a module that fails, and so this one
_ExecModule.__call__.__code__ = _ExecModule.__call__.__code__.replace(
    co_filename="<frozen importlib._bootstrap>"
)
