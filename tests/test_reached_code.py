"""What keys cover: an edit of what a cached function reaches is never answered by old values."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codoperf_otel._cache import installed
from codoperf_otel._cache.addresses import Function, explain

HELPERS = """
import enum, json, re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial, wraps
from typing import NewType, TypeVar

class Inner:
    number = 38

Identifier = NewType("Identifier", Inner)

class Upper:
    number = 39

Bound = TypeVar("Bound", bound=Upper)
LIMIT = 10
WORDS = ("a", "b")
PATTERN = re.compile("[a-z]+")
UNUSED = 1

def doubled(func):
    @wraps(func)
    def wrapper(*args, **kwargs):
        return 2 * func(*args, **kwargs)
    return wrapper

def carrying(carried):
    def inner(x):
        return x + carried
    return inner

add = carrying(4)
key = lambda word: (len(word), 0)
seven = partial(max, 7)

@doubled
def decorated(x):
    return x + 16

@lru_cache
def remembered(x):
    return x + 17

class Base:
    def shared(self):
        return 20

class Parser(Base):
    depth = 3

    def __init__(self, text="none"):
        self.text = text

    @property
    def size(self):
        return len(self.text) + 21

    @cached_property
    def words(self):
        return self.text.split("-")

    @staticmethod
    def static(x):
        return x + 22

    @classmethod
    def of(cls, x):
        return cls(str(x + 23))

    def parse(self):
        def nested(word):
            return [letter for letter in word if letter > "m"]
        return nested(self.text)

class Color(enum.Enum):
    RED = 1
    BLUE = 2

@dataclass
class Point:
    x: int = 0
    tags: list[str] = field(default_factory=list)
    hidden: int = field(default=5, repr=False)

    def norm(self):
        return abs(self.x)

def with_default(x, step=30, *, stop=31):
    return x + step + stop

class Pretending:
    __module__ = "json"
    __slots__ = ["slot"]

    def method(self):
        return 35

def deep(x):
    return deeper(x), Pretending, deep.attribute, Identifier, Bound

deep.attribute = 36
seven.attribute = 37

def deeper(x):
    return x if x < 33 else remembered(x)

def not_reached(x):
    return x + 34
"""

MAIN = """
import json
from app import helpers
from app.helpers import Parser, Point, add, decorated, deep, key as sorted_by
from app.helpers import with_default

def choose(x):
    return x

def load(x: "int") -> "object":
    words = sorted(helpers.WORDS, key=sorted_by)
    found = [helpers.PATTERN.match(word) for word in words]
    parsed = Parser.of(x).parse() if x < helpers.LIMIT else helpers.Color.RED
    return json.dumps([choose(add(x)), decorated(x), deep(x), with_default(x), helpers.seven(x), Point(x).norm()])
"""

# each as `file: old -> new`
EDITS = {
    "own body": ("app/main", "x < helpers.LIMIT", "x > helpers.LIMIT"),
    "annotation": ("app/main", 'x: "int"', 'x: "float"'),
    "helper of the same module": ("app/main", "    return x\n", "    return -x\n"),
    "constant": ("app/helpers", "LIMIT = 10", "LIMIT = 11"),
    "type of a constant": ("app/helpers", "LIMIT = 10", "LIMIT = 10.0"),
    "tuple": ("app/helpers", '("a", "b")', '("b", "a")'),
    "pattern": ("app/helpers", "[a-z]+", "[a-y]+"),
    "lambda": ("app/helpers", "(len(word), 0)", "(len(word), 1)"),
    "value in a closure": ("app/helpers", "carrying(4)", "carrying(5)"),
    "code of a closure": ("app/helpers", "x + carried", "x - carried"),
    "argument of a partial": ("app/helpers", "partial(max, 7)", "partial(max, 8)"),
    "function of a partial": ("app/helpers", "partial(max, 7)", "partial(min, 7)"),
    "decorator": ("app/helpers", "2 * func", "3 * func"),
    "below a decorator": ("app/helpers", "x + 16", "x - 16"),
    "below lru_cache": ("app/helpers", "x + 17", "x - 17"),
    "helper of a helper": ("app/helpers", "x < 33", "x < 34"),
    "class variable": ("app/helpers", "depth = 3", "depth = 4"),
    "method": ("app/helpers", 'letter > "m"', 'letter > "n"'),
    "property": ("app/helpers", "+ 21", "+ 24"),
    "cached property": ("app/helpers", 'split("-")', 'split("+")'),
    "static method": ("app/helpers", "x + 22", "x + 24"),
    "class method": ("app/helpers", "x + 23", "x + 24"),
    "method of a base": ("app/helpers", "return 20", "return 21"),
    "base": ("app/helpers", "Parser(Base)", "Parser"),
    "default of a method": ("app/helpers", 'text="none"', 'text=""'),
    "default": ("app/helpers", "step=30", "step=32"),
    "keyword default": ("app/helpers", "stop=31", "stop=32"),
    "member of an enumeration": ("app/helpers", "RED = 1", "RED = 3"),
    "order of an enumeration": ("app/helpers", "    RED = 1\n    BLUE = 2\n", "    BLUE = 2\n    RED = 1\n"),
    "field": ("app/helpers", "x: int = 0", "x: int = 1"),
    "name of a field": ("app/helpers", "hidden: int", "shown: int"),
    "representation of a field": ("app/helpers", "repr=False", "repr=True"),
    "factory of a field": ("app/helpers", "default_factory=list", "default_factory=tuple"),
    "method of a class with another's name": ("app/helpers", "return 35", "return 40"),
    "slot": ("app/helpers", '["slot"]', '["other"]'),
    "attribute of a function": ("app/helpers", "attribute = 36", "attribute = 40"),
    "attribute of a partial": ("app/helpers", "attribute = 37", "attribute = 40"),
    "class of a new type": ("app/helpers", "number = 38", "number = 40"),
    "bound of a type variable": ("app/helpers", "number = 39", "number = 40"),
    "what a name stands for": ("app/main", "deep, key", "remembered as deep, key"),
}  # fmt: skip

NOT_REACHED = {
    "function": ("app/helpers", "x + 34", "x + 35"),
    "constant": ("app/helpers", "UNUSED = 1", "UNUSED = 2"),
    "lines": ("app/main", "def load", "\n\n# a comment\n\ndef load"),
    "another import": ("app/helpers", "import enum, json, re", "import base64, enum, json, re"),
    "another module": ("app/other", "", "X = 1"),
}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that writes modules by their paths, forgets what was imported, and imports one of them."""
    monkeypatch.setattr(installed, "_BEGAN", float("inf"))  # the edits below come before each import
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits within a second are two
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def written(texts, name="app.main"):
        for path, text in texts.items():
            file = tmp_path / f"{path}.py"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(text)
        forget()
        return importlib.import_module(name)

    def forget():
        importlib.invalidate_caches()
        for name in set(sys.modules) - before:
            if str(tmp_path) in str(getattr(sys.modules[name], "__spec__", "")):
                del sys.modules[name]

    yield written
    forget()


@pytest.fixture
def scope(program):
    """A function that writes a program, and explains its function `load`."""
    return lambda texts, name="app.main": explain(Function(program(texts, name).load, "load"))


def edited(texts, edit):
    """The texts of modules after an edit."""
    name, old, new = edit
    assert old in texts[name], edit
    return {**texts, name: texts[name].replace(old, new, 1) if old else new}


EXACT = {"app/__init__": "", "app/main": MAIN, "app/helpers": HELPERS, "app/other": ""}


def test_the_program_of_these_tests_is_covered_exactly(scope):
    """What the tests below rely on: no file counts as a whole."""
    found = scope(EXACT)
    assert (found.reason, found.packages) == (None, ())
    assert {"app.main.load", "app.helpers.Parser.parse", "app.helpers.LIMIT"} <= set(found.objects)
    assert "app.helpers.not_reached" not in found.objects


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_of_what_is_reached_counts(scope, edit):
    """Whatever the function reaches by names: another text there is another scope."""
    before = scope(EXACT).scope
    assert scope(EXACT).scope == before
    assert scope(edited(EXACT, edit)).scope != before


@pytest.mark.parametrize("edit", NOT_REACHED.values(), ids=NOT_REACHED)
def test_an_edit_of_what_is_not_reached_does_not_count(scope, edit):
    """Values are kept where an edit cannot change them."""
    assert scope(edited(EXACT, edit)).scope == scope(EXACT).scope


GAPS = {
    "a mutable global": ("CLIENT = {}\ndef load(x): return CLIENT", r"app\.main\.CLIENT is a dict, which may change"),
    "an object": ("CLIENT = Client()\ndef load(x): return CLIENT", r"CLIENT is a Client, which may change"),
    "an object of a class": (
        "class A:\n  client = []\ndef load(x): return A",
        r"app\.main\.A\.client is a list, which may change",
    ),
    "a global that is set": (
        "made = None\ndef load(x):\n  global made\n  made = made or Client()",
        r"app\.main\.made is set while the program runs",
    ),
    "a global to come": ("def load(x): return later(x)", r"app\.main\.later is not there yet"),
    "an import": ("def load(x):\n  import app.other\n  return app.other", r"app\.main\.load imports app\.other"),
    "an import of another package": ("def load(x):\n  import lib\n  return lib", r"load imports lib"),
    "a relative import": ("def load(x):\n  from . import other\n  return other", r"load imports a module"),
    "a relative import like a standard one": (
        "def load(x):\n  from .json import loads\n  return loads", r"load imports json",
    ),
    "a module by its name": ("import importlib\ndef load(x): return importlib.import_module(x)", "import_module"),
    "a global by its name": ("def load(x): return globals()[x]", r"may find anything by globals"),
    "an attribute by its name": (
        "from app import other\ndef load(x): return getattr(other, x)",
        r"app\.other may be asked for anything by getattr",
    ),
    "a module with its own attributes": ("import lib\ndef load(x): return lib.anything", r"lib has a __getattr__"),
    "a module that is not imported": ("import app\ndef load(x): return app.other", r"app\.other is not imported yet"),
    "a changed module": (
        "import sys, types\nclass M(types.ModuleType): pass\nm = M('m')\ndef load(x): return m.x", r"m is a M, which",
    ),
    "many objects": (
        "".join(f"def f{n}(x): return f{n + 1}(x)\n" for n in range(300)) + "f300 = int\ndef load(x): return f0(x)",
        r"more than 200 objects are reached",
    ),
}  # fmt: skip

AROUND = {
    "app/__init__": "",
    "app/other": "def lazily():\n  import deep.below\n",
    "app/json": "loads = 1",
    "deep/__init__": "",
    "deep/below": "X = 1",
    "lib": "def __getattr__(name): return 1",
    "alone": "X = 1",
}
CLIENT = "class Client: pass\n# import lib\n"


@pytest.mark.parametrize(("code", "reason"), GAPS.values(), ids=GAPS)
def test_where_names_do_not_say_it_files_count(scope, code, reason):
    """All files of the package count, and of those that it imports, wherever; no others do."""
    texts = {**AROUND, "app/main": CLIENT + code}
    before = scope(texts)
    assert re.search(reason, before.reason)
    assert before.packages == ("app", "deep", "lib")
    assert scope(texts).scope == before.scope
    for path in ("app/other", "app/json", "deep/below", "lib"):
        assert scope({**texts, path: f"{texts[path]}\n# edited"}).scope != before.scope, path
    assert scope({**texts, "app/new": ""}).scope != before.scope
    (Path(sys.path[0]) / "app/new.py").unlink()
    assert scope({**texts, "alone": "X = 2"}).scope == before.scope


def test_a_function_that_is_found_late_counts(scope):
    """By the file that it is found in."""
    texts = {
        "main": "from codoperf_otel import lazy_function\ng = lazy_function('lib1', 'g')\ndef load(x): return g(x)",
        "lib1": "def g(x): return 1",
    }
    found = scope(texts, "main")
    assert (found.packages, found.reason) == (("lib1", "main"), "main.g finds lib1.g when it is called")


def test_assertions_that_are_left_out_are_other_code():
    """`python -O` counts as an interpreter of its own."""
    show = "from codoperf_otel._cache.explanation import PYTHON; print(PYTHON)"
    shown = [
        subprocess.run(
            [sys.executable, *option, "-c", show], capture_output=True, text=True, check=True
        ).stdout
        for option in ([], ["-O"], ["-OO"])
    ]
    plain = shown[0].strip()
    assert shown == [f"{plain}\n", f"{plain} -O\n", f"{plain} -OO\n"]


def test_a_constant_counts_as_one_object(program):
    """However many functions read it."""
    body = "".join(f"def f{n}(x): return LIMIT, f{n + 1}(x)\n" for n in range(150))
    module = program({"app/main": f"LIMIT = 5\n{body}def f150(x): return x\ndef load(x): return f0(x)"})
    found = explain(Function(module.load, "load"))
    assert (found.reason, len(found.objects)) == (None, 153)


OTHER_STATEMENTS = [
    "from \\\n  deep import X",
    "from app \\\n  import json; import deep",
    "try: import deep\nexcept ValueError: pass",
    "if 1:\n  import json, deep as d",
    "if 1: from app import json; from deep import X",
]


@pytest.mark.parametrize("statement", OTHER_STATEMENTS)
def test_statements_after_the_like_of_them(scope, statement):
    """What an import reads is found, though another one in the package begins in the same way."""
    like = "try: import json\nexcept ValueError: pass\nfrom app import json\nif 1: from app import json\n"
    like += "from app \\\n  import json\nfrom \\\n  app import json\n"
    texts = {**AROUND, "app/first": like, "app/other": f"{like}def f():\n  pass\n{statement}\n"}
    found = scope({**texts, "app/main": "CACHE = {}\ndef load(x): return CACHE"})
    assert found.packages == ("app", "deep")


@pytest.mark.parametrize(
    "call",
    [
        'codoperf_otel.lazy_import("lib1.m")',
        'codoperf_otel.LazyLoader(\n    module_name="lib1")',
        "codoperf_otel.get_lazy_loader('lib1')",
        "codoperf_otel.lazy_function('lib1', 'g')",
        "importlib.import_module('lib1')",
        "importlib.import_module(name='lib1')",
        '__import__("lib1")',
    ],
)
def test_modules_that_a_call_names_count(scope, call):
    """Beside a program of one file, too: no package has both."""
    texts = {
        "main": f"import codoperf_otel, importlib\nm = lambda: {call}\ndef load(x): return globals()",
        "lib1": "A = 1",
    }
    before = scope(texts, "main")
    assert "lib1" in before.packages
    assert scope({**texts, "lib1": "A = 2"}, "main").scope != before.scope


def test_values_of_mutable_globals_do_not_count(program):
    """What a program puts into a global while it runs has no part in the key."""
    module = program({**AROUND, "app/main": "CACHE = {}\ndef load(x): return CACHE"})
    before = explain(Function(module.load, "load")).scope
    module.CACHE["a"] = 1
    assert explain(Function(module.load, "load")).scope == before is not None


@pytest.mark.parametrize("edit", ["while it runs", "in a folder that took its place"])
def test_a_file_that_changed_while_the_program_runs(program, monkeypatch, tmp_path, edit):
    """The old code is in memory and the new one on disk: entries stay in memory."""
    module = program({**AROUND, "app/main": "CACHE = {}\ndef load(x): return CACHE"})
    monkeypatch.setattr(installed, "_BEGAN", time.time() + 1)
    assert explain(Function(module.load, "load")).scope
    monkeypatch.setattr(installed, "_BEGAN", (tmp_path / "app/other.py").stat().st_mtime - 0.001)
    if edit == "while it runs":
        (tmp_path / "app/other.py").write_text("edited")
    else:
        (tmp_path / "new.py").write_text("edited")
        os.utime(tmp_path / "new.py", (0, 0))
        (tmp_path / "new.py").replace(tmp_path / "app/other.py")
    found = explain(Function(module.load, "load"))
    assert (found.scope, found.packages) == (None, ())
    assert "was changed since this process began" in found.reason


def test_two_checkouts_are_two_programs(tmp_path, program, monkeypatch):
    """The same code in another folder has another scope, with `version=` too."""
    found = set()
    for folder in ("one", "two"):
        (tmp_path / folder / "app").mkdir(parents=True)
        (tmp_path / folder / "app/main.py").write_text("def load(x): return x")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
        module = program({})
        found |= {explain(Function(module.load, "load", version=version)).scope for version in (None, "1")}
    assert len(found) == 4
    assert None not in found


def test_version_replaces_code(scope, program):
    """With a version, no edit counts, and nothing is read."""
    texts = {"app/__init__": "", "app/main": "CACHE = {}\ndef load(x): return CACHE"}
    found = [
        explain(Function(program({**texts, "app/main": text}).load, "load", version=version))
        for text, version in [
            (texts["app/main"], "1"),
            ("def load(x): pass", "1"),
            ("def load(x): pass", "2"),
        ]
    ]
    assert found[0] == found[1]
    assert len({each.scope for each in found}) == 2


def test_what_has_no_file_has_no_files_to_count():
    """Code that was made from a text is covered as far as it can be read; what it may reach is not."""
    made = {"__name__": "made"}
    exec("CLIENT = {}\ndef reads(x): return CLIENT\ndef plain(x): return x", made)
    found = explain(Function(made["reads"], "reads"))
    assert (found.scope, found.reason) == (None, "made has no source files")
    assert explain(Function(made["plain"], "plain")).scope


def test_own_key_function_counts(program):
    """What `key=` was given decides which value a call gets."""
    source = "def load(x, y): return x\nmake = lambda x, y: x"
    scopes = set()
    for text in (source, source.replace("x, y: x", "x, y: y")):
        module = program({"app/__init__": "", "app/main": text})
        scopes.add(explain(Function(module.load, "load", key=module.make)).scope)
    assert len(scopes) == 2


class TestInstalled:
    """Installed code counts by the distribution that it came with."""

    CODE = "import dep.inner, re\ndef load(x):\n  import late\n  return dep.inner.f(x), re.sub"

    @pytest.fixture
    def install(self, tmp_path, monkeypatch):
        """A function that writes a folder of installed packages: their files by distribution."""
        site = tmp_path / "venv" / "site-packages"
        site.mkdir(parents=True)
        monkeypatch.syspath_prepend(str(site))

        def written(distributions):
            shutil.rmtree(site)
            for distribution, files in distributions.items():
                metadata = site / f"{distribution}.dist-info"
                metadata.mkdir(parents=True)
                (metadata / "RECORD").write_text("".join(f"{name}.py,sha256=0,1\n" for name in files))
                for name, text in files.items():
                    path = site / f"{name}.py"
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(text)
            for known in (
                installed._sites,
                installed._metadata,
                installed._distributions,
                installed._content,
            ):
                known.cache_clear()

        return written

    @pytest.fixture
    def found(self, install, scope):
        """A function that installs, and explains `load` of a program that uses what is installed."""

        def explained(distributions, code=self.CODE):
            install(distributions)
            return scope({"app/__init__": "", "app/main": code})

        return explained

    def test_version_counts_and_files_do_not(self, found):
        """An upgrade is another scope; a file that somebody has touched is not."""
        files = {"dep/__init__": "", "dep/inner": "def f(x): return x"}
        first = found({"Dep_Of_App-1.0": files, "late-3.0": {"late": ""}})
        assert (first.distributions, first.packages) == (("Dep_Of_App-1.0", "late-3.0"), ())
        assert first.objects == ("app.main.load",)
        touched = {**files, "dep/inner": "def f(x): return -x"}
        assert found({"Dep_Of_App-1.0": touched, "late-3.0": {"late": ""}}).scope == first.scope
        for others in ({"Dep_Of_App-1.1": files, "late-3.0": {"late": ""}}, {"Dep_Of_App-1.0": files}):
            assert found(others).scope not in (first.scope, None)

    def test_parts_of_a_shared_package(self, found):
        """Of a package that several distributions have parts of, all of them count."""
        parts = {
            "one-1": {"shared/one": "def f(x): pass"},
            "two-1": {"shared/two": ""},
            "three-1": {"other": ""},
        }
        assert found(parts, "import shared.one\ndef load(x): return shared.one.f").distributions == (
            "one-1",
            "two-1",
        )

    def test_files_of_no_distribution_are_own(self, found, tmp_path):
        """What was copied there by hand has no version, so its code counts."""
        (tmp_path / "venv/site-packages").mkdir(exist_ok=True)
        code = "import copied\ndef load(x): return copied.f(x)"
        scopes = []
        for text in ("def f(x): return x", "def f(x): return -x"):
            found({"a-1": {"copied": text}}, code)
            (tmp_path / "venv/site-packages/a-1.dist-info/RECORD").unlink()
            installed._content.cache_clear()
            installed._distributions.cache_clear()
            scopes.append(explain(Function(sys.modules["app.main"].load, "load")))
        assert scopes[0].objects == ("app.main.load", "copied.f")
        assert scopes[0].scope != scopes[1].scope

    def test_upgrade_while_the_program_runs(self, found, monkeypatch):
        """The old code is in memory, and the version on disk is that of the new one."""
        found({"dep-1.0": {"dep/__init__": "", "dep/inner": "def f(x): return x"}})
        monkeypatch.setattr(installed, "_BEGAN", time.time() - 60)
        installed._distributions.cache_clear()
        explained = explain(Function(sys.modules["app.main"].load, "load"))
        assert explained.scope is None
        assert "dep-1.0.dist-info was changed since this process began" in explained.reason

    def test_installed_functions_that_carry_own_code(self, found):
        """What a decorator of somebody else's makes of a function has that function in it."""
        decorator = "def decorate(func):\n  def wrapper(x): return func(x)\n  return wrapper"
        code = "from dep import decorate\n@decorate\ndef helper(x): return 1\ndef load(x): return helper(x)"
        files = {"dep-1": {"dep": decorator}}
        before = found(files, code)
        assert (before.distributions, before.reason) == (("dep-1",), None)
        assert found(files, code.replace("return 1", "return 2")).scope != before.scope
