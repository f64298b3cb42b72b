"""Search over everything, and the sync of the platforms' histories with the index."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tertulia.resources.scope import Scope
from tertulia.search import federated
from tertulia.search.federated import ANSWER_SECONDS, HitLimit
from tertulia.store import sync_state
from tertulia.store.database import Transaction
from tertulia.store.search import Found, found
from tertulia.vocabulary.coverage import Answered, SyncSummary
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.identifiers import split_agent_address, split_conversation_id
from tertulia.vocabulary.models import SearchQuery, SearchResult

if TYPE_CHECKING:
    from tertulia.search.sync import ProgressListener


class Search:
    """Search over all conversations of one principal."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def messages(
        self,
        query: SearchQuery | str,
        *,
        patience: float = ANSWER_SECONDS,
        hit_limit: HitLimit = len,
    ) -> SearchResult:
        """Search all conversations, on the platforms that can search and in the index, at the same time.

        The index has everything that was synced or passed through. A platform gets `patience` seconds to answer;
        `SearchResult.answered` says who answered. `hit_limit` returns how many of a page's hits the caller has room
        for: the cursor comes after those.
        """
        query = SearchQuery(text=query) if isinstance(query, str) else query
        scope = self._scope
        if query.instance is not None:
            scope.configured(query.instance)
        if query.agent is not None:
            split_agent_address(query.agent)
        if query.conversation_id is not None:
            split_conversation_id(query.conversation_id)
        await scope.maintain()
        sources = federated.Sources(
            platforms=scope.platforms, settings=scope.services.settings, store=scope.services.store
        )
        remote = not sources.all_embedded
        if remote and (asked := sources.to_ask(query)):
            return await federated.search(
                sources, scope.principal, query, asked, patience=patience, hit_limit=hit_limit
            )

        def search_index(tx: Transaction, principal: str) -> tuple[Found, Sequence[Answered]]:
            page = found(tx, principal, query)
            return page, sources.answered(query, sync_state.coverage(tx, principal)) if remote else ()

        page, answered = await scope.read(search_index)
        result = page.cut(hit_limit(page.result.hits))
        return replace(result, answered=answered) if answered else result

    async def sync(self, instance: str, *, on_progress: "ProgressListener | None" = None) -> SyncSummary:
        """Bring the histories of an instance into the index: those that have changed since the last sync.

        A sync changes nothing on the platform. If it is stopped, the next one continues where it was. `on_progress`
        is called with its progress.

        Raises:
            InvalidInputError: the instance's conversations live in this store, or none of its contents are kept.
            ConflictError: another process syncs it now.
            UnavailableError: its platform cannot be reached; what was read until then is kept.
        """
        from tertulia.search.sync import sync

        services = self._scope.services
        platform = self._scope.platform(instance)
        return await sync(
            services.store,
            services.leases,
            self._scope.principal,
            platform,
            services.settings.instances.get(instance),
            on_progress,
        )

    @property
    def syncable(self) -> Sequence[str]:
        """The instances that can be synced, in order."""
        from tertulia.search.sync import check_can_sync

        services = self._scope.services
        syncable: list[str] = []
        for name, platform in sorted(self._scope.platforms.items()):
            with suppress(TertuliaError):
                check_can_sync(platform, services.settings.instances.get(name))
                if platform.missing is None:
                    syncable.append(name)
        return syncable
