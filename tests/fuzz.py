"""Inputs that atheris makes, guided by which code of the package each of them reached.

`make fuzz` tries 110,000 of each of `BYTES`, where the input is what is parsed, and 5,000 of each test of
`test_fuzzing`, for which hypothesis makes an input of the bytes. ``make fuzz ARGS=variables`` tries one.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["codoperf_otel"], enable_loader_override=False):
    import test_fuzzing
    from test_fuzzing import LINES, SECRET, STANDARD, refuse_constant, refused, soon

    from codoperf_otel import _environment_variables as variables
    from codoperf_otel._cache.records import InvalidRecordError, Record, Signer
    from codoperf_otel._calls.carrier import extract
    from codoperf_otel._live.answers import answer
    from codoperf_otel._report.document import document
    from codoperf_otel._report.files import UnreadableError, read
    from codoperf_otel._zero_code.patterns import Patterns
    from codoperf_otel.sdk.endpoints import otlp
    from codoperf_otel.sdk.settings import Arguments, resolve
    from codoperf_otel.sdk.spool import records
    from codoperf_otel.sdk.standard_variables import Variables

LONGEST = 8192
_NAMES = [*STANDARD, *variables.known()]
_SIGNER = Signer(b"key")
_ROW = Record(0.0, 60.0, 0.0, 1.0, b"b" * 16, "json", b"{}")
_SIGNED = _SIGNER.pack(b"a" * 32, _ROW)
_FILE = Path(tempfile.mkdtemp()) / "traces.jsonl"


def _value(data: bytes) -> str:
    """What an operating system lets a variable hold."""
    return os.fsdecode(data).replace("\0", "")


def variable(data: bytes) -> None:
    """A variable is right, or one error names it."""
    name, value = _NAMES[sum(data[:1]) % len(_NAMES)], _value(data[1:])
    os.environ[name] = value
    try:
        _, error = refused(lambda: (variables.check_values(), resolve(Arguments(), os.environ)))
    finally:
        del os.environ[name]
    assert not error or error.startswith(f"{name} is ")


def endpoint(data: bytes) -> None:
    """A password is in no message, whatever stands around it."""
    before, _, after = data.partition(b"@")
    given = f"{_value(before)}:{SECRET}@{_value(after)}"
    output, error = refused(lambda: otlp("traces", given, Variables({})))
    assert SECRET not in f"{error}{output!r}"


def headers(data: bytes) -> None:
    """A header's value is in no message."""
    given = Variables({"OTEL_EXPORTER_OTLP_HEADERS": f"{_value(data)}authorization={SECRET}"})
    output, error = refused(lambda: otlp("traces", "http://collector:4318", given))
    assert SECRET not in f"{error}{output!r}"


def carrier(data: bytes) -> None:
    """A program starts whatever its variables say of its parent."""
    parts = [_value(part) for part in data.split(b"\n", 3)]
    extract(dict(zip(("TRACEPARENT", "TRACESTATE", "BAGGAGE", "CODOPERF_OTEL_AGENT"), parts, strict=False)))


def pattern(data: bytes) -> None:
    """A pattern is one error, or matches or not."""
    found, _ = refused(lambda: variables.patterns("--monitor", _value(data)))
    Patterns(found or (), (found or ())[:1]).select("package.module", "Class.method")


def question(data: bytes) -> None:
    """Whatever a client asks a running program has an answer in JSON."""
    json.loads(answer(data), parse_constant=refuse_constant)


def telemetry_file(data: bytes) -> None:
    """A report is made of any file, and is JSON."""
    _FILE.write_bytes(data)
    try:
        report = document(read(_FILE))
    except UnreadableError:
        return
    json.loads(json.dumps(report, allow_nan=False))


def spool_file(data: bytes) -> None:
    """What is read of the spool was whole."""
    for record in records.read(data, 0):
        assert records.encoded(record.payload, record.items) in data


def cached_row(data: bytes) -> None:
    """A row that was not signed with the key is not read."""
    try:
        found = _SIGNER.unpack(b"a" * 32, data)
    except InvalidRecordError:
        return
    assert found == _ROW


BYTES: dict[str, tuple[Callable[[bytes], None], bytes]] = {
    "variables": (variable, b"\x01http://collector:4317"),
    "endpoints": (endpoint, b"http://me@collector:4318/v1/traces?a=b"),
    "headers": (headers, b"x-scope-orgid=one,a=%41,"),
    "carriers": (
        carrier,
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\na=1\nuser=%41;p\none/two",
    ),
    "patterns": (pattern, b"package.*,module.[a-z]?"),
    "questions": (question, b'{"question": "operations"}'),
    "telemetry_files": (telemetry_file, "".join(f"{json.dumps(line)}\n" for line in LINES).encode()),
    "spool_files": (spool_file, records.encoded(b"spans", 2) * 3),
    "cached_rows": (cached_row, _SIGNED),
}

TESTS = [name for name, test in vars(test_fuzzing).items() if hasattr(test, "hypothesis")]
SLOW = {"test_tools_of_the_server": 100, "test_cache_folders": 1_000, "test_command_line": 2_000}


def parser(name: str) -> tuple[Callable[[bytes], object], bytes, int]:
    """What an input is handed to, the first input, and how many are tried."""
    if name in BYTES:
        return *BYTES[name], 110_000
    test = getattr(test_fuzzing, name).hypothesis.fuzz_one_input
    return test, random.Random(0).randbytes(LONGEST), SLOW.get(name, 5_000)


def fuzz(name: str, options: list[str]) -> None:
    """Try the inputs of one parser. Atheris ends the process with them."""
    parse, first, number = parser(name)
    logging.disable()
    parse(first)  # imports what is imported late; to instrument it may take over a second

    def one_input(data: bytes) -> None:
        with soon():
            parse(data)

    with tempfile.TemporaryDirectory() as corpus:
        (Path(corpus) / "first").write_bytes(first)
        limits = [f"-atheris_runs={number}", f"-max_len={LONGEST}", "-len_control=0", "-timeout=60"]
        limits.append(f"-artifact_prefix={tempfile.gettempdir()}{os.sep}")
        atheris.Setup([sys.argv[0], *limits, *options, corpus], one_input)
        atheris.Fuzz()


def main() -> int:
    """Try all parsers, in a process each, or the one that is named; further arguments are libFuzzer's."""
    if len(sys.argv) > 1:
        fuzz(sys.argv[1], sys.argv[2:])
    ends = {
        name: subprocess.run([sys.executable, __file__, name], check=False).returncode
        for name in (*BYTES, *TESTS)
    }
    failed = [name for name, status in ends.items() if status]
    print("failed:", ", ".join(failed) or "none")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
