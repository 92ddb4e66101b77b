"""What a container allows, read from trees of control groups as kernels make them."""

from __future__ import annotations

import math

import pytest

from codoperf_otel._readings import cgroup, process_metrics, process_readings
from codoperf_otel._readings.collection import Readings
from codoperf_otel._telemetry import names

pytestmark = pytest.mark.once

V2_MOUNT = "31 23 0:28 {root} {tree} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "30 23 0:27 {root} {tree}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "31 23 0:28 {root} {tree}/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:29 / {tree}/unified rw - cgroup2 cgroup2 rw\n"
)
V1_GROUPS = "4:memory:{group}\n2:cpu,cpuacct:{group}\n1:name=systemd:/\n0::/\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Makes a process's view of its groups; files are written into folders below ``tree``."""
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(cgroup, "PROC", str(tmp_path / "proc"))
    cgroup._known_folders.cache_clear()

    def make(mounts, groups, files, root="/"):
        folder = tmp_path / "tree"
        (tmp_path / "proc/mountinfo").write_text(
            "23 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts.format(tree=folder, root=root)
        )
        (tmp_path / "proc/cgroup").write_text(groups)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)

    yield make
    cgroup._known_folders.cache_clear()


def figures():
    """What a reading would hold."""
    return cgroup.memory_limit(), cgroup.cpu_limit(), cgroup.throttled_time()


def test_version_2(tree):
    """The lowest limit of the group and those above it, and the group's own throttled time."""
    files = {
        "pod/cpu.max": "50000 100000\n",
        "pod/memory.max": "3000000\n",
        "pod/app/cpu.max": "max 100000\n",
        "pod/app/memory.max": "4000000\n",
        "pod/app/cpu.stat": "usage_usec 9\nnr_throttled 2\nthrottled_usec 2500000\n",
    }
    tree(V2_MOUNT, "0::/pod/app\n", files)
    assert figures() == (3000000, 0.5, 2.5)


def test_version_1(tree):
    """The same figures under their older names and units."""
    files = {
        "memory/app/memory.limit_in_bytes": "3000000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu,cpuacct/app/cpu.cfs_quota_us": "150000\n",
        "cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/app/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 2500000000\n",
    }
    tree(V1_MOUNTS, V1_GROUPS.format(group="/app"), files)
    assert figures() == (3000000, 1.5, 2.5)


@pytest.mark.parametrize(
    ("group", "root"), [("/", "/"), ("/docker/abc", "/docker/abc"), ("/../other", "/"), ("/gone", "/docker")]
)
def test_inside_a_container(tree, group, root):
    """Whatever path the process is said to be in: what is mounted is its own group."""
    files = {"memory.max": "3000000\n", "cpu.max": "200000 100000\n", "cpu.stat": "throttled_usec 0\n"}
    tree(V2_MOUNT, f"0::{group}\n", files, root)
    assert figures() == (3000000, 2.0, 0.0)


@pytest.mark.parametrize("version", [1, 2])
def test_no_limits(tree, version):
    """What is not limited is infinite, on the topmost group too, which has no files."""
    if version == 2:
        tree(V2_MOUNT, "0::/app\n", {"app/memory.max": "max\n", "app/cpu.max": "max 100000\n"})
    else:
        files = {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        }
        tree(V1_MOUNTS, V1_GROUPS.format(group="/"), files)
    assert figures() == (math.inf, math.inf, None)


def test_no_groups(tree):
    """A platform without them has no figures, and all of its CPUs."""
    tree("", "", {})
    assert figures() == (None, None, None)
    assert process_readings.available_cpus() == process_readings.cpu_count()


def test_strange_files(tree):
    """Content that is not understood is no figure, and no exception."""
    tree(V2_MOUNT, "0::/\n", {"memory.max": "\x00", "cpu.max": "", "cpu.stat": "nr_throttled\n"})
    assert figures() == (None, None, None)


def test_utilization_is_over_what_the_container_may_use(tree, monkeypatch):
    """Half a CPU used of half a CPU allowed is all of it."""
    tree(V2_MOUNT, "0::/\n", {"cpu.max": "50000 100000\n"})
    now = [0]

    def take(at_ns):
        nothing = [None] * (len(process_metrics.Reading._fields) - 2)
        return process_metrics.Reading(at_ns, process_readings.Cpu(at_ns / 2e9, 0.0), *nothing)

    monkeypatch.setattr(process_metrics, "_readings", Readings(take, lambda: now[0]))
    process_metrics.start()
    now[0] = 2_000_000_000
    source = process_metrics.SOURCES[names.PROCESS_CPU_UTILIZATION]
    assert {seen.attributes["cpu.mode"]: seen.value for seen in source()} == {"user": 1.0, "system": 0.0}


def test_sources(tree, monkeypatch):
    """A limit is reported where there is one; a child's throttled time begins with the fork."""
    files = {"memory.max": "3000000\n", "cpu.stat": "throttled_usec 2000000\n"}
    tree(V2_MOUNT, "0::/\n", files)

    def read():
        monkeypatch.setattr(process_metrics, "_readings", Readings(process_metrics.read))
        return [
            [seen.value for seen in process_metrics.SOURCES[name]()]
            for name in (names.PROCESS_MEMORY_LIMIT, names.PROCESS_CPU_THROTTLED_TIME)
        ]

    assert read() == [[3000000], [2.0]]
    monkeypatch.setattr(process_metrics, "_gc_before", process_metrics._gc_before)
    monkeypatch.setattr(process_metrics, "_throttled_before", 0.0)
    process_metrics._forked()
    tree(V2_MOUNT, "0::/\n", {"memory.max": "max\n", "cpu.stat": "throttled_usec 2500000\n"})
    assert read() == [[], [0.5]]
