"""Mailboxes: names under which servers run (`--as NAME`), so that others can write to them.

A message to a mailbox waits as a queued run, for days if need be, whatever processes come and go. The first message
that the mailbox's owner sends into the conversation is the answer and ends the run; messages that others send in the
meantime are added to the run.
"""

from collections.abc import Iterable
from dataclasses import replace

from tertulia.platforms.base import Admission
from tertulia.store import participants
from tertulia.store.database import Transaction
from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Agent, Conversation, Message, ParticipantRole, Role, Run


def agents(
    instance: str,
    features: frozenset[Feature],
    configured: Iterable[str],
    registered: Iterable[participants.Mailbox],
) -> list[Agent]:
    """Return the mailboxes as agents, in the order of their names."""
    seen = {mailbox.name: mailbox.seen_at for mailbox in registered}
    described: list[Agent] = []
    for name in sorted({*configured, *seen}):
        last = f"; it was last there on {seen[name]:%Y-%m-%d at %H:%M} UTC" if name in seen else ""
        described.append(
            Agent(
                address=f"{instance}:{name}",
                description=f"A mailbox: somebody who serves as {name} reads and answers{last}.",
                features=features,
            )
        )
    return described


def admit(
    tx: Transaction, principal: str, conversation: Conversation, message: Message, active: Run | None
) -> Admission:
    """Decide what becomes of a message in a conversation with a mailbox.

    Raises:
        ConflictError: the conversation has nobody who could answer.
    """
    if message.author == conversation.agent:
        message = replace(message, role=Role.ASSISTANT)
    if active is not None:
        return Admission(
            message=message, agent=active.agent, run=active, reply=active.agent == message.author
        )
    addressee = conversation.agent
    if message.author == conversation.agent:
        members = participants.all_of(tx, principal, conversation.id)
        addressee = next(
            (member.address for member in members if member.role is ParticipantRole.INITIATOR), None
        )
    if addressee is None:
        raise ConflictError(
            f"Nobody answers in {conversation.id}.",
            hint="Start a new conversation with create_conversation; add_message keeps a message without an answer.",
            conversation_id=conversation.id,
        )
    return Admission(message=message, agent=addressee)
