"""Conversations at AgentFlow: agents, lists, searches, messages, titles, deleting."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tertulia import (
    ConflictError,
    ConversationChanges,
    ConversationQuery,
    Feature,
    InvalidInputError,
    Message,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotAllowedError,
    NotFoundError,
    NotOffered,
    Role,
    RunStatus,
    SearchQuery,
    SortKey,
    Status,
    UnavailableError,
    UncertainError,
)
from tertulia.platforms.agentflow import platform as agentflow
from tertulia.platforms.base import Platform
from tertulia.vocabulary.models import ConversationRecord, Page
from tests.client.platforms.agentflow import MAIN, Place, answered, placed
from tests.doubles.agentflow import AgentFlowDouble
from tests.doubles.agentflow_scripts import BEGAN
from tests.doubles.network import answer, drop, lose
from tests.support.place import SECONDS, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

HERE = ConversationQuery(instance="agentflow")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return AgentFlow as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def test_agents_are_addressed_by_name(place: Place) -> None:
    """One whose name is taken, or cannot be one, by its id."""
    place.double.agents |= {"agent_2": "MainAgent", "agent_3": "", "agent_4": "two\nlines"}
    async with place.client() as client:
        agents = await client.agents.list("agentflow")

    assert [agent.address for agent in agents] == [
        "agentflow:MainAgent",
        "agentflow:Researcher",
        "agentflow:agent_2",
        "agentflow:agent_3",
        "agentflow:agent_4",
    ]
    assert all(agent.available for agent in agents)
    assert Feature.EDIT_ARGUMENTS in agents[0].features


async def test_agents_that_cannot_be_read_are_said_to_be_unknown(place: Place) -> None:
    """Listing them does not fail; those that were known stay, as not available."""
    async with place.client(token="wrong") as client:
        (unknown,) = await client.agents.list("agentflow")
    async with place.client() as client:
        await client.agents.list("agentflow")
        place.double.tokens.clear()
        known = await client.agents.list("agentflow")

    assert (unknown.address, unknown.available) == ("agentflow", False)
    assert unknown.hint is not None
    assert unknown.hint.startswith("Set `token` (or AGENTFLOW_TOKEN)")
    assert [agent.address for agent in known] == [MAIN, "agentflow:Researcher"]
    assert not any(agent.available for agent in known)


async def test_an_unknown_agent_is_refused_with_those_there_are_and_the_nearest(place: Place) -> None:
    """Nothing is created."""
    async with place.client() as client:
        with pytest.raises(NotFoundError, match="Did you mean agentflow:MainAgent") as caught:
            await client.conversations.create(NewConversation(agent="agentflow:MainAgnet"))

    assert caught.value.valid == ("agentflow:MainAgent", "agentflow:Researcher")
    assert place.double.conversations == {}


async def test_an_agent_that_is_new_there_is_found(place: Place) -> None:
    """The names are kept, and read again when one is missing."""
    async with place.client() as client:
        await client.conversations.create(NewConversation(agent=MAIN))
        await client.conversations.create(NewConversation(agent=MAIN))
        place.double.agents["agent_new"] = "Newcomer"
        created = await client.conversations.create(
            NewConversation(agent="agentflow:Newcomer", title="First")
        )

    assert (created.agent, created.title, created.status) == ("agentflow:Newcomer", "First", Status.OPEN)
    assert place.count("GET", "/agents") == 2


async def test_what_the_wire_of_creating_has_no_place_for_is_refused(place: Place) -> None:
    """Before anything is created."""
    async with place.client() as client:
        with pytest.raises(NotOffered):
            await client.conversations.create(NewConversation(agent=MAIN, metadata={"team": "sales"}))
        with pytest.raises(InvalidInputError, match="has “colour”, which AgentFlow does not know"):
            await client.conversations.create(NewConversation(agent=MAIN, context={"colour": "red"}))

    assert place.count("POST", "/conversations") == 0


async def test_a_creation_whose_response_was_lost_is_found(place: Place) -> None:
    """By agent, title and time, among what is unknown here."""
    async with place.client() as client:
        place.double.add(7, title="Renewal")
        place.faults.plan("POST", "/conversations", lose)
        created = await client.conversations.create(NewConversation(agent=MAIN, title="Renewal"))

    assert created.id == "agentflow:conv_2"
    assert len(place.double.conversations) == 2


async def test_a_creation_that_was_lost_is_uncertain_and_made_when_it_is_repeated(place: Place) -> None:
    """With the same key, it is looked for first."""
    place.faults.plan("POST", "/conversations", drop)
    async with place.client() as client:
        with pytest.raises(UncertainError):
            await client.conversations.create(
                NewConversation(agent=MAIN, title="Renewal"), idempotency_key="k"
            )
        created = await client.conversations.create(
            NewConversation(agent=MAIN, title="Renewal"), idempotency_key="k"
        )

    assert [*place.double.conversations] == [created.id.partition(":")[2]]


async def test_where_a_conversation_comes_from_goes_with_its_messages(place: Place) -> None:
    """The call that creates it has no place for that; lists find it by that afterwards."""
    async with place.client() as client:
        created = await client.conversations.create(
            NewConversation(agent=MAIN, source="crm", source_ref="deal-7")
        )
        sent = await client.runs.send(created.id, MessageDraft(text="hello"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        found = await client.conversations.list(replace(HERE, source="crm", source_ref="deal-7"))
        with pytest.raises(InvalidInputError, match="no place for `entity_type`"):
            await client.conversations.create(NewConversation(agent=MAIN, entity_type="lead"))

    assert (created.source, created.source_ref) == ("crm", "deal-7")
    assert [body.get("source_id") for body in place.double.bodies] == [None, "deal-7"]
    assert [one.id for one in found.items] == [created.id]


async def test_what_a_record_does_not_say_stays_as_it_was_known(place: Place) -> None:
    """Neither a record without a source, nor null before the first message has carried it, takes the source away."""
    async with place.client() as client:
        created = await client.conversations.create(
            NewConversation(agent=MAIN, source="crm", source_ref="deal-7", context={"model": "large"})
        )
        got = await client.conversations.get(created.id)
        (listed,) = (await client.conversations.list(HERE)).items

    for one in (got, listed):
        assert (one.source, one.source_ref, one.context) == ("crm", "deal-7", {"model": "large"})


async def test_a_conversation_is_read_as_it_is_there(place: Place) -> None:
    """Its count of messages is not told there."""
    place.double.add(1, active=False)
    async with place.client() as client:
        got = await client.conversations.get("agentflow:conv_1")
        with pytest.raises(NotFoundError, match="AgentFlow has no conversation agentflow:conv_9"):
            await client.conversations.get("agentflow:conv_9")

    assert (got.agent, got.title, got.status) == (MAIN, "Title 1", Status.COMPLETED)
    assert got.created_at == BEGAN + timedelta(minutes=1)


async def test_ids_never_change_which_call_is_made(place: Place) -> None:
    """Whatever stands in them."""
    async with place.client() as client:
        with pytest.raises(NotFoundError):
            await client.conversations.get("agentflow:..%2Fagents")
        with pytest.raises(InvalidInputError):
            await client.conversations.get("agentflow:..")

    assert place.double.calls == ["GET /api/v1/conversations/..%2Fagents"]


async def listed(platform: Platform, query: ConversationQuery) -> list[Page[ConversationRecord]]:
    """Return all pages of a list."""
    pages = [await platform.list("local", query)]
    while pages[-1].next_cursor is not None:
        pages.append(await platform.list("local", replace(query, cursor=pages[-1].next_cursor)))
    return pages


async def test_a_list_is_agentflow_s_own_page_by_page(place: Place) -> None:
    """With its total, its order, and one call for each page."""
    for number in range(5):
        place.double.add(number)
    async with place.platform() as platform:
        pages = await listed(platform, replace(HERE, limit=2))

    assert [[one.id.rpartition("_")[2] for one in page.items] for page in pages] == [
        ["4", "3"],
        ["2", "1"],
        ["0"],
    ]
    assert [page.total for page in pages] == [5, 5, 5]
    assert place.count("GET", "/conversations") == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (replace(HERE, agent="agentflow:Researcher"), ["3"]),
        (replace(HERE, source="crm"), ["3", "1"]),
        (replace(HERE, exclude_source="crm"), ["2", "0"]),
        (replace(HERE, source_ref="deal-1"), ["1"]),
        (replace(HERE, created_after=BEGAN + timedelta(minutes=2)), ["3", "2"]),
        (replace(HERE, created_before=BEGAN + timedelta(minutes=2)), ["1", "0"]),
        (replace(HERE, source="crm", created_before=BEGAN + timedelta(minutes=2)), ["1"]),
        (replace(HERE, statuses=frozenset({Status.COMPLETED})), ["0"]),
        (replace(HERE, sort=SortKey.TITLE, descending=False), ["0", "1", "2", "3"]),
        (replace(HERE, sort=SortKey.CREATED), ["3", "2", "1", "0"]),
        (
            replace(HERE, ids=frozenset({"agentflow:conv_2", "agentflow:conv_0", "agentflow:gone"})),
            ["2", "0"],
        ),
        (replace(HERE, ids=frozenset({"agentflow:conv_1"}), source="crm"), ["1"]),
        (replace(HERE, metadata={"team": "sales"}), []),
        (replace(HERE, archived=True), []),
    ],
)
async def test_filters_and_orders_that_the_wire_lacks_are_ours(
    place: Place, query: ConversationQuery, found: list[str]
) -> None:
    """Together with those it has; cursors and totals hold, one conversation at a time or all at once."""
    place.double.add(0, active=False)
    place.double.add(1, source="crm", source_id="deal-1")
    place.double.add(2)
    place.double.add(3, source="crm", agent_id="agent_re")
    async with place.client() as client:
        await client.conversations.list(HERE)
        whole = await client.conversations.list(query)
    async with place.platform() as platform:
        pages = await listed(platform, replace(query, limit=1))

    assert [one.id.rpartition("_")[2] for one in whole.items] == found
    assert [one.id.rpartition("_")[2] for page in pages for one in page.items] == found
    assert {page.total for page in [whole, *pages]} == {len(found)}


async def test_an_unknown_agent_is_not_listed_as_having_nothing(place: Place) -> None:
    """It is refused; an agent of another instance has nothing here."""
    async with place.client() as client:
        with pytest.raises(NotFoundError, match="There is no agent agentflow:Nobody"):
            await client.conversations.list(replace(HERE, agent="agentflow:Nobody"))
        elsewhere = await client.conversations.list(replace(HERE, agent="local:archivist"))

    assert (elsewhere.items, elsewhere.total) == ([], 0)


async def test_conversations_that_wait_for_a_decision_are_listed(place: Place) -> None:
    """AgentFlow does not tell; we do."""
    place.double.add(1)
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        waiting = await client.conversations.list(replace(HERE, awaiting=True))

    assert [one.id for one in waiting.items] == [outcome.run.conversation_id]


async def test_too_many_to_filter_here_are_not_filtered_in_part(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to narrow it down."""
    monkeypatch.setattr(agentflow, "MOST_READ", 100)
    for number in range(101):
        place.double.add(number)
    async with place.client() as client:
        with pytest.raises(InvalidInputError, match="more than 100 such conversations") as caught:
            await client.conversations.list(replace(HERE, sort=SortKey.TITLE))

    assert caught.value.hint is not None
    assert "`source_ref`" in caught.value.hint


async def test_all_users_are_listed_for_whom_the_configuration_allows_it(place: Place) -> None:
    """And only together with a `source_ref`: AgentFlow's rule."""
    place.double.add(1, source_id="deal-1", user="somebody")
    place.double.add(2, source_id="deal-1")
    everybody = replace(HERE, all_users=True, source_ref="deal-1")
    async with place.client(all_users=["local"], principals=["local", "visitor"]) as client:
        allowed = await client.conversations.list(everybody)
        with pytest.raises(NotAllowedError):
            await client.as_principal("visitor").conversations.list(everybody)
    async with place.platform(all_users=["local"]) as platform:
        with pytest.raises(InvalidInputError, match="only together with a `source_ref`"):
            await platform.list("local", replace(HERE, all_users=True))
        with pytest.raises(NotAllowedError, match="may not list what other users have"):
            await platform.list("visitor", everybody)
        own = await platform.list("visitor", replace(everybody, all_users=False))
    async with place.platform() as platform:
        with pytest.raises(NotAllowedError):
            await platform.list("local", everybody)

    assert [one.id for one in allowed.items] == ["agentflow:conv_2", "agentflow:conv_1"]
    assert [one.id for one in own.items] == ["agentflow:conv_2"]
    assert sum("all_users" in query for query in place.double.queries) == 1


async def test_a_search_there_finds_titles(place: Place) -> None:
    """Up to a hundred, in pages of ours; what the wire cannot filter is filtered here."""
    for number in range(3):
        place.double.add(number, title=f"Acme {number}")
    place.double.add(3, title="Other")
    place.double.add(4, title="ACME too", agent_id="agent_re")
    query = SearchQuery(text="acme", instance="agentflow", limit=2)
    async with place.platform() as platform:
        first = await platform.search("local", query)
        second = await platform.search("local", replace(query, cursor=first.next_cursor))
        of_agent = await platform.search("local", replace(query, agent="agentflow:Researcher"))
        later = await platform.search("local", replace(query, since=BEGAN + timedelta(minutes=2), limit=9))
        one = await platform.search("local", replace(query, conversation_id="agentflow:conv_0"))
        nothing = await platform.search("local", replace(query, text="nothing"))
        with pytest.raises(InvalidInputError, match="belongs to a list with other filters"):
            await platform.search("local", replace(query, text="x", cursor=first.next_cursor))

    assert [hit.snippet for hit in [*first.hits, *second.hits]] == ["ACME too", "Acme 2", "Acme 1", "Acme 0"]
    assert second.next_cursor is None
    assert (first.total, of_agent.total, nothing.total) == (None, 1, 0)
    assert [hit.conversation_id for hit in of_agent.hits] == ["agentflow:conv_4"]
    assert [hit.conversation_title for hit in later.hits] == ["ACME too", "Acme 2"]
    assert [hit.conversation_id for hit in one.hits] == ["agentflow:conv_0"]
    assert (first.hits[0].message_id, first.hits[0].at) == (None, BEGAN + timedelta(minutes=4))


@pytest.mark.parametrize("newest_first", [False, True])
async def test_messages_are_paged_in_both_directions(place: Place, newest_first: bool) -> None:
    """Without gap or repetition."""
    conversation = place.double.add(1)
    conversation.messages += [
        {"id": f"msg_{n}", "role": ("user", "assistant")[n % 2], "content": f"text {n}", "timestamp": None}
        for n in range(5)
    ]
    async with place.client() as client:
        found: list[Message] = []
        cursor: str | None = None
        while True:
            page = await client.messages.list(
                "agentflow:conv_1", MessageQuery(cursor=cursor, limit=2, newest_first=newest_first)
            )
            found += page.items
            assert page.total == 5
            cursor = page.next_cursor
            if cursor is None:
                break
        with pytest.raises(NotOffered):
            await client.messages.list("agentflow:conv_1", MessageQuery(branch="b"))

    texts = [f"text {n}" for n in range(5)]
    assert [message.text for message in found] == (texts[::-1] if newest_first else texts)
    assert {message.role for message in found} == {Role.USER, Role.ASSISTANT}
    by_role = {message.role: message.author for message in found}
    assert by_role[Role.USER] == "user"


async def test_who_answers_is_named_where_the_conversation_is_known(place: Place) -> None:
    """By the agent's address."""
    async with place.client() as client:
        outcome = await answered(client, "hello")
        page = await client.messages.list(outcome.run.conversation_id)

    assert [message.author for message in page.items] == ["user", MAIN]


@pytest.mark.parametrize(
    ("draft", "sentence"),
    [
        (MessageDraft(text="hi", role=Role.SYSTEM), "text of the role `user` only"),
        (MessageDraft(data={"a": 1}), "no `data` with a message"),
        (MessageDraft(text="hi", type="note"), "no `type` with a message"),
        (MessageDraft(text="hi", parent_id="m_1"), "no `parent_id` with a message"),
        (MessageDraft(text="hi", context={"colour": "red"}), "has “colour”"),
    ],
)
async def test_a_message_that_agentflow_does_not_take_is_refused(
    place: Place, draft: MessageDraft, sentence: str
) -> None:
    """Before it is sent."""
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=MAIN))
        with pytest.raises(InvalidInputError, match=sentence):
            await client.runs.send(conversation.id, draft)

    assert place.count("POST", "/chat") == 0


async def test_a_title_is_set_generated_and_kept_unless_forced(place: Place) -> None:
    """From a seed message, or from what was said."""
    async with place.client() as client:
        outcome = await answered(client, "hello")
        own_id = outcome.run.conversation_id
        made = await client.conversations.generate_title(own_id)
        kept = await client.conversations.generate_title(own_id, seed_message="Acme")
        forced = await client.conversations.generate_title(own_id, seed_message="Acme", force=True)
        renamed = await client.conversations.update(own_id, ConversationChanges(title="Mine"))
        again = await client.conversations.get(own_id)

    assert [one.title for one in (made, kept, forced, renamed, again)] == [
        "About hello",
        "About hello",
        "About Acme",
        "Mine",
        "Mine",
    ]
    generated = [body for body in place.double.bodies if "force" in body]
    assert generated == [{"force": False}, {"seed_message": "Acme", "force": True}]


async def test_a_title_whose_response_was_lost_is_looked_at(place: Place) -> None:
    """It is there, or it is uncertain."""
    place.double.add(1)
    place.faults.plan("PATCH", "/conv_1", lose, drop)
    async with place.client() as client:
        renamed = await client.conversations.update("agentflow:conv_1", ConversationChanges(title="Mine"))
        with pytest.raises(UncertainError):
            await client.conversations.update("agentflow:conv_1", ConversationChanges(title="Other"))

    assert renamed.title == "Mine"


@pytest.mark.parametrize(
    "changes", [ConversationChanges(metadata={"a": 1}), ConversationChanges(title="x", archived=True)]
)
async def test_nothing_but_a_title_can_be_changed(place: Place, changes: ConversationChanges) -> None:
    """Nothing is done in part."""
    place.double.add(1)
    async with place.client() as client:
        with pytest.raises(NotOffered):
            await client.conversations.update("agentflow:conv_1", changes)

    assert place.double.conversations["conv_1"].title == "Title 1"


async def test_a_conversation_is_deleted_there_and_here(place: Place) -> None:
    """For good."""
    async with place.client() as client:
        outcome = await answered(client, "hello xylophone")
        await client.conversations.delete(outcome.run.conversation_id)
        with pytest.raises(NotFoundError, match="AgentFlow has no conversation"):
            await client.conversations.get_stored(outcome.run.conversation_id)
        with pytest.raises(NotFoundError):
            await client.conversations.delete("agentflow:conv_9")
        found = await client.search.messages(SearchQuery(text="xylophone"))

    assert (place.double.conversations, found.hits) == ({}, [])


async def test_an_answer_of_somebody_else_s_in_the_conversation_is_waited_for_by_the_sender(
    place: Place,
) -> None:
    """AgentFlow refuses the message: nothing was sent."""
    place.faults.plan("POST", "/chat", answer(409, {"detail": "Busy"}))
    async with place.client() as client:
        outcome = await answered(client, "hello")
        again = await client.runs.send(outcome.run.conversation_id, MessageDraft(text="hello again"))
        second = await client.runs.wait(again.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error is not None
    assert outcome.run.error.startswith(
        "AgentFlow finds that this does not fit the present state of agentflow:"
    )
    assert second.reply == "You said: hello again"
    assert [one["role"] for one in place.double.conversations[native(outcome)].messages] == [
        "user",
        "assistant",
    ]


async def test_a_second_message_during_an_answer_is_refused_here(place: Place) -> None:
    """It waits for a decision first, and says so."""
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        with pytest.raises(ConflictError, match="waits for a decision on"):
            await client.runs.send(outcome.run.conversation_id, MessageDraft(text="and?"))


async def test_what_answers_at_a_wrong_address_is_no_agentflow(place: Place) -> None:
    """It says which setting to check."""
    async with place.client(base_url=f"{place.url}/elsewhere") as client:
        with pytest.raises(UnavailableError, match="is no AgentFlow") as caught:
            await client.conversations.list(HERE)

    assert caught.value.hint is not None
    assert "`base_url`" in caught.value.hint


async def test_a_deployment_that_calls_itself_by_its_api_s_address_is_found(place: Place) -> None:
    """`/api/v1` behind the address is left out."""
    place.double.add(1)
    async with place.client(base_url=f"{place.url}/api/v1/") as client:
        assert (await client.conversations.get("agentflow:conv_1")).title == "Title 1"


async def test_a_deployment_that_names_no_agents_still_lists_its_conversations(tmp_path: Path) -> None:
    """Their agents are unknown then."""
    async with placed(tmp_path, AgentFlowDouble()) as place, place.client() as client:
        place.double.add(1)
        place.faults.plan("GET", "/agents", answer(500))
        page = await client.conversations.list(HERE)

    assert [(one.id, one.agent) for one in page.items] == [("agentflow:conv_1", None)]
