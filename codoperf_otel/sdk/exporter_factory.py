"""What makes the exporter of an output: OTLP, a file or the console."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from codoperf_otel._environment_variables import SPOOL_DIR, setting_error
from codoperf_otel.sdk.errors import Destination, watch_loggers
from codoperf_otel.sdk.outputs import Console, File, Otlp, Output, Spool
from codoperf_otel.sdk.settings import INSTALL

_COMPRESSIONS = {
    "grpc": "grpc:Compression",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http:Compression",
}
_COMPRESSION_MEMBERS = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate"}

Exporter = TypeVar("Exporter")


def exporter_factory(
    output: Output,
    destination: Destination,
    *,
    otlp: Mapping[str, str],
    file: Callable[..., Exporter],
    console: Callable[[], Exporter],
    spooled: str,
) -> Callable[[], Exporter]:
    """What makes the exporter of an output.

    `otlp` names the signal's OTLP exporter for each protocol, and `spooled` that of the spool; `file` takes a
    path.

    Raises:
        ImportError: the output needs a package that is not installed.
    """
    match output:
        case File():
            return lambda: _open_file(output, file)
        case Console():
            return console
        case Otlp(spool=Spool() as spool):
            return _spool_factory(output, spool, destination, spooled)
        case Otlp():
            return _otlp_factory(output, otlp[output.protocol])


def _open_file(output: File, exporter: Callable[..., Exporter]) -> Exporter:
    try:
        return exporter(output.path)
    except OSError as error:
        folder = str(output.path.parent)
        raise setting_error(
            "file", folder, f"a folder that can be written ({error.strerror or error})"
        ) from error


def _otlp_factory(output: Otlp, reference: str) -> Callable[[], Any]:
    exporter = _imported(reference, output)
    compression = _imported(_COMPRESSIONS[output.protocol], output)[_COMPRESSION_MEMBERS[output.compression]]

    def make() -> Any:
        made = exporter(endpoint=output.url, compression=compression)
        watch_loggers(made)
        return made

    return make


def _spool_factory(output: Otlp, spool: Spool, destination: Destination, reference: str) -> Callable[[], Any]:
    exporter = _imported(reference, output)
    outlet = _imported("codoperf_otel.sdk.spool.outlet:Outlet", output)

    def make() -> Any:
        try:
            return exporter(outlet(output, spool, destination))
        except OSError as error:
            folder = str(spool.folder.parent)
            allowed = f"a folder that can be written ({error.strerror or error})"
            raise setting_error(SPOOL_DIR, folder, allowed) from error

    return make


def _imported(reference: str, output: Otlp) -> Any:
    module, _, name = reference.partition(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ImportError(f"OTLP over {output.protocol} needs {error.name}: {INSTALL}") from error
