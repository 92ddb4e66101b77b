"""What is begun and ended as a whole: once, by one thread at a time, and anew in a forked child."""

from __future__ import annotations

import os
import threading
import time
from functools import partial

import pytest

from codoperf_otel import _frameworks, _zero_code
from codoperf_otel._patching.one_at_a_time import OneAtATime
from codoperf_otel._workers import threads
from codoperf_otel._zero_code.patterns import Patterns

PATTERNS = Patterns(["nothing.*"], [])
ROOMS = {
    "threads": (threads.start, threads.stop, threads._lending),
    "frameworks": (_frameworks.start, _frameworks.stop, _frameworks._adaptations),
    "zero code": (partial(_zero_code.start, PATTERNS), _zero_code.stop, _zero_code._monitoring),
}


class Whole:
    """Notes its begins and ends, and fails where it is told to."""

    def __init__(self, noted, fails=()):
        self.noted, self.fails = noted, list(fails)

    def _note(self, what):
        self.noted.append(what)
        if what in self.fails:
            self.fails.remove(what)
            raise KeyboardInterrupt

    def begin(self):
        self._note("begin")

    def end(self):
        self._note("end")


def test_it_begins_once_and_ends_once():
    """A second start does nothing, nor does a second stop."""
    one, noted = OneAtATime(), []
    for _ in range(2):
        one.start(lambda: Whole(noted))
    for _ in range(2):
        one.stop()
    assert noted == ["begin", "end"]


def test_one_is_exchanged_for_another():
    """The first is ended before the second begins."""
    one, noted = OneAtATime(), []
    for _ in range(2):
        one.exchange(lambda: Whole(noted))
    assert noted == ["begin", "end", "begin"]


def test_a_begin_that_is_cut_off_is_ended():
    """What was half begun is put back, and the next start begins anew."""
    one, noted = OneAtATime(), []
    with pytest.raises(KeyboardInterrupt):
        one.start(lambda: Whole(noted, ["begin"]))
    assert one.running is None
    one.start(lambda: Whole(noted))
    assert noted == ["begin", "end", "begin"]


def test_an_end_that_is_cut_off_can_be_repeated():
    """It is still running, so the next stop ends the rest."""
    one, noted = OneAtATime(), []
    one.start(lambda: Whole(noted, ["end"]))
    with pytest.raises(KeyboardInterrupt):
        one.stop()
    one.stop()
    assert noted == ["begin", "end", "end"]
    assert one.running is None


def test_threads_begin_one_only():
    """Those that come while it begins wait until it has begun."""
    one, noted, seen = OneAtATime(), [], []

    class Slow(Whole):
        def begin(self):
            time.sleep(0.05)
            super().begin()

    def start():
        one.start(lambda: Slow(noted))
        seen.append(list(noted))

    started = [threading.Thread(target=start) for _ in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert seen == [["begin"]] * 4


def outcome_in_child(work):
    """Whether it returns in a forked child, within ten seconds."""
    pid = os.fork()
    if not pid:
        threading.Timer(10, os._exit, [2]).start()
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("room", ROOMS)
def test_a_child_can_begin_and_end_where_a_thread_has_the_lock(room):
    """The thread is not there, so its lock is made anew; what had begun goes on and can be ended."""
    start, stop, one = ROOMS[room]
    start()
    has_lock, is_done = threading.Event(), threading.Event()

    def hold():
        with one.lock:
            has_lock.set()
            is_done.wait()

    holding = threading.Thread(target=hold)
    holding.start()
    has_lock.wait()

    def again():
        for change in (stop, start, stop):
            change()
        assert one.running is None

    try:
        assert outcome_in_child(again) == 0
        assert one.running is not None
    finally:
        is_done.set()
        holding.join()
        stop()
