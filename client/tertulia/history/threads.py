"""Builds the items of a conversation from the parts that a format's reader finds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tertulia.history.contents import call_text, content_text, kind_of, spoken, unknown_content
from tertulia.history.items import Item, MessageItem, Omission, Thread, local_id
from tertulia.history.values import first_line, mapping, sequence, text, without_empty
from tertulia.store.database import storable
from tertulia.store.transfer import Follows
from tertulia.vocabulary.message_types import ATTACHMENT, COMMAND, DOCUMENT, TOOL_CALL, TOOL_RESULT
from tertulia.vocabulary.models import Conversation, Message, Participant, ParticipantRole, Role
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import safe_id

USER = "user"
REASONING = Omission("reasoning")
_REASONING = {"thinking", "redacted_thinking", "reasoning"}
_CALLS = {"tool_use", "server_tool_use", "mcp_tool_use"}


def imported_thread(
    source: str,
    source_ref: str,
    *,
    title: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    created_at: datetime | None = None,
    archived: bool = False,
) -> Thread:
    """Return a conversation that another program held: nobody answers in it any more."""
    return Thread(
        conversation=Conversation(
            id=local_id(source, source_ref),
            agent=None,
            status=Status.COMPLETED,
            title=first_line(title, 200),
            metadata=dict(metadata or {}),
            source=source,
            source_ref=storable(source_ref),
            archived=archived,
            message_count=0,
            created_at=created_at,
            updated_at=created_at,
        ),
        participants=[Participant(address=USER, role=ParticipantRole.INITIATOR, joined_at=created_at)],
    )


@dataclass(frozen=True, slots=True)
class Part:
    """Where something stands in a file: in the part `owner` (a message or a line), at `place` there.

    The same part, read again, is the same; another one is another, even if a program gave both the same id.
    """

    owner: str
    place: int = 0


class _Calls:
    """The tool calls of a conversation: which message each is, and which one a result answers."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, str], str] = {}
        self._latest: dict[str, str] = {}
        self._answers: dict[str, Part] = {}
        self._names: dict[str, str] = {}
        self._unnamed: list[str] = []

    def call(self, call_id: str | None, name: str, part: Part) -> str:
        """Return the id of the message that makes a call."""
        if call_id is None:
            message_id = f"{part.owner}:call{part.place}"
            if message_id not in self._names:
                self._unnamed.append(message_id)
        else:
            message_id = f"{part.owner}:{call_id}" if call_id in self._latest else call_id
            message_id = self._messages.setdefault((call_id, part.owner), message_id)
            self._latest[call_id] = message_id
        self._names[message_id] = name
        return message_id

    def result(self, call_id: str | None, name: str | None, part: Part) -> tuple[str, str | None]:
        """Return the id of the message with a result, and that of the call which it answers, if it is known."""
        if call_id is not None:
            called = self._latest.get(call_id, call_id)
            if self._answers.setdefault(called, part) != part:
                return f"{part.owner}:{call_id}:result", called
            return f"{called}:result", called
        called = next((each for each in self._unnamed if name in {None, self._names[each]}), None)
        if called is not None:
            self._unnamed.remove(called)
        return f"{part.owner}:result{part.place or ''}", called

    def name_of(self, message_id: str | None) -> str | None:
        """Return the name of the tool that a message calls."""
        return None if message_id is None else self._names.get(message_id)


class ThreadBuilder:
    """Builds the items of one conversation, message by message.

    `follows` is set by the reader of a conversation that branches, before each message.
    """

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.follows: Follows | None = None
        self._calls = _Calls()
        self._at: datetime | None = None

    def update(self, *, title: str | None = None, **metadata: Any) -> bool:
        """Add to the conversation's title and metadata; return whether that changed them."""
        known = self.thread.conversation
        updated = replace(
            known,
            title=first_line(title, 200) or known.title,
            metadata={**without_empty(**metadata), **known.metadata},
        )
        self.thread = replace(self.thread, conversation=updated)
        return updated != known

    def message(
        self,
        message_id: str,
        role: Role,
        said: str | None,
        at: datetime | None,
        *,
        author: str | None = None,
        type: str | None = None,
        data: Mapping[str, Any] | None = None,
        parent_id: str | None = None,
        titles: bool | None = None,
        **metadata: Any,
    ) -> Iterator[Item]:
        """Yield a message, unless it is empty.

        `titles`: the conversation can be named after it; if not given, it can after what the user simply said.
        """
        if text(said) is None and data is None:
            return
        known = self.thread.conversation
        if titles is None:
            # A message between angle brackets is what some program put in, as a rule.
            typed = (said or "").strip()
            titles = (
                role is Role.USER and type is None and not (typed.startswith("<") and typed.endswith(">"))
            )
        if known.title is None and titles and self.update(title=first_line(spoken(said or ""))):
            yield self.thread
        self._at = at or self._at or known.created_at
        if known.created_at is None:
            updated = replace(self.thread.conversation, created_at=self._at, updated_at=self._at)
            self.thread = replace(self.thread, conversation=updated)
        message = Message(
            id=safe_id(message_id),
            conversation_id=known.id,
            author=storable(author or (USER if role is Role.USER else known.source or role)),
            role=role,
            text=said if text(said) else None,
            data=data,
            type=type,
            parent_id=None if parent_id is None else safe_id(parent_id),
            metadata=without_empty(**metadata),
            created_at=self._at,
        )
        yield MessageItem(self.thread, message, timed=at is not None, follows=self.follows)
        if self.follows is not None:
            self.follows = Follows(message.id)

    def from_program(
        self, message_id: str, type: str, said: str | None, at: datetime | None, **metadata: Any
    ) -> Iterator[Item]:
        """Yield a message that the program put in: `type` is one of `PROGRAM_TYPES`."""
        yield from self.message(message_id, Role.SYSTEM, said, at, type=type, **metadata)

    def command(self, message_id: str, said: str, at: datetime | None, *, titles: bool) -> Iterator[Item]:
        """Yield a command that the user gave to the program."""
        yield from self.message(message_id, Role.USER, said, at, type=COMMAND, titles=titles)

    def tool_call(
        self,
        call_id: str | None,
        name: str,
        arguments: object,
        at: datetime | None,
        part: Part,
        **metadata: Any,
    ) -> Iterator[Item]:
        """Yield a message that calls a tool."""
        message_id = self._calls.call(call_id, name, part)
        yield from self.message(
            message_id,
            Role.TOOL,
            call_text(name, arguments),
            at,
            type=TOOL_CALL,
            data={"id": call_id or message_id, "name": name, "arguments": arguments},
            **metadata,
        )

    def document(
        self,
        call_id: str | None,
        name: str,
        content: str,
        about: Mapping[str, Any],
        at: datetime | None,
        part: Part,
        **metadata: Any,
    ) -> Iterator[Item]:
        """Yield a message with a document that a call of the tool `name` wrote; `about` describes it."""
        message_id = self._calls.call(call_id, name, part)
        yield from self.message(
            message_id,
            Role.ASSISTANT,
            content,
            at,
            type=DOCUMENT,
            data={"id": call_id or message_id, "name": name, "document": dict(about)},
            **metadata,
        )

    def tool_result(
        self,
        call_id: str | None,
        returned: str | None,
        at: datetime | None,
        part: Part,
        *,
        name: str | None = None,
        failed: bool = False,
        **metadata: Any,
    ) -> Iterator[Item]:
        """Yield a message with the result of a tool; without `call_id`, of the first call that has none and waits."""
        message_id, called = self._calls.result(call_id, name, part)
        name = name or self._calls.name_of(called)
        yield from self.message(
            message_id,
            Role.TOOL,
            returned,
            at,
            author=name,
            type=TOOL_RESULT,
            data=without_empty(id=call_id or called, name=name, failed=failed or None) or None,
            parent_id=called,
            **metadata,
        )

    def attachment(
        self, message_id: str, content: str, about: Mapping[str, Any], at: datetime | None
    ) -> Iterator[Item]:
        """Yield a message with the text of an attached file."""
        yield from self.message(
            message_id, Role.USER, content, at, type=ATTACHMENT, data={"file": dict(about)}
        )

    def blocks(
        self, message_id: str, role: Role, content: object, at: datetime | None, **metadata: Any
    ) -> Iterator[Item]:
        """Yield the messages of content as Anthropic's Messages API has it: text, or a list of blocks.

        The text parts of other APIs are read, too. Adjacent blocks of text become one message.
        """
        if isinstance(content, str):
            yield from self.message(message_id, role, content, at, **metadata)
            return
        passage: list[str] = []
        passages = 0

        def joined() -> Iterator[Item]:
            nonlocal passages
            if passage:
                name = message_id if passages == 0 else f"{message_id}:{passages}"
                passages += 1
                yield from self.message(name, role, "\n\n".join(passage), at, **metadata)
                passage.clear()

        for number, part in enumerate(sequence(content)):
            block = {"type": "text", "text": part} if isinstance(part, str) else mapping(part)
            kind = kind_of(block)
            if kind in _CALLS or kind.endswith("tool_result"):
                yield from joined()
                yield from self._tool_block(block, kind, at, Part(message_id, number), **metadata)
            elif kind in _REASONING:
                yield REASONING
            else:
                if unknown_content(kind):
                    yield Omission("contents of unknown kinds")
                words = content_text([block])
                if words is not None:
                    passage.append(words)
        yield from joined()

    def _tool_block(
        self, block: Mapping[str, Any], kind: str, at: datetime | None, part: Part, **metadata: Any
    ) -> Iterator[Item]:
        name = text(block.get("name"))
        if kind in _CALLS:
            call_id, given = text(block.get("id")), mapping(block.get("input"))
            content = text(given.get("content"))
            if name == "artifacts" and content is not None:
                about = {field: value for field, value in given.items() if field != "content"}
                yield from self.document(call_id, name, content, about, at, part, **metadata)
            else:
                yield from self.tool_call(call_id, name or "tool", block.get("input"), at, part, **metadata)
        else:
            failed = block.get("is_error") is True
            returned = content_text(block.get("content"))
            yield from self.tool_result(
                text(block.get("tool_use_id")), returned, at, part, name=name, failed=failed
            )
