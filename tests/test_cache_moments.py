"""A computation under way while another process writes its key or clears the cache is returned, not kept."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from codoperf_otel._cache import upkeep
from codoperf_otel.cache_manager import CacheManager, DiskTier, RedisTier, cached_function

pytestmark = pytest.mark.once


@pytest.fixture(params=["disk", "redis"])
def tier(request, tmp_path):
    """Makes the same tier again, as another process does."""
    if request.param == "disk":
        return lambda: DiskTier(tmp_path / "cache")
    url, prefix = request.getfixturevalue("valkey").url, os.urandom(4).hex()
    return lambda: RedisTier(url, timeout=5, prefix=prefix)


class Versions:
    """A function whose results are numbered; `meanwhile` is done while the next one is computed."""

    def __init__(self, make_tier):
        self._make_tier = make_tier
        self.number, self.meanwhile = 0, lambda: None

    def compute(self):
        """The next number."""
        self.number += 1
        number, work, self.meanwhile = self.number, self.meanwhile, lambda: None
        work()
        return number

    def process(self):
        """The cached function as another process has it."""

        @cached_function(cache_manager=self.manager(), version="1")
        def function(of=0):
            return self.compute()

        @cached_function(cache_manager=self.manager(), version="1")
        async def coroutine(of=0):
            return self.compute()

        function.coroutine = coroutine
        return function

    def manager(self):
        """A manager of another process."""
        return CacheManager(tiers=[self._make_tier()])


@pytest.fixture
def versions(tier):
    """One for each tier."""
    return Versions(tier)


def test_undisturbed(versions):
    """What nobody disturbs is kept."""
    assert versions.process()() == versions.process()() == 1


def test_cleared(versions):
    """After another process has cleared the function no older value comes back."""
    mine, other = versions.process(), versions.process()
    versions.meanwhile = other.cache_clear
    assert mine() == 1
    assert mine() == other() == 2


def test_all_cleared(versions):
    """Nor after it has cleared everything."""
    mine, other = versions.process(), versions.process()
    versions.meanwhile = versions.manager().clear
    assert mine() == 1
    assert other() == 2


def test_refreshed(versions):
    """What another process has written since stays."""
    mine, other = versions.process(), versions.process()
    versions.meanwhile = other.cache_refresh
    assert mine() == 1
    assert mine() == other() == 2


def test_refresh(versions):
    """A refresh takes the place of what others have computed meanwhile, but not of a clear."""
    mine, other = versions.process(), versions.process()
    assert mine() == 1
    versions.meanwhile = other.cache_refresh
    assert mine.cache_refresh() == other() == 2
    versions.meanwhile = other.cache_clear
    assert mine.cache_refresh() == 4
    assert other() == 5


def test_coroutines(versions):
    """So it is with coroutine functions, whose tier is asked in other threads."""
    mine, other = versions.process().coroutine, versions.process().coroutine

    async def main():
        versions.meanwhile = other.cache_clear
        assert (await mine(), await other()) == (1, 2)
        versions.meanwhile = other.cache_clear
        assert (await mine.cache_refresh(), await other()) == (3, 4)

    asyncio.run(main())


def test_other_keys_are_kept(versions):
    """What is written at other keys, and clears of other functions, concern nobody."""
    mine, other = versions.process(), versions.process()
    versions.meanwhile = lambda: (other(1), other.coroutine.cache_clear())
    assert mine() == other() == 1


@pytest.mark.parametrize("named", [False, True])
def test_cleared_from_outside(tmp_path, named):
    """`codoperf cache clear` is a clear, too, of all or of one cache."""
    versions = Versions(lambda: DiskTier(tmp_path / "cache"))
    mine, other = versions.process(), versions.process()
    assert mine(1) == 1
    name = mine.cache_stats()["name"] if named else None
    versions.meanwhile = lambda: upkeep.clear(tmp_path / "cache", name)
    assert mine() == 2
    assert other() == 3


def test_threads_of_one_process(versions):
    """Two managers of one folder in one process are like two processes."""
    mine, other = versions.process(), versions.process()

    def clear_elsewhere():
        thread = threading.Thread(target=other.cache_clear)
        thread.start()
        thread.join()

    versions.meanwhile = clear_elsewhere
    assert (mine(), other()) == (1, 2)
