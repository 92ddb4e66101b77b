"""The spool: what an endpoint does not take is on disk until it does."""

from __future__ import annotations

import gzip
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from random import Random

import grpc
import pytest
from endpoints import serve_requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from codoperf_otel.cli import main
from codoperf_otel.sdk import losses
from codoperf_otel.sdk.errors import Destination
from codoperf_otel.sdk.outputs import Otlp
from codoperf_otel.sdk.spool import courier, records
from codoperf_otel.sdk.spool.courier import Courier
from codoperf_otel.sdk.spool.delivery import MOST_BYTES, Delivery
from codoperf_otel.sdk.spool.folder import Folder
from codoperf_otel.sdk.spool.segments import Segment
from codoperf_otel.sdk.spool.senders import Answer, Outcome
from codoperf_otel.sdk.spool.writer import MOST_IN_MEMORY, Writer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs flock")

HOUR = 3600
PLENTY = 1 << 30
NAMES = {
    "traces": (ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    "metrics": (ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"),
    "logs": (ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
}


def items(signal_name, payload):
    """The spans, metrics or log records of a request."""
    request, outer, middle, inner = NAMES[signal_name]
    return [
        item
        for group in getattr(request.FromString(payload), outer)
        for scope in getattr(group, middle)
        for item in getattr(scope, inner)
    ]


class Collector:
    """An endpoint: what it was sent, and how it answers: a status, or None for a connection that it drops."""

    def __init__(self):
        self.answer = lambda _: (200, {}, b"")
        self.requests = []

    def names(self, signal_name):
        """How often it has which item."""
        found = (items(signal_name, body) for path, body in self.requests if path.endswith(signal_name))
        return Counter(
            item.name if signal_name != "logs" else item.body.string_value for each in found for item in each
        )

    def ids(self):
        """The ids of all spans, as often as they came."""
        return [
            span.span_id
            for path, body in self.requests
            if path.endswith("traces")
            for span in items("traces", body)
        ]


@pytest.fixture
def collector():
    """A collector that speaks HTTP, and its address."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = made.answer(body)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            if status == 200:
                made.requests.append((self.path, body))
            made.headers = dict(self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    port, stop = serve_requests(Handler)
    made.address = f"http://127.0.0.1:{port}"
    yield made
    stop()


@pytest.fixture(autouse=True)
def nothing_lost():
    """Losses are those of the test."""
    losses.begin_anew()
    yield
    losses.begin_anew()


def lost():
    """What was lost, by reason."""
    return {o.attributes["codoperf.drop.reason"]: o.value for o in losses.observations()}


def folder_at(path, most_bytes=PLENTY, most_seconds=HOUR):
    """A folder of segments."""
    return Folder(path, most_bytes, most_seconds)


def writer_at(path, **bounds):
    """A writer of spans."""
    return Writer(folder_at(path, **bounds), "traces", Destination("http://collector"))


def unsent(folder):
    """The payloads that are left in a folder."""
    return [record.payload for segment in folder_at(folder).orphans() for record in _all(segment)]


def _all(segment):
    found = list(segment.unsent())
    segment.close()
    return found


# ---- what is on disk


@pytest.mark.parametrize(
    ("damaged", "left"),
    [
        (lambda data: data, [b"one", b"two", b"three"]),
        (lambda data: data[:-1], [b"one", b"two"]),
        (lambda data: data[:20], [b"one"]),
        (lambda data: data.replace(b"two", b"tvo"), [b"one", b"three"]),
        (lambda data: b"garbage" + data, [b"one", b"two", b"three"]),
        (lambda data: data[:19] + b"\xc0dPs\xff\xff\xff\xff" + data[19:], [b"one", b"two", b"three"]),
        (lambda data: b"", []),
    ],
    ids=["whole", "torn", "torn head", "flipped bit", "before", "a head without a body", "empty"],
)
def test_damage_costs_the_record_that_it_hits(damaged, left):
    """A checksum finds it, and the next mark is where reading goes on."""
    data = b"".join(records.encoded(payload, 1) for payload in (b"one", b"two", b"three"))
    assert [record.payload for record in records.read(damaged(data), 0)] == left


def test_files_are_private(tmp_path):
    """The files are 0600 in a folder of mode 0700."""
    writer = writer_at(tmp_path / "spool")
    writer.append(b"x", 1)
    (path,) = (tmp_path / "spool").iterdir()
    assert (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


def test_what_one_process_writes_no_other_takes(tmp_path):
    """It is its own until it closes the file."""
    writer = writer_at(tmp_path)
    writer.append(b"x", 1)
    assert unsent(tmp_path) == []
    writer.close()
    assert unsent(tmp_path) == [b"x"]


def test_what_was_sent_is_not_read_again(tmp_path):
    """The file says how far it was, whoever opens it."""
    writer = writer_at(tmp_path)
    for payload in (b"one", b"two"):
        writer.append(payload, 1)
    first, _ = writer.segment.unsent()
    writer.segment.note_sent(first.end)
    writer.close()
    assert unsent(tmp_path) == [b"two"]


def test_the_next_record_takes_the_place_of_a_torn_one(tmp_path, monkeypatch):
    """What the disk did not take waits in memory, and the file stays readable."""
    writer, whole = writer_at(tmp_path), os.pwrite
    writer.append(b"one", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:5], at))
        writer.append(b"two", 1)
    writer.append(b"three", 1)
    assert [record.payload for record in writer.in_memory] == [b"two"]
    writer.close()
    assert unsent(tmp_path) == [b"one", b"three"]


def test_memory_is_bounded_where_the_disk_takes_nothing(tmp_path, monkeypatch):
    """More than that is dropped, and counted."""
    writer = writer_at(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    quarter = bytes(MOST_IN_MEMORY // 4)
    for _ in range(6):
        writer.append(quarter, 10)
    assert len(writer.in_memory) == 4
    assert lost() == {"spool_full": 20}


def test_what_is_in_memory_at_the_end_is_counted(tmp_path, monkeypatch):
    """Nobody sends it any more."""
    writer = writer_at(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    writer.append(b"one", 3)
    assert lost() == {}
    writer.close()
    assert lost() == {"spool_full": 3}


def test_a_removed_folder_is_made_anew(tmp_path):
    """What comes later is on disk."""
    import shutil

    writer = writer_at(tmp_path / "spool")
    writer.append(b"one", 1)
    shutil.rmtree(tmp_path / "spool")
    writer.append(b"two", 1)
    writer.close()
    assert unsent(tmp_path / "spool") == [b"two"]


def test_a_descriptor_that_is_another_files_is_left_alone(tmp_path):
    """The program may have closed all it had: what comes later is in a new file, and nothing is lost."""
    writer, path = writer_at(tmp_path / "spool"), tmp_path / "theirs"
    writer.append(b"one", 1)
    segment = writer.segment
    number = segment._file.descriptor
    os.close(number)
    with path.open("wb") as theirs:
        assert theirs.fileno() == number
        with pytest.raises(OSError, match="closed"):
            segment.note_sent(segment.end)
        writer.append(b"two", 1)
        writer.close()
        theirs.write(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert sorted(unsent(tmp_path / "spool")) == [b"one", b"two"]


def test_the_oldest_is_dropped_first_and_counted(tmp_path):
    """The folder stays within its bound."""
    most = 80_000
    writer = writer_at(tmp_path, most_bytes=most)
    for number in range(200):
        writer.append(b"%03d" % number + bytes(1000), 2)
    writer.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= most
    left = [int(payload[:3]) for payload in unsent(tmp_path)]
    assert left == list(range(200 - len(left), 200))
    assert lost() == {"spool_full": 2 * (200 - len(left))}
    assert len(left) > 50


def test_what_is_too_old_is_dropped_and_counted(tmp_path):
    """Its age is that of the last write."""
    writer = writer_at(tmp_path)
    writer.append(b"old", 3)
    (path,) = tmp_path.iterdir()
    writer.close()
    long_ago = time.time() - HOUR - 1
    os.utime(path, (long_ago, long_ago))
    writer.append(b"new", 1)
    writer.close()
    assert unsent(tmp_path) == [b"new"]
    assert lost() == {"spool_expired": 3}


def test_what_is_no_segment_is_left_alone(tmp_path):
    """Whatever else is in the folder is neither read nor removed."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "traces-1.spool").write_text("not a name of ours")
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / f"traces-{1:020d}-1-1.spool").symlink_to(target)
    writer = writer_at(tmp_path, most_bytes=10)
    writer.append(b"x", 1)
    writer.close()
    assert unsent(tmp_path) == [b"x"]
    assert target.read_text() == "precious"
    assert (tmp_path / "notes.txt").exists()


def test_a_segment_of_nonsense_is_read_as_empty(tmp_path):
    """A head that lies about what was sent hides nothing and breaks nothing."""
    path = tmp_path / f"traces-{1:020d}-1-1.spool"
    for content in (b"", b"x", bytes(500), b"codoperf" + b"\xff" * 8 + b"rest"):
        path.write_bytes(content)
        segment = Segment.existing(path)
        assert list(segment.unsent()) == []
        segment.close()


def test_threads_that_append_lose_nothing(tmp_path):
    """Each finds its record on disk when it returns."""
    writer = writer_at(tmp_path, most_bytes=PLENTY)

    def work(thread):
        for number in range(100):
            writer.append(b"%d-%d" % (thread, number), 1)
            assert not writer._left or writer._writing

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    writer.close()
    assert sorted(unsent(tmp_path)) == sorted(b"%d-%d" % (t, n) for t in range(4) for n in range(100))


def test_a_signal_handler_may_append_within_an_append(tmp_path, monkeypatch):
    """The write that it interrupts takes its record along."""
    writer, whole = writer_at(tmp_path), os.pwrite
    nested = [b"nested"]

    def interrupted(descriptor, data, at):
        if nested:
            writer.append(nested.pop(), 1)
        return whole(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", interrupted)
    writer.append(b"outer", 1)
    writer.close()
    assert sorted(unsent(tmp_path)) == [b"nested", b"outer"]


def test_a_finalizer_may_append_while_the_courier_has_the_file(tmp_path):
    """Its record is written when the file is free again."""
    writer = writer_at(tmp_path)
    writer.append(b"one", 1)

    def work():
        writer.append(b"two", 1)
        return [record.payload for record in writer.segment.unsent()]

    assert writer.alone(work) == [b"one"]
    assert [record.payload for record in writer.segment.unsent()] == [b"one", b"two"]
    writer.close()


def test_a_file_that_others_may_write_is_not_believed(tmp_path, caplog):
    """They could have put in what they like: it is not sent, and stays as it is, with one warning."""
    writer = writer_at(tmp_path)
    writer.append(b"one", 1)
    writer.close()
    (path,) = writer.folder.paths()
    path.chmod(0o620)
    for _ in range(2):
        assert list(writer.folder.orphans()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    path.chmod(0o640)
    assert unsent(tmp_path) == [b"one"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_time_outs_leave_the_spool_free_and_reach_the_program(tmp_path):
    """A handler that raises while a record is written costs no lock, and none of its exceptions is lost."""
    writer = writer_at(tmp_path)
    random = Random(1)

    def handler(*_):
        raise TimeoutError

    before, caught, armed = signal.signal(signal.SIGALRM, handler), 0, 300
    try:
        for _ in range(armed):
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 3e-4))
                while True:
                    writer.alone(lambda: None)
            except TimeoutError:
                caught += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caught == armed
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(writer.alone, lambda: "free").result(timeout=10) == "free"
    writer.close()


def test_an_interrupt_costs_no_record_of_others(tmp_path, monkeypatch):
    """What it leaves is written by the next append."""
    writer = writer_at(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.append(b"one", 1)
    writer.append(b"two", 1)
    writer.close()
    assert unsent(tmp_path) == [b"one", b"two"]


# ---- on its way


class Answers:
    """Answers to requests, by a function of their bytes."""

    def __init__(self, answer):
        self.answer = answer
        self.taken = []

    def __call__(self, payload):
        answer = self.answer(payload)
        if answer.outcome is Outcome.DELIVERED:
            self.taken.append(payload)
        return answer


def delivery_to(answer):
    """A delivery of spans, and what it sends to."""
    send = Answers(answer)
    return Delivery("traces", Destination("http://collector"), send), send


def spooled(path, *payloads):
    """A segment with these records."""
    writer = writer_at(path)
    for payload in payloads:
        writer.append(payload, 1)
    writer.close()
    (segment,) = folder_at(path).orphans()
    return segment


def test_records_are_sent_together_within_a_bound(tmp_path):
    """OTLP messages that follow each other are one message."""
    large = bytes(MOST_BYTES - 5)
    delivery, send = delivery_to(lambda _: Answer(Outcome.DELIVERED))
    assert delivery.empty(spooled(tmp_path, b"one", b"two", large, b"three")) is None
    assert send.taken == [b"onetwo", large + b"three"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_for_good_loses_no_other(tmp_path):
    """The one bad record is dropped and counted, the rest delivered."""
    delivery, send = delivery_to(
        lambda payload: Answer(Outcome.REFUSED if b"bad" in payload else Outcome.DELIVERED)
    )
    assert delivery.empty(spooled(tmp_path, b"1", b"2", b"bad", b"3", b"4")) is None
    assert sorted(b"".join(send.taken)) == sorted(b"1234")
    assert lost() == {"rejected": 1}
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_delivered_now_stays(tmp_path):
    """What went before it is not sent again."""
    delivery, _ = delivery_to(lambda _: Answer(Outcome.LATER, "not now"))
    segment = spooled(tmp_path, b"one", b"two")
    assert delivery.empty(segment).reason == "not now"
    assert unsent(tmp_path) == [b"one", b"two"]


def test_items_that_an_answer_rejects_are_counted(tmp_path):
    """A partial success is no full one."""
    delivery, _ = delivery_to(lambda _: Answer(Outcome.DELIVERED, rejected=1))
    delivery.empty(spooled(tmp_path, b"one", b"two"))
    assert lost() == {"rejected": 1}
    assert delivery.items == 1


def test_a_courier_sends_what_it_is_rung_for_and_what_is_left(tmp_path):
    """What another process has left comes first; nothing stays behind."""
    spooled(tmp_path, b"left").close()
    delivery, send = delivery_to(lambda _: Answer(Outcome.DELIVERED))
    writer = writer_at(tmp_path)
    sending = Courier(writer, delivery)
    writer.append(b"mine", 1)
    sending.ring()
    assert sending.drain(10)
    sending.end(10)
    writer.close()
    assert send.taken == [b"left", b"mine"]
    assert list(tmp_path.iterdir()) == []


def test_a_courier_waits_for_an_endpoint_to_come_back(tmp_path, monkeypatch):
    """A flush says that it did not arrive, and it arrives later, once."""
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(courier, "_LONGEST_PAUSE", 0.01)
    is_back = threading.Event()
    send = Answers(lambda _: Answer(Outcome.DELIVERED if is_back.is_set() else Outcome.LATER, "gone"))
    writer = writer_at(tmp_path)
    delivery = Delivery("traces", writer.destination, send)
    sending = Courier(writer, delivery)
    for number in range(3):
        writer.append(b"%d" % number, 1)
        assert not sending.drain(10)
    assert writer.destination.failing
    is_back.set()
    assert sending.drain(10) or sending.drain(10)  # a round may be under way
    assert not writer.destination.failing
    assert send.taken == [b"012"]
    sending.end(10)


def test_a_courier_survives_what_nobody_thought_of(tmp_path, monkeypatch):
    """It says so, and tries again."""
    monkeypatch.setattr(courier, "_FIRST_PAUSE", 0.01)
    troubles = [RuntimeError("surprise")]

    def answer(_):
        if troubles:
            raise troubles.pop()
        return Answer(Outcome.DELIVERED)

    delivery, send = delivery_to(answer)
    writer = writer_at(tmp_path)
    sending = Courier(writer, delivery)
    writer.append(b"x", 1)
    sending.ring()
    assert sending.drain(10) or sending.drain(10)
    assert send.taken == [b"x"]
    sending.end(10)


def test_full_segments_are_sent_too(tmp_path):
    """While it sends, the writer begins new ones."""
    delivery, send = delivery_to(lambda _: Answer(Outcome.DELIVERED))
    writer = writer_at(tmp_path, most_bytes=64_000)
    sending = Courier(writer, delivery)
    for number in range(300):
        writer.append(b"%04d" % number + bytes(996), 1)
        sending.ring()
    assert sending.drain(30)
    sending.end(10)
    assert Counter(lost()) == {} or set(lost()) == {"spool_full"}
    taken = b"".join(send.taken)
    numbers = [int(taken[at : at + 4]) for at in range(0, len(taken), 1000)]
    assert len(set(numbers)) + lost().get("spool_full", 0) == 300


# ---- whole programs


def variables(folder, **more):
    """The environment of a program whose spool is in a folder."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {
        **plain,
        "CODOPERF_OTEL_SPOOL_DIR": str(folder),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        **more,
    }


def run(program, folder, *arguments, **more):
    """Run a program; its standard output and error."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=variables(folder, **more),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


REFUSED = "http://127.0.0.1:9"  # nobody listens on the port of `discard`

WORK = """
import logging, sys, codoperf_otel
handle = codoperf_otel.configure("shop", endpoint=sys.argv[1], logs=True)
for number in range(int(sys.argv[2])):
    with codoperf_otel.performance_context("work"): pass
logging.getLogger("shop").warning("sold out")
print(handle.force_flush(), handle.failures[sys.argv[1]])
"""


def test_what_a_process_could_not_send_the_next_one_sends(tmp_path, collector):
    """Each signal arrives, once; the folder is empty then, and one line said that the endpoint was away."""
    metrics = {"OTEL_METRICS_EXPORTER": "otlp"}
    collector.answer = lambda _: (503, {}, b"")
    out, error = run(WORK, tmp_path, collector.address, 1500, **metrics)
    assert out == "False 0\n"
    assert error.count("Telemetry does not reach") == 1
    assert collector.requests == []
    collector.answer = lambda _: (200, {}, b"")
    out, error = run(WORK, tmp_path, collector.address, 1, **metrics)
    assert (out, error) == ("True 0\n", "sold out\n")
    assert collector.names("traces") == {"work": 1501}
    assert len(collector.ids()) == len(set(collector.ids())) == 1501
    assert collector.names("logs")["sold out"] == 2
    assert collector.names("metrics")["codoperf.operation.duration"] == 4
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_what_is_spooled_for_one_endpoint_goes_to_no_other(tmp_path, collector):
    """Unless somebody names it, by `codoperf replay`."""
    run(WORK, tmp_path, REFUSED, 3)
    run(WORK, tmp_path, collector.address, 1)
    assert collector.names("traces") == {"work": 1}
    assert replayed(tmp_path, collector.address) == (0, "Delivered: 3 of traces · 2 of logs\n")
    assert collector.names("traces") == {"work": 4}
    assert replayed(tmp_path, collector.address) == (0, "Delivered: nothing\n")


def replayed(folder, endpoint, **more):
    """Run `codoperf replay`: its status and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "codoperf_otel.cli", "replay", folder, "--endpoint", endpoint],
        capture_output=True,
        text=True,
        timeout=60,
        env=variables("", **more),
    )
    return done.returncode, done.stdout + done.stderr


def test_replay_leaves_what_is_not_taken(tmp_path, collector):
    """The status says so, and no secret is shown."""
    run(WORK, tmp_path, REFUSED, 3)
    collector.answer = lambda _: (401, {}, b"")
    status, text = replayed(tmp_path, collector.address, OTEL_EXPORTER_OTLP_HEADERS="authorization=hush")
    assert status == 1
    assert text == f"Delivered: nothing\n401 Unauthorized: the rest is still in {tmp_path}\n"
    assert collector.headers["authorization"] == "hush"
    assert replayed(tmp_path, "ftp://x")[0] == 2


def test_replay_needs_a_folder(tmp_path, capsys):
    """A path that is none is one line."""
    assert main(["replay", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"codoperf: {tmp_path / 'none'}: no such folder\n"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((200, {}, b""), Outcome.DELIVERED),
        ((200, {"Content-Type": "text/html"}, b"<html>welcome"), Outcome.LATER),
        ((302, {"Location": "/"}, b""), Outcome.LATER),
        ((401, {}, b""), Outcome.LATER),
        ((404, {}, b""), Outcome.LATER),
        ((429, {"Retry-After": "7"}, b""), Outcome.LATER),
        ((503, {"Retry-After": "soon"}, b""), Outcome.LATER),
        ((400, {}, b""), Outcome.REFUSED),
        ((413, {}, b""), Outcome.REFUSED),
        ((200, {}, b"\xff\xff nonsense"), Outcome.DELIVERED),
        (None, Outcome.LATER),
    ],
)
def test_what_an_answer_means_over_http(collector, monkeypatch, answer, outcome):
    """Only what is wrong with the data itself is refused for good."""
    from codoperf_otel.sdk.spool.senders import sender

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=tea,name=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
    collector.answer = lambda _: answer
    output = Otlp(
        "traces", "http/protobuf", f"{collector.address}/v1/traces", "gzip", collector.address, True
    )
    found = sender(output)(b"")
    assert found.outcome is outcome
    assert found.seconds == (7.0 if answer and answer[1].get("Retry-After") == "7" else None)
    if answer:
        assert (collector.headers["x-scope"], collector.headers["name"]) == ("tea", "a b")


PARTLY = ExportTraceServiceResponse(partial_success={"rejected_spans": 2}).SerializeToString()


@pytest.fixture
def grpc_collector():
    """A collector that speaks gRPC: its address, and what it has and answers."""
    made = Collector()

    def export(payload, context):
        made.headers = dict(context.invocation_metadata())
        answer = made.answer(payload)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "because")
        made.requests.append(("traces", payload))
        return answer

    handler = grpc.method_handlers_generic_handler(
        "opentelemetry.proto.collector.trace.v1.TraceService",
        {"Export": grpc.unary_unary_rpc_method_handler(export)},
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    made.address = f"http://127.0.0.1:{port}"
    made.answer = lambda _: b""
    yield made
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("answer", "outcome", "rejected"),
    [
        (b"", Outcome.DELIVERED, 0),
        (
            ExportTraceServiceResponse(partial_success={"rejected_spans": 2}).SerializeToString(),
            Outcome.DELIVERED,
            2,
        ),
        (grpc.StatusCode.UNAVAILABLE, Outcome.LATER, 0),
        (grpc.StatusCode.UNAUTHENTICATED, Outcome.LATER, 0),
        (grpc.StatusCode.INVALID_ARGUMENT, Outcome.REFUSED, 0),
    ],
)
def test_what_an_answer_means_over_grpc(grpc_collector, monkeypatch, answer, outcome, rejected):
    """A code that is about the data refuses it for good; any other may be about now."""
    from codoperf_otel.sdk.spool.senders import sender

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Scope=tea")
    grpc_collector.answer = lambda _: answer
    output = Otlp("traces", "grpc", grpc_collector.address, "gzip", grpc_collector.address, True)
    found = sender(output)(b"")
    assert (found.outcome, found.rejected) == (outcome, rejected)
    assert grpc_collector.headers["x-scope"] == "tea"


def test_spans_arrive_over_grpc(tmp_path, grpc_collector):
    """The bytes on disk are what gRPC carries."""
    program = WORK.replace(", logs=True", "")
    out, _ = run(program, tmp_path, grpc_collector.address, 700, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert out == "True 0\n"
    assert grpc_collector.names("traces") == {"work": 700}


ENDLESS = """
import sys, codoperf_otel
durable = {"strict": "strict", "batches": True}[sys.argv[2]]
handle = codoperf_otel.configure("shop", endpoint=sys.argv[1], durable=durable)
number = 0
while True:
    with codoperf_otel.performance_context("work", number=number): pass
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("mode", ["strict", "batches"])
def test_a_killed_process_leaves_its_spans(tmp_path, collector, scale, mode):
    """Strict: all whose end has returned. Else all but those of a batch interval. Replay reads each spool."""
    interval = 0.05
    for run_number in range(scale(100)):
        folder = tmp_path / str(run_number)
        environ = variables(folder, OTEL_BSP_SCHEDULE_DELAY=str(int(interval * 1000)))
        command = [sys.executable, "-c", ENDLESS, REFUSED, mode]
        ended = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
            for line in process.stdout:
                ended.append((time.monotonic(), int(line)))
                if len(ended) == 100:
                    process.send_signal(signal.SIGKILL)
                    killed = time.monotonic()
        collector.requests.clear()
        status, text = replayed(folder, collector.address)
        assert status == 0, text
        found = {
            attribute.value.int_value
            for _, body in collector.requests
            for span in items("traces", body)
            for attribute in span.attributes
            if attribute.key == "number"
        }
        # one batch may be on its way to the disk, and one be filled
        bound = killed - (0 if mode == "strict" else 2 * interval + 3)
        safe = {number for at, number in ended if mode == "strict" or at < bound}
        assert safe <= found
        assert len(collector.ids()) == len(set(collector.ids()))


FORKING = """
import os, sys, codoperf_otel
handle = codoperf_otel.configure("shop", endpoint=sys.argv[1])
with codoperf_otel.performance_context("parent"): pass
handle.force_flush(0.5)
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        with codoperf_otel.performance_context("child"): pass
        handle.shutdown()
        os._exit(0)
    children.append(pid)
print([os.waitpid(pid, 0)[1] for pid in children])
"""


def test_forked_children_have_files_of_their_own(tmp_path, collector):
    """Nothing is lost or doubled, and no child keeps its parent's file locked."""
    out, _ = run(FORKING, tmp_path, REFUSED)
    assert out == "[0, 0, 0]\n"
    assert replayed(tmp_path, collector.address)[0] == 0
    assert collector.names("traces") == {"parent": 1, "child": 3}


def test_processes_share_a_folder(tmp_path, collector):
    """What several write and send at once arrives whole, and once for each id."""
    program = WORK.replace(", logs=True", "")
    command = [sys.executable, "-c", program, collector.address, "600"]
    running = [subprocess.Popen(command, env=variables(tmp_path), stdout=subprocess.PIPE) for _ in range(3)]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode == 0
    replayed(tmp_path, collector.address)
    assert len(set(collector.ids())) == 1800
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


REFUSING = """
import codoperf_otel
try:
    codoperf_otel.configure({})
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("call", "environ", "message"),
    [
        ("durable='yes'", {}, "durable is 'yes': it must be True, False or 'strict'"),
        (
            "durable=True, file='x'",
            {"OTEL_TRACES_EXPORTER": "none"},
            "durable is True: it must be left out where nothing is sent over OTLP",
        ),
        (
            "",
            {"CODOPERF_OTEL_SPOOL_SIZE": "0"},
            "CODOPERF_OTEL_SPOOL_SIZE is '0': it must be a number above 0",
        ),
        (
            "",
            {"CODOPERF_OTEL_SPOOL_AGE": "old"},
            "CODOPERF_OTEL_SPOOL_AGE is 'old': it must be a number above 0",
        ),
        ("", {"CODOPERF_OTEL_SPOOL_DIR": __file__}, "it must be the path of a folder, not of a file"),
        (
            "",
            {"CODOPERF_OTEL_SPOOL_DIR": "/proc/x"},
            "CODOPERF_OTEL_SPOOL_DIR is '/proc/x': it must be a folder that",
        ),
    ],
)
def test_a_wrong_setting_is_one_error(tmp_path, call, environ, message):
    """It names the setting, its value and what is allowed."""
    out, _ = run(REFUSING.format(call), tmp_path, **environ)
    assert message in out


def test_the_argument_goes_before_the_variable(tmp_path, collector):
    """Without a spool nothing is on disk."""
    program = WORK.replace("logs=True", "durable=False")
    collector.answer = lambda _: (503, {}, b"")
    run(program, tmp_path, collector.address, 1, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_that_others_may_write_to_is_refused(tmp_path):
    """They could have it send what they like."""
    tmp_path.chmod(0o777)
    out, _ = run(REFUSING.format(""), tmp_path)
    assert "may be written by other users" in out


INTERRUPTED = """
import os, signal, sys, time, codoperf_otel
handle = codoperf_otel.configure("shop", endpoint=sys.argv[1], durable="strict")
seen = []

def handler(*_):
    with codoperf_otel.performance_context("handler"): pass
    seen.append(1)
    if len(seen) % 3 == 0:
        raise TimeoutError

signal.signal(signal.SIGALRM, handler)
ended = caught = number = 0
deadline = time.monotonic() + 60
while len(seen) < 150 and time.monotonic() < deadline:
    number += 1
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002 * (number % 20 + 1))
        with codoperf_otel.performance_context("work"): pass
        ended += 1
        time.sleep(0.01)  # by then it has rung
    except TimeoutError:
        caught += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
print(len(seen), ended, caught)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_signal_handlers_in_the_midst_of_strict_writes(tmp_path, collector):
    """Nobody hangs, each time-out reaches the program, and each span whose end has returned is there."""
    out, _ = run(INTERRUPTED, tmp_path, collector.address)
    seen, ended, caught = map(int, out.split())
    assert seen >= 50
    assert caught == seen // 3
    replayed(tmp_path, collector.address)
    ids = Counter(collector.ids())
    found = {span.span_id: span.name for _, body in collector.requests for span in items("traces", body)}
    assert set(ids) == set(found)
    names = Counter(found.values())
    assert names["work"] >= ended
    assert 0 < names["handler"] <= seen  # within a processor a call has no span


LATE = """
import os, sys, codoperf_otel
handle = codoperf_otel.configure("shop", endpoint=sys.argv[1])
if os.fork() == 0:
    with codoperf_otel.performance_context("child"): pass
    sys.exit()
os.wait()
"""


def test_a_child_that_exports_first_at_its_end(tmp_path, collector):
    """Python 3.12 starts no thread then; its spans arrive all the same."""
    run(LATE, tmp_path, collector.address)
    assert collector.names("traces") == {"child": 1}


@pytest.mark.parametrize("length", [1 << 21, 1 << 30], ids=["within", "beyond"])
def test_a_file_of_beginnings_is_read_soon(length):
    """Each of them claims much of the file; records before and behind a few of them are read all the same."""
    beginning = struct.pack(">4sIII", b"\xc0dPs", length, 1, 0)
    whole = records.encoded(b"whole", 1)
    began = time.thread_time()
    assert list(records.read(beginning * (1 << 18), 0)) == []
    assert time.thread_time() - began < 2
    found = records.read(whole + beginning * 3 + whole + bytes(1 << 21), 0)
    assert [record.payload for record in found] == [b"whole", b"whole"]
