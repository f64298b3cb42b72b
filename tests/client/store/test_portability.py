"""Statements that another engine would take as they are, but for the full-text index and what reads JSON."""

import ast
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import tertulia.store
from tertulia.store import runs
from tertulia.store.database import Store, Transaction, encode
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.store.sqlite.schema import STEPS

FOLDER = Path(tertulia.store.__file__).parent
ONLY_HERE = {
    r"\bIS (NOT )?\?": "IS [NOT] DISTINCT FROM",
    r"\bIS (NOT )?\w+\.\w": "IS [NOT] DISTINCT FROM",
    r"\bifnull\(": "coalesce",
    r"\btotal\(": "coalesce(sum(…), 0)",
    r"\bLIMIT -1\b": "a large number",
    r"\b(max|min)\([^()]*,": "CASE WHEN … THEN … ELSE … END",
    r"\bmax\(\w+ =": "CASE WHEN … THEN 1 ELSE 0 END",
    r"\bCASE WHEN \?\d* THEN": "CASE WHEN ? <> 0 THEN",
    r"ON CONFLICT DO UPDATE": "ON CONFLICT (columns) DO UPDATE",
    r"\bINSERT OR\b": "ON CONFLICT",
    r"\blast_insert_rowid\b|\bstrftime\b|\bGLOB\b": "what both engines have",
}
"""What only SQLite takes, and what both take instead."""


def statements() -> Iterator[tuple[str, str]]:
    """Yield the module and the text of everything in the store that reads like a statement, its parts joined."""
    for module in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                yield module.name, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield module.name, node.value


def test_statements_are_found() -> None:
    """The search below looks at something."""
    assert (
        sum(text.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE")) for _, text in statements())
        > 150
    )


@pytest.mark.parametrize(("construct", "instead"), ONLY_HERE.items())
def test_no_statement_has_what_only_sqlite_takes(construct: str, instead: str) -> None:
    """Where both engines have a form, that is the one."""
    found = [
        (module, text)
        for module, text in statements()
        if re.search(r"\b(SELECT|UPDATE|INSERT|DELETE|FROM|WHERE|SET|ORDER BY)\b", text)
        and re.search(construct, text, re.DOTALL)
    ]
    assert found == [], f"take {instead}"


@pytest.mark.parametrize("word", ["rowid", "MATCH", "bm25", "NEAR", "title_index", "message_index"])
def test_no_statement_is_for_one_full_text_index(word: str) -> None:
    """What an index is asked stands in `store/index`; other tables have a column `number`."""
    assert [(module, text) for module, text in statements() if re.search(rf"\b{word}\b", text)] == []


@pytest.mark.anyio
async def test_a_text_has_no_nul(path: Path) -> None:
    """Some engines end a text there, others refuse it: it is replaced where values are bound, in JSON too."""
    text, data = "a\0b", encode({"a\0": ["\0", "\\u0000", "\\\0"]})
    async with Store(path) as store:
        row = await store.write(lambda tx: tx.one("SELECT ?, ?", text, data))
    assert row == ("a\ufffdb", encode({"a\ufffd": ["\ufffd", "\\u0000", "\\\ufffd"]}))


def ask_twice(tx: Transaction) -> None:
    """Write a run with two requests of the same moment, as version 10 had them."""
    tx.run(
        "INSERT INTO runs (id, principal, conversation_id, status, message_id, call_digest, checkpoint, first_seq,"
        " created_at) VALUES ('run_1', 'local', 'local:one', 'input_required', 'm1', '', '{}', 1, 5)"
    )
    for name in ("req_b", "req_a"):
        tx.run(
            "INSERT INTO requests (id, principal, run_id, conversation_id, kind, prompt, arguments, status, created_at)"
            " VALUES (?, 'local', 'run_1', 'local:one', 'confirmation', '', '{}', 'pending', 5)",
            name,
        )


@pytest.mark.anyio
@pytest.mark.creates
async def test_runs_and_requests_keep_their_order_through_the_upgrade(path: Path) -> None:
    """They had none but the order of their rows."""
    async with Store(path, engine=partial(SqliteEngine, steps=STEPS[:10])) as store:
        await store.write(ask_twice)
    async with Store(path) as store:
        asked = await store.read(partial(runs.requests_of, run_id="run_1"))
    assert [request.id for request in asked] == ["req_b", "req_a"]
