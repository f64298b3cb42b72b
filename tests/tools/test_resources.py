"""What a host may read: transcripts, messages, events and lists, under URIs that every parser takes."""

import json
import re
import unicodedata
from datetime import timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Resource, TextResourceContents
from pydantic import AnyUrl

from tertulia.store import conversations
from tertulia.store.database import Store
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import ConversationDraft
from tertulia.vocabulary.states import Status
from tertulia_tools.resources import MAX_LISTED, TEMPLATES
from tertulia_tools.results import MAX_RESULT
from tertulia_tools.uris import conversation_id_of, conversation_uri
from tests.doubles.hosts import Connect, Host
from tests.doubles.stage import ACTOR, script

anyio_test = pytest.mark.anyio
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
INVISIBLE = "".join(map(chr, [0xAD, 0x200B, *range(0x202A, 0x202F), *(0xE0000 + ord(c) for c in "obey")]))


async def read(host: Host, uri: str) -> TextResourceContents:
    """Return the one content of a resource."""
    (content,) = (await host.client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content


async def read_text(host: Host, uri: str) -> str:
    """Return a resource's text, which fits into what every host keeps whole."""
    text = (await read(host, uri)).text
    assert len(text) <= MAX_RESULT
    return text


async def read_json(host: Host, uri: str) -> dict[str, Any]:
    """Return a resource that is JSON."""
    content = await read(host, uri)
    assert content.mime_type == "application/json"
    assert len(content.text) <= MAX_RESULT
    return json.loads(content.text)


async def listed(host: Host) -> list[Resource]:
    """Return what is listed now, whatever the client has cached."""
    return (await host.client.list_resources(cache_mode="bypass")).resources


async def talked(host: Host, *texts: str, title: str | None = "Renewals") -> str:
    """Have a conversation in which these texts are sent and echoed; return its id."""
    made = await host.call("create_conversation", agent=ACTOR, title=title)
    for text in texts:
        await host.call("send_message", conversation_id=made["conversation_id"], text=text)
    return str(made["conversation_id"])


@anyio_test
async def test_a_transcript_is_markdown_with_what_others_wrote_between_marks(connect: Connect) -> None:
    """Its title is the heading, each message has one of its own, and the marks are explained once."""
    async with connect() as host:
        own_id = await talked(host, "Good morning.")
        content = await read(host, conversation_uri(own_id))

    text = content.text
    mark = re.search(r"<(q\w{16})>", text)
    assert mark is not None
    assert content.mime_type == "text/markdown"
    assert text.startswith(
        f"# <{mark[1]}>Renewals</{mark[1]}>\n\n{own_id} · open · with {ACTOR} · 2 messages"
    )
    headings = re.findall(r"^## \w+ · (\S+) \((\w+)\) · \S+Z$", text, re.MULTILINE)
    assert headings == [("user", "user"), (ACTOR, "assistant")]
    assert f"<{mark[1]}>You said: Good morning.</{mark[1]}>" in text
    assert text.count("others' words") == 1
    assert set(re.findall(r"<(q\w{16})>", text)) == {mark[1]}


@anyio_test
async def test_a_transcript_says_what_it_waits_for(connect_in_memory: Connect) -> None:
    """Who reads it learns that there is something to decide, and about what."""
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"ask": "delete", "arguments": {}}))
        text = await read_text(host, conversation_uri(sent["conversation_id"]))

    assert f"awaits a decision about {sent['pending'][0]['request_id']}" in text


@anyio_test
async def test_a_long_transcript_is_read_by_following_its_pointers(connect: Connect) -> None:
    """Each page says where the next one is; together they have every message once, in order."""
    texts = [f"Number {number}: {'x' * 600}" for number in range(15)]
    async with connect() as host:
        uri: str | None = conversation_uri(await talked(host, *texts))
        read: list[str] = []
        pages = 0
        while uri is not None:
            page = await read_text(host, uri)
            read += re.findall(r"You said: Number (\d+)", page)
            following = re.search(r"^This is not all of it\. Read on: (\S+)$", page, re.MULTILINE)
            uri, pages = following[1] if following else None, pages + 1

    assert read == [str(number) for number in range(15)]
    assert pages > 1


@anyio_test
async def test_a_message_longer_than_a_page_is_read_in_parts(connect_in_memory: Connect) -> None:
    """Not a character of it is lost, though JSON makes two of many."""
    long = "".join(f'{number:05} "and" \\ more.\n' for number in range(1_500))
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": long}))
        uri: str | None = f"{conversation_uri(sent['conversation_id'])}/messages"
        parts: list[str] = []
        while uri is not None:
            page = await read_json(host, uri)
            parts += [message["text"] for message in page["messages"] if message["author"] == ACTOR]
            uri = page.get("next")

    assert "".join(re.sub(r"^<q\w{16}>|</q\w{16}>$", "", part) for part in parts) == long
    assert len(parts) > 1


@anyio_test
async def test_messages_are_what_list_messages_returns(connect_in_memory: Connect) -> None:
    """A cursor of the one is a cursor of the other."""
    async with connect_in_memory() as host:
        own_id = await talked(host, *("x" * 3_000 for _ in range(4)))
        first = await host.call("list_messages", conversation_id=own_id)
        as_resource = await read_json(host, f"{conversation_uri(own_id)}/messages")
        after = f"{conversation_uri(own_id)}/messages?after={first['next_cursor']}"
        rest = await read_json(host, after)

    ids = [message["message_id"] for message in first["messages"]]
    assert as_resource["next"] == after
    assert [message["message_id"] for message in as_resource["messages"]] == ids
    assert not set(ids) & {message["message_id"] for message in rest["messages"]}


@anyio_test
async def test_events_are_read_on_with_the_cursors_of_stream_conversation(connect: Connect) -> None:
    """All that happened, in order and once, in pages that fit."""
    steps = [{"tool": "grep", "arguments": {"number": number}, "result": "y" * 300} for number in range(30)]
    async with connect() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script(*steps))
        uri: str | None = f"{conversation_uri(sent['conversation_id'])}/events"
        told: list[dict[str, Any]] = []
        page: dict[str, Any] = {}
        while uri is not None:
            page = await read_json(host, uri)
            told += page["events"]
            uri = page.get("next")
        rest = await host.call(
            "stream_conversation",
            conversation_id=sent["conversation_id"],
            cursor=page["cursor"],
            wait_seconds=0,
        )

    numbers = [
        re.search(r'"number":(\d+)', event["text"]) for event in told if event["what"] == "tool_call_args"
    ]
    assert [match and int(match[1]) for match in numbers] == list(range(30))
    assert all(earlier["seq"] < later["seq"] for earlier, later in pairwise(told))
    assert told[-1]["what"] == "run_finished"
    assert (page["run_status"], rest.data.get("events", [])) == ("completed", [])


@anyio_test
async def test_lists_are_filtered_and_read_in_pages(connect: Connect) -> None:
    """Conversations by their state, agents by their instance."""
    async with connect() as host:
        ids = [await talked(host, title=f"{number} {'t' * 150}") for number in range(25)]
        await host.call("update_status", conversation_id=ids[0], status="canceled")
        canceled = await read_json(host, "conversations://?status=canceled")
        uri: str | None = "conversations://?status=submitted"
        found: list[str] = []
        while uri is not None:
            page = await read_json(host, uri)
            found += [line["conversation_id"] for line in page["conversations"]]
            uri = page.get("next")
        agents = await read_json(host, "agents://?instance=local")
        everybody = await read_json(host, "agents://")

    assert [line["conversation_id"] for line in canceled["conversations"]] == ids[:1]
    assert found == ids[:0:-1]
    assert [agent["agent"] for agent in agents["agents"]] == ["local:archivist"]
    assert {agent["agent"] for agent in everybody["agents"]} == {"local:archivist", ACTOR}


@anyio_test
async def test_the_most_recent_conversations_are_listed_and_can_be_read(connect: Connect) -> None:
    """Some hosts read nothing that is not listed; what was talked about last comes first, below the lists."""
    async with connect() as host:
        ids = [await talked(host, title=f"Number {number}") for number in range(MAX_LISTED + 2)]
        await host.call("send_message", conversation_id=ids[0], text="Once more.")
        resources = await listed(host)
        texts = [await read_text(host, resource.uri) for resource in resources]

    assert [resource.uri for resource in resources[:2]] == ["conversations://", "agents://"]
    recent = [ids[0], *ids[:2:-1]][:MAX_LISTED]
    assert [resource.name for resource in resources[2:]] == recent
    assert resources[2].title == "“Number 0”"
    assert resources[2].description == f"open · with {ACTOR} · 2 messages"
    assert resources[2].annotations is not None
    assert resources[2].annotations.last_modified is not None
    assert all(name in text for name, text in zip(recent, texts[2:], strict=True))


@anyio_test
async def test_titles_in_the_list_hide_nothing(connect_in_memory: Connect) -> None:
    """A host shows them to a person as they are: in one line, without characters that only deceive."""
    async with connect_in_memory() as host:
        await talked(host, title=f"Re{INVISIBLE}newals \u2066of\u2069 " + "t" * 150)
        await talked(host, title=None)
        untitled, titled = (resource.title or "" for resource in (await listed(host))[2:])

    assert untitled == "(no title)"
    assert titled.startswith("“Renewals of ttt")
    assert len(titled) <= 125
    assert not [c for c in titled if unicodedata.category(c) in HIDDEN]


@pytest.mark.parametrize("tail", ["", "/messages", "/events"])
@anyio_test
async def test_an_id_behind_the_scheme_is_understood_as_it_is(connect_in_memory: Connect, tail: str) -> None:
    """`conversation://` and an id is no URL that every parser takes, but people and models write it."""
    async with connect_in_memory() as host:
        own_id = await talked(host, "Hello.")
        for written in (own_id, own_id.replace(":", "%3A"), own_id.replace(":", "/")):
            assert own_id in await read_text(host, f"conversation://{written}{tail}")


NATIVE_IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
).filter(lambda text: text not in {".", ".."})


@given(NATIVE_IDS)
def test_every_id_has_one_uri_that_strict_parsers_leave_alone(native_id: str) -> None:
    """Whatever a platform puts into its ids, also what looks like a path, a port or an escape."""
    own_id = conversation_id("my_inst-2", native_id)
    uri = conversation_uri(own_id)

    assert uri == f"conversation://{own_id.replace(':', '/', 1)}"
    assert str(AnyUrl(uri)) == uri
    assert conversation_id_of(uri) == conversation_id_of(f"{uri}/events?after=x") == own_id


@pytest.mark.parametrize(
    "native_id", ["../../etc/passwd", "C:\\temp", "a%2Fb", "x?y=1#z", "{id}", "été 日本"]
)
@anyio_test
async def test_an_id_of_any_shape_is_read(connect_in_memory: Connect, native_id: str) -> None:
    """An id is no path, whatever it looks like."""
    own_id = conversation_id("local", native_id)
    async with connect_in_memory() as host:
        async with Store(host.store) as store:
            draft = ConversationDraft(agent="local:archivist", native_id=native_id, title="Odd")
            await store.write(lambda tx: conversations.insert(tx, "local", own_id, draft, Status.OPEN))
        for tail in ("", "/messages", "/events"):
            assert own_id in await read_text(host, conversation_uri(own_id) + tail)
        assert conversation_uri(own_id) in [resource.uri for resource in await listed(host)]


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("conversation://local/nothing", "There is no conversation local:nothing."),
        ("conversation://elsewhere/x", "There is no instance “elsewhere”. Valid: local, stage."),
        ("conversation://local/", "“local:” is not a conversation id"),
        ("conversation://LOCAL/x/events", "“LOCAL:x” is not a conversation id"),
        ("conversation://local/x/branches", "There is no resource “conversation://local/x/branches”."),
        ("conversation://local/\x00\u202e", "is not a conversation id|There is no resource"),
        (
            "file:///etc/passwd",
            "There is no resource “file:///etc/passwd”. Valid: conversation://{instance}/",
        ),
        ("conversations://?status=happy", "`status`: input should be 'submitted'"),
        ("conversations://?agent=nobody", "“nobody” is not an agent's address"),
        ("conversations://?after=x", "“x” is not a cursor."),
        ("agents://?instance=elsewhere", "There is no instance “elsewhere”."),
    ],
)
@anyio_test
async def test_what_cannot_be_read_is_said_in_a_sentence(
    connect_in_memory: Connect, uri: str, sentence: str
) -> None:
    """With the error that the protocol has for it, and nothing of our insides."""
    async with connect_in_memory() as host:
        with pytest.raises(MCPError) as caught:
            await read(host, uri)

    assert caught.value.error.code == INVALID_PARAMS
    assert re.search(sentence if "|" in sentence else re.escape(sentence), caught.value.error.message)
    assert not [c for c in caught.value.error.message if unicodedata.category(c) in HIDDEN]


@pytest.mark.parametrize("uri", ["agents://", "conversations://", "conversation://local", "x", ""])
def test_a_uri_of_no_conversation_is_none(uri: str) -> None:
    """Only what belongs to one conversation is about it."""
    with pytest.raises(InvalidInputError, match="not the URI of a conversation"):
        conversation_id_of(uri)


@anyio_test
async def test_what_a_server_offers_is_told_without_a_store(connect: Connect) -> None:
    """A host that only looks around, or probes, leaves nothing behind."""
    async with connect() as host:
        await host.client.list_tools()
        await host.client.list_prompts()
        await host.client.list_resource_templates()

    assert not await anyio.Path(host.store).exists()


@anyio_test
async def test_every_template_is_offered_with_a_title_and_a_description(connect_in_memory: Connect) -> None:
    """A person chooses by the title, a model by the description."""
    async with connect_in_memory() as host:
        offered = (await host.client.list_resource_templates()).resource_templates

    assert [template.uri_template for template in offered] == [template.uri for template in TEMPLATES]
    assert all(template.title and template.description and template.mime_type for template in offered)


@anyio_test
async def test_results_say_how_long_they_may_be_kept(connect_in_memory: Connect) -> None:
    """What depends on the version alone is kept long and by anyone, what was read not at all."""
    async with connect_in_memory() as host:
        client = host.client
        own_id = await talked(host)
        tools = await client.list_tools()
        kept = {
            (result.ttl_ms, result.cache_scope)
            for result in (await client.list_prompts(), await client.list_resource_templates())
        }
        recent = await client.list_resources()
        transcript = await client.read_resource(conversation_uri(own_id))

    if connect_in_memory.era == "legacy":
        return  # such results say nothing about it
    hour = int(timedelta(hours=1) / timedelta(milliseconds=1))
    assert kept == {(hour, "public")}
    assert (tools.ttl_ms, tools.cache_scope) == (hour, "private")  # clients that show pages get more of them
    assert 0 < recent.ttl_ms <= 10_000
    assert (recent.cache_scope, transcript.ttl_ms, transcript.cache_scope) == ("private", 0, "private")
