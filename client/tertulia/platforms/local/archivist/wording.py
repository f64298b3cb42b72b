"""The wording of the archivist's answers: compact Markdown, with ids as code and other people's text in quotes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Mistake
from tertulia.platforms.local.archivist.grammar import EXAMPLE, USAGE

MAX_ANSWER = 6_000
"""The most characters of an answer."""
_MAX_TITLE = 80
_MAX_REASON = 160


def one_line(text: str, limit: int) -> str:
    """Return `text` as one line of visible characters, cut after `limit` of them."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[:limit].rstrip() + "…"


def in_quotes(text: str, limit: int = _MAX_TITLE) -> str:
    """Return another person's text in quotation marks that it cannot close."""
    return "“" + one_line(re.sub("[“”]", '"', text), limit) + "”"


def name_of(conversation: Mapping[str, Any], mark: str = "`") -> str:
    """Return a conversation's title and id."""
    known, title = f"{mark}{conversation['conversation_id']}{mark}", conversation.get("title")
    return f"{in_quotes(title)} ({known})" if title else known


def attribution(quote: Mapping[str, Any], *, named_before: bool = False) -> str:
    """Return who wrote a line, in which message, and in which conversation unless that was named before."""
    author = f"{one_line(quote['author'], 60)}, `{quote['message_id']}`"
    return author if named_before or "conversation_id" not in quote else f"{author} in {name_of(quote)}"


def quantity(number: int, noun: str, nouns: str | None = None) -> str:
    """Return `number` with its noun in the singular or plural."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def help_text() -> str:
    """Return the answer to `help`."""
    forms = [f"- `{form}`: {what}" for form, what in USAGE.items()]
    return "\n".join(
        [
            "I answer from your own history, of all conversations that passed through here. Tell me:",
            *forms,
            f"CONVERSATION is an id (`{EXAMPLE}`), `this`, or a title in quotation marks; commas stand between "
            "several. Before I change anything I ask you.",
            "Anything else you say is looked for in your history if it is a question or short, and kept as a note if "
            "it is long.",
        ]
    )


def correction(mistake: Mistake) -> str:
    """Return the answer to a mistaken command."""
    return f"{mistake.problem} For example: `{mistake.example}`. `help` says more."


def fit(head: str, lines: Sequence[str], foot: str = "") -> str:
    """Return an answer of `head`, as many of the lines as it has room for, and `foot`."""
    room = MAX_ANSWER - len(head) - len(foot) - 100
    shown: list[str] = []
    for text in lines:
        room -= len(text) + 1
        if room < 0:
            shown.append(f"(and {len(lines) - len(shown)} more)")
            break
        shown.append(text)
    return "\n".join([*([head] if head else []), *shown, *([foot] if foot else [])])


def reason_given(value: Mapping[str, Any]) -> str:
    """Return the reason of a rejection, as a sentence."""
    given = value.get("reason")
    return f"The reason given: {in_quotes(given, _MAX_REASON)}." if given else "No reason was given."


def pieces(text: str) -> list[str]:
    """Split an answer into the pieces that are streamed one by one: lines, or their sentences."""
    return re.findall(r".+?(?:[.!?…:]\s+|\n+|\Z)", text, re.DOTALL)
