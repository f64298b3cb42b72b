"""What goes wrong is told so that a model can act on it: one clear sentence, the valid values, the next step."""

from typing import Any

import anyio
import pytest

from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import Connect, Host, Reply
from tests.doubles.stage import ACTOR, script
from tests.tools.checks import RAW

pytestmark = pytest.mark.anyio

NO_CONVERSATION = "stage:0000000000"


def assert_clear(reply: Reply, *, says: str) -> None:
    """See that a failure says this, in both forms alike, and shows nothing of what is behind it."""
    assert reply.failed
    assert reply.text.startswith(f"Error ({reply['error']}")
    assert says in reply.text
    assert not RAW.search(reply.text), reply.text
    assert "None" not in reply.text
    for name, value in reply.data.items():
        if name in {"message", "next"}:
            assert value in reply.text
            assert value.endswith((".", "?")), value
        elif name == "valid":
            assert ", ".join(value) in reply.text
        elif name == "retryable":
            assert "can be retried" in reply.text
        else:
            assert str(value) in reply.text
    assert "\n" not in reply["message"]
    assert len(reply.text) <= 10_000


async def send(host: Host, text: str = "Hello.", **arguments: Any) -> Reply:
    """Send to a new conversation with the actor."""
    return await host.call("send_message", agent=ACTOR, text=text, **arguments)


async def test_each_failure_is_a_result_in_both_forms(connect: Connect) -> None:
    """Neither transport nor era makes a protocol error of it."""
    async with connect() as host:
        unknown = await host.fail("send_message", agent="stage:acter", text="Hello.")
        wrong = await host.fail("send_message", agent=ACTOR, text={"not": "text"})
        no_tool = await host.fail("send_massage", agent=ACTOR, text="Hello.")
        long = await host.fail("send_message", agent=ACTOR, text="x" * 3_000_000)

    assert_clear(unknown, says="There is no agent stage:acter. Did you mean stage:actor?")
    assert_clear(wrong, says="`text`")
    assert_clear(no_tool, says="There is no tool `send_massage`.")
    assert "send_message" in no_tool["valid"]
    assert_clear(long, says="`text` has 3,000,000 bytes")


async def test_an_unknown_agent_names_the_nearest_and_those_there_are(connect_in_memory: Connect) -> None:
    """A model corrects its next call from that."""
    async with connect_in_memory() as host:
        for tool, text in (("send_message", {"text": "Hi."}), ("create_conversation", {})):
            reply = await host.fail(tool, agent="local:archivits", **text)
            assert_clear(reply, says="Did you mean local:archivist?")
            assert reply["error"] == "not_found"
            assert reply["valid"] == ["local:archivist"]


@pytest.mark.parametrize(
    "agent", ["archivist", ":", "local:", ":archivist", "lo cal:x", "local:x\n", "x" * 1_000]
)
async def test_what_is_no_address_says_what_one_looks_like(connect_in_memory: Connect, agent: str) -> None:
    """An example is worth more than a rule."""
    async with connect_in_memory() as host:
        reply = await host.fail("send_message", agent=agent, text="Hi.")

    assert_clear(reply, says="an address looks like `local:archivist`")
    assert "list_agents" in reply["next"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_agents", {"instance": "elsewhere"}),
        ("send_message", {"agent": "elsewhere:bob", "text": "Hi."}),
        ("create_conversation", {"agent": "elsewhere:bob"}),
        ("get_conversation", {"conversation_id": "elsewhere:1"}),
        ("list_conversations", {"instance": "elsewhere"}),
        ("search_conversations", {"query": "x", "instance": "elsewhere"}),
    ],
)
async def test_an_unknown_instance_names_those_there_are(
    connect_in_memory: Connect, tool: str, arguments: dict[str, Any]
) -> None:
    """Wherever an instance can be named."""
    async with connect_in_memory() as host:
        reply = await host.fail(tool, **arguments)

    assert_clear(reply, says="There is no instance “elsewhere”.")
    assert reply["valid"] == ["local", "stage"]


CONVERSATION_TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("send_message", {"text": "Hi."}),
    ("stream_conversation", {}),
    ("cancel_run", {}),
    ("get_conversation", {}),
    ("list_messages", {}),
    ("update_conversation", {"title": "New"}),
    ("update_status", {"status": "paused"}),
    ("delete_conversation", {}),
]


@pytest.mark.parametrize(("tool", "arguments"), CONVERSATION_TOOLS)
async def test_an_unknown_conversation_says_how_to_find_one(
    connect_in_memory: Connect, tool: str, arguments: dict[str, Any]
) -> None:
    """Every tool that takes a conversation says the same."""
    async with connect_in_memory() as host:
        reply = await host.fail(tool, conversation_id=NO_CONVERSATION, **arguments)
        malformed = await host.fail(tool, conversation_id="nonsense", **arguments)

    assert_clear(reply, says=f"There is no conversation {NO_CONVERSATION}.")
    assert "list_conversations" in reply["next"]
    assert_clear(malformed, says="“nonsense” is not a conversation id: an id looks like `local:7k2mq9x4ab`.")


async def test_an_unknown_request_says_how_to_find_one(connect_in_memory: Connect) -> None:
    """A request id that was made up approves nothing."""
    async with connect_in_memory() as host:
        reply = await host.fail("confirm_tool", request_id="req_0000000000000000", decision="approve")

        nonsense = [
            await host.fail("confirm_tool", request_id=request_id, decision="approve")
            for request_id in ("", "stage:1", "x" * 5_000, "\u202e")
        ]

    assert_clear(reply, says="There is no request req_0000000000000000.")
    assert reply["next"]
    for each in nonsense:
        assert_clear(each, says="its id looks like `req_")


async def test_a_malformed_cursor_says_where_cursors_come_from(connect_in_memory: Connect) -> None:
    """In each of the tools that take one."""
    async with connect_in_memory() as host:
        own_id = (await send(host))["conversation_id"]
        replies = [
            await host.fail(tool, cursor="page 2", **arguments)
            for tool, arguments in (
                ("stream_conversation", {"conversation_id": own_id}),
                ("list_messages", {"conversation_id": own_id}),
                ("list_conversations", {}),
                ("search_conversations", {"query": "hello"}),
            )
        ]

    for reply in replies:
        assert_clear(reply, says="page 2</")
        assert "exactly as an earlier result gave it" in reply["next"]


async def test_a_cursor_of_another_store_or_conversation_is_refused(connect_in_memory: Connect) -> None:
    """It would point at something else, silently."""
    async with connect_in_memory() as host:
        first, second = await send(host), await send(host, "Another.")
        other = await host.fail(
            "stream_conversation", conversation_id=second["conversation_id"], cursor=first["cursor"]
        )
    elsewhere = connect_in_memory.store.with_name("elsewhere.db")
    async with connect_in_memory(store=elsewhere) as host:
        own_id = (await send(host))["conversation_id"]
        foreign = await host.fail("stream_conversation", conversation_id=own_id, cursor=first["cursor"])

    assert_clear(other, says="This cursor belongs to another conversation")
    assert_clear(foreign, says="This cursor comes from another store.")
    assert "beginning" in foreign["next"]


async def test_a_cursor_of_other_filters_is_refused(connect_in_memory: Connect) -> None:
    """A page of another list is no next page."""
    async with connect_in_memory() as host:
        await send(host)
        await send(host, "Another.")
        page = await host.call("list_conversations", limit=1)
        reply = await host.fail("list_conversations", archived="both", cursor=page["next_cursor"])

    assert_clear(reply, says="This cursor belongs to a list with other filters.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "A message needs `text` or `data`."),
        (" \n\t ", "`text` is empty."),
        ("x" * 3_000_000, "`text` has 3,000,000 bytes; at most 1,048,576 are possible."),
        ("bell \x07", "`text` has a control character (U+0007) at position 5."),
        ("nul \x00", "`text` has a control character (U+0000) at position 4."),
    ],
    ids=["empty", "blank", "3 MB", "control", "nul"],
)
async def test_text_that_cannot_be_sent_says_why_and_sends_nothing(
    connect_in_memory: Connect, text: str, says: str
) -> None:
    """Nothing is half done: no conversation is left behind."""
    async with connect_in_memory() as host:
        reply = await host.fail("send_message", agent=ACTOR, text=text)
        own_id = (await host.call("create_conversation", agent=ACTOR))["conversation_id"]
        there = await host.fail("send_message", conversation_id=own_id, text=text)
        listed = await host.call("list_conversations")

    for refused in (reply, there):
        assert_clear(refused, says=says)
        assert refused["next"]
    assert [(line["conversation_id"], line["messages"]) for line in listed["conversations"]] == [(own_id, 0)]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("create_conversation", {"title": "two\nlines"}, "`title` has a control character (U+000A)"),
        ("create_conversation", {"title": "x" * 201}, "`title` has 201 characters; at most 200"),
        ("create_conversation", {"title": "  "}, "`title` is empty."),
        ("create_conversation", {"metadata": {"a": "x" * 300_000}}, "`metadata` has 300,009 bytes"),
        ("create_conversation", {"idempotency_key": " "}, "`idempotency_key` is empty."),
        ("create_conversation", {"idempotency_key": "x" * 201}, "`idempotency_key` has 201 characters"),
    ],
)
async def test_arguments_that_cannot_be_kept_say_why(
    connect_in_memory: Connect, tool: str, arguments: dict[str, Any], says: str
) -> None:
    """And nothing is created."""
    async with connect_in_memory() as host:
        reply = await host.fail(tool, agent=ACTOR, **arguments)
        listed = await host.call("list_conversations")

    assert_clear(reply, says=says)
    assert listed["total"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"text": "\ud800"}, "`text` has a lone surrogate (U+D800) at position 0."),
        ({"text": "x", "context": {"a": "\udfff"}}, "`context` has a lone surrogate (U+DFFF)"),
        ({"text": "x", "idempotency_key": "\udcff"}, "`idempotency_key` has a lone surrogate"),
        ({"text": "x", "agent": "stage:\udcff"}, "is not an agent's address"),
        ({"text": "x", "\udcff": 1}, "There is no argument"),
    ],
)
@pytest.mark.parametrize(
    "connect_in_memory", ["2026-07-28"], indirect=True
)  # the other client cannot write them
async def test_lone_surrogates_are_refused_where_a_client_can_send_them(
    connect_in_memory: Connect, arguments: dict[str, Any], says: str
) -> None:
    """JSON can spell half a character; no store can keep it."""
    async with connect_in_memory() as host:
        reply = await host.fail("send_message", **{"agent": ACTOR, **arguments})
        again = await host.call("list_conversations")

    assert_clear(reply, says=says)
    reply.text.encode()
    assert again["total"] == 0


async def test_a_transition_that_is_not_allowed_names_those_that_are(connect_in_memory: Connect) -> None:
    """And one that is final says how to go on."""
    async with connect_in_memory() as host:
        own_id = (await host.call("create_conversation", agent=ACTOR))["conversation_id"]
        refused = await host.fail("update_status", conversation_id=own_id, status="paused")
        await host.call("update_status", conversation_id=own_id, status="rejected")
        final = await host.fail("update_status", conversation_id=own_id, status="open")
        sent = await host.fail("send_message", conversation_id=own_id, text="Hello?")

    assert_clear(refused, says=f"The conversation {own_id} is submitted and cannot become paused.")
    assert refused["error"] == "conflict"
    assert refused["valid"] == ["canceled", "failed", "open", "rejected"]
    for reply in (final, sent):
        assert_clear(reply, says="create_conversation")


async def test_a_message_to_a_paused_conversation_says_how_to_open_it(connect_in_memory: Connect) -> None:
    """Pausing is not an end."""
    async with connect_in_memory() as host:
        own_id = (await send(host))["conversation_id"]
        await host.call("update_status", conversation_id=own_id, status="paused")
        refused = await host.fail("send_message", conversation_id=own_id, text="Hello?")
        await host.call("update_status", conversation_id=own_id, status="open")
        sent = await host.call("send_message", conversation_id=own_id, text="Hello?")

    assert_clear(refused, says=f"The conversation {own_id} is paused.")
    assert "update_status (status `open`)" in refused["next"]
    assert sent["status"] == "completed"


async def test_a_second_run_while_one_is_active_is_a_conflict_that_says_how_to_go_on(
    connect_in_memory: Connect,
) -> None:
    """Wait for it, settle what it asks, or stop it."""
    async with connect_in_memory() as host:
        running = await send(host, script({"hold": "curtain"}), wait_seconds=0)
        busy = await host.fail("send_message", conversation_id=running["conversation_id"], text="And?")
        asking = await send(host, script({"ask": "delete"}))
        waiting = await host.fail("send_message", conversation_id=asking["conversation_id"], text="And?")
        await host.call("cancel_run", conversation_id=running["conversation_id"])
        after = await host.call("send_message", conversation_id=running["conversation_id"], text="And?")

    assert_clear(busy, says="is still answering")
    assert busy["run_id"] == running["run_id"]
    assert "stream_conversation" in busy["next"]
    assert_clear(waiting, says=f"waits for a decision on {asking['pending'][0]['request_id']} first.")
    assert "confirm_tool" in waiting["next"]
    assert "You said: And?" in after["reply"]


async def test_a_settled_request_says_how_it_was_settled(connect_in_memory: Connect) -> None:
    """Deciding once more changes nothing, and shows what is pending now."""
    async with connect_in_memory() as host:
        asked = await send(host, script({"ask": "first"}, {"ask": "second"}))
        first = asked["pending"][0]["request_id"]
        settled = await host.call("confirm_tool", request_id=first, decision="reject")
        second = settled["pending"][0]["request_id"]
        again = await host.fail("confirm_tool", request_id=first, decision="approve")
        await host.call("confirm_tool", request_id=second, decision="approve")
        over = await host.fail("confirm_tool", request_id=second, decision="reject")

    assert_clear(again, says=f"The request {first} was rejected on ")
    assert again["valid"] == [second]
    assert_clear(over, says="was approved on ")
    assert "Nothing else is pending" in over["next"]


async def test_a_decision_must_fit_the_request(connect_in_memory: Connect) -> None:
    """A question is answered, a tool approved; each can be rejected."""
    async with connect_in_memory() as host:
        tool = (await send(host, script({"ask": "delete"})))["pending"][0]["request_id"]
        question = (await send(host, script({"question": "Which?"})))["pending"][0]["request_id"]
        answered = await host.fail("confirm_tool", request_id=tool, decision="answer", answer="yes")
        approved = await host.fail("confirm_tool", request_id=question, decision="approve")
        empty = await host.fail("confirm_tool", request_id=question, decision="answer")
        right = await host.call("confirm_tool", request_id=question, decision="answer", answer="the left one")

    assert_clear(answered, says="is a confirmation; it cannot be settled with `answer`")
    assert answered["valid"] == ["approve", "reject"]
    assert_clear(approved, says="is a question; it cannot be settled with `approve`")
    assert_clear(empty, says="`answer` is empty.")
    assert "the left one" in right["reply"]


async def test_two_different_calls_with_one_key_are_a_conflict_that_names_the_first(
    connect_in_memory: Connect,
) -> None:
    """The second is not carried out; repeating the first gives its result again."""
    async with connect_in_memory() as host:
        first = await send(host, "One.", idempotency_key="k")
        other = await host.fail("send_message", agent=ACTOR, text="Two.", idempotency_key="k")
        another = await host.fail("create_conversation", agent=ACTOR, idempotency_key="k")
        same = await send(host, "One.", idempotency_key="k")
        listed = await host.call("list_conversations")

    for reply in (other, another):
        assert_clear(reply, says="The idempotency key was used on ")
        assert reply["run_id"] == first["run_id"]
        assert "new key" in reply["next"]
    assert same["run_id"] == first["run_id"]
    assert "You said: One." in same["reply"]
    assert listed["total"] == 1


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS])
async def test_an_unknown_argument_is_refused_by_name(connect_in_memory: Connect, tool: str) -> None:
    """It may have been meant to matter; the nearest known one is named."""
    async with connect_in_memory() as host:
        reply = await host.fail(tool, conversation_idd="stage:1")

    assert_clear(reply, says="There is no argument `conversation_idd`.")
    assert reply["valid"]
    if "conversation_id" in reply["valid"]:
        assert "Did you mean `conversation_id`?" in reply["message"]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("cancel_run", {}, "`conversation_id`: it is required"),
        ("confirm_tool", {"decision": "approve"}, "`request_id`: it is required"),
        ("send_message", {"agent": ACTOR, "text": 1}, "`text`: input should be a valid string"),
        ("send_message", {"agent": ACTOR, "text": None}, "A message needs `text` or `data`."),
        ("send_message", {"agent": ACTOR, "data": "x"}, "`data`: input should be an object"),
        ("send_message", {"agent": ACTOR, "text": "x", "wait_seconds": 301}, "`wait_seconds`"),
        ("send_message", {"agent": ACTOR, "text": "x", "wait_seconds": -1}, "`wait_seconds`"),
        (
            "send_message",
            {"agent": ACTOR, "text": "x", "context": []},
            "`context`: input should be an object",
        ),
        ("confirm_tool", {"request_id": "r", "decision": "maybe"}, "'approve', 'reject' or 'answer'"),
        ("list_conversations", {"status": ["closed"]}, "'submitted', 'open'"),
        ("list_conversations", {"limit": 51}, "`limit`"),
        ("list_conversations", {"limit": 0}, "`limit`"),
        ("list_conversations", {"sort": "size"}, "`sort`"),
        (
            "get_conversation",
            {"conversation_id": "stage:1", "include": {"all": True}},
            "`include`: input should be 'messages', 'events'",
        ),
        ("search_conversations", {"query": "x", "since": "yesterday"}, "`since`"),
        ("search_conversations", {"query": "x", "until": "2026-13-01"}, "`until`"),
        ("search_conversations", {"query": "   "}, "query"),
        ("search_conversations", {"query": ""}, "query"),
        ("get_conversation", {"conversation_id": ""}, "is not a conversation id"),
        ("get_conversation", {"conversation_id": None}, "`conversation_id`: input should be a valid string"),
        ("get_conversation", {"conversation_id": "conversation://"}, "is not the URI of a conversation"),
        ("create_conversation", {"text": "x"}, "There is no argument `text`: this tool calls it `message`."),
        ("send_message", {"message": "x"}, "There is no argument `message`: this tool calls it `text`."),
        ("update_conversation", {"conversation_id": "stage:1"}, "There is nothing to change."),
        ("send_message", {"text": "x"}, "Give either `conversation_id` or `agent`."),
    ],
)
async def test_arguments_of_the_wrong_kind_are_told_without_raw_validation_errors(
    connect_in_memory: Connect, tool: str, arguments: dict[str, Any], says: str
) -> None:
    """Which argument, and what it should be."""
    async with connect_in_memory() as host:
        reply = await host.fail(tool, **arguments)

    assert_clear(reply, says=says)
    assert reply["error"] == "invalid_input"


async def test_another_agent_than_the_conversations_own_is_refused_where_only_that_answers(
    connect_in_memory: Connect,
) -> None:
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": "Hello."}))
        about = {"conversation_id": sent["conversation_id"], "text": script({"say": "Hello."})}
        same = await host.call("send_message", agent=ACTOR, **about)
        reply = await host.fail("send_message", agent="local:archivist", **about)

    assert same["status"] == "completed"
    assert_clear(reply, says=f"is with {ACTOR}, and nobody else answers in it")


async def test_a_run_that_fails_is_no_failed_call(connect_in_memory: Connect) -> None:
    """The call did what it should; the result says what became of the answer, and that nothing is lost."""
    async with connect_in_memory() as host:
        failed = await send(host, script({"say": "So far."}, {"fail": "The model is out of tokens."}))
        broken = await send(host, script({"interrupt": "The connection broke."}))
        crashed = await send(host, script({"crash": "secret detail"}))

    assert failed["status"] == "failed"
    assert "The model is out of tokens." in failed["error"]
    assert "So far." in failed["reply"]
    assert broken["status"] == "interrupted"
    assert "send_message asks again" in broken["next"]
    assert crashed["status"] == "failed"
    assert "fault" in crashed["error"]
    assert "secret detail" not in crashed.text + crashed.json


async def test_failures_side_by_side_do_not_disturb_each_other(connect: Connect) -> None:
    """Gemini calls everything side by side."""
    replies = list[Reply]()

    async def call(host: Host, number: int) -> None:
        replies.append(
            await host.try_call("send_message", agent=f"stage:actor{number % 2 or ''}", text="Hello.")
        )

    async with connect() as host, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(call, host, number)

    assert sorted(reply.failed for reply in replies) == [False] * 4 + [True] * 4
