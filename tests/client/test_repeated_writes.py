"""Every write may be done twice, since another transaction was met or a connection lost: nobody notices which were."""

import json
import re
from pathlib import Path

import pytest

from tertulia import (
    Client,
    ConversationChanges,
    Decision,
    MessageChanges,
    MessageDraft,
    NewConversation,
    Rating,
    RunStatus,
    Settlement,
    Status,
)
from tertulia.store import database
from tertulia.store.database import Store
from tertulia.store.engine import EngineOptions
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tests.client.inside import everything
from tests.doubles.repeating import Repeating
from tests.doubles.scripted import AGENT, SECONDS, asks_first, says, scripted

pytestmark = pytest.mark.anyio

_MADE_UP = re.compile(r'(?<=[_:"])[0-9a-hjkmnp-tv-z]{8,}\b')
_AT = re.compile(r"\b1[0-9]{15,17}\b|\b[0-9a-f]{32,}\b|\bs[0-9a-f]{8}\b")
"""A moment, a position at one, or what is computed from an id."""
_NUMBERED = {"branches", "runs", "requests"}
"""The tables with numbers that a repeated transaction may pass over."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.io)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> StoreLocation:
    """Return where a store may be."""
    return tmp_path / "store.db" if request.param == "sqlite" else request.getfixturevalue("database")


def session(path: Path, *texts: str) -> Path:
    """Write a conversation to a file, as an export has it."""
    messages = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": text}
        for number, text in enumerate(texts)
    ]
    path.write_text(json.dumps({"id": "c1", "messages": messages, "created_at": 1_790_000_000}))
    return path


async def use(client: Client, folder: Path) -> list[object]:
    """Do what changes the store, one thing after the other; return what a caller sees of it."""
    seen: list[object] = []
    sent = await client.runs.start(
        NewConversation(agent=AGENT, title="Paper", metadata={"a": 1}), says("Shred it"), idempotency_key="k"
    )
    conversation_id = sent.conversation.id
    await client.runs.wait(sent.run, timeout=SECONDS)
    (request,) = await client.runs.pending()
    await client.runs.respond(request.id, Settlement(decision=Decision.APPROVE), idempotency_key="r")
    seen.append((await client.runs.wait(sent.run, timeout=SECONDS)).run.status)
    added = await client.messages.add(conversation_id, MessageDraft(text="A note"))
    note = await client.messages.update(conversation_id, added.id, MessageChanges(text="Another note"))
    await client.messages.rate(conversation_id, note.id, Rating(value=4))
    await client.conversations.update(conversation_id, ConversationChanges(title="Papers", metadata={"b": 2}))
    again = await client.runs.send(conversation_id, says("And this"))
    await client.runs.wait(again.run, timeout=SECONDS)
    await client.runs.cancel(conversation_id)
    seen.append((await client.runs.get(again.run.id)).status)
    await client.conversations.update_status(conversation_id, Status.COMPLETED, rating=Rating(value=5))
    for texts in (("One", "Two"), ("One", "Two", "Three")):
        file = session(folder / "session.json", *texts)
        seen.append(repr(await client.history.import_files([file])))
    other = await client.conversations.create(NewConversation(agent=AGENT))
    await client.conversations.delete(other.id)
    return seen


async def used(location: StoreLocation, folder: Path) -> tuple[list[object], dict[str, list[str]]]:
    """Use a store; return what a caller has seen, and all rows, without what is another one each time."""
    async with scripted(location, asks_first) as client:
        seen = await use(client, folder)
    async with Store(location) as store:
        tables = await store.read(everything)
    return seen, {
        name: sorted(
            _AT.sub("at", _MADE_UP.sub("*", repr(row[1:] if name in _NUMBERED else row))) for row in rows
        )
        for name, rows in tables.items()
        if name not in {"meta", "leases", "incarnations"}
        and "index" not in name
        and not name.endswith("_words")
    }


async def test_a_store_whose_writes_are_all_repeated_is_as_another(
    location: StoreLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Whatever is done: what a transaction does besides the store would be done twice."""
    once = await used(location, tmp_path)
    assert once[0][:2] == [RunStatus.COMPLETED, RunStatus.CANCELED]

    made: list[Repeating] = []

    def repeating(where: StoreLocation, options: EngineOptions) -> Repeating:
        made.append(Repeating(where, options))
        return made[-1]

    if isinstance(location, PostgresUrl):
        request.getfixturevalue("postgres").clear()
    another: StoreLocation = tmp_path / "another.db" if isinstance(location, Path) else location
    monkeypatch.setattr(database, "engine_of", repeating)
    twice = await used(another, tmp_path)

    assert twice[0] == once[0]
    for name, rows in once[1].items():
        assert twice[1][name] == rows
    assert made
    assert [each.differed for each in made] == [[]] * len(made)
