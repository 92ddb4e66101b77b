"""Which functions use what a module imports, and the module's source with these imports moved into them."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest

from codoperf_otel._imports.moving import move
from codoperf_otel._imports.uses import Name, statements


def names(source: str) -> dict[str, Name]:
    """What a source imports at its top, by name."""
    return {name.bound: name for statement in statements(dedent(source)) for name in statement.names}


def functions(source: str, bound: str = "heavy") -> list[str]:
    """The functions that use a name, if nothing else does."""
    name = names(source)[bound]
    assert not name.is_needed_at_once
    return [function.name for function in name.functions]


AT_ONCE = {
    "statement": "heavy.start()",
    "decorator": "@heavy.wrap\ndef f(): ...",
    "decorator of a method": "class C:\n    @heavy.wrap\n    def f(self): ...",
    "base": "class C(heavy.Base): ...",
    "class body": "class C:\n    value = heavy.VALUE",
    "default": "def f(value=heavy.VALUE): ...",
    "annotation": "def f(value: heavy.Type) -> None: ...",
    "annotation of what is returned": "def f() -> heavy.Type: ...",
    "annotation as a text": "def f(value: 'list[heavy.Type]') -> None: ...",
    "annotation of a variable": "value: heavy.Type",
    "annotation in a function": "def f():\n    def g(value: 'heavy.Type') -> None: ...",
    "annotation of what is returned in a function": "def f():\n    async def g() -> heavy.Type: ...",
    "annotation of a class in a function": "def f():\n    class C:\n        value: heavy.Type",
    "text of a type": "T = TypeVar('T', bound='list[heavy.Type]')",
    "text that is evaluated": "def f():\n    return eval('heavy.start()'), heavy",
    "text that is looked up": "def f():\n    globals()['heavy']\n    heavy",
    "example for doctest": "def f():\n    '''>>> heavy.start()'''\n    heavy",
    "class that binds it, too": "def f():\n    class C:\n        heavy = heavy.C\ndef g():\n    heavy",
    "lambda": "f = lambda: heavy.start()",
    "comprehension": "values = [heavy.VALUE for _ in 'ab']",
    "main block": "if __name__ == '__main__':\n    heavy.start()",
    "__all__": "__all__ = ['heavy']",
    "global": "def f():\n    global heavy\n    heavy = 1",
    "deleted": "del heavy",
    "assigned": "heavy = heavy.part",
    "bound by another import": "from other import heavy",
    "bound by an import with a condition": "try:\n    import heavy\nexcept ImportError:\n    heavy = None",
    "bound by a function": "def heavy(): ...",
    "bound by an exception": "try: ...\nexcept Exception as heavy: ...",
    "function on one line": "def f(): return heavy.start()",
    "function on a continued line": "def f(): \\\n    return heavy.start()",
    "finalizer, which runs while the interpreter ends": "class C:\n    def __del__(self):\n        heavy",
    "beside another statement": "import heavy; import other",
}


@pytest.mark.parametrize("text", AT_ONCE.values(), ids=AT_ONCE)
def test_what_is_needed_at_once(text):
    """What the module itself uses, or may use, is needed when it is imported."""
    source = text if text.startswith("import heavy;") else f"import heavy\n{text}\n"
    (heavy,) = statements(source)[0].names
    assert heavy.is_needed_at_once


@pytest.mark.parametrize(
    "source", ["import heavy as heavy\n", "from a import heavy as heavy\n", "a = 1; \\\nimport heavy\n"]
)
def test_what_stays_by_its_form(source):
    """What is imported as itself is for others; a continued line is not one by itself."""
    assert names(f"{source}def f():\n    heavy\n")["heavy"].is_needed_at_once


IN_FUNCTIONS = {
    "function": ("def f():\n    heavy.start()", ["f"]),
    "coroutine": ("async def f():\n    heavy.start()", ["f"]),
    "method": ("class C:\n    def f(self):\n        heavy.start()", ["f"]),
    "function inside a function": ("def f():\n    def g():\n        return heavy\n    return g", ["f"]),
    "lambda inside a function": ("def f():\n    return lambda: heavy", ["f"]),
    "class inside a function": ("def f():\n    class C(heavy.C): ...\n    return C", ["f"]),
    "comprehension inside a function": ("def f():\n    return [heavy for _ in 'ab']", ["f"]),
    "decorator inside a function": ("def f():\n    @heavy.wrap\n    def g(): ...", ["f"]),
    "two": ("def f():\n    heavy\ndef g():\n    heavy", ["f", "g"]),
    "other functions' own names": ("def f():\n    heavy\ndef g(heavy):\n    return heavy", ["f"]),
    "function called top": ("def f():\n    heavy\ndef top():\n    heavy = 1\n    return heavy", ["f"]),
    "other class's own name": ("class C:\n    heavy = 1\ndef f():\n    heavy", ["f"]),
    "annotation of a variable in a function": ("def f():\n    value: heavy.T = heavy.t()", ["f"]),
    "function with a condition": ("if True:\n    def f():\n        heavy", ["f"]),
    "private method": ("class C:\n    def __f(self):\n        return heavy", ["__f"]),
    "nothing": ("'''heavy'''\nclass C:\n    'heavy'", []),
}


@pytest.mark.parametrize(("text", "expected"), IN_FUNCTIONS.values(), ids=IN_FUNCTIONS)
def test_what_functions_use(text, expected):
    """The outermost functions are named; docstrings use nothing."""
    assert functions(f"import heavy\n{text}\n") == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_generic_function_is_a_function():
    """A function with type parameters is found; what bounds these is needed at once."""
    assert functions("import heavy\ndef f[T](value: T) -> T:\n    return heavy\n") == ["f"]
    assert names("import heavy\ndef f[T: heavy.C]():\n    pass\n")["heavy"].is_needed_at_once


BLOCKS = {
    "try:\n    import heavy\nexcept ImportError:\n    heavy = None": "a try",
    "try: ...\nexcept ImportError:\n    import heavy": "a try",
    "try: ...\nexcept* ImportError:\n    import heavy": "a try",
    "if platform: ...\nelse:\n    import heavy": "an if",
    "with suppress(ImportError):\n    import heavy": "a with",
    "for _ in 'a':\n    import heavy": "a loop",
    "while not done:\n    import heavy": "a loop",
    "match platform:\n    case 'linux':\n        import heavy": "a match",
    "class C:\n    import heavy": "a class",
    "if platform:\n    try:\n        import heavy\n    except ImportError: ...": "a try",
    "import heavy": None,
}


@pytest.mark.parametrize(("source", "block"), BLOCKS.items(), ids=BLOCKS)
def test_imports_know_their_blocks(source, block):
    """An import in a block has a reason to be there; a use by the module itself says that it is needed."""
    (statement,) = statements(f"{source}\ndef f():\n    heavy\n")
    (name,) = statement.names
    assert (statement.block, name.is_needed_at_once) == (block, False)
    assert [function.name for function in name.functions] == ["f"]
    assert names(f"{source}\nheavy.start()\n")["heavy"].is_needed_at_once


def test_future_imports_and_those_in_functions_are_no_statements():
    """Neither what is imported from `__future__` nor what a function imports could wait."""
    assert names("from __future__ import annotations\ndef f():\n    import a\n") == {}


def test_star_import_stays():
    """Nobody knows what a star brings."""
    assert names("from heavy import *\n")["*"].is_needed_at_once


def test_submodules_of_one_package_wait_together():
    """Two statements that bind the same package, and nothing else, do not stand in each other's way."""
    assert functions("import heavy.a\nimport heavy.b\ndef f():\n    heavy.a, heavy.b\n") == ["f"]
    assert names("import other as heavy\nimport heavy.b\n")["heavy"].is_needed_at_once


def moved(source: str, *bound: str) -> str:
    """A source with these names, or all, moved."""
    chosen = [
        (statement, [name for name in statement.names if not bound or name.bound in bound])
        for statement in statements(source)
    ]
    return move(source, [(statement, names) for statement, names in chosen if names]).source


BEFORE = '''"""What it does."""
import heavy.part as part  # for pages
from other import (
    a as b,
    c,
)  # noqa
from . import d


def page():
    """A page."""
    return part, b, d


class Shop:
    async def open(self):
        @part.wrap
        def inner():
            return c
        return inner
'''
AFTER = '''"""What it does."""
from other import c  # noqa


def page():
    """A page."""
    import heavy.part as part
    from other import a as b
    from . import d
    return part, b, d


class Shop:
    async def open(self):
        import heavy.part as part
        @part.wrap
        def inner():
            return c
        return inner
'''


def test_imports_are_moved_into_functions():
    """They stand after the docstring and before decorators; what stays keeps its comment."""
    assert moved(BEFORE, "part", "b", "d") == AFTER


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import a\r\ndef f():\r\n\treturn a\r\n", "def f():\r\n\timport a\r\n\treturn a\r\n"),
        ("import a\ndef f():\n    return a", "def f():\n    import a\n    return a"),
        (
            "import a\n\x0cdef f():\n    return 'ä\u2028', a\n",
            "\x0cdef f():\n    import a\n    return 'ä\u2028', a\n",
        ),
        ("'ä'\nimport a, b\ndef f():\n    a\nb\n", "'ä'\nimport b\ndef f():\n    import a\n    a\nb\n"),
    ],
    ids=["tabs and other line ends", "no last line end", "other separators", "some of several"],
)
def test_the_rest_of_the_source_stays_as_it_is(before, after):
    """Indentation, line ends and unusual characters are those of the source."""
    assert moved(before, "a") == after


def test_lines_know_their_functions():
    """Each line with a moved import has the function that it is in."""
    source = "import a\nimport b\ndef f():\n    return a, b\n"
    found = move(source, [(statement, statement.names) for statement in statements(source)])
    assert {line: function.name for line, function in found.functions.items()} == {2: "f", 3: "f"}
