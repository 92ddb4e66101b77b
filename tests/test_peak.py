"""The peak of a window is what the kernel saw, whatever windows overlap and whoever started the program."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from fresh_memory import fresh
from hypothesis import given
from hypothesis import strategies as st

from codoperf_otel._environment_variables import CLEAR_REFS
from codoperf_otel._once import Once, OncePerKey
from codoperf_otel._readings import collection, memory, peak, reset_mark
from codoperf_otel._readings.kept_file import KeptFile
from codoperf_otel._readings.marks import Marks
from codoperf_otel._readings.sampled_mark import SampledMark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's mark is Linux's")

MIB = 1 << 20

PRELUDE = """
import os, sys, threading
from codoperf_otel._readings import peak, reset_mark
MIB = 1 << 20
def use(mib):
    bytearray(mib * MIB)
def rise(reading):
    assert reading.source == "kernel", reading
    return (reading.peak - reading.start) // MIB
"""


def run(script: str, **environment: str) -> list[str]:
    """The words that a fresh Python process prints."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


ONE_WINDOW = """
window = peak.open_window()
use(200)
print(rise(window.close()))
"""


def test_memory_freed_inside_a_window_is_in_its_peak():
    """200 MB that are gone at the window's end show in its peak, and are no part of the next window's."""
    first, second = run(ONE_WINDOW + "print(rise(peak.open_window().close()))")
    assert 190 <= int(first) <= 215
    assert int(second) < 10


def test_peak_of_the_spawning_parent_is_not_ours():
    """A program started from a process that once had 400 MB sees its own 200 MB, and not the 400."""
    (rise,) = run(
        f"""
        import subprocess
        use(400)
        code = {PRELUDE + ONE_WINDOW!r}
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        """
    )
    assert 190 <= int(rise) <= 215


def test_overlapping_windows_have_their_own_peaks():
    """Windows that end in the order of their beginning each see what was used while they were open."""
    first, second, third = run(
        """
        a = peak.open_window()
        use(100)
        b = peak.open_window()
        use(50)
        print(rise(a.close()))
        c = peak.open_window()
        use(20)
        print(rise(b.close()))
        use(150)
        print(rise(c.close()))
        """
    )
    assert 95 <= int(first) <= 110
    assert 45 <= int(second) <= 60
    assert 145 <= int(third) <= 160


def test_windows_of_several_threads_have_their_own_peaks():
    """A window in another thread opens and ends inside ours without hiding our peak from us."""
    inner, outer = run(
        """
        def inner():
            window = peak.open_window()
            use(30)
            print(rise(window.close()))
        window = peak.open_window()
        use(120)
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()
        print(rise(window.close()))
        """
    )
    assert 25 <= int(inner) <= 40
    assert 115 <= int(outer) <= 130


def test_nested_windows_have_their_own_peaks():
    """An outer window sees the highest of its inner ones, and each inner one its own."""
    peaks = run(
        """
        outer = peak.open_window()
        for mib in (80, 40, 160, 20):
            inner = peak.open_window()
            use(mib)
            print(rise(inner.close()))
        print(rise(outer.close()))
        """
    )
    for seen, used in zip(map(int, peaks), (80, 40, 160, 20, 160), strict=True):
        assert used - 5 <= seen <= used + 10


SEVERAL_WINDOWS = """
import mmap
def fill():
    mmap.mmap(-1, 40 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x8000).close()  # MAP_POPULATE
outer = peak.open_window()
for act in (fill, bool, lambda: use(80), bool, fill):
    inner = peak.open_window()
    act()
    print(rise(inner.close()))
print(rise(outer.close()))
"""


@pytest.mark.parametrize("parent_mib", [0, 400])
def test_each_of_several_windows_has_its_own_peak(parent_mib):
    """Quiet windows and pages filled in one go are told apart, whatever the spawning parent once had."""
    peaks = run(
        f"""
        import subprocess
        use({parent_mib})
        code = {PRELUDE + SEVERAL_WINDOWS!r}
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        """
    )
    for seen, used in zip(map(int, peaks), (40, 0, 80, 0, 40, 80), strict=True):
        assert used - 5 <= seen <= used + 10


def test_memory_freed_between_windows_is_in_no_later_peak():
    """A mark above what a window starts with is reset, though no page was touched since it was seen."""
    run(
        """
        kept = bytearray(60 * MIB)
        peak.open_window().close()
        del kept
        reading = peak.open_window().close()
        assert reading.peak < reading.start + 10 * MIB
        assert peak._mark._marks.noted == 0
        """
    )


def test_the_mark_is_left_alone_where_no_memory_moved():
    """Quiet windows one after another share a reset."""
    run(
        """
        class Counted(reset_mark.ResetMark):
            resets = 0
            def _reset(self, seen):
                Counted.resets += 1
                super()._reset(seen)
        peak._mark = Counted()
        for _ in range(1000):
            peak.open_window().close()
        assert 1 <= Counted.resets < 100, Counted.resets
        """
    )


def test_what_rises_while_a_reset_is_prepared_is_in_the_open_windows_peak(monkeypatch, no_collection):
    """Memory that another thread uses and frees just before a reset counts for the windows open."""

    class Slow(KeptFile):
        def descriptor(self) -> int:
            fresh(60).close()
            return super().descriptor()

    monkeypatch.setattr(peak, "_mark", None)
    window = peak.open_window()
    monkeypatch.setattr(reset_mark, "_clear_refs", Slow("/proc/self/clear_refs", os.O_WRONLY))
    monkeypatch.setattr(peak._mark, "_faults", -1)
    peak.open_window().close()
    reading = window.close()
    assert reading.peak - reading.start > 55 * MIB


@pytest.mark.measures
@pytest.mark.parametrize("resets", ["true", "false"])
def test_a_window_tells_the_cpu_time_of_the_process(resets):
    """The CPU seconds of all threads between beginning and end; a forked child does not know them."""
    run(
        """
        import time
        def spin():
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass
        window = peak.open_window()
        assert window.cpu_seconds is None
        began = time.process_time()
        spin()
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()
        spent = time.process_time() - began
        window.close()
        assert 0.1 <= spent <= window.cpu_seconds + 1e-5 < spent + 0.02
        window = peak.open_window()
        pid = os.fork()
        if pid == 0:
            window.close()
            assert window.cpu_seconds is None
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        CODOPERF_OTEL_CLEAR_REFS=resets,
    )


def test_reading_an_open_window_changes_nothing():
    """The highest so far can be asked for at any time, and is still there at the end."""
    run(
        """
        window = peak.open_window()
        use(100)
        early = window.current()
        other = peak.open_window()
        assert window.current() == early
        assert other.current() < early - 90 * MIB
        use(50)
        assert window.current() == early
        assert window.close().peak == early
        """
    )


def test_what_one_window_sees_above_the_mark_is_in_those_around_it(monkeypatch):
    """Where the kernel tells more memory than its mark, at a start or an end, no outer peak is below it."""
    real = memory.rss
    outer = peak.open_window()
    for more in ((0, 1 << 20), (2 << 20, 0)):
        added = iter(more)
        monkeypatch.setattr(memory, "rss", lambda added=added: real() + next(added))
        inner = peak.open_window().close()
        monkeypatch.setattr(memory, "rss", real)
        assert outer.current() >= inner.peak >= real() + max(more) - (512 << 10)
    assert outer.close().peak >= inner.peak


def test_peak_is_at_least_start_and_end():
    """Memory that is held at the end is in end and peak."""
    run(
        """
        window = peak.open_window()
        kept = bytearray(60 * MIB)
        reading = window.close()
        assert reading.end - reading.start > 55 * MIB
        assert reading.peak >= reading.end
        window = peak.open_window()
        del kept
        reading = window.close()
        assert reading.end < reading.start - 55 * MIB
        assert reading.peak >= reading.start
        """
    )


def test_fork_begins_anew():
    """A child does not know the peak of its parent's window, and has windows of its own."""
    child, parent = run(
        """
        window = peak.open_window()
        use(100)
        pid = os.fork()
        if pid == 0:
            assert window.close().peak is None
            own = peak.open_window()
            use(40)
            print(rise(own.close()), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(rise(window.close()))
        """
    )
    assert 35 <= int(child) <= 50
    assert 95 <= int(parent) <= 110


def test_fork_while_another_thread_holds_the_lock():
    """A child forked in the middle of another thread's reading does not wait for that thread."""
    run(
        """
        window = peak.open_window()
        holding, release = threading.Event(), threading.Event()
        def hold():
            with peak._mark._lock:
                holding.set()
                release.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait()
        pid = os.fork()
        if pid == 0:
            import signal
            signal.alarm(30)
            window.close()
            peak.open_window().close()
            os._exit(0)
        release.set()
        assert os.waitpid(pid, 0)[1] == 0
        """
    )


def test_without_reset_a_peak_is_sampled_unless_the_mark_rose():
    """With resets forbidden a peak is exact where the process's own mark rose, and sampled elsewhere."""
    run(
        """
        window = peak.open_window()
        use(100)
        assert 95 <= rise(window.close()) <= 110
        window = peak.open_window()
        use(50)
        assert window.current() > 0
        reading = window.close()
        assert reading.source == "sampled"
        assert reading.peak >= max(reading.start, reading.end) > 0
        """,
        CODOPERF_OTEL_CLEAR_REFS="false",
    )


def test_mark_that_cannot_be_reset_is_sampled(monkeypatch, caplog):
    """Where the kernel's file cannot be opened the memory is sampled, which one line says."""
    caplog.set_level("INFO", "codoperf_otel.readings")
    monkeypatch.setattr(reset_mark, "_clear_refs", KeptFile("/proc/self/no_such_file", 1))
    monkeypatch.setattr(peak, "_is_first_time", Once())
    for _ in range(2):
        monkeypatch.setattr(peak, "_mark", None)
        peak.open_window().close()
    assert isinstance(peak._mark, SampledMark)
    (line,) = caplog.messages
    assert line.startswith("codoperf.process.memory.peak is sampled: the kernel's mark cannot be reset (")


def test_memory_that_cannot_be_read_is_left_out_with_one_line(monkeypatch, caplog):
    """Where nothing tells the memory there is no window, which one line says."""
    caplog.set_level("INFO", "codoperf_otel.readings")
    monkeypatch.setattr(memory, "rss", lambda: None)
    monkeypatch.setattr(collection, "_is_first_time", OncePerKey())
    assert [peak.open_window() for _ in range(2)] == [None, None]
    assert caplog.messages == ["codoperf.process.memory.peak cannot be read on this platform and is left out"]


def test_file_that_stops_to_be_writable_leaves_open_windows_exact(monkeypatch, no_collection):
    """A window that is open when resets end keeps what it knows; later ones are sampled."""
    monkeypatch.setattr(peak, "_mark", None)
    window = peak.open_window()
    fresh(60).close()
    monkeypatch.setattr(reset_mark, "_clear_refs", KeptFile("/proc/self/no_such_file", 1))
    later = peak.open_window()
    assert later.close().source == "sampled"
    reading = window.close()
    assert reading.peak - reading.start > 55 * MIB


def test_wrong_setting_is_named(monkeypatch, caplog):
    """A value that is neither true nor false is one warning, and resets go on."""
    monkeypatch.setenv(CLEAR_REFS, "never")
    assert peak._may_reset()
    assert len(caplog.records) == 1
    assert "CODOPERF_OTEL_CLEAR_REFS is 'never': it must be true or false" in caplog.text


def test_descriptor_closed_by_the_program_is_never_written_to(tmp_path):
    """Where a daemon closed all descriptors, a file that then bears our number stays as it was."""
    run(
        f"""
        assert peak.open_window().close().peak
        os.closerange(3, 256)
        strangers = [os.open(f"{tmp_path}/{{n}}", os.O_RDWR | os.O_CREAT) for n in range(20)]
        window = peak.open_window()
        use(50)
        assert 45 <= rise(window.close()) <= 60
        assert all(os.fstat(stranger).st_size == 0 for stranger in strangers)
        """
    )


@given(st.lists(st.one_of(st.integers(0, 20), st.none()), max_size=60))
def test_marks_give_the_highest_since_any_moment(steps):
    """For any marks noted and any moments between them, the highest since each moment is exact."""
    marks = Marks()
    noted: list[int] = []
    moments: list[int] = []
    for step in steps:
        if step is None:
            moments.append(marks.noted)
        else:
            marks.note(step)
            noted.append(step)
    for moment in moments:
        assert marks.since(moment) == max(noted[moment:], default=0)


def test_marks_do_not_grow_with_what_is_noted():
    """A hundred thousand notes of a steady program leave no more than the distinct heights."""
    marks = Marks()
    for number in range(100_000):
        marks.note(number % 7)
    assert len(marks._highest) <= 7
