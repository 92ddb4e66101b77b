"""What goes wrong where a signal handler uses the cache that it interrupts?

cache_handled.py HANDLER

HANDLER says what it does: set, call, clear or cache_clear. It runs once at each place of the caches' code
where Python runs signal handlers. It prints one JSON object: how many places there are, what failed, and how
many entries stayed above the bound.
"""

import itertools
import json
import sys
from pathlib import Path

from interrupting import PACKAGE, Places

from codoperf_otel.cache_manager import CacheManager, MemoryTier, cached_function

LIMIT = 5
CACHE = str(Path(PACKAGE) / "_cache")

numbers = itertools.count()
manager = CacheManager(tiers=[MemoryTier(LIMIT)])


@cached_function(cache_manager=manager)
def function(x):
    return x


HANDLERS = {
    "set": lambda: (manager.set(next(numbers), 1), manager.set("key", 1)),
    "call": lambda: (function(next(numbers)), function("key")),
    "clear": manager.clear,
    "cache_clear": function.cache_clear,
}
WORK = {
    "set": lambda: (manager.set("key", 2), manager.set(next(numbers), 2)),
    "get": lambda: (manager.get("key"), manager.get("absent")),
    "call": lambda: (function("key"), function("key"), function(next(numbers))),
    "clear": manager.clear,
    "cache_clear": function.cache_clear,
    "figures": lambda: (manager.get_stats(), function.cache_info()),
}


def full():
    """Fill the memory."""
    for each in range(LIMIT):
        manager.set(each, each)
    function("key")


places, failed, above = Places(HANDLERS[sys.argv[1]], CACHE, for_signals=True), [], 0
for name, work in WORK.items():
    known = -1
    while known < len(places.seen):
        full()
        known = len(places.seen)
        try:
            places.run(work, 1)
        except Exception as error:
            failed.append((name, places.last, repr(error)))
        manager.set("last", 1)
        above = max(above, manager.get_stats()["memory_items"] - LIMIT)
print(json.dumps({"places": len(places.seen), "failed": failed, "over the bound": above}))
