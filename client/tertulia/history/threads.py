"""Builds the items of a conversation from the parts that a format's reader finds."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tertulia.history.items import (
    ATTACHMENT,
    TOOL_CALL,
    TOOL_RESULT,
    Item,
    MessageItem,
    Omission,
    Thread,
    local_id,
)
from tertulia.history.values import first_line, mapping, safe_id, sequence, text, without_empty
from tertulia.store.database import storable
from tertulia.vocabulary.models import Conversation, Message, Participant, ParticipantRole, Role
from tertulia.vocabulary.states import Status

_CALL_SHOWN = 2_000
"""How many characters of a tool call are its text, which search finds; its `data` has all of it."""
USER = "user"
REASONING = Omission("reasoning")


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


class ThreadBuilder:
    """Builds the items of one conversation, message by message."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self._tools: dict[str, str] = {}
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
        **metadata: Any,
    ) -> Iterator[Item]:
        """Yield a message, unless it is empty."""
        if text(said) is None and not data:
            return
        known = self.thread.conversation
        # A program wrote what begins with a tag: the name of a command, or its output.
        typed = role is Role.USER and type is None and not (said or "").lstrip().startswith("<")
        if known.title is None and typed and self.update(title=first_line(said)):
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
        yield MessageItem(self.thread, message, timed=at is not None)

    def tool_call(
        self, call_id: str, name: str, arguments: object, at: datetime | None, **metadata: Any
    ) -> Iterator[Item]:
        """Yield a message that calls a tool."""
        self._tools[call_id] = name
        shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        yield from self.message(
            call_id,
            Role.TOOL,
            f"{name} {shown}"[:_CALL_SHOWN],
            at,
            type=TOOL_CALL,
            data={"id": call_id, "name": name, "arguments": arguments},
            **metadata,
        )

    def tool_result(
        self,
        call_id: str,
        returned: str | None,
        at: datetime | None,
        *,
        name: str | None = None,
        failed: bool = False,
        **metadata: Any,
    ) -> Iterator[Item]:
        """Yield a message with the result of a tool."""
        name = name or self._tools.pop(call_id, None)
        yield from self.message(
            f"{call_id}:result",
            Role.TOOL,
            returned,
            at,
            author=name,
            type=TOOL_RESULT,
            data={"id": call_id, **without_empty(name=name, failed=failed or None)},
            parent_id=call_id,
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
            kind = block.get("type")
            if kind in {"tool_use", "server_tool_use", "mcp_tool_use"}:
                yield from joined()
                call_id = text(block.get("id")) or f"{message_id}:call{number}"
                yield from self.tool_call(
                    call_id, text(block.get("name")) or "tool", block.get("input"), at, **metadata
                )
            elif isinstance(kind, str) and kind.endswith("tool_result"):
                yield from joined()
                call_id = text(block.get("tool_use_id")) or f"{message_id}:call{number}"
                failed = block.get("is_error") is True
                name = text(block.get("name"))
                yield from self.tool_result(
                    call_id, content_text(block.get("content")), at, name=name, failed=failed
                )
            elif kind in {"thinking", "redacted_thinking", "reasoning"}:
                yield REASONING
            else:
                words = content_text([block])
                if words is not None:
                    passage.append(words)
        yield from joined()


def content_text(content: object) -> str | None:
    """Return content as text; a part that is no text is shown by its kind, as in `[image image/png]`."""
    if isinstance(content, str):
        return content if text(content) else None
    lines: list[str] = []
    for part in sequence(content) or ([mapping(content)] if mapping(content) else []):
        block = mapping(part)
        said = text(part) or text(block.get("text"))
        kind = block.get("type")
        if said is not None:
            lines.append(said)
        elif isinstance(kind, str) and kind not in {
            "text",
            "input_text",
            "output_text",
            "token_budget",
            "flag",
        }:
            about = mapping(block.get("source")).get("media_type") or block.get("mime_type") or ""
            lines.append(f"[{kind} {about}".rstrip() + "]")
    return "\n".join(lines) or None
