"""What those who take part in a conversation may do there, inside a transaction.

An initiator, a responder and a mediator write and move the state; an initiator and a mediator also invite. An observer
only reads, and so does whoever takes no part. Where nobody is known to take part (a conversation that was imported),
everybody may do everything.
"""

from collections.abc import Mapping

from tertulia.store import journal, participants
from tertulia.store.database import Transaction
from tertulia.vocabulary.errors import InvalidInputError, NotAllowedError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Participant, ParticipantRole

_WRITING = frozenset({ParticipantRole.INITIATOR, ParticipantRole.RESPONDER, ParticipantRole.MEDIATOR})
_INVITING = frozenset({ParticipantRole.INITIATOR, ParticipantRole.MEDIATOR})
_GIVEN = (ParticipantRole.OBSERVER, ParticipantRole.MEDIATOR)
"""The roles that can be given to somebody: the others come with the beginning of the conversation."""


def check_writes(tx: Transaction, principal: str, conversation_id: str, me: str) -> None:
    """See whether `me` may write, or change anything else about a conversation.

    Raises:
        NotAllowedError: it only reads; says how it may.
    """
    _check(tx, principal, conversation_id, me, _WRITING, "write in")


def check_moves(tx: Transaction, principal: str, conversation_id: str, me: str) -> None:
    """See whether `me` may move a conversation's state.

    Raises:
        NotAllowedError: it only reads; says how it may.
    """
    _check(tx, principal, conversation_id, me, _WRITING, "move the state of")


def join(tx: Transaction, principal: str, conversation_id: str, address: str, role: ParticipantRole) -> None:
    """Have somebody take part in a role, and journal it where that is new."""
    before = participants.enter(tx, principal, conversation_id, address, role)
    if before is not role:
        data = {"participant": address, "role": role} | ({} if before is None else {"before": before})
        journal.append(tx, principal, conversation_id, [Event(EventKind.PARTICIPANT_JOINED, data)])


def invite(
    tx: Transaction,
    principal: str,
    conversation_id: str,
    me: str,
    changes: Mapping[str, ParticipantRole | None],
) -> list[Participant]:
    """Let people in, or go (None); return who takes part then.

    Everybody may leave, and may come to observe; the rest is for who may invite.

    Raises:
        NotAllowedError: `me` may not do that.
        InvalidInputError: a role cannot be given, or taken from who began the conversation or answers there.
    """
    for address, role in changes.items():
        mine = participants.role_of(tx, principal, conversation_id, address)
        if role is not None and role not in _GIVEN:
            raise InvalidInputError(
                f"The role {role} comes with the beginning of a conversation and cannot be given.",
                valid=_GIVEN,
                conversation_id=conversation_id,
            )
        if mine in {ParticipantRole.INITIATOR, ParticipantRole.RESPONDER}:
            raise InvalidInputError(
                f"{address} is the {mine} of {conversation_id}, and stays that.",
                conversation_id=conversation_id,
            )
        own_choice = address == me and (role is None or (role is ParticipantRole.OBSERVER and mine is None))
        if not own_choice:
            _check(tx, principal, conversation_id, me, _INVITING, "invite into")
        if role is not None:
            join(tx, principal, conversation_id, address, role)
        elif participants.leave(tx, principal, conversation_id, address):
            left = Event(EventKind.PARTICIPANT_LEFT, {"participant": address})
            journal.append(tx, principal, conversation_id, [left])
    return participants.all_of(tx, principal, conversation_id)


def _check(
    tx: Transaction,
    principal: str,
    conversation_id: str,
    me: str,
    allowed: frozenset[ParticipantRole],
    what: str,
) -> None:
    role = participants.role_of(tx, principal, conversation_id, me)
    if role in allowed:
        return
    everybody = participants.all_of(tx, principal, conversation_id)
    if not everybody:
        return
    those = [each.address for each in everybody if each.role in allowed]
    inviting = [each.address for each in everybody if each.role in _INVITING]
    is_there = f"{me} is an {role} of" if role is ParticipantRole.OBSERVER else f"{me} takes no part in"
    if role is not None and role is not ParticipantRole.OBSERVER:
        is_there = f"{me} is the {role} of"
    raise NotAllowedError(
        f"{is_there} {conversation_id} and cannot {what} it.",
        valid=those,
        hint=f"Those can. {' or '.join(inviting)} can give {me} the role mediator.",
        conversation_id=conversation_id,
    )
