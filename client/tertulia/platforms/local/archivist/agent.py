"""Carrying out a plan: every call and every piece of the answer told to the run's journal, and none of them twice.

A run may be left at any moment and taken up by another process. That is given the journal of what was done, and goes
through the same plan: calls whose results are journaled are not made again, text that was streamed is not streamed
again. A change and its result are written in one transaction, so that either both are there or neither.
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
from tertulia.platforms.local.archivist.toolcalls import ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.tools.results import ANSWER, COMMAND
from tertulia.platforms.local.archivist.wording import pieces
from tertulia.store.database import Store, encode
from tertulia.vocabulary.errors import ConflictError, InvalidInputError, NotFoundError
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.models import Message, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus

_TOLD = (InvalidInputError, NotFoundError, ConflictError)
"""Errors that are an answer; any other ends the run."""


class Archivist:
    """Answers from the store, without a model."""

    description = (
        "Answers from your own history (every conversation that passed through here), without a model. Say: "
        "find WORDS, quote WORDS, summarise ID or WORDS, timeline [WORDS], similar to ID, list, archive ID, "
        'unarchive ID, retitle ID to "TITLE", delete ID, remember TEXT, help; or just ask. '
        "Long texts are kept as notes. Changes ask for a confirmation first."
    )

    def __init__(self, store: Store) -> None:
        self._store = store

    def mark(self, message: Message) -> Message:
        """Mark a message that tells the archivist to do something, so that no search of its own finds it.

        Notes stay as they are: they are there to be found.
        """
        if message.type is not None or message.text is None or isinstance(parse(message.text), Keep):
            return message
        return replace(message, type=COMMAND)

    async def answer(self, context: EmbeddedRunContext) -> None:
        """Answer a message, as far as that is possible without a person's decision."""
        done = _Done(context.entries)
        text = await self._carry_out(context, done)
        if text is not None:
            await _tell(context, done, text)

    async def _carry_out(self, context: EmbeddedRunContext, done: "_Done") -> str | None:
        """Return the answer's text; None if a person must decide first."""
        steps = plan(parse(context.message.text or ""), context.conversation.id)
        result: ToolResult | None = None
        for number in count(1):
            try:
                call = next(steps) if result is None else steps.send(result)
            except StopIteration as end:
                return end.value
            call_id = f"{context.run.id}_{number}"
            result = done.results.get(call_id)
            if result is None and call.prompt is None:
                result = await self._look_up(context, call, call_id, done.kinds[call_id])
            elif result is None:
                result = await self._change(context, call, call_id, done.kinds[call_id])
                if result is None:
                    return None
        raise AssertionError("a plan ends")

    async def _look_up(
        self, context: EmbeddedRunContext, call: ToolCall, call_id: str, told: set[EventKind]
    ) -> ToolResult:
        begin = [*_opening(call, call_id), Event(EventKind.TOOL_CALL_END, {"tool_call_id": call_id})]
        await context.emit(*(event for event in begin if event.kind not in told))
        find = partial(tools.look_up, principal=context.principal, tool=call.tool, arguments=call.arguments)
        try:
            result = ToolResult(ToolOutcome.OK, await self._store.read(find))
        except _TOLD as error:
            result = ToolResult(ToolOutcome.ERROR, {"message": error.message})
        result, event = _ended(call_id, result)
        await context.emit(event)
        return result

    async def _change(
        self, context: EmbeddedRunContext, call: ToolCall, call_id: str, told: set[EventKind]
    ) -> ToolResult | None:
        """Have a change approved and make it; None while nobody has decided yet."""
        request = next((each for each in context.requests if each.tool_call_id == call_id), None)
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
        end = [event for event in end if event.kind not in told]
        if request.status is not RequestStatus.APPROVED:
            why = {} if request.reason is None else {"reason": request.reason}
            result, event = _ended(call_id, ToolResult(ToolOutcome.REJECTED, why))
            await context.emit(*end, event)
            return result
        scope = {"principal": context.principal, "own_id": context.conversation.id, "tool": call.tool}
        try:
            arguments = tools.checked_arguments(call.tool, context.approved_arguments(request))
            value = await self._store.read(partial(tools.foreseen, **scope, arguments=arguments))
            edited = {} if arguments == call.arguments else {"edited": True}
            result, event = _ended(call_id, ToolResult(ToolOutcome.OK, value | edited))
            await context.commit(
                partial(tools.make, **scope, arguments=arguments), *end, event, checkpoint=context.checkpoint
            )
        except _TOLD as error:
            result, event = _ended(call_id, ToolResult(ToolOutcome.ERROR, {"message": error.message}))
            await context.emit(*end, event)
        return result


class _Done:
    """What the journal has of a run."""

    def __init__(self, entries: Sequence[JournalEntry]) -> None:
        self.kinds: defaultdict[str, set[EventKind]] = defaultdict(set)
        """What was told of each call, and of each message."""
        self.results: dict[str, ToolResult] = {}
        self.text = ""
        for entry in entries:
            about = entry.data.get("tool_call_id") or entry.data.get("message_id")
            self.kinds[str(about)].add(entry.kind)
            if entry.kind is EventKind.TOOL_CALL_RESULT:
                self.results[str(about)] = ToolResult(
                    ToolOutcome(entry.data["outcome"]), entry.data["result"]
                )
            elif entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
                self.text += str(entry.data["delta"])


async def _tell(context: EmbeddedRunContext, done: _Done, text: str) -> None:
    """Stream what the journal lacks of the answer, and end the run."""
    message_id = f"m_{context.run.id.removeprefix('run_')}"
    told = done.kinds[message_id]
    about = {"message_id": message_id}
    if EventKind.TEXT_MESSAGE_START not in told:
        await context.emit(Event(EventKind.TEXT_MESSAGE_START, about))
    end: Mapping[str, Any] = about
    if text.startswith(done.text):
        for piece in pieces(text[len(done.text) :]):
            await context.emit(Event(EventKind.TEXT_MESSAGE_CONTENT, {**about, "delta": piece}))
    else:  # another version of this module began the answer
        end = {**about, "text": text}
    if EventKind.TEXT_MESSAGE_END not in told:
        await context.emit(Event(EventKind.TEXT_MESSAGE_END, end))
    await context.finish(message_id=message_id, type=ANSWER)


def _opening(call: ToolCall, call_id: str) -> list[Event]:
    about = {"tool_call_id": call_id}
    return [
        Event(EventKind.TOOL_CALL_START, {**about, "tool": call.tool}),
        Event(EventKind.TOOL_CALL_ARGS, {**about, "arguments": call.arguments}),
    ]


def _ended(call_id: str, result: ToolResult) -> tuple[ToolResult, Event]:
    """Return a result as the journal will give it back, and the event that takes it there."""
    result = replace(result, value=json.loads(encode(result.value)))
    data = {"tool_call_id": call_id, "result": result.value, "outcome": result.outcome}
    return result, Event(EventKind.TOOL_CALL_RESULT, data)
