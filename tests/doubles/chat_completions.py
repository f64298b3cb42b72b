"""A server that speaks OpenAI's Chat Completions, as LM Studio, vLLM, llama.cpp and Ollama do, and answers by a script.

The wire is that of OpenAI's API reference; pydantic-ai's adapter, with OpenAI's own client in it, reads it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.network import App, Receive, Scope, Send

MODEL = "scripted"
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the model says to one request: a thought, a text in its words, calls of tools."""

    text: str = ""
    thought: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    ids: Sequence[str] = ()
    """The ids of the calls; `call_0` and so on where none are given, as some servers have them in every turn."""


Body = Mapping[str, Any]
Turns = list[Turn | Callable[[Body], Turn]]
"""Turns in order; a function makes one of the body of the request."""


@dataclass
class ChatCompletions:
    """The server: it plays a turn for each request, in order."""

    turns: Turns = field(default_factory=Turns)
    requests: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    """The bodies that it was sent."""
    keys: list[str] = field(default_factory=list[str])
    """The keys that it was sent."""

    @property
    def app(self) -> App:
        """What answers requests."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.keys.append(headers.get("authorization", "").removeprefix("Bearer "))
        if scope["path"].endswith("/models"):
            listed = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
            await _send(send, json.dumps(listed).encode(), b"application/json")
            return
        self.requests.append(json.loads(body))
        made = self.turns.pop(0)
        turn = made if isinstance(made, Turn) else made(self.requests[-1])
        if not self.requests[-1].get("stream"):
            await _send(send, json.dumps(_whole(turn)).encode(), b"application/json")
            return
        chunks = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(turn))
        await _send(send, f"{chunks}data: [DONE]\n\n".encode(), b"text/event-stream")


async def _send(send: Send, body: bytes, type: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", type)]})
    await send({"type": "http.response.body", "body": body})


def _whole(turn: Turn) -> dict[str, Any]:
    calls = [
        {
            "id": turn.ids[index] if turn.ids else f"call_{index}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for index, (name, arguments) in enumerate(turn.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    message |= {"tool_calls": calls} if calls else {}
    reason = "tool_calls" if calls else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_795_857_494,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": USAGE,
    }


def _chunks(turn: Turn) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": f"{word} "} for word in turn.thought.split()]
    words = turn.text.split()
    deltas += [
        {"content": word if last else f"{word} "} for word, last in zip(words, _is_last(words), strict=True)
    ]
    for index, (name, arguments) in enumerate(turn.calls):
        call = {
            "index": index,
            "id": turn.ids[index] if turn.ids else f"call_{index}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        deltas.append({"tool_calls": [call]})
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_795_857_494, "model": MODEL}
    chunks: list[dict[str, Any]] = [
        {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    reason = "tool_calls" if turn.calls else "stop"
    chunks.append({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return [*chunks, {**common, "choices": [], "usage": USAGE}]


def _is_last(words: Sequence[str]) -> list[bool]:
    return [number == len(words) - 1 for number in range(len(words))]
