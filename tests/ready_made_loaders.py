"""The ready-made lazy loaders on the real packages: an attribute, a real call, an exception class caught.

`make test-loaders` runs this, in an environment with these packages.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from codoperf_otel import lazy_loader
from codoperf_otel.lazy_loader import (
    LazyLoader,
    anthropic,
    docker,
    git,
    google_genai,
    is_loaded,
    load_module,
    matplotlib,
    numpy,
    openai,
    pandas,
    plotly,
    seaborn,
)

pytestmark = pytest.mark.filterwarnings("default")  # those of the packages

LOADERS = {name: value for name, value in vars(lazy_loader).items() if type(value) is LazyLoader}

MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "small",
    "content": [{"type": "text", "text": "tea"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
ANSWERS = {
    "/openai/models": {
        "object": "list",
        "data": [{"id": "small", "object": "model", "created": 1, "owned_by": ""}],
    },
    "/anthropic/v1/messages": MESSAGE,
    "/genai/v1/models/small:generateContent": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "tea"}]}}]
    },
    "/version": {"Version": "28.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24"},
    "/v1.47/images/json": [],
}


class Server(BaseHTTPRequestHandler):
    """Answers as the services do; what it does not know is not found."""

    def do_GET(self) -> None:
        """Answer any request."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        body = json.dumps(
            ANSWERS.get(path, {"error": {"message": f"not here: {path}"}, "message": "not here"})
        ).encode()
        self.send_response(200 if path in ANSWERS else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The host and the port of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_importing_all_of_them_imports_none():
    """In a new interpreter, the ten names are there and none of the packages is."""
    assert len(LOADERS) == 10
    modules = {loader.module_name for loader in LOADERS.values()}
    program = (
        f"import sys\nfrom codoperf_otel.lazy_loader import {', '.join(LOADERS)}\n"
        f"print({modules!r} & sys.modules.keys())\n"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"


def test_numpy():
    """Arrays, and the error of a singular matrix."""
    assert numpy.arange(4).sum() == 6
    with pytest.raises(numpy.linalg.LinAlgError):
        numpy.linalg.inv(numpy.zeros((2, 2)))


def test_pandas():
    """A table that is read and summed, and the error of an empty one."""
    assert pandas.read_csv(io.StringIO("a\n1\n2\n"))["a"].sum() == 3
    with pytest.raises(pandas.errors.EmptyDataError):
        pandas.read_csv(io.StringIO(""))


def test_matplotlib():
    """A figure that is drawn; it has no exception classes of its own, so a built-in one is raised."""
    matplotlib.switch_backend("agg")
    figure, axes = matplotlib.subplots()
    axes.plot([1, 2])
    picture = io.BytesIO()
    matplotlib.savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="not a valid value"):
        matplotlib.get_cmap("no_such_map")
    matplotlib.close(figure)


def test_seaborn():
    """A plot, and an error class of its own: that of what is no version."""
    matplotlib.switch_backend("agg")
    assert len(seaborn.color_palette("deep")) == 10
    assert seaborn.lineplot(x=[1, 2], y=[3, 4]).lines
    with pytest.raises(seaborn.external.version.InvalidVersion):
        seaborn.external.version.Version("none")


def test_plotly():
    """A figure as JSON; a wrong property is a built-in error."""
    assert json.loads(plotly.Figure(plotly.Bar(y=[1, 2])).to_json())["data"][0]["type"] == "bar"
    with pytest.raises(ValueError, match="Invalid property"):
        plotly.Bar(colour="red")


def test_openai(address):
    """A call of the API, and the error of what is not there."""
    client = openai.OpenAI(api_key="x", base_url=f"http://{address}/openai", max_retries=0)
    assert [model.id for model in client.models.list()] == ["small"]
    with pytest.raises(openai.NotFoundError, match="not here"):
        client.models.retrieve("large")


def test_anthropic(address):
    """A message, and the error of what is not there."""
    client = anthropic.Anthropic(api_key="x", base_url=f"http://{address}/anthropic", max_retries=0)
    asked = [{"role": "user", "content": "what is there?"}]
    assert client.messages.create(model="small", max_tokens=9, messages=asked).content[0].text == "tea"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("large")


def test_google_genai(address):
    """Generated text, and the error of what is not there."""
    options = {"base_url": f"http://{address}/genai", "api_version": "v1"}
    client = google_genai.Client(api_key="x", http_options=options)
    assert client.models.generate_content(model="small", contents="what is there?").text == "tea"
    with pytest.raises(google_genai.errors.ClientError):
        client.models.generate_content(model="large", contents="what is there?")


def test_docker(address):
    """A question to the daemon, and the error of what is not there."""
    client = docker.DockerClient(base_url=f"tcp://{address}")
    assert client.images.list() == []
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("absent")
    client.close()


def test_git(tmp_path):
    """A repository that is made, and the error of a folder that is none."""
    assert git.Repo.init(tmp_path / "made").bare is False
    (tmp_path / "plain").mkdir()
    with pytest.raises(git.InvalidGitRepositoryError):
        git.Repo(tmp_path / "plain")


@pytest.mark.parametrize("name", LOADERS)
def test_loader_stands_for_the_module(name):
    """After the tests above, each loader has the very attributes of the module."""
    loader = LOADERS[name]
    assert is_loaded(loader)
    assert load_module(loader) is sys.modules[loader.module_name]
    assert loader.__name__ == loader.module_name
    assert isinstance(loader, type(sys))
