"""Bad input: each is one clear sentence, with the way out, and nothing of it is stored."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import (
    Client,
    ConversationChanges,
    ConversationQuery,
    Decision,
    InvalidInputError,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotFoundError,
    SearchQuery,
    Settlement,
    Status,
    TertuliaError,
)
from tests.client.inside import contents
from tests.doubles.scripted import AGENT, says, scripted
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

MEGABYTES = "x" * 3_000_000
SURROGATE = "half of \ud83d"
NAN = {"value": float("nan")}


def nested(levels: int) -> dict[str, Any]:
    """Return an object in an object in an object."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


BOTTOMLESS = nested(100_000)
Attempt = Callable[[Client, str], Awaitable[Any]]


def texts(name: str, use: Callable[[Client, str, str], Awaitable[Any]]) -> dict[str, Attempt]:
    """Return the attempts to use what is no text."""
    bad = {
        "empty": "",
        "blank": " \n\t",
        "invisible": "\u200b\u2060",
        "3 MB": MEGABYTES,
        "surrogate": SURROGATE,
        "zero byte": "a\x00b",
        "escape": "\x1b[31mred",
        "C1 control": "a\x9bb",
    }
    return {
        f"{name}: {what}": lambda client, conversation_id, text=text: use(client, conversation_id, text)
        for what, text in bad.items()
    }


def objects(name: str, use: Callable[[Client, str, Any], Awaitable[Any]]) -> dict[str, Attempt]:
    """Return the attempts to use what is no JSON, or too much of it."""
    bad: dict[str, Any] = {
        "NaN": NAN,
        "infinity": {"a": [float("-inf")]},
        "surrogate": {"a": SURROGATE},
        "surrogate in a key": {SURROGATE: 1},
        "no JSON": {"a": {1, 2}},
        "mixed keys": {1: "a", "b": 2},
        "3 MB": {"a": MEGABYTES},
        "bottomless": BOTTOMLESS,
    }
    return {
        f"{name}: {what}": lambda client, conversation_id, value=value: use(client, conversation_id, value)
        for what, value in bad.items()
    }


ATTEMPTS: dict[str, Attempt] = {
    **texts("text", lambda c, at, text: c.runs.send(at, says(text))),
    **texts(
        "text of the first message",
        lambda c, _, text: c.runs.start(NewConversation(agent=AGENT), says(text), idempotency_key="k1"),
    ),
    **texts(
        "title",
        lambda c, _, text: c.conversations.create(
            NewConversation(agent=AGENT, title=text), idempotency_key="k1"
        ),
    ),
    **texts("new title", lambda c, at, text: c.conversations.update(at, ConversationChanges(title=text))),
    **texts("reason", lambda c, at, text: c.conversations.update_status(at, Status.CANCELED, reason=text)),
    **texts(
        "key", lambda c, _, text: c.conversations.create(NewConversation(agent=AGENT), idempotency_key=text)
    ),
    **texts("type", lambda c, at, text: c.runs.send(at, MessageDraft(text="Hello", type=text))),
    **texts("parent", lambda c, at, text: c.runs.send(at, MessageDraft(text="Hello", parent_id=text))),
    **objects(
        "metadata",
        lambda c, _, value: c.conversations.create(
            NewConversation(agent=AGENT, metadata=value), idempotency_key="k1"
        ),
    ),
    **objects(
        "context", lambda c, _, value: c.conversations.create(NewConversation(agent=AGENT, context=value))
    ),
    **objects(
        "new metadata", lambda c, at, value: c.conversations.update(at, ConversationChanges(metadata=value))
    ),
    **objects("data", lambda c, at, value: c.runs.send(at, MessageDraft(data=value), idempotency_key="k1")),
    **objects(
        "metadata of a message",
        lambda c, at, value: c.runs.send(at, MessageDraft(text="Hello", metadata=value)),
    ),
    **objects(
        "context of a message",
        lambda c, at, value: c.runs.send(at, MessageDraft(text="Hello", context=value)),
    ),
    "a message of nothing": lambda c, at: c.runs.send(at, MessageDraft()),
    "no change": lambda c, at: c.conversations.update(at, ConversationChanges()),
    "a title of two lines": lambda c, _: c.conversations.create(
        NewConversation(agent=AGENT, title="One\nTwo")
    ),
    "a long title": lambda c, _: c.conversations.create(NewConversation(agent=AGENT, title="x" * 201)),
    "no address": lambda c, _: c.conversations.create(NewConversation(agent="archivist")),
    "an address with a line break": lambda c, _: c.conversations.create(
        NewConversation(agent="local:archi\nvist")
    ),
    "no id": lambda c, _: c.conversations.get("nonsense"),
    "an id in another spelling": lambda c, at: c.conversations.get(at.replace(":", ":%61", 1)),
    "a path for an id": lambda c, _: c.conversations.get("local:../../etc/passwd"),
    "3 MB for an id": lambda c, _: c.conversations.get("local:" + MEGABYTES),
    "half a character for an id": lambda c, _: c.conversations.get(f"local:{SURROGATE}"),
    "no cursor of a journal": lambda c, at: c.conversations.events(at, cursor="nonsense"),
    "3 MB for a cursor": lambda c, at: c.conversations.events(at, cursor=MEGABYTES),
    "half a character for a cursor": lambda c, at: c.conversations.events(at, cursor=SURROGATE),
    "no cursor of a history": lambda c, at: c.messages.list(at, MessageQuery(cursor="nonsense")),
    "no cursor of a list": lambda c, _: c.conversations.list(ConversationQuery(cursor="nonsense")),
    "no cursor of a search": lambda c, _: c.search.messages(SearchQuery(text="hello", cursor="nonsense")),
    "too large a page of a history": lambda c, at: c.messages.list(at, MessageQuery(limit=101)),
    "too small a page of a list": lambda c, _: c.conversations.list(ConversationQuery(limit=0)),
    "too large a page of a search": lambda c, _: c.search.messages(SearchQuery(text="hello", limit=1000)),
    "a list of no agent": lambda c, _: c.conversations.list(ConversationQuery(agent="nonsense")),
    "a search for nothing": lambda c, _: c.search.messages(SearchQuery(text="  ")),
    "a search for no word": lambda c, _: c.search.messages(SearchQuery(text="?!")),
}


@pytest.mark.parametrize("attempt", [pytest.param(attempt, id=name) for name, attempt in ATTEMPTS.items()])
async def test_bad_input_is_told_in_a_sentence_and_leaves_nothing_behind(
    path: Path, attempt: Attempt
) -> None:
    """Short, printable, and without any of the three megabytes."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        before = await contents(path)

        with pytest.raises(InvalidInputError) as raised:
            await attempt(client, conversation.id)

        assert await contents(path) == before
        sentence = str(raised.value)
        assert sentence.isprintable()
        assert sentence.endswith((".", "?"))
        assert len(sentence) < 250
        assert raised.value.hint or raised.value.valid or "it must be" in sentence


UNKNOWN: dict[str, Attempt] = {
    "conversation": lambda c, _: c.conversations.get("local:nosuchone"),
    "conversation to send to": lambda c, _: c.runs.send("scripted:nosuchone", says("Hello")),
    "conversation to watch": lambda c, _: anext(c.conversations.watch("scripted:nosuchone", after=0)),
    "instance": lambda c, _: c.agents.list("nowhere"),
    "instance of a conversation": lambda c, _: c.conversations.get("nowhere:abc"),
    "instance of an agent": lambda c, _: c.conversations.create(NewConversation(agent="nowhere:agent")),
    "instance of a list": lambda c, _: c.conversations.list(ConversationQuery(instance="nowhere")),
    "instance of a search": lambda c, _: c.search.messages(SearchQuery(text="hello", instance="nowhere")),
    "instance of 3 MB": lambda c, _: c.conversations.list(ConversationQuery(instance=MEGABYTES)),
    "instance of half a character": lambda c, _: c.conversations.list(ConversationQuery(instance=SURROGATE)),
    "agent": lambda c, _: c.conversations.create(NewConversation(agent="scripted:nobody")),
    "run": lambda c, _: c.runs.get("run_nonsense"),
    "run of 3 MB": lambda c, _: c.runs.get(MEGABYTES),
    "run of half a character": lambda c, _: c.runs.get(SURROGATE),
    "request": lambda c, _: c.runs.request("req_nonsense"),
    "request of 3 MB": lambda c, _: c.runs.respond(MEGABYTES, Settlement(decision=Decision.APPROVE)),
    "request of half a character": lambda c, _: c.runs.respond(
        SURROGATE, Settlement(decision=Decision.APPROVE)
    ),
    "request with a line break": lambda c, _: c.runs.decline("req\n\x1b[31m"),
}


@pytest.mark.parametrize("attempt", [pytest.param(attempt, id=name) for name, attempt in UNKNOWN.items()])
async def test_what_does_not_exist_is_told_in_a_sentence(path: Path, attempt: Attempt) -> None:
    """With what there is, or how to find out."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        before = await contents(path)

        with pytest.raises(NotFoundError) as raised:
            await attempt(client, conversation.id)

        assert await contents(path) == before
        sentence = str(raised.value)
        assert sentence.isprintable()
        assert len(sentence) < 250
        assert raised.value.hint or raised.value.valid


async def test_an_unknown_instance_is_told_with_those_that_there_are(path: Path) -> None:
    """Sorted, for a reader."""
    async with scripted(path) as client:
        with pytest.raises(NotFoundError, match="no instance “nowhere”") as raised:
            await client.conversations.get("nowhere:abc")

        assert raised.value.valid == ("local", "scripted")
        assert list(client.instances) == ["local", "scripted"]


async def test_an_unknown_agent_is_told_with_those_that_there_are_and_the_nearest(path: Path) -> None:
    """A letter may be missing."""
    async with scripted(path) as client:
        with pytest.raises(
            NotFoundError, match=r"no agent scripted:agnt\. Did you mean scripted:agent\?"
        ) as raised:
            await client.conversations.create(NewConversation(agent="scripted:agnt"))

        assert raised.value.valid == ("scripted:agent",)


async def test_deep_data_are_kept_as_they_are_or_refused(path: Path) -> None:
    """There is no depth at which anything but that happens."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        for levels in (1, 50, 90, 200, 300, 330, 400, 480, 500, 600, 900, 990, 1100, 5000):
            try:
                sent = await client.runs.send(
                    conversation.id, MessageDraft(data=nested(levels)), idempotency_key=f"k{levels}"
                )
            except InvalidInputError:
                continue
            await client.runs.wait(sent.run, timeout=10)
            page = await client.messages.list(conversation.id, MessageQuery(newest_first=True))
            kept = next(message for message in page.items if message.id == sent.run.message_id)
            assert kept.data == nested(levels)


anything = st.text() | st.sampled_from(["local:archivist", AGENT, "local:abc", "\ud800", "\x00", "x" * 3000])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
json_objects = st.none() | st.dictionaries(st.text(), json_values, max_size=3)


async def refusal(attempt: Awaitable[Any]) -> str:
    """Return what is said against an attempt, if it is not taken."""
    try:
        await attempt
    except TertuliaError as error:
        return str(error)
    return ""


drafts = st.builds(
    MessageDraft,
    text=st.none() | anything,
    data=json_objects,
    type=st.none() | anything,
    parent_id=st.none() | anything,
    metadata=json_objects.map(lambda value: value or {}),
    context=json_objects,
)
settlements = st.builds(
    Settlement,
    decision=st.sampled_from(Decision),
    reason=st.none() | anything,
    answer=st.none() | anything,
    arguments=json_objects,
)
moments = st.none() | st.datetimes(timezones=st.just(UTC))


@examples(50)
@given(
    text=anything,
    other=anything,
    key=st.none() | anything,
    draft=drafts,
    settlement=settlements,
    since=moments,
)
async def test_whatever_is_passed_is_taken_or_refused_in_our_own_words(
    text: str,
    other: str,
    key: str | None,
    draft: MessageDraft,
    settlement: Settlement,
    since: datetime | None,
) -> None:
    """There is no other way out of any method."""
    more: dict[str, Any] = {"metadata": draft.data, "context": draft.context}
    with TemporaryDirectory() as folder:
        async with scripted(Path(folder) / "store.db") as c:
            mine = (await c.conversations.create(NewConversation(agent=AGENT))).id
            attempts: list[Callable[[], Awaitable[Any]]] = [
                lambda: c.conversations.create(NewConversation(agent=text, **more), idempotency_key=key),
                lambda: c.conversations.create(
                    NewConversation(agent=AGENT, title=text, **more), idempotency_key=key
                ),
                lambda: c.runs.start(NewConversation(agent=text, **more), draft, idempotency_key=key),
                lambda: c.runs.start(NewConversation(agent=AGENT), draft, join=True),
                lambda: c.runs.send(mine, draft, idempotency_key=key),
                lambda: c.runs.send(text, draft),
                lambda: c.conversations.get(text),
                lambda: c.conversations.list(ConversationQuery(instance=text)),
                lambda: c.conversations.list(ConversationQuery(agent=text, ids=frozenset({other}))),
                lambda: c.conversations.list(ConversationQuery(cursor=text)),
                lambda: c.search.messages(SearchQuery(text=text, since=since)),
                lambda: c.search.messages(SearchQuery(text="hello", instance=text, agent=other)),
                lambda: c.search.messages(SearchQuery(text="hello", conversation_id=text, cursor=other)),
                lambda: c.messages.list(mine, MessageQuery(cursor=text)),
                lambda: c.conversations.update(
                    mine, ConversationChanges(title=text, metadata=draft.data), idempotency_key=key
                ),
                lambda: c.conversations.update_status(mine, Status.OPEN, reason=text, idempotency_key=key),
                lambda: c.conversations.events(mine, cursor=text),
                lambda: c.conversations.cursor(text, 1),
                lambda: c.runs.get(text),
                lambda: c.runs.latest(text),
                lambda: c.runs.pending(text),
                lambda: c.runs.respond(text, settlement, idempotency_key=key),
                lambda: c.runs.decline(text),
                lambda: c.runs.cancel(text),
                lambda: c.conversations.suggest(text),
                lambda: c.conversations.delete(text),
            ]
            for attempt in attempts:
                sentence = await refusal(attempt())
                assert not sentence or sentence.isprintable()
                assert len(sentence) < 1000


async def test_a_moment_may_be_any(path: Path) -> None:
    """Also the first and the last that there are."""
    async with scripted(path) as client:
        await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)):
            await client.search.messages(SearchQuery(text="hello", since=at))
            await client.search.messages(SearchQuery(text="hello", until=at))
