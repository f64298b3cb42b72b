"""Having a message answered by an R2R agent: what is asked, what its stream tells, and how it ends.

The stream's events are those of `core/agent/base.py` and `shared/api/models/retrieval/responses.py` in R2R 3.6.6. An
answer lives as long as its connection: closing the stream cancels it, and what was lost of it cannot be had again. The
question stays, and its conversation tells whether a whole answer followed it.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import anyio

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.http.streams import BrokenStreamError
from tertulia.platforms.r2r.rows import Row, exchange, text_of
from tertulia.platforms.r2r.server import Server
from tertulia.vocabulary.errors import InvalidInputError, TertuliaError, UncertainError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import shown, split_agent_address, split_conversation_id

CONTEXT = (
    "search_mode",
    "search_settings",
    "rag_generation_config",
    "research_generation_config",
    "rag_tools",
    "research_tools",
    "task_prompt",
    "include_title_if_available",
    "max_tool_context_length",
    "use_system_context",
)
"""What can be set for an answer (`core/main/api/v3/retrieval_router.py:545-640`)."""
ARRIVAL_SECONDS = 1.0
"""How long a message that got no answer may take to be in its conversation: R2R stores it first of all."""
_CONFIGS = ("rag_generation_config", "research_generation_config")


def checked_context(context: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return settings for an answer, if R2R's agents know them.

    Raises:
        InvalidInputError: they do not.
    """
    for key, value in context.items():
        if key not in CONTEXT:
            raise InvalidInputError(
                f"{name} has {shown(key)}, which R2R's agents do not know.", valid=CONTEXT
            )
        if key in _CONFIGS and not isinstance(value, Mapping):
            raise InvalidInputError(f"`{key}` in {name} must be an object.")
    return context


def question(work: RunContext, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the agent is asked: the message, with the settings of instance, conversation and message, in turn."""
    settings = {**defaults, **(work.conversation.context or {}), **(work.message_context or {})}
    settings = {key: value for key, value in settings.items() if key in CONTEXT}
    for config in _CONFIGS:
        # In research mode, its own configuration counts if there is one, and the other's if not.
        if config in settings or config == _CONFIGS[0]:
            settings[config] = {**settings.get(config, {}), "stream": True}
    if "task_prompt" in settings:  # R2R refuses one beside its own (`retrieval_service.py:1455`)
        settings.setdefault("use_system_context", False)
    mode = "rag" if work.conversation.agent is None else split_agent_address(work.conversation.agent)[1]
    return {"message": {"role": "user", "content": work.message.text}, "mode": mode, **settings}


async def answer(work: RunContext, server: Server, defaults: Mapping[str, Any]) -> None:
    """Ask the agent and tell what it streams, to the very end of the stream: R2R stores the answer behind `done`."""
    if work.message.text is None:
        await work.interrupt("The message is not kept here, and the process that had it has ended.")
        return
    native_id = split_conversation_id(work.conversation.id)[1]
    known = work.checkpoint.get("known")
    if known is None:
        known = len(await server.rows(native_id))
        await work.emit(checkpoint={"known": known})
    else:  # an earlier attempt may have asked; its connection is gone
        asked, reply = await _found(work, server, native_id, known)
        if asked is not None:
            await _end_lost(work, reply)
            return
    told = EventMapper(f"m_{work.run.id.removeprefix('run_')}")
    lost: TertuliaError | None = None
    try:
        async with server.ask(native_id, question(work, defaults)) as frames:
            async for frame in frames:
                await work.emit(*told.read(frame.event, frame.data))
    except (BrokenStreamError, UncertainError) as error:
        lost = error
    try:
        asked, reply = await _found(work, server, native_id, known)
        if asked is None and not told.begun and not _answered(lost):
            await anyio.sleep(ARRIVAL_SECONDS)
            asked, reply = await _found(work, server, native_id, known)
    except TertuliaError:
        if lost is not None and not told.begun:
            raise lost from None  # whether R2R has the question stays unknown
        asked = reply = None
    if told.failed:
        await work.fail("R2R's agent failed; its server's log says why.", retryable=True)
    elif told.text == "":
        await work.fail("R2R's agent ended without an answer.", retryable=True)
    elif told.text is not None:
        await _tell_title(work, server, native_id)
        await work.finish(told.text, message_id=None if reply is None else str(reply["id"]))
    elif asked is None and not told.begun:
        await work.fail("R2R did not take the message.", retryable=True)
    elif _answered(lost):
        await work.fail("R2R took the message, and failed before an answer began.", retryable=True)
    else:
        await _end_lost(work, reply)


class EventMapper:
    """What a stream told so far.

    The text is one message up to each call of a tool and one behind it, as the agent writes it; R2R's final answer is
    the last of them.
    """

    def __init__(self, message_id: str) -> None:
        self.begun = False
        """Whether anything came: the question is stored then."""
        self.text: str | None = None
        """The final answer, once it came."""
        self.failed = False
        """Whether the agent gave up."""
        self._message_id = message_id
        self._parts = 0
        self._open = False

    def read(self, name: str, data: str) -> list[Event]:
        """Return what an event of the stream means; one that nobody knows, or cannot read, is kept raw."""
        self.begun = True
        if name == "done":
            return []
        try:
            return self._read(name, json.loads(data))
        except (ValueError, TypeError, LookupError, AttributeError):  # another shape than R2R's
            return [Event(EventKind.RAW, {"name": name, "payload": data})]

    def _read(self, name: str, payload: dict[str, Any]) -> list[Event]:
        match name:
            case "message":
                delta = {"delta": _delta(payload)}
                return [*self._opened(), Event(EventKind.TEXT_MESSAGE_CONTENT, {**self._about, **delta})]
            case "thinking":
                return [Event(EventKind.REASONING, {"delta": _delta(payload)})]
            case "tool_call":
                return [*self._closed(), *_tool_call(payload)]
            case "tool_result":  # from servers whose agents tell it; those of 3.6.6 do not
                result = {"result": payload["content"], "outcome": "ok"}
                return [
                    Event(EventKind.TOOL_CALL_RESULT, {"tool_call_id": payload["tool_call_id"], **result})
                ]
            case "final_answer":
                self.text = str(payload["generated_answer"])
                citations = payload.get("citations")
                whole = {"text": self.text, **({"citations": citations} if citations else {})}
                return [*self._opened(), *self._closed(whole)] if self.text else self._closed()
            case "error":  # what it says is whatever exception the server met
                self.failed = True
                return self._closed()
            case _:  # `citation` among them
                return [Event(EventKind.RAW, {"name": name, "payload": payload})]

    def _opened(self) -> list[Event]:
        if self._open:
            return []
        self._open = True
        self._parts += 1
        return [Event(EventKind.TEXT_MESSAGE_START, self._about)]

    def _closed(self, whole: Mapping[str, Any] | None = None) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        return [Event(EventKind.TEXT_MESSAGE_END, {**self._about, **(whole or {})})]

    @property
    def _about(self) -> dict[str, str]:
        return {"message_id": self._message_id if self._parts == 1 else f"{self._message_id}.{self._parts}"}


def _delta(payload: Mapping[str, Any]) -> str:
    return "".join(
        str(part["payload"]["value"]) for part in payload["delta"]["content"] if part["type"] == "text"
    )


def _tool_call(payload: Mapping[str, Any]) -> list[Event]:
    about = {"tool_call_id": payload["tool_call_id"]}
    given = payload["arguments"]
    try:
        arguments = json.loads(given)
    except ValueError:
        arguments = None
    told = {"arguments": cast(Any, arguments)} if isinstance(arguments, dict) else {"delta": str(given)}
    return [
        Event(EventKind.TOOL_CALL_START, {**about, "tool": payload["name"]}),
        Event(EventKind.TOOL_CALL_ARGS, {**about, **told}),
        Event(EventKind.TOOL_CALL_END, about),
    ]


def _answered(lost: TertuliaError | None) -> bool:
    """Whether a request was not lost, but answered with a failure."""
    return lost is not None and "status" in lost.ids


async def _found(
    work: RunContext, server: Server, native_id: str, known: int
) -> tuple[Row | None, Row | None]:
    """Return the question and its whole answer, as far as R2R has them."""
    return exchange((await server.rows(native_id))[known:], work.message.text or "")


async def _end_lost(work: RunContext, reply: Row | None) -> None:
    """End a run whose stream was lost, by what R2R has of it."""
    if reply is not None:
        await work.finish(text_of(reply), message_id=str(reply["id"]))
        return
    await work.interrupt(
        "The connection to R2R was lost before the answer was complete, and R2R keeps no part of it. "
        "The question is in the conversation; send a message to ask again."
    )


async def _tell_title(work: RunContext, server: Server, native_id: str) -> None:
    """Tell the title of a conversation that had none: R2R makes one up with the first answer."""
    if work.conversation.title is None:
        with suppress(TertuliaError):
            title = (await server.record(native_id)).get("name")
            if title:
                await work.emit(Event(EventKind.TITLE_UPDATED, {"title": title}))
