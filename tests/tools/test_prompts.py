"""What a person starts from a host's menu, as it reads there and as a model gets it."""

import re
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, TextContent

from tertulia_tools.prompts import MAX_OPEN
from tertulia_tools.results import MAX_RESULT
from tertulia_tools.uris import conversation_uri
from tests.doubles.hosts import Connect, Host
from tests.doubles.stage import ACTOR, script
from tests.tools.checks import ALLOWED, HOSTILE, hidden

pytestmark = pytest.mark.anyio


async def prompt(host: Host, name: str, **arguments: str) -> str:
    """Return the text of a prompt: one message of the person's, which every host keeps whole."""
    (message,) = (await host.client.get_prompt(name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    assert len(message.content.text) <= MAX_RESULT
    return message.content.text


async def refused(host: Host, name: str, **arguments: str) -> str:
    """Return why there is no such prompt."""
    with pytest.raises(MCPError) as caught:
        await host.client.get_prompt(name, arguments)
    assert caught.value.error.code == INVALID_PARAMS
    return caught.value.error.message


async def waiting(host: Host, **step: Any) -> tuple[str, str]:
    """Have a tool wait for a decision; return the ids of its conversation and request."""
    sent = await host.call(
        "send_message", agent=ACTOR, text=script({"ask": "delete", "arguments": {}, **step})
    )
    return str(sent["conversation_id"]), str(sent["pending"][0]["request_id"])


async def test_a_menu_says_what_each_prompt_does_and_needs(connect: Connect) -> None:
    """A host shows names, titles, descriptions and arguments."""
    async with connect() as host:
        prompts = (await host.client.list_prompts()).prompts

    assert {
        each.name: [(argument.name, argument.required) for argument in each.arguments or []]
        for each in prompts
    } == {
        "hand_over": [("agent", True), ("task", True)],
        "let_agents_talk": [("first", True), ("second", True), ("subject", True)],
        "catch_up": [("conversation", True), ("since", False)],
        "review_approvals": [],
    }
    assert all(each.title and each.description for each in prompts)
    assert all(argument.description for each in prompts for argument in each.arguments or [])


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"toolsets": "browse"}, ["catch_up"]),
        ({"read_only": True}, ["catch_up"]),
        ({"tools": "confirm_tool"}, ["catch_up", "review_approvals"]),
    ],
    ids=["browsing", "reading only", "confirming"],
)
async def test_a_prompt_that_lacks_its_tools_is_not_offered(
    connect_in_memory: Connect, flags: dict[str, Any], names: list[str]
) -> None:
    """Nobody is sent to a tool that is not there."""
    async with connect_in_memory(**flags) as host:
        offered = [each.name for each in (await host.client.list_prompts()).prompts]
        said = await refused(host, "hand_over", agent=ACTOR, task="Count.")

    assert offered == names
    assert said == f"There is no prompt “hand_over”. Valid: {', '.join(names)}."


async def test_handing_over_tells_what_the_agent_is_and_what_to_do(connect: Connect) -> None:
    """The task is the person's own; what the agent says of itself stands between marks."""
    async with connect() as host:
        text = await prompt(host, "hand_over", agent=ACTOR, task="Count to ten.")

    assert f"over to the agent {ACTOR}" in text
    assert "\nTask: Count to ten.\n" in text
    assert re.search(rf"The agent: {ACTOR}: <(q\w{{16}})>Plays the script it is sent\.</\1>\n", text)
    assert "send_message" in text
    assert "confirm_tool" in text
    assert "Open conversations" not in text


async def test_letting_two_talk_names_both_and_leaves_decisions_to_the_person(
    connect_in_memory: Connect,
) -> None:
    """Who is not known is answered with those who are."""
    async with connect_in_memory() as host:
        two = {"first": ACTOR, "second": "local:archivist"}
        text = await prompt(host, "let_agents_talk", **two, subject="Tabs or spaces.")
        said = await refused(host, "let_agents_talk", first=ACTOR, second="stage:nobody", subject="Tabs.")

    assert f"Let the agents {ACTOR} and local:archivist talk" in text
    assert "\nSubject: Tabs or spaces.\n" in text
    assert "wait for what I say" in text
    assert ACTOR in said


async def test_handing_over_offers_to_go_on_with_an_open_conversation(connect_in_memory: Connect) -> None:
    """The most recent ones with that agent that still take messages, and no more than a few."""
    async with connect_in_memory() as host:
        ids: list[str] = []
        for number in range(MAX_OPEN + 2):
            made = await host.call("create_conversation", agent=ACTOR, title=f"Number {number}")
            ids.append(str(made["conversation_id"]))
        await host.call("update_status", conversation_id=ids[-1], status="canceled")
        await host.call("create_conversation", agent="local:archivist")
        text = await prompt(host, "hand_over", agent=ACTOR, task="Count.")

    assert re.findall(r"^- (\S+) · submitted", text, re.MULTILINE) == ids[-2:0:-1]


async def test_an_unknown_agent_is_answered_with_the_known_ones(connect_in_memory: Connect) -> None:
    """So that the person can choose."""
    async with connect_in_memory() as host:
        said = await refused(host, "hand_over", agent="nobody", task="Count.")

    assert said == f"There is no agent “nobody”. Valid: local:archivist, {ACTOR}."


async def test_catching_up_shows_where_a_conversation_stands(connect: Connect) -> None:
    """Its newest messages, how the newest answer went, and what waits for a decision."""
    async with connect() as host:
        sent = await host.call("send_message", agent=ACTOR, text="Good morning.")
        own_id = sent["conversation_id"]
        calm = await prompt(host, "catch_up", conversation=own_id)
        asked = await host.call(
            "send_message", conversation_id=own_id, text=script({"ask": "delete", "arguments": {"x": 1}})
        )
        tense = await prompt(host, "catch_up", conversation=own_id)

    assert re.search(r"· user \(user\) · \S+\n<(q\w{16})>Good morning\.</\1>\n", calm)
    assert re.search(rf"· {ACTOR} \(assistant\) · \S+\n<(q\w{{16}})>You said: Good morning\.</\1>\n", calm)
    assert "The newest answer is completed." in calm
    assert "wants to run" not in calm
    assert f"{ACTOR} wants to run " in tense
    assert f"(confirmation {asked['pending'][0]['request_id']})" in tense


async def test_a_conversation_is_found_by_words_of_its_title(connect_in_memory: Connect) -> None:
    """Nobody types an id; where words fit several, the person is told which."""
    async with connect_in_memory() as host:
        ids = [
            str((await host.call("create_conversation", agent=ACTOR, title=title))["conversation_id"])
            for title in ("Renewals at Acmé", "Renewals at Initech")
        ]
        found = await prompt(host, "catch_up", conversation="acme renew")
        several = await refused(host, "catch_up", conversation="renewals")
        none = await refused(host, "catch_up", conversation="holidays")

    assert ids[0] in found
    unmarked = re.sub(r"</?q\w{16}>", "", several)
    assert f"{ids[1]} (Renewals at Initech), {ids[0]} (Renewals at Acmé)" in unmarked
    assert none.startswith("No conversation is called “holidays”.")


async def test_catching_up_since_a_date_leaves_out_what_was_before(connect_in_memory: Connect) -> None:
    """A day, or a moment of it."""
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text="Good morning.")
        own_id = sent["conversation_id"]
        past = await prompt(host, "catch_up", conversation=own_id, since="2020-02-29")
        future = await prompt(host, "catch_up", conversation=own_id, since="2999-01-01T12:00:00+02:00")
        unset = await prompt(host, "catch_up", conversation=own_id, since="")
        wrong = await refused(host, "catch_up", conversation=own_id, since="last week")

    assert "since 2020-02-29T00:00:00Z" in past
    assert "Good morning." in past
    assert "since 2999-01-01T10:00:00Z" in future
    assert "There are no messages since then." in future
    assert "Good morning." in unset
    assert re.match(r"`since` is not a date: <q\w{16}>last week</q\w{16}>\. Valid: 2026-11-21", wrong)


async def test_a_long_conversation_is_shown_from_its_end(connect_in_memory: Connect) -> None:
    """As much as fits, and where the rest is."""
    async with connect_in_memory() as host:
        made = await host.call("create_conversation", agent=ACTOR)
        own_id = made["conversation_id"]
        for number in range(12):
            await host.call("send_message", conversation_id=own_id, text=f"Number {number} {'x' * 800}")
        text = await prompt(host, "catch_up", conversation=own_id)
        await host.call("send_message", conversation_id=own_id, text=script({"say": '"\n' * 10_000}))
        longer = await prompt(host, "catch_up", conversation=own_id)

    shown = [int(number) for number in re.findall(r"You said: Number (\d+)", text)]
    assert shown == list(range(min(shown), 12))
    assert min(shown) > 0
    assert f"the resource {conversation_uri(own_id)} has all of them" in text
    assert "characters)" in longer


async def test_reviewing_names_every_request_and_who_asks(connect: Connect) -> None:
    """Each with what is needed to settle it, and none is settled by that."""
    async with connect() as host:
        nothing = await prompt(host, "review_approvals")
        asked = [await waiting(host, arguments={"path": f"/tmp/{number}"}) for number in range(3)]
        text = await prompt(host, "review_approvals")
        again = await prompt(host, "review_approvals")

    assert "no agent waits" in nothing
    for number, (own_id, request) in enumerate(asked):
        assert re.search(
            rf"^- In {own_id}, since \S+Z: {ACTOR} wants to run .*/tmp/{number}.* \(confirmation {request}\)",
            text,
            re.MULTILINE,
        )
    assert re.sub(r"q\w{16}", "", again) == re.sub(r"q\w{16}", "", text)


async def test_more_requests_than_fit_are_counted(connect_in_memory: Connect) -> None:
    """Nobody is left to think that these are all."""
    async with connect_in_memory() as host:
        for number in range(12):
            await waiting(host, arguments={"number": number, "text": "y" * 2_000})
        text = await prompt(host, "review_approvals")

    shown = text.count(" wants to run ")
    assert 0 < shown < 12
    assert f"{12 - shown} more are pending" in text


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("hand_over", {}, "The prompt hand_over needs `agent` and `task`."),
        ("catch_up", {}, "The prompt catch_up needs `conversation`."),
        (
            "take_over",
            {},
            "There is no prompt “take_over”. Valid: hand_over, let_agents_talk, catch_up, review_approvals.",
        ),
        ("review_approvals", {"all": "yes"}, "The arguments do not fit. `all`: unexpected keyword argument."),
    ],
)
async def test_what_is_missing_or_unknown_is_said_in_a_sentence(
    connect_in_memory: Connect, name: str, arguments: dict[str, str], said: str
) -> None:
    """With the error that the protocol has for it."""
    async with connect_in_memory() as host:
        assert (await refused(host, name, **arguments)).startswith(said)


async def test_nothing_hidden_reaches_a_model_by_a_prompt(connect_in_memory: Connect) -> None:
    """Not in titles, requests and messages, nor in what the person pasted."""
    async with connect_in_memory() as host:
        made = await host.call("create_conversation", agent=ACTOR, title=ALLOWED)
        own_id = made["conversation_id"]
        step = {"ask": HOSTILE, "arguments": {HOSTILE: HOSTILE}, "prompt": HOSTILE}
        await host.call("send_message", conversation_id=own_id, text=script({"say": HOSTILE}))
        await host.call("send_message", conversation_id=own_id, text=script(step))
        texts = [
            await prompt(host, "hand_over", agent=ACTOR, task=HOSTILE),
            await prompt(host, "catch_up", conversation=own_id),
            await prompt(host, "review_approvals"),
            await refused(host, "catch_up", conversation=HOSTILE),
            await refused(host, "hand_over", agent=HOSTILE, task="x"),
            await refused(host, HOSTILE),
        ]

    for text in texts:
        assert not hidden(text), text
