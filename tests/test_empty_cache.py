"""The fixture `empty_cache`: a test begins with empty caches and leaves nothing behind."""

from __future__ import annotations

import pytest

from codoperf_otel.cache_manager import CacheManager, DiskTier, MemoryTier, cached_function
from codoperf_otel.testing import empty_cache as emptied

seen = []
module_level = CacheManager(name="module level", disk=False)


@cached_function(cache_manager=module_level)
def search(query):
    """What is searched is noted."""
    seen.append(query)
    return query


@pytest.mark.parametrize("_", range(2))
def test_each_test_begins_empty(empty_cache, _):
    """A function of the module computes in each test."""
    seen.clear()
    search("x"), search("x")
    assert seen == ["x"]


@pytest.mark.parametrize("tiers", ["both", "disk"])
def test_what_is_on_disk_stays_as_it_is(tmp_path, tiers):
    """Nothing that was kept before is found, and nothing that is kept meanwhile stays."""
    front = [MemoryTier()] if tiers == "both" else []
    manager = CacheManager(tiers=[*front, DiskTier(tmp_path)])
    manager.set("before", 1)
    with emptied():
        assert manager.get("before", "absent") == "absent"
        manager.set("before", 2)
        manager.set("meanwhile", (2,))
        assert (manager.get("before"), manager.get("meanwhile")) == (2, (2,))
        assert manager.get_stats()["disk_files"] == 2
        manager.clear()
        manager.set("meanwhile", 3)
    assert (manager.get("before"), manager.get("meanwhile", "absent")) == (1, "absent")


def test_caches_without_disk_have_none_meanwhile():
    """What stays in memory does so here, too."""
    with emptied():
        module_level.set("k", 1)
        assert module_level.get_stats()["disk_files"] == 0
    assert module_level.get("k", "absent") == "absent"


def test_nothing_of_a_computation_under_way_is_kept():
    """What a test leaves running does not reach the caches of the next one."""

    @cached_function(cache_manager=module_level)
    def outlives():
        block.__exit__(None, None, None)
        return 1

    block = emptied()
    block.__enter__()
    outlives()
    assert outlives.cache_info().currsize == 0


def test_blocks_may_be_nested_and_fail(tmp_path):
    """Each has its own entries, and the caches are restored whatever comes out."""
    manager = CacheManager(tiers=[DiskTier(tmp_path)])

    @emptied()
    def fail():
        manager.set("k", 2)
        with emptied():
            assert manager.get("k", "absent") == "absent"
        return {}[manager.get("k")]

    manager.set("k", 1)
    with pytest.raises(KeyError, match="2"):
        fail()
    assert manager.get("k") == 1
