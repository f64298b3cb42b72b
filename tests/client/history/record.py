"""Make the fixtures anew: `python -m tests.client.history.record PROGRAMS INTO` (see fixtures/README.md).

Runs Claude Code, Codex CLI and Gemini CLI, each for a question and another, in a home folder of its own, with a model
on a loopback address that calls the shell once and then answers.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, cast

QUESTIONS = ("What does Acme pay? Look it up.", "And Initech?")
ANSWERS = ("Acme pays 40000 a year, if they sign in January.", "Initech pays 35000.")
COMMAND = "echo 40000 a year"
THOUGHT, LOOK = "I should look it up.", "Let me look."
SECONDS = 120
LONGEST = 300
"""How long a text may be in a fixture: what is longer is the vendors' own."""
HOME = "/home/ana"

Wire = dict[str, Any]
numbers = count(1)


def anthropic(request: Wire) -> Iterator[Wire]:
    """Answer as Anthropic's Messages API does."""
    told = json.dumps(request.get("messages"))
    blocks: list[Wire] = [{"type": "text", "text": answer(told)}]
    if "tool_result" not in told and any(tool.get("name") == "Bash" for tool in request.get("tools", [])):
        call = {"command": COMMAND, "description": "Look the price up"}
        blocks = [
            {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"},
            {"type": "text", "text": LOOK},
            {"type": "tool_use", "id": f"toolu_{next(numbers):04}", "name": "Bash", "input": call},
        ]
    message: Wire = {"id": f"msg_{next(numbers):04}", "type": "message", "role": "assistant", "content": []}
    usage = {"input_tokens": 10, "output_tokens": 20}
    yield {"type": "message_start", "message": {**message, "model": request.get("model"), "usage": usage}}
    for index, block in enumerate(blocks):
        empty: Wire = {"text": "", "thinking": "", "signature": "", "input": {}}
        deltas: Sequence[Wire] = [
            {"type": f"{name}_delta", name: block[name]}
            for name in ("thinking", "signature", "text")
            if name in block
        ] or [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        begun: Wire = {**block, **{name: nothing for name, nothing in empty.items() if name in block}}
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def openai(request: Wire) -> Iterator[Wire]:
    """Answer as OpenAI's Responses API does."""
    told = json.dumps(request.get("input"))
    looking = "function_call_output" not in told
    said: Wire = {"type": "output_text", "text": LOOK if looking else answer(told), "annotations": []}
    items: list[Wire] = [
        {"type": "message", "id": f"msg_{next(numbers)}", "role": "assistant", "content": [said]}
    ]
    if looking:
        thought: Wire = {"type": "reasoning", "id": f"rs_{next(numbers)}", "encrypted_content": "c2VjcmV0"}
        items.insert(0, {**thought, "summary": [{"type": "summary_text", "text": THOUGHT}]})
        call = {"type": "function_call", "id": f"fc_{next(numbers)}", "call_id": f"call_{next(numbers)}"}
        items.append({**call, "name": "exec_command", "arguments": json.dumps({"cmd": COMMAND})})
    response: Wire = {"id": f"resp_{next(numbers)}", "object": "response", "output": []}
    yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
    for index, item in enumerate(items):
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    usage = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    done = {**response, "status": "completed", "output": items, "usage": usage}
    yield {"type": "response.completed", "response": done}


def gemini(request: Wire) -> Iterator[Wire]:
    """Answer as Gemini's streamGenerateContent does."""
    told = json.dumps(request.get("contents"))
    parts: list[Wire] = [{"text": answer(told)}]
    if "run_shell_command" in json.dumps(request.get("tools")) and "functionResponse" not in told:
        call = {"name": "run_shell_command", "args": {"command": COMMAND, "description": "Look the price up"}}
        parts = [{"text": THOUGHT, "thought": True}, {"text": LOOK}, {"functionCall": call}]
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 30}
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    yield {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "scripted"}


def answer(told: str) -> str:
    """Return the answer to the last question."""
    return ANSWERS[QUESTIONS[1] in told]


class Model(BaseHTTPRequestHandler):
    """The scripted model, over all three wires."""

    def do_POST(self) -> None:
        """Answer in events."""
        request = cast(Wire, json.loads(self.rfile.read(int(self.headers["content-length"] or 0)) or b"{}"))
        speak = gemini if "enerateContent" in self.path else openai if "responses" in self.path else anthropic
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in speak(request):
            named = f"event: {event['type']}\n" if "type" in event else ""
            self.wfile.write(f"{named}data: {json.dumps(event)}\n\n".encode())

    def do_GET(self) -> None:
        """Know of no models but the one that is asked for."""
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Leave the terminal to the programs."""


def shortened(value: Any) -> Any:
    """Return a record without what is the vendors' own, and long."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:60]} […]"
    if isinstance(value, list):
        items = cast(list[Any], value)
        return [shortened(item) for item in (items if len(items) <= 12 else items[:2])]
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in cast(dict[str, Any], value).items()}
    return value


def record(programs: Path, into: Path, home: Path, model: str) -> None:
    """Run the programs, and write what each has kept of its session."""
    project = home / "project"
    project.mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(project)], check=True)
    (home / ".codex").mkdir()
    provider = (
        f'name = "scripted"\nbase_url = "{model}/v1"\nenv_key = "SCRIPTED_KEY"\nwire_api = "responses"\n'
    )
    (home / ".codex" / "config.toml").write_text(
        f'model = "gpt-5.5-scripted"\nmodel_provider = "scripted"\n[model_providers.scripted]\n{provider}'
    )
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text(
        '{"security": {"auth": {"selectedType": "gemini-api-key"}}}'
    )
    claude = ["claude", "--model", "claude-sonnet-4-5", "--allowedTools", "Bash(echo:*)", "--print"]
    codex = ["codex", "exec", "--dangerously-bypass-approvals-and-sandbox"]
    google = ["gemini", "--yolo", "--model", "gemini-2.5-pro"]
    first, second = QUESTIONS
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": model,
        "ANTHROPIC_API_KEY": "scripted",
        "SCRIPTED_KEY": "scripted",
        "GOOGLE_GEMINI_BASE_URL": model,
        "GEMINI_API_KEY": "scripted",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    for program, *arguments in (
        [*claude, first],
        [*claude, "--continue", second],
        [*codex, first],
        [*codex, "resume", "--last", second],
        [*google, "--prompt", first],
        [*google, "--resume", "latest", "--prompt", second],
    ):
        command = [str(programs / program), *arguments]
        subprocess.run(
            command, cwd=project, env=environment, stdin=subprocess.DEVNULL, timeout=SECONDS, check=True
        )
    kept = {"claude-code": ".claude/projects", "codex": ".codex/sessions", "gemini-cli": ".gemini/tmp"}
    for name, folder in kept.items():
        # Gemini CLI resumes a session in another file, with all of it, when the minute has changed.
        session = max((home / folder).rglob("*.jsonl"))
        records = (json.loads(line) for line in session.read_text("utf-8").splitlines() if line.strip())
        lines = (json.dumps(shortened(each), ensure_ascii=False, separators=(",", ":")) for each in records)
        (into / f"{name}.jsonl").write_text(
            "".join(f"{line}\n" for line in lines).replace(str(home), HOME), "utf-8"
        )


def main(programs: str, into: str) -> None:
    """Record all three."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        Path(into).mkdir(parents=True, exist_ok=True)
        model = f"http://127.0.0.1:{server.server_address[1]}"
        record(Path(programs).absolute(), Path(into), Path(home), model)
    server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
