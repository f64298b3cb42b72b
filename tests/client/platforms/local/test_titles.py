"""Titles without a model: short, telling, the same every time, whatever is thrown at them."""

from pathlib import Path

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia import (
    Client,
    ClientSettings,
    ConflictError,
    ConversationChanges,
    EventKind,
    InvalidInputError,
    Message,
    NewConversation,
    NotFoundError,
    Role,
    SearchQuery,
)
from tertulia.platforms.local.titles import MAX_CHARACTERS, title_of, title_of_messages
from tertulia.vocabulary.text import checked_line
from tests.doubles.scripted import AGENT, SECONDS, says, scripted
from tests.support.drawing import examples

ARCHIVIST = "local:archivist"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What does our Q3 pipeline look like?", "What does our Q3 pipeline look like"),
        ("hello", "Hello"),
        ("Hello! Why does the nightly build fail?", "Why does the nightly build fail"),
        ("Hi Bob, can you please help me with the slow import?", "The slow import"),
        ("Thanks. Good morning all\nThe invoice of Acme is wrong", "The invoice of Acme is wrong"),
        (
            "The quarterly report for Acme, which we discussed last week, is still wrong in places",
            "The quarterly report for Acme",
        ),
        (
            "We keep forty thousand a year if they sign in January with a discount",
            "We keep forty thousand a year if they",
        ),
        ("```python\nprint(1)\n```\nWhy does this print one?", "Why does this print one"),
        ("import os;\nos.remove(path);\nWhat is unsafe here?", "What is unsafe here"),
        ("> You wrote that it works.\nIt fails on Windows", "It fails on Windows"),
        ("# Renewal of Acme\n\nThey want two years.", "Renewal of Acme"),
        ("- [ ] call the landlord\n- [ ] pay the rent", "Call the landlord"),
        ("**Fix** the `config.py` loader", "Fix the config.py loader"),
        ("See [the plan](https://example.org/plan?a=1) for next year", "See the plan for next year"),
        ("https://example.org/x Does this page load for you", "Does this page load for you"),
        ("Version 3.14 breaks our tests", "Version 3.14 breaks our tests"),
        ("iPhone sales in May", "iPhone sales in May"),
        ("Привет! Почему падает сборка?", "Почему падает сборка"),
        ("مرحبا، كيف يمكنني تحديث قاعدة البيانات؟", "كيف يمكنني تحديث قاعدة البيانات"),
        ("こんにちは。来週の会議の議事録をまとめてください", "来週の会議の議事録をまとめてください"),
        (
            "请帮我总结一下昨天会议的主要内容，并且列出所有待办事项，谢谢你。",
            "请帮我总结一下昨天会议的主要内容",
        ),
        ("नमस्ते, मेरी रिपोर्ट का सारांश बनाओ", "मेरी रिपोर्ट का सारांश बनाओ"),
        ("안녕하세요. 회의록을 요약해 주세요", "회의록을 요약해 주세요"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("...", None),
        (" \u200b\n", None),
        ("```\nx\n```", "X"),
    ],
)
def test_a_title_is_the_first_words_that_tell_something(text: str, title: str | None) -> None:
    """Not a greeting, polite words, code or a quotation; up to eight of them, ended where the clause ends."""
    assert title_of(text) == title


@examples(500)
@given(st.text(max_size=300) | st.text("ab \n`*_>#-.,;(){}[]<>", max_size=300))
@example("`" * 4000)
@example("**" * 2000)
@example("; " * 2000 + "x")
@example("[" * 4000)
@example("e\u0301" * 300)
@example("👍🏽" * 200)
def test_any_text_has_a_title_that_can_be_one_or_none(text: str) -> None:
    """One line, short, with something to see; the same every time."""
    title = title_of(text)

    assert title == title_of(text)
    if title is not None:
        assert checked_line("title", title) == title
        assert len(title) <= MAX_CHARACTERS
        assert len(title.split()) <= 8


def test_a_letter_is_never_cut_from_its_accents_or_an_emoji_in_two() -> None:
    """Wherever the limit falls."""
    for shift in range(3):
        accented = title_of("x" * shift + "e\u0301" * 300) or ""
        assert accented.endswith("e\u0301")
        family = title_of("x" * shift + "👩‍👩‍👧" * 40) or ""
        assert not family.endswith("\u200d")


def said(text: str, role: Role = Role.USER, type: str | None = None) -> Message:
    """Return a message."""
    return Message(id="m", conversation_id="local:c", author="x", role=role, text=text, type=type)


def test_the_first_telling_message_of_a_person_counts() -> None:
    """Not what the agent said before, and not a greeting."""
    messages = [
        said("How can I help you today?", Role.ASSISTANT),
        said("Hi!"),
        said("The parser loses comments"),
        said("And then it hangs"),
    ]

    assert title_of_messages(messages) == "The parser loses comments"


def test_commands_of_the_archivist_give_a_title_only_if_there_is_nothing_else() -> None:
    """Then what was looked for does; questions are as good as anything."""
    command = "archivist.command"
    find = said("find renewal Acme since 2026-11-03", type=command)
    change = said("archive local:7k2mq9x4ab", type=command)
    question = said("What did we promise Acme?", type=command)

    assert title_of_messages([change, find]) == "Renewal Acme"
    assert title_of_messages([find, question]) == "What did we promise Acme"
    assert title_of_messages([find, said("remember that Bob moves to Rome")]) == "Bob moves to Rome"
    assert title_of_messages([change]) is None


def test_an_agent_that_speaks_alone_gives_the_title() -> None:
    """And a greeting, if there is nothing else at all."""
    assert (
        title_of_messages([said("Hi"), said("Your order was shipped", Role.ASSISTANT)])
        == "Your order was shipped"
    )
    assert title_of_messages([said("Good morning")]) == "Good morning"
    assert title_of_messages([]) is None


@pytest.mark.anyio
async def test_a_title_is_made_from_the_conversation_or_from_a_seed(path: Path) -> None:
    """It is journaled, and found."""
    async with scripted(path) as client:
        sent = await client.runs.start(
            NewConversation(agent=AGENT), says("Hello! Why does the nightly build fail?")
        )
        await client.runs.wait(sent.run, timeout=SECONDS)
        own_id = sent.conversation.id
        titled = await client.conversations.generate_title(own_id)
        assert titled.title == "Why does the nightly build fail"
        seeded = await client.conversations.generate_title(own_id, seed_message="Our Q3 pipeline", force=True)
        assert seeded.title == "Our Q3 pipeline"

        entries = (await client.conversations.events(own_id)).entries
        told = [entry.data["title"] for entry in entries if entry.kind is EventKind.TITLE_UPDATED]
        assert told == ["Why does the nightly build fail", "Our Q3 pipeline"]
        found = await client.search.messages(SearchQuery(text="pipeline"))
        assert [hit.conversation_id for hit in found.hits] == [own_id]


@pytest.mark.anyio
async def test_a_title_that_is_there_stays_unless_it_is_forced(path: Path) -> None:
    """Whoever gave it."""
    async with scripted(path) as client:
        own_id = (await client.conversations.create(NewConversation(agent=AGENT, title="Mine"))).id
        assert (await client.conversations.generate_title(own_id, seed_message="Theirs")).title == "Mine"
        assert (
            await client.conversations.generate_title(own_id, seed_message="Theirs", force=True)
        ).title == "Theirs"
        await client.conversations.update(own_id, ConversationChanges(title="Mine again"))
        assert (
            await client.conversations.generate_title(own_id, seed_message="Theirs")
        ).title == "Mine again"


@pytest.mark.anyio
async def test_where_there_are_no_words_the_error_says_what_to_give(path: Path) -> None:
    """And a conversation that is not there has no title."""
    async with scripted(path) as client:
        own_id = (await client.conversations.create(NewConversation(agent=AGENT))).id
        with pytest.raises(ConflictError, match="Nothing was said") as raised:
            await client.conversations.generate_title(own_id)
        assert "seed_message" in (raised.value.hint or "")
        with pytest.raises(InvalidInputError, match="`seed_message` has no words"):
            await client.conversations.generate_title(own_id, seed_message="...")
        with pytest.raises(NotFoundError):
            await client.as_principal("alice").conversations.generate_title(own_id, seed_message="Mine")

        assert (await client.conversations.get(own_id)).title is None


@pytest.mark.anyio
async def test_a_conversation_with_the_archivist_is_named_after_its_question(path: Path) -> None:
    """Though that is a command to the archivist."""
    with anyio.fail_after(SECONDS):
        async with Client.open(ClientSettings(store=path)) as client:
            sent = await client.runs.start(NewConversation(agent=ARCHIVIST), says("list"))
            await client.runs.wait(sent.run, timeout=SECONDS)
            again = await client.runs.send(sent.conversation.id, says("What did we promise Acme?"))
            await client.runs.wait(again.run, timeout=SECONDS)

            titled = await client.conversations.generate_title(sent.conversation.id)
            assert titled.title == "What did we promise Acme"
