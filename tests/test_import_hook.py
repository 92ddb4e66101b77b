"""The import hook: what is entered before a module is executed, and left afterwards."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import zipfile
from contextlib import contextmanager

import pytest

from codoperf_otel._patching.import_hook import Hook


@pytest.fixture
def seen() -> list[tuple[str, object]]:
    """What hooks and modules did, in its order."""
    return []


def hook(seen, label="hook", concerns=lambda name: name.startswith("ware")):
    """An installed hook that notes when it enters and leaves a module, and with which exception."""

    @contextmanager
    def around(module):
        seen.append((f"{label} enters", module.__name__, hasattr(module, "price")))
        error = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            seen.append((f"{label} leaves", module.__name__, error))

    made = Hook(concerns, around)
    made.install()
    return made


def test_it_stands_around_the_execution(write_modules, seen):
    """The hook enters before the first line of a module, and leaves after its last."""
    write_modules(ware="import sys\nsys.modules['noted'].append(('runs', __name__))\nprice = 1\n")
    sys.modules["noted"] = seen
    hook(seen)
    import ware

    assert seen == [("hook enters", "ware", False), ("runs", "ware"), ("hook leaves", "ware", None)]
    assert ware.price == 1


def test_modules_inside_one_another(write_modules, seen):
    """What a module imports is entered and left while the hook is around that module."""
    write_modules(ware="import ware_below", ware_below="")
    hook(seen)
    import ware  # noqa: F401

    assert [(what, name) for what, name, _ in seen] == [
        ("hook enters", "ware"),
        ("hook enters", "ware_below"),
        ("hook leaves", "ware_below"),
        ("hook leaves", "ware"),
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, StopIteration])
def test_an_exception_in_the_module(write_modules, seen, error):
    """The hook is left with the exception, which goes on as it is; the next import begins anew."""
    folder = write_modules(ware=f"raise {error.__name__}('broken')\n")
    hook(seen)
    with pytest.raises(error, match="broken") as caught:
        import ware
    assert [entry.path.name for entry in caught.traceback] == ["test_import_hook.py", "ware.py"]
    assert seen[-1] == ("hook leaves", "ware", caught.value)
    (folder / "ware.py").write_text("price = 17\n")
    importlib.invalidate_caches()
    import ware

    assert (ware.price, seen[-1]) == (17, ("hook leaves", "ware", None))


def test_other_modules_are_no_concern(write_modules, seen):
    """A module that the hook was not made for is imported without it."""
    write_modules(goods="price = 1\n")
    hook(seen)
    import goods

    assert (goods.price, seen) == (1, [])


def test_a_loader_of_several_modules(write_modules, seen):
    """The modules of an archive share a loader; each is entered once, and only if it concerns the hook."""
    folder = write_modules()
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        for name in ("ware_one", "goods", "ware_two"):
            archive.writestr(f"{name}.py", "")
    sys.path.insert(0, str(folder / "packed.zip"))
    hook(seen)
    for name in ("ware_one", "goods", "ware_two"):
        importlib.import_module(name)
    assert [name for what, name, _ in seen if what == "hook enters"] == ["ware_one", "ware_two"]


class Rigid:
    """A loader that takes no attributes."""

    __slots__ = ()

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.price = 3


def finder_of(loader):
    """A finder that has that loader for every module whose name begins with `ware`."""

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return importlib.machinery.ModuleSpec(name, loader) if name.startswith("ware") else None

    return Finder()


def test_a_loader_that_takes_no_attributes(write_modules, seen):
    """It is left alone, and loads as it does without a hook."""
    sys.meta_path.insert(0, finder_of(Rigid()))
    hook(seen)
    import ware

    assert (ware.price, seen) == (3, [])


def test_a_class_that_is_a_loader(write_modules, seen):
    """It serves everybody, so it stays as it is."""
    executes = importlib.machinery.FrozenImporter.exec_module
    hook(seen, concerns=lambda name: name == "__hello__")
    import __hello__  # noqa: F401

    assert seen == []
    assert importlib.machinery.FrozenImporter.exec_module is executes


def test_a_finder_without_find_spec(write_modules, seen):
    """What is no finder to the import system is none to the hook."""
    write_modules(ware="price = 1\n")
    sys.meta_path.append(types.SimpleNamespace())
    hook(seen)
    import ware

    assert (ware.price, len(seen)) == (1, 2)


def test_two_hooks_on_one_loader(write_modules, seen):
    """The hook that was installed last is the outer one; each is entered once, at a reload too."""
    write_modules(ware="price = 1\n")

    class Loader(importlib.abc.Loader):
        def exec_module(self, module):
            seen.append(("runs", module.__name__))

    sys.meta_path.insert(0, finder_of(Loader()))
    hook(seen, "inner")
    hook(seen, "outer")
    import ware

    expected = ["outer enters", "inner enters", "runs", "inner leaves", "outer leaves"]
    assert [what for what, *_ in seen] == expected
    importlib.reload(ware)
    assert [what for what, *_ in seen] == 2 * expected


def test_a_hook_removed_while_a_module_loads(write_modules, seen):
    """The module that it has entered is left; the modules that are imported from then on are not entered."""
    write_modules(
        ware="import sys; sys.modules['hook'].remove(); import ware_below\n", ware_below="", ware_later=""
    )
    sys.modules["hook"] = hook(seen)
    import ware
    import ware_later  # noqa: F401

    importlib.reload(ware)
    assert seen == [("hook enters", "ware", False), ("hook leaves", "ware", None)]


def test_a_hook_removed_between_finding_and_loading(write_modules, seen):
    """A module that was found with the hook in place, and is executed afterwards, is not entered."""
    write_modules(ware="price = 1\n")
    removed = hook(seen)
    spec = importlib.util.find_spec("ware")
    removed.remove()
    removed.remove()
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.price, seen) == (1, [])
