"""R2R's records, messages and events, and what they are in the vocabulary.

The events are those of `core/agent/base.py` and `shared/api/models/retrieval/responses.py` in R2R 3.6.6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.fields import ContextFields, field_of
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.values import parsed, read_json, table, tables, text
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import conversation_id, split_agent_address
from tertulia.vocabulary.models import (
    Branch,
    ConversationRecord,
    MessageRecord,
    Role,
)
from tertulia.vocabulary.states import Status

PLATFORM = "R2R"
Record = Mapping[str, Any]
"""A conversation as R2R returns it: `id`, `created_at`, `user_id` and `name`."""
Row = Mapping[str, Any]
"""A message as R2R returns it: `id`, `message` (role, content, …) and `metadata`; neither its time nor its parent."""
_CONFIGS = ("rag_generation_config", "research_generation_config")
CONTEXT = ContextFields(
    "R2R's agent",
    "search_mode search_settings rag_generation_config research_generation_config rag_tools research_tools task_prompt "
    "include_title_if_available max_tool_context_length use_system_context".split(),
    objects=_CONFIGS,
)
"""What can be set for an answer (`core/main/api/v3/retrieval_router.py:545-640`)."""
TELLING = 40
"""By how many streamed characters an answer is told apart from the answer to another question."""
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


def agent_call(context: RunContext, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the agent is asked: the message, with the settings of instance, conversation and message, in turn."""
    settings = {**defaults, **(context.conversation.context or {}), **(context.message_context or {})}
    settings = {key: value for key, value in settings.items() if key in CONTEXT.names}
    for config in _CONFIGS:
        # In research mode, its own configuration counts if there is one, and the other's if not.
        if config in settings or config == _CONFIGS[0]:
            settings[config] = {**settings.get(config, {}), "stream": True}
    if "task_prompt" in settings:  # R2R refuses one beside its own (`retrieval_service.py:1455`)
        settings.setdefault("use_system_context", False)
    mode = "rag" if context.run.agent is None else split_agent_address(context.run.agent)[1]
    return {"message": {"role": "user", "content": context.message.text}, "mode": mode, **settings}


def conversation(record: Record, *, instance: str) -> ConversationRecord:
    """Return a conversation; R2R does not say which agent it is with."""
    return ConversationRecord(
        id=conversation_id(instance, str(record["id"])),
        agent=None,
        status=Status.OPEN,
        title=field_of(record, "name", text),
        created_at=moment(record.get("created_at")),
    )


def message(row: Row, *, instance: str, native_id: str) -> MessageRecord:
    """Return a message of the conversation with this native id."""
    role = _ROLES.get(role_of(row), Role.TOOL)
    cited = sources(row)
    return MessageRecord(
        id=str(row["id"]),
        conversation_id=conversation_id(instance, native_id),
        author=role if role in {Role.USER, Role.SYSTEM} else instance,
        role=role,
        text=text_of(row) or None,
        data={"sources": cited} if cited else None,
        metadata=field_of(row, "metadata", table),
    )


def sources(row: Row) -> list[dict[str, Any]]:
    """Return what an answer cites, each source once; R2R repeats a citation wherever it stands in the text."""
    found: dict[str, dict[str, Any]] = {}
    for citation in tables(table(_inner(row).get("metadata")).get("citations")):
        source = found.setdefault(str(citation.get("id")), {"id": str(citation.get("id"))})
        payload = table(citation.get("payload"))
        about = table(payload.get("metadata"))
        values = {
            "title": payload.get("title") or about.get("title"),
            "url": payload.get("link"),
            "text": payload.get("text") or payload.get("snippet"),
            "document_id": payload.get("document_id"),
            "score": payload.get("score"),
        }
        source |= {name: value for name, value in values.items() if value is not None}
    return [*found.values()]


def branch(record: Mapping[str, Any], *, instance: str, native_id: str) -> Branch:
    """Return a branch of the conversation with this native id."""
    return Branch(
        id=str(record["branch_id"]),
        conversation_id=conversation_id(instance, native_id),
        parted_from=record.get("branch_point_id"),
        created_at=moment(record.get("created_at")),
    )


def text_of(row: Row) -> str:
    """Return a message's text; of one in several parts, the text in them."""
    content = _inner(row).get("content")
    return (
        content
        if isinstance(content, str)
        else "".join(str(part.get("text", "")) for part in tables(content))
    )


def role_of(row: Row) -> str:
    """Return whose voice a message is, in R2R's words."""
    return str(_inner(row).get("role"))


def without_echoes(rows: Sequence[Row]) -> list[Row]:
    """Return messages without what failed runs stored once more.

    R2R stores the last message of a run with its counts of tokens; when nothing was answered, that is the question
    (`core/main/services/retrieval_service.py:1517-1533`).
    """
    kept: list[Row] = []
    for row in rows:
        question = role_of(row) == "user" and bool(kept) and role_of(kept[-1]) == "user"
        if not (question and _is_counted(row) and text_of(row) == text_of(kept[-1])):
            kept.append(row)
    return kept


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that R2R has stored, and what came of it."""

    question: Row
    reply: Row | None = None
    """The whole answer to it, if there is one."""
    failed: bool = False
    """Whether its run has ended without an answer."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What was streamed of an answer since its last call of a tool; `whole`, if that is all of it."""

    text: str = ""
    whole: bool = False

    @staticmethod
    def before(entries: Sequence[JournalEntry]) -> "Streamed":
        """Return what earlier attempts have journalled."""
        parts: list[str] = []
        for entry in entries:
            if entry.kind is EventKind.TOOL_CALL_START:
                parts = []
            elif entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
                parts.append(str(entry.data.get("delta", "")))
        return Streamed("".join(parts))

    def fits(self, answer: Row) -> bool:
        """Return whether a stored answer can be the one that was streamed.

        At the limit of its iterations R2R stores its summary alone, and has streamed it after its attempts.
        """
        text = text_of(answer)
        if self.whole:
            return text == self.text
        return text.startswith(self.text) or (bool(text) and self.text.endswith(text))


def exchange(rows: Sequence[Row], mark: int, question: str, streamed: Streamed) -> Exchange | None:
    """Return a question from behind the first `mark` rows of a conversation, and the answer to it.

    Rows name neither their question nor their time, and several questions may be open at once. So an answer follows the
    question and fits what was streamed of it. Beside another open question, it also has to be told apart from that
    question's answer: where it cannot be, none is returned.
    """
    after = range(mark, len(rows))
    number = next(
        (each for each in after if _is_question(rows[each]) and text_of(rows[each]) == question), None
    )
    if number is None:
        return None
    later = rows[number + 1 :]
    end = next((row for row in later if _is_counted(row) or _is_question(row)), None)
    beside_another = (end is not None and _is_question(end)) or (
        number > 0 and _is_question(rows[number - 1])
    )
    if not beside_another:
        fits = end is not None and _is_answer(end) and streamed.fits(end)
        return Exchange(rows[number], end if fits else None, failed=end is not None and not _is_answer(end))
    fitting = [row for row in later if _is_answer(row) and streamed.fits(row)]
    told_apart = streamed.whole or (len(fitting) == 1 and len(streamed.text) >= TELLING)
    return Exchange(rows[number], fitting[0] if fitting and told_apart else None)


def added(rows: Sequence[Row], role: Role, content: str | None) -> Row | None:
    """Return the first message that a client has added with this role and text."""
    return next(
        (row for row in rows if not _is_counted(row) and (role_of(row), text_of(row)) == (role, content)),
        None,
    )


def _is_question(row: Row) -> bool:
    return role_of(row) == "user" and not _is_counted(row)


def _is_answer(row: Row) -> bool:
    # A message with `tool_calls` only announces the tools that its run went on to call.
    return role_of(row) == "assistant" and _is_counted(row) and not _inner(row).get("tool_calls")


def _inner(row: Row) -> Row:
    return table(row.get("message"))


def _is_counted(row: Row) -> bool:
    """Return whether a run stored this message: it has counts of tokens, as numbers, which no client can write."""
    return isinstance(table(row.get("metadata")).get("output_tokens"), int)


class EventMapper:
    """Maps what an agent streams.

    The text is one message up to each call of a tool and one after it, as the agent writes it; R2R's final answer is
    the last of them.
    """

    def __init__(self, message_id: str) -> None:
        self.begun = False
        """Whether anything came."""
        self.answer: str | None = None
        """The final answer, once it came."""
        self.failure: str | None = None
        """Why the agent gave up, in R2R's words."""
        self._texts: list[str] = []
        self._message_id = message_id
        self._parts = 0
        self._about = {"message_id": message_id}
        self._open = False

    @property
    def text(self) -> str:
        """What was streamed of the text that the answer is to have: of all since the last call of a tool."""
        return "".join(self._texts)

    def events(self, name: str, data: str) -> list[Event]:
        """Return what an event of the stream means; one that nobody knows, or cannot read, is kept raw."""
        self.begun = True
        if name == "done":
            return []
        try:
            return self._events(name, read_json(data))
        except (
            ValueError,
            RecursionError,
            TypeError,
            LookupError,
            AttributeError,
        ):  # another shape than R2R's
            return [Event(EventKind.RAW, {"name": name, "payload": data})]

    def _events(self, name: str, payload: dict[str, Any]) -> list[Event]:
        match name:
            case "message":
                delta = _delta(payload)
                self._texts.append(delta)
                return [
                    *self._opened(),
                    Event(EventKind.TEXT_MESSAGE_CONTENT, {**self._about, "delta": delta}),
                ]
            case "thinking":
                return [Event(EventKind.REASONING, {"delta": _delta(payload)})]
            case "tool_call":
                self._texts = []
                return [*self._closed(), *_tool_call(payload)]
            case "tool_result":  # from servers whose agents tell it; those of 3.6.6 do not
                about = {"tool_call_id": payload["tool_call_id"]}
                result = {**about, "result": payload["content"], "outcome": "ok"}
                return [Event(EventKind.TOOL_CALL_RESULT, result)]
            case "final_answer":
                self.answer = str(payload["generated_answer"])
                citations = payload.get("citations")
                whole = {"text": self.answer, **({"citations": citations} if citations else {})}
                return [*self._opened(), *self._closed(whole)] if self.answer else self._closed()
            case "error":
                self.failure = str(payload["error"]["message"])
                return self._closed()
            case _:  # `citation` among them
                return [Event(EventKind.RAW, {"name": name, "payload": payload})]

    def _opened(self) -> list[Event]:
        if self._open:
            return []
        self._open = True
        self._parts += 1
        if self._parts > 1:
            self._about = {"message_id": f"{self._message_id}.{self._parts}"}
        return [Event(EventKind.TEXT_MESSAGE_START, self._about)]

    def _closed(self, whole: Mapping[str, Any] | None = None) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        return [Event(EventKind.TEXT_MESSAGE_END, {**self._about, **(whole or {})})]


def _delta(payload: Mapping[str, Any]) -> str:
    return "".join(
        [str(part["payload"]["value"]) for part in payload["delta"]["content"] if part["type"] == "text"]
    )


def _tool_call(payload: Mapping[str, Any]) -> list[Event]:
    about = {"tool_call_id": payload["tool_call_id"]}
    given = payload["arguments"]
    arguments = parsed(given)
    shape = {"arguments": table(arguments)} if isinstance(arguments, Mapping) else {"delta": str(given)}
    return [
        Event(EventKind.TOOL_CALL_START, {**about, "tool": payload["name"]}),
        Event(EventKind.TOOL_CALL_ARGS, {**about, **shape}),
        Event(EventKind.TOOL_CALL_END, about),
    ]
