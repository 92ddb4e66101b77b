"""A local server that speaks the protocols of vendors of models, for tests without a network.

Its model calls every tool that it is offered once, all of them together. Then it answers with what they gave.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Tool = tuple[str, dict[str, Any]]
"""Its name, and the JSON schema of its arguments, or the arguments of a call."""


class Vendor:
    """The server while it runs."""

    def __enter__(self) -> Vendor:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_BASE": f"{self.url}/v1",
            "OPENAI_API_KEY": "none",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "none",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program that uses it."""
        return {**os.environ, **self.variables, "NO_PROXY": "127.0.0.1", "OTEL_SDK_DISABLED": "false"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a request as the vendor of its path does."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        answer = _ANSWERS[path](request)
        is_streamed = bool(request.get("stream"))
        body = b"".join(_STREAMS[path](answer)) if is_streamed else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if is_streamed else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def sample(schema: dict[str, Any]) -> Any:
    """A value that fits a JSON schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    kind = schema.get("type")
    if kind == "object":
        return {name: sample(each) for name, each in schema.get("properties", {}).items()}
    return {"integer": 1, "number": 1.0, "boolean": True, "array": [], None: "x"}.get(kind, "x")


def _next(offered: list[Tool], called: set[str], results: list[str]) -> list[Tool] | str:
    """The calls of the tools that were not called yet, or the answer."""
    calls = [(name, sample(schema)) for name, schema in offered if name not in called]
    return calls or f"done: {', '.join(results)}"


def _chat(request: dict[str, Any]) -> dict[str, Any]:
    messages = request["messages"]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    results = [_text(message["content"]) for message in messages if message["role"] == "tool"]
    offered = [
        (tool["function"]["name"], tool["function"].get("parameters", {}))
        for tool in request.get("tools", ())
    ]
    decided = _next(offered, {call["function"]["name"] for call in calls}, results)
    message: dict[str, Any] = {"role": "assistant", "content": decided if isinstance(decided, str) else None}
    if not isinstance(decided, str):
        message["tool_calls"] = [
            {
                "id": f"call_{len(calls) + i}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(given)},
            }
            for i, (name, given) in enumerate(decided)
        ]
    reason = "stop" if isinstance(decided, str) else "tool_calls"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def _chat_stream(answer: dict[str, Any]) -> Iterator[bytes]:
    choice = answer["choices"][0]
    message = choice["message"]
    for i, call in enumerate(message.get("tool_calls", ())):
        call["index"] = i
    shared = {**answer, "object": "chat.completion.chunk"}
    usage = shared.pop("usage")
    for delta, reason in ((message, None), ({}, choice["finish_reason"])):
        yield _event({**shared, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    yield _event({**shared, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _messages(request: dict[str, Any]) -> dict[str, Any]:
    blocks = [
        block
        for message in request["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    called = {block["name"] for block in blocks if block["type"] == "tool_use"}
    results = [_text(block.get("content", "")) for block in blocks if block["type"] == "tool_result"]
    offered = [
        (tool["name"], tool["input_schema"])
        for tool in request.get("tools", ())
        if "input_schema" in tool and not tool.get("defer_loading")
    ]
    decided = _next(offered, called, results)
    if isinstance(decided, str):
        content: list[dict[str, Any]] = [{"type": "text", "text": decided}]
    else:
        content = [
            {"type": "tool_use", "id": f"toolu_{len(called) + i}", "name": name, "input": given}
            for i, (name, given) in enumerate(decided)
        ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": "end_turn" if isinstance(decided, str) else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }


def _responses(request: dict[str, Any]) -> dict[str, Any]:
    items = request["input"] if isinstance(request["input"], list) else []
    called = {item["name"] for item in items if item.get("type") == "function_call"}
    results = [_text(item["output"]) for item in items if item.get("type") == "function_call_output"]
    offered = [(tool["name"], tool.get("parameters") or {}) for tool in request.get("tools", ())]
    decided = _next(offered, called, results)
    if isinstance(decided, str):
        text = {"type": "output_text", "text": decided, "annotations": []}
        output: list[dict[str, Any]] = [
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
        ]
    else:
        output = [
            {
                "type": "function_call",
                "id": f"fc_{len(called) + i}",
                "call_id": f"call_{len(called) + i}",
                "status": "completed",
                "name": name,
                "arguments": json.dumps(given),
            }
            for i, (name, given) in enumerate(decided)
        ]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": request["model"],
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.get("tools", []),
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
    }


def _messages_stream(answer: dict[str, Any]) -> Iterator[bytes]:
    blocks, answer = answer["content"], {**answer, "content": []}
    yield _named_event("message_start", message=answer)
    for i, block in enumerate(blocks):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            given = json.dumps(block["input"])
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": given}
        yield _named_event("content_block_start", index=i, content_block=empty)
        yield _named_event("content_block_delta", index=i, delta=delta)
        yield _named_event("content_block_stop", index=i)
    end = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield _named_event("message_delta", delta=end, usage=answer["usage"])
    yield _named_event("message_stop")


def _named_event(name: str, **data: Any) -> bytes:
    return f"event: {name}\n".encode() + _event({"type": name, **data})


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


_ANSWERS = {"/v1/chat/completions": _chat, "/v1/messages": _messages, "/v1/responses": _responses}
_STREAMS = {"/v1/chat/completions": _chat_stream, "/v1/messages": _messages_stream}
