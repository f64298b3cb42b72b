"""Bringing conversations in that were held elsewhere, and taking out those that are here."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio.to_thread

from tertulia.history import files
from tertulia.history.exporting import WRITERS, ExportFormat
from tertulia.history.formats import FORMATS
from tertulia.history.importing import Importer
from tertulia.history.records import ImportSummary, Problem
from tertulia.platforms.base import EmbeddedPlatform
from tertulia.resources.scope import Scope
from tertulia.store import conversations, participants, transfer
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import shown, split_agent_address, split_conversation_id
from tertulia.vocabulary.models import Conversation, ConversationQuery, SortKey

_PAGE = 200
"""How many messages are taken out of the store at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Who is told of an import. `size` is given the bytes of all files together, `read` those that were read since."""

    size: Callable[[int], object] = lambda _: None
    read: Callable[[int], object] = lambda _: None
    problem: Callable[[Problem], object] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which conversations to take out: all, or those that fit. Archived ones are among them."""

    ids: Sequence[str] = ()
    """These, in this order."""
    instance: str | None = None
    agent: str | None = None
    since: datetime | None = None
    """Updated at this moment or later."""


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
        progress: Progress | None = None,
    ) -> ImportSummary:
        """Bring in the conversations that files, folders and zip archives hold; return what came of it.

        What is here already stays as it is and gets the messages that it lacks: the same file twice adds nothing.
        What cannot be read is told to `progress`, and the rest comes in. `format_name` is one of `FORMATS`, for files
        whose contents do not tell. `restore` brings conversations back that were deleted here.

        Raises:
            InvalidInputError: there is no such format.
        """
        if format_name is not None and format_name not in FORMATS:
            raise InvalidInputError(f"There is no format {shown(format_name)}.", valid=[*FORMATS])
        progress = progress or Progress()
        importer = Importer(
            self._scope.principal, restore=restore, embedded=self._is_embedded, problem=progress.problem
        )
        sources: list[files.SourceFile] = []
        size = 0
        for found in await anyio.to_thread.run_sync(lambda: [*files.found(paths)]):
            if isinstance(found, Problem):
                importer.summary.problems += 1
                progress.problem(found)
            else:
                sources.append(found[0])
                size += found[1]
        progress.size(size)
        with closing(importer.batches(sources, format_name, progress.read)) as batches:
            while batch := await anyio.to_thread.run_sync(next, batches, None):
                await self._scope.services.store.write(partial(importer.enter, batch=batch))
        return importer.summary

    async def export(self, selection: Selection, format: ExportFormat) -> AsyncGenerator[str]:
        """Yield the text of conversations as `format` has it, in pieces; the oldest first, unless ids are given.

        Raises:
            NotFoundError: one of the ids is none of this principal's.
        """
        if selection.agent is not None:
            split_agent_address(selection.agent)
        if selection.instance is not None:
            self._scope.configured(selection.instance)
        for conversation_id in selection.ids:
            split_conversation_id(conversation_id)
            await self._scope.read(partial(conversations.get, conversation_id=conversation_id))
        writer = WRITERS[format]()
        async for conversation in self._selected(selection):
            taking_part = await self._scope.read(
                partial(participants.all_of, conversation_id=conversation.id)
            )
            for text in writer.begin(conversation, taking_part):
                yield text
            after: int | None = None
            while found := await self._scope.read(
                partial(transfer.written, conversation_id=conversation.id, after=after, limit=_PAGE)
            ):
                for position, message, timed in found:
                    after = position
                    for text in writer.message(message, timed=timed):
                        yield text
            branches = await self._scope.read(partial(transfer.branches, conversation_id=conversation.id))
            for text in writer.end(conversation, branches):
                yield text

    async def _selected(self, selection: Selection) -> AsyncGenerator[Conversation]:
        for conversation_id in selection.ids:
            found = await self._scope.read(partial(conversations.get, conversation_id=conversation_id))
            if _fits(found, selection):
                yield found
        cursor: str | None = None
        while not selection.ids:
            query = ConversationQuery(
                instance=selection.instance,
                agent=selection.agent,
                archived=None,
                sort=SortKey.CREATED,
                descending=False,
                limit=conversations.MAX_PAGE,
                cursor=cursor,
            )
            page = await self._scope.read(partial(conversations.page, query=query))
            for found in page.items:
                if _fits(found, selection):
                    yield found
            cursor = page.next_cursor
            if cursor is None:
                return

    def _is_embedded(self, instance: str) -> bool:
        return isinstance(self._scope.services.platforms.get(instance), EmbeddedPlatform)


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
