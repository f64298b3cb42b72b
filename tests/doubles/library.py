"""A platform that lives elsewhere, in memory: `library` has the conversations that a test puts there.

What it was asked stands in `asked`. It can list, search page by page, and be held up or fail where a test wants it.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import anyio

from tertulia import Client, ClientSettings, InstanceSettings
from tertulia.platforms.base import Platform
from tertulia.platforms.registry import PLATFORMS
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import NotFoundError, UnavailableError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import COUNT, page_cursor, read_page_cursor
from tertulia.vocabulary.models import (
    LOCAL_PRINCIPAL,
    Agent,
    Conversation,
    ConversationQuery,
    Message,
    MessageQuery,
    Page,
    Role,
    SearchHit,
    SearchQuery,
    SearchResult,
)
from tertulia.vocabulary.states import Status

KIND = "library"
SECONDS = 30
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
ALL = frozenset({Feature.GET, Feature.LIST, Feature.SEARCH, Feature.MESSAGES})


@dataclass
class Book:
    """A conversation there."""

    title: str
    messages: list[str] = field(default_factory=list[str])
    changed: int = 0
    """When it was changed, in minutes after `BEGAN`."""


class Library:
    """What is there, and how it behaves."""

    def __init__(self, *, features: frozenset[Feature] = ALL, tells: bool = True) -> None:
        self.books: dict[str, Book] = {}
        self.features = features
        self.tells = tells
        """Whether it tells when a conversation was changed."""
        self.asked: list[str] = []
        self.held: anyio.Event | None = None
        """While this is there and not set, a search is not answered."""
        self.failure: Exception | None = None
        """Raised by a search."""
        self.broken: dict[str, Exception] = {}
        """Raised for the messages of a conversation."""

    def add(self, native_id: str, title: str, *messages: str) -> None:
        """Add a conversation, or messages to one."""
        book = self.books.setdefault(native_id, Book(title))
        book.messages += messages
        book.changed = max((one.changed for one in self.books.values()), default=0) + 1


class LibraryPlatform(Platform):
    """Conversations of a `Library`."""

    kind = KIND

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(instance, missing=settings.options.get("missing"))
        self._library = self._named(settings)
        self.features = self._library.features

    @staticmethod
    def _named(settings: InstanceSettings) -> Library:
        if "library" in settings.options:
            return settings.options["library"]
        library = Library()  # as a configuration file can have it
        library.failure = UnavailableError(settings.options["failure"])
        return library

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return one."""
        return [Agent(address=f"{self.instance}:clerk", description="Reads.", features=self.features)]

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation."""
        self._library.asked.append(f"get {native_id}")
        return self._conversation(native_id)

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return a page, the last changed first."""
        start = 0 if query.cursor is None else read_page_cursor(query.cursor, {}, COUNT)
        self._library.asked.append(f"list {start}")
        ids = sorted(self._library.books, key=lambda one: -self._library.books[one].changed)
        page = ids[start : start + query.limit]
        more = start + len(page) < len(ids)
        return Page(
            items=[self._conversation(one) for one in page],
            next_cursor=page_cursor({}, start + len(page)) if more else None,
            total=len(ids),
        )

    async def discover(self, principal: str) -> Sequence[Conversation]:
        """Return all of them, as news."""
        self._library.asked.append("discover")
        return [self._conversation(one) for one in self._library.books]

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return a page of messages."""
        start = 0 if query.cursor is None else read_page_cursor(query.cursor, {"of": native_id}, COUNT)
        self._library.asked.append(f"messages {native_id} {'-' if query.newest_first else '+'}{start}")
        if native_id in self._library.broken:
            raise self._library.broken[native_id]
        told = self._conversation(native_id)
        numbered = list(enumerate(self._library.books[native_id].messages))
        numbered = numbered[::-1] if query.newest_first else numbered
        page = numbered[start : start + query.limit]
        return Page(
            items=[
                Message(
                    id=str(number),
                    conversation_id=told.id,
                    author="user",
                    role=Role.USER,
                    text=text,
                    created_at=BEGAN + timedelta(seconds=number) if self._library.tells else None,
                )
                for number, text in page
            ],
            next_cursor=page_cursor({"of": native_id}, start + query.limit)
            if start + query.limit < len(numbered)
            else None,
            total=len(numbered),
        )

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return the conversations that have a word in their title or in a message."""
        library = self._library
        library.asked.append(f"search {query.text}")
        if library.held is not None:
            await library.held.wait()
        if library.failure is not None:
            raise library.failure
        start = 0 if query.cursor is None else read_page_cursor(query.cursor, {"text": query.text}, COUNT)
        found = [
            self._conversation(one)
            for one, book in library.books.items()
            if any(query.text.lower() in text.lower() for text in (book.title, *book.messages))
        ]
        page = found[start : start + query.limit]
        more = start + len(page) < len(found)
        return SearchResult(
            hits=[
                SearchHit(
                    conversation_id=one.id,
                    conversation_title=one.title,
                    status=one.status,
                    message_id=None,
                    author=None,
                    role=None,
                    snippet=one.title or "",
                    at=one.updated_at or BEGAN,
                )
                for one in page
            ],
            next_cursor=page_cursor({"text": query.text}, start + len(page)) if more else None,
        )

    def _conversation(self, native_id: str) -> Conversation:
        book = self._library.books.get(native_id)
        if book is None:
            raise NotFoundError(f"There is no conversation {native_id}.")
        return Conversation(
            id=f"{self.instance}:{native_id}",
            agent=None,
            status=Status.OPEN,
            title=book.title,
            created_at=BEGAN,
            updated_at=BEGAN + timedelta(minutes=book.changed) if self._library.tells else None,
        )


def register() -> None:
    """Make the platform known, as ours are."""
    cast(dict[str, str], PLATFORMS)[KIND] = f"{__name__}:LibraryPlatform"


def settings(store: Path, **libraries: Library | dict[str, Any]) -> ClientSettings:
    """Return settings with an instance for each library, or for each table of options."""
    register()
    instances = {
        name: InstanceSettings(
            platform=KIND, options={"library": given} if isinstance(given, Library) else given, environment={}
        )
        for name, given in libraries.items()
    }
    return ClientSettings(store=store, instances=instances)


@asynccontextmanager
async def opened(
    store: Path, *, principal: str = LOCAL_PRINCIPAL, **libraries: Library | dict[str, Any]
) -> AsyncGenerator[Client]:
    """Open a client with these instances, as one process has it; what is inside takes `SECONDS` at most."""
    with anyio.fail_after(SECONDS):
        async with Client.open(settings(store, **libraries), principal=principal) as client:
            yield client
