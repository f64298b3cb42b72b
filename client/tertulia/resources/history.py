"""History: importing conversations that other programs held, and exporting those of the store."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio.to_thread

from tertulia.history import files
from tertulia.history.follower import Follower, FollowListener
from tertulia.history.formats import FORMATS
from tertulia.history.importer import Importer
from tertulia.history.items import ImportSummary, PassedBy, Problem
from tertulia.history.limits import DEFAULT_LIMITS, ImportLimits
from tertulia.history.redaction import Redactor
from tertulia.history.writers import WRITERS, ExportFormat
from tertulia.history.writers.pages import INDEX, IndexEntry, Link, Page, Writer, linked_by, page_file
from tertulia.platforms.base import EmbeddedPlatform
from tertulia.resources.scope import Scope
from tertulia.store import conversation_pages, conversations, participants, transfer
from tertulia.store.leases import TTL
from tertulia.vocabulary.errors import ConflictError, InvalidInputError
from tertulia.vocabulary.identifiers import split_agent_address, split_conversation_id
from tertulia.vocabulary.models import Conversation, ConversationQuery, SortKey
from tertulia.vocabulary.untrusted import shown

_FOLLOWING = "following"
"""What the lease of the process is for that follows sessions."""
_PAGE = 200
"""How many messages are read from the store at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportListener:
    """What an import calls as it goes on."""

    on_size: Callable[[int], object] = lambda _: None
    """Is called once, with the bytes of all files together."""
    on_read: Callable[[int], object] = lambda _: None
    """Is called with the number of bytes that were read since the last call."""
    on_problem: Callable[[Problem], object] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which conversations to export: all, archived ones too, or those that match every field that is given."""

    ids: Sequence[str] = ()
    """These conversations, in this order."""
    instance: str | None = None
    agent: str | None = None
    since: datetime | None = None
    """Conversations that were updated at this time or later."""


class History:
    """Import and export of one principal's conversations."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def import_files(
        self,
        paths: Sequence[Path],
        *,
        format_name: str | None = None,
        restore: bool = False,
        redact: bool = False,
        labels: Mapping[Path, str] | None = None,
        limits: ImportLimits = DEFAULT_LIMITS,
        listener: ImportListener | None = None,
    ) -> ImportSummary:
        """Import the conversations that files, folders and zip archives hold; return what was done.

        A conversation that the store has gets the messages that it lacks: the same file twice adds nothing. What
        cannot be read is reported to `listener`, and the rest is imported. `format_name` is one of `FORMATS`, for
        files whose contents do not show it. `restore` imports conversations again that were deleted from the store.
        `redact` masks secrets in what is added (see `tertulia.history.redaction`). `labels` has the names for people of
        files that are only copies.
        What archives and packed files hold beyond `limits` is reported and skipped.

        Raises:
            InvalidInputError: there is no such format.
        """
        if format_name is not None and format_name not in FORMATS:
            raise InvalidInputError(f"There is no format {shown(format_name)}.", valid=[*FORMATS])
        listener = listener or ImportListener()
        importer = await self._importer(listener.on_problem, redact=redact, restore=restore)
        with files.SourceFiles(limits, labels) as source_files:
            found = await anyio.to_thread.run_sync(lambda: [*source_files.find(paths)])
            return await self._import(importer, found, format_name, listener)

    async def follow(
        self, roots: Sequence[Path], *, redact: bool = True, listener: FollowListener | None = None
    ) -> None:
        """Import the sessions in folders as they are written, until this is cancelled.

        What has changed since the last time is imported first. A folder may come later. `redact` masks secrets.

        Raises:
            ConflictError: another process follows, for this principal.
            UnavailableError: the system cannot watch a folder.
        """
        services = self._scope.services

        async def import_changed(
            paths: Sequence[Path], on_problem: Callable[[Problem], object]
        ) -> ImportSummary:
            importer = await self._importer(on_problem, redact=redact)
            with files.SourceFiles() as source_files:
                found = await anyio.to_thread.run_sync(lambda: [*source_files.again(paths)])
                return await self._import(importer, found, None, ImportListener())

        follower = Follower(
            services.store, self._scope.principal, import_changed, listener or FollowListener()
        )
        for patience in (TTL, 0.0):  # the lease of a process that was killed runs out first
            async with services.leases.hold(self._scope.principal, _FOLLOWING) as lease:
                if lease is not None:
                    await follower.follow([root.absolute() for root in roots])
            await services.store.clock.sleep(patience)
        raise ConflictError(
            "Another process follows sessions into this store already.",
            hint="One is enough: it imports what is written for all.",
        )

    async def _importer(
        self, on_problem: Callable[[Problem], object], *, redact: bool, restore: bool = False
    ) -> Importer:
        return Importer(
            restore=restore,
            is_embedded=self._is_embedded,
            elsewhere=await self._elsewhere(),
            on_problem=on_problem,
            redactor=Redactor() if redact else None,
        )

    async def _import(
        self,
        importer: Importer,
        found: Sequence[tuple[files.SourceFile, int] | Problem | PassedBy],
        format_name: str | None,
        listener: ImportListener,
    ) -> ImportSummary:
        sources: list[files.SourceFile] = []
        size = 0
        for file in found:
            match file:
                case Problem():
                    importer.report(file)
                case PassedBy():
                    importer.pass_by(file)
                case (source, length):
                    sources.append(source)
                    size += length
        listener.on_size(size)
        with closing(importer.batches(sources, format_name, listener.on_read)) as batches:
            while batch := await anyio.to_thread.run_sync(next, batches, None):
                importer.note(await self._scope.write(partial(importer.store, batch=batch)))
        for known in importer.known():
            importer.note(await self._scope.write(partial(importer.refresh, known=known)))
        return importer.summary

    async def export(self, selection: Selection, format: ExportFormat) -> AsyncGenerator[str]:
        """Yield the text of conversations in `format`, in pieces; the oldest conversation first, unless ids are given.

        Raises:
            NotFoundError: one of the ids is none of this principal's.
            InvalidInputError: HTML is asked for, which has a page for each conversation, of other than one.
        """
        if format is ExportFormat.HTML and len(selection.ids) != 1:
            raise InvalidInputError(
                "HTML has a page for each conversation.",
                hint="Name one conversation, or a folder for all pages.",
            )
        await self._check(selection)
        writer = WRITERS[format]()
        kin = None if format is ExportFormat.JSONL else await self._kin()
        async for conversation in self._selected(selection):
            page = await self._page(conversation, kin, None)
            async for text in self._written(writer, page):
                yield text

    async def export_files(
        self, selection: Selection, format: ExportFormat
    ) -> AsyncGenerator[tuple[str, str]]:
        """Yield the names of files and their text in pieces: one file a conversation, and an index that links them.

        The pieces of a file follow each other.

        Raises:
            NotFoundError: one of the ids is none of this principal's.
        """
        await self._check(selection)
        writer = WRITERS[format]()
        entries = [
            IndexEntry(page_file(conversation.id, format.extension), conversation)
            async for conversation in self._selected(selection)
        ]
        folder = _Folder(INDEX + format.extension, {entry.conversation.id: entry.file for entry in entries})
        kin = None if format is ExportFormat.JSONL else await self._kin()
        for entry in entries:
            page = await self._page(entry.conversation, kin, folder)
            async for text in self._written(writer, page):
                yield entry.file, text
        for text in writer.index(sorted(entries, key=_updated, reverse=True)):
            yield folder.index, text

    async def _check(self, selection: Selection) -> None:
        if selection.agent is not None:
            split_agent_address(selection.agent)
        if selection.instance is not None:
            self._scope.configured(selection.instance)
        for conversation_id in selection.ids:
            split_conversation_id(conversation_id)
            await self._scope.read(partial(conversations.get, conversation_id=conversation_id))

    async def _written(self, writer: Writer, page: Page) -> AsyncGenerator[str]:
        """Yield the text of a page."""
        conversation = page.conversation
        for text in writer.begin(page):
            yield text
        after: int | None = None
        while rows := await self._scope.read(
            partial(transfer.written, conversation_id=conversation.id, after=after, limit=_PAGE)
        ):
            for stored in rows:
                after = stored.position
                for text in writer.message(stored.message, timed=stored.timed):
                    yield text
        branches = await self._scope.read(partial(transfer.branch_rows, conversation_id=conversation.id))
        for text in writer.end(conversation, branches):
            yield text

    async def _page(self, conversation: Conversation, kin: "_Kin | None", folder: "_Folder | None") -> Page:
        members = await self._scope.read(partial(participants.all_of, conversation_id=conversation.id))
        links = () if kin is None else kin.links(conversation, {} if folder is None else folder.files)
        return Page(conversation, members, links, None if folder is None else folder.index)

    async def _kin(self) -> "_Kin":
        """Return which imported conversations belong to each other."""
        kin = _Kin()
        for conversation_id, title, metadata in await self._scope.read(transfer.kin):
            kin.titles[conversation_id] = title
            if (parent := metadata.get("subagent_of")) is not None:
                kin.helpers.setdefault(str(parent), []).append(conversation_id)
            if (parent := metadata.get("forked_from")) is not None:
                kin.forks.setdefault(str(parent), []).append(conversation_id)
        parents = {*kin.helpers, *kin.forks}
        kin.titles |= await self._scope.read(partial(transfer.titles, ids=parents))
        return kin

    async def _selected(self, selection: Selection) -> AsyncGenerator[Conversation]:
        for conversation_id in selection.ids:
            conversation = await self._scope.read(partial(conversations.get, conversation_id=conversation_id))
            if _fits(conversation, selection):
                yield conversation
        cursor: str | None = None
        while not selection.ids:
            query = ConversationQuery(
                instance=selection.instance,
                agent=selection.agent,
                archived=None,
                sort=SortKey.CREATED,
                descending=False,
                limit=conversation_pages.MAX_PAGE,
                cursor=cursor,
            )
            page = await self._scope.read(partial(conversation_pages.page, query=query))
            for conversation in page.items:
                if _fits(conversation, selection):
                    yield conversation
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _elsewhere(self) -> set[tuple[str, str]]:
        """Return what instances have of programs whose transcripts can be imported: by format, and the session's id."""
        found: set[tuple[str, str]] = set()
        settings = self._scope.services.settings.instances
        for instance, platform in self._scope.services.platforms.items():
            keeps = instance not in settings or settings[instance].keeps_content
            if platform.transcripts is not None and keeps:
                sources = await self._scope.read(partial(transfer.sources, instance=instance))
                found |= {(platform.transcripts, source_ref) for source_ref in sources}
        return found

    def _is_embedded(self, instance: str) -> bool:
        return isinstance(self._scope.platforms.get(instance), EmbeddedPlatform)


@dataclass(slots=True)
class _Kin:
    """Which conversations have worked for which, or were forked from which, and their titles."""

    titles: dict[str, str | None] = field(default_factory=dict[str, str | None])
    helpers: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    forks: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def links(self, conversation: Conversation, files: Mapping[str, str]) -> Sequence[Link]:
        """Return the links of a conversation; `files` has the pages that are written beside it."""
        others = [
            *linked_by(conversation),
            *(("Subagent", other) for other in self.helpers.get(conversation.id, ())),
            *(("Fork", other) for other in self.forks.get(conversation.id, ())),
        ]
        return [Link(how, other, self.titles.get(other), files.get(other)) for how, other in others]


@dataclass(frozen=True, slots=True)
class _Folder:
    """The files that an export writes beside each other, by conversation, and the one that names them."""

    index: str
    files: Mapping[str, str]


def _updated(entry: IndexEntry) -> datetime:
    at = entry.conversation.updated_at
    return datetime.min.replace(tzinfo=UTC) if at is None else at


def _fits(conversation: Conversation, selection: Selection) -> bool:
    return (
        selection.instance in {None, conversation.id.partition(":")[0]}
        and selection.agent in {None, conversation.agent}
        and (
            selection.since is None
            or conversation.updated_at is None
            or conversation.updated_at >= selection.since
        )
    )
