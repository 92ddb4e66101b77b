"""An agent with a cached tool and a lazy import; its telemetry goes where the OTEL_* variables say.

    python examples/research_agent.py
    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 python examples/research_agent.py

Without an endpoint it writes to ./research-agent, which ``codoperf view research-agent`` shows.
"""

import asyncio
import os

import codoperf_otel
from codoperf_otel import agent, cached_function, lazy_import, monitor_performance, performance_context, tool

statistics = lazy_import("statistics")


@monitor_performance
def words(text: str) -> list[str]:
    return text.split()


@tool("search")
@cached_function(ttl=600)
def search(query: str) -> list[str]:
    return words(query) * 1000


@agent("researcher")
async def research(question: str) -> float:
    async with performance_context("rank", results=1000):
        found = search(question)
        await asyncio.sleep(0.01)
        return statistics.mean(len(word) for word in found)


def main() -> None:
    sends = "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ
    with codoperf_otel.configure("research-agent", file=None if sends else "research-agent"):
        for _ in range(2):
            print(asyncio.run(research("which tool used the memory")))


if __name__ == "__main__":
    main()
