"""What the archivist has quoted of a conversation is withdrawn when the conversation is deleted.

An answer follows from its command and the results of its tools, which the journal keeps. So the quoted passages are
replaced in these results, and the answer is put together again from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, cast

from tertulia.platforms.local.archivist.grammar import parse
from tertulia.platforms.local.archivist.plans import plan
from tertulia.platforms.local.archivist.toolcalls import ADDRESS, ToolResult, journaled_results
from tertulia.platforms.local.archivist.wording import pieces
from tertulia.store import journal, messages, runs
from tertulia.store.database import Transaction
from tertulia.vocabulary.events import EventKind, JournalEntry
from tertulia.vocabulary.message_types import ARCHIVIST_ANSWER
from tertulia.vocabulary.models import Run

DELETED = "(deleted)"
"""Stands where a passage of a deleted conversation stood."""
_QUOTED = frozenset({"title", "before", "snippet", "passage", "text", "about", "shared"})
"""The fields of the tools' results that hold words of a conversation."""

Result = Mapping[str, Any]


def withdraw_quotes(tx: Transaction, principal: str, conversation_id: str) -> None:
    """Replace what the archivist's answers quote of a conversation, and remove these answers from the index.

    An answer that cannot be put together again, such as an imported one, is replaced as a whole.
    """
    for answer in messages.naming(tx, principal, ADDRESS, ARCHIVIST_ANSWER, conversation_id):
        own = (principal, answer.conversation_id)
        run = runs.replied_with(tx, *own, answer.id)
        if run is None:
            messages.withdraw(tx, *own, answer.id, DELETED)
            continue
        before = journal.read_all(tx, principal, run)
        entries = _redacted(before, conversation_id)
        if entries == before:  # it names the conversation, and quotes nothing
            continue
        text = _answer(tx, principal, run, entries) or DELETED
        entries = _with_answer(entries, text)
        changed = [entry for entry, known in zip(entries, before, strict=True) if entry != known]
        journal.replace_data(tx, *own, changed)
        messages.withdraw(tx, *own, answer.id, text)


def _redacted(entries: Sequence[JournalEntry], conversation_id: str) -> list[JournalEntry]:
    """Return a run's entries, with the results of tools without the words of a conversation."""
    about = {call_id: arguments.get("conversation_id") for call_id, arguments in _arguments(entries).items()}

    def redact(entry: JournalEntry) -> JournalEntry:
        if entry.kind is not EventKind.TOOL_CALL_RESULT:
            return entry
        known = entry.data["result"]
        result = _without_quotes(known, conversation_id, about.get(entry.data["tool_call_id"]))
        if result != known and "lines" in result:  # what a summary is about comes from all that it read
            result = {**result, "about": _blank(result.get("about", ()))}
        return replace(entry, data={**entry.data, "result": result})

    return list(map(redact, entries))


def _without_quotes(value: Any, conversation_id: str, owner: str | None) -> Any:
    """Return a part of a result, which is about the conversation `owner`, without the words of a conversation."""
    if isinstance(value, list):
        return [_without_quotes(item, conversation_id, owner) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    fields = cast(dict[str, Any], value)
    owner = fields.get("conversation_id", owner)
    return {
        name: _blank(field)
        if owner == conversation_id and name in _QUOTED
        else _without_quotes(field, conversation_id, owner)
        for name, field in fields.items()
    }


def _blank(words: str | Sequence[str]) -> str | list[str]:
    if isinstance(words, str):
        return DELETED
    return [DELETED] if words else []


def _answer(tx: Transaction, principal: str, run: Run, entries: Sequence[JournalEntry]) -> str | None:
    """Return the answer that follows from these entries; None if the archivist calls other tools by now."""
    if not messages.known(tx, principal, run.conversation_id, run.message_id):
        return None
    command = messages.get(tx, principal, run.conversation_id, run.message_id)
    results, arguments = journaled_results(entries), _arguments(entries)
    steps = plan(parse(command.text or ""), run.conversation_id)
    result: ToolResult | None = None
    for number in count(1):
        try:
            call = next(steps) if result is None else steps.send(result)
        except StopIteration as end:
            return cast(str, end.value)
        call_id = f"{run.id}_{number}"
        if arguments.get(call_id) != call.arguments or call_id not in results:
            return None
        result = results[call_id]
    raise AssertionError("a plan ends")


def _arguments(entries: Iterable[JournalEntry]) -> dict[str, Result]:
    return {
        entry.data["tool_call_id"]: entry.data["arguments"]
        for entry in entries
        if entry.kind is EventKind.TOOL_CALL_ARGS
    }


def _with_answer(entries: Sequence[JournalEntry], text: str) -> list[JournalEntry]:
    """Return a run's entries with another answer, in as many pieces as it had."""
    streamed = [entry.seq for entry in entries if entry.kind is EventKind.TEXT_MESSAGE_CONTENT]
    parts = pieces(text)
    deltas = dict(zip(streamed, parts, strict=False))
    if streamed:
        deltas[streamed[-1]] = "".join(parts[len(streamed) - 1 :])

    def rewrite(entry: JournalEntry) -> JournalEntry:
        if entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
            return replace(entry, data={**entry.data, "delta": deltas.get(entry.seq, "")})
        if entry.kind is EventKind.TEXT_MESSAGE_END and "text" in entry.data:
            return replace(entry, data={**entry.data, "text": text})
        return entry

    return list(map(rewrite, entries))
