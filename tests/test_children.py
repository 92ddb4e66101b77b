"""Child processes: each counts for the call that started it, and the program sees what it sees without us."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import types
from concurrent.futures import ProcessPoolExecutor
from os import waitpid
from pathlib import Path
from types import SimpleNamespace

import pytest
from child_times import children_cpu
from foreign_wrappers import WrapperOfAnother
from opentelemetry.context import attach, detach, get_current

import codoperf_otel
from codoperf_otel import _children, _telemetry
from codoperf_otel._calls.cells import OPERATION, cell
from codoperf_otel._calls.context import current_call
from codoperf_otel._children import sampling, starts, table
from codoperf_otel._children.meter import OpenChildren, meter_of
from codoperf_otel._children.table import MAX_KEPT, MAX_RUNNING, ROUNDING, Child
from codoperf_otel._readings import other_processes, sampler
from codoperf_otel._telemetry import names

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs os.wait4")

PROGRAMS = Path(__file__).parent / "programs"
MIB = 1 << 20
SHELL = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
BURN = ["/bin/sh", "-c", SHELL]
BELOW = ["/bin/sh", "-c", f"({SHELL}); true"]


@pytest.fixture(autouse=True)
def _measured():
    _children.start()
    _telemetry.begin_counters_anew()
    yield
    _telemetry.binding._before.clear()
    _children.stop()
    for known in (table.running, table._reaped):
        known.clear()


def counted_here(telemetry) -> dict:
    """The metric's series that this test has made: those of others have not been counted further."""
    return telemetry.values(names.CHILD_PROCESS_CPU_TIME)


def program(name: str, *arguments: str) -> str:
    """What a program of the tests prints."""
    command = [sys.executable, str(PROGRAMS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def burn() -> None:
    """What a child of `multiprocessing` runs."""
    sum(range(300_000))


def of_multiprocessing(method: str) -> None:
    """Start and join a child."""
    process = multiprocessing.get_context(method).Process(target=burn)
    process.start()
    process.join()


def poll() -> None:
    """Look until it has ended."""
    process = subprocess.Popen(BURN)
    while process.poll() is None:
        pass


async def of_asyncio() -> None:
    """A program, and a shell with one, on a loop."""
    await (await asyncio.create_subprocess_exec(*BURN)).wait()
    await (await asyncio.create_subprocess_shell(SHELL, stdout=-1)).communicate()


def stopped() -> None:
    """Stop in the midst: a wait is told so, and the process goes on."""
    process = subprocess.Popen(["/bin/sh", "-c", f"kill -STOP $$; {SHELL}"])
    os.waitpid(process.pid, os.WUNTRACED)
    process.send_signal(signal.SIGCONT)
    process.wait()


def by_name() -> None:
    """Wait with a function that was imported before."""
    process = subprocess.Popen(BURN)
    waitpid(process.pid, 0)
    process.wait()


def replaced_workers() -> None:
    """A pool whose workers end after one task each."""
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(3):
            pool.apply(burn)
        pool.close()
        pool.join()


def replaced_workers_of_an_executor() -> None:
    """The other kind of pool."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as pool:
        for _ in range(2):
            pool.submit(sum, range(300_000)).result()


WAYS = {
    "run": lambda: subprocess.run(BURN),
    "wait with a time-out": lambda: subprocess.Popen(BURN).wait(60),
    "communicate": lambda: subprocess.Popen(BURN, stdout=-1, stderr=-1).communicate(timeout=20),
    "a context": lambda: subprocess.Popen(BURN).__exit__(None, None, None),
    "poll": poll,
    "stopped": stopped,
    "by name": by_name,
    "children of its own": lambda: subprocess.run(BELOW),
    "two": lambda: [subprocess.run(BURN), subprocess.run(BELOW)],
    "asyncio": lambda: asyncio.run(of_asyncio()),
    "fork": lambda: of_multiprocessing("fork"),
    "spawn": lambda: of_multiprocessing("spawn"),
    "replaced workers": replaced_workers,
    "replaced workers of an executor": replaced_workers_of_an_executor,
}


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
def test_what_a_call_starts_is_counted_in_full(telemetry, way):
    """CPU time of the span and of the metric is what the kernel says of all children."""
    before = children_cpu()
    with codoperf_otel.agent("ann"), codoperf_otel.tool(way):
        WAYS[way]()
    took = children_cpu() - before
    assert took > 0
    span = telemetry.span(f"execute_tool {way}")
    assert span.attributes[names.CPU_CHILD_PROCESS_TIME] == pytest.approx(took, abs=1e-4)
    key = {names.OPERATION_NAME: f"execute_tool {way}", names.GEN_AI_AGENT_NAME: "ann"}
    counted = telemetry.values(names.CHILD_PROCESS_CPU_TIME)[frozenset(key.items())]
    assert counted == pytest.approx(took, abs=1e-4)
    assert names.CPU_CHILD_PROCESS_TIME not in telemetry.span("invoke_agent ann").attributes


@pytest.mark.measures
@pytest.mark.parametrize(("own", "nested"), [("10", "3"), ("400", "3")])
def test_six_tools_at_once_each_have_their_own(own, nested):
    """CPU within 3 % + 20 ms, memory within 5 % + 10 MB, also where the starter is larger than they are."""
    found = json.loads(program("burning.py", own, nested))
    for said in found["programs"].values():
        assert said["cpu"] == pytest.approx(said["burnt"], rel=0.03, abs=0.02)
        assert said["held"] <= said["peak"] <= said["held"] * 1.05 + 10e6
        assert said["source"] == (names.KERNEL if own == "10" else names.SAMPLED)
    assert sum(said["cpu"] for said in found["programs"].values()) == pytest.approx(found["all"], abs=1e-3)


def test_a_program_sees_what_it_sees_without_us():
    """Double waits, other waiters, handlers, signals, threads and loops: the same, word for word."""
    assert program("waiting.py", "measured") == program("waiting.py", "plain")


def test_a_function_has_its_programs_too(telemetry):
    """The metric names the function; a call without a span counts for itself, not for the one around it."""

    @codoperf_otel.monitor_performance("frequent", max_spans_per_second=0.001)
    def frequent():
        subprocess.run(BURN)

    with codoperf_otel.performance_context("around"):
        frequent()
        frequent()
    assert names.CPU_CHILD_PROCESS_TIME in telemetry.span("frequent").attributes
    assert names.CPU_CHILD_PROCESS_TIME not in telemetry.span("around").attributes
    (key,) = counted_here(telemetry)
    assert dict(key)[names.CODE_FUNCTION_NAME].endswith("frequent")


def test_a_program_that_outlives_its_operation_is_in_the_metric(telemetry):
    """The span has ended; the totals have it all the same."""
    with codoperf_otel.tool("begin"):
        process = subprocess.Popen(BURN)
        assert len(table.running) == 1
    before = children_cpu()
    process.wait()
    assert names.CPU_CHILD_PROCESS_TIME not in telemetry.span("execute_tool begin").attributes
    (counted,) = counted_here(telemetry).values()
    assert counted == pytest.approx(children_cpu() - before, abs=1e-4)
    assert not table.running


def test_a_call_that_has_ended_is_given_no_meter(telemetry):
    """A task or a thread may go on with its Context: its programs are in the metric."""
    with codoperf_otel.tool("ended"):
        around, call = get_current(), current_call()
    token = attach(around)
    subprocess.run(BURN)
    detach(token)
    assert call.open_meters is None
    assert list(counted_here(telemetry)) == [frozenset({(names.OPERATION_NAME, "execute_tool ended")})]


def test_a_mark_that_rises_while_a_process_starts_is_the_higher_one(monkeypatch):
    """Another thread may have needed memory between the look at our mark and the `exec`."""
    marks = iter([5, 7])
    monkeypatch.setattr(starts, "own_mark", lambda: next(marks))
    with codoperf_otel.tool("rising"):
        process = subprocess.Popen(["/bin/true"])
        assert table.running[process.pid].mark == 7
        process.wait()


def test_a_call_without_programs_pays_nothing(telemetry):
    """No meter is opened before the first program, and none of a program that belongs to no call."""
    opened = []

    @codoperf_otel.monitor_performance("idle")
    def idle():
        opened.append(current_call().open_meters)

    idle()
    subprocess.run(["/bin/true"])
    assert opened == [None]
    assert not table.running
    assert not counted_here(telemetry)


def test_each_of_many_waits_counts_once(telemetry, scale):
    """Several threads wait for each process, and a handler reaps whatever it finds: nothing twice or lost."""

    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    before = children_cpu()
    handler = signal.signal(signal.SIGCHLD, reap)
    try:
        with codoperf_otel.tool("many"):
            for _ in range(scale(200)):
                processes = [subprocess.Popen(BURN) for _ in range(3)]
                threads = [threading.Thread(target=process.wait) for process in processes for _ in "ab"]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    finally:
        signal.signal(signal.SIGCHLD, handler)
    attributes = telemetry.span("execute_tool many").attributes
    assert attributes[names.CPU_CHILD_PROCESS_TIME] == pytest.approx(children_cpu() - before, abs=1e-3)
    assert not table.running
    assert not table.starting


def usage(seconds: float = 1.0, kib: int = 0) -> SimpleNamespace:
    """What the kernel says of a process that has ended."""
    return SimpleNamespace(ru_utime=seconds, ru_stime=0.0, ru_maxrss=kib)


def child(mark: int | None = 0) -> Child:
    """A child of some operation."""
    return Child(cell(OPERATION, "unit", None), OpenChildren(), mark)


def test_an_end_before_the_pid_is_known_is_kept():
    """Another thread may reap a process while its start is under way; later the pid may be another's."""
    early, other = child(), child()
    beginning = object()
    table.starting.add(beginning)
    table.ended(-7, usage(2.0))
    table.add(-7, early)
    assert early.meter.ended == [(2_000_000_000, None)]
    table.ended(-8, usage())
    table.end_start(beginning)
    table.add(-8, other)
    assert other.meter.ended == []
    table.ended(-9, usage())
    table.add(-9, other)
    assert other.meter.ended == []


def test_processes_that_nobody_waits_for_are_bounded():
    """Those known longest are forgotten."""
    for pid in range(MAX_RUNNING + 2):
        table.add(-2 - pid, child())
    assert len(table.running) == MAX_RUNNING
    assert -3 not in table.running
    assert -4 in table.running


def test_a_process_that_another_thread_has_reaped_counts_when_it_says_so():
    """One thread learns that there is no such child while another, which has waited, is about to count it."""
    one, other = child(), child()
    table.add(-7, one)
    table.reaped(-7)
    assert -7 not in table.running
    table.ended(-7, usage())
    table.ended(-7, usage())
    assert len(one.meter.ended) == 1
    table.add(-7, one)
    table.reaped(-7)
    table.add(-7, other)
    table.ended(-7, usage())
    table.ended(-7, usage())
    assert (len(one.meter.ended), len(other.meter.ended)) == (1, 1)


def test_a_process_that_is_reaped_out_of_sight_is_known_no_more():
    """`os.wait4` and others do not say what it took; a later wait says that it is gone."""
    with codoperf_otel.tool("reaped elsewhere"):
        process = subprocess.Popen(["/bin/true"])
    os.wait4(process.pid, 0)
    assert process.wait() == 0
    assert not table.running


def test_a_process_that_becomes_known_as_it_ends_is_counted(monkeypatch):
    """The start comes to its end between the look for the process and the note that it has ended."""
    one = child()

    class BetweenTheLines(dict):
        def __setitem__(self, pid, value):
            table.running[pid] = one
            super().__setitem__(pid, value)

    monkeypatch.setattr(table, "_ended_early", BetweenTheLines())
    table.starting.add("a start")
    table.ended(-7, usage())
    table.end_start("a start")
    assert len(one.meter.ended) == 1


def test_early_ends_are_bounded():
    """However long starts overlap, what ends meanwhile is kept for a moment only."""
    table.starting.add("a start")
    for pid in range(MAX_KEPT + 1):
        table.ended(-2 - pid, usage())
    first, last = child(), child()
    table.add(-2, first)
    table.add(-2 - MAX_KEPT, last)
    table.end_start("a start")
    assert (first.meter.ended, len(last.meter.ended)) == ([], 1)


@pytest.mark.parametrize(
    ("mark", "kernels", "sampled", "expected"),
    [
        (50 * MIB, 80 * MIB, 79 * MIB, (80 * MIB, "kernel")),
        (50 * MIB, 80 * MIB, 200 * MIB, (200 * MIB, "sampled")),  # it has reset its own mark
        (50 * MIB, 50 * MIB + ROUNDING, 7 * MIB, (7 * MIB, "sampled")),  # ours
        (50 * MIB, 50 * MIB, 0, None),
        (None, 80 * MIB, 0, None),
    ],
)
def test_the_kernels_peak_counts_where_it_is_the_childs(mark, kernels, sampled, expected):
    """Up to our own mark at its start, the kernel's figure may be ours; then only samples are left."""
    one = child(mark)
    one.sampled = sampled
    one.end(usage(kib=kernels // 1024))
    assert one.meter.ended == [(1_000_000_000, expected)]


def test_the_highest_peak_of_several_is_the_calls():
    """CPU times are added up; of the peaks the highest counts, with its own source."""
    meter = OpenChildren()
    assert meter.close(0) == {}
    meter.ended += [(1, (5, "kernel")), (2, None), (3, (7, "sampled"))]
    assert meter.close(0) == {
        names.CPU_CHILD_PROCESS_TIME: 6e-9,
        names.CHILD_PROCESS_MEMORY_PEAK: 7,
        names.CHILD_PROCESS_MEMORY_PEAK_SOURCE: "sampled",
    }


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, "low"), (0.004, "low"), (0.02, "medium"), (0.8, "medium"), (1.0, "high")]
)
def test_the_class_of_cpu_time_can_be_searched_for(telemetry, seconds, expected):
    """Agents, tools and operations say how much they and their programs took, functions do not."""

    @codoperf_otel.monitor_performance("function")
    def function():
        pass

    with codoperf_otel.tool("classed"):
        if seconds:
            meter_of(current_call()).ended.append((round(seconds * 1e9), None))
        function()
    assert telemetry.span("execute_tool classed").attributes[names.CPU_CLASS] == expected
    assert names.CPU_CLASS not in telemetry.span("function").attributes


def test_without_a_cpu_time_there_is_no_class(telemetry):
    """A block in a task whose CPU time is not known has none, rather than a low one."""

    async def block():
        with codoperf_otel.tool("unknown"):
            await asyncio.sleep(0)

    asyncio.run(block())
    attributes = telemetry.span("execute_tool unknown").attributes
    assert names.CPU_CLASS not in attributes
    assert names.CPU_TIME not in attributes


def test_memory_is_sampled_while_children_run(idle):
    """Each sample looks at the processes below, too; without children the sampler's thread may end."""
    with codoperf_otel.tool("sampled"):
        process = subprocess.Popen(["/bin/sh", "-c", "/bin/sh -c 'echo; read x'; true"], stdin=-1, stdout=-1)
    process.stdout.readline()
    assert list(idle._turns) == [sampling._sample]
    known = table.running[process.pid]
    sampling._sample(0)
    assert 0 < known.sampled == other_processes.high_water_mark(process.pid) < 50 * MIB
    assert len(list(other_processes.tree(process.pid))) == 2
    process.communicate(b"\n")
    assert other_processes.high_water_mark(process.pid) == 0
    sampling._sample(0)
    assert not idle._turns


def test_a_start_while_the_sampler_stops_is_sampled(idle, monkeypatch):
    """A process that starts when the last one has just ended is not forgotten."""
    sampling.begin()
    monkeypatch.setattr(table, "running", SimpleNamespace(items={}.items))
    sampling._sample(0)
    assert list(idle._turns) == [sampling._sample]


def test_without_a_mark_nothing_is_sampled(monkeypatch, idle):
    """Where the platform does not report the process's own mark, a child's peak is not known."""
    monkeypatch.setattr(starts, "own_mark", lambda: None)
    with codoperf_otel.tool("unknown"):
        subprocess.run(["/bin/true"])
    assert not idle._turns
    assert sampler.shared is idle


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_with_nothing(telemetry):
    """It counts what it starts itself, and knows nothing of its parent's children."""
    received, sent = os.pipe()
    with codoperf_otel.tool("forks"):
        standing = subprocess.Popen(["/bin/sleep", "5"])
        pid = os.fork()
        if pid == 0:
            known = len(table.running)
            with codoperf_otel.tool("inner"):
                subprocess.run(BURN)
            found = telemetry.values(names.CHILD_PROCESS_CPU_TIME)
            inner = {dict(key)[names.OPERATION_NAME]: value > 0 for key, value in found.items()}
            os.write(sent, json.dumps([known, inner]).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        assert len(table.running) == 1
        standing.kill()
        standing.wait()
    os.close(sent)
    with os.fdopen(received, "rb") as answer:
        assert json.load(answer) == [0, {"execute_tool inner": True}]


def test_the_children_of_a_fork_server_are_its_own():
    """Nobody here can wait for them, so they are not known here."""
    process = SimpleNamespace(_popen=SimpleNamespace(pid=1, method="forkserver"))
    assert starts.of_process(process) is None


def held() -> list[object]:
    """What is replaced while children are measured."""
    import posix

    bound = getattr(subprocess, "_del_safe", None)
    poll = subprocess.Popen._internal_poll
    return [
        os.waitpid, posix.waitpid, subprocess.Popen.__init__, poll,
        multiprocessing.process.BaseProcess.start,
        bound.waitpid if bound else poll.__defaults__,
    ]  # fmt: skip


def test_uninstrumenting_restores_everything():
    """Each name has its original again; measuring twice replaces nothing twice."""
    measured = held()
    codoperf_otel.instrument(subprocess=True)
    assert held() == measured
    codoperf_otel.uninstrument()
    originals = held()
    differ = [one is not other for one, other in zip(measured, originals, strict=True)]
    assert differ == [True, True, True, sys.version_info < (3, 13), True, True]
    assert isinstance(os.waitpid, type(len))
    codoperf_otel.instrument()
    assert held() == originals
    assert originals[-1] is os.waitpid or os.waitpid in originals[-1]
    codoperf_otel.uninstrument()


class NotQuiteAModule:
    """Says of itself what a library of cffi says among the modules: as those of cryptography are."""

    __class__ = property(lambda _: types.ModuleType)


def test_what_only_says_that_it_is_a_module_is_left_alone(monkeypatch):
    """Beside it names are replaced, and put back."""
    monkeypatch.setitem(sys.modules, "of_cffi", NotQuiteAModule())
    measured = held()
    codoperf_otel.uninstrument()
    assert held()[:2] != measured[:2]


IMPORTED_LATER = """
import sys, codoperf_otel
codoperf_otel.instrument(subprocess=True)
assert "multiprocessing" not in sys.modules
if "stopped" in sys.argv:
    codoperf_otel.uninstrument()
    assert isinstance(sys.meta_path[0], type)
from multiprocessing.process import BaseProcess
print(BaseProcess.start.__code__.co_filename.endswith("process.py"))
print(isinstance(sys.meta_path[0], type))
codoperf_otel.uninstrument()
print(BaseProcess.start.__code__.co_filename.endswith("process.py"))
"""


@pytest.mark.parametrize(("stopped", "is_original"), [((), "False"), (("stopped",), "True")])
def test_multiprocessing_is_measured_once_it_is_loaded(stopped, is_original, tmp_path):
    """Nothing loads it for that, and nothing stays in the way of imports."""
    command = [sys.executable, "-c", IMPORTED_LATER, *stopped]
    said = subprocess.check_output(command, text=True, cwd=tmp_path).splitlines()
    assert said == [is_original, "True", "True"]


def test_what_is_loaded_while_measuring_ends_keeps_its_original():
    """Another thread may stop while `multiprocessing` runs for the first time."""
    original = multiprocessing.process.BaseProcess.start.__wrapped__
    with _children._around(multiprocessing.process):
        _children.stop()
    assert multiprocessing.process.BaseProcess.start is original
    assert not _children._replaced


CONFIGURED = """
import os, sys, codoperf_otel
for given in ({}, {"subprocess": False}):
    handle = codoperf_otel.configure("shop", file=sys.argv[1], **given)
    print(isinstance(os.waitpid, type(len)))
    handle.shutdown()
    print(isinstance(os.waitpid, type(len)))
"""


def test_configure_measures_until_it_is_shut_down(tmp_path):
    """It is on by default, off where it is said so, and leaves nothing behind."""
    command = [sys.executable, "-c", CONFIGURED, "out"]
    said = subprocess.check_output(command, text=True, cwd=tmp_path).split()
    assert said == ["False", "True", "True", "True"]


def test_what_another_library_has_wrapped_before(telemetry, monkeypatch):
    """Its wrapper learns whose method it is, and the child counts for the call."""
    _children.stop()
    for name in ("__init__", "_internal_poll"):
        monkeypatch.setattr(subprocess.Popen, name, WrapperOfAnother(getattr(subprocess.Popen, name)))
    _children.start()
    with codoperf_otel.performance_context("work"):
        process = subprocess.Popen(BURN)
        process.wait(60)
        process.poll()
    _children.stop()
    assert process.seen
    assert telemetry.span("work").attributes[names.CPU_CHILD_PROCESS_TIME] > 0


def test_what_another_library_has_wrapped_since_only_hands_on(telemetry, monkeypatch):
    """Once measuring has ended, no child counts, although the other's wrappers have kept ours."""
    start, wait = subprocess.Popen.__init__, os.waitpid
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *given, **named: start(*given, **named))
    monkeypatch.setattr(os, "waitpid", lambda *given: wait(*given))
    _children.stop()
    with codoperf_otel.performance_context("work"):
        process = subprocess.Popen(BURN)
        wait(process.pid, 0)
        process.returncode = 0
    assert names.CPU_CHILD_PROCESS_TIME not in telemetry.span("work").attributes
