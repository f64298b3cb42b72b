"""Exporting: JSON Lines that lose nothing, and Markdown that nothing in a message can break."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tertulia import (
    Conversation,
    InstanceSettings,
    Message,
    NotFoundError,
    Participant,
    ParticipantRole,
    Rating,
    Role,
    SearchQuery,
    Status,
)
from tertulia.history.writers import ExportFormat, Markdown
from tertulia.history.writers.pages import Page
from tertulia.resources.history import Selection
from tertulia.store import conversations, transfer
from tertulia.store.database import Store, Transaction
from tertulia.store.messages import count_added
from tertulia.store.transfer import BranchRow
from tests.client.history.bringing import FIXTURES, Bringing, bringing
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

ME = "local"
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
LIMIT = 20
"""Seconds after which a test that waits has failed."""

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAME = st.text("abz09-_é %", min_size=1, max_size=8)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
DATA = st.dictionaries(TEXT, VALUE, max_size=3)
TIME = st.timedeltas(timedelta(seconds=-3), timedelta(seconds=3)).map(NOON.__add__)
RATING = st.none() | st.builds(Rating, value=st.integers(1, 5), feedback=st.none() | TEXT)
MESSAGE = st.fixed_dictionaries(
    {
        "author": TEXT,
        "role": st.sampled_from(Role),
        "text": st.none() | TEXT,
        "data": st.none() | DATA,
        "type": st.none() | NAME,
        "parent_id": st.none() | NAME,
        "metadata": DATA,
        "created_at": TIME,
        "rating": RATING,
        "branch": st.sampled_from(["main", "main", "b1", "b2"]),
    }
)
CONVERSATION = st.fixed_dictionaries(
    {
        "agent": st.none() | st.just("local:archivist") | st.just("r2r:rag"),
        "status": st.sampled_from([status for status in Status if status is not Status.INPUT_REQUIRED]),
        "title": st.none() | TEXT,
        "metadata": DATA,
        "context": st.none() | DATA,
        "entity_type": st.none() | NAME,
        "source": st.none() | NAME,
        "source_ref": st.none() | TEXT,
        "archived": st.booleans(),
        "awaiting": st.booleans(),
        "rating": RATING,
        "message_count": st.none() | st.integers(0, 50),
        "created_at": TIME,
        "updated_at": TIME,
    }
)
STORED = st.lists(
    st.tuples(
        st.sampled_from(["local", "r2r", "gone"]),
        CONVERSATION,
        st.lists(MESSAGE, max_size=5),
        st.lists(st.sampled_from(["b1", "b2"]), unique=True, max_size=2),
        st.booleans(),
    ),
    max_size=4,
)


def enter(
    tx: Transaction, stored: Sequence[tuple[str, Mapping[str, Any], Sequence[Any], list[str], bool]]
) -> None:
    """Enter conversations as they might have come about, with branches and all."""
    for number, (instance, about, messages, branches, shared) in enumerate(stored):
        own = instance == "local"
        count = 0 if own else about["message_count"]
        fields: dict[str, Any] = {**about, "message_count": count}
        conversation = Conversation(id=f"{instance}:c{number}", **fields)
        taking_part = [
            Participant(address="user", role=ParticipantRole.INITIATOR, joined_at=NOON),
            Participant(address="local:reviewer", role=ParticipantRole.OBSERVER, joined_at=NOON),
        ]
        transfer.receive(tx, ME, conversation, taking_part)
        for place, message in enumerate(messages):
            said = Message(id=f"m{place}", conversation_id=conversation.id, **message)
            at = transfer.add(tx, ME, said, timed=place != 3)
            if at is not None:
                count_added(tx, ME, conversation.id, 1, at)
        for branch in branches:
            row = BranchRow(
                id=branch,
                parent="main",
                shared="m1" if shared and len(messages) > 1 else None,
                parted_from="m2" if shared else None,
                created_at=NOON,
                removed=branch == "b2",
            )
            transfer.add_branch(tx, ME, conversation.id, row)
        transfer.settle(tx, ME, conversation, counted=own)


@examples(30)
@given(stored=STORED)
async def test_a_round_trip_loses_nothing(stored: Any) -> None:
    """An export that is imported into an empty store is exported the same: ids, messages, order and all."""
    remote = InstanceSettings(platform="r2r", options={"base_url": "http://127.0.0.1:9"})
    with TemporaryDirectory() as folder, anyio.fail_after(LIMIT):
        first, second, file = Path(folder, "a.db"), Path(folder, "b.db"), Path(folder, "all.jsonl")
        async with Store(first) as store:
            await store.write(lambda tx: enter(tx, stored))
        async with bringing(first, r2r=remote) as one:
            exported = await one.export()
            known = sorted(await one.known(), key=lambda each: each.id)
        file.write_text(exported, "utf-8", newline="\n")
        async with bringing(second, r2r=remote) as other:
            summary = await other.bring(file, format_name="tertulia")
            assert bool(other.problems) == (not stored), "a file with nothing in it is told"
            assert summary.new == len(stored)
            assert await other.export() == exported
            assert sorted(await other.known(), key=lambda each: each.id) == known
            again = await other.bring(file, format_name="tertulia")
            assert (again.new, again.updated, again.messages) == (0, 0, 0)
            assert await other.export() == exported


async def test_every_field_is_in_a_line(tmp_path: Path) -> None:
    """What would be lost would have to be missing here."""
    about = {
        "agent": "local:archivist",
        "status": Status.OPEN,
        "title": "Acme",
        "metadata": {"team": "sales"},
        "context": {"page": 1},
        "entity_type": "client",
        "source": "crm",
        "source_ref": "c-1",
        "archived": True,
        "awaiting": True,
        "rating": Rating(value=4, feedback="good"),
        "message_count": 1,
        "created_at": NOON,
        "updated_at": NOON + timedelta(hours=1),
    }
    message = {
        "author": "user",
        "role": Role.USER,
        "text": "Hello\u2028there\x9b2J\u202e",
        "data": {"a": None},
        "type": "note",
        "parent_id": "m9",
        "metadata": {"lang": "en"},
        "created_at": NOON,
        "rating": Rating(value=5),
        "branch": "b1",
    }
    async with Store(tmp_path / "a.db") as store:
        await store.write(lambda tx: enter(tx, [("local", about, [message], ["b1"], False)]))
    async with bringing(tmp_path / "a.db") as here:
        exported = await here.export()

    assert not re.search("[\x9b\u2028\u202e]", exported), "a terminal may show it"
    lines = [json.loads(line) for line in exported.splitlines()]
    conversation, said, branch = lines
    taking_part = {"address": "user", "role": "initiator", "joined_at": "2026-07-01T12:00:00Z"}
    assert taking_part in conversation["participants"]
    assert {name: conversation[name] for name in set(about) - {"rating", "created_at", "updated_at"}} == {
        name: about[name] for name in set(about) - {"rating", "created_at", "updated_at"}
    }
    assert conversation["rating"] == {"value": 4, "feedback": "good"}
    assert (conversation["created_at"], conversation["updated_at"]) == (
        "2026-07-01T12:00:00Z",
        "2026-07-01T13:00:00Z",
    )
    assert (said["text"], said["data"], said["branch"]) == (message["text"], {"a": None}, "b1")
    assert (said["rating"], said["parent_id"], said["type"]) == ({"value": 5, "feedback": None}, "m9", "note")
    assert (branch["kind"], branch["id"], branch["parent"]) == ("branch", "b1", "main")
    assert {line["tertulia"] for line in lines} == {1}


async def test_a_conversation_of_an_instance_that_is_not_here_keeps_its_id(
    here: Bringing, tmp_path: Path
) -> None:
    """It is found and listed; only its platform cannot be asked."""
    file = tmp_path / "all.jsonl"
    conversation = {"id": "r2r:7f0c", "agent": "r2r:rag", "status": "open", "title": "Renewals"}
    message = {
        "id": "m1",
        "conversation_id": "r2r:7f0c",
        "author": "r2r:rag",
        "role": "assistant",
        "text": "Item",
    }
    file.write_text(
        json.dumps({"tertulia": 1, "kind": "conversation", **conversation})
        + "\n"
        + json.dumps({"tertulia": 1, "kind": "message", **message})
    )

    await here.bring(file)

    (known,) = await here.known()
    found = await here.client.search.messages(SearchQuery(text="Item"))
    assert (known.id, known.agent) == ("r2r:7f0c", "r2r:rag")
    assert [hit.conversation_id for hit in found.hits] == ["r2r:7f0c"]
    with pytest.raises(NotFoundError, match="There is no instance “r2r”"):
        await here.client.conversations.get("r2r:7f0c")


async def test_an_instance_whose_contents_are_not_kept_gets_none_by_an_import(tmp_path: Path) -> None:
    """That setting holds for whatever way they come."""
    content_free = InstanceSettings(
        platform="r2r", options={"base_url": "http://127.0.0.1:9", "store_content": False}
    )
    file = tmp_path / "all.jsonl"
    conversation = {"id": "r2r:7f0c", "status": "open", "title": "Secret"}
    message = {
        "id": "m1",
        "conversation_id": "r2r:7f0c",
        "author": "a",
        "role": "user",
        "text": "Secret",
        "rating": {"value": 1, "feedback": "Secret"},
    }
    file.write_text(
        json.dumps({"tertulia": 1, "kind": "conversation", **conversation})
        + "\n"
        + json.dumps({"tertulia": 1, "kind": "message", **message})
    )

    async with bringing(tmp_path / "t.db", r2r=content_free) as here:
        await here.bring(file)
        exported = await here.export()

    assert "r2r:7f0c" in exported
    assert "Secret" not in exported


async def test_a_conversation_that_waits_for_a_decision_comes_in_open(here: Bringing, tmp_path: Path) -> None:
    """What it waited for is no part of it."""
    file = tmp_path / "all.jsonl"
    conversation = {"id": "local:c1", "agent": "local:archivist", "status": "input_required"}
    file.write_text(json.dumps({"tertulia": 1, "kind": "conversation", **conversation}))

    await here.bring(file)

    assert [one.status for one in await here.known()] == [Status.OPEN]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            {"tertulia": 2, "kind": "conversation"},
            "it is of version 2 of our format, and this Tertulia reads version 1",
        ),
        ({"tertulia": 1, "kind": "run"}, '`kind` is "run"; known are conversation, message, branch'),
        (
            {"tertulia": 1, "kind": "message", "conversation_id": "local:other"},
            "the line of its conversation is not before it, or could not be read",
        ),
        (
            {
                "tertulia": 1,
                "kind": "message",
                "conversation_id": "local:c1",
                "id": "m",
                "author": "a",
                "role": "boss",
            },
            "`role` is not possible: input should be 'user', 'assistant', 'system' or 'tool'",
        ),
        (
            {"tertulia": 1, "kind": "conversation", "id": "nonsense", "status": "open"},
            "the conversation's `id` is none: “nonsense” is not a conversation id",
        ),
        (
            {"tertulia": 1, "kind": "conversation", "id": "local:c2", "status": "asleep"},
            "`status` is not possible: input should be ",
        ),
        (
            {
                "tertulia": 1,
                "kind": "branch",
                "conversation_id": "local:c1",
                "id": "b1",
                "parent": "b2",
                "created_at": "2026-11-28T12:00:00Z",
            },
            "the branch “b1” parts from “b2”, which is no branch before it",
        ),
    ],
)
async def test_a_line_of_ours_that_cannot_be_read_is_told(
    here: Bringing, tmp_path: Path, line: Mapping[str, Any], why: str
) -> None:
    """With what is wrong with it; the lines around it come in."""
    file = tmp_path / "all.jsonl"
    begin = {"tertulia": 1, "kind": "conversation", "id": "local:c1", "status": "open"}
    file.write_text(f"{json.dumps(begin)}\n{json.dumps(line)}\n{json.dumps({**begin, 'id': 'local:c9'})}\n")

    summary = await here.bring(file)

    assert summary.new == 2
    (problem,) = here.problems
    assert problem.startswith(f"{file}:2: {why}")


async def test_branches_that_are_their_own_ancestors_do_not_come_in(here: Bringing, tmp_path: Path) -> None:
    """Each line that would close a circle is told; the conversation is read, exported and searched as any other."""
    file = tmp_path / "all.jsonl"
    about = {"tertulia": 1, "conversation_id": "local:c1"}
    said = {"author": "user", "role": "user", "created_at": "2026-11-28T12:00:00Z"}
    lines: list[Mapping[str, Any]] = [
        {"tertulia": 1, "kind": "conversation", "id": "local:c1", "status": "open"},
        {**about, **said, "kind": "message", "id": "m1", "text": "a circle", "branch": "b1"},
        *(
            {**about, "kind": "branch", "id": one, "parent": parent, "created_at": said["created_at"]}
            for one, parent in (("b1", "b2"), ("b2", "b1"), ("b3", "b3"), ("b4", "main"), ("b5", "b4"))
        ),
    ]
    file.write_text("\n".join(map(json.dumps, lines)))

    summary = await here.bring(file)

    assert [problem.partition(" the branch ")[0] for problem in here.problems] == [
        f"{file}:{line}:" for line in (3, 4, 5)
    ]
    assert (summary.new, summary.messages) == (1, 1)
    _, messages = await here.only()
    assert [message.text for message in messages] == ["a circle"]
    kept = [
        line["id"] for line in map(json.loads, (await here.export()).splitlines()) if line["kind"] == "branch"
    ]
    assert kept == ["b4", "b5"]


async def test_an_export_can_be_narrowed(here: Bringing) -> None:
    """To ids in their order, to an instance, an agent and a day."""
    await here.bring(FIXTURES / "chatgpt.json", FIXTURES / "claude.ai.json")
    ids = [one.id for one in await here.known()]

    async def exported(selection: Selection) -> list[str]:
        lines = map(json.loads, (await here.export(selection)).splitlines())
        return [line["id"] for line in lines if line["kind"] == "conversation"]

    assert await exported(Selection()) == ids
    assert await exported(Selection(ids=[ids[2], ids[0]])) == [ids[2], ids[0]]
    assert await exported(Selection(since=datetime(2026, 10, 21, tzinfo=UTC))) == ids[2:]
    assert await exported(Selection(instance="local")) == ids
    assert await exported(Selection(agent="local:archivist")) == []
    with pytest.raises(NotFoundError, match="There is no conversation local:nothing"):
        await exported(Selection(ids=[ids[0], "local:nothing"]))
    with pytest.raises(NotFoundError, match="There is no instance"):
        await exported(Selection(instance="r2r"))


def outline(markdown: str) -> list[str]:
    """Return the headings of a page as CommonMark sees them: outside quotes and fences."""
    found: list[str] = []
    fence: str | None = None
    for line in markdown.split("\n"):
        opened = re.match(r"(`{3,})(.*)", line)
        if fence is not None:
            if opened is not None and len(opened[1]) >= len(fence) and not opened[2].strip():
                fence = None
        elif opened is not None:
            fence = opened[1]
        elif not line.startswith(">") and re.match(r"#{1,6}(\s|$)", line):
            found.append(line)
    return found


@examples(100)
@given(
    texts=st.lists(
        st.text(st.sampled_from("#`~->\n\r\u2028 \x1b[x*<!\u202e="), min_size=1, max_size=30)
        | st.sampled_from(["# Title", "```\n# x", "\r# x", "~~~~\n", "<!--", "---", "> # x", "````\n"]),
        min_size=1,
        max_size=4,
    ),
    role=st.sampled_from(Role),
)
def test_nothing_that_was_said_breaks_the_page(texts: list[str], role: Role) -> None:
    """Each message has one heading, and there are no others, whatever stands in text, title, author or data."""
    conversation = Conversation(
        id="local:c1",
        agent=None,
        status=Status.OPEN,
        title=texts[0],
        metadata={texts[0]: texts[-1]},
        rating=Rating(value=1, feedback=texts[-1]),
    )
    writer = Markdown()
    pieces = [*writer.begin(Page(conversation, []))]
    for number, text in enumerate(texts):
        message = Message(
            id=f"m{number}",
            conversation_id=conversation.id,
            author=text,
            role=role,
            text=text,
            data={text: text},
            type=text if number % 2 else None,
            rating=conversation.rating,
        )
        pieces += writer.message(message, timed=True)
    page = "".join([*pieces, *writer.end(conversation, [])])

    headings = outline(page)
    assert [heading.partition(" ")[0] for heading in headings] == ["#", *["##"] * len(texts)]
    assert not re.search("[\x1b\u202e\r]", page), "and nothing that a terminal obeys"


async def test_markdown_shows_what_was_said_as_it_was(here: Bringing) -> None:
    """A page as people read it."""
    await here.bring(FIXTURES / "codex.jsonl")

    page = await here.export(format=ExportFormat.MARKDOWN)

    (conversation,) = await here.known()
    for expected in (
        "# What does Acme pay? Look it up.\n\n",
        f"- Conversation: `{conversation.id}`\n",
        "- From: codex\n- Reference: `01a2184e-65e2-7c61-a56f-39d52b5e2291`\n",
        "- Goes on with: `codex resume 01a2184e-65e2-7c61-a56f-39d52b5e2291`\n",
        "## User · 2026-11-26 14:42 UTC\n\n> What does Acme pay? Look it up.\n\n",
        "## Assistant (gpt-5.5-scripted) · 2026-11-26 14:42 UTC\n\n> Let me look.\n\n",
        '## Tool call: exec\\_command · 2026-11-26 14:42 UTC\n\n```json\n{\n  "cmd": "echo 40000 a year"\n}\n```\n\n',
        "Output:\n40000 a year\n\n```\n\n",
    ):
        assert expected in page


HOSTILE_MARKUP = """hi</blockquote><h2>Assistant · official</h2><script>alert(1)</script>
![i](http://evil.example/track) [click](javascript:alert(1)) <http://evil.example> https://evil.example www.evil.example
[ref]: http://evil.example
# Forged heading
Forged too
==========
and this
---
me@evil.example &lt;b&gt; `<b>`
~~~html
<img src=x> </code></pre> ```
~~~
    <b>indented</b>
```
<i>never closed</i>"""


async def test_nothing_in_a_message_acts_in_a_renderer(tmp_path: Path) -> None:
    """No HTML, no image, no link, no heading: it is read as it was typed, and blocks of code stay such."""
    about = {
        "agent": None,
        "status": Status.OPEN,
        "title": HOSTILE_MARKUP,
        "created_at": NOON,
        "updated_at": NOON,
    }
    message = {"author": HOSTILE_MARKUP, "role": Role.USER, "text": HOSTILE_MARKUP, "created_at": NOON}
    async with Store(tmp_path / "a.db") as store:
        await store.write(
            lambda tx: enter(tx, [("local", about, [{**message, "branch": "main"}], [], False)])
        )
    async with bringing(tmp_path / "a.db") as here:
        page = await here.export(format=ExportFormat.MARKDOWN)

    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(page)
    for tag in ("<script", "<h2>Assistant", "<img", "<a ", "<i>", "<b>"):
        assert tag not in rendered, rendered
    assert rendered.count("<h1>") == 1
    assert rendered.count("<h2>") == 1
    assert rendered.count("</blockquote>") == 1
    assert "&lt;img src=x&gt; &lt;/code&gt;" in rendered
    prose = page.replace("\\", "")
    assert "https://evil.example" in prose
    assert not re.search(r"https?://|www\.|\w@", page), "GitHub would make links of these"


async def test_an_export_sees_all_messages_of_a_long_conversation(tmp_path: Path) -> None:
    """They are taken out of the store in parts."""
    about = {"agent": None, "status": Status.OPEN, "message_count": 0, "created_at": NOON, "updated_at": NOON}
    message = {"author": "user", "role": Role.USER, "branch": "main", "created_at": NOON}
    messages = [{**message, "text": str(number)} for number in range(450)]
    async with Store(tmp_path / "a.db") as store:
        await store.write(lambda tx: enter(tx, [("local", about, messages, [], False)]))
        known = await store.read(lambda tx: conversations.get(tx, ME, "local:c0"))
    async with bringing(tmp_path / "a.db") as here:
        lines = (await here.export()).splitlines()

    assert known.message_count == 450
    assert [json.loads(line).get("text") for line in lines[1:]] == [str(number) for number in range(450)]
