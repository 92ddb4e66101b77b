"""`configure(trace_imports=…)` makes spans of the imports that a running program does."""

from __future__ import annotations

import _frozen_importlib
import os
import subprocess
import sys
import threading

import pytest

from codoperf_otel._imports import spans, watching
from codoperf_otel._imports.watching import ImportWatch
from codoperf_otel._report.files import read
from codoperf_otel._telemetry import names
from codoperf_otel.sdk.suppression import suppressed

SLOW = "import time\ntime.sleep(0.02)\n"
IMPORTING = _frozen_importlib._find_and_load


@pytest.fixture
def watch(telemetry):
    """A watch for imports of 10 ms or more, until the end of the test."""
    started = ImportWatch(0.01)
    started.start()
    yield started
    started.shutdown()
    assert _frozen_importlib._find_and_load is IMPORTING


def test_import_is_a_span_below_the_current_one(watch, telemetry, write_modules, monkeypatch):
    """Imports of at least the threshold are spans, below the current span or the import around."""
    monkeypatch.setattr(watch, "_threshold", 0.3)  # so long that no quick import takes it
    slow = "import time\ntime.sleep(0.3)\n"
    folder = write_modules(outer=f"import inner\nimport quick\n{slow}", inner=slow, quick="")
    with telemetry.tracer.start_as_current_span("work"):
        import outer  # noqa: F401
    assert telemetry.parent(telemetry.span("import outer")) == "work"
    assert telemetry.parent(telemetry.span("import inner")) == "import outer"
    assert telemetry.spans("import quick") == []
    attributes = telemetry.span("import outer").attributes
    assert attributes[names.CODE_FILE_PATH] == __file__
    assert telemetry.span("import inner").attributes[names.CODE_FILE_PATH] == str(folder / "outer.py")
    assert attributes[names.IMPORT_SELF_TIME] >= 0.3
    work = telemetry.span("work")
    assert work.start_time <= telemetry.span("import outer").start_time
    assert (
        telemetry.span("import outer").end_time <= work.end_time + 1_000_000
    )  # the clock of the epoch may step


def test_failed_import_is_a_failed_span(watch, telemetry, write_modules):
    """The program has its own exception; the span has its class."""
    write_modules(failing=f"{SLOW}raise LookupError('inside')\n")
    with pytest.raises(LookupError, match="inside"):
        import failing  # noqa: F401
    assert telemetry.span("import failing").attributes[names.ERROR_TYPE] == "LookupError"


def test_each_thread_has_its_own_imports(watch, telemetry, write_modules):
    """Imports of threads at the same time are not inside each other, and nothing is kept of them."""
    wait = "import threading, time\nbarrier = threading.barriers.pop()\nbarrier.wait()\ntime.sleep(0.02)\n"
    write_modules(one=wait, two=wait)
    barrier = threading.Barrier(2)
    threading.barriers = [barrier, barrier]
    threads = [threading.Thread(target=__import__, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {telemetry.parent(span) for span in telemetry.spans()} == {None}
    assert {span.name for span in telemetry.spans()} == {"import one", "import two"}
    assert watch._tracer._running == {}


def test_what_telemetry_imports_is_left_out(watch, telemetry, write_modules):
    """Imports of an export, and of what makes the spans, are none of the program's."""
    write_modules(exporting=SLOW, sampling=SLOW, working=SLOW)
    with suppressed():
        import exporting  # noqa: F401
    assert telemetry.spans() == []

    def start_span(*arguments, **options):
        import sampling  # noqa: F401

        return type(telemetry.tracer).start_span(telemetry.tracer, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        active = type("Active", (), {"tracer": type("Tracer", (), {"start_span": staticmethod(start_span)})})
        patch.setattr(spans._telemetry, "active", active)
        import working  # noqa: F401
    assert [span.name for span in telemetry.spans()] == ["import working"]


def test_failing_telemetry_leaves_the_import_alone(watch, telemetry, write_modules, monkeypatch, caplog):
    """The module is imported, and one line says what is missing."""
    write_modules(working=SLOW)

    def broken(*_):
        raise RuntimeError("no spans today")

    monkeypatch.setattr(watching, "send", broken)
    import working

    assert working.time
    assert caplog.messages == ["the import of working is not recorded"]


def test_others_may_stand_around_it(telemetry, write_modules):
    """What another library has put around the import since stays, and works when the watch has ended."""
    write_modules(first=SLOW, second=SLOW)
    watch, seen = ImportWatch(0.01), []
    watch.start()
    ours = _frozen_importlib._find_and_load

    def theirs(name, import_):
        seen.append(name)
        return ours(name, import_)

    _frozen_importlib._find_and_load = theirs
    try:
        import first  # noqa: F401

        watch.shutdown()
        import second  # noqa: F401
    finally:
        _frozen_importlib._find_and_load = IMPORTING
    assert {"first", "second"} <= set(seen)
    assert [span.name for span in telemetry.spans()] == ["import first"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_imports_of_a_forked_child_are_spans(tmp_path):
    """A program with `trace_imports` sends them, its children too, until shutdown."""
    program = (
        "import os, sys, codoperf_otel\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "with codoperf_otel.configure(file=sys.argv[1], trace_imports=0.01):\n"
        "    with codoperf_otel.performance_context('work'):\n"
        "        import first\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            import second\n"
        "    if not child:\n"
        "        sys.exit()\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "import third\n"
    )
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.py").write_text(SLOW)
    command = [sys.executable, "-W", "ignore", "-c", program, tmp_path / "telemetry", tmp_path]
    subprocess.run(command, check=True)
    found = {span.name: span for span in read(tmp_path / "telemetry").spans}
    assert {"import first", "import second"} <= found.keys()
    assert "import third" not in found
    assert found["import first"].parent_id == found["work"].span_id


INTERRUPTED = """
import signal, sys
import codoperf_otel
from codoperf_otel._imports.watching import ImportWatch

class Expired(Exception):  # an OSError would be lost in the import system
    pass

def expired(*_):
    raise Expired

def search():
    for _ in range(500):
        try:
            import no_such_module_here
        except ModuleNotFoundError:
            pass

lost = []  # in a callback of a weak reference, by the import system itself
sys.unraisablehook = lambda failed: lost.append(failed.object)
watch = ImportWatch(1e-9)
watch.start()
signal.signal(signal.SIGALRM, expired)
raised = 0
for delay in range(1, 20):
    try:
        signal.setitimer(signal.ITIMER_REAL, delay / 20_000)
        search()
    except Expired:
        raised += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
watch.shutdown()
assert raised + len(lost) == 19, (raised, lost)
callbacks = ("_get_module_lock", "_WeakValueDictionary")
assert all(any(name in str(one) for name in callbacks) for one in lost), lost
"""


def test_exceptions_of_signal_handlers_reach_the_program():
    """None is swallowed, wherever in the recording or sending of an import it comes."""
    subprocess.run([sys.executable, "-c", INTERRUPTED], check=True)
