"""One search over everything: it asks the platforms that can search and the store's index at the same time.

A page shows the index's hits first, in the index's order. After them come the conversations that only a platform finds:
one of each platform in turn, each platform's in its own order. If the index could fill the page alone, the platforms
get a third of it. If both find a conversation, the index's hits are shown: they are messages, while a platform's hits
are whole conversations. A cursor holds a place in the index and one in each platform. A platform that has not answered
is asked again with the next page.

A platform gets the words of the query only. The index alone understands phrases, `-without`, `OR` and `prefix*`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tertulia.platforms.base import EmbeddedPlatform, Platform
from tertulia.settings import ClientSettings
from tertulia.store import conversations, sync_state
from tertulia.store.database import Store, Transaction
from tertulia.store.search import MAX_PAGE, SPARSE, Found, finds, found
from tertulia.store.terms import read
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.coverage import Answered, Coverage, SearchedBy
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import COUNT, page_cursor, read_page_cursor
from tertulia.vocabulary.models import ConversationRecord, SearchHit, SearchQuery, SearchResult
from tertulia.vocabulary.tasks import task_group
from tertulia.vocabulary.text import check_limit

ANSWER_SECONDS = 10.0
"""How long a search waits for a platform."""

HitLimit = Callable[[Sequence[SearchHit]], int]
"""Returns how many of these hits the caller has room for: at least one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in what a platform finds: `skip` hits after the beginning of the page at `cursor`."""

    cursor: str | None = None
    skip: int = 0


@dataclass(slots=True)
class _AskedPlatform:
    """A platform that is asked, and its answer."""

    platform: Platform
    place: _Place
    result: SearchResult | None = None
    failure: str | None = None
    hits: Sequence[tuple[int, SearchHit]] = ()
    """The hits that only this platform finds, each with the number of the platform's hits up to it."""

    def place_after(self, taken: int) -> _Place | None:
        """Return the place after the first `taken` of `hits`; None at the end of all."""
        if self.result is None:
            return self.place
        if taken < len(self.hits):
            return _Place(self.place.cursor, self.hits[taken - 1][0] if taken else self.place.skip)
        next_cursor = self.result.next_cursor
        return None if next_cursor is None else _Place(next_cursor)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a search looks: the configured platforms and the store's index."""

    platforms: Mapping[str, Platform]
    settings: ClientSettings
    store: Store

    @property
    def all_embedded(self) -> bool:
        """Whether the conversations of all instances live in the store."""
        return all(isinstance(platform, EmbeddedPlatform) for platform in self.platforms.values())

    def to_ask(self, query: SearchQuery) -> Sequence[Platform]:
        """Return the platforms that can search and may have what a query asks for, in the order of their instances.

        No platform searches by role, type, source or folder.
        """
        if query.role is not None or query.types or query.source is not None or query.folder is not None:
            return []
        return [
            platform
            for _, platform in sorted(self.platforms.items())
            if Feature.SEARCH in platform.features
            and not isinstance(platform, EmbeddedPlatform)
            and platform.missing is None
            and in_scope(platform.instance, query)
        ]

    def answered(
        self,
        query: SearchQuery,
        coverage: Mapping[str, Coverage],
        asked: "Sequence[_AskedPlatform]" = (),
    ) -> Sequence[Answered]:
        """Return how each instance in a query's scope was searched; nothing where all of them are embedded."""
        if self.all_embedded:
            return ()
        by_instance = {source.platform.instance: source for source in asked}
        return [
            self._answered(instance, by_instance.get(instance), coverage)
            for instance in sorted(self.platforms)
            if in_scope(instance, query)
        ]

    def _answered(
        self, instance: str, asked: "_AskedPlatform | None", coverage: Mapping[str, Coverage]
    ) -> Answered:
        settings = self.settings.instances.get(instance)
        keeps = settings is None or settings.keeps_content
        live = asked is not None and asked.failure is None
        embedded = isinstance(self.platforms[instance], EmbeddedPlatform)
        if embedded:
            covered: Coverage | None = Coverage(complete=True)
        else:
            covered = coverage.get(instance, Coverage()) if keeps else None
        return Answered(
            instance=instance,
            by=(SearchedBy.BOTH if keeps else SearchedBy.PLATFORM) if live else SearchedBy.INDEX,
            failure=None if asked is None else asked.failure,
            coverage=covered,
            embedded=embedded,
        )


def in_scope(instance: str, query: SearchQuery) -> bool:
    """Whether a query's filters admit conversations of an instance."""
    named = (
        query.instance,
        *(name and name.partition(":")[0] for name in (query.agent, query.conversation_id)),
    )
    return all(name in {None, instance} for name in named)


async def search(
    sources: Sources,
    principal: str,
    query: SearchQuery,
    platforms: Sequence[Platform],
    *,
    patience: float,
    hit_limit: HitLimit,
) -> SearchResult:
    """Ask these platforms and the index; return one page of what they find.

    Raises:
        InvalidInputError: the query has no word, the cursor is not one of this query, or the limit is out of range.
    """
    check_limit(query.limit, MAX_PAGE)
    words = read(query.text).words_wanted
    identity = _identity(principal, query, platforms)
    index_at, places = _places(query.cursor, identity, platforms)
    asked = [
        _AskedPlatform(platform, place)
        for platform in platforms
        if (place := places.get(platform.instance)) is not None
    ]
    begins = replace(query, cursor=index_at or None)
    index: Found | None = None
    coverage: Mapping[str, Coverage] = {}
    error: TertuliaError | None = None

    def search_index(tx: Transaction) -> tuple[Found | None, Mapping[str, Coverage]]:
        return None if index_at is None else found(tx, principal, begins), sync_state.coverage(tx, principal)

    async with task_group() as tasks:
        for source in asked:
            tasks.start_soon(
                _ask, principal, replace(query, text=words), source, patience, sources.store.clock
            )
        try:
            index, coverage = await sources.store.read(search_index)
        except TertuliaError as raised:
            error = raised
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    if any(source.result is not None and source.result.hits for source in asked):
        await sources.store.read(lambda tx: _keep_only_platforms(tx, principal, query, asked))
    answered = sources.answered(query, coverage, asked)
    result = _merged(query, identity, asked, index, answered, hit_limit)
    # Only those that are shown: the index would find the others from now on, at places that this search has passed.
    entered = [hit for hit in result.hits if hit.by_platform]
    if entered:
        await sources.store.write(lambda tx: _remember(tx, principal, entered), principal=principal)
    return result


async def _ask(
    principal: str, query: SearchQuery, source: _AskedPlatform, patience: float, clock: Clock
) -> None:
    place = source.place
    asking = replace(
        query, instance=source.platform.instance, cursor=place.cursor, limit=place.skip + query.limit
    )
    with clock.move_on_after(patience) as waiting:
        try:
            source.result = await source.platform.search(principal, asking)
        except TertuliaError as error:
            source.failure = str(error)
    if waiting.cancelled_caught:
        source.failure = f"It had not answered after {patience:g} seconds."


def _keep_only_platforms(
    tx: Transaction, principal: str, query: SearchQuery, sources: Sequence[_AskedPlatform]
) -> None:
    """Reduce each platform's hits to those that the index does not find."""
    for source in sources:
        if source.result is None:
            continue
        kept: list[tuple[int, SearchHit]] = []
        seen = set[str]()
        for number, hit in enumerate(source.result.hits, start=1):
            if number <= source.place.skip or hit.conversation_id in seen:
                continue
            seen.add(hit.conversation_id)
            if finds(tx, principal, replace(query, conversation_id=hit.conversation_id, cursor=None)):
                continue
            kept.append((number, replace(hit, by_platform=True)))
        source.hits = kept


def _remember(tx: Transaction, principal: str, hits: Sequence[SearchHit]) -> None:
    """Store what platforms say of the conversations they found, so that a caller can open them."""
    for hit in hits:
        if not conversations.known(tx, principal, hit.conversation_id):
            at = hit.at if hit.at.year > 1 else None
            conversations.remember(
                tx,
                principal,
                ConversationRecord(
                    id=hit.conversation_id,
                    agent=None,
                    status=hit.status,
                    title=hit.conversation_title,
                    created_at=at,
                    updated_at=at,
                ),
            )


@dataclass(frozen=True, slots=True)
class _Choice:
    """The hits that a page shows: those of the index, and after them those that only platforms find."""

    from_index: Sequence[SearchHit]
    from_platforms: Sequence[tuple[_AskedPlatform, SearchHit]]

    @property
    def hits(self) -> Sequence[SearchHit]:
        """The hits, in the order in which they are shown."""
        return [*self.from_index, *(hit for _, hit in self.from_platforms)]

    def cut(self, count: int) -> "_Choice":
        """Return the choice with its first `count` hits only."""
        from_index = self.from_index[:count]
        return _Choice(from_index, self.from_platforms[: count - len(from_index)])

    def taken_from(self, asked: _AskedPlatform) -> int:
        """Return how many hits of a platform are shown."""
        return sum(platform is asked for platform, _ in self.from_platforms)


def _choose(
    from_index: Sequence[SearchHit],
    from_platforms: Sequence[tuple[_AskedPlatform, SearchHit]],
    limit: int,
) -> _Choice:
    """Fill a page; where the index could fill it alone, a third of it is the platforms'."""
    share = min(len(from_platforms), max(1, limit // 3))
    if from_index and limit == 1:
        share = 0
    of_index = from_index[: limit - share]
    return _Choice(of_index, from_platforms[: limit - len(of_index)])


def _merged(
    query: SearchQuery,
    identity: Mapping[str, Any],
    asked: Sequence[_AskedPlatform],
    index: Found | None,
    answered: Sequence[Answered],
    hit_limit: HitLimit,
) -> SearchResult:
    """Return the page that shows what the index and the platforms found, with the cursor after it."""
    only_on_platforms = _in_turn(asked)
    choice = _choose(() if index is None else index.result.hits, only_on_platforms, query.limit)
    choice = choice.cut(max(1, hit_limit(choice.hits)))
    index_next = None if index is None else index.cursor_after(len(choice.from_index))
    places = {source.platform.instance: source.place_after(choice.taken_from(source)) for source in asked}
    more = index_next is not None or any(
        source.result is not None and places[source.platform.instance] is not None for source in asked
    )
    return SearchResult(
        hits=choice.hits,
        next_cursor=_cursor(identity, index_next, places) if more else None,
        ranked=index is not None and index.result.ranked,
        total=_total(query, asked, index, len(only_on_platforms)),
        suggestion=None if len(choice.hits) > SPARSE or more or index is None else index.result.suggestion,
        indexing=index is not None and index.result.indexing,
        answered=answered,
    )


def _total(
    query: SearchQuery, asked: Sequence[_AskedPlatform], index: Found | None, only_on_platforms: int
) -> int | None:
    """Return how many match in all, if this is the first page and every source has returned all of its matches."""
    if query.cursor is not None or index is None:
        return None
    if any(source.result is None or source.result.next_cursor is not None for source in asked):
        return None
    counted = len(index.result.hits) if index.result.next_cursor is None else index.result.total
    return None if counted is None else counted + only_on_platforms


def _in_turn(sources: Sequence[_AskedPlatform]) -> Sequence[tuple[_AskedPlatform, SearchHit]]:
    """Return the hits that only platforms find: the first of each, the second of each, and so on."""
    numbered = [(number, source, hit) for source in sources for number, (_, hit) in enumerate(source.hits)]
    return [(source, hit) for _, source, hit in sorted(numbered, key=lambda entry: entry[0])]


def _identity(principal: str, query: SearchQuery, platforms: Sequence[Platform]) -> Mapping[str, Any]:
    fields = {name: value for name, value in asdict(query).items() if name not in {"cursor", "limit"}}
    return {
        **fields,
        "exclude_types": sorted(query.exclude_types),
        "types": sorted(query.types),
        "principal": principal,
        "platforms": [platform.instance for platform in platforms],
    }


def _cursor(identity: Mapping[str, Any], index: str | None, places: Mapping[str, _Place | None]) -> str:
    continued = {name: [place.cursor, place.skip] for name, place in places.items() if place is not None}
    return page_cursor(identity, [index, continued])


def _places(
    cursor: str | None, identity: Mapping[str, Any], platforms: Sequence[Platform]
) -> tuple[str | None, Mapping[str, _Place]]:
    """Return where a page begins: in the index ("" is its beginning, None its end), and in platforms that have more."""
    if cursor is None:
        return "", {platform.instance: _Place() for platform in platforms}
    index, continued = read_page_cursor(cursor, identity, [str | None, {str: [str | None, COUNT]}])
    return index, {name: _Place(at, skip) for name, (at, skip) in continued.items()}
