"""A store to search in."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.search import search
from tertulia.vocabulary.models import (
    ConversationDraft,
    Message,
    Role,
    SearchHit,
    SearchQuery,
    SearchResult,
)
from tertulia.vocabulary.states import Status

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Library:
    """A store to search in, as one principal has it. Messages are a minute apart, named `m0`, `m1` and so on."""

    store: Store
    principal: str = "local"
    added: int = 0

    async def put(self, *texts: str, conversation: str = "local:one", **details: Any) -> None:
        """Add a message for each of the texts."""
        added, self.added = self.added, self.added + len(texts)

        agent, title = details.pop("agent", "local:archivist"), details.pop("title", None)

        def work(tx: Transaction) -> None:
            self._open(tx, conversation, agent, title)
            for number, text in enumerate(texts, added):
                given: dict[str, Any] = {
                    "created_at": BEGINNING + number * MINUTE,
                    "role": Role.USER,
                    **details,
                }
                message = Message(
                    id=f"m{number}",
                    conversation_id=conversation,
                    author="somebody",
                    text=text,
                    **given,
                )
                messages.add(tx, self.principal, message)

        await self.store.write(work)

    async def title(self, *titles: str, conversation: str = "local:titled") -> None:
        """Add a conversation without messages for each of the titles."""

        def work(tx: Transaction) -> None:
            for number, title in enumerate(titles):
                self._open(tx, f"{conversation}{number}", "local:archivist", title)

        await self.store.write(work)

    async def search(self, text: str, **details: Any) -> SearchResult:
        """Return the first page of what is found, or the one that a cursor leads to."""
        query = SearchQuery(text=text, **details)
        return await self.store.read(partial(search, principal=self.principal, query=query))

    async def ids(self, text: str, **details: Any) -> list[str]:
        """Return the messages of a page by their ids, and titles as such."""
        return [hit.message_id or "title" for hit in (await self.search(text, **details)).hits]

    async def pages(self, text: str, **details: Any) -> list[SearchResult]:
        """Return every page."""
        pages = [await self.search(text, **details)]
        while pages[-1].next_cursor is not None:
            pages.append(await self.search(text, **details, cursor=pages[-1].next_cursor))
        return pages

    def of(self, principal: str) -> "Library":
        """Return the same store as another principal has it."""
        return replace(self, principal=principal)

    def _open(self, tx: Transaction, conversation: str, agent: str, title: str | None) -> None:
        draft = ConversationDraft(agent=agent, native_id=conversation.partition(":")[2], title=title)
        conversations.insert(tx, self.principal, conversation, draft, Status.OPEN)


async def in_a_store(work: Callable[[Library], Any]) -> None:
    """Await `work` with an empty store of its own: an example of a property may not see another's."""
    with tempfile.TemporaryDirectory() as folder:
        async with Store(Path(folder) / "store.db") as store:
            await work(Library(store))


def keys(hits: Sequence[SearchHit]) -> list[tuple[str, str | None]]:
    """Return what tells hits apart."""
    return [(hit.conversation_id, hit.message_id) for hit in hits]
