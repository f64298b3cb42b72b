"""Exporting pages for people: one for each conversation, linked, and safe whatever was said."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import Conversation, InvalidInputError, Message, Rating, Role, Status
from tertulia.history.writers import ExportFormat
from tertulia.history.writers.html import Html
from tertulia.history.writers.pages import IndexEntry, Link, Page, page_file
from tertulia.resources.history import Selection
from tertulia.vocabulary.message_types import ATTACHMENT, TOOL_CALL, TOOL_RESULT
from tests.client.history.bringing import FIXTURES, Bringing
from tests.client.history.making import lines_of

pytestmark = pytest.mark.anyio

TAGS = set(
    "html head meta title style body nav a h1 h2 h3 dl dt dd code main article span pre div details summary p ul li"
    " br".split()
)
HOSTILE = (
    "</title></style><script>alert(1)</script><img src=x onerror=alert(1)> <style>*{}</style> \"' onload=x "
    "</pre></article></main> &lt; javascript:alert(1) https://evil.example/ \x1b[2J \u202e ```\n</pre><b>\n```\n~~~"
)
SAID = st.sampled_from([HOSTILE, "plain"]) | st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
KIND = st.sampled_from([None, TOOL_CALL, TOOL_RESULT, ATTACHMENT, "context", HOSTILE])


class Elements(HTMLParser):
    """The elements of a page, their attributes, and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def page_of(said: str, kind: str | None, role: Role) -> str:
    """Return a page in which all that others choose is the same words."""
    conversation = Conversation(
        id="local:c1",
        agent=None,
        status=Status.OPEN,
        title=said,
        metadata={said: said, "folder": said},
        source="claude-code",
        source_ref=said,
        rating=Rating(value=1, feedback=said),
    )
    message = Message(
        id="m1",
        conversation_id=conversation.id,
        author=said,
        role=role,
        text=said,
        data={"name": said, "arguments": {said: said}, "file": {"name": said}},
        type=kind,
        metadata={"model": said},
        rating=conversation.rating,
        branch=said,
    )
    writer = Html()
    links = [Link("Subagent", "local:c2", said, page_file("local:c2", ".html")), Link("Fork", said)]
    pieces = [
        *writer.begin(Page(conversation, [], links, "index.html")),
        *writer.message(message, timed=True),
    ]
    return "".join(
        [*pieces, *writer.end(conversation, []), *writer.index([IndexEntry("a.html", conversation)])]
    )


@given(said=SAID, kind=KIND, role=st.sampled_from(Role))
def test_what_was_said_is_only_ever_text(said: str, kind: str | None, role: Role) -> None:
    """No element, attribute or address comes of it; what a terminal obeys or nobody sees is written out."""
    page = page_of(said, kind, role)

    found, plain = Elements(page), Elements(page_of("plain", kind, role))
    assert set(found.tags) <= TAGS
    assert {name for name, _ in found.attributes} <= {name for name, _ in plain.attributes} | {"open"}
    assert {value for name, value in found.attributes if name == "href"} == {
        "index.html",
        "local-c2.html",
        "a.html",
    }
    assert not re.search("[\x1b\u202e\x00]", page)


def test_the_words_are_there_as_they_were_typed() -> None:
    """Also in blocks of code, whose fences alone are gone."""
    said = "Look:\n```python\nprint('<b>')\n```\n  indented & done"

    page = page_of(said, None, Role.USER)

    assert '<div class="said">Look:</div>\n<pre>print(&#x27;&lt;b&gt;&#x27;)</pre>\n' in page
    assert '<div class="said">  indented &amp; done</div>' in page


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    """Its policy allows its own style alone, by digest; nothing in it names another place."""
    page = page_of("plain", None, Role.USER)

    (style,) = set(re.findall("<style>(.*?)</style>", page, re.DOTALL))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert not re.search(
        r"https?:|src=|url\(|@import|style=", page.replace("default-src", "").replace("style-src", "")
    )
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style


async def test_a_folder_has_a_page_for_each_and_an_index(here: Bringing, tmp_path: Path) -> None:
    """A subagent's page and that of the session it worked for are linked, both ways; answers say their model."""
    at = {"sessionId": "s-0001-abcdef", "timestamp": "2026-11-01T10:00:00Z"}
    call = {"type": "tool_use", "id": "t1", "name": "Task", "input": {"prompt": "look"}}
    answer = {
        "role": "assistant",
        "model": "claude-opus",
        "content": [{"type": "text", "text": "On it."}, call],
    }
    lines_of(
        tmp_path / "in" / "s.jsonl",
        {"type": "user", "uuid": "u1", "message": {"role": "user", "content": "Mend it"}, **at},
        {"type": "assistant", "uuid": "u2", "message": answer, **at},
        {"type": "user", "uuid": "u3", "message": {"role": "user", "content": "Look"}, "isSidechain": True,
         "agentId": "a1", **at},
    )  # fmt: skip
    await here.bring(tmp_path / "in", FIXTURES / "chatgpt.json")
    pages: dict[str, str] = {}

    async for name, piece in here.client.history.export_files(Selection(), ExportFormat.HTML):
        pages[name] = pages.get(name, "") + piece

    known = {conversation.title: conversation for conversation in await here.known()}
    main, helper = known["Mend it"], known["Look"]
    main_page, helper_page = page_file(main.id, ".html"), page_file(helper.id, ".html")
    assert list(pages)[-1] == "index.html"
    assert len(pages) == len(known) + 1
    assert all(f'<a href="{page_file(each.id, ".html")}">' in pages["index.html"] for each in known.values())
    assert f'<dt>Subagent</dt><dd><a href="{helper_page}">Look</a></dd>' in pages[main_page]
    assert f'<dt>Worked for</dt><dd><a href="{main_page}">Mend it</a></dd>' in pages[helper_page]
    assert "Assistant (claude-opus)" in pages[main_page]
    assert "<code>claude --resume s-0001-abcdef</code>" in pages[main_page]
    assert "claude --resume" not in pages[helper_page]


async def test_markdown_pages_are_linked_too(here: Bringing) -> None:
    """Where they stand in a folder."""
    await here.bring(FIXTURES / "codex.jsonl")
    (conversation,) = await here.known()

    written = [each async for each in here.client.history.export_files(Selection(), ExportFormat.MARKDOWN)]

    index = "".join(piece for name, piece in written if name == "index.md")
    assert f"]({page_file(conversation.id, '.md')}) (codex, 2026-11-26" in index


async def test_one_stream_has_one_page(here: Bringing) -> None:
    """HTML of several conversations needs a folder."""
    await here.bring(FIXTURES / "codex.jsonl")
    (conversation,) = await here.known()

    assert (await here.export(Selection(ids=[conversation.id]), ExportFormat.HTML)).count(
        "<!doctype html>"
    ) == 1
    with pytest.raises(InvalidInputError, match="a page for each conversation"):
        await here.export(format=ExportFormat.HTML)


def test_a_name_of_a_file_is_safe_whatever_the_id() -> None:
    """Nothing in it leaves the folder, and no two ids share one where capitals are not told apart."""
    names = [
        page_file(each, ".html")
        for each in ("local:abc", "r2r:../../x", "r2r:Abc", "r2r:abc", "x:" + "y" * 300)
    ]

    assert names[0] == "local-abc.html"
    assert len({name.casefold() for name in names}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9._-]{5,120}", name) and ".." not in name for name in names)
