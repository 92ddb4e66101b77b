"""What the process is read to use is true, cheap to ask for, and the child's own after a fork."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from fresh_memory import fresh

from codoperf_otel import _telemetry
from codoperf_otel._once import OncePerKey
from codoperf_otel._readings import cgroup, collection, memory, process_metrics, process_readings, with_psutil
from codoperf_otel._readings.collection import Readings
from codoperf_otel._readings.kept_file import KeptFile
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.instruments import INSTRUMENTS

MIB = 1 << 20
SECOND = 1_000_000_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run(script: str) -> str:
    """What a fresh Python process prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Clock:
    """A clock that stands until it is told to move."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def without_proc(monkeypatch):
    """A platform without ``/proc`` and without ``resource``, on which psutil can be had."""
    monkeypatch.setattr(process_readings, "PROC", "/nowhere")
    monkeypatch.delattr(process_readings, "resource")
    monkeypatch.setattr(memory, "_statm", None)
    for folder in ("_task", "_fd"):
        monkeypatch.setattr(process_readings, folder, KeptFile("/nowhere"))
    monkeypatch.setattr(cgroup, "PROC", "/nowhere")
    caches = (cgroup._known_folders, process_readings._started)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


@pytest.fixture
def without_psutil(monkeypatch):
    """An environment in which psutil is not installed."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    with_psutil._process.cache_clear()
    yield
    with_psutil._process.cache_clear()


# resident memory


@pytest.mark.measures
def test_rss_is_what_psutil_reads():
    """Resident memory agrees with psutil's figure."""
    assert memory.rss() == pytest.approx(psutil.Process().memory_info().rss, abs=4 * MIB)


@pytest.mark.measures
def test_rss_comes_from_psutil_without_proc(without_proc):
    """Without ``/proc`` psutil gives the resident memory."""
    own = psutil.Process()
    memory.rss(), own.memory_info()  # what the first of these take is taken
    assert memory.rss() == own.memory_info().rss


def test_rss_is_absent_where_nothing_tells_it(without_proc, without_psutil, monkeypatch):
    """With neither ``/proc`` nor psutil there is no reading, and no exception."""
    monkeypatch.setattr(memory, "recent", memory.Recent())
    assert memory.rss() is None
    assert memory.recent.mb_at(time.perf_counter_ns()) is None


def test_recent_rss_is_read_again_after_100_ms(monkeypatch):
    """One reading serves for 100 ms of the clock that is handed in, and no longer."""
    now = time.perf_counter_ns() + SECOND
    readings = iter([10 * MIB, 20 * MIB])
    monkeypatch.setattr(memory, "recent", memory.Recent())
    monkeypatch.setattr(memory, "rss", lambda: next(readings))
    assert memory.recent.mb_at(now) == 10.0
    assert memory.recent.mb_at(now + 99_999_999) == 10.0
    assert memory.recent.mb_at(now + 100_000_000) == 20.0


def test_recent_rss_is_read_at_the_first_call_of_a_new_clock(monkeypatch):
    """A clock that begins at 0 gets a reading, not the absence before the first."""
    monkeypatch.setattr(memory, "recent", memory.Recent())
    assert memory.recent.mb_at(0) > 1


@linux
def test_resident_memory_after_a_fork_is_the_childs():
    """A kept descriptor would go on naming the parent: parent and child each read their own memory."""
    run(
        """
import os, time
from codoperf_otel._readings import memory, process_readings as process
before = memory.rss()
memory.recent.mb_at(time.perf_counter_ns())
process.memory(), process.uptime()
pid = os.fork()
if pid == 0:
    kept = bytearray(100 << 20)
    assert memory.rss() - before > 90 << 20
    assert process.memory().resident - before > 90 << 20
    assert memory.recent.mb_at(time.perf_counter_ns()) * 2**20 - before > 90 << 20
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert memory.rss() - before < 20 << 20
"""
    )


@linux
def test_descriptor_closed_by_the_program_is_opened_anew(tmp_path):
    """Where a daemon closed all descriptors and reused the numbers, memory is still read."""
    (tmp_path / "text").write_text("no numbers here\n")
    run(
        f"""
import os
from codoperf_otel._readings import memory, process_readings as process
before = memory.rss()
process.memory(), process.threads(), process.disk_io()
os.closerange(3, 256)
strangers = [os.open("{tmp_path}/text", os.O_RDONLY) for _ in range(9)]
assert abs(memory.rss() - before) < 5 << 20
assert abs(process.memory().resident - before) < 5 << 20
assert process.threads() == 1
assert process.disk_io() is not None
assert all(os.fstat(stranger) for stranger in strangers)
"""
    )


# the sources


def test_sources_are_all_metrics_of_process_and_interpreter():
    """Each ``process.*`` and ``cpython.gc.*`` instrument of the table has a source, and nothing else has."""
    assert set(process_metrics.SOURCES) == {
        name for name in INSTRUMENTS if name.startswith(("process.", "cpython.gc.", "codoperf.process."))
    }


@linux
@pytest.mark.usefixtures("without_psutil")
def test_every_metric_is_read_without_psutil(telemetry, monkeypatch):
    """On Linux the standard library and ``/proc`` give every figure, with the convention's attributes."""
    monkeypatch.setattr(cgroup, "memory_limit", lambda: MIB)
    monkeypatch.setattr(cgroup, "throttled_time", lambda: 0.5)
    clock = Clock()
    monkeypatch.setattr(process_metrics, "_readings", Readings(process_metrics.read, clock))
    process_metrics.start()
    clock.now += SECOND
    for name, source in process_metrics.SOURCES.items():
        _telemetry.observe(name, source)
    try:
        data = telemetry.reader.get_metrics_data()
    finally:
        for name in process_metrics.SOURCES:
            _telemetry.unobserve(name)
    points = {
        metric.name: [tuple(point.attributes.items()) for point in metric.data.data_points]
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name in process_metrics.SOURCES
    }
    modes = [(("cpu.mode", "user"),), (("cpu.mode", "system"),)]
    generations = [(("cpython.gc.generation", number),) for number in range(3)]
    assert points == {
        "process.cpu.time": modes,
        "process.cpu.utilization": modes,
        "process.uptime": [()],
        "process.memory.usage": [()],
        "process.memory.virtual": [()],
        "process.thread.count": [()],
        "process.unix.file_descriptor.count": [()],
        "process.context_switches": [
            ((names.PROCESS_CONTEXT_SWITCH_TYPE, "voluntary"),),
            ((names.PROCESS_CONTEXT_SWITCH_TYPE, "involuntary"),),
        ],
        "process.paging.faults": [
            ((names.PAGING_FAULT_TYPE, "minor"),),
            ((names.PAGING_FAULT_TYPE, "major"),),
        ],
        "process.disk.io": [(("disk.io.direction", "read"),), (("disk.io.direction", "write"),)],
        "codoperf.process.memory.limit": [()],
        "codoperf.process.cpu.throttled.time": [()],
        "cpython.gc.collections": generations,
        "cpython.gc.collected_objects": generations,
        "cpython.gc.uncollectable_objects": generations,
    }


def agree(reading: process_metrics.Reading) -> None:
    """Fail unless a reading is what psutil reads now."""
    own = psutil.Process()
    assert reading.cpu == pytest.approx(own.cpu_times()[:2], abs=0.5)
    assert sum(reading.cpu) == pytest.approx(time.process_time(), abs=0.2)
    assert reading.resident == pytest.approx(own.memory_info().rss, abs=4 * MIB)
    assert reading.virtual == pytest.approx(own.memory_info().vms, abs=4 * MIB)
    assert reading.threads == own.num_threads()
    assert reading.descriptors == pytest.approx(own.num_fds(), abs=1)  # on Linux psutil counts its own
    assert reading.disk_io[1] == pytest.approx(own.io_counters().write_bytes, abs=MIB)
    assert reading.uptime == pytest.approx(time.time() - own.create_time(), abs=1.5)


@pytest.mark.measures
def test_reading_is_what_psutil_reads():
    """Each figure agrees with psutil's, with a second thread in play."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        agree(process_metrics.read(0))
    finally:
        end.set()
        thread.join()


@pytest.mark.measures
def test_reading_comes_from_psutil_without_proc(without_proc):
    """Without ``/proc`` and ``resource`` psutil gives what it can; page faults by type it cannot."""
    reading = process_metrics.read(0)
    agree(reading)
    assert reading.switches is not None
    assert reading.faults is None


def test_descriptors_are_those_that_are_open():
    """Three more open files are three more descriptors."""
    before = process_readings.descriptors()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    assert process_readings.descriptors() == before + 3
    for descriptor in opened:
        os.close(descriptor)
    assert process_readings.descriptors() == before


def test_descriptors_are_counted_where_the_folder_has_no_size(monkeypatch):
    """Kernels before 6.2 give no size for ``fd``; then its entries are counted."""
    expected = process_readings.descriptors()
    monkeypatch.setattr(KeptFile, "status", lambda folder: os.stat_result([0] * 10))
    assert process_readings.descriptors() == expected


@linux
def test_threads_are_those_that_run(monkeypatch):
    """Three more threads are three more, also where the folder of threads does not have a link for each."""
    end = threading.Event()
    before = process_readings.threads()
    threads = [threading.Thread(target=end.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert process_readings.threads() == before + 3
    monkeypatch.setattr(KeptFile, "status", lambda folder: os.stat_result([0] * 10))
    assert process_readings.threads() == before + 3
    end.set()
    for thread in threads:
        thread.join()


def test_context_switches_count_every_thread():
    """Switches of a thread that has ended are the process's, too."""
    before = process_readings.switches().voluntary
    thread = threading.Thread(
        target=lambda: [time.sleep(0) or os.sched_yield() or time.sleep(1e-6) for _ in range(50)]
    )
    thread.start()
    thread.join()
    assert process_readings.switches().voluntary - before >= 50


@pytest.mark.measures
def test_page_faults_and_cpu_time_rise_with_use():
    """Touching new memory is a minor fault a page, and computing is user time."""
    faults, spent = process_readings.faults(), process_readings.cpu()
    fresh(40).close()
    sum(range(2_000_000))
    assert process_readings.faults().minor > faults.minor
    assert process_readings.cpu().user > spent.user


def test_uptime_begins_with_the_process_not_the_import():
    """The time before the first import of this package counts."""
    uptime = run(
        "import time; time.sleep(0.3)\n"
        "from codoperf_otel._readings.process_readings import uptime; print(uptime())"
    )
    assert 0.3 <= float(uptime) < 30


def test_uptime_goes_on_where_the_clock_is_set(without_proc, monkeypatch):
    """psutil goes by the wall clock: setting it an hour ahead or back makes no process older or younger."""
    before, real = process_readings.uptime(), time.time
    for hours in (1, -1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + 3600 * hours)
        assert process_readings.uptime() == pytest.approx(before, abs=5)


def test_what_cannot_be_read_is_left_out_with_one_line(without_proc, without_psutil, monkeypatch, caplog):
    """A figure that the platform does not give is absent, said once, and raises nothing."""
    caplog.set_level(logging.INFO, "codoperf_otel.readings")
    monkeypatch.setattr(process_metrics, "_readings", Readings(process_metrics.read))
    monkeypatch.setattr(collection, "_is_first_time", OncePerKey())
    for _ in range(2):
        found = {name for name, source in process_metrics.SOURCES.items() if list(source())}
    assert found == {
        names.PROCESS_CPU_TIME,
        names.CPYTHON_GC_COLLECTIONS,
        names.CPYTHON_GC_COLLECTED_OBJECTS,
        names.CPYTHON_GC_UNCOLLECTABLE_OBJECTS,
    }
    left_out = [record.args[0] for record in caplog.records]
    assert sorted(left_out) == sorted(set(process_metrics.SOURCES) - found - {names.PROCESS_CPU_UTILIZATION})


def test_one_reading_serves_all_callbacks_for_50_ms():
    """All that is asked within 50 ms comes from one reading; after that there is a new one."""
    clock = Clock()
    readings = Readings(process_metrics.read, clock)
    first = readings.latest()
    clock.now += 49_999_999
    assert readings.latest() is first
    clock.now += 1
    assert readings.latest() is not first


def cpu_readings(clock: Clock) -> process_metrics.Readings:
    """Readings in which the process uses half a CPU in user mode and a quarter in system mode."""

    def take(at_ns: int) -> process_metrics.Reading:
        seconds = at_ns / SECOND
        nothing = [None] * (len(process_metrics.Reading._fields) - 2)
        return process_metrics.Reading(at_ns, process_readings.Cpu(0.5 * seconds, 0.25 * seconds), *nothing)

    return Readings(take, clock)


def utilization() -> dict[str, float]:
    """What the source of ``process.cpu.utilization`` gives, by mode."""
    source = process_metrics.SOURCES[names.PROCESS_CPU_UTILIZATION]
    return {seen.attributes[names.CPU_MODE]: seen.value for seen in source()}


def test_utilization_is_cpu_time_over_the_time_of_all_cpus(monkeypatch):
    """The convention's definition: CPU time by elapsed time and by the CPUs the process may use."""
    clock = Clock()
    monkeypatch.setattr(process_metrics, "_readings", cpu_readings(clock))
    monkeypatch.setattr(process_readings, "available_cpus", lambda: 2)
    assert utilization() == {}
    clock.now = SECOND - 1
    assert utilization() == {}
    clock.now = 2 * SECOND
    assert utilization() == {"user": pytest.approx(0.25), "system": pytest.approx(0.125)}


def test_two_readers_do_not_take_utilization_from_each_other(monkeypatch):
    """Each of two readers that come one after the other sees the same utilization, however often they ask."""
    clock = Clock()
    readings = cpu_readings(clock)
    monkeypatch.setattr(process_metrics, "_readings", readings)
    monkeypatch.setattr(process_readings, "available_cpus", lambda: 1)
    utilization()
    for _ in range(100):
        clock.now += 60_000_000
        seen = utilization(), utilization()
        if clock.now > SECOND:
            assert seen == ({"user": pytest.approx(0.5), "system": pytest.approx(0.25)},) * 2
    assert len(readings._history) < 25


def test_utilization_is_measured_over_the_last_reading_one_second_old(monkeypatch):
    """Of many earlier readings the newest that is a second old is compared, whenever the first was."""
    clock = Clock()
    readings = cpu_readings(clock)
    for now in (0, 10 * SECOND, 11 * SECOND, 11 * SECOND + SECOND // 2, 12 * SECOND):
        clock.now = now
        readings.latest()
    latest, earlier = readings.compared()
    assert (latest.at_ns, earlier.at_ns) == (12 * SECOND, 11 * SECOND)


def test_collections_of_the_garbage_collector_are_counted():
    """One full collection is one more of the oldest generation."""
    source = process_metrics.SOURCES[names.CPYTHON_GC_COLLECTIONS]
    oldest = [seen.value for seen in source()][-1]
    gc.collect()
    assert [seen.value for seen in source()][-1] == oldest + 1
