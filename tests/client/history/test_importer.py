"""Importing: once is enough, what cannot be read is told with its place, and memory does not grow with the file."""

import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    ConversationChanges,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotFoundError,
    SearchQuery,
    Status,
)
from tertulia.store.database import Transaction
from tests.client.history.bringing import FIXTURES, Bringing
from tests.doubles.hosts import environment

pytestmark = pytest.mark.anyio

ALL = [
    "claude-code.jsonl",
    "codex.jsonl",
    "gemini-cli.jsonl",
    "chatgpt.json",
    "claude.ai.json",
    "messages.json",
]
LIMIT = 20
"""Seconds after which a test that waits has failed."""


def plain(number: int) -> str:
    """Return a line with a conversation of two messages."""
    messages = [{"role": "user", "content": f"Question {number}"}, {"role": "assistant", "content": "Answer"}]
    return json.dumps({"id": f"c{number}", "messages": messages, "created_at": 1_790_000_000 + number})


@pytest.mark.parametrize("name", ALL)
async def test_the_same_file_twice_adds_nothing(here: Bringing, name: str) -> None:
    """And says so."""
    first = await here.bring(FIXTURES / name)
    before = await here.export()
    second = await here.bring(FIXTURES / name)

    assert first.new > 0
    assert first.messages > 0
    assert (second.new, second.updated, second.unchanged, second.messages) == (0, 0, first.new, 0)
    assert await here.export() == before


async def test_what_is_imported_is_counted_and_dated_once_a_transaction(
    here: Bringing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the conversation's entries in all indexes of lists are written again."""
    counted: list[str] = []
    run = Transaction.run

    def noted(tx: Transaction, sql: str, *values: Any) -> None:
        counted.extend([sql] if sql.startswith("UPDATE conversations SET message_count") else [])
        run(tx, sql, *values)

    monkeypatch.setattr(Transaction, "run", noted)
    start = 1_790_000_000
    times = [start + (number * 7) % 300 for number in range(300)]  # in no order
    said = [{"role": "user", "content": f"Line {at}", "created_at": at} for at in times]
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"id": "c", "messages": said, "created_at": start}), "utf-8")

    assert (await here.bring(file)).messages == 300
    conversation, _ = await here.only()

    assert conversation.message_count == 300
    assert conversation.updated_at == datetime.fromtimestamp(start + 299, UTC)
    assert len(counted) == 2


@pytest.mark.parametrize(
    ("name", "first"), [("claude-code.jsonl", 34), ("codex.jsonl", 23), ("gemini-cli.jsonl", 11)]
)
async def test_of_a_session_that_went_on_only_the_new_messages_are_added(
    here: Bringing, tmp_path: Path, name: str, first: int
) -> None:
    """Each program writes a session on in the same file; it had so many lines after the first answer."""
    whole = (FIXTURES / name).read_text("utf-8").splitlines(keepends=True)
    file = tmp_path / name
    file.write_text("".join(whole[:first]), "utf-8")

    begun = await here.bring(file)
    file.write_text("".join(whole), "utf-8")
    grown = await here.bring(file)

    assert (begun.new, begun.messages) == (1, 5)
    assert (grown.new, grown.updated, grown.messages) == (0, 1, 2)
    conversation, messages = await here.only()
    assert [message.text for message in messages][-3:] == [
        "Acme pays 40000 a year, if they sign in January.",
        "And Initech?",
        "Initech pays 35000.",
    ]
    assert conversation.message_count == 7
    assert conversation.updated_at == messages[-1].created_at


async def test_a_session_that_gemini_resumed_in_another_file_is_one(here: Bringing, tmp_path: Path) -> None:
    """It repeats there what was said, with the same ids, and in other forms."""
    lines = (FIXTURES / "gemini-cli.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "session-1.jsonl").write_text("".join(lines[:11]), "utf-8")
    (tmp_path / "session-2.jsonl").write_text("".join(lines[11:]), "utf-8")

    first = await here.bring(tmp_path / "session-1.jsonl")
    second = await here.bring(tmp_path / "session-2.jsonl")

    assert (first.new, first.messages) == (1, 5)
    assert (second.new, second.updated, second.messages) == (0, 1, 2)


async def test_what_was_changed_here_stays(here: Bringing) -> None:
    """A title, and the flag of what is archived."""
    await here.bring(FIXTURES / "claude-code.jsonl")
    conversation, _ = await here.only()
    changes = ConversationChanges(title="Prices", archived=True, metadata={"team": "sales"})
    await here.client.conversations.update(conversation.id, changes)

    await here.bring(FIXTURES / "claude-code.jsonl")

    conversation, _ = await here.only()
    assert (conversation.title, conversation.archived) == ("Prices", True)
    assert conversation.metadata["team"] == "sales"


async def test_what_was_deleted_here_stays_deleted_unless_it_is_restored(here: Bringing) -> None:
    """People import the same folder again and again."""
    await here.bring(FIXTURES / "codex.jsonl")
    conversation, messages = await here.only()
    await here.client.conversations.delete(conversation.id)

    again = await here.bring(FIXTURES / "codex.jsonl")
    assert (again.new, again.deleted, again.messages) == (0, 1, 0)
    with pytest.raises(NotFoundError):
        await here.client.conversations.get(conversation.id)

    restored = await here.bring(FIXTURES / "codex.jsonl", restore=True)
    assert (restored.new, restored.deleted, restored.messages) == (1, 0, len(messages))


async def test_what_cannot_be_read_is_told_with_file_and_line_and_the_rest_comes_in(
    here: Bringing, tmp_path: Path
) -> None:
    """In a file of lines."""
    lines = (FIXTURES / "claude-code.jsonl").read_text("utf-8").splitlines()
    spoiled = [lines[0], "{oops", *lines[1:], '{"type": "user", "sessionId": "s"}', "[1]", lines[2][:-20]]
    file = tmp_path / "session.jsonl"
    file.write_text("\n\n".join(spoiled), "utf-8")

    summary = await here.bring(file)

    assert here.problems == [
        f"{file}:3: it is not JSON: expecting property name enclosed in double quotes at column 2",
        f"{file}:{2 * len(spoiled) - 5}: an entry of type user has no `message` with `content`",
        f"{file}:{2 * len(spoiled) - 3}: it is no JSON object",
        here.problems[3],
    ]
    assert here.problems[3].startswith(f"{file}:{2 * len(spoiled) - 1}: it is not JSON: ")
    assert (summary.problems, summary.messages) == (4, 7)


async def test_a_conversation_that_cannot_be_read_leaves_the_others_of_its_array(
    here: Bringing, tmp_path: Path
) -> None:
    """Whether it is no JSON, or not what the format has; and what comes before a cut comes in."""
    first, second = json.loads((FIXTURES / "chatgpt.json").read_text("utf-8"))
    file = tmp_path / "conversations.json"
    parts = [
        json.dumps(first, indent=1),
        '{"title": oops,\n "mapping": {}}',
        '{"mapping": {}}',
        json.dumps(second),
    ]
    file.write_text("[" + ",\n".join(parts) + ',\n{"title": "cut o', "utf-8")

    summary = await here.bring(file)

    broken = parts[0].count("\n") + 2
    assert here.problems == [
        f"{file}:{broken}: it is not JSON: expecting value at column 11",
        f"{file}:{broken + 2}: a conversation has no `mapping`",
        f"{file}:{broken + 3}: the file ends within its array behind this, as if it was cut off",
    ]
    assert (summary.new, summary.messages) == (2, 8)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"SQLite format 3\0 and so on", "its database cannot be read: file is not a database"),
        (
            b'{"display": "hi", "pastedContents": {}}',
            "it is Claude Code's list of prompts, which is not read",
        ),
        (b"Dear diary,", "its format is not recognised"),
        (b'{"a": 1}', "its format is not recognised"),
        (b"[1, 2]", "its format is not recognised"),
        (b"\xff\xfe\x00", "its format is not recognised"),
        (b"PK\x03\x04 and no more", "its format is not recognised"),
    ],
)
async def test_a_file_that_was_named_and_is_none_is_told(
    here: Bringing, tmp_path: Path, content: bytes, why: str
) -> None:
    """With what can be done."""
    file = tmp_path / "notes"
    file.write_bytes(content)

    summary = await here.bring(file, tmp_path / "nowhere")

    assert here.problems[0] == f"{tmp_path / 'nowhere'}: there is no such file or folder"
    assert here.problems[1].startswith(f"{file}: {why}")
    assert (summary.problems, summary.new, summary.files) == (2, 0, 0)


async def test_a_format_that_is_named_is_not_guessed(here: Bringing, tmp_path: Path) -> None:
    """What the file tells does not matter then; an unknown one is refused before anything is read."""
    file = tmp_path / "session.jsonl"
    file.write_text('{"type": "user", "uuid": "u1", "message": {"content": "Hello"}}')

    await here.bring(file, format_name="claude-code")

    conversation, _ = await here.only()
    assert (conversation.source, conversation.source_ref) == ("claude-code", "session")
    with pytest.raises(InvalidInputError) as refused:
        await here.bring(file, format_name="claude")
    assert "claude-code" in refused.value.valid


async def test_folders_are_walked_and_what_is_no_transcript_in_them_is_passed_by(
    here: Bringing, tmp_path: Path
) -> None:
    """Hidden ones too: the programs keep their sessions there."""
    projects = tmp_path / ".claude" / "projects" / "-home-ana"
    projects.mkdir(parents=True)
    for name in ALL:
        (projects / name).write_bytes((FIXTURES / name).read_bytes())
    (projects / "settings.json").write_text('{"theme": "dark"}')
    (projects / "notes.txt").write_text("Dear diary,")
    (projects / "empty.jsonl").write_text("")

    summary = await here.bring(tmp_path)

    assert (summary.new, summary.files, here.problems) == (8, len(ALL), [])
    assert here.sizes == [sum((projects / name).stat().st_size for name in [*ALL, "settings.json"])]
    read = sum((projects / name).stat().st_size for name in ALL)
    assert here.read == read, "and how far it is was told in bytes"


async def test_an_archive_is_read_as_it_was_downloaded(here: Bringing, tmp_path: Path) -> None:
    """ChatGPT's holds several files of conversations, and others that are none."""
    client = json.loads((FIXTURES / "chatgpt.json").read_text("utf-8"))
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, conversation in enumerate(client):
            archive.writestr(f"conversations-{number:03}.json", json.dumps([conversation]))
        archive.writestr("user.json", '{"id": "user-1", "email": "ana@example.com"}')
        archive.writestr("chat.html", "<html></html>")
        archive.writestr("__MACOSX/._conversations-000.json", "junk")

    summary = await here.bring(file)

    assert (summary.new, summary.messages, here.problems) == (2, 8, [])


async def test_a_damaged_archive_is_told(here: Bringing, tmp_path: Path) -> None:
    """And what of it can be read comes in."""
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a.json", "b.json"):
            archive.writestr(name, f"[{plain(1)}]" if name == "a.json" else f"[{plain(2)}]")
    content = bytearray(file.read_bytes())
    at = content.index(b"Question 2")
    content[at : at + 8] = b"Answered"
    file.write_bytes(content)

    summary = await here.bring(file)

    assert summary.new == 1
    assert here.problems[0].startswith(f"{file}/b.json: it cannot be read: Bad CRC-32")


async def test_search_finds_what_was_imported_and_the_archivist_quotes_it(here: Bringing) -> None:
    """That is what it is brought in for."""
    await here.bring(FIXTURES / "claude-code.jsonl", FIXTURES / "claude.ai.json")

    found = await here.client.search.messages(SearchQuery(text="Initech 35000"))
    command = await here.client.search.messages(SearchQuery(text='"echo 40000"'))
    sent = await here.client.runs.start(
        NewConversation(agent="local:archivist"), MessageDraft(text='quote "net thirty days"')
    )
    with anyio.fail_after(LIMIT):
        outcome = await here.client.runs.wait(sent.run, timeout=LIMIT)

    assert [hit.snippet for hit in found.hits] == ["Initech pays 35000."]
    assert {hit.conversation_title for hit in command.hits} == {"What does Acme pay? Look it up."}
    assert "> Acme pays net thirty days after the invoice." in outcome.reply
    assert "“Renewal of Acme”" in outcome.reply


async def test_nobody_answers_in_what_was_imported(here: Bringing) -> None:
    """It is over; another principal knows nothing of it."""
    await here.bring(FIXTURES / "codex.jsonl")
    conversation, _ = await here.only()

    assert (conversation.agent, conversation.status) == (None, Status.COMPLETED)
    other = here.client.as_principal("bea")
    with pytest.raises(NotFoundError):
        await other.conversations.get(conversation.id)


async def test_text_that_no_store_can_keep_is_kept_as_far_as_it_can(here: Bringing, tmp_path: Path) -> None:
    """Halves of surrogate pairs, wherever they stand; an id that cannot be passed around gets another."""
    lone = "\\ud83d"
    entry = f'{{"role": "user", "name": "A{lone}", "id": "i{lone}", "content": "Smile {lone}!"}}'
    call = f'{{"role": "assistant", "tool_calls": [{{"id": "c\\n", "function": {{"name": "t{lone}"}}}}]}}'
    file = tmp_path / "messages.json"
    file.write_text(f'{{"id": "r{lone}", "title": "T{lone}", "messages": [{entry}, {call}]}}')

    await here.bring(file)

    conversation, (said, called) = await here.only()
    assert (conversation.title, said.text, said.author) == ("T\ufffd", "Smile \ufffd!", "A\ufffd")
    assert said.id.startswith("x_")
    assert called.id.startswith("x_")
    assert not here.problems


async def test_many_messages_of_one_moment_are_in_their_order(
    here: Bringing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain messages have no times; there may be more of them than a moment has places for (here, 16)."""
    monkeypatch.setattr("tertulia.store.messages.POSITION_BITS", 4)
    file = tmp_path / "messages.jsonl"
    numbers = [str(number) for number in range(90)]
    file.write_text("\n".join(json.dumps({"role": "user", "content": number}) for number in numbers))

    await here.bring(file)

    _, messages = await here.only()
    assert [message.text for message in messages] == numbers


MEASURED = """
import resource, sys
from pathlib import Path
import anyio
from tertulia import Client, ClientSettings

async def main():
    async with Client.open(ClientSettings(store=Path(sys.argv[1]) / "t.db")) as client:
        await client.history.import_files([Path(sys.argv[1]) / "small.json"])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        summary = await client.history.import_files([Path(sys.argv[1]) / sys.argv[2]])
        print(summary.messages, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

anyio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of what is measured is Linux's")
@pytest.mark.parametrize("name", ["large.json", "large.jsonl"])
@pytest.mark.io
def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path: Path, name: str) -> None:
    """40 MB in an array of conversations, on one line, or on many: the peak rises by a fraction of that."""
    conversation = json.loads(plain(0))
    conversation["metadata"] = {"padding": "x" * 40_000}  # which is stored, and not indexed

    def written(number: int) -> str:
        return json.dumps({**conversation, "id": f"c{number}"})

    (tmp_path / "small.json").write_text("[" + ",".join(map(written, range(5))) + "]")
    count = 1_000
    with (tmp_path / name).open("w") as file:
        array = name.endswith(".json")
        file.write("[" if array else "")
        for number in range(count):
            file.write((("," if array else "\n") if number else "") + written(number))
        file.write("]" if array else "")
    size = (tmp_path / name).stat().st_size

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), name],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
        check=True,
    )

    messages, kilobytes = map(int, done.stdout.split())
    assert size > 40_000_000
    assert messages == 2 * (count - 5)
    assert kilobytes * 1024 < size / 2, "what it holds in memory is a part of the file, whatever its size"


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of what is measured is Linux's")
@pytest.mark.io
def test_a_long_record_takes_memory_in_proportion_to_its_text(tmp_path: Path) -> None:
    """One of 10 MB, of many words: it is held a few times over, and its words one at a time."""
    (tmp_path / "small.json").write_text(f"[{plain(1)}]")
    text = "\n".join(f"line {number} some log words here" for number in range(310_000))
    (tmp_path / "large.json").write_text(json.dumps([{"role": "user", "content": text}]))
    size = (tmp_path / "large.json").stat().st_size

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), "large.json"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
        check=True,
    )

    messages, kilobytes = map(int, done.stdout.split())
    assert messages == 1
    assert kilobytes * 1024 < 9 * size
