"""Bringing files into a store, for tests, and seeing what came of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tertulia import (
    Client,
    ClientSettings,
    Conversation,
    ConversationQuery,
    InstanceSettings,
    Message,
    MessageQuery,
)
from tertulia.history.items import ImportSummary
from tertulia.history.limits import DEFAULT_LIMITS, ImportLimits
from tertulia.history.writers import ExportFormat
from tertulia.resources.history import ImportListener, Selection

FIXTURES = Path(__file__).resolve().parent / "fixtures"


@dataclass
class Bringing:
    """A store to bring files into. `problems` are those of all imports, as they were told."""

    client: Client
    problems: list[str] = field(default_factory=list[str])
    sizes: list[int] = field(default_factory=list[int])
    read: int = 0

    async def bring(
        self,
        *paths: Path,
        format_name: str | None = None,
        restore: bool = False,
        redact: bool = False,
        limits: ImportLimits = DEFAULT_LIMITS,
    ) -> ImportSummary:
        """Import files."""

        def read(size: int) -> None:
            self.read += size

        listener = ImportListener(
            on_size=self.sizes.append,
            on_read=read,
            on_problem=lambda problem: self.problems.append(str(problem)),
        )
        return await self.client.history.import_files(
            paths,
            format_name=format_name,
            restore=restore,
            redact=redact,
            limits=limits,
            listener=listener,
        )

    async def known(self) -> Sequence[Conversation]:
        """Return all conversations, the oldest first."""
        query = ConversationQuery(archived=None, limit=100)
        found = (await self.client.conversations.list(query)).items
        return sorted(found, key=lambda one: (str(one.created_at), one.id))

    async def only(self) -> tuple[Conversation, Sequence[Message]]:
        """Return the one conversation there is, with its messages."""
        (conversation,) = await self.known()
        return conversation, await self.messages(conversation.id)

    async def messages(self, conversation_id: str) -> Sequence[Message]:
        """Return the first messages of a conversation."""
        return (await self.client.messages.list(conversation_id, MessageQuery(limit=100))).items

    async def export(
        self, selection: Selection | None = None, format: ExportFormat = ExportFormat.JSONL
    ) -> str:
        """Return what is exported."""
        pieces = self.client.history.export(selection or Selection(), format)
        return "".join([piece async for piece in pieces])


@asynccontextmanager
async def bringing(store: Path, **instances: InstanceSettings) -> AsyncGenerator[Bringing]:
    """Open a store."""
    async with Client.open(ClientSettings(store=store, instances=instances)) as client:
        yield Bringing(client)
