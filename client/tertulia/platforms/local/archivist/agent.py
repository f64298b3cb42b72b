"""The archivist carries out a plan: it journals every call and every piece of the answer, each of them once.

A process may die in the middle of a run. The process that takes the run over goes through the same plan with the run's
journal: it does not repeat calls whose results are journaled, nor text that was streamed. A change and its result are
written in one transaction.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.archivist import tools
from tertulia.platforms.local.archivist.commands import Keep
from tertulia.platforms.local.archivist.grammar import parse
from tertulia.platforms.local.archivist.plans import plan
from tertulia.platforms.local.archivist.toolcalls import (
    Tool,
    ToolCall,
    ToolOutcome,
    ToolResult,
    journaled_results,
)
from tertulia.platforms.local.archivist.wording import pieces
from tertulia.store import conversations
from tertulia.store.database import Store, encode
from tertulia.vocabulary.errors import ConflictError, InvalidInputError, NotFoundError, StoreTimeoutError
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.message_types import ARCHIVIST_ANSWER, ARCHIVIST_COMMAND
from tertulia.vocabulary.models import Message, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus

_ANSWERABLE = (InvalidInputError, NotFoundError, ConflictError)
"""The errors that the archivist answers with; any other ends the run."""


class Archivist:
    """Answers messages from the store, without a model."""

    description = (
        "Answers from your own history (every conversation that passed through here), without a model. Say: "
        "find WORDS, quote WORDS, summarise ID or WORDS, timeline [WORDS], similar to ID, list, archive ID, "
        'unarchive ID, retitle ID to "TITLE", delete ID, remember TEXT, help; or just ask. '
        "Long texts are kept as notes. Changes ask for a confirmation first."
    )

    def __init__(self, store: Store) -> None:
        self._store = store

    def mark(self, message: Message) -> Message:
        """Mark a command, so that the archivist's searches do not find it. A note is not marked: it is to be found."""
        if message.type is not None or message.text is None or isinstance(parse(message.text), Keep):
            return message
        return replace(message, type=ARCHIVIST_COMMAND)

    async def answer(self, context: EmbeddedRunContext) -> None:
        """Answer a message; stop where a person has to decide first."""
        progress = _Progress(context.entries)
        text = await self._carry_out(context, progress)
        if text is not None:
            await _stream_answer(context, progress, text)

    async def _carry_out(self, context: EmbeddedRunContext, progress: "_Progress") -> str | None:
        """Return the text of the answer; None if a person has to decide first."""
        steps = plan(parse(context.message.text or ""), context.conversation.id)
        result: ToolResult | None = None
        for number in count(1):
            try:
                call = next(steps) if result is None else steps.send(result)
            except StopIteration as end:
                return end.value
            call_id = f"{context.run.id}_{number}"
            result = progress.results.get(call_id)
            if result is None and call.prompt is None:
                result = await self._look_up(context, call, call_id, progress.kinds[call_id])
            elif result is None:
                result = await self._change(context, call, call_id, progress.kinds[call_id])
                if result is None:
                    return None
        raise AssertionError("a plan ends")

    async def _look_up(
        self, context: EmbeddedRunContext, call: ToolCall, call_id: str, emitted: set[EventKind]
    ) -> ToolResult:
        begin = [*_opening(call, call_id), Event(EventKind.TOOL_CALL_END, {"tool_call_id": call_id})]
        await context.emit(*(event for event in begin if event.kind not in emitted))
        find = partial(tools.look_up, principal=context.principal, tool=call.tool, arguments=call.arguments)
        try:
            result = ToolResult(ToolOutcome.OK, await self._store.read(find))
        except _ANSWERABLE as error:
            result = ToolResult(ToolOutcome.ERROR, {"message": error.message})
        except StoreTimeoutError as error:  # it may be too much at every attempt
            result = ToolResult(ToolOutcome.ERROR, {"message": f"{error.message} {error.hint}"})
        result, event = _ended(call_id, result)
        await context.emit(event)
        return result

    async def _change(
        self, context: EmbeddedRunContext, call: ToolCall, call_id: str, emitted: set[EventKind]
    ) -> ToolResult | None:
        """Ask for approval of a change and make it once it is approved; return None until a person has decided."""
        request = next((asked for asked in context.requests if asked.tool_call_id == call_id), None)
        if request is None:
            draft = RequestDraft(
                kind=RequestKind.CONFIRMATION,
                prompt=call.prompt or "",
                tool=call.tool,
                arguments=call.arguments,
                tool_call_id=call_id,
            )
            await context.ask(draft, *_opening(call, call_id))
            return None
        if request.status is RequestStatus.PENDING:
            return None
        end = [Event(EventKind.TOOL_CALL_END, {"tool_call_id": call_id})]
        end = [event for event in end if event.kind not in emitted]
        if request.status is not RequestStatus.APPROVED:
            why = {} if request.reason is None else {"reason": request.reason}
            result, event = _ended(call_id, ToolResult(ToolOutcome.REJECTED, why))
            await context.emit(*end, event)
            return result
        scope = {"principal": context.principal, "current_id": context.conversation.id, "tool": call.tool}
        try:
            arguments = tools.checked_arguments(call.tool, context.approved_arguments(request))
            value = await self._store.read(partial(tools.preview, **scope, arguments=arguments))
            if call.tool is Tool.DELETE:
                await conversations.shorten(self._store, context.principal, arguments["conversation_id"])
            edited = {} if arguments == call.arguments else {"edited": True}
            result, event = _ended(call_id, ToolResult(ToolOutcome.OK, value | edited))
            await context.commit(
                partial(tools.apply_change, **scope, arguments=arguments),
                *end,
                event,
                checkpoint=context.checkpoint,
            )
        except _ANSWERABLE as error:
            result, event = _ended(call_id, ToolResult(ToolOutcome.ERROR, {"message": error.message}))
            await context.emit(*end, event)
        return result


class _Progress:
    """What earlier attempts at a run have journaled."""

    def __init__(self, entries: Sequence[JournalEntry]) -> None:
        self.kinds: defaultdict[str, set[EventKind]] = defaultdict(set)
        """The kinds of the events about each tool call and each message."""
        self.results = journaled_results(entries)
        self.text = ""
        """The text that was streamed."""
        for entry in entries:
            about = entry.data.get("tool_call_id") or entry.data.get("message_id")
            self.kinds[str(about)].add(entry.kind)
            if entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
                self.text += str(entry.data["delta"])


async def _stream_answer(context: EmbeddedRunContext, progress: _Progress, text: str) -> None:
    """Stream the part of the answer that the journal lacks, and end the run."""
    message_id = f"m_{context.run.id.removeprefix('run_')}"
    emitted = progress.kinds[message_id]
    about = {"message_id": message_id}
    if EventKind.TEXT_MESSAGE_START not in emitted:
        await context.emit(Event(EventKind.TEXT_MESSAGE_START, about))
    end: Mapping[str, Any] = about
    if text.startswith(progress.text):
        for piece in pieces(text[len(progress.text) :]):
            await context.emit(Event(EventKind.TEXT_MESSAGE_CONTENT, {**about, "delta": piece}))
    else:  # another version of this module has streamed the beginning of another answer
        end = {**about, "text": text}
    if EventKind.TEXT_MESSAGE_END not in emitted:
        await context.emit(Event(EventKind.TEXT_MESSAGE_END, end))
    await context.finish(message_id=message_id, type=ARCHIVIST_ANSWER)


def _opening(call: ToolCall, call_id: str) -> list[Event]:
    about = {"tool_call_id": call_id}
    return [
        Event(EventKind.TOOL_CALL_START, {**about, "tool": call.tool}),
        Event(EventKind.TOOL_CALL_ARGS, {**about, "arguments": call.arguments}),
    ]


def _ended(call_id: str, result: ToolResult) -> tuple[ToolResult, Event]:
    """Return a result as it will be read from the journal, and the event that journals it."""
    result = replace(result, value=json.loads(encode(result.value)))
    data = {"tool_call_id": call_id, "result": result.value, "outcome": result.outcome}
    return result, Event(EventKind.TOOL_CALL_RESULT, data)
