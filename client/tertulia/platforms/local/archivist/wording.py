"""How the archivist puts things: compact Markdown, with ids in code marks and what others wrote in quotation marks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Mistake
from tertulia.platforms.local.archivist.grammar import EXAMPLE, USAGE

MAX_ANSWER = 6_000
"""The most characters of an answer."""
_MAX_TITLE = 80
_MAX_REASON = 160


def line(text: str, limit: int) -> str:
    """Return `text` in one line of visible characters, cut behind `limit` of them."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[:limit].rstrip() + "…"


def said(text: str, limit: int = _MAX_TITLE) -> str:
    """Return what somebody else wrote, in quotation marks it cannot leave."""
    return "“" + line(re.sub("[“”]", '"', text), limit) + "”"


def named(conversation: Mapping[str, Any], mark: str = "`") -> str:
    """Return a conversation's title and id."""
    known, title = f"{mark}{conversation['conversation_id']}{mark}", conversation.get("title")
    return f"{said(title)} ({known})" if title else known


def from_whom(told: Mapping[str, Any], *, named_before: bool = False) -> str:
    """Return who wrote a line, in which message, and of which conversation if that was not named before."""
    author = f"{line(told['author'], 60)}, `{told['message_id']}`"
    return author if named_before or "conversation_id" not in told else f"{author} in {named(told)}"


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """Return `number` with its noun."""
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


def corrected(mistake: Mistake) -> str:
    """Return what is to be said about a mistake."""
    return f"{mistake.problem} For example: `{mistake.example}`. `help` says more."


def fitted(head: str, lines: Sequence[str], foot: str = "") -> str:
    """Return the answer from its parts, with as many of the lines as there is room for."""
    room = MAX_ANSWER - len(head) - len(foot) - 100
    shown: list[str] = []
    for each in lines:
        room -= len(each) + 1
        if room < 0:
            shown.append(f"(and {len(lines) - len(shown)} more)")
            break
        shown.append(each)
    return "\n".join([*([head] if head else []), *shown, *([foot] if foot else [])])


def reason(value: Mapping[str, Any]) -> str:
    """Return why something was rejected, as a sentence."""
    given = value.get("reason")
    return f"The reason given: {said(given, _MAX_REASON)}." if given else "No reason was given."


def pieces(text: str) -> list[str]:
    """Split an answer into what is streamed at a time: a line, or a sentence of it."""
    return re.findall(r".+?(?:[.!?…:]\s+|\n+|\Z)", text, re.DOTALL)
