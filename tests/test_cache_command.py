"""`codoperf cache`: what a folder holds, and setting it in order, without reading a value."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
import sys

import pytest

from codoperf_otel import CacheManager, cached_function
from codoperf_otel._cache.sqlite import SCHEMA_VERSION
from codoperf_otel.cli import main

pytestmark = pytest.mark.once


class Trap:
    """Ends the test if it is unpickled."""

    def __reduce__(self):
        return os._exit, (3,)


@pytest.fixture
def folder(tmp_path):
    """A folder with a manager's three entries, one of them expired, and a function's two."""
    manager = CacheManager(tmp_path / "cache", name="answers")
    for key, ttl in (("a", 60), ("b", 120), ("gone", 1e-9)):
        manager.set(key, "value", ttl=ttl)
    parse = cached_function(cache_manager=manager, cache_key_prefix="parse")(lambda x: [x])
    parse(1), parse(2)
    return tmp_path / "cache"


@pytest.fixture
def ask(capsys, folder):
    """What it prints as JSON, and the exit status."""

    def ask(action, *more):
        status = main(["cache", action, str(folder), "--json", *more])
        return json.loads(capsys.readouterr().out), status

    return ask


def change(folder, query, *values):
    """Change the file behind everybody's back."""
    with sqlite3.connect(folder / "cache.sqlite3") as database:
        database.execute(query, values)
    database.close()


def test_stats(ask, folder):
    """Each cache by name, with its entries, those that have expired, and when the next one does."""
    found, status = ask("stats")
    assert status == 0
    assert found["file_bytes"] > 0
    caches = {each["name"]: each for each in found["caches"]}
    assert {name: (each["entries"], each["expired"]) for name, each in caches.items()} == {
        "answers": (3, 1),
        "parse": (2, 0),
    }
    assert 0 < caches["answers"]["next_expiry_seconds"] <= 60
    assert caches["answers"]["bytes"] == 3 * len("value")


def test_stats_as_a_table(capsys, folder):
    """A person sees the same."""
    assert main(["cache", "stats", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"{folder}: 5 entries" in shown
    assert "answers" in shown
    assert "next expires in" in shown


def test_clear_one_cache(ask, capsys, folder):
    """The others stay. A name that is none is an error, with the one that it resembles."""
    assert ask("clear", "--name", "parse") == ({"removed": 2}, 0)
    assert [each["name"] for each in ask("stats")[0]["caches"]] == ["answers"]
    for name, question in (("answer", "; did you mean 'answers'?"), ("parse", "")):
        assert main(["cache", "clear", str(folder), "--name", name]) == 2
        error = f"codoperf: {folder}: no cache '{name}' has entries in it{question}\n"
        assert capsys.readouterr().err == error
    assert ask("stats")[0]["caches"][0]["entries"] == 3


def test_clear(ask):
    """All entries are gone."""
    assert ask("clear") == ({"removed": 5}, 0)
    assert ask("stats")[0]["caches"] == []


def test_verify(ask, folder):
    """Signed entries are valid; changed ones and pickles of somebody else's are not, and nothing is run."""
    assert ask("verify") == ({"entries": 5, "invalid": 0}, 0)
    nth = "WHERE row = (SELECT row FROM entries ORDER BY row LIMIT 1 OFFSET {})"
    change(folder, "UPDATE entries SET record = record || x'00' " + nth.format(0))
    change(folder, "UPDATE entries SET record = ? " + nth.format(1), pickle.dumps(Trap()))
    change(folder, "UPDATE entries SET record = 'text' " + nth.format(2))
    assert ask("verify") == ({"entries": 5, "invalid": 3}, 1)
    change(folder, "UPDATE entries SET row = row + 1 " + nth.format(3))
    assert ask("verify") == ({"entries": 5, "invalid": 4}, 1)


def test_vacuum(ask, folder):
    """What has expired goes, and the file is smaller."""
    manager = CacheManager(folder)
    for number in range(200):
        manager.set(number, os.urandom(1000), ttl=1e-9)
    found, status = ask("vacuum")
    assert status == 0
    assert found["removed"] >= 199
    assert found["bytes_after"] < found["bytes_before"]


def test_a_program_goes_on(ask, folder):
    """Its values are found while the folder is set in order."""
    manager = CacheManager(folder, name="answers")
    assert manager.get("a") == "value"
    ask("vacuum")
    manager.set("c", "new")
    assert CacheManager(folder, name="answers").get("c") == "new"
    ask("clear")
    assert CacheManager(folder, name="answers").get("c") is None


@pytest.mark.parametrize("action", ["stats", "clear", "verify", "vacuum"])
def test_no_cache(capsys, tmp_path, action):
    """One line, status 2, and nothing is made."""
    assert main(["cache", action, str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "no cache in it" in error
    assert "no such folder" in error
    assert not (tmp_path / "nowhere").exists()
    assert main(["cache", action, str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"codoperf: {tmp_path}: no cache in it\n"


def test_another_version_is_left_alone(capsys, folder, ask):
    """Its entries are not this version's to count or remove."""
    change(folder, "PRAGMA user_version = 99")
    assert main(["cache", "clear", str(folder)]) == 2
    assert "of version 99" in capsys.readouterr().err
    change(folder, f"PRAGMA user_version = {SCHEMA_VERSION}")
    assert ask("clear") == ({"removed": 5}, 0)


def test_what_is_no_database(capsys, folder):
    """One line says so, and the file stays."""
    for path in folder.glob("cache.sqlite3*"):
        path.unlink()
    (folder / "cache.sqlite3").write_bytes(b"no database" * 100)
    assert main(["cache", "stats", str(folder)]) == 2
    assert "not a database" in capsys.readouterr().err
    assert (folder / "cache.sqlite3").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_folder_that_others_may_write_to(capsys, folder):
    """It is refused, as programs refuse it."""
    folder.chmod(0o777)
    assert main(["cache", "clear", str(folder)]) == 2
    assert "may be written by other users" in capsys.readouterr().err


def test_it_loads_no_other_command(folder):
    """A command starts in the time that its own modules take."""
    program = (
        "import sys; from codoperf_otel.cli import COMMANDS, main; main();"
        "print([name for name in COMMANDS if f'codoperf_otel.cli.{name}' in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "cache", "stats", folder, "--json"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == "['cache']\n"


def test_a_name_is_for_clear_alone(capsys, folder):
    """Elsewhere it would be ignored."""
    assert main(["cache", "stats", str(folder), "--name", "parse"]) == 2
    assert "--name is for clear" in capsys.readouterr().err


def test_columns_that_hold_anything(ask, folder):
    """What is no number counts for nothing, and the document is JSON."""
    change(folder, "DROP TABLE entries")
    change(
        folder,
        "CREATE TABLE entries AS"
        " SELECT 1 AS row, 'a b' AS scope, NULL AS size, 9e999 AS expires, x'00' AS record",
    )
    found, status = ask("stats")
    assert status == 0
    assert (found["caches"][0]["bytes"], found["caches"][0]["next_expiry_seconds"]) == (0, None)


@pytest.mark.parametrize("action", ["stats", "verify", "vacuum", "clear"])
@pytest.mark.parametrize(
    "planted",
    [
        "CREATE VIEW v AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
        "CREATE TRIGGER refuse BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'no'); END",
    ],
)
def test_views_and_triggers_are_refused(folder, capsys, action, planted):
    """To read one in place of the table could take for ever."""
    change(folder, planted)
    assert main(["cache", action, str(folder)]) == 2
    assert "there are views or triggers in it" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["stats", "verify", "vacuum", "clear"])
def test_a_file_whose_damage_is_no_text(folder, capsys, action):
    """SQLite's own message quotes bytes that are not UTF-8."""
    with sqlite3.connect(folder / "cache.sqlite3") as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET name = CAST(x'bf' AS TEXT), sql = 'CREATE TABLE broken'")
    database.close()
    assert main(["cache", action, str(folder)]) == 2
    assert "cache.sqlite3: it is damaged" in capsys.readouterr().err
