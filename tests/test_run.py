"""`codoperf run`: the program is what it is under plain `python`, and its functions are in the telemetry."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

RUN = [sys.executable, "-m", "codoperf_otel.cli", "run"]

# what each script does must be the same, to the byte, with and without us
SCRIPTS = {
    "arguments and __main__": """
        '''What it does.'''
        from __future__ import annotations
        import sys
        count: int = 1
        def helper(): ...
        def main():
            names = {n: repr(v).split(" object")[0] for n, v in globals().items() if n.startswith("__")}
            print(sys.argv, sys.path[0], __name__, sorted(names.items()))
            print(vars(sys.modules["__main__"]) is globals(), sorted(n for n in globals() if n[0] != "_"))
        main()
        """,
    "exit code": """
        import sys
        def main(): sys.exit(3)
        main()
        """,
    "exit message": """
        import sys
        def main(): sys.exit("no such shop")
        main()
        """,
    "exit without a word": """
        import sys
        print(sorted(globals()))
        sys.exit()
        """,
    "hard exit": """
        import os
        print("gone", flush=True)
        os._exit(7)
        """,
    "traceback": """
        def outer(value):
            return inner(value)
        def inner(value):
            return {"a": 1}[value]
        print("before", flush=True)
        outer("b")
        """,
    "traceback of a chain": """
        class Shop:
            def price(self): return 1 / 0
        def main():
            try:
                Shop().price()
            except ZeroDivisionError as error:
                raise ValueError("no price") from error
        main()
        """,
    "traceback of a failed import": """
        def load():
            import broken
        load()
        """,
    "traceback of an import by name": """
        import importlib
        importlib.import_module("missing.part")
        """,
    "syntax error": """
        def main(:
            pass
        """,
    "own excepthook": """
        import sys, traceback
        def hook(kind, value, trace):
            print("hook", kind.__name__, value, [f.name for f in traceback.extract_tb(trace)])
        sys.excepthook = hook
        def main(): raise LookupError("x")
        main()
        """,
    "what it lets go of": """
        import gc, time, weakref
        class Value: pass
        values = weakref.WeakSet()
        def main():
            value = Value()
            values.add(value)
            end = time.perf_counter() + 0.06
            while time.perf_counter() < end: pass
        gc.disable()
        for _ in range(8): main()
        print(len(values))
        """,
    "standard input": """
        import sys
        def main():
            for line in sys.stdin:
                print(line.strip().upper())
        main()
        """,
    "pickling of what __main__ defines": """
        import dataclasses, pickle
        @dataclasses.dataclass
        class Item:
            name: str
            def label(self): return self.name.title()
        def double(x): return 2 * x
        copy = pickle.loads(pickle.dumps(Item("tea")))
        print(copy, copy.label(), pickle.loads(pickle.dumps(double))(4), pickle.dumps(double))
        """,
    "processes": """
        import multiprocessing, os
        def square(x): return x * x
        def child(queue): queue.put(("child", square(5)))
        def main():
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                with context.Pool(2) as pool:
                    print(method, pool.map(square, range(4)))
                queue = context.Queue()
                process = context.Process(target=child, args=(queue,))
                process.start()
                print(queue.get(), process.join(), process.exitcode)
        if __name__ == "__main__":
            main()
        """,
    "asyncio": """
        import asyncio
        async def produce(n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i
        async def total(n): return sum([i async for i in produce(n)])
        async def main(): print(await asyncio.gather(total(3), total(4)))
        asyncio.run(main())
        """,
    "threads and the end": """
        import atexit, threading, time
        def late():
            time.sleep(0.1)
            print("thread done")
        def farewell(): print("bye")
        atexit.register(farewell)
        threading.Thread(target=late).start()
        print("main done")
        """,
    "what must stay what it is": """
        import enum, functools, inspect, typing
        class Colour(enum.Enum):
            RED = 1
            def describe(self): return self.name.lower()
        class Point(typing.NamedTuple):
            x: int
            y: int = 0
            def norm(self): return abs(self.x) + abs(self.y)
        @typing.runtime_checkable
        class Shape(typing.Protocol):
            def area(self) -> float: ...
        class Square:
            side = 2
            def area(self): return self.side ** 2
            @property
            def half(self): return self.side / 2
            @functools.cached_property
            def big(self): return self.side * 100
            @classmethod
            def make(cls): return cls()
            @staticmethod
            def name(): return "square"
            def __len__(self): return 4
        @functools.lru_cache
        def cached(x): return x
        @functools.singledispatch
        def kind(x): return "object"
        @kind.register
        def _(x: int): return "int"
        async def coroutine(): ...
        def generator(): yield
        square = Square.make()
        print(list(Colour), Colour.RED.describe(), Point(3), Point(3).norm(), Point._fields)
        print(isinstance(square, Shape), square.area(), square.half, square.big, Square.name(), len(square))
        print(cached(1), cached(1), cached.cache_info(), kind(1), kind(""))
        print(inspect.iscoroutinefunction(coroutine), inspect.isgeneratorfunction(generator))
        print(inspect.signature(Square.area), inspect.getsource(generator).strip())
        """,
    "warnings": """
        import warnings
        def old():
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        old()
        """,
    "text that stdout cannot hold": """
        def main(): print("\\u20ac")
        main()
        """,
    "a child interpreter": """
        import subprocess, sys
        def main(): subprocess.run([sys.executable, "-c", "import sys; print(len(sys.argv))"], check=True)
        main()
        """,
    "a program that is not there": """
        import subprocess
        def main(): subprocess.run(["/nothing/there"])
        main()
        """,
    "a deep expression": "def f(): pass\nx = 1\nprint(" + "+".join(["x"] * 2500) + ")\n",
}


def environment(**variables):
    """The variables without any of OpenTelemetry's or ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CODOPERF_"))}
    return {**kept, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "ascii", **variables}


def execute(command, cwd, *, stdin="", **variables):
    """What a command printed, and how it ended."""
    done = subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def write(folder, name, text):
    """A script, its text without the indentation of this file."""
    lines = text.lstrip("\n").rstrip(" ").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line[margin:]}\n" for line in lines[:-1]))
    return path


def spans(folder):
    """The names of the spans in a folder of telemetry, and how often each."""
    counts = {}
    for line in (folder / "traces.jsonl").read_text().splitlines():
        for group in json.loads(line)["resourceSpans"]:
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    counts[span["name"]] = counts.get(span["name"], 0) + 1
    return counts


def durations(folder):
    """How many durations each function has in a folder of telemetry, at its last collection."""
    counts = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for group in json.loads(line)["resourceMetrics"]:
            for scope in group["scopeMetrics"]:
                for metric in scope["metrics"]:
                    if metric["name"] == "codoperf.function.duration":
                        for point in metric["histogram"]["dataPoints"]:
                            counts[point["attributes"][0]["value"]["stringValue"]] = int(point["count"])
    return counts


def service(folder):
    """The service's name in a folder of telemetry."""
    line = (folder / "traces.jsonl").read_text().splitlines()[0]
    attributes = json.loads(line)["resourceSpans"][0]["resource"]["attributes"]
    return next(item["value"]["stringValue"] for item in attributes if item["key"] == "service.name")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_what_it_is_without_us(tmp_path, name):
    """Standard output, standard error and exit status are those of `python SCRIPT`."""
    write(tmp_path, "broken.py", "def fine(): pass\n1 / 0\n")
    write(tmp_path, "shop.py", SCRIPTS[name])
    arguments = ["shop.py", "-m", "--e", "--", "--monitor", "--help", "", "x y"]
    plain = execute([sys.executable, *arguments], tmp_path, stdin="a\nb\n")
    assert execute([*RUN, "--file", "out", *arguments], tmp_path, stdin="a\nb\n") == plain


def test_a_monitored_module_that_fails_adds_no_frame(tmp_path):
    """Its traceback is the one without us, however it was imported."""
    write(tmp_path, "broken.py", "def fine(): pass\n1 / 0\n")
    write(tmp_path, "shop.py", "import importlib\nimportlib.import_module('broken')\n")
    plain = execute([sys.executable, "shop.py"], tmp_path)
    monitored = execute([*RUN, "--file", "out", "--monitor", "broken.*", "shop.py"], tmp_path)
    assert "ZeroDivisionError" in plain[2]
    assert monitored[2].startswith(plain[2])


@pytest.mark.parametrize(
    "name", ["arguments and __main__", "traceback", "processes", "exit code", "syntax error"]
)
def test_a_module_is_what_it_is_without_us(tmp_path, name):
    """The same holds for `python -m MODULE`, a module of a package."""
    write(tmp_path, "pkg/__init__.py", "\n")
    write(tmp_path, "pkg/shop.py", SCRIPTS[name])
    arguments = ["-m", "pkg.shop", "-m", "--file", "--"]
    plain = execute([sys.executable, *arguments], tmp_path)
    assert execute([*RUN, "--file", "out", *arguments], tmp_path) == plain


def package(folder):
    write(folder, "pkg/__init__.py", "import sys\nprint(sys.argv, sys.path[0])\n")
    write(folder, "pkg/__main__.py", SCRIPTS["arguments and __main__"])
    return ["-m", "pkg"]


def broken_package(folder):
    write(folder, "pkg/__init__.py", "def fine(): pass\n1 / 0\n")
    return ["-m", "pkg.part"]


def folder_with_main(folder):
    write(folder, "app/__main__.py", SCRIPTS["arguments and __main__"])
    return ["app"]


def archive(folder):
    write(folder, "__main__.py", SCRIPTS["traceback"])
    write(folder, "inside.py", "def f(): pass\n")
    with zipfile.ZipFile(folder / "app.pyz", "w") as file:
        file.write(folder / "__main__.py", "__main__.py")
    return ["app.pyz"]


def linked_script(folder):
    write(folder, "bin/shop.py", SCRIPTS["arguments and __main__"])
    (folder / "link.py").symlink_to("bin/shop.py")
    return ["link.py"]


def missing_main(folder):
    (folder / "app").mkdir()
    return ["app"]


@pytest.mark.parametrize(
    "arrange",
    [
        package, broken_package, folder_with_main, archive, linked_script, missing_main,
        lambda _: ["missing.py"], lambda _: ["-m", "missing"], lambda _: ["-m", "missing.part"],
        lambda _: ["-m", "os.path.nothing"], lambda _: ["-m", "xml"],
    ],
)  # fmt: skip
def test_whatever_python_runs(tmp_path, arrange):
    """Packages, folders, archives and links run, and what cannot run is refused with python's words."""
    arguments = [*arrange(tmp_path), "x"]
    plain = execute([sys.executable, *arguments], tmp_path)
    assert execute([*RUN, "--file", "out", *arguments], tmp_path) == plain


WAITING = """
import signal, sys, time
def handler(number, frame):
    print("handled", number, flush=True)
    sys.exit(5)
if sys.argv[1:] == ["handle"]:
    signal.signal(signal.SIGTERM, handler)
def wait():
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        print("cleaned up", flush=True)
wait()
"""


def wait_until_asleep(pid):
    """Wait until a process sleeps, and has done so for a while: on its way there it may wait for others."""
    before = None
    while (now := Path(f"/proc/{pid}/status").read_text()) != before or "State:\tS" not in now:
        before = now
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [[], ["handle"]])
def test_signals_end_it_as_they_do_without_us(tmp_path, number, arguments):
    """A signal kills, interrupts or is handled, with the same status, output and traceback."""
    (tmp_path / "wait.py").write_text(WAITING)

    def interrupted(command):
        with subprocess.Popen(
            [*command, "wait.py", *arguments], cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout.readline() == "ready\n"
            wait_until_asleep(process.pid)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
            return process.returncode, output, errors

    assert interrupted([*RUN, "--file", "out"]) == interrupted([sys.executable])


def test_a_reader_that_goes_away(tmp_path):
    """A closed pipe raises in the program, or at its end, as it does without us."""
    (tmp_path / "talk.py").write_text("def talk():\n    for n in range(100000):\n        print(n)\ntalk()\n")

    def piped(command):
        with subprocess.Popen(
            [*command, "talk.py"], cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            return process.wait(timeout=60), errors

    plain = piped([sys.executable])
    assert plain[0] in (1, 120)
    assert piped([*RUN, "--file", "out"]) == plain


def test_the_program_s_own_functions_are_monitored(tmp_path):
    """Without a pattern these are the functions of the script, and what it imports is not."""
    write(tmp_path, "goods.py", "def price(): return 1\n")
    write(
        tmp_path,
        "shop.py",
        """
        import goods
        def add(): return goods.price()
        class Basket:
            def total(self): return add()
        if __name__ == "__main__":
            Basket().total()
            add()
        """,
    )
    assert execute([*RUN, "--file", "out", "shop.py"], tmp_path) == (0, "", "")
    assert spans(tmp_path / "out") == {"__main__.add": 2, "__main__.Basket.total": 1}
    assert service(tmp_path / "out") == "shop"


def test_a_module_brings_its_package(tmp_path):
    """With `-m` the functions of the package around the module are monitored too."""
    write(tmp_path, "pkg/__init__.py", "def ready(): pass\n")
    write(tmp_path, "pkg/goods.py", "def price(): return 1\n")
    write(
        tmp_path, "pkg/shop.py", "from pkg import goods, ready\ndef main(): ready(), goods.price()\nmain()\n"
    )
    assert execute([*RUN, "--file", "out", "-m", "pkg.shop"], tmp_path) == (0, "", "")
    assert spans(tmp_path / "out") == {"__main__.main": 1, "pkg.goods.price": 1, "pkg.ready": 1}
    assert service(tmp_path / "out") == "shop"


@pytest.mark.parametrize("pattern", ["__main__.add", "shop.add", "shop.a*"])
def test_the_script_has_two_names(tmp_path, pattern):
    """Functions of `shop.py` are found as `__main__` and as `shop`."""
    write(tmp_path, "shop.py", "def add(): pass\ndef sub(): pass\nadd(), sub()\n")
    assert execute([*RUN, "--file", "out", "--monitor", pattern, "shop.py"], tmp_path) == (0, "", "")
    assert spans(tmp_path / "out") == {"__main__.add": 1}


def test_options_and_variables(tmp_path):
    """Options go before variables; each may hold several patterns."""
    write(tmp_path, "goods.py", "def a(): pass\ndef b(): pass\ndef c(): pass\n")
    write(tmp_path, "shop.py", "import goods\ngoods.a(), goods.b(), goods.c()\n")
    options = ["--service-name", "till", "--monitor", "goods.a,goods.b", "--monitor", "goods.c"]
    execute([*RUN, "--file", "1", *options, "--exclude", "*.b", "shop.py"], tmp_path)
    assert (spans(tmp_path / "1"), service(tmp_path / "1")) == ({"goods.a": 1, "goods.c": 1}, "till")
    variables = {"CODOPERF_OTEL_MONITOR": "goods.*", "CODOPERF_OTEL_EXCLUDE": "goods.a"}
    execute([*RUN, "--file", "2", "shop.py"], tmp_path, **variables)
    assert spans(tmp_path / "2") == {"goods.b": 1, "goods.c": 1}
    execute([*RUN, "--file", "3", "--monitor", "goods.b", "shop.py"], tmp_path, **variables)
    assert spans(tmp_path / "3") == {"goods.b": 1}


def test_everything_is_the_program_not_what_telemetry_runs_on(tmp_path):
    """With `*` the functions of the standard library and of OpenTelemetry are left alone."""
    write(tmp_path, "goods.py", "import json, decimal, tempfile\ndef price(): return json.dumps([1])\n")
    write(tmp_path, "shop.py", "import goods\ndef add(): return goods.price()\nadd()\n")
    assert execute([*RUN, "--file", "out", "--monitor", "*", "shop.py"], tmp_path) == (0, "", "")
    assert spans(tmp_path / "out") == {"__main__.add": 1, "goods.price": 1}


RATES = [
    ([], {}, "100"),
    (["--max-spans-per-second", "2"], {}, "2"),
    ([], {"CODOPERF_OTEL_MAX_SPANS_PER_SECOND": "3"}, "3"),
]


@pytest.mark.parametrize(("options", "variables", "rate"), RATES)
def test_a_function_has_a_limited_number_of_spans_per_second(tmp_path, options, variables, rate):
    """Metrics count every call, and one line at the end says how many have no span, and what that cost."""
    write(tmp_path, "shop.py", "def add(): pass\nfor _ in range(100_000): add()\n")
    status, output, errors = execute([*RUN, "--file", "out", *options, "shop.py"], tmp_path, **variables)
    made = spans(tmp_path / "out")["__main__.add"]
    assert (status, output) == (0, "")
    assert errors.startswith(
        f"codoperf: 100,000 calls, {made:,} spans, {100_000 - made:,} calls without a span"
        " (metrics count every call)"
    )
    assert errors.count("\n") == 1
    if sys.platform == "linux":
        assert int(re.search(r"telemetry took (\d+)% of the CPU time", errors)[1]) > 50
    assert made % int(rate) == 0
    assert durations(tmp_path / "out") == {"__main__.add": 100_000}


def test_a_program_whose_short_calls_have_no_span_is_one_tree(tmp_path):
    """What has a span has its parents, however short those are; the rest has none."""
    write(
        tmp_path,
        "shop.py",
        """
        import time
        def total(): load(0); load(0.5); list(lines())
        def load(seconds): parse(seconds)
        def parse(seconds): time.sleep(seconds)
        def lines(): yield parse(0)
        total()
        """,
    )
    status, _, _ = execute(
        [*RUN, "--file", "out", "shop.py"], tmp_path, CODOPERF_OTEL_MIN_SPAN_DURATION="0.5"
    )
    assert status == 0
    assert spans(tmp_path / "out") == {"__main__.total": 1, "__main__.load": 1, "__main__.parse": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells the CPU time of each thread")
def test_the_share_of_a_program_that_works_itself_is_small(tmp_path):
    """What the program's own code takes is not counted as telemetry's, also in the standard library."""
    work = "json.loads(json.dumps(list(range(9_000))))"
    main = f"from time import process_time\nwhile process_time() < 2.5: {work}\n"
    write(tmp_path, "shop.py", f"import json\ndef add(): pass\nfor _ in range(200): add()\n{main}")
    _, _, errors = execute([*RUN, "--file", "out", "--max-spans-per-second", "1", "shop.py"], tmp_path)
    assert 1 <= int(re.search(r"telemetry took (\d+)%", errors)[1]) < 50


def test_compiled_modules_are_named(tmp_path):
    """A module without functions of Python's is named once, at the end."""
    write(tmp_path, "shop.py", "import psutil\nimport psutil._psutil_linux\n")
    patterns = ["--monitor", "psutil._psutil_linux.*", "--monitor", "psutil.cpu_count"]
    status, output, errors = execute([*RUN, "--file", "out", *patterns, "shop.py"], tmp_path)
    assert (status, output) == (0, "")
    assert (
        "codoperf: functions of compiled modules cannot be monitored: psutil._psutil_linux"
        in errors.splitlines()
    )


def test_a_pattern_without_a_match_is_named(tmp_path):
    """One line at the end for each, in the process that was asked, and none for those that matched."""
    write(
        tmp_path,
        "shop.py",
        """
        import os, sys
        def add(): print("added", flush=True)
        add()
        if os.fork() == 0:
            sys.exit()
        os.wait()
        """,
    )
    patterns = ["--monitor", "shop.ad", "--monitor", "shop.add", "--monitor", "pkg"]
    status, output, errors = execute([*RUN, "--file", "out", *patterns, "shop.py"], tmp_path)
    assert (status, output) == (0, "added\n")
    assert [
        line for line in errors.splitlines() if "DeprecationWarning" not in line and "fork()" not in line
    ] == [
        f"codoperf: the pattern '{pattern}' has matched no function: nothing is monitored by it"
        for pattern in ("shop.ad", "pkg")
    ]


@pytest.mark.parametrize(
    ("options", "variables", "named"),
    [
        ([], {}, "a script, or -m and a module"),
        (["--monitor", "shop/x.py", "shop.py"], {}, "--monitor is 'shop/x.py': it must be"),
        (["--exclude", "a b", "shop.py"], {}, "--exclude is 'a b': it must be"),
        (["--max-spans-per-second", "0", "shop.py"], {}, "--max-spans-per-second is '0': it must be"),
        (["shop.py"], {"CODOPERF_OTEL_MONITOR": "a:b"}, "CODOPERF_OTEL_MONITOR is 'a:b': it must be"),
        (["shop.py"], {"CODOPERF_OTEL_EXCLUDE": "()"}, "CODOPERF_OTEL_EXCLUDE is '()': it must be"),
        (["shop.py"], {"CODOPERF_OTEL_ENABLED": "maybe"}, "CODOPERF_OTEL_ENABLED is 'maybe': it must be"),
        (["shop.py"], {"CODOPERF_OTEL_CLEAR_REFS": "x"}, "CODOPERF_OTEL_CLEAR_REFS is 'x': it must be"),
        (
            ["shop.py"],
            {"CODOPERF_OTEL_MIN_SPAN_DURATION": "abc"},
            "CODOPERF_OTEL_MIN_SPAN_DURATION is 'abc': it must be a number above 0",
        ),
        (["--endpoint", "nowhere", "shop.py"], {}, "endpoint is 'nowhere'"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, options, variables, named):
    """Setting, value and what is allowed are said, the status is 2 and the program does not run."""
    write(tmp_path, "shop.py", "print('ran')\n")
    status, output, errors = execute([*RUN, "--file", "out", *options], tmp_path, **variables)
    assert (status, output) == (2, "")
    assert errors.startswith("codoperf: ")
    assert named in errors
    assert errors.count("\n") == 1


def test_switched_off(tmp_path):
    """With `CODOPERF_OTEL_ENABLED=false` the program runs and nothing is wrapped."""
    write(tmp_path, "shop.py", "def add(): pass\nadd()\nprint(hasattr(add, '__wrapped__'))\n")
    done = execute([*RUN, "--file", "out", "shop.py"], tmp_path, CODOPERF_OTEL_ENABLED="false")
    assert done == (0, "False\n", "")


def test_modules_beside_the_program_do_not_reach_telemetry(tmp_path):
    """A module beside the script that is named like one of telemetry's leaves telemetry as it is."""
    write(tmp_path, "grpc.py", "raise SystemError('mine')\n")
    write(tmp_path, "queue.py", "raise SystemError('mine')\n")
    write(tmp_path, "shop.py", "def add(): print('added')\nadd()\n")
    command = [str(Path(sys.executable).with_name("codoperf")), "run"]
    assert execute([*command, "--file", "out", "shop.py"], tmp_path) == (0, "added\n", "")
    assert spans(tmp_path / "out") == {"__main__.add": 1}


def test_forked_children_are_monitored(tmp_path):
    """What a forked child runs is in the telemetry too."""
    write(
        tmp_path,
        "shop.py",
        """
        import multiprocessing
        def add(): pass
        if __name__ == "__main__":
            process = multiprocessing.get_context("fork").Process(target=add)
            process.start()
            process.join()
            add()
        """,
    )
    assert execute([*RUN, "--file", "out", "shop.py"], tmp_path) == (0, "", "")
    assert spans(tmp_path / "out") == {"__main__.add": 2}


def on_a_terminal(*arguments, cwd):
    """What a command's stderr shows on a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHON_COLORS": "0"}
    with subprocess.Popen(
        [*RUN, *arguments], stdout=subprocess.DEVNULL, stderr=theirs, cwd=cwd, env=environment
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    return shown.decode().splitlines()


TIME = r"(\d\S* m?s)"
START = re.compile(
    rf"codoperf: {TIME} until the first line \({TIME} of it Python and codoperf\);"
    rf" imports {TIME}, most of it shop {TIME}, tea {TIME}, (\w+) .*s"
)


def milliseconds(shown):
    """A duration as it is shown, as a number."""
    number, unit = shown.split()
    return float(number) * {"s": 1000, "ms": 1}[unit]


def test_start_up_is_told_on_a_terminal(tmp_path):
    """The last line says what the start cost, and of which imports; a forked child says nothing."""
    slow = "import time\ntime.sleep({})\n"
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(slow.format(0.8))
    (tmp_path / "shop" / "__main__.py").write_text("import os, tea, empty\nif os.fork():\n    os.wait()\n")
    (tmp_path / "tea.py").write_text(slow.format(0.4))  # longer than any other import
    (tmp_path / "empty.py").write_text("")
    (line,) = on_a_terminal("--file", "telemetry", "-m", "shop", cwd=tmp_path)
    first_line, own, imports, shop, tea = map(milliseconds, START.fullmatch(line).groups()[:5])
    assert first_line >= own + 780  # of which the kernel's clock of process starts knows hundredths
    assert shop >= 800
    assert tea >= 400
    assert imports >= shop + tea - 20  # each is rounded


def test_start_up_of_a_program_that_cannot_begin_is_not_told(tmp_path):
    """Where there was no first line there is nothing to say."""
    (line,) = on_a_terminal("--file", "telemetry", "-m", "no_such_module", cwd=tmp_path)
    assert "No module named no_such_module" in line


def test_finder_that_fails_is_shown_as_it_is(tmp_path):
    """On a terminal, too, no frame of this package is in the traceback of an import hook's own error."""
    finder = "class Finder:\n    def find_spec(self, *_):\n        1 / 0\n"
    begin = f"import sys\n{finder}sys.meta_path.insert(0, Finder())\n"
    (tmp_path / "failing.py").write_text(f"{begin}import colorsys\n")
    lines = on_a_terminal("--file", "telemetry", "failing.py", cwd=tmp_path)
    assert lines[-3] == "ZeroDivisionError: division by zero"
    assert "codoperf_otel" not in "".join(lines)
    assert sum("in _find_and_load\n" in f"{line}\n" for line in lines) == 1
