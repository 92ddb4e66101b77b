"""Greenlets share their thread's CPU clock; a figure is the greenlet's own, or there is none.

In most tests here the thread's clock is a number that only `burn` moves, so that figures are exact.
"""

from __future__ import annotations

import asyncio
import gc
import math
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from codoperf_otel import _telemetry
from codoperf_otel._calls import drive_coroutines, drive_functions, drive_generators, greenlets, thread_clock
from codoperf_otel.agents import agent, propagate_context
from codoperf_otel.performance_monitor import monitor_performance, performance_context


class BoomError(Exception):
    """Thrown from one greenlet into another."""


class Clock(threading.local):
    """A thread's CPU clock that shows what was burnt."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now

    def burn(self, amount: int) -> None:
        """Let CPU time pass."""
        self.now += amount


class RealClock:
    """The thread's own CPU clock, beside which `burn` uses CPU time."""

    def burn(self, amount: int) -> None:
        """Use so many times 10 microseconds."""
        began = time.thread_time_ns()
        while time.thread_time_ns() - began < 10_000 * amount:
            pass


@pytest.fixture
def greenlet(monkeypatch) -> Iterator[ModuleType]:
    """The module, loaded for one test, in a thread that no test has followed before."""
    monkeypatch.setattr(greenlets._here, "switches", None)
    monkeypatch.setattr(greenlets, "_first_followed_ns", math.inf)
    loaded = pytest.importorskip("greenlet")
    loaded.settrace(None)
    yield loaded
    loaded.settrace(None)
    del sys.modules["greenlet"]


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of all threads, for what is decorated from now on."""
    made = Clock()
    thread_clock.thread.clock.__init__()  # nobody is charged, whatever other tests have left
    for module in (drive_functions, drive_coroutines, drive_generators, thread_clock):
        monkeypatch.setattr(module, "thread_time_ns", made)
    return made


def cpu(span) -> int | None:
    """The CPU time of a call in nanoseconds, or none."""
    seconds = span.attributes.get("codoperf.cpu.time")
    return None if seconds is None else round(seconds * 1e9)


def own_cpu(span) -> int | None:
    """The CPU time of a call's own code in nanoseconds, or none."""
    seconds = span.attributes.get("codoperf.cpu.self_time")
    return None if seconds is None else round(seconds * 1e9)


def figures(telemetry) -> dict[str, tuple[int | None, int | None]]:
    """The CPU time of each operation and of its own code."""
    return {span.name: (cpu(span), own_cpu(span)) for span in telemetry.spans()}


def helper_class(greenlet) -> type:
    """A class of greenlets with the mark that SQLAlchemy's have."""

    class Helper(greenlet.greenlet):
        __sqlalchemy_greenlet_provider__ = True

    return Helper


class Protocol:
    """Greenlets that switch at random, and what each of their calls should have by its span's id."""

    def __init__(self, greenlet: ModuleType, clock, seed: int) -> None:
        self.greenlet = greenlet
        self.helper_class = helper_class(greenlet)
        self.clock = clock
        self.random = random.Random(seed)
        self.calls: dict[object, list[int]] = {greenlet.getcurrent(): []}
        self.alive = [greenlet.getcurrent()]
        self.started = 0
        self.own: Counter[int] = Counter()
        self.total: Counter[int] = Counter()
        self.function = monitor_performance("function")(self.in_call)
        self.generator = monitor_performance("generator")(self.in_generator)

    def run(self) -> None:
        """Let the greenlets begin, and switch to them until all have ended."""
        here = self.greenlet.getcurrent()
        self.act(0)
        while len(self.alive) > 1:
            self.switch(next(other for other in self.alive if other is not here))
        assert self.calls == {here: []}

    def start(self) -> None:
        """Make a greenlet; it begins when somebody switches to it."""
        if self.started < 5:
            self.started += 1
            made = self.greenlet.greenlet(self.whole_greenlet, self.alive[0])
            self.calls[made] = []
            self.alive.append(made)

    def whole_greenlet(self, *_: object) -> None:
        """What a greenlet does."""
        here = self.greenlet.getcurrent()
        try:
            self.act(0)
        except BoomError:
            pass
        finally:
            self.alive.remove(here)
            self.calls.pop(here)

    def act(self, depth: int) -> None:
        """A few things at random."""
        things = [self.burn, self.burn, self.start, self.switch_somewhere, self.switch_somewhere]
        if depth < 3:
            deeper = [self.function, self.iterate, self.in_scope, self.run_helper, self.fail]
            things += [partial(thing, depth + 1) for thing in deeper]
        for _ in range(self.random.randint(1, 5)):
            self.random.choice(things)()

    def burn(self) -> None:
        """Use CPU time, on the account of the calls of this greenlet and of the one it runs for."""
        amount = self.random.randint(1, 99)
        self.clock.burn(amount)
        here, running = self.greenlet.getcurrent(), []
        while True:
            running += reversed(self.calls[here])
            if not isinstance(here, self.helper_class):
                break
            here = here.parent
        self.own[running[0] if running else 0] += amount
        for call in running:
            self.total[call] += amount

    def switch_somewhere(self) -> None:
        """Go to another greenlet; a helper goes to the one it runs for."""
        here = self.greenlet.getcurrent()
        if isinstance(here, self.helper_class):
            here.parent.switch()
        elif len(self.alive) > 1:
            self.switch(self.random.choice(self.alive))

    def switch(self, other) -> None:
        """Go to a greenlet, at times with an exception; whoever is gone to by one catches it."""
        try:
            if self.random.random() < 0.1 and other:
                other.throw(BoomError())
            else:
                other.switch()
        except BoomError:
            self.burn()

    def enter(self) -> int:
        """Keep account of the call that begins to run here."""
        call = trace.get_current_span().get_span_context().span_id
        self.calls[self.greenlet.getcurrent()].append(call)
        self.own[call] += 0
        self.total[call] += 0
        return call

    def leave(self, call: int) -> None:
        """It runs here no more."""
        assert self.calls[self.greenlet.getcurrent()].pop() == call

    def in_call(self, depth: int) -> None:
        """A monitored function."""
        call = self.enter()
        try:
            self.act(depth)
        finally:
            self.leave(call)

    def in_scope(self, depth: int) -> None:
        """A block."""
        with performance_context("scope"):
            self.in_call(depth)

    def in_generator(self, depth: int) -> Iterator[None]:
        """A monitored generator; a helper that it runs outlives its segments, as under a coroutine."""
        call = self.enter()
        helper = self.helper_class(partial(self.in_helper, depth))
        while not helper.dead:
            helper.switch()
            self.act(depth + 1)
            self.leave(call)
            yield
            assert self.enter() == call
        self.leave(call)

    def iterate(self, depth: int) -> None:
        """Use a generator up."""
        for _ in self.generator(depth):
            self.act(depth)

    def in_helper(self, depth: int) -> None:
        """What a helper does."""
        here = self.greenlet.getcurrent()
        self.calls[here] = []
        try:
            self.act(depth)
        finally:
            self.calls.pop(here)

    def run_helper(self, depth: int) -> None:
        """Run something in a greenlet of its own, as SQLAlchemy does."""
        helper = self.helper_class(partial(self.in_helper, depth))
        while not helper.dead:
            helper.switch()
            self.burn()

    def fail(self, depth: int) -> None:
        """A monitored function that an exception leaves."""

        def failing() -> None:
            self.in_call(depth)
            raise BoomError

        with pytest.raises(BoomError):
            monitor_performance("failing")(failing)()


@pytest.mark.parametrize("seed", range(100))
def test_every_call_has_its_own_cpu_time_exactly(telemetry, greenlet, clock, seed):
    """However greenlets switch, each call has what its own code and the calls inside it burnt."""
    protocol = Protocol(greenlet, clock, seed)
    protocol.run()
    expected = {call: (protocol.total[call], protocol.own[call]) for call in protocol.own if call}
    assert {span.context.span_id: (cpu(span), own_cpu(span)) for span in telemetry.spans()} == expected
    assert sum(own for _, own in expected.values()) + protocol.own[0] == clock.now - 1000


def test_self_times_do_not_exceed_the_threads_cpu_time(telemetry, greenlet):
    """By the real clock the sum of self times is what the calls burnt, and not above the thread's."""
    began = time.thread_time_ns()
    protocols = [Protocol(greenlet, RealClock(), seed) for seed in range(10)]
    for protocol in protocols:
        protocol.run()
    thread_ns = time.thread_time_ns() - began
    assert all(0 <= own_cpu(span) <= cpu(span) for span in telemetry.spans())
    counted = sum(map(own_cpu, telemetry.spans()))
    burnt = sum(10_000 * protocol.own[call] for protocol in protocols for call in protocol.own if call)
    assert burnt <= counted <= thread_ns


def test_what_runs_for_another_is_charged_to_it(telemetry, greenlet, clock):
    """The work of a greenlet of SQLAlchemy's belongs to the call that runs it."""

    @monitor_performance("session")
    def session() -> None:
        helper_class(greenlet)(partial(clock.burn, 10)).switch()

    session()
    assert figures(telemetry) == {"session": (10, 10)}


def test_a_greenlet_begins_with_nobody_charged(telemetry, greenlet, clock):
    """A hub that begins while a call waits is no part of the call, nor is what the hub begins."""

    @monitor_performance("task")
    def task() -> None:
        clock.burn(4)

    @monitor_performance("waiting")
    def waiting() -> None:
        clock.burn(1)
        hub.switch()
        clock.burn(2)

    def run_hub() -> None:
        clock.burn(8)
        greenlet.greenlet(task).switch()

    hub = greenlet.greenlet(run_hub)
    waiting()
    assert figures(telemetry) == {"task": (4, 4), "waiting": (3, 3)}


def test_a_greenlet_is_in_foreign_code_by_itself(telemetry, greenlet):
    """While a processor waits in one greenlet, calls of others have spans."""
    other = greenlet.greenlet(monitor_performance("other")(lambda: None))

    class Waiting(SpanProcessor):
        def on_start(self, span, parent_context=None) -> None:
            if span.name == "first":
                other.switch()

    telemetry.tracer_provider.add_span_processor(Waiting())
    monitor_performance("first")(lambda: monitor_performance("inner")(lambda: None)())()
    assert {span.name for span in telemetry.spans()} == {"other", "inner", "first"}
    assert other.dead


def test_a_greenlet_that_ends_inside_foreign_code(telemetry, greenlet):
    """What it still calls has no span: the lock that it would wait for may be held by its own thread."""
    main = greenlet.getcurrent()
    step = monitor_performance("step")(lambda: None)

    def background() -> None:
        try:
            main.switch()
        finally:
            step()

    class Collecting(SpanProcessor):
        def on_start(self, span, parent_context=None) -> None:
            given_up.clear()

    telemetry.tracer_provider.add_span_processor(Collecting())
    given_up = [greenlet.greenlet(background)]
    given_up[0].switch()
    monitor_performance("first")(lambda: step())()
    assert [span.name for span in telemetry.spans()] == ["step", "first"]


def test_an_interrupted_switch_does_not_keep_a_greenlet_in_foreign_code(telemetry, greenlet):
    """Where an exception of a signal handler comes at the begin of our trace function, calls have spans."""
    step = monitor_performance("step")(lambda: None)
    main = greenlet.getcurrent()

    patch = pytest.MonkeyPatch()

    def interrupted(*_: object) -> None:
        raise BoomError

    def background() -> None:
        with pytest.raises(BoomError):
            main.switch()
        patch.undo()
        step()

    class Waiting(SpanProcessor):
        def on_start(self, span, parent_context=None) -> None:
            if span.name == "first":
                patch.setattr(greenlets._Switches, "_switched", interrupted)
                other.switch()

    telemetry.tracer_provider.add_span_processor(Waiting())
    other = greenlet.greenlet(background)
    other.switch()
    monitor_performance("first")(lambda: None)()
    assert {span.name for span in telemetry.spans()} == {"step", "first"}


def test_each_greenlet_has_its_own_context(telemetry, greenlet):
    """The agent and the parent of a call are those of its greenlet."""
    step = monitor_performance("step")(lambda: None)

    def background() -> None:
        step()
        main.switch()
        step()

    main = greenlet.getcurrent()
    other = greenlet.greenlet(background)
    with agent("planner"):
        other.switch()
        step()
        other.switch()
    agents = [span.attributes.get("gen_ai.agent.name") for span in telemetry.spans("step")]
    assert agents == [None, "planner", None]
    assert [telemetry.parent(span) is None for span in telemetry.spans("step")] == [True, False, True]


def test_work_handed_to_a_greenlet_is_charged_to_the_operation(telemetry, greenlet, clock):
    """`propagate_context` works for greenlets as for threads, without what others burn meanwhile."""

    def work() -> None:
        clock.burn(1)
        main.switch()
        clock.burn(2)

    main = greenlet.getcurrent()

    @monitor_performance("operation")
    def operation() -> None:
        worker = greenlet.greenlet(propagate_context(work))
        worker.switch()
        clock.burn(4)
        outsider.switch()
        worker.switch()

    outsider = greenlet.greenlet(partial(clock.burn, 8))
    operation()
    assert figures(telemetry) == {"operation": (7, 7)}


class TestTraceFunctions:
    """greenlet has one trace function per thread, and it may be somebody else's."""

    @pytest.fixture
    def switching(self, greenlet, clock) -> Callable[..., None]:
        """A call that burns 1, lets another greenlet burn 2, and calls what it gets before and after."""
        gc.collect()  # greenlets that other tests gave up end now, which is a switch

        @monitor_performance("switching")
        def switching(before: Callable[[], object] = int, after: Callable[[], object] = int) -> None:
            before()
            greenlet.greenlet(partial(clock.burn, 2)).switch()
            after()
            clock.burn(1)

        return switching

    def test_one_that_is_set_already_is_called(self, telemetry, greenlet, switching):
        """Whoever traced switches before goes on doing so."""
        seen = []
        greenlet.settrace(lambda event, switch: seen.append((event, switch[0].dead)))
        switching()
        assert seen == [("switch", False), ("switch", True)]
        assert figures(telemetry) == {"switching": (1, 1)}

    def test_one_that_calls_the_one_before_it(self, telemetry, greenlet, switching):
        """Behind another trace function figures go on, once it has shown that it calls the one before."""
        switching()
        before = greenlet.settrace(None)
        greenlet.settrace(lambda event, switch: before(event, switch))
        greenlet.greenlet(int).switch()
        switching()
        assert [cpu(span) for span in telemetry.spans()] == [1, 1]

    def test_where_it_is_replaced_there_are_no_figures(self, telemetry, greenlet, switching):
        """Calls have no figure while another trace function alone hears of switches."""
        counted = telemetry.values("codoperf.function.cpu.time")
        switching(before=lambda: greenlet.settrace(lambda event, switch: None))
        switching()
        assert figures(telemetry) == {"switching": (None, None)}
        assert len(telemetry.spans()) == 2
        assert telemetry.values("codoperf.function.cpu.time") == counted

    def test_when_it_is_back_there_are_figures_again(self, telemetry, greenlet, switching):
        """What began while switches were missed has none; what begins afterwards has."""
        switching()
        ours = greenlet.gettrace()

        def back() -> None:
            greenlet.settrace(ours)
            greenlet.greenlet(int).switch()

        greenlet.settrace(lambda event, switch: None)
        switching(after=back)
        switching()
        assert [cpu(span) for span in telemetry.spans()] == [1, None, 1]

    def test_a_greenlet_that_is_entered_unnoticed(self, telemetry, greenlet, clock, switching):
        """That somebody took the trace function away meanwhile is seen by where the next switch begins."""

        def unnoticed() -> None:
            clock.burn(8)
            greenlet.settrace(ours)

        switching()
        ours = greenlet.gettrace()
        switching(before=lambda: (greenlet.settrace(None), greenlet.greenlet(unnoticed).switch()))
        switching()
        assert [cpu(span) for span in telemetry.spans()] == [1, None, 1]

    def test_a_call_that_begins_unnoticed(self, telemetry, greenlet, clock, switching):
        """A call has no figure either that finds itself in another greenlet than was known."""

        @monitor_performance("other")
        def other() -> None:
            clock.burn(8)

        def unnoticed() -> None:
            greenlet.settrace(ours)
            other()

        switching()
        ours = greenlet.gettrace()
        greenlet.settrace(None)
        greenlet.greenlet(unnoticed).switch()
        switching()
        assert [cpu(span) for span in telemetry.spans()] == [1, None, 1]

    def test_where_it_is_taken_away_it_comes_again(self, telemetry, greenlet, switching):
        """Where nobody traces, the next call is followed."""
        switching(before=lambda: greenlet.settrace(None))
        switching()
        assert [cpu(span) for span in telemetry.spans()] == [None, 1]

    def test_one_that_fails_fails_as_without_us(self, telemetry, greenlet, switching):
        """Its exception reaches whoever switched, and greenlet calls it no more."""
        calls = []

        def failing(event: str, switch: object) -> None:
            calls.append(event)
            raise BoomError

        greenlet.settrace(failing)
        with pytest.raises(BoomError):
            switching()
        switching()
        assert len(calls) == 1
        assert [cpu(span) for span in telemetry.spans()] == [None, 1]

    def test_a_share_has_no_figure_either(self, telemetry, greenlet, clock):
        """What another greenlet ran for a call is left out where switches were missed."""

        def work() -> None:
            greenlet.settrace(lambda event, switch: None)
            clock.burn(5)

        @monitor_performance("operation")
        def operation() -> None:
            thread = threading.Thread(target=propagate_context(work))
            thread.start()
            thread.join()

        operation()
        assert figures(telemetry) == {"operation": (0, 0)}


def test_a_scope_that_is_closed_in_another_greenlet(telemetry, greenlet, clock):
    """It has no CPU figure, and neither has the call that it was opened in; others have their own or none."""

    @monitor_performance("opening")
    def opening() -> None:
        scope = performance_context("crossing")
        scope.__enter__()
        clock.burn(1)
        greenlet.greenlet(partial(scope.__exit__, None, None, None)).switch()
        greenlet.greenlet(partial(clock.burn, 2)).switch()
        with performance_context("inside"):
            clock.burn(4)

    opening()
    found = figures(telemetry)
    assert found.pop("inside") in {(None, None), (4, 4)}
    assert found == dict.fromkeys(("opening", "crossing"), (None, None))
    telemetry.exporter.clear()
    with performance_context("block"):
        greenlet.greenlet(partial(clock.burn, 2)).switch()
        clock.burn(4)
    assert figures(telemetry) == {"block": (4, 4)}


def test_scopes_that_close_out_of_order(telemetry, greenlet, clock):
    """Within one greenlet only the one that is closed too early has no figure."""

    @monitor_performance("opening")
    def opening() -> None:
        outer, inner = performance_context("outer"), performance_context("inner")
        outer.__enter__()
        inner.__enter__()
        clock.burn(1)
        outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)

    opening()
    assert figures(telemetry) == {"outer": (None, None), "inner": (1, 1), "opening": (1, 0)}


def test_a_scope_that_is_closed_in_another_task(telemetry, greenlet, clock):
    """Tasks are no greenlets: only the scope has no figure, the calls that run have theirs."""
    scope = performance_context("crossing")

    @monitor_performance("opening")
    async def opening() -> None:
        scope.__enter__()
        await asyncio.sleep(0)
        clock.burn(1)

    @monitor_performance("closing")
    async def closing() -> None:
        scope.__exit__(None, None, None)
        clock.burn(2)

    async def both() -> None:
        await asyncio.gather(opening(), closing())

    asyncio.run(both())
    assert figures(telemetry)["crossing"] == (None, None)
    assert figures(telemetry)["closing"] == (2, 2)


def test_a_handler_may_switch_between_any_two_lines(telemetry, greenlet, clock):
    """A switch in a signal handler or a finalizer raises nothing, wherever in our own code it comes."""
    switched = []

    def other() -> None:
        while True:
            clock.burn(1)
            main.switch()

    def at_line(frame, event: str, arg: object):
        if "codoperf_otel" in frame.f_code.co_filename and "greenlets.py" not in frame.f_code.co_filename:
            if event == "line":
                switched.append(frame.f_lineno)
                hub.switch()
            return at_line
        return None

    main = greenlet.getcurrent()
    hub = greenlet.greenlet(other)
    items = monitor_performance("items")(lambda: (yield 1))
    step = monitor_performance("step")(lambda: None)
    step()
    before = sys.gettrace()
    sys.settrace(at_line)
    try:
        with performance_context("block"):
            step()
            list(items())
    finally:
        sys.settrace(before)
    assert switched
    assert sorted(span.name for span in telemetry.spans()) == ["block", "items", "step", "step"]


def test_while_greenlet_is_being_imported(telemetry, clock, monkeypatch):
    """A module without its names yet raises nothing; there is no figure then."""
    monkeypatch.setitem(sys.modules, "greenlet", ModuleType("greenlet"))
    monkeypatch.setattr(greenlets._here, "switches", None)
    monkeypatch.setattr(greenlets, "_first_followed_ns", math.inf)
    monitor_performance("step")(lambda: None)()
    assert figures(telemetry) == {"step": (None, None)}


def test_a_scope_inside_a_generator_of_another_greenlet(telemetry, greenlet, clock):
    """A generator may go on in another greenlet; its blocks read its own clock."""

    @monitor_performance("items")
    def items() -> Iterator[int]:
        with performance_context("block"):
            clock.burn(1)
            yield 1
            greenlet.greenlet(partial(clock.burn, 16)).switch()
            clock.burn(2)

    numbers = items()
    next(numbers)
    clock.burn(4)
    greenlet.greenlet(lambda: list(numbers)).switch()
    assert figures(telemetry) == {"block": (3, 3), "items": (3, 0)}


def test_a_generator_that_another_thread_ends(telemetry, greenlet, clock):
    """A call that ends on a thread where no greenlets are followed keeps its figure."""

    @monitor_performance("items")
    def items() -> Iterator[int]:
        clock.burn(1)
        yield 1
        clock.burn(2)

    numbers = items()
    next(numbers)
    thread = threading.Thread(target=list, args=(numbers,))
    thread.start()
    thread.join()
    assert figures(telemetry) == {"items": (3, 3)}


def test_greenlets_that_end_are_let_go_of(telemetry, greenlet):
    """Neither they nor what their calls had stay alive, and no cycle holds them."""

    class Value:
        pass

    def switch_and_back(value: Value) -> None:
        main.switch()

    main = greenlet.getcurrent()
    step = monitor_performance("step")(switch_and_back)

    def run(ends: bool) -> list[weakref.ref]:
        value = Value()
        other = greenlet.greenlet(lambda: step(value))
        other.switch()
        if ends:
            other.switch()
        return [weakref.ref(value), weakref.ref(other)]

    gc.collect()
    gc.disable()
    try:
        kept = [ref() for ref in run(ends=True) + run(ends=False)]
    finally:
        gc.enable()
    assert kept == [None] * 4
    assert "_codoperf_left" not in vars(main) or main._codoperf_left is None


class Collecting(SpanProcessor):
    """Keeps spans. The SDK's own, when interrupted, may suppress all that follows."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


# an exception of the handler may land in a finalizer, where Python cannot raise it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_leave_nothing_behind(telemetry, greenlet):
    """Exceptions of a signal handler that land in switches cost figures, and later calls have theirs."""

    def interrupted(*_: object) -> None:
        raise BoomError

    processor = Collecting()
    provider = TracerProvider()
    provider.add_span_processor(processor)
    _telemetry.bind(provider, telemetry.meter_provider)
    main = greenlet.getcurrent()

    def endless() -> None:
        while True:
            try:
                step()
                main.switch()
            except BoomError:
                pass

    step = monitor_performance("step")(lambda: None)
    others = [greenlet.greenlet(endless) for _ in range(3)]

    @monitor_performance("round")
    def switch_to_all() -> None:
        for other in others:
            other.switch()

    switch_to_all()  # so that the SDK has its instruments
    before = signal.signal(signal.SIGALRM, interrupted)
    landed, began = 0, time.thread_time_ns()
    try:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-4))
                for _ in range(20):
                    switch_to_all()
            except BoomError:
                landed += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    thread_ns = time.thread_time_ns() - began
    assert landed
    spans = processor.spans
    assert all((cpu(span) or 0) >= 0 and (own_cpu(span) or 0) >= 0 for span in spans)
    assert sum(own_cpu(span) or 0 for span in spans) <= thread_ns
    spans.clear()
    others = [other or greenlet.greenlet(endless) for other in others]  # some may have ended
    switch_to_all()
    assert thread_clock.thread.clock.current is None
    assert thread_clock.thread.clock.busy == 0
    assert [span.name for span in spans] == ["step", "step", "step", "round"]
    assert all(cpu(span) is not None for span in spans)


PATCHED = """
import sys
import gevent
from gevent import monkey
if "before" in sys.argv: monkey.patch_all()
from codoperf_otel import monitor_performance, performance_context
from codoperf_otel.testing import capture_telemetry
if "after" in sys.argv: monkey.patch_all()
import time
from gevent.pool import Pool
sleep = gevent.sleep if "unpatched" in sys.argv else time.sleep

@monitor_performance("idle")
def idle(_):
    with performance_context("block"):
        sleep(0.2)

@monitor_performance("busy")
def busy(seconds):
    for _ in range(10):
        sleep(0.001)
        begun = time.thread_time()
        while time.thread_time() - begun < seconds / 10: pass

@monitor_performance("waiting")
def waiting():
    pool = Pool(3)
    pool.map(idle, range(2))
    gevent.joinall([gevent.spawn(idle, 0), pool.spawn(busy, 0.1), gevent.spawn(busy, 0.05)])

with capture_telemetry() as captured:
    begun = time.process_time()
    waiting()
    spent = time.process_time() - begun
cpu = {}
for span in captured.spans:
    cpu.setdefault(span.name, []).append(span.attributes["codoperf.cpu.time"])
assert len(captured.spans) == 9, captured.spans
assert sum(map(sum, cpu.values())) <= spent + sum(cpu["block"]), (cpu, spent)
for name in "idle", "block", "waiting":
    assert max(cpu[name]) < 0.02, cpu
assert 0.05 <= min(cpu["busy"]) < 0.07 and 0.1 <= max(cpu["busy"]) < 0.12, cpu
"""


@pytest.mark.measures
@pytest.mark.once
@pytest.mark.parametrize("patched", ["before", "after", "unpatched"])
def test_under_gevent_each_has_its_own(patched):
    """Whether gevent patches the interpreter before this package is imported, afterwards or never."""
    run_program(PATCHED, patched)


LOADED_LATE = """
import sys
from codoperf_otel import monitor_performance
from codoperf_otel.testing import capture_telemetry

@monitor_performance("early")
def early():
    import greenlet
    greenlet.greenlet(late).switch()

@monitor_performance("without")
def without():
    import greenlet

@monitor_performance("late")
def late(): pass

with capture_telemetry() as captured:
    late()
    assert "greenlet" not in sys.modules
    without() if "without" in sys.argv else early()
    late()
print([(span.name, "codoperf.cpu.time" in span.attributes) for span in captured.spans])
"""


@pytest.mark.once
@pytest.mark.parametrize(
    ("during", "spans"),
    [
        ("early", [("late", True), ("late", True), ("early", False), ("late", True)]),
        ("without", [("late", True), ("without", False), ("late", True)]),
    ],
)
def test_greenlet_may_be_loaded_late(during, spans):
    """A call that was running then has no figure; those that begin afterwards have."""
    assert run_program(LOADED_LATE, during) == f"{spans}\n"


EVENTLET = """
import sys, threading
from types import ModuleType
real, per_greenlet = threading.local, type("local", (), {})
patcher = ModuleType("eventlet.patcher")
patcher.is_monkey_patched = lambda module: module == "thread"
patcher.original = lambda name: {"threading": ModuleType("threading")}[name]
original = ModuleType("threading"); original.local = real
patcher.original = {"threading": original}.__getitem__
sys.modules["eventlet.patcher"] = patcher
threading.local = per_greenlet
from codoperf_otel._calls.thread_clock import thread
assert isinstance(thread, real)
"""


def test_eventlets_local_is_not_taken():
    """The one that eventlet puts in place of the interpreter's is one per greenlet."""
    run_program(EVENTLET)


def run_program(program: str, *arguments: str) -> str:
    """What a Python program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
