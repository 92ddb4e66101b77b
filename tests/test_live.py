"""A program that is asked while it runs: by its own user only, whatever clients do, in children too."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from live_programs import LONG, Program

import codoperf_otel as co
from codoperf_otel._environment_variables import LIVE_DIR
from codoperf_otel._live import client, listener
from codoperf_otel._live.client import NoAnswerError, ask
from codoperf_otel._live.folder import default_folder, is_answered, socket_of
from codoperf_otel._report.document import document
from codoperf_otel._report.files import read

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets"),
]

QUESTIONS = ("operations", "agents", "caches", "resources", "durations")


@pytest.fixture
def folder(monkeypatch):
    """Where programs listen, and where this process looks for them; a short path, as sockets need one."""
    with tempfile.TemporaryDirectory(prefix="live") as made:
        monkeypatch.setenv(LIVE_DIR, f"{made}/sockets")
        yield Path(made, "sockets")


@pytest.fixture
def started(folder):
    """Starts programs, and ends those that are left."""
    programs = []

    def start(configure="co.configure(live=True)", *flags, **variables):
        programs.append(Program(configure, *flags, **variables))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.communicate()


def connected(folder, pid):
    """A connection to a process that listens."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(socket_of(folder, pid)))  # waits where many others do
    connection.settimeout(LONG)
    return connection


def waited_for(found):
    """What is found, as soon as there is something."""
    deadline = time.monotonic() + LONG
    while not (what := found()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return what


def stop(program):
    """Let a program stand still."""
    program.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)


def test_it_answers_what_its_recording_will_say(started, tmp_path):
    """Operations, agents and caches have the names and figures that `codoperf view` finds afterwards."""
    program = started(f"co.configure(file={str(tmp_path)!r}, live=True)", OTEL_METRICS_EXPORTER="none")
    program.do("review()")
    live = {question: ask(program.pid, question) for question in QUESTIONS}
    assert program.end() == (0, "")
    recorded = document(read(tmp_path))
    assert by_name(live["operations"]) == by_name(recorded["operations"])
    assert by_name(live["caches"]) == by_name(recorded["caches"])
    (agent,), (recorded_agent,) = live["agents"], recorded["agents"]
    differ = {name for name, value in agent.items() if value != recorded_agent[name]}
    assert differ == {"waiting_seconds", "memory_growth_bytes", "lazy_loads"}
    assert (agent["runs"], agent["tool_calls"], agent["errors"], agent["cache_hits"]) == (1, 1, 1, 4)
    durations = dict(live["durations"])
    assert {name: len(found) for name, found in durations.items()} == {
        "__main__.bare": 5, "work": 5, "block": 1, "invoke_agent reviewer": 1,
    }  # fmt: skip
    assert min(durations["__main__.bare"]) >= 0.001


def by_name(rows):
    """Rows by name; two operations may have the same CPU time."""
    return {row["name"]: row for row in rows}


def test_it_answers_what_the_process_uses(started):
    """CPU time and memory are those of the process, and go on."""
    program = started()
    program.do("review()")
    (before,) = ask(program.pid, "resources")
    program.do("end = time.process_time() + 0.2")
    program.do("while time.process_time() < end: pass")
    (after,) = ask(program.pid, "resources")
    assert before["errors"] == 1
    assert before["process_memory_bytes"] > 1 << 20
    assert after["process_cpu_seconds"] >= before["process_cpu_seconds"] + 0.2
    assert after["uptime_seconds"] > before["uptime_seconds"]


def test_any_name_can_be_answered(started, tmp_path):
    """A lone surrogate is an escape, as in telemetry files; all else is as it is."""
    program = started(f"co.configure(file={str(tmp_path)!r}, live=True)")
    program.do(r"with co.performance_context('a\ud83d\x1b\n\"ü😀'): pass")
    (row,) = ask(program.pid, "operations")
    assert program.end() == (0, "")
    assert row["name"] == 'a\\ud83d\x1b\n"ü😀'
    assert [row["name"] for row in document(read(tmp_path))["operations"]] == [row["name"]]


def test_no_answer_has_a_secret(started):
    """Arguments, keys, values, attributes and messages stay in the process."""
    program = started()
    program.do("review()")
    for question in QUESTIONS:
        assert "secret" not in json.dumps(ask(program.pid, question))


@pytest.mark.parametrize("configure", ["co.configure()", "co.configure(live=False)"])
def test_nobody_listens_unasked(started, configure):
    """Without `live` and its variable, and with ``live=False`` in any case, there is no socket."""
    program = started(configure, **({} if "live" in configure else {LIVE_DIR: ""}))
    assert not socket_of(default_folder(), program.pid).exists()
    with pytest.raises(
        NoAnswerError, match=rf"no process {program.pid} listens in .* configure\(live=True\)"
    ):
        ask(program.pid, "resources")


def test_the_variable_lets_it_listen(started, folder):
    """It names the folder, which is this user's alone, as the socket is."""
    program = started("co.configure()")
    assert ask(None, "resources")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert socket_of(folder, program.pid).stat().st_mode & 0o777 == 0o600


def test_no_variable_is_needed(started, monkeypatch, tmp_path):
    """The folder is found by the user's number alone: clients hand on few variables to the server."""
    monkeypatch.delenv(LIVE_DIR)
    program = started(TMPDIR=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path))
    assert ask(program.pid, "resources")
    assert socket_of(Path(f"/tmp/codoperf-otel-{os.geteuid()}"), program.pid).is_socket()


def test_a_wrong_setting_is_one_error(monkeypatch, tmp_path):
    """It names setting, value and what is allowed."""
    with pytest.raises(ValueError, match="live is 'yes': it must be True or False"):
        co.configure(live="yes")
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(LIVE_DIR, str(file))
    with pytest.raises(ValueError, match=f"{LIVE_DIR} is '{file}': it must be the path of a folder"):
        co.configure()
    with pytest.raises(NoAnswerError, match=LIVE_DIR):
        ask(None, "resources")


@pytest.mark.parametrize("kind", ["written by others", "too long"])
def test_a_folder_that_cannot_be_used_is_one_warning(started, folder, kind):
    """The program goes on."""
    used = folder if kind == "written by others" else folder / ("long" * 30)
    used.mkdir(parents=True)
    used.chmod(0o777)
    program = started(**{LIVE_DIR: str(used)})
    assert program.do("review()").startswith("done")
    status, errors = program.end()
    assert status == 0
    assert errors.startswith(f"nobody can ask this process in {used}: ")
    assert errors.count("\n") == 1


# --- who asks

AS_NOBODY = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
try:
    connection.connect(sys.argv[1])
    connection.sendall(b'{"question": "operations"}\\n')
    print(connection.recv(1000))
except OSError as error:
    print(type(error).__name__)
"""

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users"
)


@as_root
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who asks")
def test_another_user_is_refused(started, folder):
    """By the modes of folder and socket, and without these by the process itself."""
    program = started()
    path = socket_of(folder, program.pid)

    def asked_as_nobody():
        command = [sys.executable, "-c", AS_NOBODY, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert asked_as_nobody() == "PermissionError\n"
    for opened in (path, folder, folder.parent):
        opened.chmod(0o777)
    assert asked_as_nobody() in ("b''\n", "ConnectionResetError\n", "BrokenPipeError\n")
    assert ask(program.pid, "resources")


@as_root
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who answers")
def test_another_user_is_not_believed(folder):
    """A socket that another user has planted is not read."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    folder.parent.chmod(0o777)
    path = socket_of(folder, 1)
    planted = subprocess.Popen(
        [sys.executable, "-c", PLANTED, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    planted.stdout.readline()
    try:
        with pytest.raises(NoAnswerError, match=f"process 1 cannot be asked: {path} is another user's"):
            ask(1, "resources")
    finally:
        planted.communicate()


PLANTED = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print("listens", flush=True)
sys.stdin.read()
"""


# --- hostile clients


@pytest.mark.parametrize(
    "sent",
    [
        b"\n", b"garbage\n", b"\xff\xfe\n", b'{"question": 5}\n', b'{"question": ["operations"]}\n', b"[]\n",
        b'{"question": "__class__"}\n', b"[" * 4000 + b"\n",
    ],
)  # fmt: skip
def test_a_wrong_question_is_an_error(started, folder, sent):
    """The client is told which there are, in every case the same."""
    program = started()
    with connected(folder, program.pid) as connection:
        connection.sendall(sent)
        answer = json.loads(connection.makefile("rb").read())
    assert answer["error"] == f"a question is one of {', '.join(QUESTIONS)}"
    assert program.end() == (0, "")


def test_a_long_question_is_not_heard(started, folder):
    """The connection ends before ten megabytes are sent."""
    program = started()
    with connected(folder, program.pid) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"x" * 10_000_000)
    assert ask(program.pid, "resources")


def test_a_thousand_clients_that_say_nothing(started, folder):
    """Others are answered meanwhile, the program goes on, and few descriptors are taken."""
    program = started()
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connected(folder, program.pid))
        program.do("review()")
        assert {row["name"] for row in ask(program.pid, "operations")} >= {"work", "block"}
        if Path("/proc").is_dir():
            assert len(list(Path(f"/proc/{program.pid}/fd").iterdir())) < listener.MOST_CLIENTS + 30
    assert ask(program.pid, "resources")
    assert program.end() == (0, "")


def test_a_client_that_says_nothing_is_dropped(started, folder):
    """After a time, whether or not anybody else comes."""
    program = started()
    program.do("from codoperf_otel._live import listener; listener.SECONDS = 0.5")
    with connected(folder, program.pid) as connection:
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began >= 0.4


def test_a_client_that_never_reads(started, folder):
    """It holds up neither the program nor the other clients, though its answer is larger than any buffer."""
    program = started()
    program.do(
        "for n in range(300): co.performance_context(f'{n}' * 1000).__enter__().__exit__(None, None, None)"
    )
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connected(folder, program.pid))
            connection.sendall(b'{"question": "operations"}\n')
        assert program.do("co.get_performance_stats(), co.agent_report()").startswith("done")
        assert len(ask(program.pid, "operations")) == 300
    assert program.end() == (0, "")


def test_a_client_that_goes_at_once(started, folder):
    """Before or after its question."""
    program = started()
    for sent in (b"", b'{"question"', b'{"question": "agents"}\n') * 20:
        with connected(folder, program.pid) as connection:
            connection.sendall(sent)
    assert ask(program.pid, "resources")
    assert program.end() == (0, "")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs resource limits that can be reached")
def test_a_program_without_descriptors_goes_on(started, folder):
    """Nobody is answered while there are none, the thread does not spin, and it goes on afterwards."""
    program = started()
    program.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); kept = []")
    program.do(
        "exec('try:\\n while True: kept.append(os.open(os.devnull, os.O_RDONLY))\\nexcept OSError: pass')"
    )
    with connected(folder, program.pid):
        program.do("before = time.process_time(); time.sleep(0.5); spent = time.process_time() - before")
        program.do("for each in kept: os.close(each)")
        assert ask(program.pid, "resources")
    program.do("assert spent < 0.2, spent")
    assert program.end() == (0, "")


# --- the life of a process


def test_a_forked_child_answers_for_itself(started, folder):
    """It has its own socket and counts, its parent's goes on, and each end removes its own."""
    program = started()
    program.do("review()")
    program.do("r, w = os.pipe(); child = os.fork() or (work(), os.read(r, 1), sys.exit())")
    (child,) = waited_for(lambda: {int(path.stem) for path in folder.glob("*.sock")} - {program.pid})
    waited_for(lambda: ask(child, "operations"))
    assert by_name(ask(program.pid, "operations"))["work"]["calls"] == 5
    assert [(row["name"], row["calls"]) for row in ask(child, "operations")] == [("work", 1)]
    with pytest.raises(NoAnswerError, match=rf"choose one with --pid: {min(child, program.pid)}, "):
        ask(None, "resources")
    program.do("os.write(w, b'.'), os.waitpid(child, 0)")
    assert [path.stem for path in folder.iterdir()] == [str(program.pid)]
    assert ask(None, "resources")
    program.end()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "end",
    [
        "sys.exit()",
        "os._exit(0)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "co.shutdown()",
        "raise ValueError",
    ],
)
def test_the_socket_is_gone_after_the_end(started, folder, end):
    """However the program ends that can still do anything, and after `shutdown`."""
    program = started()
    assert ask(program.pid, "resources")
    program.do(end)
    if end != "co.shutdown()":
        program.process.wait(LONG)
    assert list(folder.iterdir()) == []
    with pytest.raises(NoAnswerError, match=f"no process {program.pid} listens"):
        ask(program.pid, "resources")


def test_after_shutdown_no_thread_and_no_descriptor_is_left(started, folder):
    """And a new `configure` listens again."""
    program = started("co.configure(live=False); co.shutdown(); import threading")
    program.do("now = lambda: (len(os.listdir('/dev/fd')), threading.active_count())")
    program.do("before = now(); co.configure(live=True); co.shutdown(); co.configure(live=True)")
    assert ask(program.pid, "resources")
    program.do("co.shutdown(); end = time.monotonic() + 10")
    program.do("while now() != before and time.monotonic() < end: time.sleep(0.01)")
    program.do("assert now() == before, (now(), before)")
    assert program.end() == (0, "")


def test_the_socket_of_a_killed_process_is_stale(started, folder):
    """It is no process that listens, and the next that does removes it."""
    killed = started()
    assert killed.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert socket_of(folder, killed.pid).is_socket()
    with pytest.raises(NoAnswerError, match=f"no process {killed.pid} listens"):
        ask(killed.pid, "resources")
    with pytest.raises(NoAnswerError, match="no process listens"):
        ask(None, "resources")
    other = started()
    assert ask(None, "resources")
    waited_for(lambda: not socket_of(folder, killed.pid).exists())
    assert [path.stem for path in folder.iterdir()] == [str(other.pid)]


@pytest.mark.parametrize(
    "gone", ["shutil.rmtree(folder)", "shutil.rmtree(folder); open(folder, 'w').close()"]
)
def test_the_end_of_a_program_whose_folder_is_gone(started, gone):
    """Somebody has cleaned up, or something else is there: that is no concern of the program."""
    program = started()
    program.do(f"import shutil; folder = os.environ[{LIVE_DIR!r}]; {gone}")
    assert program.end() == (0, "")


def test_a_stale_socket_of_the_same_number_is_replaced(folder):
    """A process whose number was another's before has its name."""
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(socket_of(folder, os.getpid())))
    made = listener.Listener(folder)
    try:
        assert is_answered(socket_of(folder, os.getpid()))
        with pytest.raises(FileExistsError, match="another process answers"):
            listener.Listener(folder)
    finally:
        made.stop()


def test_an_end_while_clients_come_and_go(folder):
    """Whichever of them the thread sees first, it ends and closes what it had open."""
    folder.mkdir(mode=0o700)
    before = set(threading.enumerate())
    for _ in range(200):
        made = listener.Listener(folder)
        connected(folder, os.getpid()).close()
        made.stop()
        made.stop()
    assert waited_for(lambda: set(threading.enumerate()) <= before)
    assert list(folder.iterdir()) == []


def test_a_process_that_is_gone_in_the_midst(started, folder):
    """Who has asked is told so."""
    program = started()
    stop(program)
    failures = []

    def asking():
        with pytest.raises(NoAnswerError) as raised:
            ask(program.pid, "resources")
        failures.append(str(raised.value))

    thread = threading.Thread(target=asking)
    thread.start()
    time.sleep(0.3)
    program.end(signal.SIGKILL)
    thread.join(LONG)
    assert failures == [f"process {program.pid} ended before it had answered"]


def test_a_process_that_does_not_answer(started, monkeypatch):
    """A stopped one, for example: the wait is bounded."""
    monkeypatch.setattr(client, "SECONDS", 0.2)
    program = started()
    stop(program)
    try:
        with pytest.raises(NoAnswerError, match=f"process {program.pid} did not answer within 0.2 s"):
            ask(program.pid, "resources")
    finally:
        program.process.send_signal(signal.SIGCONT)


def test_another_version_is_named(started, monkeypatch):
    """Rows may differ from version to version, so both must have the same one."""
    program = started()
    monkeypatch.setattr(client, "__version__", "99")
    with pytest.raises(NoAnswerError, match=r"has codoperf-otel \S+, and this is 99: use the same one"):
        ask(program.pid, "resources")


def test_no_warning_under_the_strictest_flags(started):
    """Sockets are closed: nothing is left to the garbage collector."""
    program = started("co.configure(live=True)", "-X", "dev", "-W", "error::ResourceWarning")
    assert ask(program.pid, "resources")
    assert program.end() == (0, "")
