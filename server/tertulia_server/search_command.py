"""`tertulia search` and `tertulia show`: a person finds a conversation, and reads it, in a terminal."""

import json
import pydoc
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tertulia.client import Client
from tertulia.history.writers.pages import UNTITLED, Page, facts, heading, shown_data, shown_text, time_text
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.message_types import ARCHIVIST_TYPES, PROGRAM_TYPES
from tertulia.vocabulary.models import Message, MessageQuery, Role, SearchHit, SearchQuery, SearchResult
from tertulia.vocabulary.untrusted import clean_text, one_line
from tertulia_server.settings import Settings

_PAGE = 50
_BEFORE, _AFTER = 5, 15
"""How many messages are shown before and after the one that was found."""
_LONG = 1_200
"""More characters of what tools and programs wrote are left out, unless all is asked for."""


def search(settings: Settings, query: SearchQuery, *, as_json: bool, opened: int | None) -> int:
    """Print what matches, with numbers, and show the one that the person picks; return 1 if nothing matches.

    Raises:
        InvalidInputError: `opened` is no number of a match.
    """
    query = replace(query, exclude_types=ARCHIVIST_TYPES)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client.open(settings.client_settings())) as client,
    ):
        found = portal.call(client.search.messages, query)
        if as_json:
            print(json.dumps(_as_json(found), indent=2))
            return 0 if found.hits else 1
        if opened is None:
            for line in _result_lines(found):
                print(line)
            opened = _picked(len(found.hits))
        if opened is not None:
            if not 1 <= opened <= len(found.hits):
                raise InvalidInputError(
                    f"There is no match {opened}.", hint=f"{len(found.hits)} were found; --limit shows more."
                )
            _show_hit(portal, client, settings, found.hits[opened - 1])
    return 0 if found.hits else 1


def show(settings: Settings, conversation_id: str, *, last: int | None, full: bool) -> int:
    """Print a conversation, a page at a time on a terminal; return 0.

    Raises:
        NotFoundError: there is no such conversation.
    """
    conversation_id = conversation_id.strip().removeprefix("conversation://")
    if ":" not in conversation_id:
        conversation_id = f"local:{conversation_id}"
    split_conversation_id(conversation_id)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client.open(settings.client_settings())) as client,
    ):
        lines = partial(_conversation_lines, client, settings, conversation_id, last=last, full=full)
        _print_pages(portal.call(lines))
    return 0


def _show_hit(portal: BlockingPortal, client: Client, settings: Settings, hit: SearchHit) -> None:
    around = partial(_conversation_lines, client, settings, hit.conversation_id, around=hit.message_id)
    _print_pages(portal.call(around))


def _picked(count: int) -> int | None:
    """Return the number that the person types; None where nobody can, or types anything else."""
    if not count or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    try:
        typed = input(f"Open which (1 to {count}; Enter leaves)? ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return None
    return int(typed) if typed.isdecimal() and 1 <= int(typed) <= count else None


def _print_pages(lines: Sequence[str]) -> None:
    text = "\n".join(lines) + "\n"
    if sys.stdout.isatty() and sys.stdin.isatty():
        pydoc.pager(text)
    else:
        print(text, end="")


def _result_lines(found: SearchResult) -> Iterator[str]:
    for number, hit in enumerate(found.hits, 1):
        who = None if hit.role is None else (hit.author if hit.role is Role.ASSISTANT else str(hit.role))
        place = " · ".join(one_line(each) for each in (who, time_text(hit.at), hit.conversation_id) if each)
        yield f"{number:>3}  {one_line(hit.conversation_title or UNTITLED)}"
        yield f"     {place}"
        if hit.message_id is not None:
            yield f"     {one_line(hit.snippet)}"
    for answered in found.answered:
        if answered.failure is not None:
            yield one_line(f"{answered.instance} did not answer: {answered.failure}")
    if not found.hits:
        yield "Nothing matches."
    elif found.next_cursor is not None:
        yield "There are more: --limit, --since or another word."
    if found.suggestion is not None:
        yield one_line(f"Did you mean: {found.suggestion}")


def _as_json(found: SearchResult) -> dict[str, Any]:
    """Return what was found for a program; JSON's escapes keep it from a terminal."""
    return {
        "matches": [
            {
                "conversation_id": hit.conversation_id,
                "title": hit.conversation_title,
                "status": hit.status,
                "message_id": hit.message_id,
                "author": hit.author,
                "role": hit.role,
                "at": hit.at.isoformat(),
                "snippet": hit.snippet,
            }
            for hit in found.hits
        ],
        "total": found.total,
        "more": found.next_cursor is not None,
        "suggestion": found.suggestion,
        "failed": [
            {"instance": each.instance, "failure": each.failure}
            for each in found.answered
            if each.failure is not None
        ],
    }


async def _conversation_lines(
    client: Client,
    settings: Settings,
    conversation_id: str,
    *,
    around: str | None = None,
    last: int | None = None,
    full: bool = False,
) -> Sequence[str]:
    """Return the lines of a conversation: all of it, its last messages, or those around one."""
    conversation = await client.conversations.get(conversation_id)
    lines = [one_line(conversation.title or UNTITLED)]
    lines += [one_line(f"{fact.name}: {fact.value}") for fact in facts(Page(conversation, ()))]
    passage = None if around is None else await _around(client, conversation_id, around)
    passage = passage or await _newest(client, conversation_id, last)
    rest = f"`{settings.command('show', conversation_id)}` shows all"
    if passage.before:
        lines += ["", f"… {passage.before} message{'' if passage.before == 1 else 's'} before; {rest}"]
    for message in passage.messages:
        lines += _message_lines(message, full=full, is_hit=message.id == around)
    if passage.goes_on:
        lines += ["", f"… and more; {rest}"]
    return lines


@dataclass(frozen=True, slots=True)
class _Passage:
    """Some messages of a conversation: how many stand before them, and whether more stand behind."""

    messages: Sequence[Message]
    before: int = 0
    goes_on: bool = False


async def _newest(client: Client, conversation_id: str, count: int | None) -> _Passage:
    shown: deque[Message] = deque(maxlen=count)
    number = 0
    async with aclosing(_messages(client, conversation_id)) as messages:
        async for message in messages:
            number += 1
            shown.append(message)
    return _Passage(shown, number - len(shown))


async def _around(client: Client, conversation_id: str, message_id: str) -> _Passage | None:
    """Return what stands around a message, on the newest branch or another; None if it is nowhere."""
    names: list[str | None] = [None]
    if client.offers(conversation_id, Feature.BRANCHES):
        names += [branch.id for branch in await client.conversations.branches(conversation_id)]
    for name in names:
        async with aclosing(_messages(client, conversation_id, name)) as messages:
            before: deque[Message] = deque(maxlen=_BEFORE + 1)
            number = 0
            async for message in messages:
                number += 1
                before.append(message)
                if message.id == message_id:
                    behind = [each async for each in _first(messages, _AFTER + 1)]
                    return _Passage([*before, *behind[:_AFTER]], number - len(before), len(behind) > _AFTER)
    return None


async def _first(messages: AsyncGenerator[Message], count: int) -> AsyncGenerator[Message]:
    async for message in messages:
        yield message
        count -= 1
        if not count:
            return


async def _messages(
    client: Client, conversation_id: str, branch: str | None = None
) -> AsyncGenerator[Message]:
    cursor: str | None = None
    while True:
        query = MessageQuery(limit=_PAGE, cursor=cursor, branch=branch)
        page = await client.messages.list(conversation_id, query)
        for message in page.items:
            yield message
        cursor = page.next_cursor
        if cursor is None:
            return


def _message_lines(message: Message, *, full: bool, is_hit: bool) -> Iterator[str]:
    at = "" if message.created_at is None else f" · {time_text(message.created_at)}"
    yield ""
    yield f"{'▶' if is_hit else '─'}── {one_line(heading(message))}{at}"
    data = shown_data(message)
    said = "\n".join(each for each in (shown_text(message), None if data is None else data[0]) if each)
    is_programs = message.role is Role.TOOL or message.type in PROGRAM_TYPES
    if is_programs and not full and not is_hit and len(said) > _LONG:
        yield from clean_text(said[:_LONG]).rstrip().splitlines()
        yield f"… {len(said) - _LONG} characters more (--full)"
    else:
        yield from clean_text(said).splitlines()
