"""Whatever the history holds, the tools that look into it find something or nothing, and the answer fits."""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia.platforms.local.archivist.commands import Command
from tertulia.platforms.local.archivist.grammar import parse
from tertulia.platforms.local.archivist.plans import plan
from tertulia.platforms.local.archivist.toolcalls import ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.tools import look_up
from tertulia.platforms.local.archivist.wording import MAX_ANSWER
from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction, encode
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.models import ConversationDraft, Message, Role
from tertulia.vocabulary.states import Status
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

ODD = (
    "",
    " ",
    "```",
    "> a",
    "。" * 99,
    "a b. " * 400,
    "\u202e\x00\u2028",
    "- x\n" * 300,
    "the the the",
    "🇵🇹 👍🏽 ½",
    "کتاب",
)
TEXT = st.one_of(
    st.text(max_size=200), st.sampled_from(ODD), st.sampled_from(["Acme renews in May.", "We decided."])
)
SAID = st.lists(st.tuples(st.integers(-2_000, 2_000), TEXT), max_size=12)
COMMANDS = (
    "summarise this",
    "summarise Acme renews",
    "summarise Acmee",
    "timeline",
    "timeline this",
    "timeline Acme",
    "timeline since 0001-01-01 until 9999-12-31",
    "similar to this",
    "find Acmee",
    "quote Acmee",
)


def answer(tx: Transaction, command: Command) -> str:
    """Carry a command out as the agent does, with results as the journal gives them back."""
    steps = plan(command, "local:a")
    result: ToolResult | None = None
    while True:
        try:
            call = next(steps) if result is None else steps.send(result)
        except StopIteration as end:
            return end.value
        assert call.prompt is None
        try:
            value: dict[str, Any] = look_up(tx, "local", call.tool, call.arguments)
            result = ToolResult(ToolOutcome.OK, json.loads(encode(value)))
        except (InvalidInputError, NotFoundError) as error:
            result = ToolResult(ToolOutcome.ERROR, {"message": error.message})
        assert len(encode(result.value)) < 30_000


@examples(40)
@given(said=SAID, elsewhere=SAID, title=st.none() | TEXT.filter(bool))
@example(said=[(0, text) for text in ODD], elsewhere=[(9, text) for text in ODD], title="Acme")
@example(said=[(0, "Acme renews.")] * 9, elsewhere=[(1, "Acme renews.")] * 9, title=None)
async def test_any_history_can_be_asked_about(
    said: list[tuple[int, str]], elsewhere: list[tuple[int, str]], title: str | None
) -> None:
    """Texts of any kind, in any order of time."""

    def enter(tx: Transaction) -> None:
        for known, texts in (("local:a", said), ("local:b", elsewhere)):
            draft = ConversationDraft(agent="local:archivist", native_id=known[-1], title=title)
            conversations.insert(tx, "local", known, draft, Status.OPEN)
            for number, (days, text) in enumerate(texts):
                message = Message(
                    id=f"m{number}",
                    conversation_id=known,
                    author="somebody",
                    role=Role.USER,
                    text=text,
                    created_at=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=days),
                )
                messages.add(tx, "local", message)

    with tempfile.TemporaryDirectory() as folder:
        async with Store(Path(folder) / "store.db") as store:
            await store.write(enter)
            for text in COMMANDS:
                told = await store.read(lambda tx, text=text: answer(tx, parse(text)))
                assert 0 < len(told) <= MAX_ANSWER
                assert "\n\n\n" not in told
