"""Every statement reads and changes the rows of one principal only, but for those that a reason stands beside."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import tertulia
from tertulia.store.postgres import schema as postgres
from tertulia.store.sqlite import schema as sqlite

ROOT = Path(tertulia.__file__).parent
_METHODS = {"run", "changed", "one", "all", "execute", "executemany"}
_PREDICATE = re.compile(r"\bprincipal = \?")
_UNKNOWN = re.compile(r"\{")
_CREATED = re.compile(r"CREATE (VIRTUAL TABLE|TABLE|VIEW) (\w+)(.*?);", re.DOTALL)
_INSERTS = re.compile(r"INSERT INTO (\w+)")

BY_ID = "The caller has read the run or request under its principal; its id is ours, and the primary key."
BOUND = "The condition is composed elsewhere, and begins with the principal."
OWN = "The positions or numbers were found under the principal."
INDEX = (
    "The index has the words of all; what it yields is joined with the principal's rows before it is shown."
)
FILE = "It is about the whole file, and its result says nothing of anybody's rows."
PASSED = "It passes on a statement, which is looked at where it is written."

REASONS: Mapping[str, str] = {
    "platforms/local/idle.py _any_due": "Idle conversations end by themselves, whosesoever they are.",
    "platforms/local/idle.py _end_some": "As above; each is ended under its own principal.",
    "store/analytics.py _tool_calls": BOUND,
    "store/analytics.py _row": PASSED,
    "store/sqlite/backup.py _checked": FILE,
    "store/sqlite/backup.py count": FILE,
    "store/separation.py separate": "A copy has no living process: nobody holds a lease.",
    **{
        f"store/{place}": "A whole store is copied, whosesoever its rows are."
        for place in (
            "copy.py _count",
            "copy.py target_is_empty",
            "copy.py fill_target",
            "sqlite/copy.py rows",
            "sqlite/copy.py fill",
            "postgres/copy.py finish",
            "postgres/copy.py _read",
            "postgres/copy.py _drop_indexes",
        )
    },
    "store/sqlite/connections.py transaction": PASSED,
    "store/sqlite/connections.py pragma": PASSED,
    "store/conversations.py nobodys": "Who has lost the answer to a creation must not take what is another's for it.",
    "store/conversations.py _insert": "A number is free if no conversation at all has it.",
    "store/creations.py claimed_by_another": "As above.",
    "store/creations.py has_title_of_another": "As above.",
    "store/creations.py under_way": "As above.",
    "store/conversation_pages.py _rows": BOUND,
    "store/conversation_pages.py _count": BOUND,
    "store/conversation_pages.py _in_order_of": BOUND,
    "store/conversation_pages.py _by_month": BOUND,
    "store/conversation_pages.py _at": OWN,
    "store/database.py _execute": PASSED,
    "store/sqlite/erasure.py _merge": FILE,
    "store/sqlite/erasure.py _set_secure": FILE,
    "store/extracts.py texts": OWN,
    "store/sqlite/health.py examine": FILE,
    "store/idempotency.py _remove_old": "Keys are forgotten after their time, whosesoever they are.",
    "store/index/bm25.py _counts": "Counted is what has the principal's scope, in the principal's rows.",
    "store/index/filling.py index_next": "The index is filled for all.",
    "store/index/fts5.py enter": "The condition is the caller's: a position, or the principal's conversation.",
    "store/index/fts5.py _withdraw": "The condition is the caller's: the principal's conversation or message.",
    "store/index/fts5.py _among_newest": INDEX,
    "store/index/fts5.py known": "Words alone, which nobody is told of: a search looks next which are the principal's.",
    "store/index/fts5.py count_among": "Counted are the principal's positions only.",
    "store/index/fts5.py ranked": "What is returned is the principal's positions only.",
    "store/index/fts5.py _count": "Counted is what has the principal's scope.",
    "store/index/tsvector.py add": "A new row's principal is a column that may not be null.",
    "store/index/tsvector.py add_again": "The condition is the caller's: the principal's conversation or message.",
    "store/index/tsvector.py known": "Words alone, as those of FTS5.",
    "store/leases.py renew": "Each taking of a lease has an owner of its own.",
    "store/messages.py _free_position_after": "A position is free if no message at all has it.",
    "store/outbox.py put": "What was sent is forgotten after its time, whosesoever it is.",
    "store/postgres/connections.py batch": PASSED,
    "store/postgres/connections.py execute": PASSED,
    "store/postgres/connections.py _execute_together": PASSED,
    "store/postgres/outcomes.py was_committed": "It asks the server about itself.",
    "store/runs.py active_of_another": "Of a conversation that two reach, only whether the other is answered is told.",
    "store/runs.py census": "It counts all, for whoever runs the server, and tells nothing of anybody's.",
    "store/runs.py left": "Runs whose process died are found for all; each is executed under its own principal.",
    "store/runs.py all_active": "Runs are found for a worker or a restored file, each with its principal.",
    **{
        f"store/runs.py {name}": BY_ID
        for name in (
            *(
                "mark_delivered",
                "set_status",
                "checkpoint",
                "save_checkpoint",
                "saved",
            ),
            *("requests_of", "settle", "withdraw", "approved_arguments", "decline"),
        )
    },
    "store/postgres/copy.py _columns": "It names the tables.",
    "store/postgres/health.py examine": "It counts all, for whoever runs the database.",
    "store/sqlite/copy.py _begin": FILE,
    "store/sqlite/copy.py mark_moved": FILE,
    "store/sqlite/upgrade.py take_steps": FILE,
}
"""Why a function has a statement without the predicate, by its module and name."""


@dataclass(frozen=True)
class Statement:
    """A statement as far as it stands in the source; braces enclose what only the running program knows."""

    place: str
    line: int
    sql: str


@cache
def tables() -> frozenset[str]:
    """Return the tables and views of which each row is a principal's, and the indexes over them."""
    created = _CREATED.finditer("\n".join((*sqlite.STEPS, *postgres.STEPS)))
    return frozenset(each[2] for each in created if each[1] == "VIRTUAL TABLE" or "principal" in each[3])


def statements() -> Iterator[Statement]:
    """Yield every statement of the client."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        known = _assigned(tree.body)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                local = known | _assigned(list(ast.walk(function)))
                for call in ast.walk(function):
                    if (
                        isinstance(call, ast.Call)
                        and isinstance(call.func, ast.Attribute)
                        and call.func.attr in _METHODS
                        and call.args
                        and _is_statement(path, call.func)
                    ):
                        place = f"{path.relative_to(ROOT).as_posix()} {function.name}"
                        yield Statement(place, call.lineno, _text(call.args[0], local))


def _is_statement(path: Path, function: ast.Attribute) -> bool:
    """Whether a call is one of a transaction or connection: elsewhere than in the store, its name says so."""
    return path.is_relative_to(ROOT / "store") or ast.unparse(function.value) in {
        "tx",
        "connection",
        "database",
    }


def _assigned(nodes: list[ast.stmt] | list[ast.AST]) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def _text(node: ast.expr, known: Mapping[str, ast.expr], depth: int = 0) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, known, depth) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, known, depth)
    if isinstance(node, ast.BinOp):
        return _text(node.left, known, depth) + _text(node.right, known, depth)
    if isinstance(node, ast.Name) and node.id in known and depth < 5:
        return _text(known[node.id], known, depth + 1)
    return f"{{{ast.unparse(node)}}}"


def is_bound(sql: str) -> bool:
    """Whether a statement reads and changes rows of one principal only, as far as can be seen."""
    if _PREDICATE.search(sql):
        return True
    inserted = _INSERTS.match(sql)
    if inserted and inserted[1] in tables() and "SELECT" not in sql:
        return True  # its principal is a column that may not be null, and part of every key
    named = set(re.findall(r"\w+", sql))
    return not named & tables() and not _UNKNOWN.search(sql)


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT id FROM runs WHERE principal = ? AND id = ?", True),
        ("SELECT id FROM runs WHERE id = ?", False),
        ("SELECT principal, id FROM runs", False),
        ("DELETE FROM runs", False),
        ("UPDATE runs SET principal = 'x'", False),
        ("SELECT 1 FROM message_index WHERE message_index MATCH ?", False),
        ("SELECT id FROM said_messages WHERE position = ?", False),
        ("SELECT value FROM meta", True),
        ("SELECT value FROM {table}", False),
        ("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", True),
        ("INSERT INTO outbox SELECT * FROM outbox", False),
        ("PRAGMA data_version", True),
    ],
)
def test_the_check_tells_them_apart(sql: str, bound: bool) -> None:
    """A check that lets everything pass would show nothing."""
    assert is_bound(sql) is bound


def test_every_statement_is_about_one_principal() -> None:
    """Or a reason is given; and every reason is still needed."""
    found = list(statements())
    loose = {statement.place for statement in found if not is_bound(statement.sql)}
    assert [each for each in found if each.place not in REASONS and not is_bound(each.sql)] == []
    assert sorted(REASONS.keys() - loose) == []
    assert len(found) > 200


ANYBODYS: Mapping[str, str] = {
    "client.py shared_secret": "It is no principal's, and made once.",
    "platforms/local/idle.py end": "Idle conversations end by themselves, whosesoever they are.",
}
"""Why a write names no principal, which lets nobody else write meanwhile where several can write at once."""


def writes() -> Iterator[tuple[str, bool]]:
    """Yield each call of `Store.write`: the function it is in, and whether it names a principal."""
    for path in sorted(ROOT.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and re.search(r"\b_?store\.write$", ast.unparse(call.func)):
                        named = any(each.arg == "principal" for each in call.keywords)
                        yield f"{path.relative_to(ROOT).as_posix()} {function.name}", named


def test_every_write_says_whose_rows_it_changes() -> None:
    """Or a reason is given why it lets nobody else write."""
    found = list(writes())
    assert {place for place, named in found if not named} == ANYBODYS.keys()
    assert len(found) > 25
