"""Following the tasks of each loop, from its first span on."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from codoperf_otel._workers import tasks


class TaskFollower(SpanProcessor):
    """Sees to it, where a span starts in a loop of asyncio's, that its tasks are followed."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Follow the tasks of the loop that runs here."""
        tasks.follow_running_loop()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is held back. Older SDKs take None for a failure, and flush no processor after it."""
        return True
