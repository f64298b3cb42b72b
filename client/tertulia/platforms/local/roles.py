"""What the participants of a conversation may do in it, in the caller's transaction.

An initiator, a responder and a mediator write and change the status; an initiator and a mediator also invite. An
observer only reads, as does anybody who takes no part. In a conversation without known participants (an imported one),
everybody may do everything.
"""

from collections.abc import Mapping

from tertulia.store import journal, participants
from tertulia.store.database import Transaction
from tertulia.vocabulary.errors import InvalidInputError, NotAllowedError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Participant, ParticipantRole
from tertulia.vocabulary.untrusted import named

_WRITING = frozenset({ParticipantRole.INITIATOR, ParticipantRole.RESPONDER, ParticipantRole.MEDIATOR})
_INVITING = frozenset({ParticipantRole.INITIATOR, ParticipantRole.MEDIATOR})
_GIVABLE = (ParticipantRole.OBSERVER, ParticipantRole.MEDIATOR)
"""The roles that can be given: the others are set when the conversation is created."""


def check_can_write(tx: Transaction, principal: str, conversation_id: str, me: str) -> None:
    """Check that `me` may write in a conversation and change it.

    Raises:
        NotAllowedError: it may only read; the error says who can change that.
    """
    _check(tx, principal, conversation_id, me, _WRITING, "write in")


def check_can_change_status(tx: Transaction, principal: str, conversation_id: str, me: str) -> None:
    """Check that `me` may change a conversation's status.

    Raises:
        NotAllowedError: it may only read; the error says who can change that.
    """
    _check(tx, principal, conversation_id, me, _WRITING, "move the state of")


def join(tx: Transaction, principal: str, conversation_id: str, address: str, role: ParticipantRole) -> None:
    """Give somebody a role in a conversation, and journal it if that is new."""
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
    """Give people their new roles, or remove them (None); return the participants.

    Everybody may leave, and may join as an observer. For any other change `me` must be allowed to invite.

    Raises:
        NotAllowedError: `me` may not make one of the changes.
        InvalidInputError: a role cannot be given, or belongs to the initiator or responder.
    """
    for address, role in changes.items():
        current = participants.role_of(tx, principal, conversation_id, address)
        if role is not None and role not in _GIVABLE:
            raise InvalidInputError(
                f"The role {role} comes with the beginning of a conversation and cannot be given.",
                valid=_GIVABLE,
                conversation_id=conversation_id,
            )
        if current in {ParticipantRole.INITIATOR, ParticipantRole.RESPONDER}:
            raise InvalidInputError(
                f"{named(address)} is the {current} of {conversation_id}, and stays that.",
                conversation_id=conversation_id,
            )
        own_choice = address == me and (
            role is None or (role is ParticipantRole.OBSERVER and current is None)
        )
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
    members = participants.all_of(tx, principal, conversation_id)
    if not members:
        return
    writers = [member.address for member in members if member.role in allowed]
    inviters = [member.address for member in members if member.role in _INVITING]
    me = named(me)
    subject = f"{me} is an {role} of" if role is ParticipantRole.OBSERVER else f"{me} takes no part in"
    if role is not None and role is not ParticipantRole.OBSERVER:
        subject = f"{me} is the {role} of"
    raise NotAllowedError(
        f"{subject} {conversation_id} and cannot {what} it.",
        valid=writers,
        hint=f"Those can. {' or '.join(map(named, inviters))} can give {me} the role mediator.",
        conversation_id=conversation_id,
    )
