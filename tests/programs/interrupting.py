"""What programs that interrupt monitored code share."""

import dis
import functools
import sys
from pathlib import Path

import opentelemetry.context
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import codoperf_otel

PACKAGE = str(Path(codoperf_otel.__file__).parent)
CONTEXT = str(Path(opentelemetry.context.__file__).parent)
OPENTELEMETRY = str(Path(CONTEXT).parent)


class Discard(SpanExporter):
    """Takes all spans."""

    def export(self, spans):
        return SpanExportResult.SUCCESS


class Places:
    """Acts at each place of the code below some folders, once per place: a bytecode of a function.

    With `for_signals`, only where Python runs signal handlers: after calls, at the start of a function or of
    its next segment, and where a loop goes round. Finalizers may run anywhere.
    """

    def __init__(self, act, *folders, for_signals=False):
        self.act = act
        self.folders = folders
        self.for_signals = for_signals
        self.seen = set()
        self.last = None
        self.most = 0

    def run(self, work, most=1 << 30):
        """Run it, and act at new places: at so many at most."""
        self.most = most
        self._before = {}
        sys._getframe().f_trace_opcodes = True  # before `settrace`: Python 3.12 looks only there
        sys.settrace(self._trace)
        try:
            work()
        finally:
            sys.settrace(None)
            self._before = {}  # frames that are kept would keep what they have

    def _trace(self, frame, event, _):
        code = frame.f_code
        if not code.co_filename.startswith(self.folders):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._before[frame] = next((at for at in resumes(code) if at >= frame.f_lasti), None)
        return self._step

    def _step(self, frame, event, _):
        if event == "exception":  # where a call has raised, Python runs no handler
            self._before[frame] = None
        if event != "opcode":
            return self._step
        code, at = frame.f_code, frame.f_lasti
        before, self._before[frame] = self._before.get(frame), at
        if self.for_signals and (before not in ends_of_calls(code) or is_left(code, before, at)):
            return self._step
        if self.most > 0 and (code, at) not in self.seen:
            self.most -= 1
            self.seen.add((code, at))
            self.last = f"{Path(code.co_filename).stem}.{code.co_name}:{frame.f_lineno}+{at}"
            self.act()
        return self._step


def is_left(code, before, at):
    """Whether a call was the last in its `try` or `with`: what a handler raises after it is still inside."""
    return handler_of(code, before) != handler_of(code, at)


@functools.cache
def handler_of(code, at):
    """Where an exception at that offset is handled."""
    return next((each.target for each in handled(code) if each.start <= at < each.end), None)


handled = functools.cache(dis._parse_exception_table)
SIGNALS_AFTER = {"JUMP_BACKWARD", "CALL", "CALL_KW", "CALL_FUNCTION_EX"}


@functools.cache
def ends_of_calls(code):
    """The offsets of the instructions after which signal handlers run; not where an `await` goes on."""
    return {
        each.offset
        for each in dis.get_instructions(code)
        if each.opname in SIGNALS_AFTER or (each.opname == "RESUME" and each.arg & 3 < 2)
    }


@functools.cache
def resumes(code):
    """The offsets at which a function or its next segment begins."""
    return [each.offset for each in dis.get_instructions(code) if each.opname == "RESUME"]
