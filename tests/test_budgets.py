"""Budgets of agents."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from child_times import children_cpu
from fresh_memory import fresh
from opentelemetry.sdk.trace import SpanProcessor

import codoperf_otel as co
from codoperf_otel import Budget, BudgetExceeded, _children
from codoperf_otel._calls import budgets
from codoperf_otel._calls.context import current_call
from codoperf_otel._once import Once
from codoperf_otel._readings import memory
from codoperf_otel._workers import tasks
from codoperf_otel.sdk import ResourceSpanProcessor, new_event_loop

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="programs are ended on Linux only")
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
BURN = "import time\nwhile time.process_time() < {}: pass"


def burn(seconds):
    """Use CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def exceeded(run):
    """With what a run ends that uses more than its budget."""
    with pytest.raises(BudgetExceeded) as caught:
        run()
    return caught.value


@pytest.fixture
def children():
    """Programs are measured."""
    _children.start()
    yield
    _children.stop()


@co.tool("read")
def read():
    """A tool."""


def test_no_tool_is_executed_above_the_limit(telemetry):
    """The call that would be one too many is refused before it begins; the agent fails with that."""
    executed = []

    @co.tool("count")
    def count():
        executed.append(1)

    @co.agent("tools", budget=Budget(tool_calls=2))
    def run():
        for _ in range(5):
            count()

    error, again = exceeded(run), exceeded(run)  # each run has its own
    assert len(executed) == 4
    assert (error.agent, error.resource, error.limit, error.used) == ("tools", "tool_calls", 2, 3)
    assert str(again) == "agent tools has used 3 of tool_calls=2"
    first, _ = telemetry.spans("invoke_agent tools")
    assert first.attributes["error.type"] == "codoperf_otel.budgets.BudgetExceeded"


@pytest.mark.parametrize(
    "kind", ["function", "coroutine", "generator", "async generator", "block", "async block"]
)
def test_it_is_raised_at_the_end_of_the_agent_too(telemetry, kind):
    """An agent that calls nothing finds out at its end, whatever kind it is."""
    scope = co.agent(f"ends {kind}", budget=Budget(cpu_s=0.01))

    @scope
    def function():
        burn(0.02)

    @scope
    async def coroutine():
        await asyncio.sleep(0)
        burn(0.02)

    @scope
    def generator():
        burn(0.02)
        yield 1

    @scope
    async def async_generator():
        burn(0.02)
        yield 1

    async def drain():
        async for _ in async_generator():
            pass

    def block():
        with scope:
            burn(0.02)

    async def async_block():
        async with scope:
            burn(0.02)

    runs = {
        "function": function,
        "coroutine": lambda: asyncio.run(coroutine()),
        "generator": lambda: list(generator()),
        "async generator": lambda: asyncio.run(drain()),
        "block": block,
        "async block": lambda: asyncio.run(async_block()),
    }
    if kind == "async block":  # no decorated call follows its task, so its CPU time is not known
        runs[kind]()
        return
    assert exceeded(runs[kind]).resource == "cpu_s"
    span = telemetry.span(f"invoke_agent ends {kind}")
    assert span.attributes["error.type"] == "codoperf_otel.budgets.BudgetExceeded"
    assert co.current_agent() is None


def test_an_error_of_the_agents_own_is_kept():
    """The agent's exception leaves it, not that of its budget."""

    @co.agent("fails", budget=Budget(cpu_s=0.001))
    def run():
        burn(0.01)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run()


def test_the_time_of_what_still_runs_counts():
    """A call inside finds that its agent has used too much, although neither has ended."""
    reached = []

    @co.agent("burns", budget=Budget(cpu_s=0.2))  # much more than the calls themselves take
    def run():
        read()
        burn(0.21)
        reached.append("before")
        read()
        reached.append("after")

    exceeded(run)
    assert reached == ["before"]


def test_wall_time_counts():
    """So does time in which nothing is done."""

    @co.agent("waits", budget=Budget(wall_s=0.01))
    def run():
        time.sleep(0.02)
        read()

    assert exceeded(run).resource == "wall_s"


def test_memory_counts(no_collection):
    """The process's highest memory while the agent runs, in MiB, also what was given back."""

    def run():
        fresh(100).close()
        read()

    resident = memory.rss() / 2**20
    co.agent("memory", budget=Budget(memory_mb=resident + 200))(run)()
    assert exceeded(co.agent("memory", budget=Budget(memory_mb=resident + 50))(run)).resource == "memory_mb"


def test_tokens_count(telemetry):
    """Those of model calls that other instrumentations see, input and output together."""
    telemetry.tracer_provider.add_span_processor(ResourceSpanProcessor())

    @co.agent("asks", budget=Budget(tokens=100))
    def run():
        for _ in range(3):
            read()
            with telemetry.tracer.start_as_current_span("chat") as span:
                span.set_attribute("gen_ai.operation.name", "chat")
                span.set_attribute("gen_ai.usage.input_tokens", 50)
                span.set_attribute("gen_ai.usage.output_tokens", 1)

    assert exceeded(run).used == 102


def test_agents_and_threads_inside_count():
    """What an agent inside does, in a thread or a task, is charged to the one around it as well."""

    @co.agent("inside")
    def inside():
        burn(0.02)

    @co.agent("around", budget=Budget(cpu_s=0.03))
    async def around():
        await asyncio.gather(*(asyncio.to_thread(inside) for _ in range(3)))
        read()

    before = time.process_time()
    error = exceeded(lambda: asyncio.run(around()))
    assert error.agent == "around"
    assert 0.06 <= error.used <= time.process_time() - before


def begun(work):
    """Threads that do this work."""
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    return threads


def join(threads):
    """Wait for them."""
    for thread in threads:
        thread.join()


def briefly():
    """Work that nothing decorates."""
    burn(0.02)


async def in_threads():
    """Hand it to threads."""
    join(begun(briefly))


async def in_threads_of_a_tool():
    """Let a tool hand it to threads."""
    with co.tool("hands over"):
        join(begun(briefly))


async def in_threads_left_behind():
    """Let a tool hand it to threads that outlive the tool."""
    has_left = threading.Event()
    with co.tool("leaves behind"):
        threads = begun(lambda: (has_left.wait(), briefly()))
    has_left.set()
    join(threads)


async def in_tasks():
    """Hand it to tasks."""

    async def coroutine():
        briefly()

    await asyncio.gather(coroutine(), coroutine())


HANDED_OVER = [in_threads, in_threads_of_a_tool, in_threads_left_behind, in_tasks]


@pytest.fixture
def shares():
    """The CPU time of threads and tasks is that of the call that they work for."""
    co.instrument(threads=True)
    tasks.start()
    yield
    tasks.stop()
    co.uninstrument()


@pytest.mark.parametrize("goes_on", [True, False], ids=["at the next call", "at its end"])
@pytest.mark.parametrize("hand_over", HANDED_OVER)
def test_what_is_handed_over_counts(shares, hand_over, goes_on):
    """What plain functions took, in threads or tasks, is known once they have ended."""

    @co.agent("runner", budget=Budget(cpu_s=0.03))
    async def run():
        await hand_over()
        if goes_on:
            read()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        error = exceeded(lambda: runner.run(run()))
    assert error.used >= 0.04


def test_the_budget_around_holds_inside_too():
    """The agent inside has one of its own; the first to be exceeded is raised."""

    @co.agent("outer", budget=Budget(tool_calls=2))
    @co.agent("inner", budget=Budget(tool_calls=5))
    def run():
        for _ in range(5):
            read()

    assert exceeded(run).agent == "outer"


def test_no_sibling_pays():
    """Agents at once on one loop have each their own budget."""

    async def run(name, seconds):
        @co.agent(name, budget=Budget(cpu_s=0.2))
        async def agent():
            for _ in range(4):
                burn(seconds)
                read()
                await asyncio.sleep(0)

        return await agent()

    async def run_all():
        return await asyncio.gather(
            *(run(f"sibling {number}", 0.002 if number else 0.11) for number in range(4)),
            return_exceptions=True,
        )

    outcomes = asyncio.run(run_all())
    assert [type(outcome) for outcome in outcomes] == [BudgetExceeded, *[type(None)] * 3]


def test_no_sibling_gets_it_from_a_cache(tmp_path):
    """Who waits for what another agent computes, whose budget is used up meanwhile, computes for itself."""
    begun, waits = threading.Event(), threading.Event()

    @co.cached_function(cache_manager=co.CacheManager(tmp_path))
    def compute(key):
        begun.set()
        waits.wait()
        read()
        return key

    @co.agent("cached poor", budget=Budget(tool_calls=0))
    def poor():
        return compute("key")

    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(type(exceeded(poor))))]
    threads[0].start()
    begun.wait()
    threads.append(threading.Thread(target=lambda: outcomes.append(compute("key"))))
    threads[1].start()
    waits.set()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {BudgetExceeded, "key"}


def test_no_expired_value_stands_in_for_it(tmp_path):
    """A cache that answers errors by what has expired does not hide that a budget is used up."""
    values = iter(["first", None])

    @co.cached_function(cache_manager=co.CacheManager(tmp_path), ttl=0.01, stale_if_error=60)
    def compute():
        if (value := next(values)) is None:
            read()
        return value

    assert compute() == "first"
    time.sleep(0.02)
    exceeded(co.agent("stale", budget=Budget(tool_calls=0))(compute))


def test_a_coroutine_that_is_refused_is_closed(recwarn):
    """Python says of no coroutine that it was never awaited: a refused one was not to run."""

    @co.tool("asked")
    async def asked():
        raise AssertionError

    @co.agent("refuses", budget=Budget(tool_calls=0))
    async def run():
        await asked()

    exceeded(lambda: asyncio.run(run()))
    gc.collect()
    assert not recwarn.list


class Interrupting(SpanProcessor):
    """Raises, as a handler of Ctrl-C does, where the span of a tool starts."""

    def on_start(self, span, parent_context=None):
        if span.name.startswith("execute_tool"):
            raise KeyboardInterrupt


def test_a_call_that_is_cut_off_runs_no_more(telemetry):
    """A budget holds nothing of a tool whose begin an exception of a signal handler has ended."""
    telemetry.tracer_provider.add_span_processor(Interrupting())
    with co.agent("cut off", budget=Budget(tool_calls=9)):
        run = current_call()
        with pytest.raises(KeyboardInterrupt):
            read()
        assert run.invocation.own.running == {run}


def test_recorded_only(telemetry, caplog):
    """With ``action="record"`` the agent goes on; there is a warning, then an event, each once."""
    budget = Budget(tool_calls=4, action="record", warn_at=0.5)
    with caplog.at_level(logging.WARNING, "codoperf_otel.agents"), co.agent("recorded", budget=budget):
        for _ in range(7):
            read()
    events = telemetry.span("invoke_agent recorded").events
    assert [event.name for event in events] == ["codoperf.budget.warning", "codoperf.budget.exceeded"]
    assert [dict(event.attributes) for event in events] == [
        {"codoperf.budget.resource": "tool_calls", "codoperf.budget.limit": 4, "codoperf.budget.used": used}
        for used in (2, 5)
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "agent recorded comes near its budget: 2 of tool_calls=4",
        "agent recorded has exceeded its budget: 5 of tool_calls=4",
    ]
    assert caplog.records[0].agent == "recorded"


def test_no_warning_where_none_is_asked_for(telemetry):
    """`warn_at=1` asks for none."""
    with co.agent("unwarned", budget=Budget(tool_calls=2, warn_at=1)):
        read()
        read()
    assert not telemetry.span("invoke_agent unwarned").events


def test_what_uses_nothing_is_not_warned(caplog):
    """A limit of 0 is not near where nothing was used."""
    with co.agent("quiet", budget=Budget(tool_calls=0, tokens=0)):
        pass
    assert not caplog.messages


def test_programs_count(children):
    """The CPU time of a program, also while it runs."""

    @co.agent("starts", budget=Budget(cpu_s=0.1))
    def run():
        with co.tool("program"):
            subprocess.run([sys.executable, "-S", "-c", BURN.format(0.15)], check=True)
        read()

    own, children_before = time.process_time(), children_cpu()
    error = exceeded(run)
    spent = time.process_time() - own + children_cpu() - children_before
    assert 0.15 <= error.used <= spent


@LINUX
def test_running_programs_count(children):
    """What a program in the background has used so far."""

    @co.agent("background", budget=Budget(cpu_s=0.1))
    def run():
        with subprocess.Popen([sys.executable, "-S", "-c", BURN.format(60)]) as program:
            try:
                while program.poll() is None:
                    read()
            finally:
                program.kill()

    exceeded(run)


@LINUX
def test_programs_are_ended_where_that_is_asked_for(children):
    """A tool that waits for a program gets it back; the agent is told at the next call."""
    began = time.perf_counter()
    ended = []

    @co.agent("kills", budget=Budget(wall_s=0.2, kill_children=True))
    def run():
        with co.tool("program"):
            ended.append(subprocess.run(SLEEP).returncode)
        read()

    assert exceeded(run).resource == "wall_s"
    assert ended == [-15]
    assert time.perf_counter() - began < 30


STUBBORN = "trap '' TERM; sleep 60 & echo $!; while :; do :; done"


@LINUX
def test_that_no_program_can_be_ended_is_said_once(monkeypatch, caplog):
    """Without measured child processes nothing is known of programs; with them there is no warning."""
    monkeypatch.setattr(budgets, "_is_first_unseen", Once())
    scope = co.agent("sees none", budget=Budget(wall_s=600, kill_children=True))
    _children.start()
    with scope:
        assert not caplog.messages
    _children.stop()
    for _ in range(2):
        with scope:
            pass
    (message,) = caplog.messages
    assert message.startswith("the budget of agent sees none has kill_children=True, but it sees no programs")


@LINUX
def test_programs_that_do_not_listen_are_killed(children):
    """SIGKILL follows SIGTERM, for the processes below, too."""
    ended = []

    @co.agent("kills hard", budget=Budget(cpu_s=0.1, kill_children=True))
    def run():
        ended.append(subprocess.run(["/bin/sh", "-c", STUBBORN], stdout=subprocess.PIPE, text=True))

    assert exceeded(run).resource == "cpu_s"
    assert ended[0].returncode == -9
    pid = int(ended[0].stdout)
    deadline = time.monotonic() + 60
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_alive(pid):
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@LINUX
def test_programs_of_others_are_left_alone(children):
    """A program that was started outside of the agent goes on."""
    outside = subprocess.Popen(SLEEP)
    budget = Budget(wall_s=0.1, kill_children=True)
    try:
        exceeded(co.agent("kills own", budget=budget)(lambda: subprocess.run(SLEEP)))
        assert outside.poll() is None
    finally:
        outside.kill()
        outside.wait()


def test_it_is_never_raised_elsewhere(telemetry):
    """What a thread of nobody's does while an agent is over its budget is not stopped."""
    outcomes = []

    @co.agent("over", budget=Budget(wall_s=0.001))
    def run():
        time.sleep(0.01)
        thread = threading.Thread(target=lambda: outcomes.append(read()))
        thread.start()
        thread.join()

    exceeded(run)
    assert outcomes == [None]


def test_what_outlives_the_agent_is_not_stopped():
    """A task that goes on after the run has no budget any more."""

    async def late(ended):
        await ended.wait()
        read()
        return "done"

    async def run():
        ended = asyncio.Event()
        with co.agent("outlived", budget=Budget(tool_calls=0, action="record")):
            task = asyncio.create_task(late(ended))
        ended.set()
        return await task

    assert asyncio.run(run()) == "done"


def test_a_forked_child_has_no_budget():
    """The run is the parent's."""
    with co.agent("forks", budget=Budget(tool_calls=1)):
        read()
        pid = os.fork()
        if not pid:
            try:
                read()
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0


def test_an_abandoned_generator_is_no_error(telemetry):
    """An agent that is left early is not told that it used too much."""

    @co.agent("left", budget=Budget(cpu_s=0.001))
    def run():
        burn(0.01)
        yield 1

    steps = run()
    next(steps)
    steps.close()
    assert telemetry.span("invoke_agent left").attributes["codoperf.outcome"] == "abandoned"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a budget must have a limit: one of cpu_s, wall_s, memory_mb, tool_calls, tokens"),
        ({"cpu_s": 0}, "cpu_s is 0: it must be a number above 0"),
        ({"cpu_s": -1}, "cpu_s is -1: it must be a number above 0"),
        ({"wall_s": float("nan")}, "wall_s is nan: it must be a number above 0"),
        ({"memory_mb": "100"}, "memory_mb is '100': it must be a number above 0"),
        ({"wall_s": True}, "wall_s is True: it must be a number above 0"),
        ({"tool_calls": 1.5}, "tool_calls is 1.5: it must be a whole number from 0 up"),
        ({"tokens": -1}, "tokens is -1: it must be a whole number from 0 up"),
        ({"cpu_s": 10**400}, f"cpu_s is {10**400}: it must be a number above 0"),
        ({"tool_calls": 10**400}, f"tool_calls is {10**400}: it must be a whole number from 0 up"),
        ({"cpu_s": 1, "kill_children": "no"}, "kill_children is 'no': it must be True or False"),
        ({"cpu_s": 1, "action": "kill"}, "action is 'kill': it must be 'raise' or 'record'"),
        ({"cpu_s": 1, "warn_at": 2}, "warn_at is 2: it must be a number above 0, and 1 at most"),
    ],
)
def test_wrong_values_are_one_clear_error(arguments, message):
    """It names the argument, the value and what is allowed."""
    with pytest.raises(ValueError, match=f"^{message.replace('(', '.')}$"):
        Budget(**arguments)


def _refused(*_):
    raise PermissionError(errno.EPERM, "not permitted")


@pytest.mark.parametrize("how", ["missing", "refused"])
def test_programs_cannot_be_ended_by_their_pids(monkeypatch, how):
    """Where there are no descriptors of processes, a budget that asks for that is refused."""
    if how == "refused":
        monkeypatch.setattr(os, "pidfd_open", _refused, raising=False)
    else:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    with pytest.raises(ValueError, match="kill_children is True: it must be False where pidfd_open does"):
        Budget(cpu_s=1, kill_children=True)
    assert not Budget(cpu_s=1).kill_children


@LINUX
def test_a_program_that_cannot_be_ended_is_said(children, monkeypatch, caplog):
    """It is a log record, and the program goes on."""

    @co.agent("cannot kill", budget=Budget(wall_s=0.1, kill_children=True))
    def run():
        program = subprocess.Popen(SLEEP)
        monkeypatch.setattr(os, "pidfd_open", _refused)
        try:
            deadline = time.monotonic() + 30
            while not caplog.records[1:] and time.monotonic() < deadline:
                time.sleep(0.01)
            return program.poll()
        finally:
            monkeypatch.undo()
            program.kill()
            program.wait()

    exceeded(run)
    assert "a program whose agent has exceeded its budget is not ended" in caplog.text


def test_what_is_no_budget_is_refused():
    """An agent takes nothing else."""
    with pytest.raises(TypeError, match=r"agent: the budget must be a Budget, not \{'cpu_s': 1\}"):
        co.agent("a", budget={"cpu_s": 1})


def test_the_exception_can_be_pickled():
    """Worker processes hand it back."""
    error = pickle.loads(pickle.dumps(BudgetExceeded("a", "cpu_s", 1.0, 2.0)))
    assert str(error) == "agent a has used 2 of cpu_s=1"
    assert (error.agent, error.resource, error.limit, error.used) == ("a", "cpu_s", 1.0, 2.0)


BURNER = "import time\nend = time.process_time() + 30\nwhile time.process_time() < end: pass"


@LINUX
@pytest.mark.usefixtures("children")
def test_what_was_exceeded_stays_exceeded():
    """Nobody waits for what is below a shell that is ended, so the CPU time read of it is gone later."""
    one = f"{sys.executable} -S -c '{BURNER}'"

    @co.agent("builder", budget=Budget(cpu_s=0.2, kill_children=True))
    def build():
        return [subprocess.run(f"{one} & {one} & wait", shell=True).returncode for _ in range(2)]

    error = exceeded(build)
    assert (error.resource, error.limit) == ("cpu_s", 0.2)
    assert error.used > 0.2


@co.agent("returns", budget=Budget(wall_s=1e-6))
def _returns():
    """It is too slow."""


@co.agent("fails", budget=Budget(wall_s=1e-6))
def _fails():
    raise KeyError("mine")


@co.agent("is closed", budget=Budget(wall_s=1e-6))
def _is_closed():
    yield


@co.agent("is closed later", budget=Budget(wall_s=1e-6))
async def _is_closed_later():
    yield


@co.agent("is cancelled", budget=Budget(wall_s=1e-6))
async def _is_cancelled():
    await asyncio.sleep(10)


async def _cancelled():
    running = asyncio.create_task(_is_cancelled())
    await asyncio.sleep(0)
    running.cancel()
    await running


async def _closed_later():
    generator = _is_closed_later()
    await anext(generator)
    await generator.aclose()


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (_returns, BudgetExceeded),
        (_fails, KeyError),
        (lambda: next(_is_closed()), None),
        (lambda: asyncio.run(_closed_later()), None),
        (lambda: asyncio.run(_cancelled()), asyncio.CancelledError),
    ],
    ids=["returns", "fails", "closed", "async closed", "cancelled"],
)
def test_however_a_run_ends_its_budget_is_looked_at(telemetry, run, error):
    """It keeps its own exception; the event says that it used too much."""
    with pytest.raises(error) if error else nullcontext():
        run()
    gc.collect()
    (span,) = telemetry.spans()
    assert "codoperf.budget.exceeded" in [event.name for event in span.events]
