"""One attempt at having a message answered, as the parts of the kit share it."""

from dataclasses import dataclass
from typing import Any

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.requests import PendingRequests
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.events import Event
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import RequestDraft


@dataclass(slots=True)
class Attempt:
    """One attempt at a run. What is put into `checkpoint` is saved with the next event, for the next attempt."""

    platform: str
    """The platform as a sentence names it."""
    context: RunContext
    clock: Clock
    checkpoint: dict[str, Any]
    requests: PendingRequests
    heard: float
    """When something last came of the run."""

    @classmethod
    def begin(cls, context: RunContext, *, platform: str, clock: Clock = SYSTEM_CLOCK) -> "Attempt":
        """Begin where the last attempt's checkpoint ends."""
        requests = PendingRequests(context, clock)
        return cls(platform, context, clock, dict(context.checkpoint), requests, clock.now())

    @property
    def native_id(self) -> str:
        """The platform's own id of the conversation."""
        return split_conversation_id(self.context.conversation.id)[1]

    @property
    def has_contents(self) -> bool:
        """Whether this process has the message. Where contents are not stored, only the first process had it."""
        return self.context.message.text is not None or self.context.message.data is not None

    async def emit(self, *events: Event, awaiting: bool | None = None) -> None:
        """Journal events, and save the checkpoint in the same transaction (see `RunContext.emit`)."""
        if events:
            self.heard = self.clock.now()
        await self.context.emit(*events, checkpoint=dict(self.checkpoint), awaiting=awaiting)

    async def ask(self, draft: RequestDraft, *events: Event) -> None:
        """Ask a person after these events, unless that was done, and save the checkpoint in the same transaction."""
        await self.requests.ask(draft, *events, checkpoint=dict(self.checkpoint))
