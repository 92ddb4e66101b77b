"""The real stack: what builds it, starts it and ends it, and the way of the data through it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.once

CONFIG = Path(__file__).resolve().parent.parent / "collector-config"
STACK = CONFIG / "stack"
WAIT_SECONDS = 20.0
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


def stack(
    *arguments: str | Path, python: str | Path = sys.executable, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [str(each) for each in (python, STACK, *arguments)]
    return subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False
    )


def up(folder: Path, **variables: str) -> dict[str, str]:
    ran = stack("up", "--free-ports", "--dir", folder, **variables)
    if ran.returncode:
        pytest.fail(ran.stderr)
    return addresses(folder)


def addresses(folder: Path) -> dict[str, str]:
    return json.loads((folder / "addresses.json").read_text())


def pids(folder: Path) -> dict[str, int]:
    return {record.stem: json.loads(record.read_text())["pid"] for record in folder.glob("*.pid")}


def running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def get(url: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=5) as response:
        return json.load(response)


def post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.status == 200


def eventually(read: Callable[[], Any]) -> Any:
    """What `read` gives, as soon as it is not empty."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := read()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    folder.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stack")
    up(folder)
    yield folder
    assert stack("down", "--dir", folder).returncode == 0


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "own"
    assert stack("down", "--dir", tmp_path / "own").returncode == 0


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python that has no `go` beside it."""
    path = tmp_path / "bare" / "python"
    path.parent.mkdir()
    path.symlink_to(Path(sys.executable).resolve())
    return path


@pytest.fixture
def versions() -> dict[str, str]:
    script = (
        "import json, parts; print(json.dumps({part.name: part.version for part in parts.PARTS.values()}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=STACK, capture_output=True, check=True)
    return json.loads(ran.stdout)


RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "stack-test"}}]}


def one_span(nanoseconds: int) -> dict[str, Any]:
    span = {
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "name": "review",
        "kind": 1,
        "startTimeUnixNano": str(nanoseconds - 10**9),
        "endTimeUnixNano": str(nanoseconds),
    }
    return {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"spans": [span]}]}]}


def one_duration(nanoseconds: int) -> dict[str, Any]:
    point = {
        "startTimeUnixNano": str(nanoseconds - 10**9),
        "timeUnixNano": str(nanoseconds),
        "count": "3",
        "sum": 0.6,
        "explicitBounds": [0.1, 1.0],
        "bucketCounts": ["1", "2", "0"],
        "exemplars": [
            {"timeUnixNano": str(nanoseconds), "asDouble": 0.3, "traceId": TRACE_ID, "spanId": SPAN_ID}
        ],
    }
    histogram = {"aggregationTemporality": 2, "dataPoints": [point]}
    metric = {"name": "codoperf.function.duration", "unit": "s", "histogram": histogram}
    return {"resourceMetrics": [{"resource": RESOURCE, "scopeMetrics": [{"metrics": [metric]}]}]}


@pytest.mark.stack
def test_span_goes_through_the_collector_to_jaeger(running_stack: Path) -> None:
    """A span sent to the Collector is found in Jaeger, which adds no service of its own."""
    at = addresses(running_stack)
    post(f"{at['otlp_http']}/v1/traces", one_span(time.time_ns()))
    found = eventually(lambda: get(f"{at['jaeger']}/api/traces", service="stack-test")["data"])
    assert [(span["spanID"], span["operationName"]) for span in found[0]["spans"]] == [(SPAN_ID, "review")]
    assert get(f"{at['jaeger']}/api/services")["data"] == ["stack-test"]


@pytest.mark.stack
def test_metric_goes_through_the_collector_to_prometheus(running_stack: Path) -> None:
    """A histogram is found in Prometheus under its translated name, with its service and exemplar."""
    at = addresses(running_stack)
    post(f"{at['otlp_http']}/v1/metrics", one_duration(time.time_ns()))
    name = "codoperf_function_duration_seconds"

    def query(expression: str) -> list[dict[str, Any]]:
        return get(f"{at['prometheus']}/api/v1/query", query=expression)["data"]["result"]

    assert eventually(lambda: query(f'{name}_count{{service_name="stack-test"}}'))[0]["value"][1] == "3"
    assert query(f'{name}_bucket{{le="0.1"}}')[0]["value"][1] == "1"
    since, until = str(time.time() - 60), str(time.time() + 60)
    exemplars = get(
        f"{at['prometheus']}/api/v1/query_exemplars", query=f"{name}_bucket", start=since, end=until
    )
    assert exemplars["data"][0]["exemplars"][0]["labels"]["trace_id"] == TRACE_ID


@pytest.mark.stack
def test_up_again_says_that_it_is_up(running_stack: Path) -> None:
    """A second `up` of a folder starts nothing and says the addresses that hold."""
    before = pids(running_stack)
    ran = stack("up", "--dir", running_stack)
    assert ran.returncode == 0
    assert "already up" in ran.stdout
    at = addresses(running_stack)
    variables = f"OTEL_EXPORTER_OTLP_ENDPOINT={at['otlp_http']} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    assert ran.stdout.splitlines()[-1] == f"export {variables}"
    assert pids(running_stack) == before


@pytest.mark.stack
def test_the_addresses_that_up_prints_answer(running_stack: Path) -> None:
    """What it names of Jaeger and Prometheus can be opened as it stands."""
    said = stack("up", "--dir", running_stack).stdout
    named = dict(re.findall(r"^(Jaeger|Prometheus) +(http\S+)$", said, re.MULTILINE))
    assert all("data" in get(named[service]) for service in ("Jaeger", "Prometheus"))


def test_up_prints_the_endpoint_that_the_docs_use(tmp_path: Path) -> None:
    """On the usual ports, the endpoint to export to is the one of the README, and the variable is enough."""
    script = (
        "import json, pathlib, run, services;"
        f"folder = pathlib.Path({str(tmp_path)!r});"
        "(folder / run.ADDRESSES).write_text(json.dumps(services.Ports().addresses()));"
        "run._tell(folder)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=STACK, capture_output=True, text=True, check=True
    )
    line = "export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"
    assert ran.stdout.splitlines()[-1] == line
    for page in (CONFIG.parent / "README.md", CONFIG / "README.md"):
        assert re.search(rf"^ *{line}$", page.read_text(), re.MULTILINE)


@pytest.mark.stack
def test_down_ends_its_own_processes_only(running_stack: Path, own_stack: Path) -> None:
    """`down` ends the three of its folder; the stack of another folder goes on."""
    up(own_stack)
    own, others = pids(own_stack), pids(running_stack)
    assert sorted(own) == ["jaeger", "otelcol", "prometheus"]
    assert stack("down", "--dir", own_stack).stdout == "ended otelcol, jaeger, prometheus\n"
    assert not any(map(running, own.values()))
    assert "traces export" not in (own_stack / "jaeger.log").read_text()  # its own spans, which took 10 s
    assert all(map(running, others.values()))
    assert not pids(own_stack)


@pytest.mark.stack
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_users_exporter_settings_do_not_reach_the_services(own_stack: Path) -> None:
    """OTEL_* variables are meant for the user's program: the services start without them."""
    up(own_stack, OTEL_EXPORTER_OTLP_HEADERS="authorization=secret")
    started = [Path(f"/proc/{pid}/environ").read_bytes() for pid in pids(own_stack).values()]
    assert len(started) == 3
    assert not any(b"OTEL_" in environment for environment in started)


@pytest.mark.stack
def test_up_brings_a_lost_part_back_with_its_data(own_stack: Path) -> None:
    """After a part was killed, `up` starts the stack again on the same data."""
    at = up(own_stack)
    post(f"{at['otlp_http']}/v1/traces", one_span(time.time_ns()))
    assert eventually(lambda: get(f"{at['jaeger']}/api/services")["data"]) == ["stack-test"]
    killed = pids(own_stack)["otelcol"]
    os.kill(killed, signal.SIGKILL)
    assert eventually(lambda: not running(killed))
    at = up(own_stack)
    assert all(map(running, pids(own_stack).values()))
    assert get(f"{at['jaeger']}/api/services")["data"] == ["stack-test"]


@pytest.mark.stack
def test_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    """A port that another program holds is named in one line, and nothing is started."""
    with socket.socket() as holder:
        with suppress(OSError):  # somebody's Prometheus has it: as good
            holder.bind(("127.0.0.1", 9090))
            holder.listen()
        ran = stack("up", "--dir", tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: port 9090, which prometheus needs, is in use")
    assert ran.stderr.count("\n") == 1
    assert not pids(tmp_path)


@pytest.mark.stack
def test_service_that_ends_at_once_is_told_with_its_log(own_stack: Path) -> None:
    """A service that cannot start is named with the end of its log; those started before it are ended."""
    own_stack.mkdir()
    (own_stack / "jaeger").write_text("a file where a folder should be")
    ran = stack("up", "--free-ports", "--dir", own_stack)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: jaeger ended with exit code 1; the end of ")
    assert "Traceback" not in ran.stderr
    assert not pids(own_stack)


def test_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """A data folder that cannot be made is named in one line."""
    (tmp_path / "file").touch()
    ran = stack("up", "--dir", tmp_path / "file" / "data")
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert str(tmp_path / "file") in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.stack
def test_data_are_private(running_stack: Path) -> None:
    """Logs, records and data can be read by their owner only."""
    assert [path for path in running_stack.iterdir() if path.stat().st_mode & 0o077] == []


def test_record_of_another_process_is_not_followed(tmp_path: Path) -> None:
    """A record whose process id went to a later process ends nothing."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        (tmp_path / "otelcol.pid").write_text(json.dumps({"pid": bystander.pid, "started": "1"}))
        ran = stack("down", "--dir", tmp_path)
        assert ran.stdout == f"nothing is up in {tmp_path}\n"
        assert bystander.poll() is None
        bystander.kill()


def test_down_without_a_folder_makes_none(tmp_path: Path) -> None:
    """`down` where nothing was ever up says so and leaves no folder behind."""
    ran = stack("down", "--dir", tmp_path / "none")
    assert (ran.returncode, ran.stdout) == (0, f"nothing is up in {tmp_path / 'none'}\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("reported", "taken"), [("3.16.0", True), ("3.15.0", False), ("3.16.0-rc.1", False)])
def test_program_on_path_is_taken_only_in_our_version(tmp_path: Path, reported: str, taken: bool) -> None:
    """A program on PATH counts if it reports exactly our version; without one, `make stack` is named."""
    found = program(tmp_path / "bin", "prometheus", f"echo 'prometheus, version {reported} (branch: HEAD)'")
    ran = stack(
        "path", "prometheus", PATH=f"{found.parent}:/usr/bin:/bin", XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert ran.stdout == (f"{found}\n" if taken else "")
    assert ran.returncode == (0 if taken else 1)
    assert ("run `make stack`" in ran.stderr) is not taken


def test_go_that_is_too_old_is_refused(tmp_path: Path, bare_python: Path) -> None:
    """An older Go on PATH is not used to build; the message says which is needed."""
    old = program(tmp_path / "bin", "go", "echo go version go1.26.3 linux/amd64")
    ran = stack(
        "build",
        python=bare_python,
        PATH=f"{old.parent}:/usr/bin:/bin",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: Go 1.27 or newer is needed")
    assert "Traceback" not in ran.stderr


def test_failed_build_tells_the_end_of_the_output(tmp_path: Path, bare_python: Path) -> None:
    """A build that fails is one message with Go's last lines and exit code 1; nothing half made stays."""
    script = 'if [ "$1" = version ]; then echo go version go1.27.0; else seq 100; echo no module; exit 3; fi'
    failing = program(tmp_path / "bin", "go", script)
    cache = tmp_path / "cache"
    ran = stack(
        "build", python=bare_python, PATH=f"{failing.parent}:/usr/bin:/bin", XDG_CACHE_HOME=str(cache)
    )
    assert ran.returncode == 1
    assert "failed with exit code 3" in ran.stderr
    assert ran.stderr.endswith("99\n100\nno module\n")
    assert len(ran.stderr.splitlines()) == 21
    assert [path.name for path in (cache / "codoperf-otel" / "stack").iterdir()] == [".lock"]


def test_second_build_waits_for_the_first(tmp_path: Path, bare_python: Path) -> None:
    """While another build holds the folder, `build` says that it waits and builds nothing."""
    old = program(tmp_path / "bin", "go", "echo go version go1.26.3 linux/amd64")
    folder = tmp_path / "cache" / "codoperf-otel" / "stack"
    folder.mkdir(parents=True)
    variables = {"PATH": f"{old.parent}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [bare_python, STACK, "build"], env=os.environ | variables, stdout=-1, stderr=-1, text=True
        )
        assert second.stdout is not None
        assert second.stdout.readline() == f"another run uses {folder}: waiting for it…\n"
        assert second.poll() is None
    assert "building otelcol" in second.communicate(timeout=60)[0]


@pytest.mark.stack
def test_built_stack_is_not_built_again() -> None:
    """With every program there, `build` needs no Go and says where each is."""
    ran = stack("build", PATH="/usr/bin:/bin")
    assert ran.returncode == 0, ran.stderr
    assert "building" not in ran.stdout
    assert [line.split()[0] for line in ran.stdout.splitlines()] == [
        "otelcol",
        "jaeger",
        "prometheus",
        "promtool",
    ]


def test_versions_are_the_same_everywhere(versions: dict[str, str]) -> None:
    """The table of versions, the Collector's recipe, Jaeger's module and the images agree."""
    builder = yaml.safe_load((CONFIG / "builder.yaml").read_text())
    images = {
        name: service["image"].rpartition(":")[2].removeprefix("v")
        for name, service in compose()["services"].items()
    }
    assert builder["dist"]["version"] == versions["otelcol"] == images["collector"]
    assert versions["jaeger"] == images["jaeger"]
    modules = [
        each["gomod"]
        for kind in ("extensions", "receivers", "processors", "exporters")
        for each in builder[kind]
    ]
    assert {module.rpartition(" v")[2] for module in modules} == {versions["otelcol"]}
    assert versions["prometheus"] == versions["promtool"] == images["prometheus"]


def test_compose_uses_the_same_files_on_loopback() -> None:
    """Containers mount the files that the native stack uses, and publish on loopback only."""
    for name, service in compose()["services"].items():
        mounted = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith(".")]
        assert mounted, name
        assert [path for path in mounted if not (CONFIG / path).exists()] == []
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_prometheus_has_the_same_features_in_both() -> None:
    """The container's Prometheus takes the flags that the native one takes, its addresses aside."""
    own = {"--config.file", "--storage.tsdb.path", "--web.listen-address"}
    script = """
import json, pathlib, services
native, *_ = services.services(pathlib.Path(), services.Ports())
print(json.dumps(native.arguments))
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=STACK, capture_output=True, check=True)
    both = json.loads(ran.stdout), compose()["services"]["prometheus"]["command"]
    native, container = ({flag for flag in flags if flag.partition("=")[0] not in own} for flags in both)
    assert native == container


def test_compose_sets_only_variables_that_the_files_read() -> None:
    """Each address that a container is given is one that its configuration reads."""
    for name, file in (("collector", "collector.yaml"), ("jaeger", "jaeger.yaml")):
        text = (CONFIG / file).read_text()
        unread = [
            each for each in compose()["services"][name]["environment"] if f"${{env:{each}:-" not in text
        ]
        assert unread == []


def compose() -> dict[str, Any]:
    return yaml.safe_load((CONFIG / "compose.yaml").read_text())
