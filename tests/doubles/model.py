"""A model on loopback that answers by a script, so that real agent programs run without an account.

It speaks the wires of three vendors: Anthropic's Messages, OpenAI's Responses, Gemini's generateContent. Which turns it
plays is told by the last `#name` in a user's text, and the turn by the number of its answers since. As a program:
`model.py`; it prints its port.
"""

import json
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

SHELLS = frozenset({"Bash", "run_shell_command", "exec_command", "shell", "shell_command"})
"""What the agents call the tool that runs a command."""
WRITE = "echo hi > a.txt"
ADD = "def add(a, b): return a - b"
REMOVE = "rm a.txt"
ARCHIVIST = "local:archivist"
HOST: Sequence[Mapping[str, Any]] = [
    {
        "text": "I keep it.",
        "call": "send_message",
        "with": {"agent": ARCHIVIST, "text": "remember: Acme keeps 40,000 a year."},
    },
    {
        "text": "I ask for a title.",
        "call": "send_message",
        "with": {"agent": ARCHIVIST, "text": 'retitle this to "Renewals"'},
    },
    {"text": "I approve.", "call": "confirm_tool", "with": {"request_id": "$request", "decision": "approve"}},
    {"text": "I search.", "call": "search_conversations", "with": {"query": "Acme"}},
    {"text": "I ask nobody.", "call": "send_message", "with": {"agent": "local:nobody", "text": "Hello?"}},
    {"text": "That is all."},
]
"""What a host's model does with our server: a note, a change to approve, a search, and an error."""
SCRIPT: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "hello": [{"text": "Hello from the scripted model."}],
    "write": [{"text": "I will run a command.", "run": WRITE}, {"text": "The file is written."}],
    "deny": [{"text": "I will delete it.", "run": REMOVE}, {"text": "You refused, so I leave it."}],
    "slow": [{"text": " ".join(f"number {number}" for number in range(100)), "pause": 0.1}],
    "fail": [{"status": 400}],
    "again": [{"text": "I still remember."}],
    "opinion": [
        {
            "text": "I ask Codex.",
            "call": "send_message",
            "with": {"agent": "codex:agent", "text": f"Is this right? {ADD} #review"},
        },
        {"text": "Codex found it: add subtracts. I agree."},
    ],
    "review": [{"text": "No: add subtracts, it returns a - b."}],
    "other_opinion": [
        {
            "text": "I ask Claude.",
            "call": "send_message",
            "with": {"agent": "claude:agent", "text": f"Is this right? {ADD} #review"},
        },
        {"text": "Claude found it: add subtracts. I agree."},
    ],
    "delegate": [
        {
            "text": "I hand this over to Codex.",
            "call": "send_message",
            "with": {"agent": "codex:agent", "text": "Write hi into a.txt. #write", "wait_seconds": 10},
        },
        {"text": "Codex has it, and waits for your decision. Ask me again when you have made it."},
    ],
    "return": [
        {
            "text": "I ask Codex what became of it.",
            "call": "send_message",
            "with": {"conversation_id": "$codex", "text": "Is it done? #done"},
        },
        {"text": "Codex has written a.txt."},
    ],
    "done": [{"text": "Yes, a.txt is written."}],
    "ready": [{"text": "I look.", "call": "list_agents", "with": {}}, {"text": "I am ready."}],
    "propose": [{"text": "a.txt is not used any more: delete it."}],
    "agree": [{"text": "Then it stays."}],
    "host": HOST,
    # Claude Code shows its model most tools by name only.
    "host_that_searches": [
        {
            "text": "I look for tools.",
            "call": "ToolSearch",
            "with": {"query": "select:mcp__tertulia__search_conversations,mcp__tertulia__confirm_tool"},
        },
        *HOST,
    ],
}
CHOICE = {
    "reasoning": "It is simple.",
    "model_choice": "flash",
    "complexity_reasoning": "It is simple.",
    "complexity_score": 1,
    "next_speaker": "user",
}
"""What Gemini CLI is told when it asks which model is to answer."""
_OURS = frozenset({"function_call", "custom_tool_call", "reasoning", "local_shell_call"})
Turn = Mapping[str, Any]


def new_id(prefix: str) -> str:
    """Return an id as the vendors write them."""
    return f"{prefix}_{uuid.uuid4().hex[:22]}"


def texts(value: Any) -> str:
    """Return the text in a message, without what tools returned."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(texts, cast("list[Any]", value)))
    if not isinstance(value, dict):
        return ""
    fields = cast("dict[str, Any]", value)
    if fields.get("type") in {"tool_result", "function_call_output"}:
        return ""
    return texts(fields.get("text") or fields.get("content") or fields.get("parts") or "")


def turn_of(said: Sequence[tuple[bool, str]], *, with_tools: bool) -> Turn:
    """Return the turn to play, after messages of the user's (True) and the model's."""
    turns: Sequence[Turn] = [{"text": "ok"}]
    answers = 0
    for is_users, text in said:
        named = [name for name in re.findall(r"#(\w+)", text) if name in SCRIPT] if is_users else []
        if named:
            turns, answers = SCRIPT[named[-1]], 0
        elif not is_users:
            answers += 1
    if not with_tools:
        return {"text": "ok"}
    return turns[answers] if answers < len(turns) else {"text": "Done."}


def call_of(
    turn: Turn, tools: Mapping[str, Mapping[str, Any]], said: str
) -> tuple[str, dict[str, Any]] | None:
    """Return the tool that a turn calls and its arguments, as far as the tool takes them.

    An argument `$NAME` is the last conversation of the instance NAME in `said`, which is all that was said until then;
    `$request` is the last request.
    """
    if "call" in turn:
        name = next((name for name in tools if re.search(rf"(^|_|/){turn['call']}$", name)), None)
        if name is None:  # the agent has not started its server yet
            return None
        return name, {key: _filled(value, said) for key, value in turn["with"].items()}
    if "run" not in turn:
        return None
    name = next((name for name in tools if name in SHELLS), None)
    assert name is not None, f"no shell is among {', '.join(tools)}"
    given = {
        "command": turn["run"],
        "cmd": turn["run"],
        "description": "Runs it",
        "sandbox_permissions": "require_escalated",
        "justification": "needs to",
    }
    return name, {key: value for key, value in given.items() if key in tools[name]}


def _filled(value: Any, said: str) -> Any:
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value == "$request":
        return re.findall(r"\breq_[0-9a-z]{16}\b", said)[-1]
    return re.findall(rf"\b{value[1:]}:[0-9a-z]{{10}}\b", said)[-1]


def pieces(turn: Turn) -> Iterator[str]:
    """Yield the words of a turn, as slowly as it says."""
    for word in re.findall(r"\S+\s*", turn.get("text", "")):
        yield word
        time.sleep(turn.get("pause", 0))


class Handler(BaseHTTPRequestHandler):
    """Answers on the three wires."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """List one model."""
        self._json({"object": "list", "data": [{"id": "scripted", "object": "model"}], "models": []})

    def do_HEAD(self) -> None:
        """Be there."""
        self._json({})

    def do_POST(self) -> None:
        """Play a turn."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        try:
            if path.endswith("/count_tokens"):
                self._json({"input_tokens": 100})
            elif path.endswith("countTokens"):
                self._json({"totalTokens": 100})
            elif path.endswith("/messages"):
                self._anthropic(body)
            elif path.endswith("/responses"):
                self._responses(body)
            elif path.lower().endswith("generatecontent"):
                self._gemini(body, stream="stream" in path)
            else:
                self._json({"error": {"message": "no such call"}}, 404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _anthropic(self, body: Mapping[str, Any]) -> None:
        tools = {
            one["name"]: one.get("input_schema", {}).get("properties", {}) for one in body.get("tools", ())
        }
        said = [
            (one["role"] == "user", texts(one["content"]))
            for one in body["messages"]
            if one["role"] in {"user", "assistant"}
        ]
        turn = turn_of(said, with_tools=bool(tools))
        if self._fails(turn):
            return
        call = call_of(turn, tools, json.dumps(body["messages"]))
        usage = {"input_tokens": 100, "output_tokens": 10}
        message = {"id": new_id("msg"), "type": "message", "role": "assistant", "model": body.get("model")}
        stop = "end_turn" if call is None else "tool_use"
        text = {"type": "text", "text": turn.get("text", "")}
        used = None if call is None else {"type": "tool_use", "id": new_id("toolu"), "name": call[0]}
        if not body.get("stream"):
            content = [text] if call is None or used is None else [text, {**used, "input": call[1]}]
            self._json({**message, "content": content, "stop_reason": stop, "usage": usage})
            return
        self._begin_stream()
        self._event("message_start", message={**message, "content": [], "stop_reason": None, "usage": usage})
        self._event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for word in pieces(turn):
            self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
        self._event("content_block_stop", index=0)
        if call is not None and used is not None:
            self._event("content_block_start", index=1, content_block={**used, "input": {}})
            arguments = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
            self._event("content_block_delta", index=1, delta=arguments)
            self._event("content_block_stop", index=1)
        self._event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=usage)
        self._event("message_stop")

    def _responses(self, body: Mapping[str, Any]) -> None:
        said: list[tuple[bool, str]] = []
        before = False
        for one in cast("list[dict[str, Any]]", body.get("input") or []):
            ours = one.get("type") in _OURS or one.get("role") == "assistant"
            if ours and not before:
                said.append((False, ""))
            elif one.get("role") == "user":
                said.append((True, texts(one.get("content"))))
            before = ours
        tools: dict[str, Any] = {}
        for tool in cast("list[dict[str, Any]]", body.get("tools") or []):
            within = f"{tool['name']}/" if tool.get("type") == "namespace" else ""
            for one in cast("list[dict[str, Any]]", tool.get("tools") or [tool]):
                tools[within + one.get("name", "")] = one.get("parameters", {}).get("properties", {})
        turn = turn_of(said, with_tools=bool(tools))
        if self._fails(turn):
            return
        call = call_of(turn, tools, json.dumps(body.get("input")))
        content: list[Any] = [{"type": "output_text", "text": turn.get("text", ""), "annotations": []}]
        items: list[dict[str, Any]] = [
            {
                "type": "message",
                "role": "assistant",
                "id": new_id("msg"),
                "status": "completed",
                "content": content,
            }
        ]
        if call is not None:
            namespace, slash, name = call[0].rpartition("/")
            called = {"call_id": new_id("call"), "name": name, "arguments": json.dumps(call[1])}
            called |= {"namespace": namespace} if slash else {}
            items.append({"type": "function_call", "id": new_id("fc"), "status": "completed", **called})
        response = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed",
            "model": body.get("model"),
            "output": items,
            "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110},
        }
        self._begin_stream()
        self._event("response.created", response={**response, "status": "in_progress", "output": []})
        for index, item in enumerate(items):
            begun: dict[str, Any] = {
                **item,
                "status": "in_progress",
                **({"content": []} if index == 0 else {}),
            }
            self._event("response.output_item.added", output_index=index, item=begun)
            for word in pieces(turn) if index == 0 else ():
                where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
                self._event("response.output_text.delta", **where, delta=word)
            self._event("response.output_item.done", output_index=index, item=item)
        self._event("response.completed", response=response)

    def _gemini(self, body: Mapping[str, Any], *, stream: bool) -> None:
        tools: dict[str, Any] = {}
        for tool in cast("list[dict[str, Any]]", body.get("tools") or []):
            for one in cast("list[dict[str, Any]]", tool.get("functionDeclarations") or []):
                schema: Any = one.get("parametersJsonSchema") or one.get("parameters") or {}
                tools[one["name"]] = schema.get("properties", {})
        said = [
            (one.get("role") != "model", texts([part for part in one.get("parts", ()) if "text" in part]))
            for one in cast("list[dict[str, Any]]", body.get("contents") or [])
        ]
        turn = turn_of(said, with_tools=bool(tools))
        wanted: Any = body.get("generationConfig") or {}
        if not tools and ("responseJsonSchema" in wanted or "responseSchema" in wanted):
            turn = {"text": json.dumps(CHOICE)}
        if self._fails(turn):
            return
        call = call_of(turn, tools, json.dumps(body.get("contents")))
        last = [{"text": ""}] if call is None else [{"functionCall": {"name": call[0], "args": call[1]}}]
        if not stream:
            self._json(_candidate([{"text": turn.get("text", "")}, *last], end=True))
            return
        self._begin_stream()
        for word in pieces(turn):
            self._data(_candidate([{"text": word}]))
        self._data(_candidate(last, end=True))

    def _fails(self, turn: Turn) -> bool:
        if "status" in turn:
            error = {"type": "api_error", "code": turn["status"], "message": "scripted error"}
            self._json({"type": "error", "error": error}, turn["status"])
        return "status" in turn

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def _event(self, name: str, **fields: Any) -> None:
        self.wfile.write(f"event: {name}\n".encode())
        self._data({"type": name, **fields})

    def _data(self, value: Any) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()


def _candidate(parts: Sequence[Any], *, end: bool = False) -> dict[str, Any]:
    finish = {"finishReason": "STOP"} if end else {}
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **finish}],
        "usageMetadata": usage,
        "modelVersion": "scripted",
        "responseId": new_id("r"),
    }


class Server(ThreadingHTTPServer):
    """Ends without waiting for streams that nobody reads."""

    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
