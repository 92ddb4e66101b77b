"""One computation for all processes that share a tier."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import redis
from cache_counts import lookups
from valkey import Valkey

from codoperf_otel._cache import claims
from codoperf_otel._cache.claims import Claim
from codoperf_otel._cache.folder import CLAIMS_FILE
from codoperf_otel._cache.locks import Locks
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.tiers import Item
from codoperf_otel._telemetry import names
from codoperf_otel.cache_manager import CacheManager, RedisTier, cached_function

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, no file locks"),
]

LIMIT = 20.0

SHARING = textwrap.dedent("""
    import asyncio, os, signal, sys, time
    from codoperf_otel.cache_manager import CacheManager, MemoryTier, DiskTier, RedisTier, cached_function

    where, kind = sys.argv[1:]
    tier = RedisTier(where, timeout=5) if "://" in where else DiskTier(where)

    def compute(x):
        os.write(1, b"c")
        time.sleep(0.1)
        return [x]

    @cached_function(cache_manager=CacheManager(tiers=[MemoryTier(), tier]), cache_key_prefix="f")
    def function(x):
        return compute(x)

    @cached_function(cache_manager=CacheManager(tiers=[MemoryTier(), tier]), cache_key_prefix="c")
    async def coroutine(x):
        return compute(x)

    starts = time.monotonic() + 0.3
    if kind == "function":
        function(0)
    else:
        asyncio.run(coroutine(0))
    for _ in range(8):
        if os.fork() == 0:
            signal.alarm(30)
            time.sleep(max(0, starts - time.monotonic()))
            value = function(1) if kind == "function" else asyncio.run(coroutine(1))
            os._exit(value != [1])
    sys.exit(any(os.wait()[1] for _ in range(8)))
""")


@pytest.fixture(params=["disk", "redis"])
def where(request, tmp_path):
    """A folder, and the URL of a server."""
    return str(tmp_path / "cache") if request.param == "disk" else request.getfixturevalue("valkey").url


def location(number=1):
    """Any location outside memory, the same in every process."""
    return Namespace("claims", lambda: "origin").location(number)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_eight_processes_compute_once(where, kind, tmp_path):
    """Eight processes come to a cold key at once; one of them computes."""
    program = tmp_path / "program.py"
    program.write_text(SHARING)
    command = [sys.executable, "-P", program, where, kind]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"cc"), done.stderr.decode()


def test_a_dead_process_has_no_claim(tmp_path):
    """What a process has that dies is free at once."""
    locks = Locks(lambda: tmp_path / "cache")
    ready, written = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(written, b"1" if locks.claim(location()) else b"0")
            time.sleep(LIMIT)
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"1"
    assert not locks.claim(location())
    assert locks.claim(location(2))
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert locks.claim(location())


def test_a_removed_file_is_made_anew(tmp_path):
    """A claim holds in the file that others find."""
    locks = Locks(lambda: tmp_path)
    assert locks.claim(location())
    (tmp_path / CLAIMS_FILE).unlink()
    assert locks.claim(location())
    assert (tmp_path / CLAIMS_FILE).exists()


def is_taken(folder):
    """Whether another process is refused the claim."""
    child = os.fork()
    if child == 0:
        os._exit(not Locks(lambda: folder).claim(location()))
    return os.waitpid(child, 0)[1] != 0


def test_managers_of_a_folder_that_are_dropped_take_no_claims_along(tmp_path):
    """Another manager of the folder, by whatever path, takes along no claim but its own."""
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    kept = Locks(lambda: tmp_path / "cache")
    assert kept.claim(location())
    for path in (tmp_path / "cache", tmp_path / "link"):
        assert Locks(lambda path=path: path).claim(location(2))
    assert is_taken(tmp_path / "cache")
    kept.give_back(location())
    assert not is_taken(tmp_path / "cache")


def test_a_folder_of_others_has_no_claims(tmp_path):
    """Where the folder cannot be used, everybody computes."""
    tmp_path.chmod(0o777)
    assert Locks(lambda: tmp_path).claim(location())
    assert not (tmp_path / CLAIMS_FILE).exists()


def test_a_servers_claim_ends(valkey, monkeypatch):
    """A claim on a server ends with its lease, and by then it is not given back."""
    mine, theirs = (RedisTier(valkey.url, timeout=5, prefix="ends").make(lambda *_: None) for _ in range(2))
    with monkeypatch.context() as patched:
        patched.setattr(claims, "PATIENCE", 0.05)
        assert mine.claim(location())
    while not theirs.claim(location()):
        time.sleep(0.005)
    mine.give_back(location())
    assert not mine.claim(location())


def test_who_is_refused_a_claim_leaves_it_to_its_holder(valkey):
    """Another thread of the process that asks in vain does not keep the holder from giving it back."""
    mine, theirs = (RedisTier(valkey.url, timeout=5, prefix="held").make(lambda *_: None) for _ in range(2))
    assert mine.claim(location())
    assert not mine.claim(location())
    mine.give_back(location())
    assert theirs.claim(location())
    theirs.give_back(location())


def test_a_server_keeps_no_claim(valkey):
    """Once the value is there, and once a computation has failed, the claim is gone."""
    tier = RedisTier(valkey.url, timeout=5, prefix="kept")
    error = None

    @cached_function(cache_manager=CacheManager(tiers=[tier]), version="1")
    def f(x):
        (claimed,) = client.keys("kept-claim:*")
        assert client.pttl(claimed) > 20_000
        if error is not None:
            raise error

    with redis.Redis.from_url(valkey.url) as client:
        f(1)
        error = LookupError()
        with pytest.raises(LookupError):
            f(2)
        assert not client.keys("kept-claim:*")
        assert len(client.keys("kept:*")) == 1


def test_what_a_server_takes_late_is_nobodys_claim(tmp_path):
    """A server that hangs carries out afterwards what it was asked; nobody then waits for that claim."""
    server = Valkey(tmp_path)
    try:
        mine, theirs = (RedisTier(server.url, timeout=0.1).make(lambda *_: None) for _ in range(2))
        assert mine.claim(location(2))
        with server.held():
            assert mine.claim(location())
            mine._off_until = 0
            mine.give_back(location(2))
        for tier in (mine, theirs):
            tier._server, tier._off_until = tier._server._replace(timeout=LIMIT), 0
        deadline = time.monotonic() + LIMIT
        while not mine.claim(location()):
            assert time.monotonic() < deadline
        mine.give_back(location())
        while not (theirs.claim(location()) and theirs.claim(location(2))):
            assert time.monotonic() < deadline
    finally:
        server.stop()


def test_a_full_server_has_no_claims(tmp_path):
    """It refuses to write, and is asked again all the same."""
    full = Valkey(tmp_path, "--maxmemory", "1")
    try:
        tier = RedisTier(full.url, timeout=5).make(lambda *_: None)
        assert tier.claim(location())
        assert tier.claim(location())
        assert tier._off_until < 0
    finally:
        full.stop()


def test_a_failing_server_has_no_claims(tmp_path):
    """Whoever cannot reach the server computes."""
    stopped = Valkey(tmp_path)
    stopped.stop()
    tier = RedisTier(stopped.url).make(lambda *_: None)
    assert tier.claim(location())
    tier.give_back(location())


class Elsewhere:
    """A tier whose claims another process has, until it has kept its value."""

    counts_at_once = False
    name = names.DISK

    def __init__(self, tries=5, value=None):
        self.tries, self.value = tries, value
        self.threads, self.given_back = set(), []

    def claim(self, location):
        """Not ours, for a while."""
        self.threads.add(threading.get_ident())
        self.tries -= 1
        return self.tries < 0

    def give_back(self, location):
        """Note it."""
        self.threads.add(threading.get_ident())
        self.given_back.append(location.key)

    def get(self, location):
        """What the other process has kept by then."""
        return Item(self.value, 60, 1.0) if self.tries < 0 and self.value else None

    def put(self, location, item):
        """Nothing."""

    def remove(self, location):
        """Nothing."""

    def count(self, namespace=None):
        """None."""
        return 0

    def size(self, namespace=None):
        """Unknown."""

    def forked(self):
        """Nothing is left to the parent."""


def manager_with(tier):
    """A manager with that tier behind memory."""
    manager = CacheManager(disk=False)
    manager._store._tiers = (manager._store.memory, tier)
    return manager


class TestWaiting:
    """For what another process computes."""

    def test_functions(self, telemetry):
        """The other's value is returned, and counted as waited for."""
        tier = Elsewhere(value="theirs")
        f = cached_function(cache_manager=manager_with(tier), cache_key_prefix="waiting")(lambda x: "mine")
        assert f(1) == "theirs"
        assert tier.given_back == [1]
        assert lookups(telemetry, "waiting") == {"coalesced": 1}

    def test_coroutine_functions(self):
        """They wait off the loop, and a cancelled one gives back what it had no time to take."""
        tier = Elsewhere(value="theirs")

        @cached_function(cache_manager=manager_with(tier))
        async def f(x):
            return "mine"

        async def main():
            assert await f(1) == "theirs"
            tier.tries = 1_000_000
            waiting = asyncio.create_task(f(2))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
            return threading.get_ident()

        assert asyncio.run(main()) not in tier.threads

    def test_coroutine_functions_that_fail(self):
        """They give back their claim off the loop, too."""
        tier = Elsewhere(tries=0)

        @cached_function(cache_manager=manager_with(tier))
        async def f(x):
            raise LookupError

        async def main():
            with pytest.raises(LookupError):
                await f(1)
            return threading.get_ident()

        assert asyncio.run(main()) not in tier.threads
        assert tier.given_back == [1]

    def test_a_coroutine_function_that_is_cancelled_at_once(self):
        """What its thread takes afterwards is given back."""
        looks, go_on, given_back = threading.Event(), threading.Event(), threading.Event()

        class Slow(Elsewhere):
            def get(self, location):
                looks.set()
                go_on.wait(LIMIT)

            def give_back(self, location):
                given_back.set()

        @cached_function(cache_manager=manager_with(Slow(tries=0)))
        async def f(x):
            return "mine"

        async def main():
            waiting = asyncio.create_task(f(1))
            await asyncio.to_thread(looks.wait, LIMIT)
            waiting.cancel()
            await asyncio.wait([waiting])
            go_on.set()
            return await asyncio.to_thread(given_back.wait, LIMIT)

        assert asyncio.run(main())

    def test_in_vain(self, monkeypatch):
        """Whoever has waited for long enough computes, though another process still has the claim."""
        monkeypatch.setattr(claims, "PATIENCE", 0.3)
        tier = Elsewhere(tries=1_000_000)
        f = cached_function(cache_manager=manager_with(tier))(lambda x: "mine")
        assert f(1) == "mine"
        assert tier.tries < 1_000_000 - 1
        assert tier.given_back == []

    def test_in_vain_is_nobodys_claim(self):
        """Where the other process has kept nothing, those who waited compute at the same time."""
        tier = Elsewhere(tries=2)
        given_back = []

        @cached_function(cache_manager=manager_with(tier), version="1")
        def f(x):
            given_back.extend(tier.given_back)
            return "mine"

        assert f(1) == "mine"
        assert given_back == [1]

    def test_a_part_of_a_computation_needs_no_claim(self):
        """A function that calls itself with the same key has the claim already."""
        tier, depth = Elsewhere(tries=0), []

        @cached_function(cache_manager=manager_with(tier), version="1")
        def f(x):
            depth.append(tier.tries)
            return f(x) if len(depth) < 3 else x

        assert f(1) == 1
        assert depth == [-1, -1, -1]

    def test_a_failed_computation_is_nobodys_claim(self):
        """An exception gives the claim back."""
        tier = Elsewhere(tries=0)

        @cached_function(cache_manager=manager_with(tier))
        def f(x):
            raise LookupError

        with pytest.raises(LookupError):
            f(1)
        assert tier.given_back == [1]

    @pytest.mark.parametrize("options", [{"ttl": 0}, {"disk": False}], ids=str)
    def test_nothing_to_wait_for(self, options):
        """Where no value will come from elsewhere, nobody claims."""
        tier = Elsewhere()
        f = cached_function(cache_manager=manager_with(tier), **options)(lambda x: "mine")
        assert f(1) == "mine"
        assert not tier.threads

    def test_values_that_cannot_be_written(self, tmp_path):
        """Once one could not, nobody waits for the next."""
        manager = CacheManager(tmp_path)
        f = cached_function(cache_manager=manager)(lambda x: lambda: x)
        f(1)
        disk = manager._store.behind[0]
        disk.claim = lambda _: pytest.fail("claimed")
        f(2)


def test_an_interrupt_leaves_no_claim():
    """An exception of a signal handler may come when the claim was just taken."""

    class Interrupted(Elsewhere):
        def claim(self, location):
            raise KeyboardInterrupt

    tier = Interrupted()
    f = cached_function(cache_manager=manager_with(tier))(lambda x: x)
    with pytest.raises(KeyboardInterrupt):
        f(1)
    assert tier.given_back == [1]


def test_a_claim_that_comes_too_late_is_given_back():
    """A thread may take a claim after its task was cancelled."""
    tier = Elsewhere(tries=0)
    claim = Claim(tier, location())
    claim.give_back()
    assert tier.given_back == []
    claim.take()
    assert tier.given_back == [1]
