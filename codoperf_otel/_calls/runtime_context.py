"""What attaches the OpenTelemetry Context and reads it, without the detour by the API's functions.

These only hand on to the runtime context, and that to a variable. Each step takes longer than what the
variable does itself.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from opentelemetry import context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


class Runtime:
    """Attaches a Context and returns the current one.

    These are the methods of the runtime context's variable; of another kind of runtime context, its own.
    """

    __slots__ = ("attach", "get_current")

    def __init__(self) -> None:
        found: Any = getattr(context, "_RUNTIME_CONTEXT", context)
        variable = getattr(found, "_current_context", None)
        if type(found) is ContextVarsRuntimeContext and type(variable) is ContextVar:
            self.attach, self.get_current = variable.set, variable.get
        else:
            self.attach, self.get_current = found.attach, found.get_current

    def __reduce__(self) -> str:
        """A decorated function goes to another process, which has its own."""
        return "runtime"


runtime = Runtime()
