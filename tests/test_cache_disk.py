"""What happens to the disk tier's folder: bounds, removals, the program's end, hostile hands, kills."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from codoperf_otel import _forks
from codoperf_otel._cache import database, sqlite
from codoperf_otel._cache.codec import Codecs
from codoperf_otel._cache.database import FILE
from codoperf_otel._cache.disk import PURGE_EVERY, Disk, Limits
from codoperf_otel._cache.folder import ASIDE, KEY_FILE
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.sqlite import row_of
from codoperf_otel._cache.tiers import Item
from codoperf_otel.cache_manager import CacheManager, DiskTier, MemoryTier

KILLS = 200
MUTATIONS = 10_000
MIXED_OPERATIONS = 10_000


@pytest.fixture
def evicted():
    """What was evicted: reasons and numbers, in order."""
    return []


@pytest.fixture
def make(tmp_path, evicted):
    """Makes disk tiers of one folder."""

    def make(*, size=1 << 30, age=1e9, folder=tmp_path / "cache"):
        return Disk(lambda: folder, lambda _, why, number: evicted.append((why, number)), Limits(size, age))

    return make


@pytest.fixture
def namespace():
    """A cache with a place on disk."""
    return Namespace("one", lambda: "origin of one")


def put(disk, namespace, key, value, ttl=1000.0):
    """Keep a value."""
    disk.put(namespace.location(key), Item(value, ttl, None))


def get(disk, namespace, key):
    """The value that is kept, else "absent"."""
    item = disk.get(namespace.location(key))
    return "absent" if item is None else item.value


class TestBounds:
    """How much stays, and for how long."""

    def test_entries_that_expire_next_leave_a_full_file(self, make, namespace, evicted):
        """The bytes in the file stay near the limit, and the newest entries are there."""
        disk = make(size=200_000)
        for number in range(3 * PURGE_EVERY):
            put(disk, namespace, f"k{number}", os.urandom(1000))
        assert get(disk, namespace, f"k{number}") != "absent"
        assert get(disk, namespace, "k0") == "absent"
        assert disk.size() < 230_000
        assert {why for why, _ in evicted} == {"size"}
        assert disk.count() + sum(number for _, number in evicted) == 3 * PURGE_EVERY

    def test_log_beside_the_file_is_bounded_too(self, make, namespace, tmp_path):
        """It keeps within a share of the bound, or 16 MB, and what clears the cache gives its room back."""
        disk, log = make(size=1_000_000), tmp_path / "cache" / f"{FILE}-wal"
        sizes = []
        for number in range(400):
            put(disk, namespace, number, os.urandom(5000))
            sizes.append(log.stat().st_size)
        assert max(sizes) < 1_000_000
        disk.clear()
        assert log.stat().st_size == 0

    def test_value_above_the_limit_stays_out(self, make, namespace):
        """It takes the place of the one before, and evicts no other."""
        disk = make(size=100_000)
        put(disk, namespace, "small", 1)
        put(disk, namespace, "k", 1)
        put(disk, namespace, "k", bytes(100_001))
        assert (get(disk, namespace, "small"), get(disk, namespace, "k")) == (1, "absent")

    def test_value_above_what_sqlite_takes_stays_out(self, make, namespace, monkeypatch):
        """It takes the place of the one before, as SQLite would refuse the row and leave that one."""
        monkeypatch.setattr("codoperf_otel._cache.disk.LARGEST", 100)
        disk = make()
        put(disk, namespace, "k", 1)
        put(disk, namespace, "k", bytes(101))
        assert get(disk, namespace, "k") == "absent"

    def test_no_entry_is_older_than_the_age(self, make, namespace):
        """A longer time to live is cut."""
        disk = make(age=50.0)
        put(disk, namespace, "k", 1, ttl=float("inf"))
        assert 30 < disk.get(namespace.location("k")).ttl <= 50

    def test_entries_without_end(self, make, namespace):
        """An infinite time to live is as good as any."""
        disk = make(age=float("inf"))
        put(disk, namespace, "k", 1, ttl=float("inf"))
        assert disk.get(namespace.location("k")).ttl == float("inf")

    def test_size_is_that_of_the_values(self, make, namespace):
        """By namespace, and in all."""
        disk, two = make(), Namespace("two", lambda: "origin of two")
        put(disk, namespace, "a", b"12345")
        put(disk, two, "a", b"123")
        assert (disk.size(namespace), disk.size(two), disk.size()) == (5, 3, 8)


CLEARING = """
import resource, sys
from codoperf_otel import CacheManager, cached_function
from pathlib import Path

folder, what, *more = sys.argv[1:]
manager = CacheManager(Path(folder) / "cache")
number = Path(folder) / "number"

@cached_function(cache_manager=manager, version="1")
def load(x):
    number.write_text(str(int(number.read_text()) + 1 if number.exists() else 1))
    return number.read_text()

print(load(1))
if more:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    if "off" in more:
        manager.set("other", "value")
    (load.cache_clear if what == "function" else manager.clear)()
"""

CLEARING_ONE = """
import resource, sys
from codoperf_otel import CacheManager, cached_function

def loads(manager):
    return cached_function(cache_manager=manager, version="1", cache_key_prefix="loads")(load)

def load(x):
    calls.append(x)
    return bytes(20_000)

calls = []
manager, other = CacheManager(sys.argv[1]), CacheManager(sys.argv[1], name="other")
for n in range(10):
    other.set(str(n), n)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
function = loads(manager)
for n in range(20):
    function(n)
function.cache_clear()

again, calls = CacheManager(sys.argv[1], name="other"), []
kept = sum(again.get(str(n)) == n for n in range(10))
function = loads(CacheManager(sys.argv[1]))
for n in range(20):
    function(n)
print(f"{kept} kept, {20 - len(calls)} found")
"""


class TestRemoval:
    """Somebody empties the folder, or puts another file there, under a running process."""

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_removed_is_made_anew(self, make, namespace, tmp_path, caplog, what):
        """What comes later is found, by this process and by others, without a word."""
        disk = make()
        put(disk, namespace, "before", 1)
        for path in (tmp_path / "cache").iterdir():
            if what == "folder" or path.name != KEY_FILE:
                path.unlink()
        if what == "folder":
            (tmp_path / "cache").rmdir()
        disk._database._clock = lambda: time.monotonic() + 1
        assert get(disk, namespace, "before") == "absent"
        put(disk, namespace, "after", 2)
        assert (get(disk, namespace, "after"), get(make(), namespace, "after")) == (2, 2)
        assert not caplog.records

    def test_removed_key_makes_entries_invalid(self, make, namespace, tmp_path, evicted):
        """Another key reads nothing of what the first one signed."""
        put(make(), namespace, "k", 1)
        (tmp_path / "cache" / KEY_FILE).unlink()
        assert get(make(), namespace, "k") == "absent"
        assert evicted == [("invalid", 1)]

    def test_removed_key_is_made_anew(self, make, namespace, tmp_path):
        """A process that has the folder open signs with the key that others have by then."""
        disk = make()
        put(disk, namespace, "k", 1)
        (tmp_path / "cache" / KEY_FILE).unlink()
        put(make(), namespace, "theirs", 2)
        disk._database._clock = lambda: time.monotonic() + 1
        put(disk, namespace, "ours", 3)
        assert (get(disk, namespace, "theirs"), get(make(), namespace, "ours")) == (2, 3)

    @pytest.mark.skipif(sys.platform == "win32", reason="no modes")
    def test_folder_that_others_may_write_from_now_on(self, make, namespace, tmp_path):
        """It is used no longer, by a process that has it open neither."""
        disk = make()
        put(disk, namespace, "k", 1)
        (tmp_path / "cache").chmod(0o777)
        disk._database._clock = lambda: time.monotonic() + 1
        assert get(disk, namespace, "k") == "absent"

    @pytest.mark.skipif(sys.platform == "win32", reason="needs resource.setrlimit")
    @pytest.mark.parametrize("what", ["manager", "function"])
    @pytest.mark.parametrize("is_off", [False, True])
    def test_full_disk_can_be_cleared(self, tmp_path, what, is_off):
        """No later process finds a value that was cleared, also where the tier had been turned off before."""
        found = [
            subprocess.run(
                [sys.executable, "-P", "-c", CLEARING, str(tmp_path), what, *more],
                check=True, capture_output=True, text=True,
            ).stdout
            for more in (["clear", *(["off"] if is_off else [])], [])
        ]  # fmt: skip
        assert found == ["1\n", "2\n"]

    @pytest.mark.skipif(sys.platform == "win32", reason="needs resource.setrlimit")
    def test_full_disk_keeps_what_was_not_cleared(self, tmp_path):
        """The other caches' entries are put into the new file, whichever managers have the old one open."""
        path = tmp_path / "program.py"
        path.write_text(CLEARING_ONE)
        done = subprocess.run(
            [sys.executable, path, tmp_path / "cache"], check=True, capture_output=True, text=True
        )
        assert done.stdout == "10 kept, 0 found\n"
        assert "is not used for a while" in done.stderr

    def test_what_cannot_be_cleared(self, make, namespace, tmp_path, caplog):
        """A file that is not this user's alone to change is left alone, with a warning."""
        disk = make()
        put(disk, namespace, "k", 1)
        (tmp_path / "cache").chmod(0o777)
        make().clear()
        assert (tmp_path / "cache" / FILE).exists()
        assert (
            caplog.records[-1].getMessage().startswith(f"cache {tmp_path / 'cache' / FILE} cannot be cleared")
        )

    def test_full_disk_keeps_no_half_made_keys(self, make, namespace, tmp_path, monkeypatch, caplog):
        """A key that could not be written leaves no file, however often it is tried."""

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.write", full)
        put(make(), namespace, "k", 1)
        monkeypatch.undo()
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [FILE]
        assert len(caplog.records) == 1

    def test_relative_folder_stays_where_it_is(self, make, namespace, tmp_path, monkeypatch):
        """A program that changes its working folder goes on in the same one."""
        monkeypatch.chdir(tmp_path)
        disk = make(folder=Path("relative"))
        put(disk, namespace, "k", 1)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        disk._database._clock = lambda: time.monotonic() + 1
        assert get(disk, namespace, "k") == 1
        put(disk, namespace, "k", 2)
        assert not list((tmp_path / "elsewhere").iterdir())

    def test_corrupted_file_is_kept_aside(self, make, namespace, tmp_path):
        """What could not be read is still there for whoever wants to look."""
        put(make(), namespace, "k", 1)
        path = tmp_path / "cache" / FILE
        path.write_bytes(b"no database" * 1000)
        disk = make()
        put(disk, namespace, "k", 2)
        assert get(disk, namespace, "k") == 2
        assert path.with_name(FILE + ASIDE).read_bytes().startswith(b"no database")

    def test_a_view_in_place_of_the_table(self, make, namespace, tmp_path):
        """One without an end is not read: the file is moved aside, and a new one made."""
        put(make(), namespace, "k", 1)
        database = sqlite3.connect(tmp_path / "cache" / FILE, isolation_level=None)
        database.execute("DROP TABLE entries")
        database.execute(
            "CREATE VIEW entries AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
            " SELECT n AS row, n AS record FROM r"
        )
        database.close()
        disk = make()
        assert get(disk, namespace, "k") == "absent"
        put(disk, namespace, "k", 2)
        assert get(disk, namespace, "k") == 2

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_file_that_is_cut_under_a_process_does_not_kill_it(self, make, namespace, tmp_path):
        """What is gone is absent, and the tier goes on."""
        child = os.fork()
        if child == 0:
            disk = make()
            for number in range(300):
                put(disk, namespace, number, (number, bytes(3000)))
            for number in range(300):
                get(disk, namespace, number)
            disk._database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            os.truncate(tmp_path / "cache" / FILE, 0)
            for number in range(300):
                get(disk, namespace, number)
            put(disk, namespace, "k", 1)
            os._exit(0 if get(disk, namespace, "k") == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_closed_connection_is_opened_again(self, make, namespace, tmp_path, caplog):
        """An error that tells nothing of the file leaves it alone."""
        disk = make()
        put(disk, namespace, "k", 1)
        disk._database._connection.close()
        assert get(disk, namespace, "k") == 1
        assert not (tmp_path / "cache" / (FILE + ASIDE)).exists()
        assert not caplog.records

    def test_tier_that_is_off_comes_back(self, make, namespace, tmp_path, monkeypatch):
        """A minute later it tries again."""
        blocked = tmp_path / "file"
        blocked.touch()
        disk = make(folder=blocked / "folder")
        put(disk, namespace, "k", 1)
        blocked.unlink()
        put(disk, namespace, "k", 1)
        assert get(disk, namespace, "k") == "absent"
        disk._database._clock = lambda: time.monotonic() + 61
        put(disk, namespace, "k", 1)
        assert get(disk, namespace, "k") == 1


OWN_PROVIDER = """
import io
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
reader = PeriodicExportingMetricReader(ConsoleMetricExporter(out=io.StringIO()))
metrics.set_meter_provider(MeterProvider([reader]))
"""
CACHED = """
import sys, threading, time
from codoperf_otel import CacheManager, cached_function
@cached_function(ttl=600, version="1", cache_manager=CacheManager(sys.argv[1]))
def search(query):
    print("computing")
    return query
search("x")
"""
GOES_ON = """
def go_on():
    while True:
        search(str(time.monotonic_ns() % 10))
threading.Thread(target=go_on, daemon=True).start()
time.sleep(0.2)
"""
ON_DISK = """
from codoperf_otel.cache_manager import DiskTier
disk = CacheManager(tiers=[DiskTier(sys.argv[1])])
def read_and_write():
    while True:
        disk.set("k", (1,))
        disk.get("k")
for _ in range(3):
    threading.Thread(target=read_and_write, daemon=True).start()
time.sleep(0.2)
"""


MIXED = """
import os, random, sys
from codoperf_otel import CacheManager, DiskTier, MemoryTier

def value(key, size):
    return key, size, bytes([key]) * size

def work(number):
    front = [MemoryTier(100)] if number % 2 else []
    manager, chance = CacheManager(tiers=[*front, DiskTier(sys.argv[1])]), random.Random(number)
    found = []
    for _ in range(int(sys.argv[2])):
        key, which = chance.randrange(200), chance.random()
        if which < 0.6:
            found.append(manager.get(key, "absent"))
            assert found[-1] == "absent" or found[-1] == value(key, found[-1][1]), found[-1]
        elif which < 0.95:
            manager.set(key, value(key, chance.randrange(300)), ttl=chance.choice([0.1, 600]))
        elif which < 0.995:
            manager.set(key, None, ttl=0)
        else:
            manager.clear()
    misses = found.count("absent")
    stats = manager.get_stats()
    assert (stats["hits"], stats["misses"]) == (len(found) - misses, misses)

def child(number):
    made = os.fork()
    if not made:
        status = 1
        try:
            work(number)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return made

print([os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in [child(n) for n in range(8)]])
"""


class TestEnd:
    """A program ends, whatever closes first."""

    @pytest.mark.parametrize(
        "program", [OWN_PROVIDER + CACHED, CACHED, CACHED + GOES_ON, OWN_PROVIDER + CACHED + ON_DISK]
    )
    def test_nothing_is_lost_and_nothing_said(self, tmp_path, program):
        """The second run finds what the first one kept."""
        path = tmp_path / "program.py"
        path.write_text(program)
        for expected in (True, False):
            done = subprocess.run(
                [sys.executable, "-W", "error", path, tmp_path / "cache"],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert (done.stderr, done.returncode) == ("", 0)
            assert done.stdout.startswith("computing") == expected
        assert not (tmp_path / "cache" / (FILE + ASIDE)).exists()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_processes_mix_all_operations(self, tmp_path, scale):
        """Nobody reads a value that was not set for its key, nothing is logged, and all counts are exact."""
        path = tmp_path / "program.py"
        path.write_text(MIXED)
        done = subprocess.run(
            [sys.executable, path, tmp_path / "cache", str(scale(MIXED_OPERATIONS))],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert (done.stderr, done.stdout) == ("", "[0, 0, 0, 0, 0, 0, 0, 0]\n")

    def test_a_killed_writer_leaves_whole_values(self, tmp_path, scale):
        """After a SIGKILL every value that `set` had kept is there, and none that was never set."""
        writer = (
            "import sys; from codoperf_otel import CacheManager\n"
            "manager = CacheManager(sys.argv[1])\n"
            "for n in range(10**6):\n"
            "    manager.set(f'{sys.argv[2]} {n}', [sys.argv[2], n])\n"
            "    print(n, flush=True)\n"
        )
        chance = random.Random(3)
        for turn in range(scale(KILLS) // 2):
            running = [
                subprocess.Popen(
                    [sys.executable, "-c", writer, tmp_path, f"{turn}.{each}"],
                    stdout=subprocess.PIPE, text=True,
                )
                for each in range(2)
            ]  # fmt: skip
            for process in running:
                process.stdout.readline()
            time.sleep(chance.random() * 0.1)
            for process in running:
                process.kill()
            kept = [[0, *map(int, process.communicate()[0].split("\n")[:-1])] for process in running]
            manager = CacheManager(tmp_path)
            for each, numbers in enumerate(kept):
                name = f"{turn}.{each}"
                assert all(manager.get(f"{name} {n}") == [name, n] for n in numbers)


class Evil:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestHostileHands:
    """Files that somebody else has written or changed."""

    def test_forged_pickles_are_not_read(self, make, namespace, tmp_path, evicted):
        """Bytes that another key has signed, or that stand at another address, are invalid."""
        trap = tmp_path / "trap"
        other = make(folder=tmp_path / "other")
        for folder in (other, make()):
            put(folder, namespace, "k", (1,))
        put(other, namespace, "k", Evil(trap))
        with sqlite3.connect(tmp_path / "cache" / FILE) as db:
            db.execute("ATTACH ? AS other", (str(tmp_path / "other" / FILE),))
            db.execute("INSERT OR REPLACE INTO entries SELECT * FROM other.entries")
        db.close()
        assert get(make(), namespace, "k") == "absent"
        assert evicted == [("invalid", 1)]
        assert not trap.exists()

    def test_row_without_a_record_is_invalid(self, make, namespace, tmp_path, evicted):
        """Also where a table of the right name and version allows one."""
        disk = make()
        put(disk, namespace, "k", (1,))
        db = sqlite3.connect(tmp_path / "cache" / FILE)
        columns = "CREATE TABLE entries (row INTEGER PRIMARY KEY, scope, expires, size, record)"
        db.executescript(f"ALTER TABLE entries RENAME TO old; {columns};")
        db.execute("INSERT INTO entries SELECT row, scope, expires, size, NULL FROM old")
        db.commit()
        db.close()
        assert (get(disk, namespace, "k"), disk.count()) == ("absent", 0)
        assert evicted == [("invalid", 1)]

    def test_entry_at_another_address_is_invalid(self, make, namespace, tmp_path, evicted):
        """A signed row cannot stand for another key."""
        disk = make()
        put(disk, namespace, "a", (1,))
        with sqlite3.connect(tmp_path / "cache" / FILE) as db:
            db.execute("UPDATE entries SET row = ?", (row_of(namespace.location("b").address),))
        db.close()
        assert get(disk, namespace, "b") == "absent"
        assert evicted == [("invalid", 1)]

    def test_mutated_entries_are_misses(self, make, namespace, tmp_path, evicted, scale, monkeypatch):
        """Whatever is changed in a row, its value is not believed: it is counted as invalid and removed."""
        monkeypatch.setattr("pickle.loads", lambda data: pytest.fail("unpickled"))
        disk, chance, number = make(), random.Random(5), scale(MUTATIONS)
        for each in range(number):
            put(disk, namespace, each, (each, "value"))
        db = sqlite3.connect(tmp_path / "cache" / FILE)
        for row, record in db.execute("SELECT row, record FROM entries").fetchall():
            data = bytearray(record)
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            db.execute("UPDATE entries SET record = ? WHERE row = ?", (data, row))
        db.commit()
        db.close()
        assert {get(disk, namespace, each) for each in range(number)} == {"absent"}
        assert evicted == [("invalid", 1)] * number
        assert disk.count() == 0

    @pytest.mark.parametrize("how", ["link", "open to others", "short"])
    def test_bad_key_is_not_used(self, make, namespace, tmp_path, caplog, how):
        """A key that others may know, or that is none, turns the tier off; one that is ours is closed."""
        folder = tmp_path / "cache"
        folder.mkdir(mode=0o700)
        key = folder / KEY_FILE
        if how == "link":
            (tmp_path / "elsewhere").write_bytes(bytes(32))
            key.symlink_to(tmp_path / "elsewhere")
        else:
            key.write_bytes(bytes(32 if how == "open to others" else 8))
            key.chmod(0o644)
        disk = make()
        put(disk, namespace, "k", (1,))
        if how == "open to others":
            assert (get(disk, namespace, "k"), key.stat().st_mode & 0o777) == ((1,), 0o600)
        else:
            assert (get(disk, namespace, "k"), len(caplog.records)) == ("absent", 1)

    def test_folder_that_others_may_write_is_never_unpickled_from(self, make, namespace, tmp_path, caplog):
        """Even entries that are well signed."""
        trap = tmp_path / "trap"
        put(make(), namespace, "k", Evil(trap))
        (tmp_path / "cache").chmod(0o777)
        assert get(make(), namespace, "k") == "absent"
        assert not trap.exists()


class TestInterrupts:
    """Signal handlers and forks in the midst of it."""

    # one that is interrupted just after it opened something leaves that to the collector
    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_a_time_out_reaches_the_program(self, make, namespace):
        """What a handler raises while the tier works is the program's, and the tier goes on."""

        def handler(*_):
            raise TimeoutError

        disk, caught, before = make(), 0, signal.signal(signal.SIGALRM, handler)
        gc.collect()
        gc.disable()  # what a handler raises in a finalizer or a weak reference's callback is lost
        try:
            for _ in range(50):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.002)
                    for _ in range(10_000):
                        put(disk, namespace, "k", (1,))
                        get(disk, namespace, "k")
                except TimeoutError:
                    caught += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            gc.enable()
            gc.collect()
        assert caught == 50
        others = threading.Thread(target=put, args=(disk, namespace, "k", (2,)), daemon=True)
        others.start()
        others.join(60)
        assert not others.is_alive(), "the lock is still taken"
        assert get(disk, namespace, "k") == (2,)

    def test_a_child_does_not_wait_for_a_thread_that_it_has_not(self, make, namespace):
        """A fork while another thread writes."""
        disk, done = make(), threading.Event()
        put(disk, namespace, "k", (1,))

        def write():
            while not done.is_set():
                put(disk, namespace, "k", (1,))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(10):
                child = os.fork()
                if child == 0:
                    signal.alarm(30)
                    disk.forked()
                    os._exit(0 if get(disk, namespace, "k") == (1,) else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            done.set()
            writer.join()

    def test_forks_of_several_threads_release_the_lock(self, monkeypatch):
        """One that did not get it in time does not release another's, in whichever order they end."""
        monkeypatch.setattr(_forks, "_LONGEST_WAIT", 0.01)
        monkeypatch.setattr(_forks, "_fork_safe", [])
        safe = _forks.ForkSafeLock()
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
            for before, after in (([one, two], [one, two]), ([one, two], [two, one])):
                for thread in before:
                    thread.submit(safe.hold).result()
                for thread in after:
                    thread.submit(safe.let_go).result()
                assert two.submit(safe.lock.acquire, timeout=5).result()
                two.submit(safe.lock.release).result()

    def test_a_handler_that_reads_while_the_file_is_opened(self, make, namespace, monkeypatch):
        """The connection that it made is closed again."""
        opened, real = [], database.connect

        def connect(path, log_pages):
            if not opened:
                opened.append(None)
                assert get(disk, namespace, "k") == (1,)
            opened.append(real(path, log_pages))
            return opened[-1]

        disk = make()
        put(make(), namespace, "k", (1,))
        monkeypatch.setattr(database, "connect", connect)
        assert get(disk, namespace, "k") == (1,)
        _, (handlers, _), (ours, _) = opened
        assert disk._database._connection is ours
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            handlers.execute("SELECT 1")

    def test_a_handler_that_reads_while_the_file_is_closed(self, make, namespace):
        """It finds what is there, and the tier does not take it for the program's end."""
        disk, found = make(), []
        put(disk, namespace, "k", (1,))
        real = disk._database._connection

        class Interrupted:
            """A connection at whose closing a signal comes."""

            def close(self):
                """Close, and read meanwhile."""
                real.close()
                found.append(get(disk, namespace, "k"))

        disk._database._connection = Interrupted()
        disk._database.close()
        assert found == [(1,)]
        assert disk._database._connection is not None


class TestChosenTiers:
    """`CacheManager(tiers=[…])`, `disk=False` and the variable."""

    def test_memory_alone(self, tmp_path, monkeypatch):
        """Nothing is written, however it is said."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("CODOPERF_OTEL_CACHE_DISK", "false")
        for manager in (CacheManager(), CacheManager(disk=False), CacheManager(tiers=[MemoryTier(5)])):
            manager.set("k", (1,))
            assert (manager.get("k"), manager.get_stats()["disk_files"]) == ((1,), 0)
        assert not list(tmp_path.iterdir())

    def test_disk_alone(self, tmp_path):
        """Another manager's newer value is seen at once, and every value is a copy."""
        one, two = (CacheManager(tiers=[DiskTier(tmp_path)]) for _ in range(2))
        value = [1]
        one.set("k", value)
        assert one.get("k") == value
        assert one.get("k") is not value
        two.set("k", [2])
        assert one.get("k") == [2]
        assert one.get_stats()["memory_items"] == 0

    def test_option_takes_precedence_over_the_variable(self, tmp_path, monkeypatch):
        """``disk=True`` is on disk."""
        monkeypatch.setenv("CODOPERF_OTEL_CACHE_DISK", "false")
        manager = CacheManager(tmp_path, disk=True)
        manager.set("k", 1)
        assert manager.get_stats()["disk_files"] == 1

    def test_wrong_choices(self, tmp_path):
        """Each is one error that names the setting."""
        disk = DiskTier(tmp_path)
        for options in (
            {"tiers": []},
            {"tiers": [disk, MemoryTier()]},
            {"tiers": [MemoryTier(), MemoryTier()]},
            {"tiers": [disk], "cache_dir": tmp_path},
            {"tiers": [disk], "disk": False},
        ):
            with pytest.raises(ValueError, match="tiers is"):
                CacheManager(**options)
        for wrong in (0, -1, True, 1.5):
            with pytest.raises(ValueError, match="max_items is"):
                MemoryTier(wrong)
        for folder in (123, b"folder"):
            with pytest.raises(TypeError, match="str"):
                CacheManager(folder)
        for setting in ("max_bytes", "max_age"):
            with pytest.raises(ValueError, match=f"{setting} is 'big'"):
                DiskTier(**{setting: "big"})


def test_codecs_of_other_folders_differ_by_key(make, namespace, tmp_path):
    """The signature is not that of the bytes alone: two folders sign one value in two ways."""
    signatures = set()
    for name in ("a", "b"):
        put(make(folder=tmp_path / name), namespace, "k", (1,))
        db = sqlite3.connect(tmp_path / name / FILE)
        signatures.add(db.execute("SELECT substr(record, 1, 32) FROM entries").fetchone())
        db.close()
    assert len(signatures) == 2
    assert pickle.loads(Codecs().encode((1,)).data) == (1,)


class TestLocked:
    """Another program keeps the file locked."""

    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch):
        """Wait a moment for it only."""
        monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)

    @pytest.fixture
    def disk(self, make, namespace):
        """A tier with one entry, and a clock that stands."""
        disk = make()
        put(disk, namespace, "before", 1)
        disk._database._clock = lambda: self.now
        self.now = time.monotonic()
        return disk

    @pytest.fixture
    def other(self, disk):
        """The other program, which is about to write."""
        with closing(sqlite3.connect(disk._database._path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield other

    def test_nothing_is_written_for_a_while(self, disk, namespace, other, caplog):
        """One call waits for it. Those after it do not, until the while is over; all may read."""
        put(disk, namespace, "meanwhile", 1)
        other.execute("ROLLBACK")
        put(disk, namespace, "after", 1)
        assert [get(disk, namespace, key) for key in ("before", "meanwhile", "after")] == [
            1,
            "absent",
            "absent",
        ]
        self.now += database.LOCKED_SECONDS + 1
        put(disk, namespace, "later", 1)
        assert get(disk, namespace, "later") == 1
        (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert "another program locks it" in warning

    def test_clear_is_tried_all_the_same(self, disk, namespace, other, caplog):
        """It says so where it cannot; nothing is moved away from under the other program."""
        put(disk, namespace, "meanwhile", 1)
        disk.clear()
        assert "is not cleared" in caplog.text
        assert get(disk, namespace, "before") == 1
        other.execute("ROLLBACK")
        disk.clear()
        assert get(disk, namespace, "before") == "absent"
