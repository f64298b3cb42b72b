"""Validation of what is to be sent or created, before anything happens."""

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import new_id, split_agent_address, split_conversation_id
from tertulia.vocabulary.models import (
    ConversationDraft,
    ConversationQuery,
    EntityType,
    MessageDraft,
    NewConversation,
    Rating,
)
from tertulia.vocabulary.text import checked_json, checked_line, checked_text
from tertulia.vocabulary.untrusted import shown

MAX_IDS = 1_000
"""The most conversations that a list can be asked for by their ids."""
MAX_FILTERS = 100
"""The most keys of metadata that a list can be filtered by."""


def conversation_draft(new: NewConversation, native_id: str) -> ConversationDraft:
    """Return the validated draft of a new conversation.

    Raises:
        InvalidInputError: a field cannot be used.
    """
    split_agent_address(new.agent)
    return ConversationDraft(
        agent=new.agent,
        native_id=native_id,
        title=None if new.title is None else checked_line("title", new.title),
        metadata={} if new.metadata is None else checked_json("metadata", new.metadata),
        context=None if new.context is None else checked_json("context", new.context),
        entity_type=None if new.entity_type is None else checked_entity_type(new.entity_type),
        source=None if new.source is None else checked_line("source", new.source),
        source_ref=None if new.source_ref is None else checked_line("source_ref", new.source_ref),
        participants=new.participants or {},
    )


def checked_entity_type(value: str) -> EntityType:
    """Return the entity type that a text names, in any case.

    Raises:
        InvalidInputError: there is no such type.
    """
    try:
        return EntityType(value.strip().lower())
    except ValueError:
        raise InvalidInputError(f"`entity_type` is {shown(value)}.", valid=[*EntityType]) from None


def checked_query(query: ConversationQuery) -> ConversationQuery:
    """Return the validated query of a list.

    Raises:
        InvalidInputError: no conversation can match one of its fields.
    """
    if query.agent is not None:
        split_agent_address(query.agent)
    for name, asked, most in (("ids", query.ids, MAX_IDS), ("metadata", query.metadata, MAX_FILTERS)):
        if len(asked) > most:
            raise InvalidInputError(
                f"`{name}` has {len(asked):,} entries; a list can be filtered by {most:,} at most.",
                hint="Ask in several calls, or leave out the filters that matter least.",
            )
    for conversation_id in query.ids:
        split_conversation_id(conversation_id)
    checked_json("metadata", query.metadata)
    lines = {name: getattr(query, name) for name in ("source", "exclude_source", "source_ref")}
    for name in ("created_after", "created_before"):
        at: datetime | None = getattr(query, name)
        if at is not None and at.tzinfo is None:
            raise InvalidInputError(
                f"`{name}` has no time zone.", hint="Give the time with its offset, as 2026-11-03T09:00:00Z."
            )
    return replace(
        query,
        entity_type=None if query.entity_type is None else checked_entity_type(query.entity_type),
        **{name: None if line is None else checked_line(name, line) for name, line in lines.items()},
    )


def checked_rating(rating: Rating) -> Rating:
    """Return a validated rating.

    Raises:
        InvalidInputError: it cannot be given.
    """
    if not 1 <= rating.value <= 5:
        raise InvalidInputError(f"`rating` is {rating.value}; it must be from 1 (poor) to 5 (excellent).")
    if rating.feedback is not None:
        checked_text("feedback", rating.feedback)
    return rating


def message_ids() -> dict[str, str]:
    """Return new ids for a message and its run."""
    return {"run_id": new_id("run_"), **new_message_id()}


def new_message_id() -> dict[str, str]:
    """Return a new id for a message."""
    return {"message_id": new_id("m_", 10)}


def message_call(draft: MessageDraft) -> dict[str, Any]:
    """Return what identifies the sending of a message when it is repeated."""
    call = asdict(draft)
    if draft.agent is None:  # so that keys stay valid that were used before this field existed
        del call["agent"]
    return call


def checked_message(message: MessageDraft) -> MessageDraft:
    """Return a validated message.

    Raises:
        InvalidInputError: it cannot be sent.
    """
    if message.text is None and message.data is None:
        raise InvalidInputError(
            "A message needs `text` or `data`.", valid=["text", "data"], hint="Say something in one of them."
        )
    if message.text is not None:
        checked_text("text", message.text)
    for name, line in (("type", message.type), ("parent_id", message.parent_id)):
        if line is not None:
            checked_line(name, line)
    for name, value in (("data", message.data), ("metadata", message.metadata), ("context", message.context)):
        if value is not None:
            checked_json(name, value)
    return message
