"""Signal handlers and finalizers that use a cache, whatever of it they interrupt."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import codoperf_otel
from codoperf_otel._cache import turns
from codoperf_otel._cache.namespace import Namespace
from codoperf_otel._cache.store import Store
from codoperf_otel.cache_manager import CacheManager, MemoryTier

PROGRAMS = Path(__file__).parent / "programs"
CACHE = Path(codoperf_otel.__file__).parent / "_cache"
LIMIT = 60
HOLD_NO_LOCK = {"opened", "waited_for", "emptied"}


@pytest.mark.parametrize("handler", ["set", "call", "clear", "cache_clear"])
def test_handler_that_uses_the_cache_it_interrupts(handler):
    """At every place of a cache's code it may set, look up and clear, and nobody notices."""
    program = [sys.executable, str(PROGRAMS / "cache_handled.py"), handler]
    done = subprocess.run(program, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.pop("places") > 50
    assert found == {"failed": [], "over the bound": 0}


class Interrupted:
    """A tier whose `clear` a signal handler interrupts."""

    def __init__(self, handler):
        self.clear = lambda _: handler()


def test_handler_does_not_wait_for_who_waits_for_it(monkeypatch):
    """It clears a cache while another thread, which needs what the handler interrupts, writes a key."""
    monkeypatch.setattr(turns, "PATIENCE", LIMIT * 10)
    store = Store("s", 10, list)
    location = store.add(Namespace("s", lambda: None)).location("k")
    is_taken, is_cleared = threading.Event(), threading.Event()
    seen = []

    def write():
        is_taken.set()
        seen.append(is_cleared.wait(LIMIT / 4))

    def handler():
        store._tiers = ()  # its own now
        store.clear()
        is_cleared.set()

    store._tiers = (Interrupted(handler),)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.turns.of(location).write, write)
        assert is_taken.wait(LIMIT)
        store._clear(None)
    assert seen == [True]


class Clears:
    """A value that clears its cache when it goes."""

    def __init__(self, manager):
        self.manager = manager

    def __del__(self):
        self.manager.clear()


def test_finalizers_that_clear(monkeypatch):
    """Evicted values go while their thread has no lock, so they wait for nobody who waits for them."""
    monkeypatch.setattr(turns, "SHORT_PATIENCE", LIMIT * 10)
    monkeypatch.setattr(turns, "PATIENCE", LIMIT * 10)
    manager, numbers = CacheManager(tiers=[MemoryTier(3)]), itertools.count()

    def work():
        for _ in range(100):
            manager.set(next(numbers), Clears(manager))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT / 4)
    assert not any(thread.is_alive() for thread in threads)
    manager.clear()


def test_no_generator_holds_a_lock():
    """What a signal handler raises in the end of a generator may be lost, and a lock stay taken."""
    trees = (ast.parse(path.read_text()) for path in CACHE.glob("*.py"))
    functions = [each for tree in trees for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    managers = {each.name for each in functions if "contextmanager" in map(ast.unparse, each.decorator_list)}
    assert managers <= HOLD_NO_LOCK
