"""`tertulia import` and `tertulia export`, as a person runs them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from tertulia import Client, ClientSettings
from tests.client.history.bringing import FIXTURES
from tests.doubles.hosts import ROOT, SECONDS, environment
from tests.support.forking import PROGRAM, forked_command

pytestmark = pytest.mark.io


def run(*arguments: object, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    return subprocess.run(
        [*forked_command(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        input=given or "",
        cwd=ROOT,
        env={**environment(), "PYTHONUTF8": "1"},
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def here(tmp_path: Path) -> Sequence[object]:
    """Return the flags of a store and a configuration of its own."""
    config = tmp_path / "config.toml"
    config.write_text("")
    return ["--store", tmp_path / "tertulia.db", "--config", config]


def test_an_import_ends_with_a_summary(here: Sequence[object]) -> None:
    """On stdout; nothing is shown of how far it is where nobody looks."""
    first = run("import", *here, FIXTURES / "codex.jsonl", FIXTURES / "chatgpt.json")
    second = run("import", *here, FIXTURES)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        "Conversations: 3 new, 0 updated, 0 unchanged.",
        "Messages added: 15.",
        "Left out, as no part of what was said: 3 context, 2 reasoning.",
    ]
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith("Conversations: 5 new, 0 updated, 3 unchanged.\n")
    assert second.stdout.endswith("\nPassed by: 1 .md files.\n")


def test_problems_are_told_on_stderr_and_by_the_exit_code(here: Sequence[object], tmp_path: Path) -> None:
    """With file and line, as editors and compilers have it; what can be read comes in."""
    file = tmp_path / "session.jsonl"
    file.write_text((FIXTURES / "gemini-cli.jsonl").read_text("utf-8") + "\x1b[2Joops\n", "utf-8")

    done = run("import", *here, file, tmp_path / "nowhere")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{tmp_path / 'nowhere'}: there is no such file or folder",
        f"{file}:20: it is not JSON: expecting value at column 1",
    ]
    assert "Messages added: 7.\n" in done.stdout
    assert "Problems: 2, told above.\n" in done.stdout


def test_many_problems_do_not_flood_the_screen(here: Sequence[object], tmp_path: Path) -> None:
    """They are counted all the same."""
    file = tmp_path / "session.jsonl"
    file.write_text((FIXTURES / "gemini-cli.jsonl").read_text("utf-8") + "oops\n" * 1_000, "utf-8")

    done = run("import", *here, file)

    assert len(done.stderr.splitlines()) == 201
    assert done.stderr.endswith("… and 800 more.\n")
    assert "Problems: 1000, told above.\n" in done.stdout


def test_what_was_deleted_is_told(here: Sequence[object], tmp_path: Path) -> None:
    """With how it comes back."""
    run("import", *here, FIXTURES / "codex.jsonl")
    conversation = json.loads(run("export", *here).stdout.splitlines()[0])["id"]

    async def delete() -> None:
        async with Client.open(ClientSettings(store=tmp_path / "tertulia.db")) as client:
            await client.conversations.delete(conversation)

    anyio.run(delete)

    again = run("import", *here, FIXTURES / "codex.jsonl")
    restored = run("import", *here, "--restore", FIXTURES / "codex.jsonl")

    assert "Deleted here before, and left out: 1 (--restore brings them back).\n" in again.stdout
    assert restored.stdout.startswith("Conversations: 1 new, 0 updated, 0 unchanged.\nMessages added: 7.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["import", "--format", "claude", "x"], "There is no format “claude”. Valid: claude-code, codex, "),
        (["export", "--since", "yesterday"], "--since “yesterday” is no date. Write it as 2026-11-03"),
        (["export", "--conversation", "local:none"], "There is no conversation local:none."),
        (["export", "--instance", "r2r"], "There is no instance “r2r”. Valid: local."),
        (
            ["export", "--output", "/nowhere/all.md"],
            "/nowhere/all.md cannot be written: No such file or directory.",
        ),
    ],
)
def test_a_wrong_argument_ends_with_2_and_a_sentence(
    here: Sequence[object], arguments: list[str], says: str
) -> None:
    """And nothing else."""
    done = run(*arguments, *here)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tertulia: {says}")
    assert "Traceback" not in done.stderr


def test_an_export_goes_through_a_pipe_into_another_store(here: Sequence[object], tmp_path: Path) -> None:
    """And comes out of that the same."""
    run("import", *here, FIXTURES)
    other = ["--store", tmp_path / "other.db", *here[2:]]

    exported = run("export", *here)
    imported = run("import", *other, "-", given=exported.stdout)

    assert (exported.returncode, exported.stderr) == (0, "")
    assert imported.stdout.startswith("Conversations: 8 new, 0 updated, 0 unchanged.\n")
    assert run("export", *other).stdout == exported.stdout


def test_the_name_of_the_file_tells_the_format_and_what_is_there_is_replaced_at_once(
    here: Sequence[object], tmp_path: Path
) -> None:
    """A failed export leaves the file as it was, and no other beside it."""
    run("import", *here, FIXTURES / "claude-code.jsonl")
    page, lines = tmp_path / "all.md", tmp_path / "all.jsonl"
    page.write_text("before")

    failed = run("export", *here, "--output", page, "--conversation", "local:none")
    kept = page.read_text()
    done = [run("export", *here, "--output", file) for file in (page, lines)]
    forced = run("export", *here, "--format", "markdown")

    assert (failed.returncode, kept) == (2, "before")
    assert [(each.returncode, each.stdout, each.stderr) for each in done] == [(0, "", "")] * 2
    assert page.read_text("utf-8").startswith("# What does Acme pay? Look it up.\n")
    assert json.loads(lines.read_text("utf-8").splitlines()[0])["source"] == "claude-code"
    assert forced.stdout == page.read_text("utf-8")
    assert {path.name for path in tmp_path.iterdir() if "all" in path.name} == {"all.md", "all.jsonl"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal that Python could open")
def test_a_terminal_shows_how_far_it_is(here: Sequence[object], tmp_path: Path) -> None:
    """In bytes, to the end; problems stand above it."""
    from tests.doubles.terminal import terminal

    file = tmp_path / "session.jsonl"
    file.write_text((FIXTURES / "codex.jsonl").read_text("utf-8") + "oops\n", "utf-8")

    with terminal("tertulia_server", "import", *map(str, here), str(file)) as screen:
        code = screen.end()

    assert code == 1
    assert "importing: 100%" in screen.shown
    assert f"{file}:34: it is not JSON: expecting value at column 1\n" in screen.shown
    assert "Conversations: 1 new" in screen.shown


@pytest.mark.skipif(sys.platform == "win32", reason="there is no head")
def test_whoever_reads_an_export_may_stop(here: Sequence[object]) -> None:
    """As `head` does: no complaint."""
    run("import", *here, FIXTURES)
    command = [sys.executable, "-m", "tertulia_server", "export", *map(str, here)]

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    ) as exporting:
        assert exporting.stdout is not None
        assert exporting.stderr is not None
        exporting.stdout.close()
        exporting.wait(SECONDS)
        said = exporting.stderr.read()

    assert said == b""


def test_a_folder_gets_pages_and_an_index(here: Sequence[object], tmp_path: Path) -> None:
    """HTML unless it is said otherwise; a later export replaces them, and leaves nothing beside them."""
    run("import", *here, FIXTURES / "claude-code.jsonl", FIXTURES / "codex.jsonl")
    folder = tmp_path / "pages" / "all"

    first = run("export", *here, "--output", f"{folder}/")
    again = run("export", *here, "--output", folder)
    lines = run("export", *here, "--output", f"{tmp_path / 'lines'}/", "--format", "jsonl")
    alone = run("export", *here, "--output", tmp_path / "all.html")

    index = (folder / "index.html").read_text("utf-8")
    assert first.stdout == f"3 files in {folder}; begin with {folder / 'index.html'}\n"
    assert again.stdout == first.stdout
    assert sum(f'href="{path.name}"' in index for path in folder.iterdir()) == 2
    assert len([*folder.iterdir()]) == 3
    assert lines.stdout == f"2 files in {tmp_path / 'lines'}\n"
    assert alone.returncode == 2
    assert "HTML has a page for each conversation." in alone.stderr


def test_masked_secrets_are_told_by_kind(here: Sequence[object]) -> None:
    """Where a copy of standard input came from is told by that name."""
    secret = "ghp_" + "a1B2" * 9

    done = run(
        "import", *here, "-", "--redact", given=json.dumps([{"role": "user", "content": f"Use {secret}"}])
    )
    exported = run("export", *here).stdout

    assert "Masked, as secrets: 1 GitHub token.\n" in done.stdout
    assert "Use [masked: GitHub token]" in exported
    assert secret not in exported
    assert json.loads(exported.splitlines()[0])["metadata"] == {"file": "standard input"}
