"""Small transcripts, as programs write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]


def lines_of(file: Path, *records: Record) -> Path:
    """Write records into a file of lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return file


def array_of(file: Path, *records: Record) -> Path:
    """Write records into a file as an array."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(records), "utf-8")
    return file


def claude_entry(number: int, content: object, kind: str = "user", **fields: Any) -> Record:
    """Return an entry of a session of Claude Code."""
    message = {"role": kind, "content": content}
    return {
        "type": kind,
        "sessionId": "s1",
        "uuid": f"u{number}",
        "timestamp": f"2026-11-01T10:{number // 60:02}:{number % 60:02}Z",
        "message": message if kind == "user" else {**message, "model": "claude-sonnet-5"},
        **fields,
    }


def codex_rollout(session: str, *said: tuple[str, str], start: int = 0, **meta: Any) -> Sequence[Record]:
    """Return the lines of a rollout of Codex: who said what, a second apart."""
    head = {"id": session, "timestamp": "2026-02-03T04:05:00Z", "cwd": "/home/ana", **meta}
    return [
        {"timestamp": moment(start), "type": "session_meta", "payload": head},
        *(
            {
                "timestamp": moment(start + number),
                "type": "response_item",
                "payload": {
                    "type": "message",
                    "role": role,
                    "content": [{"type": "input_text", "text": text}],
                },
            }
            for number, (role, text) in enumerate(said, 1)
        ),
    ]


def moment(second: int) -> str:
    """Return a time of one minute."""
    return f"2026-02-03T04:05:{second:02}Z"


def chatgpt(
    ref: str | None, nodes: Mapping[str, tuple[str | None, str, str]], leaf: str, **fields: Any
) -> Record:
    """Return a conversation of ChatGPT: of each node its parent, who speaks, and what is said."""
    mapping: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None}}
    for number, (name, (parent, role, said)) in enumerate(nodes.items()):
        message = {
            "id": name,
            "author": {"role": role},
            "create_time": 1_790_000_000 + number,
            "content": {"content_type": "text", "parts": [said]},
            "metadata": {},
            "recipient": "all",
        }
        mapping[name] = {"id": name, "message": message, "parent": parent or "root"}
    about: dict[str, Any] = {"title": "T", "create_time": 1_790_000_000, "mapping": mapping}
    if ref is not None:
        about["conversation_id"] = ref
    return {**about, "current_node": leaf, **fields}
