"""Conversations at Knowrithm, through the façade and the platform, against its double."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConflictError,
    ConversationChanges,
    ConversationQuery,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    Role,
    SearchQuery,
    SortKey,
    Status,
    UnavailableError,
    UncertainError,
)
from tertulia.platforms.kit.numbered_pages import MOST_PAGES
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Rating
from tests.client.platforms.knowrithm import SUPPORT, Place, answered, placed
from tests.doubles.clocks import SkippingClock
from tests.doubles.knowrithm import AGENT, KEY, OTHER_AGENT, SECRET, KnowrithmDouble, refusal
from tests.doubles.network import answer, drop, lose
from tests.support.place import native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

HERE = ConversationQuery(instance="knowrithm")
OLDER = {Feature.END, Feature.RATING, Feature.RATE_MESSAGE, Feature.METADATA, Feature.ARCHIVE}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Knowrithm as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def listed(client: Client, query: ConversationQuery = HERE) -> list[str]:
    """Return the titles of all pages, after seeing that none is too long."""
    titles: list[str] = []
    while True:
        page = await client.conversations.list(query)
        assert len(page.items) <= query.limit
        titles += [one.title or "" for one in page.items]
        if page.next_cursor is None:
            return titles
        query = replace(query, cursor=page.next_cursor)


@pytest.mark.parametrize("nests", [True, False])
@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("name", ["support", AGENT])
async def test_a_conversation_is_created_with_an_agent_by_name_or_id(
    place: Place, name: str, nests: bool, later: bool
) -> None:
    """With a title and metadata; however the answer is wrapped, and whether it comes now or as a task."""
    place.double.nests, place.double.creates_later = nests, later
    async with place.client() as client:
        context = {"max_context_length": 2000}
        created = await client.conversations.create(
            NewConversation(agent=f"knowrithm:{name}", title="Plans", metadata={"k": 1}, context=context)
        )
        read = await client.conversations.get(created.id)

    assert (created.title, created.metadata, created.context) == ("Plans", {"k": 1}, context)
    assert (created.status, read) == (Status.OPEN, replace(created, agent=read.agent))
    assert read.agent == SUPPORT
    assert place.double.bodies == [
        {"agent_id": AGENT, "title": "Plans", "metadata": {"k": 1}, "max_context_length": 2000}
    ]


@pytest.mark.parametrize("entity_type", ["user", "LEAD", None])
async def test_a_conversation_has_an_entity_type(place: Place, entity_type: str | None) -> None:
    """In lower case, as the wire takes it, whatever the case it comes back in."""
    async with place.client() as client:
        created = await client.conversations.create(NewConversation(agent=SUPPORT, entity_type=entity_type))
        (record,) = [one.record for one in place.double.conversations.values()]
        record["entity_type"] = record["entity_type"].upper()
        read = await client.conversations.get(created.id)

    expected = (entity_type or "user").lower()
    assert created.entity_type == read.entity_type == expected
    assert place.double.bodies[0].get("entity_type") == (entity_type and expected)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": "crm"}, "has no place for `source`"),
        ({"source_ref": "7"}, "has no place for `source_ref`"),
        ({"participants": {"a": "observer"}}, "has no place for `participants`"),
        ({"context": {"a": 1}}, "has “a”, which Knowrithm does not know"),
        ({"context": {"max_context_length": "2000"}}, "must be a whole number"),
        ({"context": {"max_context_length": True}}, "must be a whole number"),
    ],
)
async def test_what_a_conversation_cannot_carry_there_is_refused_and_not_dropped(
    place: Place, given: dict[str, Any], sentence: str
) -> None:
    """Before anything is sent."""
    async with place.client() as client:
        with pytest.raises(InvalidInputError, match=sentence):
            await client.conversations.create(NewConversation(agent=SUPPORT, **given))
    assert place.double.calls == []


async def test_an_agent_that_is_not_there_is_refused_with_those_that_are(place: Place) -> None:
    """By Knowrithm, since any id may be one."""
    async with place.client() as client:
        with pytest.raises(NotFoundError, match="knows no agent knowrithm:nobody") as caught:
            await client.conversations.create(NewConversation(agent="knowrithm:nobody"))
    assert caught.value.valid == (SUPPORT,)


async def test_an_account_without_named_agents_says_how_to_name_one(place: Place) -> None:
    """An agent can be talked to by its id all the same."""
    async with place.client(agents={}) as client:
        (agent,) = await client.agents.list("knowrithm")
        created = await client.conversations.create(NewConversation(agent=f"knowrithm:{AGENT}"))
    assert (agent.available, agent.address) == (False, "knowrithm")
    assert "[instances.knowrithm.agents]" in (agent.hint or "")
    assert created.agent == f"knowrithm:{AGENT}"


async def test_a_creation_whose_answer_was_lost_is_found_in_the_list(place: Place) -> None:
    """It is not made twice."""
    place.faults.plan("POST", "/conversation", lose)
    async with place.client() as client:
        created = await client.conversations.create(
            NewConversation(agent=SUPPORT, title="Plans", metadata={"k": 1})
        )
    assert [created.id] == [f"knowrithm:{one}" for one in place.double.conversations]


async def test_a_creation_that_cannot_be_found_is_uncertain_until_the_call_is_repeated(place: Place) -> None:
    """With the same key; another conversation of that title that is known here is not taken for it."""
    async with place.client() as client:
        other = await client.conversations.create(NewConversation(agent=SUPPORT, title="Plans"))
        place.faults.plan("POST", "/conversation", drop)
        with pytest.raises(UncertainError, match="whether the conversation was created"):
            await client.conversations.create(
                NewConversation(agent=SUPPORT, title="Plans"), idempotency_key="k"
            )
        created = await client.conversations.create(
            NewConversation(agent=SUPPORT, title="Plans"), idempotency_key="k"
        )
        again = await client.conversations.create(
            NewConversation(agent=SUPPORT, title="Plans"), idempotency_key="k"
        )
    assert created.id == again.id != other.id
    assert len(place.double.conversations) == 2


async def test_a_creation_whose_task_fails_says_so(place: Place) -> None:
    """Nothing was made."""
    place.faults.plan("POST", "/conversation", answer(202, {"status": "queued", "task_id": "t1"}))
    failed = {"status": "failed", "error": {"message": "No room", "code": "DB_1"}}
    place.faults.plan("GET", "/tasks/t1/status", answer(200, failed))
    async with place.client() as client:
        with pytest.raises(UnavailableError, match=r"failed over it: “No room” \(code “DB_1”\)") as caught:
            await client.conversations.create(NewConversation(agent=SUPPORT))
    assert caught.value.ids["upstream_code"] == "DB_1"


@pytest.mark.parametrize("under", ["conversations", "items", "data", "results", ""])
@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("tells_pages", [True, False])
async def test_lists_are_read_however_they_are_wrapped_and_however_much_a_page_holds(
    place: Place, under: str, as_text: bool, tells_pages: bool
) -> None:
    """None is lost and none comes twice, whatever the limit."""
    double = place.double
    double.listed_under, double.as_text, double.tells_pages = under, as_text, tells_pages
    double.most_per_page = 3
    for number in range(8):
        double.add(title=f"{number}")
    async with place.client() as client:
        for limit in (1, 3, 4, 20):
            assert await listed(client, replace(HERE, limit=limit)) == list("76543210")


async def test_a_server_without_pages_is_not_asked_for_ever(place: Place) -> None:
    """It returns the same list for every page."""
    place.double.knows_pages = place.double.tells_pages = False
    for number in range(3):
        place.double.add(title=f"{number}")
    async with place.client() as client:
        assert await listed(client) == ["2", "1", "0"]
        assert await listed(client, replace(HERE, limit=1)) == ["2", "1", "0"]
        with pytest.raises(NotFoundError):
            await client.conversations.get("knowrithm:none")


async def test_a_page_goes_on_behind_the_last_although_others_were_begun_meanwhile(place: Place) -> None:
    """They push what was shown further down, where it is not shown again."""
    for number in range(6):
        place.double.add(title=f"{number}")
    async with place.client() as client:
        page = await client.conversations.list(replace(HERE, limit=2))
        place.double.add(title="new")
        later = await listed(client, replace(HERE, limit=2, cursor=page.next_cursor))
    assert ([one.title for one in page.items], later) == (["5", "4"], ["3", "2", "1", "0"])


async def test_what_the_wire_can_filter_it_is_asked_to_filter(place: Place) -> None:
    """Agent, state and time of creation; what it cannot is looked at here, to the end of the list."""
    double = place.double
    at = datetime(2026, 3, 1, tzinfo=UTC)
    double.add(title="mine", created_at=at.isoformat(), metadata={"team": "sales"}, entity_type="LEAD")
    double.add(title="later", created_at=(at + timedelta(days=1)).isoformat())
    double.add(title="other", agent_id=OTHER_AGENT, created_at=at.isoformat())
    double.add(title="archived", status="archived")
    double.add(title="ended", status="ended")
    double.add(title="deleted", status="deleted")

    async with place.client() as client:

        async def asked(**filters: Any) -> list[str]:
            return sorted(await listed(client, replace(HERE, **filters)))

        assert await asked(agent=SUPPORT) == ["ended", "later", "mine"]
        assert await asked(agent="other:x") == await asked(agent="knowrithm:none") == []
        assert await asked(statuses=frozenset({Status.OPEN})) == ["later", "mine", "other"]
        assert await asked(statuses=frozenset({Status.COMPLETED})) == ["ended"]
        assert await asked(archived=True) == ["archived"]
        assert await asked(statuses=frozenset({Status.OPEN}), archived=True) == []
        assert await asked(statuses=frozenset({Status.PAUSED})) == await asked(awaiting=True) == []
        assert await asked(created_after=at, created_before=at + timedelta(days=1)) == ["mine", "other"]
        assert await asked(entity_type="lead") == await asked(metadata={"team": "sales"}) == ["mine"]
        ids = frozenset(f"knowrithm:{one}" for one in list(double.conversations)[:2])
        assert await asked(ids=ids) == ["later", "mine"]

    asked_for = " ".join(double.calls)
    for part in (
        f"agent_id={AGENT}",
        "status=active",
        "status=archived",
        "created_after=2026-02-28T23",
        "created_before=2026-03-02T00",
    ):
        assert part in asked_for


async def test_a_filter_that_leaves_little_reads_only_so_much_for_one_call(place: Place) -> None:
    """A page may be empty then, and have one behind it."""
    place.double.most_per_page = 1
    place.double.add(title="sought", entity_type="lead")
    for number in range(MOST_PAGES + 1):
        place.double.add(title=f"{number}")
    query = replace(HERE, entity_type="lead")
    async with place.client() as client:
        first = await client.conversations.list(query)
        assert (first.items, first.next_cursor is None) == ([], False)
        assert await listed(client, query) == ["sought"]


@pytest.mark.parametrize(
    "query",
    [replace(HERE, sort=SortKey.TITLE), replace(HERE, descending=False)],
)
async def test_another_order_of_the_list_is_not_offered(place: Place, query: ConversationQuery) -> None:
    """It says where there is one."""
    async with place.client() as client:
        with pytest.raises(NotOffered, match="in its own order") as caught:
            await client.conversations.list(query)
    assert "Leave out `instance`" in (caught.value.hint or "")


@pytest.mark.parametrize("limit", [0, 101])
async def test_a_limit_out_of_range_is_refused(place: Place, limit: int) -> None:
    """Of conversations, of messages, and of a search."""
    native_id = place.double.add()
    async with place.platform() as platform:
        for call in (
            platform.list("local", replace(HERE, limit=limit)),
            platform.search("local", SearchQuery(text="a", limit=limit)),
            platform.messages("local", native_id, MessageQuery(limit=limit)),
        ):
            with pytest.raises(InvalidInputError, match="must be from 1 to 100"):
                await call


async def test_one_conversation_is_read_by_way_of_the_list(place: Place) -> None:
    """Wherever it is there; once it is known, where the store says that it is."""
    double = place.double
    double.most_per_page = 2
    sought = double.add(title="sought", agent_id=OTHER_AGENT, created_at="2026-01-01T10:00:00")
    archived = double.add(title="old", status="archived")
    for number in range(7):
        double.add(title=f"{number}")
    async with place.client() as client:
        found = await client.conversations.get(f"knowrithm:{sought}")
        first = len(double.calls)
        assert await client.conversations.get(found.id) == found
        again = double.calls[first:]
        old = await client.conversations.get(f"knowrithm:{archived}")

    assert (found.title, found.agent, found.status) == ("sought", f"knowrithm:{OTHER_AGENT}", Status.OPEN)
    assert found.created_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert (old.status, old.archived) == (Status.COMPLETED, True)
    assert len(again) == 1
    assert f"agent_id={OTHER_AGENT}" in again[0]
    assert "created_after=2025-12-31" in again[0]


async def test_filters_that_a_server_does_not_take_are_done_without(place: Place) -> None:
    """To find one conversation, all of the list is read then."""
    place.double.refused_filters = ("created_after", "status", "agent_id")
    async with place.client() as client:
        created = await client.conversations.create(NewConversation(agent=SUPPORT, title="Plans"))
        assert (await client.conversations.get(created.id)).title == "Plans"
        with pytest.raises(NotFoundError, match="has no conversation knowrithm:none"):
            await client.conversations.get("knowrithm:none")


async def test_a_conversation_too_far_back_is_told_as_such(place: Place) -> None:
    """It may be there."""
    place.double.most_per_page = 1
    sought = place.double.add()
    for _ in range(MOST_PAGES):
        place.double.add()
    async with place.client() as client:
        with pytest.raises(NotFoundError, match="is not among the first") as caught:
            await client.conversations.get(f"knowrithm:{sought}")
    assert "narrow them down" in (caught.value.hint or "")


@pytest.mark.parametrize("native_id", ["none", "..", "a/b", "%2e%2e", "a?b=c#d"])
async def test_an_id_that_knowrithm_does_not_know_is_not_found(place: Place, native_id: str) -> None:
    """Nor does it lead anywhere else."""
    async with place.platform() as platform:
        with pytest.raises((NotFoundError, InvalidInputError)):
            await platform.get("local", native_id)
        with pytest.raises((NotFoundError, InvalidInputError)):
            await platform.delete("local", native_id)
    assert not any(call.startswith("DELETE /api/v1/conversation?") for call in place.double.calls)


async def test_knowrithm_finds_titles(place: Place) -> None:
    """By the text of its own list; narrowed down here by agent, conversation and time."""
    double = place.double
    for title in ("Plans A", "Plans B", "Prices"):
        double.add(title=title)
    other = double.add(title="Plans C", agent_id=OTHER_AGENT, created_at="2026-01-01T10:00:00Z")
    at = datetime(2026, 1, 1, 10, tzinfo=UTC)

    async with place.platform() as platform:

        async def found(**more: Any) -> list[str]:
            query = SearchQuery(text="plans", limit=2, **more)
            hits: list[str] = []
            while True:
                result = await platform.search("local", query)
                hits += [hit.snippet for hit in result.hits]
                if result.next_cursor is None:
                    return hits
                query = replace(query, cursor=result.next_cursor)

        assert await found() == ["Plans C", "Plans B", "Plans A"]
        assert await found(agent=SUPPORT) == ["Plans B", "Plans A"]
        assert await found(agent="elsewhere:x") == []
        assert await found(conversation_id=f"knowrithm:{other}") == ["Plans C"]
        assert await found(until=at + timedelta(seconds=1)) == ["Plans C"]
        assert await found(until=at) == []
        assert await found(since=at + timedelta(seconds=1)) == ["Plans B", "Plans A"]
        (hit,) = (await platform.search("local", SearchQuery(text="plans c"))).hits
    assert (hit.conversation_id, hit.message_id, hit.at) == (f"knowrithm:{other}", None, at)


@pytest.mark.parametrize("tells_pages", [True, False])
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("per_page", [4, 100])
async def test_messages_come_in_pages_in_both_directions(
    place: Place, newest_first: bool, tells_pages: bool, per_page: int
) -> None:
    """Whatever a page of the wire holds, and whatever it tells of its pages."""
    double = place.double
    double.tells_pages, double.most_per_page = tells_pages, per_page
    native_id = double.add()
    for number in range(11):
        double.say(native_id, "assistant" if number % 2 else "user", f"{number}")
    expected = [f"{number}" for number in range(11)]

    async with place.client() as client:
        for limit in (1, 3, 5, 11, 100):
            texts: list[str | None] = []
            cursor = None
            while True:
                page = await client.messages.list(
                    f"knowrithm:{native_id}",
                    MessageQuery(cursor=cursor, limit=limit, newest_first=newest_first),
                )
                assert len(page.items) <= limit
                texts += [message.text for message in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert texts == (expected[::-1] if newest_first else expected)


async def test_a_message_has_what_knowrithm_tells_of_it(place: Place) -> None:
    """Author, time, model and what it cites."""
    async with place.client() as client:
        outcome = await answered(client, "hi")
        _, reply = (await client.messages.list(outcome.run.conversation_id)).items
        with pytest.raises(NotOffered, match="branches"):
            await client.messages.list(outcome.run.conversation_id, MessageQuery(branch="b"))

    assert (reply.author, reply.role, reply.text) == (SUPPORT, Role.ASSISTANT, "You said: hi")
    assert reply.metadata["model_used"] == "gpt"
    assert reply.data == {"citations": [{"title": "Prices", "url": "https://example.org/prices"}]}
    assert reply.created_at is not None


async def test_a_message_is_found_once_though_it_was_seen_twice(place: Place) -> None:
    """When it was answered, and when its conversation was read."""
    async with place.client() as client:
        outcome = await answered(client, "hi")
        await client.messages.list(outcome.run.conversation_id)
        found = await client.search.messages(SearchQuery(text="said"))
    assert len(found.hits) == 1


async def test_a_deleted_conversation_is_gone_and_can_be_brought_back(place: Place) -> None:
    """Both may be a task first."""
    async with place.client() as client:
        created = await client.conversations.create(
            NewConversation(agent=SUPPORT, title="Plans", metadata={"k": 1})
        )
        await client.conversations.delete(created.id)
        with pytest.raises(NotFoundError):
            await client.conversations.get(created.id)
        assert await listed(client) == []
        restored = await client.conversations.restore(created.id)
        assert await listed(client) == ["Plans"]
        with pytest.raises(NotFoundError):
            await client.conversations.restore("knowrithm:none")
    assert (restored.id, restored.title, restored.metadata) == (created.id, "Plans", {"k": 1})


async def test_a_deletion_whose_task_does_not_end_is_uncertain(place: Place) -> None:
    """It was taken."""
    place.clock = SkippingClock(factor=500)
    place.double.slow = 1000
    native_id = place.double.add()
    async with place.platform() as platform:
        with pytest.raises(UncertainError, match="has taken the call, but not said that it is done"):
            await platform.delete("local", native_id)


async def test_figures_are_mapped_onto_ours_and_the_rest_is_kept(place: Place) -> None:
    """They are Knowrithm's own."""
    native_id = place.double.add(rating=4)
    place.double.say(native_id, "user", "hi")
    async with place.client() as client:
        figures = await client.conversations.analytics(f"knowrithm:{native_id}")
        with pytest.raises(NotFoundError):
            await client.conversations.analytics("knowrithm:none")

    assert (figures.computed, figures.messages, figures.duration_seconds) == (False, {"total": 1}, 90)
    assert (figures.rating, figures.ratings, figures.tokens) == (4, 1, None)
    assert figures.details == {
        "conversation_id": native_id,
        "message_statistics": {"average_length": 12.5},
    }


async def test_the_older_wire_ends_rates_archives_and_sets_metadata(place: Place) -> None:
    """Where a server still has it, all of it stays offered."""
    place.double.older = True
    async with place.client() as client:
        outcome = await answered(client, "hi", metadata={"a": 1, "b": 2})
        own_id = outcome.run.conversation_id
        page = await client.messages.list(own_id)
        rated = await client.messages.rate(own_id, page.items[1].id, Rating(value=5, feedback="Clear"))
        changed = await client.conversations.update(
            own_id, ConversationChanges(metadata={"a": None, "c": {"d": 3}})
        )
        ended = await client.conversations.update_status(
            own_id, Status.COMPLETED, rating=Rating(value=4, feedback="Slow")
        )
        with pytest.raises(ConflictError, match="is completed, which is final"):
            await client.runs.send(own_id, MessageDraft(text="more"))
        archived = await client.conversations.update(own_id, ConversationChanges(archived=True))
        read = await client.conversations.get(own_id)
        with pytest.raises(ConflictError, match="is in the archive"):
            await client.runs.send(own_id, MessageDraft(text="more"))
        with pytest.raises(NotFoundError, match="has no message “none”"):
            await client.messages.rate(own_id, "none", Rating(value=5))
        (agent,) = await client.agents.list("knowrithm")

    record = place.double.conversations[native(outcome)].record
    assert (rated.text, rated.rating and rated.rating.value) == ("You said: hi", 5)
    assert changed.metadata == read.metadata == record["metadata"] == {"b": 2, "c": {"d": 3}}
    assert (ended.status, ended.rating) == (Status.COMPLETED, Rating(value=4, feedback="Slow"))
    assert (archived.status, archived.archived, read.archived) == (Status.COMPLETED, True, True)
    assert place.double.ratings == [
        {"rating": 5, "feedback": "Clear"},
        {"satisfaction_rating": 4, "feedback": "Slow"},
    ]
    assert agent.features >= OLDER


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_the_older_wire_is_asked_once(place: Place, status: int) -> None:
    """Then it is not offered any more, in this process."""
    place.double.lacks = status
    async with place.client() as client:
        outcome = await answered(client, "hi")
        own_id = outcome.run.conversation_id
        message = (await client.messages.list(own_id)).items[1]
        calls = (
            ("end", lambda: client.conversations.update_status(own_id, Status.COMPLETED)),
            ("rate_message", lambda: client.messages.rate(own_id, message.id, Rating(value=5))),
            (
                "metadata",
                lambda: client.conversations.update(own_id, ConversationChanges(metadata={"a": 1})),
            ),
            (
                "archive",
                lambda: client.conversations.update(own_id, ConversationChanges(archived=True)),
            ),
        )
        for feature, call in calls:
            assert feature in (await client.agents.list("knowrithm"))[0].features
            for _ in range(2):
                with pytest.raises(NotOffered, match=f"of knowrithm does not have {feature}") as caught:
                    await call()
                assert "offer" in (caught.value.hint or "")
        (agent,) = await client.agents.list("knowrithm")

    assert not agent.features & OLDER
    writes = [call for call in place.double.calls if call.split()[0] in {"PUT", "PATCH", "POST"}]
    assert len(writes) == 2 + len(calls)


async def test_a_conversation_that_is_not_there_does_not_pass_for_a_call_that_is_not(place: Place) -> None:
    """What is offered stays offered."""
    place.double.older = True
    async with place.client() as client:
        with pytest.raises(NotFoundError):
            await client.conversations.update_status("knowrithm:none", Status.COMPLETED)
        with pytest.raises(NotFoundError):
            await client.conversations.update("knowrithm:none", ConversationChanges(archived=True))
        with pytest.raises(NotFoundError):
            await client.messages.rate("knowrithm:none", "m", Rating(value=1))
        assert (await client.agents.list("knowrithm"))[0].features >= OLDER


async def test_a_call_of_the_older_wire_that_fails_stays_offered(place: Place) -> None:
    """It is there, or may be."""
    place.double.older = True
    native_id = place.double.add()
    place.faults.plan("PATCH", "/archive", answer(503, refusal()), drop)
    async with place.client() as client:
        with pytest.raises(UnavailableError):
            await client.conversations.update(f"knowrithm:{native_id}", ConversationChanges(archived=True))
        with pytest.raises(UncertainError):
            await client.conversations.update(f"knowrithm:{native_id}", ConversationChanges(archived=True))
        assert (
            await client.conversations.update(f"knowrithm:{native_id}", ConversationChanges(archived=True))
        ).archived


async def test_metadata_that_the_list_does_not_show_is_not_lost_over_a_change(place: Place) -> None:
    """What the store knows of it is kept."""
    place.double.older = True
    async with place.client() as client:
        created = await client.conversations.create(NewConversation(agent=SUPPORT, metadata={"a": 1}))
        place.double.shows_metadata = False
        await client.conversations.update(created.id, ConversationChanges(metadata={"b": 2}))
    (conversation,) = place.double.conversations.values()
    assert conversation.record["metadata"] == {"a": 1, "b": 2}


async def test_lists_do_not_find_a_conversation_by_the_last_key_of_metadata_once_it_is_removed(
    place: Place,
) -> None:
    """Whether it is removed through Tertulia or by somebody else at Knowrithm."""
    place.double.older = True
    stored = ConversationQuery(metadata={"team": "sales"})
    async with place.client() as client:
        new = NewConversation(agent=SUPPORT, metadata={"team": "sales"})
        first = (await client.conversations.create(replace(new, title="First"))).id
        second = (await client.conversations.create(replace(new, title="Second"))).id
        before = await listed(client, stored)
        changed = await client.conversations.update(first, ConversationChanges(metadata={"team": None}))
        place.double.conversations[second.partition(":")[2]].record["metadata"] = {}
        read = await client.conversations.get(second)
        after = [await listed(client, query) for query in (stored, replace(stored, instance="knowrithm"))]

    assert sorted(before) == ["First", "Second"]
    assert (changed.metadata, read.metadata, after) == ({}, {}, [[], []])


async def test_what_knowrithm_does_not_offer_is_said_with_who_does(place: Place) -> None:
    """And nothing is called."""
    own_id = f"knowrithm:{place.double.add()}"
    async with place.client() as client:
        await client.conversations.get(own_id)
        before = len(place.double.calls)
        for call in (
            client.conversations.update(own_id, ConversationChanges(title="Mine")),
            client.conversations.update_status(own_id, Status.PAUSED),
            client.conversations.branches(own_id),
            client.conversations.participants(own_id),
            client.messages.add(own_id, MessageDraft(text="hi")),
            client.conversations.generate_title(own_id),
        ):
            with pytest.raises(NotOffered):
                await call
        with pytest.raises(NotOffered, match="brings a conversation back from its archive"):
            await client.conversations.update(own_id, ConversationChanges(archived=False))
        with pytest.raises(InvalidInputError, match="keeps no reason"):
            await client.conversations.update_status(own_id, Status.COMPLETED, reason="done")
    assert len(place.double.calls) == before


async def test_a_refusal_carries_its_code_and_what_is_wrong_with_which_field(place: Place) -> None:
    """In the error's ids, and quoted in its sentence."""
    body = refusal("Validation failed", "DOC_001", {"field": ["msg", "more"], "other": "bad"})
    place.faults.plan("POST", "/conversation", answer(400, body))
    async with place.client() as client:
        with pytest.raises(InvalidInputError) as caught:
            await client.conversations.create(NewConversation(agent=SUPPORT))
    assert caught.value.ids == {"instance": "knowrithm", "status": 400, "upstream_code": "DOC_001"}
    assert str(caught.value) == (
        "Knowrithm cannot use this call. It says: “Validation failed; field: msg, more; other: bad (DOC_001)”."
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "No", "code": "C"}}, "No (C)"),
        ({"detail": "No"}, "No"),
        ({"message": "No", "error_code": "C"}, "No (C)"),
        ({"code": "C"}, "C"),
        ([1], None),
        ({"error": 7, "details": 8}, None),
    ],
)
async def test_a_refusal_is_read_in_whatever_shape_it_comes(
    place: Place, body: Any, said: str | None
) -> None:
    """Also in one that says nothing."""
    place.faults.plan("POST", "/conversation", answer(400, body))
    async with place.client() as client:
        with pytest.raises(InvalidInputError) as caught:
            await client.conversations.create(NewConversation(agent=SUPPORT))
    says = "" if said is None else f" It says: “{said}”."
    assert str(caught.value) == f"Knowrithm cannot use this call.{says}"


@pytest.mark.parametrize("body", [{"conversations": 7}, {}, "text", None, 3])
async def test_what_is_no_list_is_told_as_such(place: Place, body: Any) -> None:
    """With what to check."""
    place.faults.plan("GET", "/conversation", answer(200, body))
    async with place.client() as client:
        with pytest.raises(UnavailableError, match="returned no list of conversations") as caught:
            await client.conversations.list(HERE)
    assert not caught.value.retryable


def settings(path: Path, environment: dict[str, str] | None = None, /, **options: Any) -> ClientSettings:
    instance = InstanceSettings(platform="knowrithm", options=options, environment=environment or {})
    return ClientSettings(store=path / "store.db", instances={"lab": instance})


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({}, "Set KNOWRITHM_API_KEY in the environment, or `api_key` in [instances.lab]."),
        (
            {"api_key": KEY},
            "Set KNOWRITHM_API_SECRET in the environment, or `api_secret` in [instances.lab].",
        ),
    ],
)
async def test_an_instance_without_credentials_says_what_to_set_and_cannot_be_used(
    tmp_path: Path, options: dict[str, Any], hint: str
) -> None:
    """It is listed all the same."""
    async with Client.open(settings(tmp_path, **options, agents={"support": AGENT})) as client:
        (agent,) = await client.agents.list("lab")
        assert (agent.available, agent.hint) == (False, hint)
        for call in (
            client.conversations.create(NewConversation(agent="lab:support")),
            client.conversations.get("lab:1"),
            client.conversations.list(ConversationQuery(instance="lab")),
        ):
            with pytest.raises(NotConfiguredError, match="lab is not configured yet") as caught:
                await call
            assert caught.value.hint == hint


async def test_the_credentials_may_come_from_the_environment(tmp_path: Path) -> None:
    """Under their documented names."""
    async with placed(tmp_path) as place:
        environment = {
            "KNOWRITHM_API_KEY": KEY,
            "KNOWRITHM_API_SECRET": SECRET,
            "KNOWRITHM_API_BASE": place.url,
        }
        async with Client.open(settings(tmp_path, environment)) as client:
            assert (
                await client.conversations.create(NewConversation(agent=f"lab:{AGENT}"))
            ).agent == f"lab:{AGENT}"


async def test_wrong_credentials_are_told_as_such(place: Place) -> None:
    """Without showing them."""
    async with place.client(api_secret="wr-ong") as client:
        with pytest.raises(NotConfiguredError, match="does not accept the key and secret") as caught:
            await client.conversations.list(HERE)
    assert "wr-ong" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"apikey": "se-cret"}, "an option `apikey`, which its platform does not know"),
        ({"api_secret": "x\ny"}, "`api_secret` of the instance lab must be printable ASCII"),
        ({"agents": "se-cret"}, "`agents` of the instance lab must be a table"),
        ({"agents": {"a": 7}}, "must give the id of an agent, as text, to each name"),
        ({"agents": {"a": " "}}, "must give the id of an agent, as text, to each name"),
        ({"agents": {"": "x1"}}, "is not an agent's address"),
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """Without showing what may be a secret."""
    with pytest.raises(InvalidInputError) as caught:
        async with Client.open(settings(tmp_path, **options)):
            pass
    assert sentence in str(caught.value)
    assert "se-cret" not in str(caught.value)


async def test_two_accounts_stand_side_by_side(tmp_path: Path) -> None:
    """Each with agents of its own."""
    async with placed(tmp_path, KnowrithmDouble()) as place:
        instances = {
            "one": place.instance_settings(),
            "two": place.instance_settings(agents={"sales": OTHER_AGENT}),
        }
        async with Client.open(ClientSettings(store=tmp_path / "s.db", instances=instances)) as client:
            first = await client.conversations.create(NewConversation(agent="one:support"))
            second = await client.conversations.create(NewConversation(agent="two:sales"))
            page = await client.conversations.list(ConversationQuery(instance="two"))
    assert (first.agent, second.agent) == ("one:support", "two:sales")
    assert {one.agent for one in page.items} == {f"two:{AGENT}", "two:sales"}
