"""What every tier promises, and what memory and disk promise beyond it."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codoperf_otel._cache import clocks, sqlite
from codoperf_otel._cache.codec import Codecs
from codoperf_otel._cache.database import FILE
from codoperf_otel._cache.disk import Disk, Limits
from codoperf_otel._cache.folder import CLAIMS_FILE, KEY_FILE
from codoperf_otel._cache.memory import Memory
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.redis import Redis, Server
from codoperf_otel._cache.tiers import Item
from codoperf_otel._calls.lineages import inside
from codoperf_otel.cache_manager import CacheManager


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self, monkeypatch):
        self.monotonic = 1000.0
        self.wall = 1_700_000_000.0
        monkeypatch.setattr(clocks, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(clocks, "wall", lambda: self.wall)
        self.monkeypatch = monkeypatch

    def advance(self, seconds):
        """Let time go by."""
        self.monotonic += seconds
        self.wall += seconds

    def reboot(self):
        """Begin another run of the monotonic clock."""
        self.monotonic = 5.0
        self.monkeypatch.setattr(clocks, "boot", lambda: "another boot")


@pytest.fixture
def time(monkeypatch):
    """Clocks that stand until they are moved."""
    return Clocks(monkeypatch)


@pytest.fixture
def evicted():
    """The reasons of evictions, in order."""
    return []


def disk_in(folder, on_evict=lambda *_: None, *, size=1 << 30, age=1e9, serializer=None):
    """A disk tier of a folder."""
    return Disk(lambda: folder, on_evict, Limits(size, age), serializer)


def redis_tier(server, on_evict):
    """A Redis tier of a real server, under keys of its own."""
    return Redis(Server(server.url, 5.0, os.urandom(4).hex()), on_evict, Codecs(), b"secret")


@pytest.fixture(params=["memory", "disk", "redis"])
def tier(request, tmp_path, time, evicted):
    """Each tier in turn."""

    def on_evict(namespace, reason, number):
        evicted.extend([reason] * number)

    if request.param == "memory":
        return Memory(100, on_evict)
    if request.param == "disk":
        return disk_in(tmp_path, on_evict)
    return redis_tier(request.getfixturevalue("valkey"), on_evict)


@pytest.fixture
def namespace():
    """A cache with a place on disk."""
    return Namespace("one", lambda: "origin of one")


class TestEveryTier:
    """The contract of `Tier`."""

    def test_gives_back_what_was_put(self, tier, namespace):
        """Value, time left and load time come back; None is a value like any other."""
        for value in (None, 0, "", [1, {"a": None}], "ä\0"):
            tier.put(namespace.location("k"), Item(value, 10.0, 0.5))
            found = tier.get(namespace.location("k"))
            assert (found.value, found.load) == (value, 0.5)
            assert found.ttl == pytest.approx(10.0)

    def test_knows_nothing_else(self, tier, namespace):
        """Another key, or the same key in another namespace, holds nothing."""
        tier.put(namespace.location("k"), Item(1, 10.0, None))
        assert tier.get(namespace.location("other")) is None
        assert tier.get(Namespace("two", lambda: "origin of two").location("k")) is None

    def test_replaces(self, tier, namespace):
        """A second value takes the place of the first."""
        for value in (1, 2):
            tier.put(namespace.location("k"), Item(value, 10.0, None))
        assert tier.get(namespace.location("k")).value == 2
        assert tier.count() == tier.count(namespace) == 1

    def test_expires(self, tier, namespace, time, evicted):
        """An item is there until its time is over, with ever less of it left, and then it is evicted."""
        tier.put(namespace.location("k"), Item(1, 10.0, None))
        time.advance(9.5)
        assert tier.get(namespace.location("k")).ttl == pytest.approx(0.5)
        time.advance(0.5)
        assert tier.get(namespace.location("k")) is None
        assert (tier.count(), evicted) == (0, ["expired"])

    def test_removes_and_clears(self, tier, namespace):
        """One item, one namespace's or all items can be forgotten."""
        two = Namespace("two", lambda: "origin of two")
        for location in (namespace.location("a"), namespace.location("b"), two.location("a")):
            tier.put(location, Item(1, 10.0, None))
        tier.remove(namespace.location("a"))
        assert (tier.count(namespace), tier.count(two), tier.count()) == (1, 1, 2)
        tier.clear(namespace)
        assert (tier.count(namespace), tier.count(two)) == (0, 1)
        tier.clear()
        assert tier.count() == 0

    def test_serves_many_threads(self, tier, namespace):
        """Threads that write and read the same keys see whole values only."""

        def work(number):
            for step in range(50):
                location = namespace.location(f"k{step % 5}")
                tier.put(location, Item([number, number], 10.0, None))
                found = tier.get(location)
                assert found is not None
                assert found.value[0] == found.value[1]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert tier.count() == 5


def no_evictions(namespace, reason, number):
    """An `on_evict` that must not be called."""
    raise AssertionError(reason)


class TestMemory:
    """Order of use and the limit."""

    def test_least_recently_used_goes_first(self, namespace, evicted, time):
        """A hit that only stands in the log counts as a use."""
        memory = Memory(2, lambda namespace, reason, number: evicted.append(reason))
        for key in "ab":
            memory.put(namespace.location(key), Item(key, 10.0, None))
        memory.hit(namespace.entries["a"], None)
        memory.put(namespace.location("c"), Item("c", 10.0, None))
        assert (sorted(namespace.entries), evicted) == (["a", "c"], ["size"])

    def test_log_is_bounded(self, namespace):
        """However many hits there are, few are kept unfolded."""
        memory = Memory(2, no_evictions)
        memory.put(namespace.location("a"), Item(1, 10.0, None))
        for _ in range(1000):
            memory.hit(namespace.entries["a"], inside(None, "agent"))
        assert len(memory.log) < 256
        memory.fold()
        assert namespace.hits == 1000


class TestDisk:
    """Clocks, foreign files, permissions, several processes."""

    @pytest.mark.parametrize("back", [1, 40, 1000])
    def test_clock_set_back_prolongs_nothing(self, tmp_path, namespace, time, back):
        """In the same boot an entry ends after its TTL, wherever the wall clock was set."""
        disk = disk_in(tmp_path, lambda *_: None)
        disk.put(namespace.location("k"), Item(1, 100.0, None))
        time.advance(50)
        time.wall -= back
        time.advance(50)
        assert disk.get(namespace.location("k")) is None

    def test_entry_from_the_future_is_expired(self, tmp_path, namespace, time):
        """After a reboot with an earlier wall clock nothing is believed that was made later."""
        disk_in(tmp_path, no_evictions).put(namespace.location("k"), Item(1, 100.0, None))
        time.reboot()
        time.wall -= 1
        reasons = []
        assert disk_in(tmp_path, lambda _, why, n: reasons.append(why)).get(namespace.location("k")) is None
        assert reasons == ["expired"]

    def test_entry_survives_a_reboot(self, tmp_path, namespace, time):
        """Another run of the monotonic clock does not matter."""
        disk_in(tmp_path, no_evictions).put(namespace.location("k"), Item(1, 100.0, None))
        time.advance(40)
        time.reboot()
        assert disk_in(tmp_path, no_evictions).get(namespace.location("k")).ttl == pytest.approx(60)

    def test_expired_rows_are_purged(self, tmp_path, namespace, time):
        """Entries that nobody asks for again leave the file."""
        reasons = []
        first = disk_in(tmp_path, no_evictions)
        for number in range(20):
            first.put(namespace.location(f"k{number}"), Item(1, 10.0, None))
        time.advance(11)
        second = disk_in(tmp_path, lambda namespace, why, n: reasons.append((namespace, why, n)))
        second.put(namespace.location("new"), Item(1, 10.0, None))
        assert (second.count(), reasons) == (1, [(None, "expired", 20)])

    def test_purge_spares_what_another_process_just_wrote(self, tmp_path, namespace, time):
        """A row made a moment after the purge read its clock stays."""
        disk_in(tmp_path, no_evictions).put(namespace.location("theirs"), Item(1, 10.0, None))
        time.wall -= 0.001
        disk = disk_in(tmp_path, no_evictions)
        disk.put(namespace.location("ours"), Item(1, 10.0, None))
        assert disk.count() == 2

    def test_slower_process_spares_what_is_there(self, tmp_path, namespace):
        """Who finds the schema made once it has the file's lock leaves the rows."""
        disk = disk_in(tmp_path, no_evictions)
        disk.put(namespace.location("k"), Item(1, 10.0, None))
        sqlite.make_schema(disk._database._connection)
        assert disk.count() == 1

    def test_unwritable_value_leaves_nothing_stale(self, tmp_path, namespace, caplog):
        """A value that stays in memory takes away the row of the value before it; one warning says so."""
        disk = disk_in(tmp_path, no_evictions)
        disk.put(namespace.location("k"), Item(1, 10.0, None))
        for _ in range(2):
            disk.put(namespace.location("k"), Item(lambda: 1, 10.0, None))
            assert disk.count() == 0
        (record,) = caplog.records
        assert "cache one: a value of type function stays in memory only" in record.getMessage()

    def test_undecodable_row_is_invalid(self, tmp_path, namespace):
        """A row whose value or codec cannot be read is dropped and counted."""
        reasons = []
        disk = disk_in(tmp_path, lambda _, why, n: reasons.append(why))
        columns = (
            "record = x'7b'", "record = 'text'", "record = x''", "record = zeroblob(500)", "record = 1",
            "record = record || x'00'", "record = substr(record, 2)", "record = CAST(x'ff' AS TEXT)",
        )  # fmt: skip
        for column in columns:
            disk.put(namespace.location("k"), Item(1, 10.0, None))
            with sqlite3.connect(tmp_path / FILE) as db:
                db.execute(f"UPDATE entries SET {column}")
            db.close()
            assert disk.get(namespace.location("k")) is None
        assert (reasons, disk.count()) == (["invalid"] * len(columns), 0)

    @pytest.mark.parametrize("damage", ["garbage", "half", "other table"])
    def test_corrupted_file_is_rebuilt(self, tmp_path, namespace, caplog, damage):
        """One warning, and the tier works again."""
        first = disk_in(tmp_path, no_evictions)
        for number in range(200):
            first.put(namespace.location(f"k{number}"), Item("x" * 100, 10.0, None))
        first._database.close()
        _damage(tmp_path / FILE, damage)
        disk = disk_in(tmp_path, no_evictions)
        for number in range(200):
            disk.get(namespace.location(f"k{number}"))
            disk.put(namespace.location(f"k{number}"), Item("y", 10.0, None))
        assert disk.get(namespace.location("k7")).value == "y"
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    def test_other_schema_version_is_emptied(self, tmp_path, namespace, caplog):
        """A file of another release is taken over without a word; its entries count as invalid."""
        first = disk_in(tmp_path, no_evictions)
        first.put(namespace.location("k"), Item(1, 10.0, None))
        first._database.close()
        db = sqlite3.connect(tmp_path / FILE)
        db.execute("PRAGMA user_version = 99")
        db.close()
        reasons = []
        disk = disk_in(tmp_path, lambda *evicted: reasons.append(evicted))
        assert disk.get(namespace.location("k")) is None
        disk.put(namespace.location("k"), Item(2, 10.0, None))
        assert disk.get(namespace.location("k")).value == 2
        assert reasons == [(None, "invalid", 1)]
        assert not caplog.records

    def test_folder_and_files_are_the_users_alone(self, tmp_path, namespace):
        """The folder is 0700 and its files 0600, also where one was there before."""
        folder = tmp_path / "new"
        disk_in(folder, no_evictions).put(namespace.location("k"), Item(1, 10.0, None))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        (folder / FILE).chmod(0o644)
        assert disk_in(folder, no_evictions).get(namespace.location("k")).value == 1
        assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
    def test_folder_that_others_may_write_is_not_used(self, tmp_path, namespace, caplog, mode):
        """One warning, and nothing is written there."""
        tmp_path.chmod(mode)
        _assert_off(disk_in(tmp_path, no_evictions), namespace, caplog)
        assert not list(tmp_path.iterdir())

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_folder_of_another_user_is_not_used(self, tmp_path, namespace, caplog):
        """One warning, and nothing is written there."""
        os.chown(tmp_path, 12345, 12345)
        _assert_off(disk_in(tmp_path, no_evictions), namespace, caplog)

    @pytest.mark.parametrize("mode", [0o620, 0o602])
    @pytest.mark.parametrize("name", [FILE, f"{FILE}-wal", f"{FILE}-shm", KEY_FILE, CLAIMS_FILE])
    def test_file_that_others_may_write_is_not_used(self, tmp_path, namespace, caplog, name, mode):
        """Nor is what stands beside it, though the folder is this user's alone."""
        disk_in(tmp_path, no_evictions).put(namespace.location("k"), Item(1, 10.0, None))
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
        assert disk_in(tmp_path, no_evictions).get(namespace.location("k")) is None
        assert "may be written by other users" in caplog.text
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
    @pytest.mark.parametrize("way", ["link", "nested", "link/below"])
    def test_folder_behind_another_users_link_is_not_used(self, tmp_path, namespace, caplog, way):
        """Wherever on the way the link is; one of our own is followed."""
        (tmp_path / "ours").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "ours")
        (tmp_path / "nested").symlink_to("link")
        disk_in(tmp_path / way, no_evictions).put(namespace.location("k"), Item(1, 10.0, None))
        os.lchown(tmp_path / "link", 12345, 12345)
        assert disk_in(tmp_path / way, no_evictions).get(namespace.location("k")) is None
        assert "a link of another user's" in caplog.text

    def test_link_is_not_followed(self, tmp_path, namespace, caplog):
        """A file that is a symbolic link is not used."""
        (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
        _assert_off(disk_in(tmp_path, no_evictions), namespace, caplog)

    def test_folder_that_cannot_be_made_turns_the_tier_off(self, tmp_path, namespace, caplog):
        """One warning, however often it is used."""
        (tmp_path / "file").touch()
        _assert_off(disk_in(tmp_path / "file" / "folder", no_evictions), namespace, caplog)

    def test_full_disk_turns_the_tier_off(self, tmp_path, namespace, caplog):
        """One warning; SQLite's page limit stands for the full disk."""
        disk = disk_in(tmp_path, no_evictions)
        disk.put(namespace.location("small"), Item(1, 10.0, None))
        disk._database._connection.execute("PRAGMA max_page_count = 1")
        disk.put(namespace.location("big"), Item("x" * 100_000, 10.0, None))
        _assert_off(disk, namespace, caplog)

    def test_read_only_file_turns_the_tier_off(self, tmp_path, namespace, caplog):
        """One warning."""
        disk = disk_in(tmp_path, no_evictions)
        disk.put(namespace.location("small"), Item(1, 10.0, None))
        disk._database._connection.execute("PRAGMA query_only = 1")
        disk.put(namespace.location("k"), Item(1, 10.0, None))
        _assert_off(disk, namespace, caplog)

    def test_processes_write_at_once(self, tmp_path):
        """Four programs that begin on the same new folder lose no entry and log nothing."""
        program = (
            "import sys; from codoperf_otel.cache_manager import CacheManager\n"
            "manager = CacheManager(sys.argv[1])\n"
            "for n in range(100): manager.set(f'{sys.argv[2]} {n}', n)"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path / "new"), str(number)], stderr=subprocess.PIPE
            )
            for number in range(4)
        ]
        assert [process.communicate(timeout=60)[1] for process in running] == [b""] * 4
        manager = CacheManager(tmp_path / "new")
        assert manager.get_stats()["disk_files"] == 400
        assert manager.get("3 99") == 99

    def test_forked_child_has_its_own_connection(self, tmp_path):
        """Parent and child go on writing the same file."""
        manager = CacheManager(tmp_path)
        manager.set("before", 1)
        child = os.fork()
        if child == 0:
            try:
                manager.set("child", 2)
                os._exit(0 if manager.get("before") == 1 and manager.get_stats()["hits"] == 1 else 1)
            finally:
                os._exit(2)
        manager.set("parent", 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        other = CacheManager(tmp_path)
        assert [other.get(key) for key in ("before", "child", "parent")] == [1, 2, 3]

    def test_without_sqlite_entries_stay_in_memory(self, tmp_path):
        """Some Pythons are built without it: one warning, and the cache goes on."""
        program = (
            "import sys; sys.modules['sqlite3'] = None\n"
            "from codoperf_otel.cache_manager import CacheManager\n"
            "manager = CacheManager(sys.argv[1]); manager.set('key', 1); print(manager.get('key'))"
        )
        done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
        assert done.stdout == "1\n"
        assert "entries stay in memory: import of sqlite3 halted" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_entries_stay_when_telemetry_is_sent_after_the_connection_was_closed(self, tmp_path):
        """At the end of a program connections are closed before `configure()` has its entries counted."""
        program = (
            "import sys, codoperf_otel\n"
            "codoperf_otel.configure(file=sys.argv[1])\n"
            "from codoperf_otel import CacheManager, cached_function\n"
            "@cached_function(cache_manager=CacheManager(sys.argv[2], name='kept'))\n"
            "def double(number): print('computes'); return 2 * number\n"
            "double(1), double(2)"
        )
        script = tmp_path / "program.py"
        script.write_text(program)
        command = [sys.executable, "-W", "error", script, tmp_path / "out", tmp_path / "cache"]
        runs = [subprocess.run(command, capture_output=True, text=True, timeout=60) for _ in range(2)]
        assert [(run.stdout, run.stderr) for run in runs] == [("computes\ncomputes\n", ""), ("", "")]

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
    def test_a_time_out_reaches_the_program(self, tmp_path, monkeypatch):
        """What a signal handler raises while the file is read is no failure of the file."""

        def time_out(*_):
            raise TimeoutError

        manager = CacheManager(tmp_path)
        manager.set("key", 1)
        before = signal.signal(signal.SIGUSR1, time_out)
        try:
            with pytest.raises(TimeoutError):
                manager._store.behind[0]._database.run(lambda _: os.kill(os.getpid(), signal.SIGUSR1), None)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert CacheManager(tmp_path).get("key") == 1
        assert manager._store.behind[0]._database._off_until < 0

    def test_keys_do_not_reach_the_disk(self, tmp_path):
        """Neither key nor argument can be read in the files."""
        manager = CacheManager(tmp_path)
        manager.set("a secret key", 1)
        manager._store.behind[0]._database.close()
        assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def _damage(path: Path, how: str) -> None:
    if how == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif how == "half":
        os.truncate(path, path.stat().st_size // 2)
    else:
        db = sqlite3.connect(path)
        db.executescript("DROP TABLE entries; CREATE TABLE entries (x)")
        db.close()


def _assert_off(disk, namespace, caplog):
    for _ in range(3):
        disk.put(namespace.location("k"), Item(1, 10.0, None))
        assert disk.get(namespace.location("k")) is None
        disk.clear()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
