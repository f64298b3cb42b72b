"""Checking what is to be sent or created, before anything happens."""

from collections.abc import Mapping
from typing import Any

from tertulia.vocabulary.errors import (
    InvalidInputError,
)
from tertulia.vocabulary.identifiers import (
    new_id,
    split_agent_address,
)
from tertulia.vocabulary.models import (
    ConversationDraft,
    MessageDraft,
    Rating,
)
from tertulia.vocabulary.text import checked_json, checked_line, checked_text


def conversation_draft(
    agent: str, title: str | None, metadata: Mapping[str, Any] | None, context: Mapping[str, Any] | None
) -> ConversationDraft:
    """Return a conversation that can be created.

    Raises:
        InvalidInputError: it cannot.
    """
    split_agent_address(agent)
    return ConversationDraft(
        agent=agent,
        native_id=new_id(length=10),
        title=None if title is None else checked_line("title", title),
        metadata={} if metadata is None else checked_json("metadata", metadata),
        context=None if context is None else checked_json("context", context),
    )


def checked_rating(rating: Rating) -> Rating:
    """Return a rating that can be given.

    Raises:
        InvalidInputError: it cannot.
    """
    if not 1 <= rating.value <= 5:
        raise InvalidInputError(f"`rating` is {rating.value}; it must be from 1 (poor) to 5 (excellent).")
    if rating.feedback is not None:
        checked_text("feedback", rating.feedback)
    return rating


def message_ids() -> dict[str, str]:
    """Return the ids that a message and its run will have."""
    return {"run_id": new_id("run_"), **new_message_id()}


def new_message_id() -> dict[str, str]:
    """Return the id that a message will have."""
    return {"message_id": new_id("m_", 10)}


def checked_message(message: MessageDraft) -> MessageDraft:
    """Return a message that can be sent.

    Raises:
        InvalidInputError: it cannot.
    """
    if message.text is None and message.data is None:
        raise InvalidInputError("A message needs `text` or `data`.", valid=["text", "data"])
    if message.text is not None:
        checked_text("text", message.text)
    for name, line in (("type", message.type), ("parent_id", message.parent_id)):
        if line is not None:
            checked_line(name, line)
    for name, value in (("data", message.data), ("metadata", message.metadata), ("context", message.context)):
        if value is not None:
            checked_json(name, value)
    return message
