"""Figures about conversations: what is counted, from where, and that what is not known is not made up."""

import statistics
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import (
    Analytics,
    ConversationChanges,
    ConversationQuery,
    Event,
    EventKind,
    InvalidInputError,
    Message,
    NewConversation,
    NotFoundError,
    Rating,
    Role,
    Settlement,
    Status,
)
from tertulia.platforms.base import RunContext
from tertulia.store import analytics, conversations, journal, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import ConversationDraft, Decision, MessageRecord
from tertulia.vocabulary.states import RunStatus
from tests.client.inside import change
from tests.client.making import ME, add_run
from tests.client.platforms.revengai import answered, placed
from tests.doubles.scripted import AGENT, SECONDS, piece, says, scripted
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

BEGINNING = datetime(2026, 11, 3, 9, tzinfo=UTC)


async def test_a_new_conversation_has_no_figures_but_that_it_is_one(path: Path) -> None:
    """What is not known is None, and what was not said is not there."""
    async with scripted(path) as client:
        own_id = (await client.conversations.create(NewConversation(agent=AGENT))).id

        assert await client.conversations.analytics(own_id) == Analytics(
            conversations=1, messages={}, ratings=0, message_ratings=0, tool_calls={}, computed=True
        )


async def test_messages_are_counted_by_role_and_answers_timed(path: Path) -> None:
    """From the message to its answer, whatever lies between."""
    async with scripted(path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        own_id = sent.conversation.id
        await client.runs.wait(sent.run, timeout=SECONDS)
        for _ in range(2):
            again = await client.runs.send(own_id, says(f"Again {_}"))
            await client.runs.wait(again.run, timeout=SECONDS)
        for number, seconds in enumerate((4, 2, 9)):
            await change(
                path,
                "UPDATE runs SET ended_at = created_at + ? WHERE rowid = (SELECT rowid FROM runs ORDER BY rowid"
                " LIMIT 1 OFFSET ?)",
                seconds * 1_000_000,
                number,
            )
        first = (await client.messages.list(own_id)).items[0]
        await change(path, "UPDATE messages SET created_at = created_at - 60000000 WHERE id = ?", first.id)
        figures = await client.conversations.analytics(own_id)

        assert figures.messages == {"assistant": 3, "user": 3}
        assert (figures.response_seconds_median, figures.response_seconds_longest) == (4, 9)
        assert 60 <= (figures.duration_seconds or 0) < 60 + SECONDS


async def test_an_answer_that_did_not_come_has_no_time(path: Path) -> None:
    """Failed, canceled and unfinished runs are no answers."""

    async def fails(work: RunContext) -> None:
        await work.fail("I do not know.")

    async with scripted(path, fails) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=SECONDS)

        assert (await client.conversations.analytics(sent.conversation.id)).response_seconds_median is None


async def test_ratings_of_the_conversation_and_of_its_messages_are_told_apart(path: Path) -> None:
    """The last one of each counts."""
    async with scripted(path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        own_id = sent.conversation.id
        one, two = (await client.messages.list(own_id)).items
        for message, value in ((one, 5), (two, 1), (two, 2)):
            await client.messages.rate(own_id, message.id, Rating(value=value))
        await client.conversations.update_status(own_id, Status.COMPLETED, rating=Rating(value=4))
        figures = await client.conversations.analytics(own_id)

        assert (figures.rating, figures.ratings) == (4, 1)
        assert (figures.message_rating, figures.message_ratings) == (3.5, 2)


async def test_tool_calls_are_counted_by_name_and_by_how_they_ended(path: Path) -> None:
    """Also those of which no result is known, and those whose result does not say."""

    def call(number: int, tool: str, *result: dict[str, object]) -> list[Event]:
        about = {"tool_call_id": f"call-{number}"}
        begun = Event(EventKind.TOOL_CALL_START, {**about, "tool": tool})
        return [begun, *(Event(EventKind.TOOL_CALL_RESULT, {**about, **each}) for each in result)]

    async def uses_tools(work: RunContext) -> None:
        await work.emit(
            *call(1, "search", {"outcome": "ok", "result": {"tool": "not a tool", "outcome": "no"}}),
            *call(2, "search", {"outcome": "ok"}),
            *call(3, "search", {"outcome": "error"}),
            *call(4, "shred", {"result": "done"}),
            *call(5, "shred"),
            piece("Well."),
        )
        await work.finish()

    async with scripted(path, uses_tools) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        again = await client.runs.send(sent.conversation.id, says("Again"))  # with the same ids of calls
        await client.runs.wait(again.run, timeout=SECONDS)
        figures = await client.conversations.analytics(sent.conversation.id)

        assert figures.tool_calls == {
            "search": {"ok": 4, "error": 2},
            "shred": {"unknown": 2, "unfinished": 2},
        }


async def test_the_archivists_own_tools_are_counted_too(path: Path) -> None:
    """With what a person decided about them."""
    async with scripted(path) as client:
        sent = await client.runs.start(NewConversation(agent="local:archivist"), says("archive this"))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        await client.runs.respond(outcome.pending[0].id, Settlement(decision=Decision.REJECT))
        await client.runs.wait(sent.run, timeout=SECONDS)
        figures = await client.conversations.analytics(sent.conversation.id)

        assert figures.tool_calls["archive_conversation"] == {"rejected": 1}


async def test_tokens_are_counted_where_messages_tell_of_them(path: Path) -> None:
    """In one number or in two; what is no number is none."""
    async with Store(path) as store:

        def make(tx: Transaction) -> None:
            draft = ConversationDraft(agent="local:agent", native_id="c1")
            conversations.insert(tx, ME, "local:c1", draft, Status.OPEN)
            for number, metadata in enumerate(
                (
                    {},
                    {"tokens_used": 3, "input_tokens": 1000},
                    {"input_tokens": 20, "output_tokens": 4},
                    {"output_tokens": 100},
                    {"tokens_used": "many", "input_tokens": None, "total_tokens": True},
                    {"tokens_used": 2.5},
                    {"tokens_used": 10**12},
                    {"input_tokens": -(10**400), "output_tokens": 1},
                )
            ):
                messages.add(tx, ME, message(f"m{number}", metadata=metadata))

        await store.write(make)
        figures = await store.read(
            partial(analytics.of_conversation, principal=ME, conversation_id="local:c1")
        )

        assert figures.tokens == 3 + 24 + 100 + 1


def message(id: str, **more: object) -> Message:
    """Return a message of the user's."""
    return replace(
        Message(id=id, conversation_id="local:c1", author="user", role=Role.USER, text="Hello"),
        **more,  # pyright: ignore[reportArgumentType]
    )


SPOKEN = st.lists(
    st.tuples(
        st.sampled_from(Role), st.integers(0, 5), st.none() | st.integers(1, 5), st.none() | st.integers(0, 9)
    ),
    max_size=4,
)
ANSWERED = st.lists(st.tuples(st.sampled_from(RunStatus), st.integers(0, 100)), max_size=4)
ONE = st.tuples(SPOKEN, ANSWERED, st.none() | st.integers(1, 5), st.sampled_from(["web", "crm"]))


@examples(60)
@given(st.lists(ONE, max_size=5), st.none() | st.sampled_from(["web", "crm"]))
async def test_the_figures_of_a_list_are_those_of_all_its_conversations_together(
    made: list[
        tuple[list[tuple[Role, int, int | None, int | None]], list[tuple[RunStatus, int]], int | None, str]
    ],
    source: str | None,
) -> None:
    """Sums, the mean of ratings, and the median of all answers; of the filtered conversations only."""

    def make(tx: Transaction) -> None:
        for number, (spoken, answers, rating, where) in enumerate(made):
            own_id = f"local:c{number}"
            draft = ConversationDraft(agent="local:agent", native_id=f"c{number}", source=where)
            conversations.insert(tx, ME, own_id, draft, Status.OPEN)
            conversations.insert(tx, "alice", own_id, draft, Status.OPEN)
            messages.add(tx, "alice", message("other", conversation_id=own_id))
            for place, (role, minute, liked, tokens) in enumerate(spoken):
                told = message(
                    f"m{place}",
                    conversation_id=own_id,
                    role=role,
                    created_at=BEGINNING + timedelta(minutes=minute),
                    metadata={} if tokens is None else {"tokens_used": tokens},
                )
                messages.add(tx, ME, told)
                tx.run(
                    "UPDATE messages SET rating = ? WHERE id = ? AND conversation_id = ?",
                    liked,
                    told.id,
                    own_id,
                )
            for place, (status, seconds) in enumerate(answers):
                run = add_run(tx, f"run{number}-{place}", conversation_id=own_id)
                runs.set_status(tx, run, RunStatus.FAILED if status.active else status)
                tx.run("UPDATE runs SET ended_at = created_at + ? WHERE id = ?", seconds * 1_000_000, run.id)
            tx.run("UPDATE conversations SET rating = ? WHERE id = ? AND principal = ?", rating, own_id, ME)

    with TemporaryDirectory() as folder, anyio.fail_after(20):
        async with Store(Path(folder) / "store.db") as store:
            await store.write(make)
            query = ConversationQuery(source=source, limit=1)
            figures = await store.read(partial(analytics.of_query, principal=ME, query=query))

    chosen = [one for one in made if source in {None, one[3]}]
    spoken = [each for one in chosen for each in one[0]]
    times = [seconds for one in chosen for status, seconds in one[1] if status is RunStatus.COMPLETED]
    spans = [[minute for _, minute, _, _ in one[0]] for one in chosen if one[0]]
    rated = [one[2] for one in chosen if one[2] is not None]
    liked = [each[2] for each in spoken if each[2] is not None]
    tokens = [each[3] for each in spoken if each[3] is not None]
    roles = [each[0].value for each in spoken]
    assert figures.conversations == len(chosen)
    assert figures.messages == {role: roles.count(role) for role in set(roles)}
    assert figures.duration_seconds == (sum(60 * (max(one) - min(one)) for one in spans) if spans else None)
    assert figures.response_seconds_median == (statistics.median(times) if times else None)
    assert figures.response_seconds_longest == max(times, default=None)
    assert figures.rating == pytest.approx(statistics.mean(rated) if rated else None)
    assert figures.ratings == len(rated)
    assert figures.message_rating == pytest.approx(statistics.mean(liked) if liked else None)
    assert figures.message_ratings == len(liked)
    assert figures.tokens == (sum(tokens) if tokens else None)


async def test_the_figures_of_a_list_heed_its_filters_and_not_its_pages(path: Path) -> None:
    """Those of everything are the default, but for what is archived."""
    async with scripted(path) as client:
        for team in ("sales", "sales", "ops"):
            sent = await client.runs.start(NewConversation(agent=AGENT, metadata={"team": team}), says(team))
            await client.runs.wait(sent.run, timeout=SECONDS)
        await client.conversations.update(sent.conversation.id, ConversationChanges(archived=True))
        sales = ConversationQuery(metadata={"team": "sales"}, limit=1)

        assert (await client.conversations.analytics_of(sales)).messages == {
            "assistant": 2,
            "user": 2,
        }
        assert (await client.conversations.analytics_of(ConversationQuery())).conversations == 2
        assert (await client.conversations.analytics_of(ConversationQuery(archived=None))).conversations == 3
        none = await client.as_principal("alice").conversations.analytics_of(ConversationQuery(archived=None))
        assert (none.conversations, none.messages, none.duration_seconds) == (0, {}, None)


async def test_only_a_conversation_that_is_there_has_figures(path: Path) -> None:
    """For this principal; and an unknown instance is an error."""
    async with scripted(path) as client:
        own_id = (await client.conversations.create(NewConversation(agent=AGENT))).id
        with pytest.raises(NotFoundError):
            await client.as_principal("alice").conversations.analytics(own_id)
        with pytest.raises(NotFoundError):
            await client.conversations.analytics_of(ConversationQuery(instance="nowhere"))


async def test_lists_of_all_users_need_an_instance_that_has_them(path: Path) -> None:
    """The embedded platform has none; no figures are counted of them."""
    async with scripted(path) as client:
        for instance in (None, "scripted"):
            with pytest.raises(InvalidInputError, match="all_users|shows nobody"):
                await client.conversations.list(ConversationQuery(instance=instance, all_users=True))
        with pytest.raises(InvalidInputError, match="one user's"):
            await client.conversations.analytics_of(ConversationQuery(all_users=True))


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.io
async def test_figures_of_a_platform_that_has_none_are_computed_from_what_it_shows(
    tmp_path: Path, keeps: bool
) -> None:
    """Its messages, times and tokens; what went through here adds the answers. No contents are needed."""
    async with placed(tmp_path) as place, place.client(store_content=keeps) as client:
        outcome = await answered(client, "What is this function?")
        own_id = outcome.run.conversation_id
        figures = await client.conversations.analytics(own_id)

        assert figures.computed
        assert figures.messages == {"assistant": 1, "user": 1}
        assert figures.duration_seconds is not None
        assert figures.response_seconds_median is not None
        assert figures.tokens == 6
        if keeps:
            listed = await client.conversations.analytics_of(ConversationQuery(instance="revengai"))
            assert (listed.messages, listed.tokens) == (figures.messages, 6)


@pytest.mark.io
async def test_a_conversation_that_was_begun_elsewhere_has_figures_too(tmp_path: Path) -> None:
    """But nobody here knows how long its answers took."""
    async with placed(tmp_path) as place:
        async with place.client() as client:
            own_id = (await answered(client, "What is this function?")).run.conversation_id
        place.path = tmp_path / "another.db"
        async with place.client() as client:
            figures = await client.conversations.analytics(own_id)

            assert figures.messages == {"assistant": 1, "user": 1}
            assert figures.response_seconds_median is None


async def test_times_that_a_platform_does_not_tell_are_not_made_up(path: Path) -> None:
    """When a message was first seen is not when it was said."""
    async with Store(path) as store:

        def make(tx: Transaction) -> None:
            draft = ConversationDraft(agent="r2r:rag", native_id="c1")
            conversations.insert(tx, ME, "r2r:c1", draft, Status.OPEN)
            told = [message(f"x{number}", conversation_id="r2r:c1", text=str(number)) for number in range(3)]
            messages.remember(tx, ME, "r2r:c1", told, settled=True)

        await store.write(make)
        figures = await store.read(partial(analytics.of_conversation, principal=ME, conversation_id="r2r:c1"))

        assert (figures.messages, figures.duration_seconds) == ({"user": 3}, None)


async def test_what_a_platform_tells_of_a_known_message_is_kept(path: Path) -> None:
    """Its tokens and its rating, when they come after its words."""
    async with Store(path) as store:

        def make(tx: Transaction) -> None:
            draft = ConversationDraft(agent="r2r:rag", native_id="c1")
            conversations.insert(tx, ME, "r2r:c1", draft, Status.OPEN)
            ours = message(new_id("m_"), conversation_id="r2r:c1", role=Role.ASSISTANT)
            messages.add(tx, ME, ours)
            theirs = replace(ours, id="theirs", metadata={"output_tokens": 7})
            messages.remember(tx, ME, "r2r:c1", [theirs], settled=True)
            rated = replace(theirs, rating=Rating(value=4, feedback="Good"))
            messages.remember(tx, ME, "r2r:c1", [rated], settled=True)
            unsaid = MessageRecord(
                id="theirs",
                conversation_id="r2r:c1",
                author=theirs.author,
                role=theirs.role,
                text=theirs.text,
            )
            messages.remember(tx, ME, "r2r:c1", [unsaid], settled=True)

        await store.write(make)
        kept = await store.read(
            partial(messages.get, principal=ME, conversation_id="r2r:c1", message_id="theirs")
        )

        assert kept.metadata == {"output_tokens": 7}
        assert kept.rating == Rating(value=4, feedback="Good")


async def test_calls_of_which_only_the_kind_is_kept_are_not_given_a_name(path: Path) -> None:
    """Where no contents are kept, nobody knows what tool it was."""
    async with Store(path, content_free=frozenset({"r2r"})) as store:

        def make(tx: Transaction) -> None:
            draft = ConversationDraft(agent="r2r:rag", native_id="c1")
            conversations.insert(tx, ME, "r2r:c1", draft, Status.OPEN)
            call = Event(EventKind.TOOL_CALL_START, {"tool_call_id": "1", "tool": "secret"})
            journal.append(tx, ME, "r2r:c1", [call], "run_1")

        await store.write(make)
        figures = await store.read(partial(analytics.of_conversation, principal=ME, conversation_id="r2r:c1"))

        assert figures.tool_calls == {}
