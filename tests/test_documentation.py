"""The documents agree with the code: examples run as they stand, excerpts are what files have, links lead somewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
KIT = ROOT / "client" / "tertulia" / "platforms" / "kit"
BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: excerpt=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
MENTIONED = re.compile(
    r"`((?:client|tools|server|tests|docs|manifests|benchmarks|requirements)/[a-z_\d./-]*)`"
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
    """Also to one outside the documents."""
    linked = LINK.findall(path.read_text("utf-8"))

    assert [link for link in linked if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS])
def test_a_mentioned_file_is_there(path: Path) -> None:
    """By its whole path."""
    mentioned = MENTIONED.findall(path.read_text("utf-8"))

    assert [file for file in mentioned if not (ROOT / file).exists()] == []


def test_the_index_has_every_document() -> None:
    """And the pages of the platforms."""
    linked = {(DOCS / link).resolve() for link in LINK.findall((DOCS / "README.md").read_text("utf-8"))}

    assert set(DOCUMENTS) - {DOCS / "README.md"} <= linked


@pytest.mark.io
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal that Python could open")
def test_what_the_readme_shows_of_a_search_is_what_is_printed(tmp_path: Path) -> None:
    """The commands print what the recording shows, and the README's block is a part of it."""
    from docs.media.record import RECORDINGS

    recorded = RECORDINGS["search"](tmp_path)

    assert recorded.drawn() == (DOCS / "media" / "search.svg").read_text("utf-8")
    shown = [
        found["text"]
        for name, found in blocks()
        if name.startswith("README.md") and found["language"] == "console"
    ]
    assert shown
    assert [text for text in shown if text not in recorded.text] == []


def test_the_page_on_adapters_names_every_module_of_the_kit() -> None:
    """And none that is gone."""
    page = (DOCS / "adding-a-platform.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", page, re.MULTILINE))
    modules = {path.relative_to(KIT).as_posix() for path in KIT.rglob("*.py") if path.name != "__init__.py"}

    assert named == modules
