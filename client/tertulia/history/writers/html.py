"""HTML for people: a page for each conversation, which needs nothing else and loads nothing.

Whatever was said is text, escaped: a page has no script, and its policy allows none, nor any address. It is fit for
light and dark screens, and for paper.
"""

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from tertulia.history.writers.pages import (
    UNTITLED,
    Fact,
    IndexEntry,
    Link,
    Page,
    facts,
    heading,
    shown_data,
    shown_text,
    time_text,
)
from tertulia.store.branches import MAIN
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.message_types import PROGRAM_TYPES, TOOL_CALL, TOOL_RESULT
from tertulia.vocabulary.models import Conversation, Message, Role
from tertulia.vocabulary.untrusted import escaped

_LONG = 4_000
"""More characters of what a program put in, or of a tool's, are folded away."""
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --line: #d9d9de; --paper: #fff; --box: #f5f5f7;
  --user: #e8f0fe; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --soft: #9a9aa2; --line: #3a3a40; --paper: #161618;
  --box: #222226; --user: #1d2b45; --link: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
a { color: var(--link); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1.5rem; font-size: .875rem; }
dt, .at, .about { color: var(--soft); }
dd { margin: 0; }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
article { margin: 0 0 1rem; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .6rem; }
article.user { background: var(--user); border-color: transparent; }
article.tool, article.program { background: var(--box); border-color: transparent; font-size: .9rem; }
article h3, summary { font-size: .8rem; font-weight: 600; margin: 0 0 .4rem; }
details:not([open]) summary { margin: 0; }
summary { cursor: pointer; }
.at { font-weight: 400; }
.said { white-space: pre-wrap; }
pre { margin: .5rem 0; padding: .6rem .8rem; background: var(--box); border-radius: .4rem; white-space: pre-wrap; }
article.tool pre, article.program pre { padding: 0; background: none; }
ul { padding-left: 1.2rem; }
.index li { margin: .35rem 0; }
.about { font-size: .8rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } article { break-inside: avoid-page; }
  details::details-content { content-visibility: visible; } nav { display: none; } }
"""
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'"


class Html:
    """Writes pages for people."""

    def begin(self, page: Page) -> Iterator[str]:
        """Yield the title and the facts about the conversation."""
        title = page.conversation.title or UNTITLED
        yield _head(title)
        if page.index is not None:
            yield f'<nav><a href="{_text(page.index)}">All conversations</a></nav>\n'
        yield f"<h1>{_text(title)}</h1>\n<dl>\n"
        for fact in facts(page):
            yield _fact(fact)
        for link in page.links:
            yield f"<dt>{_text(link.relation)}</dt><dd>{_link(link)}</dd>\n"
        yield "</dl>\n<main>\n"

    def message(self, message: Message, *, timed: bool) -> Iterator[str]:
        """Yield a message under its heading; tools' long ones are folded."""
        said, data = shown_text(message), shown_data(message)
        is_program = message.type in PROGRAM_TYPES
        kind = "program" if is_program else message.role.value
        branch = "" if message.branch in {None, MAIN} else f" · branch {message.branch}"
        at = f" · {time_text(message.created_at)}" if timed else ""
        title = f'{_text(heading(message))} <span class="at">{_text(at + branch)}</span>'
        folded = is_program or message.type in {TOOL_CALL, TOOL_RESULT} or message.role is Role.TOOL
        yield f'<article class="{kind}">'
        if folded:
            is_open = "" if len(said or "") + len(data[0] if data else "") > _LONG else " open"
            yield f"<details{is_open}><summary>{title}</summary>\n"
        else:
            yield f"<h3>{title}</h3>\n"
        if said is not None:
            yield f"<pre>{_text(said)}</pre>\n" if folded else _said(said)
        if data is not None:
            yield f"<pre>{_text(data[0])}</pre>\n"
        if message.rating is not None:
            feedback = "" if message.rating.feedback is None else f": {message.rating.feedback}"
            yield f'<p class="about">Rated {message.rating.value} of 5{_text(feedback)}</p>\n'
        yield "</details></article>\n" if folded else "</article>\n"

    def end(self, conversation: Conversation, branches: Sequence[BranchRow]) -> Iterator[str]:
        """Yield the branches and the end of the page."""
        yield "</main>\n"
        there = [branch for branch in branches if not branch.removed]
        if there:
            yield "<h2>Branches</h2>\n<ul>\n"
            for branch in there:
                parted = (
                    ""
                    if branch.parted_from is None
                    else f" instead of <code>{_text(branch.parted_from)}</code>"
                )
                yield f"<li><code>{_text(branch.id)}</code>, from <code>{_text(branch.parent)}</code>{parted}</li>\n"
            yield "</ul>\n"
        yield "</body>\n</html>\n"

    def index(self, entries: Sequence[IndexEntry]) -> Iterator[str]:
        """Yield the page that names the others, by month."""
        yield _head("Conversations")
        count = f"{len(entries)} conversation{'' if len(entries) == 1 else 's'}"
        yield f'<h1>Conversations</h1>\n<p class="about">{count}</p>\n<main class="index">\n'
        for month, of_month in groupby(entries, _month):
            yield f"<h2>{_text(month)}</h2>\n<ul>\n"
            for entry in of_month:
                known = entry.conversation
                about = [
                    known.source or known.agent,
                    known.metadata.get("folder"),
                    time_text(known.updated_at),
                ]
                if known.message_count is not None:
                    about.append(f"{known.message_count} message{'' if known.message_count == 1 else 's'}")
                told = " · ".join(str(each) for each in about if each)
                title = _text(known.title or UNTITLED)
                yield (
                    f'<li><a href="{_text(entry.file)}">{title}</a><br><span class="about">{_text(told)}</span></li>\n'
                )
            yield "</ul>\n"
        yield "</main>\n</body>\n</html>\n"


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    )


def _fact(fact: Fact) -> str:
    value = _text(fact.value)
    return f"<dt>{_text(fact.name)}</dt><dd>{f'<code>{value}</code>' if fact.is_code else value}</dd>\n"


def _link(link: Link) -> str:
    title = _text(link.title or link.conversation_id)
    return title if link.file is None else f'<a href="{_text(link.file)}">{title}</a>'


def _said(said: str) -> str:
    """Return what was said as it was typed; a block of code stands in a box."""
    pieces: list[str] = []
    lines: list[str] = []
    fence: str | None = None

    def end(tag: str) -> None:
        body = "\n".join(lines)
        if body.strip():
            pieces.append(
                f"<pre>{_text(body)}</pre>\n" if tag == "pre" else f'<div class="said">{_text(body)}</div>\n'
            )
        lines.clear()

    for line in _LINE_BREAK.split(said):
        found = _FENCE.match(line)
        if fence is None and found is not None:
            end("div")
            fence = found[1]
        elif fence is not None and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            end("pre")
            fence = None
        else:
            lines.append(line)
    end("div" if fence is None else "pre")
    return "".join(pieces)


def _text(text: str) -> str:
    """Return text in which nothing is markup, and with escapes for what hides or reverses other characters."""
    return html.escape(escaped(text))


def _month(entry: IndexEntry) -> str:
    at = entry.conversation.updated_at
    return "Time not known" if at is None else f"{at:%B %Y}"
