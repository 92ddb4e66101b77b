"""Waits for child processes in every odd way and prints what it sees; "measured" turns measuring on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import codoperf_otel


def said(call, *args):
    """What a call returns or raises."""
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__, str(error)


def start(code: str, **options) -> subprocess.Popen:
    return subprocess.Popen(["/bin/sh", "-c", code], **options)


def seen(ended: subprocess.Popen) -> int | None:
    """Wait until a process has ended, without reaping it."""
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    return ended.pid


def wait_twice():
    one = start("exit 3")
    first = os.waitpid(one.pid, 0)[1]
    return first, said(os.waitpid, one.pid, 0)[0], one.wait(), one.poll()


def wait_for_any():
    children = [start("exit 4"), start("exit 5")]
    found = dict(os.waitpid(-1, 0) for _ in children)
    known = {child.pid for child in children}
    return sorted(found.values()), found.keys() == known, said(os.waitpid, -1, 0)


def reaped_by_a_handler():
    found = []

    def reap(*_):
        while (one := said(os.waitpid, -1, os.WNOHANG))[0] not in (0, "ChildProcessError"):
            found.append(one[1])

    before = signal.signal(signal.SIGCHLD, reap)
    children = [start(f"exit {status}") for status in (1, 2, 3)]
    returned = [child.wait() for child in children]
    signal.signal(signal.SIGCHLD, before)
    return len(found) <= 3, all(status in (0, 1, 2, 3) for status in returned)


def ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    child = start("exit 9")
    returned = child.wait()
    signal.signal(signal.SIGCHLD, before)
    return returned


def stopped_and_continued():
    child = start("kill -STOP $$; exit 6")
    stopped = os.waitpid(child.pid, os.WUNTRACED)[1]
    os.kill(child.pid, signal.SIGCONT)
    return os.WIFSTOPPED(stopped), child.wait()


def killed():
    child = start("kill -KILL $$")
    return child.wait()


def timed_out():
    child = start("exec sleep 5")
    outcome = said(child.wait, 0.02)[0]
    child.kill()
    return outcome, child.communicate(), child.returncode


def polled():
    child = start("exit 7")
    seen(child)
    return child.poll(), child.poll()


def polled_when_reaped():
    child = start("exit 7")
    os.waitpid(child.pid, 0)
    return child.poll(), child.returncode


def not_there():
    return said(subprocess.Popen, ["/nothing/there"]), said(subprocess.Popen, 3), said(subprocess.Popen)


def bad_calls():
    waits = ((), (1,), ("a", 0), (1, "b"), (1, 0, 0), (2**40, 0))
    return [said(os.waitpid, *args)[0] for args in waits], said(os.waitpid, os.getpid(), 0)


def nothing_yet():
    child = start("read line", stdin=subprocess.PIPE)
    before = os.waitpid(child.pid, os.WNOHANG)
    return before, child.communicate(b"x\n"), child.returncode


def dropped():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = start("sleep 0.05").pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    subprocess._cleanup()
    return said(os.waitpid, pid, 0)


def in_threads():
    children = [start(f"exit {n}") for n in range(8)]
    threads = [threading.Thread(target=child.wait) for child in children for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [child.returncode for child in children]


async def _in_a_loop():
    exited = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 8")
    piped = await asyncio.create_subprocess_shell("cat", stdin=-1, stdout=-1)
    killed = await asyncio.create_subprocess_exec("/bin/sleep", "5")
    killed.kill()
    said = await piped.communicate(b"text")
    missing = None
    try:
        await asyncio.create_subprocess_exec("/nothing/there")
    except OSError as error:
        missing = str(error)
    return await exited.wait(), said, piped.returncode, await killed.wait(), missing


def in_a_loop():
    return asyncio.run(_in_a_loop())


def with_each_watcher():
    found = []
    warnings.simplefilter("ignore", DeprecationWarning)
    for name in ("ThreadedChildWatcher", "PidfdChildWatcher"):
        if hasattr(asyncio, name):  # until 3.13
            asyncio.set_child_watcher(getattr(asyncio, name)())
            found.append((name, asyncio.run(_in_a_loop())))
    return found


def of_multiprocessing():
    context = multiprocessing.get_context("fork")
    child = context.Process(target=os._exit, args=(11,))
    child.start()
    child.join()
    again = said(child.start)
    killed = context.Process(target=time.sleep, args=(5,))
    killed.start()
    killed.terminate()
    killed.join()
    return child.exitcode, again, killed.exitcode


WAYS = [
    wait_twice, wait_for_any, reaped_by_a_handler, ignored, stopped_and_continued, killed, timed_out, polled,
    polled_when_reaped, not_there, bad_calls, nothing_yet, dropped, in_threads, in_a_loop, with_each_watcher,
    of_multiprocessing,
]  # fmt: skip

if __name__ == "__main__":
    if "measured" in sys.argv:
        codoperf_otel.instrument(subprocess=True)
    for way in WAYS:
        with codoperf_otel.performance_context(way.__name__):
            print(way.__name__, repr(way()))
    left = start("exit 0")  # to be looked after when modules are taken down
    seen(left)
