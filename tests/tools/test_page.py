"""The tools of the page: who gets them, what they show, and that nobody but the page decides by them."""

import json
from typing import Any, cast

import anyio
import pytest
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID

from tertulia_server import page as served
from tertulia_tools.access import AccessScope
from tertulia_tools.page import MAX_REQUEST, MAX_TEXT, PAGE_URI, VIEW
from tertulia_tools.registry import DECIDING_ON_PAGE, PAGE_TOOL_NAMES, TOOLS, page_tools, scope_of_call
from tests.doubles.hosts import SECONDS, Connect, Host, Reply
from tests.doubles.stage import ACTOR, script

pytestmark = pytest.mark.anyio

HIDDEN = "/srv/\u202etxt.exe"
NAMES = [tool.name for tool in page_tools()]


def view_of(reply: Reply) -> dict[str, Any]:
    """Return what the page gets; what a model could get says nothing."""
    assert reply.data == {"note": "For Tertulia's page alone."}
    assert reply.text == "For Tertulia's page alone."
    return cast(dict[str, Any], reply.raw.meta)[VIEW]


async def view(host: Host, tool: str, **arguments: Any) -> dict[str, Any]:
    return view_of(await host.call(tool, **arguments))


async def play(host: Host, *steps: dict[str, Any], wait_seconds: float = SECONDS) -> str:
    sent = await host.call("send_message", agent=ACTOR, text=script(*steps), wait_seconds=wait_seconds)
    return str(sent["conversation_id"])


async def follow(host: Host, own_id: str, seen: dict[str, Any], *, until: str) -> dict[str, Any]:
    """Return the conversation's next state in which its run has the status, as the page waits for it."""
    with anyio.fail_after(SECONDS):
        while True:
            seen = await view(
                host, "view_conversation", conversation_id=own_id, cursor=seen["cursor"], wait_seconds=5
            )
            if "run" in seen and seen["run"]["status"] == until:
                return seen


def test_what_is_written_twice_is_the_same() -> None:
    """The server names what it does not load at its start."""
    assert (served.PAGE_URI, served.MIME_TYPE, served.Apps.identifier) == (
        PAGE_URI,
        APP_MIME_TYPE,
        EXTENSION_ID,
    )
    assert tuple(NAMES) == PAGE_TOOL_NAMES
    assert [tool.name for tool in page_tools() if not tool.read_only] == [DECIDING_ON_PAGE]


def test_who_may_only_read_decides_nothing_on_the_page() -> None:
    """A token's scope counts for these tools as for all others."""
    scopes = {tool.name: scope_of_call(tool.name, {}) for tool in page_tools()}

    assert {name for name, scope in scopes.items() if scope is AccessScope.WRITE} == {DECIDING_ON_PAGE}
    assert set(scopes.values()) == {AccessScope.READ, AccessScope.WRITE}


async def test_a_host_that_shows_pages_gets_their_tools(connect: Connect) -> None:
    """One of them for its model, which shows the page; the others for the page alone."""
    async with connect(shows_pages=True) as host:
        tools = (await host.client.list_tools()).tools

    assert [tool.name for tool in tools] == [*(tool.name for tool in TOOLS), *NAMES]
    ui = {tool.name: (tool.meta or {})["ui"] for tool in tools if tool.name in NAMES}
    assert ui.pop("show_conversation") == {"resourceUri": PAGE_URI}
    assert list(ui.values()) == [{"visibility": ["app"]}] * 3


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_else_can_call_them(connect_in_memory: Connect, name: str) -> None:
    """What a host does not list it can call by mistake only, and its model would read others' words."""
    async with connect_in_memory() as host:
        refused = await host.fail(name, conversation_id="local:0000000000")

    assert "There is no tool" in refused.text


@pytest.mark.parametrize(
    ("flags", "offered"),
    [
        ({"toolsets": "talk"}, []),
        ({"tools": "send_message"}, []),
        ({"toolsets": "talk,page"}, NAMES),
        ({"read_only": True}, [name for name in NAMES if name != DECIDING_ON_PAGE]),
    ],
)
async def test_a_choice_of_tools_is_one_of_the_page_as_well(
    connect_in_memory: Connect, flags: dict[str, Any], offered: list[str]
) -> None:
    """Who leaves it out has no page; one that may only read decides nothing."""
    async with connect_in_memory(shows_pages=True, **flags) as host:
        listed = [tool.name for tool in (await host.client.list_tools()).tools]
        capabilities = host.client.server_capabilities

    assert [name for name in listed if name in NAMES] == offered
    if connect_in_memory.era != "legacy":  # where the SDK says nothing of extensions
        assert bool(capabilities.extensions) is bool(offered)


async def test_a_host_reads_the_page_that_a_browser_gets(connect_in_memory: Connect) -> None:
    """It is one file, which asks its host for no address and no permission."""
    async with connect_in_memory(shows_pages=True) as host:
        (content,) = (await host.client.read_resource(PAGE_URI)).contents

    assert content.mime_type == APP_MIME_TYPE
    assert content.meta == {"ui": {"csp": {}, "prefersBorder": True}}
    assert getattr(content, "text", "").encode() == served.served_page()[0]


async def test_a_model_that_shows_a_conversation_reads_none_of_it(connect_in_memory: Connect) -> None:
    """Its user does; both know which one it is."""
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"say": "Renew by May."})
        shown = await host.call("show_conversation", conversation_id=own_id)
        unknown = await host.fail("show_conversation", conversation_id="local:0000000000")

    assert (shown.text, shown.data) == (own_id, {"conversation_id": own_id})
    assert "There is no conversation" in unknown.text


async def test_the_page_gets_a_conversation_as_it_was_written(connect_in_memory: Connect) -> None:
    """Without marks, and without what only hides something."""
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"say": f"<b>Renew</b> {HIDDEN}"})
        seen = await view(host, "view_conversation", conversation_id=own_id)
        listed = await view(host, "view_conversations")
        found = await view(host, "view_conversations", query="renew")

    asked, answered = seen["messages"]
    assert (asked["own"], answered["own"]) == (True, False)
    assert answered["text"] == "<b>Renew</b> /srv/txt.exe"
    assert (seen["run"]["status"], seen["run"]["reply"], seen["pending"]) == ("completed", None, [])
    assert [each["id"] for each in listed["conversations"]] == [own_id]
    assert listed["awaiting"] == []
    assert {hit["conversation_id"] for hit in found["hits"]} == {own_id}


async def test_older_messages_are_read_page_by_page(connect_in_memory: Connect) -> None:
    """The newest come first; a text that is too long for the page is cut, and the page knows by how much."""
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"say": "x" * (MAX_TEXT + 5)})
        for number in range(60):
            await host.call("add_message", conversation_id=own_id, text=f"note {number}")
        newest = await view(host, "view_conversation", conversation_id=own_id)
        before = await view(host, "view_conversation", conversation_id=own_id, before=newest["earlier"])

    assert [newest["messages"][-1]["text"], len(newest["messages"])] == ["note 59", 50]
    assert [before["messages"][-1]["text"], before["earlier"]] == ["note 9", None]
    assert before["messages"][1]["left_out"] == 5
    assert newest["messages"][0]["left_out"] == 0


async def test_an_answer_comes_piece_by_piece(connect_in_memory: Connect) -> None:
    """The page appends a piece of text, and reads the messages again when there are others."""
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"hold": "rest"}, {"say": "And more. "}, {"hold": "end"}, wait_seconds=0)
        seen = await view(host, "view_conversation", conversation_id=own_id)
        assert seen["run"]["reply"] == ""
        pieces = ""
        await play(host, {"release": "rest"})
        with anyio.fail_after(SECONDS):
            while not pieces:
                seen = await view(
                    host,
                    "view_conversation",
                    conversation_id=own_id,
                    cursor=seen["cursor"],
                    wait_seconds=5,
                )
                assert "messages" not in seen or "append" not in seen
                # Where the run's beginning comes in the same view, all is shown anew.
                pieces += seen.get("append") or seen.get("run", {}).get("reply", "")
        nothing = await view(host, "view_conversation", conversation_id=own_id, cursor=seen["cursor"])
        await play(host, {"release": "end"})
        ended = await follow(host, own_id, seen, until="completed")

    assert pieces == "And more. "
    assert nothing == {"cursor": seen["cursor"]}
    assert ended["messages"][-1]["text"] == "And more. "


async def test_the_page_shows_all_that_will_run_and_decides_it_for_a_person(
    connect_in_memory: Connect,
) -> None:
    """Also where only a person's approval counts; what nobody sees has an escape."""
    arguments = {"path": HIDDEN, "text": "y" * 3_000}
    async with connect_in_memory(shows_pages=True, approvals="person") as host:
        own_id = await play(host, {"ask": "delete", "arguments": arguments, "prompt": "May\u200b I?"})
        seen = await view(host, "view_conversation", conversation_id=own_id)
        listed = await view(host, "view_conversations")
        (request,) = seen["pending"]
        await host.call("view_decide", request_id=request["id"], decision="approve", proof=request["proof"])
        ended = await follow(host, own_id, seen, until="completed")

    assert "\\u202e" in request["arguments"]
    assert json.loads(request["arguments"]) == arguments
    assert request["prompt"] == "May\\u200b I?"
    assert [each["pending"] for each in listed["awaiting"]] == [1]
    assert ended["messages"][-1]["text"].startswith("[delete: approved")


async def test_a_question_is_answered_on_the_page(connect_in_memory: Connect) -> None:
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"question": "Which region?"})
        seen = await view(host, "view_conversation", conversation_id=own_id)
        (request,) = seen["pending"]
        about = {"request_id": request["id"], "proof": request["proof"]}
        await host.call("view_decide", **about, decision="answer", answer="Porto")
        ended = await follow(host, own_id, seen, until="completed")

    assert "Porto" in ended["messages"][-1]["text"]


async def test_nothing_is_decided_without_having_been_shown(connect_in_memory: Connect) -> None:
    """A model that knows a request by its id, or another request's proof, gets no further."""
    async with connect_in_memory(shows_pages=True) as host:
        ids = [await play(host, {"ask": "run", "arguments": {"n": number}}) for number in (1, 2)]
        requests = [
            (await view(host, "view_conversation", conversation_id=each))["pending"][0] for each in ids
        ]
        own, other = requests
        for proof in ("", "0" * 64, "\u00e9", other["proof"], own["digest"]):
            refused = await host.fail(
                "view_decide", request_id=own["id"], decision="approve", proof=proof or "none"
            )
            assert "Only the page decides here" in refused.text
        still = await view(host, "view_conversation", conversation_id=ids[0])

    assert len(still["pending"]) == 1


async def test_another_server_of_the_store_takes_the_decision(connect_in_memory: Connect) -> None:
    """A host may have several, and ask another one than that which showed the request."""
    async with connect_in_memory(shows_pages=True) as first:
        own_id = await play(first, {"ask": "run"})
        (request,) = (await view(first, "view_conversation", conversation_id=own_id))["pending"]
    async with connect_in_memory(shows_pages=True) as second:
        about = {"request_id": request["id"], "proof": request["proof"]}
        await second.call("view_decide", **about, decision="reject", reason="no")
        again = await second.fail("view_decide", **about, decision="approve")

    assert "was rejected" in again.text


async def test_what_cannot_be_shown_as_a_whole_cannot_be_decided_on_the_page(
    connect_in_memory: Connect,
) -> None:
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"ask": "run", "arguments": {"text": "z" * MAX_REQUEST}})
        (request,) = (await view(host, "view_conversation", conversation_id=own_id))["pending"]

    assert (request["arguments"], request["proof"]) == (None, None)


async def test_a_conversation_whose_platform_is_silent_is_shown_with_a_note(
    connect_in_memory: Connect,
) -> None:
    """A failure of its messages leaves its state and its requests on the page."""
    async with connect_in_memory(shows_pages=True) as host:
        own_id = await play(host, {"fail": "The model is gone."})
        seen = await view(host, "view_conversation", conversation_id=own_id)
        gone = await view(host, "view_conversation", conversation_id=own_id, before="nonsense")

    assert (seen["run"]["status"], seen["run"]["error"]) == ("failed", "The model is gone.")
    assert gone["messages"] == []
    assert gone["note"]
