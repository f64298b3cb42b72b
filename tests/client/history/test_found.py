"""Whatever is imported is read, or it is told why not: archives, packed files, other programs' files."""

import gzip
import json
import os
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tertulia.history.limits import NO_LIMITS, ImportLimits
from tests.client.history.bringing import Bringing
from tests.client.history.making import array_of, chatgpt, claude_entry, lines_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio

SAID = json.dumps({"role": "user", "content": "Where is the heron?"}).encode()
TALK = chatgpt("cg-1", {"a": (None, "user", "Where is the heron?")}, "a")


def archive_of(**members: bytes) -> bytes:
    """Return a zip archive; `__` in a name stands for its dot."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.jsonl.gz", gzip.compress(SAID), id="gzip"),
        pytest.param("a.jsonl.zst", zstd.compress(SAID), id="zstd"),
        pytest.param("a.json", SAID.decode().encode("utf-16"), id="UTF-16 with its mark"),
        pytest.param("a.json", SAID.decode().encode("utf-16-le"), id="UTF-16, little end first"),
        pytest.param("a.json", SAID.decode().encode("utf-16-be"), id="UTF-16, big end first"),
        pytest.param("a.jsonl.gz", gzip.compress(SAID.decode().encode("utf-16")), id="both"),
        pytest.param("a.zip", archive_of(a__jsonl__gz=gzip.compress(SAID)), id="gzip in an archive"),
        pytest.param("a.zip", archive_of(b__zip=archive_of(c__zip=archive_of(d__json=SAID))), id="archives"),
    ],
)
@pytest.mark.parametrize("walked", [False, True])
async def test_whatever_it_is_packed_in(
    here: Bringing, tmp_path: Path, name: str, content: bytes, walked: bool
) -> None:
    """Named, or found in a folder."""
    file = tmp_path / "in" / name
    file.parent.mkdir()
    file.write_bytes(content)

    summary = await here.bring(file.parent if walked else file)

    _, (message,) = await here.only()
    assert message.text == "Where is the heron?"
    assert (summary.files, here.problems) == (1, [])


async def test_a_packed_file_that_is_cut_off_is_told_and_what_comes_before_is_read(
    here: Bringing, tmp_path: Path
) -> None:
    """As with any other file."""
    file = tmp_path / "a.jsonl.gz"
    said = b"\n".join(
        json.dumps({"role": "user", "content": f"{n * 7919:x}" * 50}).encode() for n in range(4000)
    )
    file.write_bytes(gzip.compress(said)[:-1000])

    summary = await here.bring(file)

    assert here.problems == [f"{file}: its gzip data is damaged or cut off"]
    assert summary.problems == 1


LIFTED = "--no-limit reads it all the same"
BLANK = b" " * (20 << 20)
"""Packs very well."""


def zipped(content: bytes, name: str = "d.json") -> bytes:
    """Return a zip archive that packs its file."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl.gz", gzip.compress(SAID + BLANK), ""),
        ("a.jsonl.zst", zstd.compress(SAID + BLANK), ""),
        ("a.zip", zipped(SAID + BLANK), "/d.json"),
        ("a.zip", archive_of(b__zip=zipped(SAID + BLANK)), "/b.zip/d.json"),
        ("a.zip", zipped(archive_of(d__json=SAID + BLANK), "b.zip"), "/b.zip"),
    ],
    ids=["gzip", "zstd", "zip", "zip in zip", "zipped zip"],
)
async def test_what_holds_very_much_for_its_size_is_skipped_and_told(
    here: Bringing, tmp_path: Path, name: str, content: bytes, place: str
) -> None:
    """Beside it, all is read; without limits, it is read as well."""
    file, other = tmp_path / name, tmp_path / "other.jsonl"
    file.write_bytes(content)
    other.write_bytes(SAID)

    summary = await here.bring(file, other)

    assert summary.messages == 1
    assert here.problems[0] == (
        f"{file}{place}: it has more than 200 times its size once unpacked, and is skipped; {LIFTED}"
    )
    here.problems.clear()
    assert (await here.bring(file, limits=NO_LIMITS)).files == 1
    assert here.problems == []


async def test_what_is_unpacked_is_counted_together(here: Bringing, tmp_path: Path) -> None:
    """Packed files, archives, and those in others: what would be too much in all is skipped and told."""
    names = ["a.jsonl.gz", "b.jsonl.gz", "c.zip", "d.zip"]
    large = SAID + b" " * (1 << 20)
    for name in names:
        content = gzip.compress(large) if name.endswith("gz") else archive_of(e__zip=zipped(large))
        (tmp_path / name).write_bytes(content)

    await here.bring(tmp_path, limits=ImportLimits(unpacked=3 << 20))

    told = f"archives and packed files have more than 3 MiB together, which is not read; {LIFTED}"
    assert here.problems
    assert all(problem.endswith(told) for problem in here.problems)


async def test_an_archive_of_very_many_files_is_read_up_to_a_number(here: Bringing, tmp_path: Path) -> None:
    """Also where they are in archives within it."""
    file = tmp_path / "a.zip"
    content = archive_of(**{f"m{number}__json": SAID for number in range(6)})
    file.write_bytes(archive_of(b__zip=content, c__zip=content))

    summary = await here.bring(file, limits=ImportLimits(members=9))

    assert summary.files == 7
    assert here.problems[0] == (
        f"{file}/c.zip: the archives have more than 9 files; the others are skipped, and {LIFTED}"
    )


async def test_an_archive_of_many_files_is_opened_once(
    here: Bringing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time, its whole list of files is read."""
    opened: list[object] = []

    class Watched(zipfile.ZipFile):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            opened.append(arguments[0])
            super().__init__(*arguments, **options)

    file = tmp_path / "a.zip"
    content = archive_of(**{f"m{number}__json": SAID for number in range(6)})
    file.write_bytes(archive_of(b__zip=content, c__zip=content, **{f"m{n}__json": SAID for n in range(6)}))
    monkeypatch.setattr(zipfile, "ZipFile", Watched)

    assert (await here.bring(file)).files == 18
    assert len(opened) == 3


async def test_archives_in_archives_end_somewhere(here: Bringing, tmp_path: Path) -> None:
    """Somebody may have packed an archive into itself."""
    content = archive_of(d__json=SAID)
    for _ in range(4):
        content = archive_of(b__zip=content)
    file = tmp_path / "a.zip"
    file.write_bytes(content)

    await here.bring(file)

    told = f"it is in 4 archives, and is not opened; {LIFTED}"
    assert here.problems[0] == f"{file}{'/b.zip' * 4}: {told}"
    assert (await here.bring(file, limits=NO_LIMITS)).files == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
async def test_pipes_and_devices_are_no_files(here: Bringing, tmp_path: Path) -> None:
    """Reading them might wait for ever: one that was named is told, and others are passed by."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "a.json").write_bytes(SAID)

    summary = await here.bring(tmp_path)
    await here.bring(tmp_path / "pipe.json", tmp_path / "device.json")

    assert (summary.messages, summary.passed_by) == (1, {"pipes and devices": 2})
    told = "it is a pipe or a device, and no file; `-` reads standard input"
    assert here.problems == [f"{tmp_path / name}: {told}" for name in ("pipe.json", "device.json")]


async def test_an_archive_that_was_named_and_holds_no_transcript_is_told(
    here: Bringing, tmp_path: Path
) -> None:
    """With what it holds."""
    file = tmp_path / "export.zip"
    account = b'{"uuid": "u", "full_name": "Ana", "email_address": "ana@example.com"}'
    file.write_bytes(archive_of(users__json=account, chat__html=b"<html>"))

    await here.bring(file)

    assert here.problems == [
        f"{file}: there is no transcript in this archive, but 1 .html files, 1 Claude.ai's note about the account"
    ]


@pytest.mark.parametrize("walked", [False, True])
async def test_conversations_of_an_unknown_format_are_told_wherever_they_are(
    here: Bringing, tmp_path: Path, walked: bool
) -> None:
    """A file of that name is what an export is there for."""
    unknown = json.dumps([{"id": "d1", "turns": []}]).encode()
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "conversations.json").write_bytes(unknown)
    packed = tmp_path / "export.zip"
    packed.write_bytes(archive_of(conversations__json=unknown))

    await here.bring(folder if walked else packed)

    name = folder if walked else packed
    assert [problem.partition(";")[0] for problem in here.problems] == [
        f"{name}/conversations.json: its format is not recognised"
    ]


async def test_what_was_passed_by_in_a_folder_is_counted_by_kind(here: Bringing, tmp_path: Path) -> None:
    """Other people's JSON is no transcript because it has a role, or a session."""
    array_of(tmp_path / "users.json", {"name": "Ann", "role": "admin"}, {"name": "Bob", "role": "editor"})
    lines_of(tmp_path / "clicks.jsonl", *[{"ts": 1, "sessionId": "s", "type": "user", "event": "click"}] * 3)
    lines_of(tmp_path / "history.jsonl", {"display": "hello", "pastedContents": {}})
    lines_of(tmp_path / "state.jsonl", {"type": "mode", "sessionId": "s"})
    for name in ("a.txt", "b.TXT", "LICENSE", "weird.ąę"):
        (tmp_path / name).write_text("x", "utf-8")

    summary = await here.bring(tmp_path)

    assert summary.passed_by == {
        "JSON files of no known format": 2,
        "Claude Code's list of prompts": 1,
        "files of claude-code without a message": 1,
        ".txt files": 2,
        "other files": 2,
    }
    assert (summary.problems, here.problems) == (0, [])


async def test_the_folder_of_gemini_cli_is_read_without_a_false_problem(
    here: Bringing, tmp_path: Path
) -> None:
    """It has a log of prompts beside the chats, which is none of Claude Code's sessions; and checkpoints."""
    prompts = [
        {
            "sessionId": "g1",
            "messageId": n,
            "type": "user",
            "message": "hello",
            "timestamp": "2026-01-01T00:00:00Z",
        }
        for n in range(5)
    ]
    array_of(tmp_path / "5d41" / "logs.json", *prompts)
    said = [{"id": "m1", "timestamp": "2026-01-01T00:00:00Z", "type": "user", "content": "hello"}]
    lines_of(
        tmp_path / "5d41" / "chats" / "session-1.json",
        {"sessionId": "g1", "projectHash": "5d41", "messages": said},
    )
    saved = [
        {"role": "user", "parts": [{"text": "This is the Gemini CLI. context"}]},
        {"role": "model", "parts": [{"text": "Got it."}]},
        {"role": "user", "parts": [{"text": "plan the walrus migration"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "read_file", "args": {"path": "a"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "read_file", "response": {"output": "A"}}}]},
    ]
    array_of(tmp_path / "5d41" / "checkpoint-plan.json", *saved)
    lines_of(tmp_path / "5d41" / "checkpoint-old.json", {"history": saved, "authType": "oauth"})

    summary = await here.bring(tmp_path)

    assert (summary.new, here.problems) == (3, [])
    assert summary.passed_by == {"Gemini CLI's log of prompts": 1}
    assert summary.left_out == {"context": 4}
    titles = sorted(str(one.title) for one in await here.known())
    assert titles == ["hello", "plan the walrus migration", "plan the walrus migration"]


async def test_a_file_of_a_known_format_without_a_message_is_told(here: Bringing, tmp_path: Path) -> None:
    """Silence would look like success."""
    file = lines_of(tmp_path / "s.jsonl", claude_entry(1, "Caveat", isMeta=True))

    await here.bring(file)

    assert here.problems == [
        f"{file}: it is of the format claude-code, and has no message beside what is left out (1 context)"
    ]
