"""The memory tier's bound by bytes: what a value weighs, what is evicted, what telemetry says."""

from __future__ import annotations

import sys
import types

import pytest

from codoperf_otel._cache.memory import Memory
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.tiers import Item
from codoperf_otel._cache.weights import weigh
from codoperf_otel.cache_manager import CacheManager, MemoryTier

pytestmark = pytest.mark.once

BLOB = 1000
BLOB_WEIGHT = sys.getsizeof(bytes(BLOB))


def blob():
    """A new object of some bytes."""
    return bytes(bytearray(BLOB))


class Slotted:
    """Holds a value in a slot, and one nowhere."""

    __slots__ = ("empty", "value")


class Plain:
    """Holds a value in its dict."""


class Texts(list):
    """A list that hides its items."""

    def __iter__(self):
        """None."""
        return iter(())


class Hostile:
    """An object that raises whatever is asked."""

    def __sizeof__(self):
        raise OSError

    def __getattribute__(self, name):
        raise OSError


def slotted():
    """A value in a slot."""
    made = Slotted()
    made.value = blob()
    return made


def plain():
    """A value in an attribute."""
    made = Plain()
    made.value = blob()
    return made


class TestWeights:
    """What a value weighs."""

    @pytest.mark.parametrize(
        "value",
        [
            blob(), [blob()], (1, blob()), {blob()}, {1: blob()}, {blob(): 1}, frozenset([blob()]),
            Texts([blob()]), slotted(), plain(), types.SimpleNamespace(a=blob()), [Hostile(), blob()],
        ],
    )  # fmt: skip
    def test_what_is_held_counts(self, value):
        """Items, attributes and slots count, with a little for what holds them."""
        assert BLOB_WEIGHT <= weigh(value) < BLOB_WEIGHT + 1000

    def test_each_object_counts_once(self):
        """Also in a circle."""
        circle = [blob()]
        circle += [circle, circle[0]]
        assert weigh(circle) < 2 * BLOB_WEIGHT

    def test_code_counts_nothing(self):
        """Classes, functions and modules are there anyway."""
        assert [weigh(each) for each in (Plain, blob, sys, len, [].append)] == [0] * 5

    def test_views_count_their_data(self):
        """An array's data counts, whoever owns it."""
        numpy = pytest.importorskip("numpy")
        assert weigh(numpy.zeros(BLOB)[:]) >= 8 * BLOB

    def test_depth_does_not_matter(self):
        """A value nested deeper than the interpreter recurses is weighed."""
        value = [blob()]
        for _ in range(10_000):
            value = [value]
        assert weigh(value) > 10_000 * sys.getsizeof([])


class TestBound:
    """At most so many bytes."""

    def test_least_recently_used_leaves_first(self):
        """Until the new value has room; one that was used meanwhile stays."""
        evicted = []
        memory = Memory(100, lambda _, reason, number: evicted.append((reason, number)), 3 * BLOB_WEIGHT)
        one = Namespace("one", lambda: None)
        for key in "abc":
            memory.put(one.location(key), Item(blob(), 60, None))
        memory.get(one.location("a"))
        memory.put(one.location("d"), Item(blob(), 60, None))
        assert set(one.entries) == {"a", "c", "d"}
        assert evicted == [("size", 1)]
        assert memory.size() == memory.size(one) == 3 * BLOB_WEIGHT

    def test_value_above_the_bound_stays_out(self):
        """It takes the place of the one before, and evicts no other."""
        manager = CacheManager(tiers=[MemoryTier(max_bytes=2 * BLOB_WEIGHT)])
        manager.set("small", 1)
        manager.set("k", 1)
        manager.set("k", bytes(3 * BLOB))
        assert (manager.get("small"), manager.get("k", "absent")) == (1, "absent")

    def test_whatever_leaves_leaves_room(self):
        """Bytes of what was replaced, cleared, removed or has expired are free again."""
        memory = Memory(2, lambda *_: None, 10 * BLOB_WEIGHT)
        one = Namespace("one", lambda: None)
        for key in "aabcd":
            memory.put(one.location(key), Item(blob(), 60, None))
        assert memory.size() == 2 * BLOB_WEIGHT
        memory.remove(one.location("d"))
        memory.put(one.location("e"), Item(blob(), 0, None))
        memory.get(one.location("e"))
        assert memory.size() == BLOB_WEIGHT
        memory.clear()
        assert memory.size() == 0

    def test_telemetry_has_the_size(self, telemetry):
        """Of a memory tier that is bound by bytes, and of no other one."""
        for name, tier in (("bound", MemoryTier(max_bytes=BLOB * 10)), ("unbound", MemoryTier())):
            manager = CacheManager(name=name, tiers=[tier])
            manager.get("k")
            manager.set("k", blob())
            assert manager.get("k")
            sizes = telemetry.values("codoperf.cache.size")
            of = frozenset({"codoperf.cache.name": name, "codoperf.cache.tier": "memory"}.items())
            assert sizes.get(of) == (BLOB_WEIGHT if name == "bound" else None)

    @pytest.mark.parametrize("value", [0, -1, True, "1 MB", float("nan")])
    def test_wrong_bounds(self, value):
        """One error that names the setting."""
        with pytest.raises(ValueError, match="max_bytes"):
            MemoryTier(max_bytes=value)


def test_what_is_too_large_is_not_weighed_to_its_end():
    """A list that is larger than the bound by itself costs nothing per item."""
    asked = []

    class Item:
        def __sizeof__(self):
            asked.append(self)
            return 1

    manager = CacheManager(tiers=[MemoryTier(max_bytes=500)])
    manager.set("key", [Item() for _ in range(100)])
    assert manager.get("key") is None
    assert asked == []
