"""Refusals that follow from a conversation's state."""

from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.models import Conversation
from tertulia.vocabulary.states import TRANSITIONS, Status


def check_accepts(conversation: Conversation, *, instead: str) -> None:
    """Refuse a message to a conversation that is paused or over; `instead` says how to start a new one.

    Raises:
        ConflictError: it is.
    """
    if conversation.status is Status.PAUSED:
        raise ConflictError(
            f"The conversation {conversation.id} is paused.",
            hint="Open it with update_status (status `open`), then send again.",
            conversation_id=conversation.id,
        )
    if conversation.status.terminal:
        state = "in the archive" if conversation.archived is True else conversation.status
        raise ConflictError(
            f"The conversation {conversation.id} is {state}, which is final.",
            hint=f"Start a new one{instead}",
            conversation_id=conversation.id,
        )


def no_transition(own_id: str, present: Status, wanted: Status, *, where: str, instead: str) -> ConflictError:
    """Return the error for a move to a state that may not follow the present one; it names those that may.

    `where` says who keeps the state, as a sentence continues with it; `instead` says how to start a new conversation.
    """
    allowed = sorted(TRANSITIONS[present])
    return ConflictError(
        f"The conversation {own_id} is {present}{where} and cannot become {wanted}.",
        valid=allowed,
        hint=None if allowed else f"{present} is final: start a new one{instead}",
        conversation_id=own_id,
    )
