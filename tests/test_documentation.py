"""The documents agree with the code: examples run as they stand, excerpts are what files have, links lead somewhere."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from docs.media import history, pictures
from tertulia import TRANSITIONS, Client, ClientSettings, MessageDraft, NewConversation
from tertulia_server.command_parser import command_parser
from tertulia_server.settings import load
from tests.tools.snapshot import RENEW

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
KIT = ROOT / "client" / "tertulia" / "platforms" / "kit"
BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: excerpt=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
MENTIONED = re.compile(
    r"`((?:client|tools|server|tests|docs|manifests|benchmarks|requirements|deploy)/[a-z_\d./-]*)`"
)
SECONDS = 60


def blocks() -> Iterator[tuple[str, re.Match[str]]]:
    """Yield each fenced block in a language, named by its document and line."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path.relative_to(ROOT).as_posix()}:{line}", found


def examples() -> Iterator[Any]:
    """Yield each Python program."""
    for name, found in blocks():
        if found["language"] == "python" and found["file"] is None:
            yield pytest.param(found["text"], id=name)


def excerpts() -> Iterator[Any]:
    """Yield each excerpt, and the file that it is of."""
    for name, found in blocks():
        if found["file"] is not None:
            yield pytest.param(found["file"], found["text"], id=name)


def commands() -> Iterator[tuple[str, str]]:
    """Yield each call of our command, with the document that shows it."""
    for name, found in blocks():
        if found["language"] in {"sh", "console"}:
            text = found["text"].replace("\\\n", " ")
            for line in text.splitlines():
                shown = line.removeprefix("$ ").replace(".venv/bin/", "")
                if shown.startswith("tertulia ") and "HOST" not in shown:
                    yield name, shown


def configurations() -> Iterator[Any]:
    """Yield each configuration file of ours."""
    for name, found in blocks():
        if found["language"] == "toml" and not name.startswith("docs/hosts/"):
            yield pytest.param(found["text"], id=name)


@pytest.mark.io
@pytest.mark.parametrize("program", list(examples()))
def test_an_example_runs(program: str, tmp_path: Path) -> None:
    """It ends well, in an empty folder that is also the home of the person who runs it."""
    (tmp_path / ".claude" / "projects").mkdir(parents=True)
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(("file", "text"), list(excerpts()))
def test_an_excerpt_is_what_its_file_has(file: str, text: str) -> None:
    """Line by line, at whatever depth it stands there."""
    found = "\n" + (ROOT / file).read_text("utf-8")

    assert any("\n" + indent(text, " " * depth) in found for depth in (0, 4, 8, 12)), text


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS])
def test_a_link_leads_to_a_file(path: Path) -> None:
    """Those of the site to one of the site: what else the repository has is named, not linked."""
    linked = [(path.parent / link).resolve() for link in LINK.findall(path.read_text("utf-8"))]

    assert [link for link in linked if not link.exists()] == []
    if path.is_relative_to(DOCS):
        assert [link for link in linked if not link.is_relative_to(DOCS)] == []


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS])
def test_a_mentioned_file_is_there(path: Path) -> None:
    """By its whole path."""
    mentioned = MENTIONED.findall(path.read_text("utf-8"))

    assert [file for file in mentioned if not (ROOT / file).exists()] == []


def test_the_index_has_every_document() -> None:
    """And the pages of the platforms."""
    linked = {(DOCS / link).resolve() for link in LINK.findall((DOCS / "README.md").read_text("utf-8"))}

    assert set(DOCS.rglob("*.md")) - {DOCS / "README.md"} <= linked


@pytest.mark.io
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal that Python could open")
def test_what_the_readme_shows_of_a_search_is_what_is_printed(tmp_path: Path) -> None:
    """The commands print what the recording shows, and the README's block is a part of it."""
    from docs.media.record import RECORDINGS  # it opens a pseudo terminal

    recorded = RECORDINGS["search"](tmp_path)

    assert recorded.drawn() == (DOCS / "media" / "search.svg").read_text("utf-8")
    shown = [
        found["text"]
        for name, found in blocks()
        if name.startswith("README.md") and found["language"] == "console"
    ]
    assert shown
    assert [text for text in shown if text not in recorded.text] == []


@pytest.mark.anyio
async def test_the_archivist_answers_as_its_page_shows(tmp_path: Path) -> None:
    """Each block begins with what is said to it; TERTULIA_RENEW_SNAPSHOTS=1 writes what it answers."""
    page = DOCS / "archivist.md"
    history.write(tmp_path)
    asked = re.compile(r"^```text\n> (.*)\n([^`]|`(?!``))*```$", re.MULTILINE)
    text = page.read_text("utf-8")
    async with Client.open(ClientSettings(store=tmp_path / "tertulia.db")) as client:
        await client.history.import_files(
            [tmp_path / ".claude" / "projects", tmp_path / ".codex" / "sessions", tmp_path / "Downloads"]
        )
        for found in list(asked.finditer(text)):
            sent = await client.runs.start(
                NewConversation(agent="local:archivist"), MessageDraft(text=found[1])
            )
            result = await client.runs.wait(sent.run, timeout=SECONDS)
            await client.conversations.delete(sent.run.conversation_id)
            text = text.replace(found[0], f"```text\n> {found[1]}\n{result.reply}\n```")

    if os.environ.get(RENEW):
        page.write_text(text, "utf-8")
    assert page.read_text("utf-8") == text


@pytest.mark.parametrize("line", [pytest.param(line, id=f"{name}: {line}") for name, line in commands()])
def test_a_command_is_one_that_we_have(line: str) -> None:
    """With its flags: it is parsed, not run."""
    words = shlex.split(line, comments=True)[1:]
    usage = io.StringIO()

    with contextlib.redirect_stderr(usage):
        try:
            command_parser().parse_args(words)
        except SystemExit:
            pytest.fail(usage.getvalue())


@pytest.mark.anyio
@pytest.mark.parametrize("text", list(configurations()))
async def test_a_configuration_is_accepted(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are valid and its instances are built, where the variables are set that it names."""
    file = tmp_path / "config.toml"
    for variable in re.findall(r'\w+_env = "(\w+)"', text):
        monkeypatch.setenv(variable, "a-secret")
    file.write_text(text, "utf-8")
    settings = load({"config": str(file), "store": str(tmp_path / "tertulia.db")}, {}).settings

    client_settings = replace(settings.client_settings(), leave_out_misconfigured=False)
    async with Client.open(client_settings) as client:
        assert client.agents


def test_the_picture_of_the_states_is_that_of_the_code() -> None:
    """Every arrow is a transition, and the other way round; the pictures are what is drawn now."""
    assert pictures.drawn_transitions() == dict(TRANSITIONS)
    for name, draw in pictures.PICTURES.items():
        assert (DOCS / "media" / f"{name}.svg").read_text("utf-8") == draw(), name


def test_the_site_has_every_document() -> None:
    """In its navigation, once."""
    navigation = str(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"])
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))

    assert sorted(re.findall(r"[\w./-]+\.md", navigation)) == pages


def test_the_page_on_adapters_names_every_module_of_the_kit() -> None:
    """And none that is gone."""
    page = (DOCS / "adding-a-platform.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", page, re.MULTILINE))
    modules = {path.relative_to(KIT).as_posix() for path in KIT.rglob("*.py") if path.name != "__init__.py"}

    assert named == modules
