"""The databases of OpenCode and Cursor, made as these programs make them."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.client.history.bringing import Bringing
from tests.client.history.samples import SAMPLES

pytestmark = pytest.mark.anyio

OPENCODE = """
CREATE TABLE session (id text PRIMARY KEY, project_id text NOT NULL, parent_id text, slug text, directory text NOT NULL,
    title text NOT NULL, version text NOT NULL, time_created integer NOT NULL, time_updated integer NOT NULL);
CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL, time_created integer NOT NULL,
    time_updated integer NOT NULL, data text NOT NULL);
CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
    time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
"""
CURSOR = """
CREATE TABLE ItemTable (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB);
CREATE TABLE cursorDiskKV (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB);
INSERT INTO ItemTable VALUES ('cursorAuth/accessToken', 'never-read-this');
"""


def without(record: dict[str, Any], *names: str) -> str:
    """Return a record as JSON, without the fields that have columns of their own."""
    return json.dumps({name: value for name, value in record.items() if name not in names})


def opencode(path: Path) -> None:
    """Write the sample of `opencode export` as OpenCode keeps it, still in the log beside the database."""
    record: Any = json.loads(json.dumps(SAMPLES["opencode"].records[0]))
    info = record["info"]
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(OPENCODE)
    at = info["time"]["created"]
    row = (info["id"], "p", None, "s", info["directory"], info["title"], "1.2", at, at)
    connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    for message in record["messages"]:
        told = message["info"]
        row = (told["id"], info["id"], at, at, without(told, "id", "sessionID"))
        connection.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
        for part in message["parts"]:
            row = (part["id"], told["id"], info["id"], at, at, without(part, "id"))
            connection.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()


def cursor(path: Path, rows: Iterable[tuple[str, object]]) -> None:
    """Write Cursor's database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(CURSOR)
        packed = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in rows]
        connection.executemany("INSERT INTO cursorDiskKV VALUES (?, ?)", packed)
        connection.commit()


COMPOSER = {
    "_v": 10,
    "composerId": "c-1",
    "name": "Mend the cart",
    "createdAt": 1_760_000_000_000,
    "modelConfig": {"modelName": "claude-4.5-sonnet"},
    "createdOnBranch": "fix/cart",
    "workspaceIdentifier": {"uri": {"fsPath": "/home/ana/shop"}},
    "fullConversationHeadersOnly": [{"bubbleId": name, "type": 1} for name in ("b", "a", "gone", "c")],
}
CALL = {
    "toolCallId": "t1",
    "name": "read_file",
    "rawArgs": '{"path": "cart.py"}',
    "result": "x = 1",
    "status": "completed",
}
BUBBLES: list[tuple[str, object]] = [
    ("composerData:c-1", COMPOSER),
    ("bubbleId:c-1:a", {"type": 2, "text": "", "thinking": {"text": "Hm"}, "toolFormerData": CALL}),
    ("bubbleId:c-1:b", {"type": 1, "text": "Why is it wrong?", "createdAt": "2026-11-01T10:00:00Z"}),
    ("bubbleId:c-1:c", {"type": 2, "text": "It rounds twice.", "createdAt": "2026-11-01T10:00:09Z"}),
    ("bubbleId:c-10:d", {"type": 1, "text": "Of another conversation"}),
    ("composerData:empty", {"composerId": "empty", "fullConversationHeadersOnly": []}),
    ("composerData:null", "null"),
]


async def test_opencode_is_read_as_it_exports(here: Bringing, tmp_path: Path) -> None:
    """The same conversation comes in once, from either."""
    sample = SAMPLES["opencode"]
    opencode(tmp_path / "opencode.db")
    (tmp_path / "session.json").write_text(json.dumps(sample.records[0]), "utf-8")

    first = await here.bring(tmp_path / "opencode.db")
    again = await here.bring(tmp_path)

    conversation, messages = await here.only()
    assert [(each.role, each.type, each.text) for each in messages] == sample.said
    assert (conversation.source_ref, conversation.title) == (sample.ref, sample.title)
    assert conversation.metadata["folder"] == "/p"
    assert (first.new, again.messages, here.problems) == (1, 0, [])


async def test_cursors_conversations_are_read_in_their_order(here: Bringing, tmp_path: Path) -> None:
    """With calls of tools, the folder, the branch and the model; nothing else of its database is."""
    cursor(tmp_path / "state.vscdb", BUBBLES)

    summary = await here.bring(tmp_path)

    conversation, messages = await here.only()
    assert [(each.role, each.type, each.text) for each in messages] == [
        ("user", None, "Why is it wrong?"),
        ("tool", "tool_call", 'read_file {"path": "cart.py"}'),
        ("tool", "tool_result", "x = 1"),
        ("assistant", None, "It rounds twice."),
    ]
    assert conversation.title == "Mend the cart"
    assert conversation.metadata == {
        "file": str(tmp_path / "state.vscdb"),
        "folder": "/home/ana/shop",
        "git_branch": "fix/cart",
        "model": "claude-4.5-sonnet",
    }
    assert summary.left_out == {"reasoning": 1}
    assert here.problems == []
    assert "never-read-this" not in await here.export()


async def test_other_databases_are_told(here: Bringing, tmp_path: Path) -> None:
    """One that was named by what it is, a damaged one by its fault."""
    with closing(sqlite3.connect(tmp_path / "songs.db")) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    (tmp_path / "opencode.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)

    await here.bring(tmp_path / "songs.db")
    summary = await here.bring(tmp_path)

    assert here.problems[0] == f"{tmp_path / 'songs.db'}: it is a SQLite database, which is not read"
    assert here.problems[1].startswith(f"{tmp_path / 'opencode.db'}: its database cannot be read: ")
    assert summary.passed_by == {".db files": 1}
