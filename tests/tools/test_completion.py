"""What a host suggests while a person types an argument of a prompt, or a variable of a resource's template."""

from inspect import signature
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Completion, PromptReference, ResourceTemplateReference

from tertulia.store import conversations
from tertulia.store.database import Store
from tertulia.vocabulary.models import ConversationDraft
from tertulia.vocabulary.states import Status
from tertulia_tools.completion import MAX_VALUES
from tertulia_tools.prompts import PROMPTS
from tertulia_tools.resources import TEMPLATES
from tertulia_tools.uris import CONVERSATIONS, TRANSCRIPT
from tests.doubles.hosts import Connect, Host
from tests.doubles.stage import ACTOR

pytestmark = pytest.mark.anyio

CATCH_UP = PromptReference(name="catch_up")
HAND_OVER = PromptReference(name="hand_over")
Reference = PromptReference | ResourceTemplateReference


def template(uri: str) -> ResourceTemplateReference:
    """Return the reference to a template."""
    return ResourceTemplateReference(uri=uri)


async def complete(host: Host, ref: Reference, name: str, typed: str, **given: str) -> Completion:
    """Return what is suggested for an argument, when others were given before."""
    argument = {"name": name, "value": typed}
    return (await host.client.complete(ref, argument, context_arguments=given or None)).completion


async def values(host: Host, ref: Reference, name: str, typed: str, **given: str) -> list[str]:
    """Return the values that are suggested, which are all there are."""
    found = await complete(host, ref, name, typed, **given)
    assert found.has_more is False
    assert found.total == len(found.values)
    return found.values


async def titled(host: Host, *titles: str, agent: str = ACTOR) -> list[str]:
    """Create conversations with these titles; return their ids."""
    made = [await host.call("create_conversation", agent=agent, title=title) for title in titles]
    return [str(each["conversation_id"]) for each in made]


async def test_a_conversation_is_suggested_by_words_of_its_title(connect: Connect) -> None:
    """In any order, whatever their case and accents, and the last one while it is being typed."""
    async with connect() as host:
        acme, initech, budget = await titled(host, "Renewals at Acmé", "Renewals at Initech", "Budget")
        found = {
            typed: await values(host, CATCH_UP, "conversation", typed)
            for typed in ("", "i", "ACME ren", "renewals", "budget x", "\"'*-")
        }

    assert found == {
        "": [budget, initech, acme],
        "i": [initech],
        "ACME ren": [acme],
        "renewals": [initech, acme],
        "budget x": [],
        "\"'*-": [],
    }


async def test_a_conversation_is_suggested_by_the_beginning_of_its_id(connect_in_memory: Connect) -> None:
    """With its instance or without."""
    async with connect_in_memory() as host:
        (own_id,) = await titled(host, "Renewals")
        for typed in (own_id, own_id[:9], own_id.partition(":")[2][:4]):
            assert await values(host, CATCH_UP, "conversation", typed) == [own_id]


async def test_a_template_takes_the_part_of_the_id_behind_its_instance(connect_in_memory: Connect) -> None:
    """Only of the instance that was chosen before it."""
    async with connect_in_memory() as host:
        (there,) = await titled(host, "Renewals")
        (here,) = await titled(host, "Renewals", agent="local:archivist")
        ref = template(TRANSCRIPT)
        everywhere = await values(host, ref, "conversation", "renew")
        chosen = await values(host, ref, "conversation", "renew", instance="local")
        typed = await values(host, ref, "conversation", here.partition(":")[2][:3], instance="local")
        nowhere = await values(host, ref, "conversation", "renew", instance="elsewhere")

    assert everywhere == [here.removeprefix("local:"), there.removeprefix("stage:")]
    assert chosen == typed == [here.removeprefix("local:")]
    assert nowhere == []


async def test_agents_instances_states_and_dates_are_suggested(connect: Connect) -> None:
    """What begins as typed comes first, then what has it further on."""
    async with connect() as host:
        ref = template(CONVERSATIONS)
        assert await values(host, HAND_OVER, "agent", "") == ["local:archivist", ACTOR]
        assert await values(host, HAND_OVER, "agent", "ACT") == [ACTOR]
        assert await values(host, ref, "agent", "", instance="local") == ["local:archivist"]
        assert await values(host, ref, "instance", "st") == ["stage"]
        assert await values(host, ref, "status", "c") == ["completed", "canceled", "rejected"]
        assert len(await values(host, CATCH_UP, "since", "2")) == 4


async def test_more_than_a_hundred_are_not_suggested_but_said_to_be_there(connect_in_memory: Connect) -> None:
    """The protocol allows a hundred; a host that sees `hasMore` asks the person to type on."""
    async with connect_in_memory() as host:
        await titled(host, "The first")
        draft = ConversationDraft(agent=ACTOR, native_id="", title="Renewals")
        async with Store(host.store) as store:
            await store.write(
                lambda tx: [
                    conversations.insert(tx, "local", f"stage:{number:04}", draft, Status.OPEN)
                    for number in range(MAX_VALUES + 1)
                ]
            )
        many = await complete(host, CATCH_UP, "conversation", "renew")
        all_of_them = await values(host, CATCH_UP, "conversation", "stage:000")

    assert len(many.values) == len(set(many.values)) == MAX_VALUES
    assert (many.has_more, many.total) == (True, None)
    assert len(all_of_them) == 10


async def test_free_text_is_not_suggested(connect_in_memory: Connect) -> None:
    """A person's own words, and cursors, are nobody's to guess."""
    async with connect_in_memory() as host:
        assert await values(host, HAND_OVER, "task", "Cou") == []
        assert await values(host, template(TRANSCRIPT), "after", "") == []


EVERY_ARGUMENT = [
    *(
        (PromptReference(name=each.name), name)
        for each in PROMPTS
        for name in signature(each.function).parameters
    ),
    *((template(each.uri), name) for each in TEMPLATES for name in signature(each.read).parameters),
]


@pytest.mark.parametrize("typed", ["", "x", '"%_*\\:\u202e' * 100])
async def test_every_argument_can_be_completed_whatever_is_typed(
    connect_in_memory: Connect, typed: str
) -> None:
    """A host asks for each of them, at every key."""
    async with connect_in_memory() as host:
        for ref, name in EVERY_ARGUMENT:
            if name != "ctx":
                assert len((await complete(host, ref, name, typed, instance="x")).values) <= MAX_VALUES


@pytest.mark.parametrize(
    ("ref", "name", "said"),
    [
        (PromptReference(name="take_over"), "agent", "There is no prompt of that name. Valid: hand_over,"),
        (template("file://{path}"), "path", "There is no template of that name. Valid: conversation://"),
        (CATCH_UP, "ctx", "That prompt has no such argument. Valid: conversation, since."),
    ],
)
async def test_what_cannot_be_completed_is_said_in_a_sentence(
    connect_in_memory: Connect, ref: Any, name: str, said: str
) -> None:
    """With the error that the protocol has for it."""
    async with connect_in_memory() as host:
        with pytest.raises(MCPError) as caught:
            await complete(host, ref, name, "")

    assert caught.value.error.code == INVALID_PARAMS
    assert caught.value.error.message.startswith(said)
