"""One thread samples for all, while somebody wants it; where the mark cannot be reset it knows the peak."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

import pytest

from codoperf_otel._readings import memory, peak, reset_mark
from codoperf_otel._readings.kept_file import KeptFile
from codoperf_otel._readings.sampled_mark import SampledMark
from codoperf_otel._readings.sampler import Sampler, Wake
from codoperf_otel.performance_monitor import performance_context

MIB = 1 << 20
MS = 1_000_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's mark is Linux's")


class Time:
    """A clock that a wait moves on at once."""

    def __init__(self) -> None:
        self.now = 0

    def clock(self) -> int:
        return self.now

    def wait(self, changed: Wake, seconds: float) -> None:
        self.now += round(seconds * 1e9)


class Reader:
    """A subscriber that keeps when it was called, and by whom, and leaves after `count` calls."""

    def __init__(self, sampler: Sampler, count: int) -> None:
        self.sampler = sampler
        self.count = count
        self.times: list[int] = []
        self.thread: threading.Thread | None = None
        self.done = threading.Event()

    def __call__(self, at_ns: int) -> None:
        self.thread = threading.current_thread()
        self.times.append(at_ns // MS)
        if len(self.times) == self.count:
            self.sampler.unsubscribe(self)
            self.done.set()

    def join(self) -> None:
        """Wait until it has left and its thread has ended."""
        assert self.done.wait(60)
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def virtual(time) -> Sampler:
    """A sampler whose waits take no time."""
    return Sampler(time.clock, time.wait)


def run(script: str, **environment: str) -> list[str]:
    """The words that a fresh Python process prints; nothing may be on its stderr."""
    done = subprocess.run(
        # from 3.12 on a fork beside another thread warns: that is what some of these programs are about
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


# the sampler


def test_everybody_is_called_at_their_own_interval(virtual):
    """The clock's time is handed over, every interval, the first time after one."""
    often, seldom = Reader(virtual, 10), Reader(virtual, 4)
    with virtual._lock:  # so that the thread begins with both
        virtual.subscribe(often, 0.1)
        virtual.subscribe(seldom, 0.25)
    often.join()
    assert often.times == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
    assert seldom.times == [250, 500, 750, 1000]


def test_one_daemon_thread_serves_all_and_ends_with_the_last(virtual):
    """All are called by one daemon thread; it ends when nobody is left, and a later one starts another."""
    first, second = Reader(virtual, 3), Reader(virtual, 5)
    with virtual._lock:
        virtual.subscribe(first, 1)
        virtual.subscribe(second, 1)
    second.join()
    assert first.thread is second.thread
    assert first.thread.daemon
    assert virtual._thread is None
    later = Reader(virtual, 1)
    virtual.subscribe(later, 1)
    later.join()
    assert later.thread is not first.thread


def test_no_turn_is_made_up_for(virtual, time):
    """After a time in which nothing ran, each is called once, and then an interval later."""
    reader = Reader(virtual, 3)
    with virtual._lock:
        virtual.subscribe(reader, 0.1)
        time.now = 5000 * MS
    reader.join()
    assert reader.times == [5000, 5100, 5200]


def test_subscribing_twice_is_once(idle):
    """The second time changes nothing and says so; who is not subscribed can leave all the same."""
    reader = Reader(idle, 1)
    assert idle.subscribe(reader, 1) is True
    assert idle.subscribe(reader, 5) is False
    assert [turn.interval_ns for turn in idle._turns.values()] == [1000 * MS]
    idle.unsubscribe(reader)
    idle.unsubscribe(reader)
    assert not idle._turns


def test_who_fails_is_dropped_with_one_warning(virtual, caplog):
    """A subscriber's exception is logged once, it is not called again, and the others are."""
    calls = []

    def failing(at_ns: int) -> None:
        calls.append(at_ns)
        raise ValueError("no reading")

    reader = Reader(virtual, 5)
    with virtual._lock:
        virtual.subscribe(failing, 0.1)
        virtual.subscribe(reader, 0.1)
    reader.join()
    assert len(calls) == 1
    (record,) = caplog.records
    assert record.name == "codoperf_otel.readings"
    assert "failing" in record.getMessage()
    assert record.exc_info[0] is ValueError


def test_a_waiting_thread_hears_of_who_comes_and_goes():
    """With the real wait: a short interval is served while a long one is waited for, and the thread ends."""
    waiting = threading.Event()

    def wait(changed: Wake, seconds: float) -> None:
        waiting.set()
        changed.wait(seconds)

    real = Sampler(wait=wait)
    long, short = Reader(real, 1), Reader(real, 2)
    real.subscribe(long, 3600)
    thread = real._thread
    assert waiting.wait(60)
    real.subscribe(short, 0.001)
    assert short.done.wait(60)
    assert short.thread is thread
    real.unsubscribe(long)
    thread.join(60)
    assert not thread.is_alive()


def test_interval_too_long_to_be_waited_for_at_once(time):
    """The longest interval is cut to what the platform can wait for."""
    waited = []
    waiting = threading.Event()

    def wait(changed: Wake, seconds: float) -> None:
        waited.append(seconds)
        waiting.set()
        changed.wait(60)

    asleep = Sampler(time.clock, wait)
    reader = Reader(asleep, 1)
    asleep.subscribe(reader, 1e15)
    thread = asleep._thread
    assert waiting.wait(60)
    asleep.unsubscribe(reader)
    thread.join(60)
    assert max(waited) == threading.TIMEOUT_MAX


def test_no_thread_to_be_had_is_one_warning(virtual, monkeypatch, caplog):
    """Where no thread can be started nothing is raised, and the next to subscribe tries again."""
    first, second = Reader(virtual, 1), Reader(virtual, 1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert virtual.subscribe(first, 1)
    assert "can't start new thread" in caplog.text
    virtual.subscribe(second, 1)
    first.join()
    second.join()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_forked_child_samples_for_itself_only():
    """The child has none of the parent's subscribers; its own are served; the parent's go on."""
    run(
        """
        import os, threading
        from codoperf_otel._readings.sampler import shared
        called = threading.Event()
        def parents(at_ns):
            called.set()
        shared.subscribe(parents, 0.001)
        assert called.wait(60)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            assert threading.active_count() == 1
            called.clear()
            own = threading.Event()
            shared.subscribe(lambda at_ns: own.set(), 0.001)
            assert own.wait(60)
            assert not called.is_set()
            os._exit(0)
        called.clear()
        assert os.waitpid(pid, 0)[1] == 0
        assert called.wait(60)
        """
    )


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_fork_while_the_lock_is_held():
    """A child forked while another thread holds the sampler's lock can subscribe."""
    run(
        """
        import os, signal, threading
        from codoperf_otel._readings.sampler import shared
        holding, release = threading.Event(), threading.Event()
        def hold():
            with shared._lock:
                holding.set()
                release.wait()
        threading.Thread(target=hold).start()
        holding.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            called = threading.Event()
            shared.subscribe(lambda at_ns: called.set(), 0.001)
            assert called.wait(60)
            os._exit(0)
        release.set()
        assert os.waitpid(pid, 0)[1] == 0
        """
    )


def test_the_process_ends_while_it_samples():
    """Nobody has to unsubscribe for the process to end."""
    assert run(
        """
        import threading
        from codoperf_otel._readings.sampler import shared
        called = threading.Event()
        shared.subscribe(lambda at_ns: called.set(), 0.001)
        assert called.wait(60)
        print("end")
        """
    ) == ["end"]


# the peak of memory by samples


@pytest.fixture
def resident(monkeypatch) -> list[int]:
    """The resident memory and the kernel's mark, as a test sets them, in bytes."""
    figures = [100, 0]
    monkeypatch.setattr(memory, "rss", lambda: figures[0])
    monkeypatch.setattr(memory, "high_water_mark", lambda: figures[1])
    return figures


@pytest.fixture
def mark(idle, monkeypatch) -> SampledMark:
    """The mark of a process in which it cannot be reset; a test takes its samples."""
    made = SampledMark()
    monkeypatch.setattr(peak, "_mark", made)
    return made


def test_samples_give_the_peak_of_each_window(mark, resident):
    """Overlapping windows each have the highest sample taken while they were open."""
    first = peak.open_window()
    resident[0] = 500
    mark._sample(0)
    second = peak.open_window()
    resident[0] = 300
    mark._sample(0)
    resident[0] = 200
    assert (first.current(), second.current()) == (500, 500)
    third = peak.open_window()
    mark._sample(0)
    assert first.close() == (100, 200, 500, "sampled")
    assert second.close() == (500, 200, 500, "sampled")
    assert third.close() == (200, 200, 200, "sampled")


def test_samples_of_earlier_windows_are_forgotten(mark, resident):
    """A window that opens when none is open begins anew."""
    window = peak.open_window()
    resident[0] = 900
    mark._sample(0)
    window.close()
    resident[0] = 100
    assert peak.open_window().close().peak == 100
    assert mark._marks.noted == 0


def test_a_mark_that_rose_is_the_kernels_word(mark, resident):
    """Where the kernel's own mark rose in a window it is exact; in the other windows samples stand."""
    resident[1] = 1000
    outer = peak.open_window()
    resident[1] = 2000
    inner = peak.open_window()
    mark._sample(0)
    assert inner.close() == (100, 100, 100, "sampled")
    assert outer.close() == (100, 100, 2000, "kernel")
    assert peak.open_window().close().source == "sampled"


def test_sampling_ends_after_the_last_window(mark, resident, idle):
    """The first sample that finds no window open is the last; the next window begins it again."""
    window = peak.open_window()
    assert list(idle._turns) == [mark._sample]
    window.close()
    mark._sample(0)
    assert not idle._turns
    peak.open_window().close()
    assert list(idle._turns) == [mark._sample]


def test_spans_say_that_the_peak_was_sampled(mark, resident, telemetry):
    """The span of an operation names its source."""
    with performance_context("op"):
        resident[0] = 700
        mark._sample(0)
        resident[0] = 100
    attributes = telemetry.span("op").attributes
    assert attributes["codoperf.process.memory.peak"] == 700
    assert attributes["codoperf.process.memory.peak_source"] == "sampled"


SAMPLED = """
import threading
from codoperf_otel._readings import peak
MIB = 1 << 20
window = peak.open_window()
bytearray(100 * MIB)
reading = window.close()
assert reading.source == "kernel" and reading.peak - reading.start > 95 * MIB, reading
window = peak.open_window()
threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
assert threads
kept = bytearray(50 * MIB)
seen = peak._mark._marks.noted
while peak._mark._marks.noted <= seen + 1:
    pass
del kept
reading = window.close()
assert reading.source == "sampled", reading
print((reading.peak - reading.start) // MIB)
for thread in threads:
    thread.join(60)
    assert not thread.is_alive()
"""


@linux
def test_memory_freed_inside_a_window_is_seen_without_resets():
    """With resets forbidden the thread sees 50 MB that came and went, below the process's own mark."""
    (rise,) = run(SAMPLED, CODOPERF_OTEL_CLEAR_REFS="false")
    assert 45 <= int(rise) <= 60


@linux
def test_no_thread_where_the_mark_can_be_reset():
    """Where the kernel reports the peak nothing is sampled."""
    run(
        """
        import threading
        from codoperf_otel._readings import peak, sampler
        window = peak.open_window()
        assert threading.active_count() == 1
        assert window.close().source == "kernel"
        assert not sampler.shared._turns
        """
    )


def test_a_platform_without_the_files_samples(monkeypatch, idle):
    """Where there is neither a mark to reset nor one to read, samples are all there is."""
    nothing = KeptFile("/proc/self/no_such_file", 1)
    monkeypatch.setattr(reset_mark, "_clear_refs", nothing)
    monkeypatch.setattr(memory, "_status", nothing)
    monkeypatch.setattr(peak, "_mark", None)
    window = peak.open_window()
    peak._mark._sample(0)
    reading = window.close()
    assert reading.source == "sampled"
    assert reading.peak >= reading.start > 0


@linux
def test_a_forked_child_samples_its_own_windows():
    """Sampled windows begin anew in a child, and the parent's go on."""
    run(
        """
        import os
        from codoperf_otel._readings import peak
        window = peak.open_window()
        pid = os.fork()
        if pid == 0:
            assert window.close().peak is None
            own = peak.open_window()
            while peak._mark._marks.noted == 0:
                pass
            assert own.close().peak > 0
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert window.close().peak > 0
        """,
        CODOPERF_OTEL_CLEAR_REFS="false",
    )


def test_a_signal_handler_may_subscribe_in_the_midst_of_it() -> None:
    """It comes between any two lines; what it waits for must not be held by its own thread."""
    sampler = Sampler()

    def at_each_call(*_: object) -> None:
        sys.setprofile(None)
        sampler.subscribe(repr, 10)
        sampler.unsubscribe(repr)
        sys.setprofile(at_each_call)

    worker = threading.Thread(target=_subscribe_under, args=(sampler, at_each_call), daemon=True)
    worker.start()
    worker.join(60)
    assert not worker.is_alive()


def _subscribe_under(sampler: Sampler, profile: Callable[..., None]) -> None:
    sys.setprofile(profile)
    sampler.subscribe(print, 10)
    sampler.unsubscribe(print)
    sys.setprofile(None)
