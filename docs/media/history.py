"""A small, made-up history of a person who works with three programs, in the files that these programs write."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zipfile import ZipFile

STEP = timedelta(seconds=40)
"""Between one message and the next."""


def _utc(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@dataclass(frozen=True)
class Session:
    """A conversation: the user speaks first, then in turns."""

    title: str
    at: datetime
    """When it began, in UTC."""
    said: Sequence[str]
    branch: str = "main"

    @property
    def id(self) -> str:
        """The id that the program would have given it."""
        return str(uuid5(NAMESPACE_URL, self.title))

    def lines(self) -> Sequence[tuple[str, str, str, str]]:
        """Return the id, the role, the text and the time of each message."""
        return [
            (
                str(uuid5(NAMESPACE_URL, f"{self.title}/{number}")),
                "user" if number % 2 == 0 else "assistant",
                text,
                f"{self.at + number * STEP:%Y-%m-%dT%H:%M:%S.000Z}",
            )
            for number, text in enumerate(self.said)
        ]


CLAUDE_CODE = [
    Session(
        "Cart totals",
        _utc(2026, 3, 11, 9, 24),
        [
            "Cart totals are a cent off for three items at 0.10. Why?",
            "Cart.total adds floats. Sum Decimals and do the rounding once, at the end.",
        ],
        branch="fix-totals",
    ),
    Session(
        "Deploy",
        _utc(2026, 6, 2, 14, 5),
        [
            "The deploy hangs at the migration. What holds the lock?",
            "A worker keeps its transaction open while it waits for the queue. Close it before you wait.",
            "And if the queue is slow?",
            "Then nothing is locked meanwhile: the next job begins a transaction of its own.",
        ],
    ),
]
CODEX = [
    Session(
        "Invoices",
        _utc(2026, 9, 18, 16, 40),
        [
            "Invoices differ from the cart by a cent again.",
            "The invoice had a sum of its own. It uses Cart.total now: one rounding, in one place.",
        ],
        branch="invoices",
    ),
    Session(
        "Accents",
        _utc(2026, 10, 5, 11, 12),
        [
            "Make the product search ignore accents.",
            "It folds names and queries to NFKD and drops the marks.",
        ],
    ),
]
CHATGPT = [
    Session(
        "Banker's rounding",
        _utc(2026, 1, 20, 20, 31),
        [
            "What is banker's rounding, and is it right for a cart?",
            "It rounds halves to the even neighbour, so that many roundings do not drift.",
        ],
    ),
    Session(
        "Sourdough",
        _utc(2026, 4, 3, 8, 2),
        ["How long does a sourdough rest in the fridge?", "Twelve to eighteen hours at four degrees."],
    ),
]


def write(home: Path) -> None:
    """Write all of it where the programs keep it, in somebody's home folder."""
    work = home / "shop"
    for session in CLAUDE_CODE:
        records = list(_claude_code(session, work))
        _write_lines(home / ".claude" / "projects" / "shop" / f"{session.id}.jsonl", records)
    for session in CODEX:
        day = session.at.strftime("%Y/%m/%d")
        name = f"rollout-{session.at:%Y-%m-%dT%H-%M-%S}-{session.id}.jsonl"
        _write_lines(home / ".codex" / "sessions" / day / name, list(_codex(session, work)))
    export = home / "Downloads" / "chatgpt-export.zip"
    export.parent.mkdir()
    with ZipFile(export, "w") as archive:
        archive.writestr("conversations.json", json.dumps([_chatgpt(session) for session in CHATGPT]))


def _claude_code(session: Session, work: Path) -> Sequence[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = []
    parent: str | None = None
    for own_id, role, text, at in session.lines():
        content: Any = text if role == "user" else [{"type": "text", "text": text}]
        message: dict[str, Any] = {"role": role, "content": content}
        if role == "assistant":
            message |= {"id": f"msg_{own_id[:8]}", "type": "message", "model": "claude-sonnet-5"}
        records.append(
            {
                "parentUuid": parent,
                "isSidechain": False,
                "type": role,
                "message": message,
                "uuid": own_id,
                "timestamp": at,
                "userType": "external",
                "cwd": str(work),
                "sessionId": session.id,
                "version": "2.1.332",
                "gitBranch": session.branch,
            }
        )
        parent = own_id
    return records


def _codex(session: Session, work: Path) -> Sequence[Mapping[str, Any]]:
    lines = session.lines()
    about = {
        "id": session.id,
        "timestamp": lines[0][3],
        "cwd": str(work),
        "originator": "codex_cli_rs",
        "cli_version": "0.171.0",
        "source": "cli",
        "git": {"branch": session.branch},
    }
    records: list[Mapping[str, Any]] = [{"timestamp": lines[0][3], "type": "session_meta", "payload": about}]
    for own_id, role, text, at in lines:
        kind = "input_text" if role == "user" else "output_text"
        message = {"type": "message", "id": own_id, "role": role, "content": [{"type": kind, "text": text}]}
        records.append({"timestamp": at, "type": "response_item", "payload": message})
    return records


def _chatgpt(session: Session) -> Mapping[str, Any]:
    lines = session.lines()
    ids = ["root", *(own_id for own_id, *_ in lines)]
    nodes: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None, "children": ids[1:2]}}
    for number, (own_id, role, text, at) in enumerate(lines, 1):
        message: dict[str, Any] = {
            "id": own_id,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": datetime.fromisoformat(at).timestamp(),
            "content": {"content_type": "text", "parts": [text]},
            "status": "finished_successfully",
            "weight": 1.0,
            "metadata": {"model_slug": "gpt-5"} if role == "assistant" else {},
            "recipient": "all",
        }
        nodes[own_id] = {
            "id": own_id,
            "message": message,
            "parent": ids[number - 1],
            "children": ids[number + 1 : number + 2],
        }
    began, ended = (datetime.fromisoformat(lines[number][3]).timestamp() for number in (0, -1))
    return {
        "title": session.title,
        "create_time": began,
        "update_time": ended,
        "mapping": nodes,
        "current_node": ids[-1],
        "conversation_id": session.id,
        "id": session.id,
    }


def _write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
