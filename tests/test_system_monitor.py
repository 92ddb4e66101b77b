"""What is told of the whole machine is true, and is asked for once for all who want it."""

from __future__ import annotations

import inspect
import logging
import shutil
import subprocess
import sys
import textwrap
import threading
from dataclasses import fields
from importlib import import_module

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codoperf_otel import _telemetry
from codoperf_otel._once import OncePerKey
from codoperf_otel._readings import collection, sampler, system_metrics, system_readings
from codoperf_otel._readings.collection import Readings
from codoperf_otel._readings.sampler import Sampler
from codoperf_otel._telemetry import attribute_sets, names
from codoperf_otel._telemetry.attribute_sets import OVERFLOW, AttributeSets
from codoperf_otel._telemetry.instruments import INSTRUMENTS
from codoperf_otel.system_monitor import SystemMetrics, SystemMonitor, get_system_metrics

MIB = 1 << 20
GIB = 1 << 30
MS = 1_000_000
SECOND = 1_000_000_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
forks = pytest.mark.skipif(sys.platform == "win32", reason="forks")


class Clock:
    """A clock that stands until it is told to move."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def take(at_ns: int) -> system_metrics.Reading:
    """A machine that was up for 10 s at the clock's 0, all of it idle, and works half of the time since."""
    seconds = at_ns / SECOND
    return system_metrics.Reading(
        at_ns,
        1000 + seconds,
        {"user": 0.4 * seconds, "system": 0.1 * seconds, "idle": 10 + 0.3 * seconds, "iowait": 0.2 * seconds},
        system_readings.Memory(1000 * MIB, {"used": 250 * MIB, "free": 700 * MIB}),
        system_readings.Filesystem(100 * GIB, 20 * GIB, 60 * GIB),
        {"eth0": system_readings.Traffic(100 + at_ns, 10), "lo": system_readings.Traffic(5, 5)},
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steady(clock, monkeypatch) -> Clock:
    """A machine whose figures are known, and its clock."""
    monkeypatch.setattr(system_metrics, "_readings", Readings(take, clock))
    return clock


@pytest.fixture
def without_proc(monkeypatch):
    """A platform without ``/proc``."""
    monkeypatch.setattr(system_readings, "PROC", "/nowhere")
    system_metrics._filesystem_attributes.cache_clear()
    yield
    system_metrics._filesystem_attributes.cache_clear()


@pytest.fixture
def nothing_told(without_proc, monkeypatch):
    """A platform that tells nothing at all."""

    def refuse(path: str) -> None:
        raise OSError(path)

    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(shutil, "disk_usage", refuse)
    monkeypatch.setattr(system_metrics, "_readings", Readings(system_metrics.read))
    monkeypatch.setattr(collection, "_is_first_time", OncePerKey())


def run(script: str) -> str:
    """What a fresh Python process prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# the figures


def agree(metrics: SystemMetrics) -> None:
    """Fail unless the figures are what psutil reads now."""
    memory, disk, network = psutil.virtual_memory(), psutil.disk_usage("/"), psutil.net_io_counters()
    assert 0 <= metrics.cpu_percent <= 100
    assert metrics.memory_percent == pytest.approx(memory.percent, abs=5)
    assert metrics.memory_used_mb == pytest.approx((memory.total - memory.available) / MIB, abs=1024)
    assert metrics.memory_total_mb == memory.total / MIB
    assert metrics.disk_usage_percent == pytest.approx(disk.percent, abs=1)
    assert metrics.disk_free_gb == pytest.approx(disk.free / GIB, abs=1)
    assert metrics.network_bytes_sent == pytest.approx(network.bytes_sent, rel=0.2, abs=MIB)
    assert metrics.network_bytes_recv == pytest.approx(network.bytes_recv, rel=0.2, abs=MIB)


@pytest.mark.measures
def test_metrics_are_what_psutil_reads(monkeypatch):
    """Each figure agrees with psutil's."""
    monkeypatch.setattr(system_metrics, "_readings", Readings(system_metrics.read))
    agree(SystemMonitor().get_current_metrics())


@pytest.mark.measures
def test_metrics_come_from_psutil_without_proc(without_proc, monkeypatch):
    """Without ``/proc`` psutil gives every figure, and how the root directory is mounted."""
    monkeypatch.setattr(system_metrics, "_readings", Readings(system_metrics.read))
    agree(SystemMonitor().get_current_metrics())
    assert system_readings.mount() is not None


@pytest.mark.measures
@linux
def test_proc_and_psutil_have_the_same_figures(without_proc, monkeypatch):
    """The two ways to a figure give the same parts of it, and nearly the same numbers."""
    by_psutil = system_metrics.read(0)
    mount = system_readings.mount()
    monkeypatch.setattr(system_readings, "PROC", "/proc")
    by_proc = system_metrics.read(0)
    assert by_psutil.cpu == pytest.approx(by_proc.cpu, abs=2)
    assert by_psutil.memory.states == pytest.approx(by_proc.memory.states, abs=GIB)
    assert by_psutil.network.keys() == by_proc.network.keys()
    assert mount == system_readings.mount()


def test_cpu_is_that_between_two_readings(steady):
    """The share of CPU time used since the last reading at least 0.1 s before; waiting is not use."""
    monitor = SystemMonitor()
    assert monitor.get_current_metrics().cpu_percent == 0
    steady.now = SECOND
    assert monitor.get_current_metrics().cpu_percent == pytest.approx(50)


def test_first_cpu_is_that_since_the_machine_started(steady):
    """Where no earlier reading is 0.1 s old there is no shorter time to tell of."""
    steady.now = 10 * SECOND
    assert SystemMonitor().get_current_metrics().cpu_percent == pytest.approx(25)
    steady.now += 99 * MS
    assert SystemMonitor().get_current_metrics().cpu_percent == pytest.approx(25, abs=0.5)
    steady.now += 100 * MS
    assert SystemMonitor().get_current_metrics().cpu_percent == pytest.approx(50)


@given(
    st.lists(st.floats(0, 1e6), min_size=8, max_size=8), st.lists(st.floats(0, 1e6), min_size=8, max_size=8)
)
def test_shares_of_cpu_add_up(before, now):
    """Whatever the counters say, those that run back included, shares add up to 1 and use is 0 to 1."""
    modes = ("user", "nice", "system", "idle", "iowait", "interrupt", "steal", "other")
    earlier, latest = (
        system_metrics.Reading(0, 0, dict(zip(modes, times, strict=True)), None, None, None)
        for times in (before, now)
    )
    shares = system_metrics.utilization(latest, earlier)
    if shares is not None:
        assert sum(shares.values()) == pytest.approx(1)
        assert 0 <= system_metrics.busy(shares) <= 1


def test_figures_are_in_the_documented_units(steady):
    """Percent, MiB, GiB, bytes, Unix seconds."""
    steady.now = SECOND
    assert SystemMonitor().get_current_metrics() == SystemMetrics(
        cpu_percent=pytest.approx(100 * 0.5 / 11),
        memory_percent=25.0,
        memory_used_mb=250.0,
        memory_total_mb=1000.0,
        disk_usage_percent=25.0,
        disk_free_gb=60.0,
        network_bytes_sent=15,
        network_bytes_recv=SECOND + 105,
        timestamp=1001.0,
    )


def test_system_metrics_are_the_fields(steady):
    """`get_system_metrics` gives the fields in their order."""
    assert list(get_system_metrics()) == [field.name for field in fields(SystemMetrics)]
    assert get_system_metrics()["memory_used_mb"] == 250.0


def test_figures_that_cannot_be_read_are_none(nothing_told):
    """A platform that tells nothing gives None, not 0, and no exception."""
    metrics = get_system_metrics()
    assert metrics.pop("timestamp") > 0
    assert set(metrics.values()) == {None}


def test_a_file_system_of_no_size_tells_nothing(monkeypatch):
    """Where the root has no size there is no share of it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 0))
    assert system_readings.filesystem() is None


@linux
def test_every_figure_is_there_without_psutil():
    """On Linux nothing needs psutil."""
    run(
        """
        import sys
        sys.modules["psutil"] = None
        from codoperf_otel._readings import system_metrics
        from codoperf_otel.system_monitor import SystemMonitor, get_system_metrics
        assert None not in get_system_metrics().values()
        with SystemMonitor(0.5) as monitor:
            pass
        assert len(monitor.history) == 1
        system_metrics.start()
        empty = [name for name, source in system_metrics.SOURCES.items() if not source()]
        assert empty == ["system.cpu.utilization"]
        """
    )


# the monitor


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_wrong_interval_is_named(interval):
    """An interval that no time can be is one error with its name, its value and what is allowed."""
    with pytest.raises(ValueError, match=f"^interval is {interval}: it must be a number of seconds above 0$"):
        SystemMonitor(interval)


def test_history_has_one_reading_an_interval(steady, monkeypatch):
    """While it monitors, a reading is kept at the start and at every interval."""
    done = threading.Event()

    def wait(changed: threading.Event, seconds: float) -> None:
        steady.now += round(seconds * 1e9)
        if steady.now > 2 * SECOND:
            monitor.stop_monitoring()
            done.set()

    monkeypatch.setattr(sampler, "shared", Sampler(steady, wait))
    monitor = SystemMonitor(interval=0.5)
    with sampler.shared._lock:  # so that the thread begins after the reading of the start
        monitor.start_monitoring()
        thread = sampler.shared._thread
    assert done.wait(60)
    thread.join(60)
    assert [metrics.timestamp for metrics in monitor.history] == [1000, 1000.5, 1001, 1001.5, 1002]
    assert [metrics.cpu_percent for metrics in monitor.history] == pytest.approx([0, 50, 50, 50, 50])


def test_history_is_bounded(steady, idle):
    """The newest 1,000 readings are kept, however long it monitors."""
    monitor = SystemMonitor()
    for number in range(1005):
        steady.now = number * SECOND
        monitor._sample()
    assert [metrics.timestamp for metrics in monitor.history] == [1000 + number for number in range(5, 1005)]


def test_history_is_a_copy(steady, idle):
    """What a caller does to the list changes nothing."""
    with SystemMonitor() as monitor:
        monitor.history.clear()
        assert len(monitor.history) == 1


def test_starting_twice_is_one_monitoring(steady, idle):
    """A second start neither subscribes nor reads again; one stop ends it; a stop more does nothing."""
    monitor = SystemMonitor()
    monitor.stop_monitoring()
    monitor.start_monitoring()
    monitor.start_monitoring()
    assert len(idle._turns) == 1
    assert len(monitor.history) == 1
    monitor.stop_monitoring()
    monitor.stop_monitoring()
    assert not idle._turns


def test_monitors_do_not_disturb_each_other(steady, idle):
    """Two monitors are two subscriptions, each with its own interval and its own end."""
    first, second = SystemMonitor(1), SystemMonitor(2)
    with first, second:
        assert sorted(turn.interval_ns for turn in idle._turns.values()) == [SECOND, 2 * SECOND]
        first.stop_monitoring()
        assert list(idle._turns) == [second._sample]


def test_a_block_that_fails_ends_the_monitoring(steady, idle):
    """The exception goes on as it was."""
    monitor = SystemMonitor()
    with pytest.raises(KeyError, match="mine"), monitor:
        raise KeyError("mine")
    assert not idle._turns


def test_a_monitor_is_safe_under_threads(idle):
    """Eight threads that start, read and stop it leave it stopped, with whole readings."""
    monitor = SystemMonitor()

    def loop() -> None:
        for _ in range(50):
            monitor.start_monitoring()
            monitor.get_current_metrics()
            assert all(isinstance(metrics, SystemMetrics) for metrics in monitor.history)
            monitor.stop_monitoring()

    threads = [threading.Thread(target=loop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not idle._turns
    assert monitor.history


@forks
def test_a_forked_childs_monitor_is_its_own():
    """The child does not monitor until it starts; a lock that was held at the fork does not stop it."""
    run(
        """
        import os, signal, threading
        from codoperf_otel._readings import sampler, system_metrics
        from codoperf_otel.system_monitor import SystemMonitor
        monitor = SystemMonitor(0.001)
        monitor.start_monitoring()
        holding, release = threading.Event(), threading.Event()
        def hold():
            with system_metrics._readings._lock:
                holding.set()
                release.wait()
        threading.Thread(target=hold).start()
        holding.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            assert not sampler.shared._turns
            assert threading.active_count() == 1
            before = len(monitor.history)
            with monitor:
                while len(monitor.history) < before + 3:
                    pass
            os._exit(0)
        release.set()
        assert os.waitpid(pid, 0)[1] == 0
        assert sampler.shared._turns
        """
    )


def test_the_process_ends_while_it_monitors():
    """A monitor that nobody stopped does not hold the process."""
    assert (
        run(
            """
            from codoperf_otel.system_monitor import SystemMonitor
            monitor = SystemMonitor(0.001)
            monitor.start_monitoring()
            while len(monitor.history) < 3:
                pass
            print("end")
            """
        )
        == "end\n"
    )


def test_nothing_runs_before_it_monitors():
    """Neither the import nor a reading starts a thread or loads psutil."""
    run(
        """
        import sys, threading
        from codoperf_otel.system_monitor import SystemMonitor, get_system_metrics
        SystemMonitor().get_current_metrics()
        get_system_metrics()
        assert threading.active_count() == 1
        assert "psutil" not in sys.modules or sys.platform != "linux"
        """
    )


# the instruments


@pytest.fixture
def observed(telemetry):
    """The sources at work, in the provider of this test."""
    for name, source in system_metrics.SOURCES.items():
        _telemetry.observe(name, source)
    yield telemetry
    for name in system_metrics.SOURCES:
        _telemetry.unobserve(name)


def values(telemetry, metric: str, *attributes: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by those of its attributes."""
    return {
        tuple(dict(key)[attribute] for attribute in attributes): value
        for key, value in telemetry.values(metric).items()
    }


def test_sources_are_all_system_metrics():
    """Each ``system.*`` instrument of the table has a source, and nothing else has."""
    assert set(system_metrics.SOURCES) == {name for name in INSTRUMENTS if name.startswith("system.")}


def test_kinds_and_units_are_the_conventions():
    """Name, unit and kind are what OpenTelemetry defines, each as its observable twin."""
    convention = vars(import_module("opentelemetry.semconv._incubating.metrics.system_metrics"))
    for name in system_metrics.SOURCES:
        constant = name.upper().replace(".", "_")
        entry = INSTRUMENTS[name]
        assert convention[constant] == name
        made = inspect.getsource(convention[f"create_{constant.lower()}"])
        factory = {"updowncounter": "up_down_counter"}.get(entry.kind, entry.kind)
        assert f"_{factory}(" in made
        assert f'unit="{entry.unit}"' in made


def test_attributes_and_their_values_are_the_conventions():
    """Attributes are spelled as OpenTelemetry does, and states, modes and directions are among its values."""
    modules = {
        part: vars(import_module(f"opentelemetry.semconv._incubating.attributes.{part}_attributes"))
        for part in ("system", "network", "cpu")
    }
    for constant in (
        "SYSTEM_MEMORY_STATE", "SYSTEM_DEVICE", "SYSTEM_FILESYSTEM_MODE", "SYSTEM_FILESYSTEM_MOUNTPOINT",
        "SYSTEM_FILESYSTEM_STATE", "SYSTEM_FILESYSTEM_TYPE", "NETWORK_INTERFACE_NAME", "NETWORK_IO_DIRECTION",
    ):  # fmt: skip
        assert getattr(names, constant) == modules[constant.split("_")[0].lower()][constant]

    def known(part: str, values: str) -> set[str]:
        return {value.value for value in modules[part][values]}

    reading = system_metrics.read(0)
    assert set(reading.cpu) <= known("cpu", "CpuModeValues")
    assert set(reading.memory.states) <= known("system", "SystemMemoryStateValues")
    assert set(reading.filesystem.states()) == known("system", "SystemFilesystemStateValues")
    assert set(system_readings.Traffic._fields) == known("network", "NetworkIoDirectionValues")


def test_values_are_those_of_the_machine(steady, observed):
    """CPU by mode over the time of all CPUs, memory and file system by state, bytes by interface."""
    system_metrics.start()
    steady.now = SECOND
    assert values(observed, "system.cpu.utilization", "cpu.mode") == {
        ("user",): pytest.approx(0.4),
        ("system",): pytest.approx(0.1),
        ("idle",): pytest.approx(0.3),
        ("iowait",): pytest.approx(0.2),
    }
    state = "system.memory.state"
    assert values(observed, "system.memory.usage", state) == {("used",): 250 * MIB, ("free",): 700 * MIB}
    assert values(observed, "system.memory.utilization", state) == {("used",): 0.25, ("free",): 0.7}
    assert values(observed, "system.network.io", "network.interface.name", "network.io.direction") == {
        ("eth0", "receive"): SECOND + 100,
        ("eth0", "transmit"): 10,
        ("lo", "receive"): 5,
        ("lo", "transmit"): 5,
    }
    mount = ("system.filesystem.mountpoint", "system.filesystem.state")
    assert values(observed, "system.filesystem.utilization", *mount) == {
        (system_readings.ROOT, "used"): pytest.approx(0.2),
        (system_readings.ROOT, "free"): pytest.approx(0.6),
        (system_readings.ROOT, "reserved"): pytest.approx(0.2),
    }


def test_utilization_is_absent_before_a_second_has_passed(steady, observed):
    """Nothing is told of too short a time; from 1 s on it is told to every reader alike."""
    system_metrics.start()
    steady.now = SECOND - 50 * MS
    assert values(observed, "system.cpu.utilization", "cpu.mode") == {}
    steady.now = SECOND
    once = values(observed, "system.cpu.utilization", "cpu.mode")
    assert once
    assert values(observed, "system.cpu.utilization", "cpu.mode") == once


@linux
def test_the_file_system_says_what_it_is(observed):
    """Device, type and mode are those of the mount table."""
    root = next(part for part in psutil.disk_partitions(all=True)[::-1] if part.mountpoint == "/")
    where = ("system.device", "system.filesystem.type", "system.filesystem.mode")
    assert set(values(observed, "system.filesystem.utilization", *where)) == {
        (root.device, root.fstype, root.opts.split(",")[0])
    }


def test_one_reading_serves_for_50_ms(clock, monkeypatch):
    """Monitors and instruments that ask within 50 ms are given one reading."""
    taken = []
    monkeypatch.setattr(system_metrics, "_readings", Readings(lambda at: taken.append(at) or take(at), clock))
    for _ in range(2):
        get_system_metrics()
        for source in system_metrics.SOURCES.values():
            source()
    assert len(taken) == 1
    clock.now = 50 * MS
    get_system_metrics()
    assert len(taken) == 2


def test_readings_are_kept_for_a_second_only(clock):
    """However often it is read, what is kept is what 1 s needs."""
    readings = Readings(take, clock)
    for _ in range(1000):
        clock.now += 50 * MS
        readings.latest()
    assert len(readings._history) <= 21
    latest, earlier = readings.compared()
    assert latest.at_ns - earlier.at_ns == SECOND
    assert latest.at_ns - readings.compared(100 * MS)[1].at_ns == 100 * MS


def test_interfaces_beyond_the_bound_are_counted_in_one(steady, observed, monkeypatch):
    """Where no attribute set is left the bytes of the interfaces that come then are added up."""
    monkeypatch.setattr(system_metrics, "_interfaces", AttributeSets())
    monkeypatch.setattr(attribute_sets, "_free", 0)
    assert observed.values("system.network.io") == {frozenset(OVERFLOW.items()): 120}


def test_what_cannot_be_read_is_left_out_with_one_line(nothing_told, clock, monkeypatch, caplog):
    """A metric that the platform does not give is absent, said once, and raises nothing."""
    caplog.set_level(logging.INFO, "codoperf_otel.readings")
    monkeypatch.setattr(system_metrics, "_readings", Readings(system_metrics.read, clock))
    for _ in range(3):
        clock.now += SECOND
        assert not any(source() for source in system_metrics.SOURCES.values())
    assert sorted(record.args[0] for record in caplog.records) == sorted(system_metrics.SOURCES)
