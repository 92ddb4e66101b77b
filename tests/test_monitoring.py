"""Monitoring by patterns: what is wrapped as modules load, what is left alone, and what is put back."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

import codoperf_otel
from codoperf_otel._environment_variables import EXCLUDE, MONITOR
from codoperf_otel._patching.import_hook import Hook
from codoperf_otel._zero_code.patterns import Patterns, option_patterns
from codoperf_otel.instrumentation import CodoperfInstrumentor

GOODS = """
import dataclasses, enum, functools, typing
from math import sqrt
from json import dumps

def price(item): return len(item)
async def fetch(item): return price(item)
def stream():
    yield from (1, 2)
async def astream():
    yield 1
same_price = price
cheap = lambda item: 1
def _hidden(): return "hidden"
def make():
    def made(): return "made"
    return made
made = make()
@functools.lru_cache
def cached(item): return item
class Basket:
    size = 2
    def add(self, item): return price(item)
    @classmethod
    def empty(cls): return cls()
    @staticmethod
    def name(): return "basket"
    @property
    def half(self): return self.size / 2
    @functools.cached_property
    def full(self): return self.size * 2
    def __len__(self): return self.size
    def _count(self): return self.size
    class Handle:
        def hold(self): return "held"
class _Secret:
    def tell(self): return "told"
@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    label: str
    def upper(self): return self.label.upper()
class Colour(enum.Enum):
    RED = 1
    def title(self): return self.name.title()
class Pair(typing.NamedTuple):
    left: int
    def double(self): return self.left * 2
class Shape(typing.Protocol):
    def area(self): return 0
"""

SELECTED = {
    *("price", "fetch", "stream", "astream", "make", "same_price"),
    *("Basket.add", "Basket.empty", "Basket.name", "Basket.Handle.hold"),
    *("Item.upper", "Colour.title", "Pair.double"),
}


@pytest.fixture
def instrumentor():
    """The instrumentor, which puts all back at the end of the test."""
    one = CodoperfInstrumentor()
    yield one
    one.uninstrument()


def members(owner, prefix=""):
    """Everything that a module or class and the classes in it hold, by its name there."""
    found = {}
    for name, value in vars(owner).items():
        found[prefix + name] = value
        if isinstance(value, type) and value.__qualname__ == prefix + name:
            found.update(members(value, f"{prefix}{name}."))
    return found


def wrapped(module):
    """The names under which a module has a monitored function."""
    functions = {name: getattr(value, "__func__", value) for name, value in members(module).items()}
    return {name for name, value in functions.items() if "/codoperf_otel/" in code_of(value)}


def code_of(function):
    """The file of a function's code."""
    return getattr(getattr(function, "__code__", None), "co_filename", "")


def test_functions_and_methods_are_monitored_as_a_module_loads(write_modules, instrumentor, telemetry):
    """Functions of each kind and public methods have spans, and give what they gave."""
    write_modules(goods=GOODS)
    instrumentor.instrument(monitor=["goods.*"])
    import goods

    assert wrapped(goods) == SELECTED

    async def all_of():
        return [await goods.fetch("ab"), *[n async for n in goods.astream()]]

    basket = goods.Basket.empty()
    assert asyncio.run(all_of()) == [2, 1]
    assert [*goods.stream(), basket.add("abc"), goods.Basket.name(), basket.Handle().hold()] == [
        *(1, 2, 3), "basket", "held",
    ]  # fmt: skip
    assert [goods.Item("tea").upper(), goods.Colour.RED.title(), goods.Pair(2).double()] == ["TEA", "Red", 4]
    names = [span.name for span in telemetry.spans()]
    expected = {*SELECTED, "price"} - {"same_price", "make"}
    assert set(names) == {f"goods.{name}" for name in expected}
    assert telemetry.parent(telemetry.spans("goods.price")[0]) == "goods.fetch"


def test_functions_stay_what_they_are(write_modules, instrumentor):
    """Kinds, signatures, sources and the loader are as before."""
    write_modules(goods=GOODS)
    instrumentor.instrument(monitor="goods.*")
    import goods

    assert goods.price is goods.same_price
    assert inspect.iscoroutinefunction(goods.fetch)
    assert inspect.isgeneratorfunction(goods.stream)
    assert inspect.isasyncgenfunction(goods.astream)
    assert str(inspect.signature(goods.Basket.add)) == "(self, item)"
    assert inspect.getsource(goods.price) == "def price(item): return len(item)\n"
    assert type(goods.__loader__) is importlib.machinery.SourceFileLoader
    assert goods.__spec__.loader is goods.__loader__
    assert dataclasses.replace(goods.Item("a"), label="b").label == "b"


def test_originals_come_back(write_modules, instrumentor):
    """After `uninstrument` every name has its original, and later modules are left alone."""
    write_modules(goods=GOODS, later=GOODS, till="from goods import price as cost, Basket\n")
    import goods

    originals = members(goods)
    instrumentor.instrument(monitor=["goods.*", "till.*", "later.*"])
    import till

    assert till.cost is goods.price is not originals["price"]
    instrumentor.uninstrument()
    assert not instrumentor.is_instrumented_by_opentelemetry
    assert members(goods) == originals
    assert till.cost is originals["price"]
    import later

    assert wrapped(later) == set()


def test_what_was_loaded_before_is_monitored_too(write_modules, instrumentor):
    """So are the names under which other modules have imported it."""
    write_modules(goods=GOODS, till="from goods import price as cost\n")
    import goods
    import till

    instrumentor.instrument(monitor="goods.*")
    assert wrapped(goods) == SELECTED
    assert till.cost is goods.price


def test_a_name_that_others_set_since_is_theirs(write_modules, instrumentor):
    """What was patched over the monitored function stays when the originals come back."""
    write_modules(goods=GOODS)
    instrumentor.instrument(monitor="goods.*")
    import goods

    goods.price = int
    instrumentor.uninstrument()
    assert goods.price is int


def test_a_reloaded_module_is_monitored(write_modules, instrumentor, telemetry):
    """What `importlib.reload` defines anew is monitored, once."""
    folder = write_modules(goods="def price(): return 1\ndef tax(): return 1\n")
    instrumentor.instrument(monitor="goods.*")
    import goods

    (folder / "goods.py").write_text("def price(): return 22\n")
    importlib.reload(goods)
    assert (goods.price(), goods.tax()) == (22, 1)
    assert [span.name for span in telemetry.spans()] == ["goods.price", "goods.tax"]
    instrumentor.uninstrument()
    assert wrapped(goods) == set()


def test_what_is_monitored_is_not_monitored_twice(write_modules, instrumentor, telemetry):
    """Decorated functions keep their one span, whatever decorators are above ours."""
    write_modules(
        goods="""
import codoperf_otel, functools
def other(function):
    @functools.wraps(function)
    def inner(*args): return function(*args)
    return inner
@codoperf_otel.monitor_performance("named")
def price(): return 1
@other
@codoperf_otel.tool("till")
def pay(): return 2
@codoperf_otel.agent("clerk")
def serve(): return 3
@other
def plain(): return 4
@codoperf_otel.monitor_performance
class Basket:
    def add(self): return 5
"""
    )
    instrumentor.instrument(monitor="goods.*")
    import goods

    assert [goods.price(), goods.pay(), goods.serve(), goods.plain(), goods.Basket().add()] == [1, 2, 3, 4, 5]
    assert [span.name for span in telemetry.spans()] == [
        *("named", "execute_tool till", "invoke_agent clerk", "goods.plain", "goods.Basket.add"),
    ]


@pytest.mark.parametrize(
    ("monitor", "exclude", "expected"),
    [
        ("goods.price", "", {"price", "same_price"}),
        ("goods.Basket", "", {"Basket.add", "Basket.empty", "Basket.name", "Basket.Handle.hold"}),
        ("goods.Basket.*", "*.empty,*.Handle", {"Basket.add", "Basket.name"}),
        ("goods._hidden", "", {"_hidden"}),
        ("goods.Basket._count,goods.Basket.__len__", "", {"Basket._count", "Basket.__len__"}),
        ("goods._Secret", "", {"_Secret.tell"}),
        ("goods._*", "", set()),
        ("*.[af]*", "", {"fetch", "astream", "Basket.add"}),
        ("goods.cached,goods.Basket.half,goods.cheap,goods.sqrt,goods.dumps,goods.Shape.*", "", set()),
        ("good.*,goods,Goods.*", "", set()),
        (" goods.price , ,", "", {"price", "same_price"}),
        ("", "", set()),
    ],
)
def test_patterns(write_modules, instrumentor, monitor, exclude, expected):
    """Which names of a module a pattern selects."""
    write_modules(goods=GOODS)
    instrumentor.instrument(monitor=monitor, exclude=exclude)
    import goods

    assert wrapped(goods) == expected


@pytest.mark.parametrize(
    ("pattern", "function", "is_selected"),
    [
        ("*", "shop.price", True),
        ("*", "json.dumps", False),
        ("json.*", "json.dumps", False),
        ("json.dumps", "json.dumps", True),
        ("*", "google.adk", False),
        ("google.*", "google.adk", True),
        ("*", "opentelemetry.trace", False),
        ("opentelemetry.*", "opentelemetry.trace", False),
        ("codoperf_otel.agent", "codoperf_otel.agent", False),
        ("shop.p?ice", "shop.price", True),
        ("shop", "shop.price", False),
    ],
)
def test_what_telemetry_is_made_of_is_left_alone(pattern, function, is_selected):
    """A wildcard reaches neither the standard library nor what telemetry runs on."""
    module, _, name = function.rpartition(".")
    patterns = Patterns([pattern])
    assert patterns.select(module, name) is is_selected
    assert patterns.unused == ([] if is_selected else [pattern])
    assert patterns.may_select(module) or not is_selected


def test_a_library_function_named_in_full_is_monitored(write_modules, instrumentor, telemetry):
    """Also one of the standard library."""
    instrumentor.instrument(monitor="colorsys.rgb_to_hsv")
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    assert [span.name for span in telemetry.spans()] == ["colorsys.rgb_to_hsv"]


def test_an_import_that_fails_fails_as_before(write_modules, instrumentor):
    """The exception is the module's own, no frame is added to it, and the next try begins anew."""
    folder = write_modules(goods="def price(): pass\n1 / 0\n")
    instrumentor.instrument(monitor="goods.*")
    with pytest.raises(ZeroDivisionError) as caught:
        import goods
    files = [Path(entry.path).name for entry in caught.traceback]
    assert files == [Path(__file__).name, "goods.py"]
    assert "goods" not in sys.modules
    (folder / "goods.py").write_text("def price(): return 17\n")
    importlib.invalidate_caches()
    import goods

    assert wrapped(goods) == {"price"}


def test_what_cannot_be_wrapped_breaks_no_import(write_modules, instrumentor, monkeypatch, caplog):
    """The function is left as it is, and one failure is logged once, however often it is met."""
    write_modules(goods=GOODS, more=GOODS)
    instrumentor.instrument(monitor="goods.*,more.*")
    monkeypatch.setenv("CODOPERF_OTEL_MIN_SPAN_DURATION", "never")
    import goods
    import more

    assert goods.price("ab") == more.price("ab") == 2
    assert wrapped(goods) == wrapped(more) == set()
    (record,) = caplog.records
    assert "goods: price cannot be monitored" in record.getMessage()
    assert "CODOPERF_OTEL_MIN_SPAN_DURATION" in str(record.exc_info[1])


def test_classes_that_watch_their_attributes(write_modules, instrumentor):
    """A metaclass is not told of what is not the program's doing."""
    write_modules(
        goods="""
class Watching(type):
    def __setattr__(cls, name, value): raise TypeError("read only")
class Basket(metaclass=Watching):
    def add(self): return 1
"""
    )
    instrumentor.instrument(monitor="goods.*")
    import goods

    assert wrapped(goods) == {"Basket.add"}
    instrumentor.uninstrument()
    assert wrapped(goods) == set()


def test_modules_of_an_archive(write_modules, instrumentor):
    """However many they are; they share one loader, which is forgotten with the rest."""
    folder = write_modules()
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        for number in range(300):
            archive.writestr(f"part{number}.py", "def price(): pass\n")
    sys.path.insert(0, str(folder / "packed.zip"))
    instrumentor.instrument(monitor="part*")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        parts = [importlib.import_module(f"part{number}") for number in range(299)]
    finally:
        sys.setrecursionlimit(limit)
    assert all(wrapped(part) == {"price"} for part in parts)
    instrumentor.uninstrument()
    assert wrapped(importlib.import_module("part299")) == set()


def test_a_module_that_loads_at_its_first_use(write_modules, instrumentor):
    """It is monitored when it loads, and is not made to load before."""

    def lazy(name):
        spec = importlib.util.find_spec(name)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    folder = write_modules(early="print(1 / 0)\n", slow="def wait(): pass\n")
    early = lazy("early")
    instrumentor.instrument(monitor="early.*,slow.*")
    slow = lazy("slow")
    assert slow.wait.__name__ == "wait"
    assert wrapped(slow) == {"wait"}
    instrumentor.uninstrument()
    (folder / "early.py").write_text("word = 'loaded'\n")
    assert early.word == "loaded"


def test_modules_that_are_not_ordinary(write_modules, instrumentor):
    """One of a namespace package, and one that puts another object in its place."""
    write_modules(
        odd="import sys, types\ndef f(): pass\nsys.modules[__name__] = types.SimpleNamespace(f=f)\n",
        space__part="def price(): pass\n",
    )
    instrumentor.instrument(monitor="odd.*,space.*")
    import odd
    import space.part

    assert wrapped(space.part) == {"price"}
    assert odd.f() is None


def test_several_threads_import(write_modules, instrumentor):
    """Modules that load at the same time are each monitored once."""
    names = [f"goods{number}" for number in range(20)]
    write_modules(**dict.fromkeys(names, "def price(): return 1\n"))
    instrumentor.instrument(monitor="goods*")
    threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in names * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    prices = [sys.modules[name].price for name in names]
    assert all(not hasattr(price.__wrapped__, "__wrapped__") for price in prices)


def test_the_variables_are_the_default(write_modules, instrumentor, monkeypatch):
    """Without arguments the patterns are those of the variables; without any, nothing is done."""
    write_modules(goods=GOODS)
    instrumentor.instrument(skip_dep_check=True)
    assert not instrumentor.is_instrumented_by_opentelemetry
    monkeypatch.setenv(MONITOR, "goods.price,goods.Basket")
    monkeypatch.setenv(EXCLUDE, "goods.Basket.*.*")
    instrumentor.instrument(skip_dep_check=True)
    import goods

    assert wrapped(goods) == {"price", "same_price", "Basket.add", "Basket.empty", "Basket.name"}


def test_all_instances_are_one(write_modules, instrumentor):
    """A second instance sees that all is done, does nothing more, and can undo it."""
    write_modules(goods=GOODS)
    instrumentor.instrument(monitor="goods.price")
    other = CodoperfInstrumentor()
    assert other.is_instrumented_by_opentelemetry
    other.instrument(monitor="goods.*")
    import goods

    assert wrapped(goods) == {"price", "same_price"}
    assert any(isinstance(finder, Hook) for finder in sys.meta_path)
    other.uninstrument()
    assert wrapped(goods) == set()
    assert not any(isinstance(finder, Hook) for finder in sys.meta_path)


def test_providers_can_be_given(write_modules, instrumentor, telemetry):
    """Spans go to the given provider, and to the global one again afterwards."""
    codoperf_otel._telemetry.bind()
    write_modules(goods=GOODS)
    instrumentor.instrument(monitor="goods.price", tracer_provider=telemetry.tracer_provider)
    import goods

    price = goods.price
    price("a")
    instrumentor.uninstrument()
    price("a")
    assert [span.name for span in telemetry.spans()] == ["goods.price"]


@pytest.mark.parametrize("given", [3, [3], {"a": 1}, "a b", ["goods.*", "x/y"], "f()"])
def test_a_wrong_pattern_is_one_clear_error(instrumentor, given):
    """It names the setting, the value and what is allowed."""
    with pytest.raises(ValueError, match=r"^monitor is .*: it must be a (text or a list|dotted name)"):
        instrumentor.instrument(monitor=given)
    with pytest.raises(ValueError, match=r"^exclude is .*: it must be a (text or a list|dotted name)"):
        instrumentor.instrument(monitor="goods.*", exclude=given)
    assert not instrumentor.is_instrumented_by_opentelemetry


def test_a_wrong_variable_is_logged(instrumentor, monkeypatch, caplog):
    """Under `opentelemetry-instrument` the other instrumentations go on."""
    monkeypatch.setenv(MONITOR, "goods,x y")
    instrumentor.instrument(skip_dep_check=True)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"nothing is monitored: {MONITOR} is 'x y': it must be")


def test_patterns_of_an_option_or_its_variable(monkeypatch):
    """The option goes before its variable, even where it is empty."""
    monkeypatch.setenv(MONITOR, "a.*, b.*")
    assert option_patterns("--monitor", None, MONITOR) == ("a.*", "b.*")
    assert option_patterns("--monitor", ["c.*,d.*", "e.*"], MONITOR) == ("c.*", "d.*", "e.*")
    assert option_patterns("--monitor", [], MONITOR) == ()


PROGRAM = """
import json, sys
from opentelemetry import trace
import goods
print(goods.price("tea"), *[hasattr(f, "__wrapped__") for f in (goods.price, goods.tax)], sys.argv[1:])
"""

CONFIGURATION = """
file_format: "1.0"
tracer_provider:
  processors:
    - simple:
        exporter:
          console:
instrumentation/development:
  python:
    codoperf_otel:
      monitor: ["goods.*"]
      exclude: ["*.tax"]
"""


@pytest.fixture(scope="module")
def contrib(tmp_path_factory):
    """An environment with the newest `opentelemetry-instrument` and this package."""
    folder = tmp_path_factory.mktemp("contrib")
    uv = [sys.executable, "-m", "uv"]
    python = folder / "env" / "bin" / "python"
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, folder / "env"], check=True)
    subprocess.run(
        [
            *uv, "pip", "install", "-q", "--python", python, Path(__file__).parents[1],
            "opentelemetry-api==1.45.2", "opentelemetry-sdk==1.45.2", "opentelemetry-distro==0.66b2",
            "opentelemetry-instrumentation==0.66b2", "opentelemetry-configuration==0.66b2",
            "opentelemetry-semantic-conventions==0.66b2",
        ],
        check=True,
    )  # fmt: skip
    (folder / "goods.py").write_text("def price(item): return len(item)\ndef tax(): return 1\n")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "configuration.yaml").write_text(CONFIGURATION)
    return folder


def instrumented(folder, **variables):
    """What the program prints under `opentelemetry-instrument`."""
    ours = ("OTEL_", "CODOPERF_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    off = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    done = subprocess.run(
        [folder / "env" / "bin" / "opentelemetry-instrument", "python", "program.py", "x"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**kept, **off, **variables, "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.wheel
def test_under_opentelemetry_instrument(contrib):
    """The entry point is found and called, monitors by the variables, and does nothing without them."""
    assert instrumented(contrib) == ("3 False False ['x']\n", "")
    output, errors = instrumented(contrib, CODOPERF_OTEL_MONITOR="goods.p*", OTEL_TRACES_EXPORTER="console")
    answer, _, span = output.partition("\n")
    assert (answer, errors) == ("3 True False ['x']", "")
    assert json.loads(span)["name"] == "goods.price"


@pytest.mark.wheel
def test_a_wrong_variable_under_opentelemetry_instrument(contrib):
    """One line says what is wrong, and the program runs."""
    output, errors = instrumented(contrib, CODOPERF_OTEL_MONITOR="goods/price")
    assert output == "3 False False ['x']\n"
    assert errors.startswith("nothing is monitored: CODOPERF_OTEL_MONITOR is 'goods/price': it must be")
    assert errors.count("\n") == 1


@pytest.mark.wheel
@pytest.mark.parametrize("variables", [{}, {"CODOPERF_OTEL_MONITOR": "goods.*"}])
def test_from_a_configuration_file(contrib, variables):
    """The file's section of this package says what is monitored; it goes before the variables."""
    output, errors = instrumented(contrib, OTEL_CONFIG_FILE="configuration.yaml", **variables)
    (line,) = errors.splitlines()
    assert line.startswith("OTEL_CONFIG_FILE is set; ignoring configurator kwargs")  # OpenTelemetry's own
    assert "3 True False ['x']\n" in output
    assert output.count('"name": "goods.price"') == 1
