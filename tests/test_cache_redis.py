"""The Redis tier on a real server: shared, hostile, slow, absent, and back again."""

from __future__ import annotations

import contextlib
import logging
import os
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from valkey import Valkey

from codoperf_otel._cache.redis import OFF_SECONDS
from codoperf_otel.cache_manager import CacheManager, MemoryTier, RedisTier

pytestmark = pytest.mark.once

SECRET = "from the vault"


@pytest.fixture
def make(valkey):
    """Makes managers that share the server, under keys of this test."""
    prefix = os.urandom(4).hex()

    def make(*, url=valkey.url, secret=SECRET, memory=False, timeout=5):
        tier = RedisTier(url, prefix=prefix, secret=secret, timeout=timeout)
        return CacheManager(tiers=[MemoryTier(), tier] if memory else [tier])

    return make


@pytest.fixture
def own(tmp_path):
    """A server of one test's own."""
    server = Valkey(tmp_path)
    yield server
    server.stop()


def keys(valkey):
    """All keys of a server."""
    with redis.Redis.from_url(valkey.url) as client:
        return client.keys()


class TestShared:
    """What one process keeps another finds."""

    def test_managers_share_values(self, make):
        """Of any type, for their time to live, until they are cleared."""
        one, two = make(memory=True), make()
        for value in (None, {"a": [1]}, b"\0", (1, {2}), 1.5):
            one.set("k", value)
            assert two.get("k", "absent") == value
        one.set("short", 1, ttl=0.02)
        time.sleep(0.05)
        assert two.get("short", "absent") == "absent"
        two.clear()
        assert make().get("k", "absent") == "absent"

    def test_machine_whose_clock_is_ahead(self, make):
        """What it keeps is found by others at once, for no longer than its time to live."""
        ahead, other = make(), make()
        age = ahead._store.behind[0]._items.age
        age.boot, age.wall = bytes(16), lambda: time.time() + 3
        ahead.set("k", 1, ttl=60)
        assert other.get("k") == 1
        location = other._namespace.location("k")
        assert 30 < other._store.behind[0].get(location).ttl <= 60

    def test_a_function_of_two_processes_computes_once(self, valkey, tmp_path):
        """The second finds what the first one kept, and what it cost."""
        path = tmp_path / "program.py"
        path.write_text(
            "import sys\nfrom codoperf_otel import CacheManager, RedisTier, cached_function\n"
            "manager = CacheManager(tiers=[RedisTier(sys.argv[1], timeout=5)])\n"
            "@cached_function(cache_manager=manager, version='1')\n"
            "def search(query):\n    print('computing')\n    return [query]\n"
            "print(search('x'), search.cache_info()[:2])\n"
        )
        printed = [
            subprocess.run(
                [sys.executable, path, valkey.url], capture_output=True, text=True, check=True
            ).stdout
            for _ in range(2)
        ]
        assert printed == ["computing\n['x'] (0, 1)\n", "['x'] (1, 0)\n"]

    def test_telemetry_names_the_tier(self, make, telemetry):
        """Hits are counted under it."""
        manager = make()
        manager.set("k", 1)
        manager.get("k")
        (found,) = [
            value
            for key, value in telemetry.values("codoperf.cache.lookups").items()
            if {("codoperf.cache.tier", "redis"), ("codoperf.cache.name", manager.name)} <= set(key)
        ]
        assert found >= 1

    def test_clear_leaves_what_is_not_ours(self, make, valkey):
        """Other programs' keys stay."""
        with redis.Redis.from_url(valkey.url) as client:
            client.set("somebody's", 1)
        manager = make()
        manager.set("k", 1)
        manager.clear()
        assert b"somebody's" in keys(valkey)
        assert manager.get("k") is None

    def test_keys_reveal_nothing(self, make, valkey):
        """Neither key nor argument can be read on the server."""
        make().set("a secret key", 1)
        assert not [key for key in keys(valkey) if b"secret" in key]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_forked_child_has_its_own_connection(self, make):
        """Parent and child go on."""
        manager = make()
        manager.set("k", 1)
        child = os.fork()
        if child == 0:
            os._exit(0 if [manager.get("k") for _ in range(50)] == [1] * 50 else 1)
        assert [manager.get("k") for _ in range(50)] == [1] * 50
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_threads_that_come_first_share_a_client(self, make, monkeypatch):
        """Another one would close its connections while a thread uses them."""
        made, real = [], redis.Redis.from_url

        def slowly(*args, **options):
            made.append(real(*args, **options))
            time.sleep(0.05)
            return made[-1]

        monkeypatch.setattr(redis.Redis, "from_url", slowly)
        manager = make()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(manager.get, "abcd"))
        assert len(made) == 1


FIRST_USE = """
import os, signal, sys, threading, time
from codoperf_otel.cache_manager import CacheManager, RedisTier, cached_function

manager = CacheManager(tiers=[RedisTier(sys.argv[1], timeout=20)])
threading.Thread(target=manager.set, args=("key", 1)).start()
time.sleep(float(sys.argv[2]))
child = os.fork()
if child == 0:
    manager.set("key", 1)
    os._exit(0)
late = threading.Timer(60, os.kill, (child, signal.SIGKILL))
late.daemon = True
late.start()
status = os.waitpid(child, 0)[1]
manager.set("key", 1)
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("delay", [0, 0.002, 0.004, 0.008])
def test_a_fork_in_the_midst_of_the_first_use(valkey, delay):
    """The child waits for no module that its parent has half imported, and for no lock of the client's."""
    command = [sys.executable, "-c", FIRST_USE, valkey.url, str(delay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


class TestHostile:
    """Entries that somebody else has written."""

    def test_foreign_entries_are_invalid(self, make, valkey, monkeypatch):
        """Nothing that is not signed with the secret is unpickled; it is removed."""
        make(secret="another").set("k", (1,))
        monkeypatch.setattr("pickle.loads", lambda data: pytest.fail("unpickled"))
        before = keys(valkey)
        manager = make()
        assert manager.get("k", "absent") == "absent"
        assert len(keys(valkey)) == len(before) - 1

    def test_nothing_is_pickled_without_a_secret(self, make, caplog):
        """Plain data is shared, the rest stays here, with one warning."""
        manager = make(secret=None, memory=True)
        for number in range(2):
            manager.set("plain", [1])
            manager.set("other", (number,))
        assert (make(secret=None).get("plain"), make(secret=None).get("other", "absent")) == ([1], "absent")
        assert manager.get("other") == (1,)
        (record,) = caplog.records
        assert "would have to be pickled" in record.getMessage()

    def test_key_of_another_type_is_invalid(self, make, valkey):
        """A list in an entry's place is removed, and the tier goes on."""
        manager = make()
        before = set(keys(valkey))
        manager.set("k", 1)
        (key,) = set(keys(valkey)) - before
        with redis.Redis.from_url(valkey.url) as client:
            client.delete(key)
            client.lpush(key, "somebody's")
        assert manager.get("k", "absent") == "absent"
        manager.set("k", 2)
        assert manager.get("k") == 2

    @pytest.mark.parametrize("prefix", ["*", "a[b]", "a\\", "a?"])
    def test_prefix_is_no_pattern(self, valkey, prefix):
        """`clear` removes the keys that begin with it, and no others that match it."""
        with redis.Redis.from_url(valkey.url) as client:
            client.set("ab:somebody's", 1)
            manager = CacheManager(tiers=[RedisTier(valkey.url, prefix=prefix, timeout=5)])
            manager.set("k", 1)
            assert manager._store.behind[0].count() == 1
            manager.clear()
            assert manager.get("k", "absent") == "absent"
            assert client.delete("ab:somebody's") == 1

    @pytest.mark.parametrize(
        "answer",
        [b":5", b"+OK", b"*0", b"*2\r\n:1\r\n:2", b"$abc", b"$5\r\nhello", b"HTTP/1.1 400 Bad", b"-ERR \xff"],
    )
    def test_nonsense_is_not_raised(self, make, answer):
        """Whatever a server answers, calls go on."""
        with Nonsense(answer) as url:
            manager = make(url=url)
            tier = manager._store.behind[0]
            for work in (lambda: manager.get("k"), lambda: manager.set("k", 1), tier.count, manager.clear):
                for _ in range(2):  # the first answers the greeting
                    tier._off_until = 0
                    assert not work() or work == tier.count


class Nonsense:
    """A server that answers all requests alike."""

    def __init__(self, answer):
        class Handler(socketserver.BaseRequestHandler):
            """One connection."""

            def handle(self):
                """Answer until the client is gone."""
                with contextlib.suppress(OSError):
                    while self.request.recv(65536):
                        self.request.sendall(answer + b"\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()
        return f"redis://127.0.0.1:{self._server.server_address[1]}/0"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.socket.close()


class Dripping(Nonsense):
    """A server that sends an answer one byte after the other."""

    def __init__(self):
        class Handler(socketserver.BaseRequestHandler):
            """One connection."""

            def handle(self):
                """Greet, then drip until the client is gone."""
                with contextlib.suppress(OSError):
                    while b"GET" not in (request := self.request.recv(65536)):
                        self.request.sendall(b"+OK\r\n" * request.count(b"*"))
                    self.request.sendall(b"$1000\r\n")
                    while True:
                        self.request.sendall(b"x")
                        time.sleep(0.01)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True


class TestServer:
    """What happens to the server."""

    def test_one_that_drips_costs_one_time_limit(self, make, caplog):
        """Each byte comes in time, and the answer does not."""
        with Dripping() as url:
            manager = make(url=url + "?protocol=2", timeout=0.1)
            began = time.monotonic()
            assert manager.get("k", "absent") == "absent"
            assert time.monotonic() - began < 8  # all would take 10 s and more
        assert "Timeout" in caplog.text

    def test_server_is_not_scanned_at_each_collection(self, make, telemetry, monkeypatch):
        """Its entries are not counted, as it holds other programs' keys, too."""
        manager = make(memory=True)
        manager.set("k", 1)
        manager.get("k"), manager.get("absent")
        monkeypatch.setattr("redis.Redis.scan", lambda *_: pytest.fail("scanned"))
        tiers = {dict(key)["codoperf.cache.tier"] for key in telemetry.values("codoperf.cache.entry.count")}
        assert "memory" in tiers
        assert "redis" not in tiers

    def test_one_that_hangs_costs_one_time_limit(self, make, own, caplog):
        """Then it is left alone for a while, and later it is asked again."""
        manager = make(url=own.url, memory=True, timeout=1)
        manager.set("k", 1)
        other = make(url=own.url, timeout=1)
        with own.held():
            began = time.monotonic()
            for _ in range(20):
                assert other.get("k", "absent") == "absent"
            manager.set("new", 2)
            assert manager.get("new") == 2
            assert time.monotonic() - began < 15  # two managers, a second each
        assert {record.levelno for record in caplog.records} == {logging.WARNING}
        assert len(caplog.records) == 2
        tier = other._store.behind[0]
        tier._clock = lambda: time.monotonic() + OFF_SECONDS
        assert other.get("k") == 1

    def test_one_that_is_gone_comes_back(self, make, own, caplog):
        """Calls go on meanwhile; one warning."""
        manager = make(url=own.url)
        own.stop()
        manager.set("k", 1)
        assert manager.get("k", "absent") == "absent"
        own.start()
        manager._store.behind[0]._clock = lambda: time.monotonic() + OFF_SECONDS
        manager.set("k", 2)
        assert manager.get("k") == 2
        assert len(caplog.records) == 1

    def test_a_full_server_goes_on_answering(self, make, own, caplog):
        """One that does not evict takes nothing new, and what it has is found, unless it is out of date."""
        manager = make(url=own.url)
        for key in ("k", "old"):
            manager.set(key, 1)
        with redis.Redis.from_url(own.url) as client:
            client.config_set("maxmemory", 1)
        manager.set("old", 2)
        assert (manager.get("k"), manager.get("old", "absent")) == (1, "absent")
        assert not caplog.records

    @pytest.mark.parametrize("option", ["nonsense=1", "socket_timeout=abc", "decode_responses=true"])
    def test_wrong_options_of_the_url_are_a_warning(self, make, valkey, caplog, option):
        """Calls go on."""
        manager = make(url=f"{valkey.url}?{option}")
        manager.set("k", (1,))
        assert manager.get("k", "absent") == "absent"
        (record,) = caplog.records
        assert "is not asked" in record.getMessage()

    def test_wrong_password_says_nothing_of_it(self, make, tmp_path, caplog):
        """One warning, without the password."""
        server = Valkey(tmp_path, "--requirepass", "right")
        try:
            right = make(url=server.url.replace("//", "//:right@"))
            right.set("k", 1)
            assert right.get("k") == 1
            wrong = make(url=server.url.replace("//", "//me:hunter2@"))
            assert wrong.get("k", "absent") == "absent"
        finally:
            server.stop()
        (record,) = caplog.records
        assert "hunter2" not in record.getMessage()

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("localhost", "url is 'localhost'"),
            ("http://localhost", "redis://, rediss:// or unix://"),
            ("redis://:hunter2@example.org", r"url is 'redis://\*\*\*@example.org'.*rediss://"),
            ("redis://localhost:port", "url is"),
            ("REDIS://localhost", "redis://, rediss:// or unix://"),
            (None, "url is None"),
        ],
    )
    def test_wrong_urls(self, url, message):
        """One error at the start, without the password."""
        with pytest.raises(ValueError, match=message) as caught:
            RedisTier(url)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "redis://example.org?password=hunter2",
            "redis://192.0.2.2:6379/0?username=me&password=hunter2",
            "redis://example.org?db=1&%70assword=hunter2",
            "redis://example.org?username=hunter2",
            "redis://hunter2@example.org",
            "redis://me:12/hunter2@example.org",
            "redis://:hunter2@[::1%61]",  # decoded, another machine
        ],
    )
    def test_credentials_without_tls_stay_on_this_machine(self, url):
        """Wherever the URL has them, and they are not in the error."""
        with pytest.raises(ValueError, match=r"it must be rediss:// or a loopback address") as caught:
            RedisTier(url)
        assert "hunter2" not in str(caught.value)
        for host in ("localhost", "127.0.0.1", "[::1]"):
            RedisTier(f"redis://{host}?password=hunter2")
        RedisTier(url.replace("redis:", "rediss:"))

    @pytest.mark.parametrize("secret", ["", " \n", b"", b"hunter2", 3, ("hunter2",)])
    def test_secret_that_signs_nothing_is_refused(self, secret):
        """One error at the start, which does not show it."""
        with pytest.raises(ValueError, match=r"^secret is '(\*\*\*)?': it must be a text") as caught:
            RedisTier("redis://localhost", secret=secret)
        assert "hunter2" not in str(caught.value)

    def test_redis_py_is_named_where_it_is_absent(self, monkeypatch):
        """With the line that installs it."""
        monkeypatch.setattr("codoperf_otel._cache.chosen_tiers.find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'codoperf-otel\[redis\]'"):
            RedisTier("redis://localhost")
