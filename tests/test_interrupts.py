"""Signal handlers and finalizers in the middle of our code: nothing is left, hangs or is swallowed.

Signal handlers run between any two calls of Python code. So the programs interrupt every such place of this
package once; real signals and finalizers come at random moments for good measure.
"""

from __future__ import annotations

import enum
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codoperf_otel._telemetry.interrupts import raise_interrupt

PROGRAMS = Path(__file__).parent / "programs"
ROUNDS = 2000
ACTIONS = 11
SECONDS = 40
TIME_OUTS = 500
TERMINATIONS = 60

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")

setups = pytest.mark.parametrize("setup", ["no provider", "simple processor", "lean spans", "configure"])


def run(program, *args, amount=0, folder=""):
    """What a program prints; one that hangs says where and ends."""
    arguments = [sys.executable, PROGRAMS / f"{program}.py", *args, amount, folder]
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=330 + amount)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_nothing_is_left(result):
    """Nothing is current, nothing counts as running, and metrics, statistics and CPU time can be read."""
    assert result["current"] == {}
    assert result["active"] == {}
    assert result["counted"] != "hangs"
    assert result["misread"] < 0.002


@setups
def test_an_interrupt_at_each_place_leaves_nothing(setup, tmp_path):
    """A handler that raises, once at each place where handlers run, costs at most that call's telemetry."""
    result = run("interrupted", setup, "raise at each place", folder=tmp_path)
    assert_nothing_is_left(result)
    assert result["interrupts"] > 50
    assert abs(result["ran"] - result["counted"]) <= result["interrupts"]


@setups
def test_interrupts_at_random_moments_leave_nothing(setup, scale, tmp_path):
    """A handler that raises at random moments costs at most that call's telemetry."""
    result = run("interrupted", setup, "raise at random moments", amount=scale(ROUNDS), folder=tmp_path)
    assert_nothing_is_left(result)
    assert result["interrupts"] > scale(ROUNDS) / 2
    assert abs(result["ran"] - result["counted"]) <= result["interrupts"]


@setups
def test_monitored_code_at_each_place(setup, scale, tmp_path):
    """Calls, statistics, exports and collections in the midst of a call do not hang, and all are counted."""
    result = run("interrupted", setup, "act at each place", amount=max(4, scale(ACTIONS)), folder=tmp_path)
    assert_nothing_is_left(result)
    assert result["counted"] == result["ran"]


@pytest.mark.parametrize(
    "how",
    [
        "at random moments",
        pytest.param(
            "in finalizers",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 12), reason="CPython 3.11 crashes where a finalizer sets a ContextVar"
            ),
        ),
    ],
)
@pytest.mark.parametrize("setup", ["batch processor", "configure"])
def test_monitored_code_in_handlers_and_finalizers(setup, how, scale, tmp_path):
    """The same by real signals, and in finalizers under the collector's default thresholds."""
    result = run("interrupted", setup, f"act {how}", amount=scale(SECONDS), folder=tmp_path)
    assert_nothing_is_left(result)
    assert result["counted"] == result["ran"]


@pytest.mark.parametrize("how", ["at each place", "at random moments", "in finalizers"])
def test_statistics_are_cleared_in_the_midst_of_a_call(how, scale, tmp_path):
    """Clearing the statistics while a call is counted does not hang, and what comes later is counted."""
    result = run("interrupted", "configure", f"clear {how}", amount=scale(SECONDS), folder=tmp_path)
    assert_nothing_is_left(result)
    assert result["counted"] <= result["ran"]


def test_an_interrupt_at_each_place_leaves_nothing_open():
    """Windows, tracing and samples end with the call; what a thread has run for one is given to it."""
    result = run("cut_off")
    assert result["interrupts"] > 500
    assert (result["left"], result["lost"]) == ({}, [])


@pytest.mark.parametrize("processor", ["simple", "batch"])
def test_no_place_swallows_a_time_out(processor):
    """A `TimeoutError` that a handler raises reaches the program, unless OpenTelemetry's code swallows it."""
    result = run("timed_out", processor, "places")
    for kind in ("monitored", "tool", "scope"):
        assert result[kind]["of"] > 50
        assert set(result[kind]["lost"]) <= set(result["plain"]["lost"]), kind


@pytest.mark.parametrize("processor", ["simple", "batch"])
def test_time_outs_at_random_moments_are_not_swallowed(processor, scale):
    """No more are lost than by OpenTelemetry's own spans on the same processor in the same run."""
    result = run("timed_out", processor, "random", amount=max(100, scale(TIME_OUTS)))
    allowed = len(result["plain"]["lost"]) + 5  # a few of them by chance
    assert {kind: len(result[kind]["lost"]) for kind in result if len(result[kind]["lost"]) > allowed} == {}


def foreign(work):
    """Another library, which makes an error of its own of those of the operating system."""
    try:
        work()
    except OSError as error:
        raise LookupError("no answer") from error


def caught(work):
    """Code of ours that catches what foreign code raises."""
    try:
        foreign(work)
    except Exception as error:
        raise_interrupt(error)
        return "ours to deal with"


def fails():
    """Nothing that a signal handler does."""
    raise ConnectionError


@pytest.fixture
def handled():
    """A handler that stays, and a function that lets it raise."""

    def handler(*_):
        raise TimeoutError("time is up")

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda: signal.raise_signal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, before)


def test_a_time_out_that_another_library_made_an_error_of(handled):
    """The program gets what its handler has raised, as it was."""
    with pytest.raises(TimeoutError, match="time is up") as raised:
        caught(handled)
    assert raised.value.__context__ is None


def test_a_failure_inside_an_enum_is_no_time_out():
    """What calls any enum is no handler, though `SIG_DFL` is a member of one."""
    assert caught(lambda: Colour("none")) == "ours to deal with"


class Colour(enum.Enum):
    """An enum of the program's."""

    RED = "red"


def test_a_time_out_that_the_program_is_dealing_with(handled):
    """It is not raised a second time where something else fails meanwhile."""
    try:
        handled()
    except TimeoutError:
        assert caught(fails) == "ours to deal with"
        with pytest.raises(TimeoutError) as raised:
            caught(handled)
        assert raised.value is not sys.exception()


@pytest.mark.once
@pytest.mark.parametrize("where", ["disk", "redis"])
def test_no_place_of_a_cache_swallows_a_time_out(where, request, tmp_path):
    """It reaches the program, and leaves no computation, claim or lock taken; no scope is lost for good."""
    folder = tmp_path if where == "disk" else request.getfixturevalue("valkey").url
    result = run("cache_timed_out", folder, amount=300)
    assert result["of"] > 500
    of_redis_py = [each for each in result["lost"] if "time_limit" in each[1]]  # it may look at sockets
    assert (result["lost"], result["left"]) == (of_redis_py, [])


def test_a_handler_of_sigterm_may_shut_down(scale, tmp_path):
    """A SIGTERM handler that calls `shutdown()` ends the program, whatever it was doing."""
    chance = random.Random(7)
    for number in range(scale(TERMINATIONS)):
        seconds, folder = chance.random() * 0.2, tmp_path / str(number)
        program = [sys.executable, str(PROGRAMS / "terminated.py"), str(seconds), str(folder)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (7, "")
        assert (folder / "metrics.jsonl").read_text()


FIRST_CALLS = """
import sys
import codoperf_otel as co

if sys.argv[2] == "configure":
    co.configure(file=sys.argv[1])

@co.monitor_performance(memory=True, capture=("value",))
def function(value):
    return value

@co.monitor_performance
def generator():
    yield

@co.track_resource_usage("tracked")
def tracked():
    pass

@co.agent
async def agent():
    with block:
        tracked(), list(generator())

@co.cached_function(cache_manager=co.CacheManager(sys.argv[1]))
def cached(value):
    return function(value)

block = co.performance_context("block")
before = set(sys.modules)
for number in range(300):
    cached(number), cached(number)
    try:
        agent().send(None)
    except StopIteration:
        pass
co.get_performance_stats(), cached.cache_info()
needed = ("codoperf_otel", "array", "hashlib", "json", "sqlite3")
print(*(name for name in set(sys.modules) - before if name.startswith(needed)))
"""


@pytest.mark.parametrize("setup", ["", "configure"])
def test_calls_import_nothing(setup, tmp_path):
    """In the midst of an import a signal handler that does the same would find a module half loaded."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALLS, tmp_path, setup], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("\n", "")


FIRST_BLOCK = """
import sys
import codoperf_otel as co
from codoperf_otel.testing import capture_telemetry

captured = capture_telemetry()
if sys.argv[1] == "instrument":
    co.instrument()
else:
    captured.__enter__()
before = set(sys.modules)
with co.performance_context("block"):
    pass
print(*(name for name in set(sys.modules) - before if name.startswith("codoperf_otel")))
"""


@pytest.mark.parametrize("setup", ["instrument", "capture_telemetry"])
def test_a_set_up_loads_what_operations_need(setup):
    """The first one in a program does not, as the span around it would then have the CPU time of that."""
    program = [sys.executable, "-c", FIRST_BLOCK, setup]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")


IN_THE_MIDST = """
import sys
import codoperf_otel as co

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "codoperf_otel._readings.sampled_mark":
            with co.track_resource_usage("inside"):
                pass

sys.meta_path.insert(0, Interrupts())
with co.track_resource_usage("outside"):
    pass
print(*(co.get_performance_stats(name)["total_calls"] for name in ("inside", "outside")))
"""


def test_a_block_in_the_midst_of_the_first_blocks_import():
    """The first operation loads the readings; one that comes meanwhile, on the same thread, has none."""
    done = subprocess.run([sys.executable, "-c", IN_THE_MIDST], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1 1\n", "")
