"""Objects that are known as long as they live."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import codoperf_otel
from codoperf_otel import CacheManager, cached_function
from codoperf_otel._telemetry.living import Living


class Thing:
    """Anything that there may be weak references to."""


def test_some_come_and_go_while_they_are_walked():
    """A walk sees each that was there when it began and still lives, and nothing raises."""
    living, things = Living(), [Thing() for _ in range(5)]
    for each in things:
        living.add(each)
    first, second = things[:2]
    del things[2:4]
    seen = []
    for each in living:
        seen.append(each)
        things += [Thing()]
        living.add(things[-1])
        living.add(Thing())
    assert seen == [first, second, things[2]]
    del seen, each
    assert list(living) == things


def test_it_keeps_nothing_alive_and_is_kept_by_nothing():
    """Neither waits for the garbage collector, whichever goes first."""
    living, thing = Living(), Thing()
    living.add(thing)
    del thing
    assert not living._references
    known = living._references
    thing = Thing()
    living.add(thing)
    del living
    del thing
    assert len(known) == 1


def test_a_cache_is_cleared_while_others_come_to_its_manager():
    """`clear` walks the caches of the manager while other threads decorate functions."""
    manager, stop = CacheManager(disk=False), threading.Event()

    def decorate():
        while not stop.is_set():
            [cached_function(cache_manager=manager)(lambda x: x) for _ in range(20)]

    thread = threading.Thread(target=decorate)
    thread.start()
    try:
        for _ in range(200):
            manager.clear()
    finally:
        stop.set()
        thread.join()


def test_no_weak_set_is_left():
    """To walk one raises where a signal handler, a finalizer or a thread adds to it."""
    package = Path(codoperf_otel.__file__).parent
    trees = {path: ast.walk(ast.parse(path.read_text())) for path in package.rglob("*.py")}
    importing = [
        path
        for path, nodes in trees.items()
        if any(
            isinstance(node, ast.Name | ast.alias | ast.Attribute) and "WeakSet" in ast.dump(node)
            for node in nodes
        )
    ]
    assert importing == []
