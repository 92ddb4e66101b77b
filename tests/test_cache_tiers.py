"""What every tier promises, and what memory and disk promise beyond it."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codoperf_otel._cache import clocks, codec, sqlite
from codoperf_otel._cache.disk import FILE, Disk
from codoperf_otel._cache.memory import Memory
from codoperf_otel._cache.scope import Scope
from codoperf_otel._cache.tiers import Item
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


@pytest.fixture(params=["memory", "disk"])
def tier(request, tmp_path, time, evicted):
    """Each tier in turn."""

    def on_evict(scope, reason, number):
        evicted.extend([reason] * number)

    return Memory(100, on_evict) if request.param == "memory" else Disk(lambda: tmp_path, on_evict)


@pytest.fixture
def scope():
    """A cache with a place on disk."""
    return Scope("one", lambda: "origin of one")


class TestEveryTier:
    """The contract of `Tier`."""

    def test_gives_back_what_was_put(self, tier, scope):
        """Value, time left and load time come back; None is a value like any other."""
        for value in (None, 0, "", [1, {"a": None}], "ä\0"):
            tier.put(scope.place("k"), Item(value, 10.0, 0.5))
            found = tier.get(scope.place("k"))
            assert (found.value, found.load) == (value, 0.5)
            assert found.ttl == pytest.approx(10.0)

    def test_knows_nothing_else(self, tier, scope):
        """Another key, or the same key in another scope, holds nothing."""
        tier.put(scope.place("k"), Item(1, 10.0, None))
        assert tier.get(scope.place("other")) is None
        assert tier.get(Scope("two", lambda: "origin of two").place("k")) is None

    def test_replaces(self, tier, scope):
        """A second value takes the place of the first."""
        for value in (1, 2):
            tier.put(scope.place("k"), Item(value, 10.0, None))
        assert tier.get(scope.place("k")).value == 2
        assert tier.count() == tier.count(scope) == 1

    def test_expires(self, tier, scope, time, evicted):
        """An item is there until its time is over, with ever less of it left, and then it is evicted."""
        tier.put(scope.place("k"), Item(1, 10.0, None))
        time.advance(9.5)
        assert tier.get(scope.place("k")).ttl == pytest.approx(0.5)
        time.advance(0.5)
        assert tier.get(scope.place("k")) is None
        assert (tier.count(), evicted) == (0, ["expired"])

    def test_removes_and_clears(self, tier, scope):
        """One item, one scope's or all items can be forgotten."""
        two = Scope("two", lambda: "origin of two")
        for place in (scope.place("a"), scope.place("b"), two.place("a")):
            tier.put(place, Item(1, 10.0, None))
        tier.remove(scope.place("a"))
        assert (tier.count(scope), tier.count(two), tier.count()) == (1, 1, 2)
        tier.clear(scope)
        assert (tier.count(scope), tier.count(two)) == (0, 1)
        tier.clear()
        assert tier.count() == 0

    def test_serves_many_threads(self, tier, scope):
        """Threads that write and read the same keys see whole values only."""

        def work(number):
            for step in range(50):
                place = scope.place(f"k{step % 5}")
                tier.put(place, Item([number, number], 10.0, None))
                found = tier.get(place)
                assert found is not None
                assert found.value[0] == found.value[1]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert tier.count() == 5


def no_evictions(scope, reason, number):
    """An `on_evict` that must not be called."""
    raise AssertionError(reason)


class TestMemory:
    """Order of use and the limit."""

    def test_least_recently_used_goes_first(self, scope, evicted, time):
        """A hit that only stands in the log counts as a use."""
        memory = Memory(2, lambda scope, reason, number: evicted.append(reason))
        for key in "ab":
            memory.put(scope.place(key), Item(key, 10.0, None))
        memory.hit(scope.entries["a"], None)
        memory.put(scope.place("c"), Item("c", 10.0, None))
        assert (sorted(scope.entries), evicted) == (["a", "c"], ["size"])

    def test_log_is_bounded(self, scope):
        """However many hits there are, few are kept unfolded."""
        memory = Memory(2, no_evictions)
        memory.put(scope.place("a"), Item(1, 10.0, None))
        for _ in range(1000):
            memory.hit(scope.entries["a"], "agent")
        assert len(memory.log) < 256
        memory.fold()
        assert scope.hits == 1000


class TestDisk:
    """Clocks, foreign files, permissions, several processes."""

    @pytest.mark.parametrize("back", [1, 40, 1000])
    def test_clock_set_back_prolongs_nothing(self, tmp_path, scope, time, back):
        """In the same boot an entry ends after its TTL, wherever the wall clock was set."""
        disk = Disk(lambda: tmp_path, lambda *_: None)
        disk.put(scope.place("k"), Item(1, 100.0, None))
        time.advance(50)
        time.wall -= back
        time.advance(50)
        assert disk.get(scope.place("k")) is None

    def test_entry_from_the_future_is_expired(self, tmp_path, scope, time):
        """After a reboot with an earlier wall clock nothing is believed that was made later."""
        Disk(lambda: tmp_path, no_evictions).put(scope.place("k"), Item(1, 100.0, None))
        time.reboot()
        time.wall -= 1
        reasons = []
        assert Disk(lambda: tmp_path, lambda _, why, n: reasons.append(why)).get(scope.place("k")) is None
        assert reasons == ["expired"]

    def test_entry_survives_a_reboot(self, tmp_path, scope, time):
        """Another run of the monotonic clock does not matter."""
        Disk(lambda: tmp_path, no_evictions).put(scope.place("k"), Item(1, 100.0, None))
        time.advance(40)
        time.reboot()
        assert Disk(lambda: tmp_path, no_evictions).get(scope.place("k")).ttl == pytest.approx(60)

    def test_expired_rows_are_purged(self, tmp_path, scope, time):
        """Entries that nobody asks for again leave the file."""
        reasons = []
        first = Disk(lambda: tmp_path, no_evictions)
        for number in range(20):
            first.put(scope.place(f"k{number}"), Item(1, 10.0, None))
        time.advance(11)
        second = Disk(lambda: tmp_path, lambda scope, why, n: reasons.append((scope, why, n)))
        second.put(scope.place("new"), Item(1, 10.0, None))
        assert (second.count(), reasons) == (1, [(None, "expired", 20)])

    def test_purge_spares_what_another_process_just_wrote(self, tmp_path, scope, time):
        """A row made a moment after the purge read its clock stays."""
        Disk(lambda: tmp_path, no_evictions).put(scope.place("theirs"), Item(1, 10.0, None))
        time.wall -= 0.001
        disk = Disk(lambda: tmp_path, no_evictions)
        disk.put(scope.place("ours"), Item(1, 10.0, None))
        assert disk.count() == 2

    def test_slower_process_spares_what_is_there(self, tmp_path, scope):
        """Who finds the schema made once it has the file's lock leaves the rows."""
        disk = Disk(lambda: tmp_path, no_evictions)
        disk.put(scope.place("k"), Item(1, 10.0, None))
        sqlite._make_schema(disk._connection)
        assert disk.count() == 1

    def test_inexact_value_leaves_nothing_stale(self, tmp_path, scope):
        """A value that stays in memory takes away the row of the value before it."""
        disk = Disk(lambda: tmp_path, no_evictions)
        disk.put(scope.place("k"), Item(1, 10.0, None))
        disk.put(scope.place("k"), Item((1,), 10.0, None))
        assert disk.count() == 0

    def test_undecodable_row_is_invalid(self, tmp_path, scope):
        """A row whose value or codec cannot be read is dropped and counted."""
        reasons = []
        disk = Disk(lambda: tmp_path, lambda _, why, n: reasons.append(why))
        for column in ("value = x'7b'", "codec = 'pickle'", "created = 'x'"):
            disk.put(scope.place("k"), Item(1, 10.0, None))
            with sqlite3.connect(tmp_path / FILE) as db:
                db.execute(f"UPDATE entries SET {column}")
            db.close()
            assert disk.get(scope.place("k")) is None
        assert (reasons, disk.count()) == (["invalid"] * 3, 0)

    @pytest.mark.parametrize("damage", ["garbage", "half", "other table"])
    def test_corrupted_file_is_built_anew(self, tmp_path, scope, caplog, damage):
        """One warning, and the tier works again."""
        first = Disk(lambda: tmp_path, no_evictions)
        for number in range(200):
            first.put(scope.place(f"k{number}"), Item("x" * 100, 10.0, None))
        first._close()
        _damage(tmp_path / FILE, damage)
        disk = Disk(lambda: tmp_path, no_evictions)
        for number in range(200):
            disk.get(scope.place(f"k{number}"))
            disk.put(scope.place(f"k{number}"), Item("y", 10.0, None))
        assert disk.get(scope.place("k7")).value == "y"
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    def test_other_schema_version_is_emptied(self, tmp_path, scope, caplog):
        """A file of another release is taken over without a word."""
        first = Disk(lambda: tmp_path, no_evictions)
        first.put(scope.place("k"), Item(1, 10.0, None))
        first._close()
        db = sqlite3.connect(tmp_path / FILE)
        db.execute("PRAGMA user_version = 99")
        db.close()
        disk = Disk(lambda: tmp_path, no_evictions)
        assert disk.get(scope.place("k")) is None
        disk.put(scope.place("k"), Item(2, 10.0, None))
        assert disk.get(scope.place("k")).value == 2
        assert not caplog.records

    def test_folder_and_files_are_the_users_alone(self, tmp_path, scope):
        """The folder is 0700 and its files 0600, also where one was there before."""
        folder = tmp_path / "new"
        Disk(lambda: folder, no_evictions).put(scope.place("k"), Item(1, 10.0, None))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        (folder / FILE).chmod(0o644)
        assert Disk(lambda: folder, no_evictions).get(scope.place("k")).value == 1
        assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
    def test_folder_that_others_may_write_is_not_used(self, tmp_path, scope, caplog, mode):
        """One warning, and nothing is written there."""
        tmp_path.chmod(mode)
        _assert_off(Disk(lambda: tmp_path, no_evictions), scope, caplog)
        assert not list(tmp_path.iterdir())

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_folder_of_another_user_is_not_used(self, tmp_path, scope, caplog):
        """One warning, and nothing is written there."""
        os.chown(tmp_path, 12345, 12345)
        _assert_off(Disk(lambda: tmp_path, no_evictions), scope, caplog)

    def test_link_is_not_followed(self, tmp_path, scope, caplog):
        """A file that is a symbolic link is not used."""
        (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
        _assert_off(Disk(lambda: tmp_path, no_evictions), scope, caplog)

    def test_folder_that_cannot_be_made_turns_the_tier_off(self, tmp_path, scope, caplog):
        """One warning, however often it is used."""
        (tmp_path / "file").touch()
        _assert_off(Disk(lambda: tmp_path / "file" / "folder", no_evictions), scope, caplog)

    def test_full_disk_turns_the_tier_off(self, tmp_path, scope, caplog):
        """One warning; SQLite's page limit stands for the full disk."""
        disk = Disk(lambda: tmp_path, no_evictions)
        disk.put(scope.place("small"), Item(1, 10.0, None))
        disk._connection.execute("PRAGMA max_page_count = 1")
        disk.put(scope.place("big"), Item("x" * 100_000, 10.0, None))
        _assert_off(disk, scope, caplog)

    def test_read_only_file_turns_the_tier_off(self, tmp_path, scope, caplog):
        """One warning."""
        disk = Disk(lambda: tmp_path, no_evictions)
        disk.put(scope.place("small"), Item(1, 10.0, None))
        disk._connection.execute("PRAGMA query_only = 1")
        disk.put(scope.place("k"), Item(1, 10.0, None))
        _assert_off(disk, scope, caplog)

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

    def test_keys_do_not_reach_the_disk(self, tmp_path):
        """Neither key nor argument can be read in the files."""
        manager = CacheManager(tmp_path)
        manager.set("a secret key", 1)
        manager._store.disk._close()
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


def _assert_off(disk, scope, caplog):
    for _ in range(3):
        disk.put(scope.place("k"), Item(1, 10.0, None))
        assert disk.get(scope.place("k")) is None
        disk.clear()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


exact = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(exact)
def test_codec_gives_back_value_and_types(value):
    """What is encoded comes back as it was, down to the types."""
    data = codec.encode(value)
    assert data is not None
    assert repr(codec.decode(data)) == repr(value)


def cycle():
    """A list that holds itself."""
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        (1,),
        {1: 2},
        float("nan"),
        float("inf"),
        {1},
        b"x",
        object(),
        "\ud83d\ude00",
        pytest.param(10**5000, id="huge"),
        cycle(),
        1j,
    ],
)
def test_codec_refuses_what_json_changes(value):
    """A value that would come back different is not encoded."""
    assert codec.encode([value]) is None
