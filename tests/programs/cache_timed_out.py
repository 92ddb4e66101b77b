"""Which time-outs that a signal handler raises in a cache does the program not see, and what do they leave?

cache_timed_out.py WHERE

WHERE is a folder, or the URL of a server. There is one time-out at each place of the caches' code where
Python runs signal handlers. It prints one JSON object: how many places there are, where a time-out was lost,
and where it left something taken.
"""

import gc
import itertools
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from interrupting import PACKAGE, Places

from codoperf_otel.cache_manager import CacheManager, DiskTier, MemoryTier, RedisTier, cached_function

WHERE = sys.argv[1]
LIMIT = 20
CACHE = str(Path(PACKAGE) / "_cache")

numbers = itertools.count()
table = {1: "one"}  # a global that may change: all files count


def handler(*_):
    raise TimeoutError("time is up")


def helper(x):
    return table.get(x)


class Case:
    """A manager that nobody has used yet, and a function that it caches."""

    def __init__(self):
        name = str(next(numbers))
        tier = RedisTier(WHERE, timeout=LIMIT) if "://" in WHERE else DiskTier(Path(WHERE) / name)
        self.manager = CacheManager(name=name, tiers=[MemoryTier(), tier])
        self.function = cached_function(cache_manager=self.manager)(lambda x: helper(x))
        self.claimed = set()
        self._watch(self.manager._store.behind[0])

    def _watch(self, tier):
        take, give_back = tier.claim, tier.give_back

        def claim(location):
            self.claimed.add(location.key)
            return take(location)

        def let_go(location):
            give_back(location)
            self.claimed.discard(location.key)

        tier.claim, tier.give_back = claim, let_go

    def kept(self):
        """The same with entries, all of them behind memory."""
        self.manager.set("key", {1, 2})
        self.function(1)
        self.manager._store.memory.clear()
        return self

    def left(self):
        """What a time-out has left."""
        flying = [each.flights._flying for each in self.manager._store.namespaces]
        found = {"computation": any(flying), "claim": self.claimed, "scope": self._has_none()}
        user = threading.Thread(target=self._use, daemon=True)
        user.start()
        user.join(LIMIT)
        return [what for what, is_left in {**found, "lock": user.is_alive()}.items() if is_left]

    def _has_none(self):
        return self.function.cache_explain().scope is None

    def _use(self):
        self.manager.set("key", 2)
        self.function(1)
        self.manager.clear()


def stale(case):
    """A value that is only good in place of an error."""
    expired = cached_function(1e-9, cache_manager=case.manager, stale_if_error=60)(lambda x: table[x])
    table[2] = "two"
    expired(2)
    del table[2]
    expired(2)


WORK = {
    "miss": (Case, lambda case: case.function(1)),
    "hit": (lambda: Case().kept(), lambda case: case.function(1)),
    "set": (Case, lambda case: case.manager.set("key", {1, 2})),
    "get": (lambda: Case().kept(), lambda case: case.manager.get("key")),
    "refresh": (lambda: Case().kept(), lambda case: case.function.cache_refresh(1)),
    "clear": (lambda: Case().kept(), lambda case: case.function.cache_clear()),
    "stale": (Case, stale),
    "figures": (lambda: Case().kept(), lambda case: (case.manager.get_stats(), case.function.cache_stats())),
}


def interrupted(name, make, work):
    """One piece of work with a time-out at each new place, one after the other."""
    known = -1
    while known < len(places.seen):
        known, case = len(places.seen), make()
        try:
            places.run(lambda case=case: work(case), 1)
            if known < len(places.seen):
                lost.append((name, places.last))
        except TimeoutError:
            pass
        if known < len(places.seen):
            left.extend((name, places.last, what) for what in case.left())


logging.disable(logging.CRITICAL)
signal.signal(signal.SIGALRM, handler)
gc.disable()  # what a handler raises in a finalizer is lost
places = Places(lambda: signal.raise_signal(signal.SIGALRM), CACHE, for_signals=True)
lost, left = [], []
for name, (make, work) in WORK.items():
    interrupted(name, make, work)
    gc.collect()
print(json.dumps({"of": len(places.seen), "lost": lost, "left": left}), flush=True)
os._exit(0)
