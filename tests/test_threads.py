"""What runs in a thread belongs to the operation and agent that handed it over; all else is as without us."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import pytest

from codoperf_otel import agent, current_agent, instrument, performance_context, propagate_context
from codoperf_otel import monitor_performance as monitored
from codoperf_otel._workers import threads
from codoperf_otel.sdk import ResourceSpanProcessor, new_event_loop

pytestmark = pytest.mark.usefixtures("no_collection")

ORIGINALS = ThreadPoolExecutor.submit, threading.Thread.start
burnt: Counter[str] = Counter()
account = threading.Lock()


@pytest.fixture
def lending(telemetry):
    """Threads belong to who started them."""
    burnt.clear()
    threads.start()
    yield telemetry
    threads.stop()
    assert (ThreadPoolExecutor.submit, threading.Thread.start) == ORIGINALS


@pytest.fixture
def other(lending):
    """A tracer of another library, whose spans the processor measures."""
    lending.tracer_provider.add_span_processor(ResourceSpanProcessor())
    return lending.tracer_provider.get_tracer("another.library")


def await_all(coroutine):
    """Run it in a loop whose tasks are followed."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)


def burn(name, seconds):
    """Use CPU time, and keep account of it."""
    began = now = time.thread_time()
    while now - began < seconds:
        now = time.thread_time()
    with account:
        burnt[name] += now - began
    return current_agent()


def cpu(span):
    """The CPU time of a span's own code."""
    return span.attributes["codoperf.cpu.self_time"]


def counted(telemetry):
    """The CPU time that the metrics have of all operations."""
    return sum(telemetry.values("codoperf.operation.cpu.time").values())


def in_pool(*work):
    """Let a pool of two threads do it."""
    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(*work), pool.submit(*work)]]


def in_threads(*work):
    """Let two threads do it, one after the other."""
    found = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(work[0](*work[1:])))
        thread.start()
        thread.join()
    return found


def by_asyncio(*work):
    """Let asyncio's own pool do it."""

    async def main():
        return [
            await asyncio.to_thread(*work),
            await asyncio.get_running_loop().run_in_executor(None, *work),
        ]

    return asyncio.run(main())


def by_anyio(*work):
    """Let anyio's threads do it."""
    anyio = pytest.importorskip("anyio.to_thread") and sys.modules["anyio"]

    async def main():
        return [await anyio.to_thread.run_sync(*work), await anyio.to_thread.run_sync(*work)]

    return anyio.run(main)


WAYS = [in_pool, in_threads, by_asyncio, by_anyio]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_thread_burns_is_the_operations(lending, way):
    """Undecorated work has the agent of who handed it over, which has its CPU time; both sums are right."""
    before = time.process_time()
    with agent("planner"):
        with performance_context("fan out"):
            assert way(burn, "fan out", 0.02) == ["planner"] * 2
        burn("planner", 0.01)
    spent = time.process_time() - before
    operation, planner = lending.span("fan out"), lending.span("invoke_agent planner")
    assert cpu(operation) >= burnt["fan out"]
    assert cpu(planner) >= burnt["planner"]
    assert cpu(operation) + cpu(planner) <= spent


@pytest.mark.parametrize("way", WAYS)
def test_what_a_thread_burns_is_the_spans_in_force(lending, other, way):
    """Inside a span of another library it is that span's, and not the operation's around it."""
    before = time.process_time()
    with agent("planner"), other.start_as_current_span("execute_tool search"):
        assert way(burn, "search", 0.02) == ["planner"] * 2
    spent = time.process_time() - before
    tool, planner = lending.span("execute_tool search"), lending.span("invoke_agent planner")
    assert cpu(tool) >= burnt["search"]
    assert cpu(tool) + cpu(planner) <= spent


@pytest.mark.parametrize("way", [asyncio.to_thread, partial(pytest.importorskip, "anyio.to_thread")])
def test_each_of_many_spans_has_what_it_handed_over(lending, other, way):
    """Tools of several agents at once, each of which runs in a thread: each span has its own."""
    run_sync = way if way is asyncio.to_thread else way().run_sync

    async def tool(name, seconds):
        with other.start_as_current_span(name):
            for _ in range(3):
                await run_sync(burn, name, seconds)

    async def main():
        with performance_context("operation"):
            await asyncio.gather(*[tool(name, 0.004 * number) for number, name in enumerate(names, 1)])

    names = [f"tool {number}" for number in range(6)]
    before = time.process_time()
    await_all(main())
    spent = time.process_time() - before
    for name in names:
        assert cpu(lending.span(name)) >= burnt[name], name
    assert sum(map(cpu, lending.spans())) <= spent


@pytest.mark.parametrize("way", WAYS)
def test_a_decorated_function_in_a_thread_has_its_own(lending, way):
    """It is a child of the operation, which does not have its CPU time a second time."""

    @monitored("inner")
    def inner():
        burn("inner", 0.01)

    def work():
        burn("outer", 0.01)
        inner()

    before = time.process_time()
    with performance_context("outer"):
        way(work)
    spent = time.process_time() - before
    spans = lending.spans("inner")
    assert [lending.parent(span) for span in spans] == ["outer", "outer"]
    assert sum(map(cpu, spans)) >= burnt["inner"]
    assert sum(map(cpu, lending.spans())) <= spent
    outer = lending.span("outer").attributes
    assert outer["codoperf.cpu.time"] >= burnt["outer"] + burnt["inner"]
    assert outer["codoperf.cpu.self_time"] <= outer["codoperf.cpu.time"] - burnt["inner"]


@pytest.mark.parametrize("is_traced", [False, True])
def test_a_block_that_works_for_nobody_is_not_charged_with_the_next_work(lending, other, is_traced):
    """A web framework runs both ends of a block in threads, between other work, within a span or none."""
    anyio = pytest.importorskip("anyio.to_thread") and sys.modules["anyio"]
    pytest.importorskip("greenlet")  # which must not take it for a switch that was missed
    block, before = performance_context("block"), counted(lending)

    def enter():
        block.__enter__()
        burn("block", 0.01)

    async def main():
        with other.start_as_current_span("request") if is_traced else nullcontext():
            for work in (enter, partial(burn, "others", 0.1), partial(block.__exit__, None, None, None)):
                await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))

    anyio.run(main)
    assert "codoperf.cpu.time" not in lending.span("block").attributes
    assert burnt["block"] <= counted(lending) - before < burnt["others"]


def test_each_operation_has_what_it_handed_to_a_shared_pool(lending):
    """One worker serves three operations at once, and was started by the first: each has its own."""
    before = time.process_time()
    with ThreadPoolExecutor(1) as pool:

        @monitored("request")
        def request(name):
            return pool.submit(burn, name, 0.02).result()

        callers = [threading.Thread(target=request, args=(name,)) for name in "abc"]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
    spent = time.process_time() - before
    for span in lending.spans("request"):
        assert cpu(span) >= min(burnt[name] for name in "abc")
    assert sum(map(cpu, lending.spans("request"))) <= spent


def test_propagate_context_beside_it_counts_nothing_twice(lending):
    """What is lent twice, for the same operation, is counted once; so is what its own thread runs."""
    with ThreadPoolExecutor(1) as pool:
        before = time.process_time()
        with performance_context("once"):
            for _ in range(2):
                pool.submit(propagate_context(burn), "once", 0.01).result()
            propagate_context(burn)("once", 0.01)
        spent = time.process_time() - before
    assert burnt["once"] <= lending.span("once").attributes["codoperf.cpu.time"] <= spent
    assert burnt["once"] <= cpu(lending.span("once")) <= spent


SHORT = frozenset({("codoperf.operation.name", "short")})


def test_what_runs_after_the_operation_is_in_metrics_only(lending):
    """A thread that goes on, and work that is handed over later, add nothing to the span."""
    ended = threading.Event()

    def late():
        ended.wait(60)
        burn("late", 0.02)

    def counted_of_short():
        return lending.values("codoperf.operation.cpu.time").get(SHORT, 0)

    counted_before, before = counted_of_short(), time.process_time()
    with performance_context("short"):
        thread = threading.Thread(target=late)
        thread.start()
        later = propagate_context(partial(burn, "late", 0.02))
    in_time = time.process_time() - before
    ended.set()
    thread.join()
    later()
    spent = time.process_time() - before
    assert cpu(lending.span("short")) <= in_time
    assert burnt["late"] <= counted_of_short() - counted_before - cpu(lending.span("short")) <= spent


def test_threads_that_serve_all_are_not_lent(lending):
    """Subclasses of `Thread` and workers of pools belong to nobody."""
    found = []

    class Own(threading.Thread):
        def run(self):
            found.append(current_agent())

    with agent("starter"):
        own = Own()
        own.start()
        own.join()
        pool = ThreadPoolExecutor(1, initializer=lambda: found.append(current_agent()))
        pool.submit(int)
    found.append(pool.submit(current_agent).result())
    pool.shutdown()
    assert found == [None, None, None]


# --- as without us ---


class BoomError(Exception):
    """What the work raises."""


def boom():
    raise BoomError("boom")


def outcome(work):
    """What a piece of work returns or raises."""
    try:
        return work()
    except pytest.skip.Exception:
        raise
    except BaseException as error:
        return type(error), str(error)


class Own(ThreadPoolExecutor):
    """A pool with a `submit` of its own."""

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(lambda: ("own", fn(*args, **kwargs)))


def shut_down():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    return pool.submit(int)


def cancelled():
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait, 10)
        waiting = pool.submit(int)
        found = waiting.cancel(), waiting.cancelled()
        gate.set()
    return found


def failing_initializer():
    with ThreadPoolExecutor(1, initializer=boom) as pool:
        return pool.submit(int).result()


def keywords():
    with ThreadPoolExecutor(1) as pool:
        named = {"self": 1, "fn": 2, "call": 3, "context": 4, "func": 5}
        return pool.submit(dict, **named).result()


def mapped():
    with Own(2) as pool:
        return list(pool.map(str.upper, "ab"))


def in_main_thread_only():
    with ThreadPoolExecutor(1, thread_name_prefix="named") as pool:
        return pool.submit(lambda: threading.current_thread().name).result()


def started_twice():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    try:
        thread.start()
    finally:
        assert "run" not in vars(thread)


def no_thread_to_be_had():
    thread = threading.Thread(target=int)
    name = "_start_new_thread" if sys.version_info < (3, 13) else "_start_joinable_thread"
    real = getattr(threading, name)
    setattr(threading, name, lambda *_, **__: boom())
    try:
        thread.start()
    finally:
        setattr(threading, name, real)
        assert "run" not in vars(thread)


def own_run():
    found = []
    thread = threading.Thread(target=int, name="worker", daemon=True)
    thread.run = run = lambda: found.append((threading.current_thread().name, thread.daemon))
    thread.start()
    thread.join()
    assert thread.run is run
    return found


def traced():
    seen = []
    threading.settrace(lambda frame, *_: seen.append(frame.f_code.co_name))
    try:
        in_threads(boom_caught)
    finally:
        threading.settrace(None)
    return "boom_caught" in seen


def boom_caught():
    return outcome(boom)


def excepthook():
    seen = []
    before, threading.excepthook = threading.excepthook, lambda args: seen.append(str(args.exc_value))
    try:
        thread = threading.Thread(target=boom)
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before
    return seen


def from_anyio():
    anyio = pytest.importorskip("anyio.from_thread") and sys.modules["anyio"]

    async def main():
        return await anyio.to_thread.run_sync(anyio.from_thread.run_sync, lambda: 5, abandon_on_cancel=True)

    return anyio.run(main)


@pytest.mark.parametrize(
    "program",
    [
        shut_down, cancelled, failing_initializer, keywords, mapped, in_main_thread_only, started_twice,
        no_thread_to_be_had, own_run, traced, excepthook, from_anyio,
        partial(in_pool, boom), partial(in_pool, "not callable"), partial(by_asyncio, boom),
        partial(by_anyio, boom), lambda: ThreadPoolExecutor(1).submit(),
        lambda: ThreadPoolExecutor.submit(None, int),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_is_as_without(lending, program):
    """Results, exceptions and their messages are those of a program that is not instrumented."""
    with agent("somebody"):
        found = outcome(program)
        threads.stop()
        assert found == outcome(program)


@pytest.mark.parametrize("way", [in_pool, by_asyncio])
def test_a_traceback_has_one_more_line(lending, way):
    """Between the pool and the function that fails stands one frame."""

    def frames():
        with pytest.raises(BoomError) as raised:
            way(boom)
        return len(traceback.extract_tb(raised.value.__traceback__))

    with agent("somebody"):
        ours = frames()
        threads.stop()
        assert ours == frames() + 1


def test_wrappers_are_like_what_they_replace(lending):
    """Name, signature, docstring and kind stay."""
    to_thread = pytest.importorskip("anyio.to_thread")
    submit, start = ThreadPoolExecutor.submit, threading.Thread.start
    assert (submit, start) != ORIGINALS
    for ours, theirs in zip((submit, start), ORIGINALS, strict=True):
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert (ours.__qualname__, ours.__doc__) == (theirs.__qualname__, theirs.__doc__)
    assert inspect.iscoroutinefunction(to_thread.run_sync)


def test_an_executor_that_pickles_is_left_alone(lending):
    """What runs in another interpreter gets the function as it is."""
    seen = []

    class InterpreterPoolExecutor(ThreadPoolExecutor):
        def _adjust_thread_count(self):
            seen.append(self._work_queue.get().fn)

    with agent("somebody"):
        InterpreterPoolExecutor(1).submit(int)
    assert seen == [int]


class WrapperOfAnother:
    """As `wrapt` makes them: it pretends to be a function, and learns the instance only when it is bound."""

    __class__ = property(lambda self: type(self.wrapped))

    def __init__(self, wrapped, instance=None):
        self.wrapped = wrapped
        self.instance = instance

    def __getattr__(self, name):
        return getattr(self.wrapped, name)

    def __get__(self, instance, owner):
        return WrapperOfAnother(self.wrapped, instance)

    def __call__(self, *args, **kwargs):
        self.instance.seen = True
        return self.wrapped(self.instance, *args, **kwargs)


def test_what_another_library_has_wrapped_before(telemetry, monkeypatch):
    """Its wrapper learns whose method it is, and what it hands on runs for the operation."""
    monkeypatch.setattr(threading.Thread, "start", WrapperOfAnother(threading.Thread.start))
    monkeypatch.setattr(ThreadPoolExecutor, "submit", WrapperOfAnother(ThreadPoolExecutor.submit))
    found = []
    threads.start()
    with agent("asker"):
        thread = threading.Thread(target=lambda: found.append(current_agent()))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(current_agent).result() == "asker"
    threads.stop()
    assert thread.seen
    assert pool.seen
    assert found == ["asker"]


def test_the_second_wrapper_of_another_only_hands_on(lending):
    """Who wraps ours keeps a wrapper that does nothing, once it is stopped."""
    ours = threading.Thread.start
    other = lambda self: ours(self)  # noqa: E731
    threading.Thread.start = other
    try:
        threads.stop()
        assert threading.Thread.start is other
        with agent("somebody"):
            assert in_threads(current_agent) == [None, None]
    finally:
        threading.Thread.start = ORIGINALS[1]


def test_a_function_that_was_imported_by_its_name(lending):
    """Who has imported `run_sync` has the wrapper, and the original afterwards."""
    pytest.importorskip("anyio")
    threads.stop()
    module = type(sys)("imports_it")
    exec("from anyio.to_thread import run_sync", vars(module))
    original = module.run_sync
    sys.modules["imports_it"] = module
    try:
        instrument(threads=True)
        assert module.run_sync is not original
        threads.stop()
        assert module.run_sync is original
    finally:
        del sys.modules["imports_it"]


LATER = """
import sys, codoperf_otel
codoperf_otel.instrument(threads=True)
assert not {"concurrent.futures", "anyio"} & set(sys.modules)
import anyio.to_thread
from concurrent.futures import ThreadPoolExecutor

async def main():
    return await anyio.to_thread.run_sync(codoperf_otel.current_agent)

with codoperf_otel.agent("planner"), ThreadPoolExecutor(1) as pool:
    print(pool.submit(codoperf_otel.current_agent).result(), anyio.run(main))
print(ThreadPoolExecutor.submit.__code__.co_filename.endswith("wrappers.py"))
codoperf_otel.uninstrument()
print(ThreadPoolExecutor.submit.__code__.co_filename.endswith("thread.py"))
"""


def test_what_is_imported_later_is_replaced_then():
    """`instrument` loads neither pools nor anyio, and is there when they come."""
    pytest.importorskip("anyio")
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["planner", "planner", "True", "True"], "")


CONFIGURED = """
import threading, codoperf_otel
original = threading.Thread.start
for wanted in (True, False):
    with codoperf_otel.configure(file="out", **({} if wanted else {"threads": False})):
        print((threading.Thread.start is not original) == wanted)
    print(threading.Thread.start is original)
"""


def test_configure_lends_until_shutdown(tmp_path):
    """`configure` lends by itself, unless it is told not to; its end puts the originals back."""
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert (done.stdout.split(), done.stderr) == (["True"] * 4, "")


class Payload:
    """Something that can be told to be gone."""


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_lent_is_let_go(lending, fails):
    """Neither a thread that is kept nor a pool's that goes on holds what it worked for, nor an exception."""
    payload = Payload()
    reference = weakref.ref(payload)
    call = []

    def work(held):
        from codoperf_otel._calls.context import current_call

        call.append(weakref.ref(held))
        assert current_call() is not None
        if fails:
            raise BoomError

    kept = threading.Thread(target=work, args=(payload,))
    kept._invoke_excepthook = lambda *_: None
    with ThreadPoolExecutor(1) as pool:
        with performance_context("lends") as block:
            kept.start()
            kept.join()
            future = pool.submit(work, payload)
            error = future.exception()
        if error is not None:
            error.__traceback__ = error.__traceback__.tb_next
        scope = weakref.ref(block)
        del payload, block, future, error
        pool.submit(int).result()
        gc.collect()
        assert reference() is None
        assert scope() is None
    assert "run" not in vars(kept)


def test_two_threads_that_lend_at_once(lending, scale):
    """Nothing is lost where threads hand over for one operation at the same time."""
    rounds = scale(400)
    before = counted(lending)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(rounds):
            with performance_context("busy"):
                inner = [
                    pool.submit(lambda: [pool.submit(burn, "busy", 0.0002) for _ in range(3)])
                    for _ in range(3)
                ]
                concurrent.futures.wait([each for future in inner for each in future.result()])
    assert counted(lending) - before >= burnt["busy"]
