"""One search over all: the platforms that can search, and our index for everything, asked at once.

A page has the index's hits first, in the index's order; behind them those conversations that only a platform finds, one
of each platform in turn, each platform's in its own order. Where the index could fill the page alone, a third of it is
the platforms'. What the index finds as well is shown as the index's: its hits are messages, a platform's are whole
conversations. A cursor holds a place in the index and one in each platform; a platform that has not answered is asked
again with the next page.

A platform gets the words that are looked for. Phrases, `-without`, `OR` and `prefix*` are the index's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import anyio

from tertulia.platforms.base import EmbeddedPlatform, Platform
from tertulia.settings import ClientSettings
from tertulia.store import conversations, sync_state
from tertulia.store.database import Store, Transaction
from tertulia.store.search import MAX_PAGE, Found, finds, found
from tertulia.store.terms import read
from tertulia.vocabulary.coverage import Answered, Coverage, SearchedBy
from tertulia.vocabulary.errors import InvalidInputError, TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import Conversation, SearchHit, SearchQuery, SearchResult
from tertulia.vocabulary.text import check_limit

ANSWER_SECONDS = 10.0
"""How long a platform is waited for."""

HitLimit = Callable[[Sequence[SearchHit]], int]
"""Returns for how many of these hits the caller has room: at least one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in what a source finds: `skip` hits behind the beginning of the page at `cursor`."""

    cursor: str | None = None
    skip: int = 0


@dataclass(slots=True)
class _AskedPlatform:
    """A platform that is asked, and what it said."""

    platform: Platform
    place: _Place
    result: SearchResult | None = None
    failure: str | None = None
    hits: Sequence[tuple[int, SearchHit]] = ()
    """Those that only this platform finds, each with how many of its hits come before the next."""

    def behind(self, taken: int) -> _Place | None:
        """Return the place behind the first `taken` of `hits`; None at the end of all."""
        if self.result is None:
            return self.place
        if taken < len(self.hits):
            return _Place(self.place.cursor, self.hits[taken - 1][0] if taken else self.place.skip)
        following = self.result.next_cursor
        return None if following is None else _Place(following)


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
        """Return the platforms that can search and may have what a query looks for, by the names of their instances."""
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
        by_instance = {one.platform.instance: one for one in asked}
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
    named = (query.instance, *(one and one.partition(":")[0] for one in (query.agent, query.conversation_id)))
    return all(one in {None, instance} for one in named)


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
        InvalidInputError: there is no word to look for, the cursor is not one of this query, or the limit is out of
            range.
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

    def look(tx: Transaction) -> tuple[Found | None, Mapping[str, Coverage]]:
        return None if index_at is None else found(tx, principal, begins), sync_state.coverage(tx, principal)

    async with anyio.create_task_group() as tasks:
        for source in asked:
            tasks.start_soon(_ask, principal, replace(query, text=words), source, patience)
        try:
            index, coverage = await sources.store.read(look)
        except TertuliaError as raised:
            error = raised
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    if any(source.result is not None and source.result.hits for source in asked):
        await sources.store.read(lambda tx: _sift(tx, principal, query, asked))
    answered = sources.answered(query, coverage, asked)
    result = _merged(query, identity, asked, index, answered, hit_limit)
    # Only what is shown: the index would find the rest from now on, at places that this search has passed.
    entered = [hit for hit in result.hits if hit.by_platform]
    if entered:
        await sources.store.write(lambda tx: _remember(tx, principal, entered))
    return result


async def _ask(principal: str, query: SearchQuery, source: _AskedPlatform, patience: float) -> None:
    place = source.place
    asking = replace(
        query, instance=source.platform.instance, cursor=place.cursor, limit=place.skip + query.limit
    )
    try:
        with anyio.fail_after(patience):
            source.result = await source.platform.search(principal, asking)
    except TimeoutError:
        source.failure = f"It had not answered after {patience:g} seconds."
    except TertuliaError as error:
        source.failure = str(error)


def _sift(tx: Transaction, principal: str, query: SearchQuery, sources: Sequence[_AskedPlatform]) -> None:
    """Leave each source what only it finds."""
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
    """Enter what a platform told of conversations, so that they can be opened."""
    for hit in hits:
        if not conversations.known(tx, principal, hit.conversation_id):
            at = hit.at if hit.at.year > 1 else None
            conversations.remember(
                tx,
                principal,
                Conversation(
                    id=hit.conversation_id,
                    agent=None,
                    status=hit.status,
                    title=hit.conversation_title,
                    created_at=at,
                    updated_at=at,
                ),
            )


def _merged(
    query: SearchQuery,
    identity: Mapping[str, Any],
    sources: Sequence[_AskedPlatform],
    index: Found | None,
    answered: Sequence[Answered],
    hit_limit: HitLimit,
) -> SearchResult:
    from_index: Sequence[SearchHit] = () if index is None else index.result.hits
    in_turn = _in_turn(sources)
    share = min(len(in_turn), max(1, query.limit // 3))
    if from_index and query.limit == 1:
        share = 0
    of_index = min(len(from_index), query.limit - share)
    chosen = in_turn[: query.limit - of_index]
    hits = [*from_index[:of_index], *(hit for _, hit in chosen)]
    hits = hits[: max(1, hit_limit(hits))]
    of_index = min(of_index, len(hits))
    chosen = chosen[: len(hits) - of_index]
    index_next = None if index is None else index.behind(of_index)
    places = {
        source.platform.instance: source.behind(sum(of is source for of, _ in chosen)) for source in sources
    }
    more = index_next is not None or any(
        source.result is not None and places[source.platform.instance] is not None for source in sources
    )
    whole = query.cursor is None and all(
        source.result is not None and source.result.next_cursor is None for source in sources
    )
    counted = (
        None if index is None else len(from_index) if index.result.next_cursor is None else index.result.total
    )
    return SearchResult(
        hits=hits,
        next_cursor=_cursor(identity, index_next, places) if more else None,
        ranked=index is not None and index.result.ranked,
        total=counted + len(in_turn) if whole and counted is not None else None,
        suggestion=None if hits or more or index is None else index.result.suggestion,
        answered=answered,
    )


def _in_turn(sources: Sequence[_AskedPlatform]) -> Sequence[tuple[_AskedPlatform, SearchHit]]:
    """Return what only platforms find: the first of each, the second of each, and so on."""
    numbered = [(number, source, hit) for source in sources for number, (_, hit) in enumerate(source.hits)]
    return [(source, hit) for _, source, hit in sorted(numbered, key=lambda one: one[0])]


def _identity(principal: str, query: SearchQuery, platforms: Sequence[Platform]) -> Mapping[str, Any]:
    fields = {name: value for name, value in asdict(query).items() if name not in {"cursor", "limit"}}
    return {
        **fields,
        "exclude_types": sorted(query.exclude_types),
        "principal": principal,
        "platforms": [platform.instance for platform in platforms],
    }


def _cursor(identity: Mapping[str, Any], index: str | None, places: Mapping[str, _Place | None]) -> str:
    going_on = {name: [place.cursor, place.skip] for name, place in places.items() if place is not None}
    return page_cursor(identity, [index, going_on])


def _places(
    cursor: str | None, identity: Mapping[str, Any], platforms: Sequence[Platform]
) -> tuple[str | None, Mapping[str, _Place]]:
    """Return where a page begins: in the index ("" is its beginning, None its end), and in each platform going on."""
    if cursor is None:
        return "", {platform.instance: _Place() for platform in platforms}
    match read_page_cursor(cursor, identity):
        case [str() | None as index, going_on]:
            told = cast("dict[str, tuple[str | None, int]]", going_on)
            return index, {name: _Place(at, skip) for name, (at, skip) in told.items()}
        case _:
            raise InvalidInputError(
                "This is not a cursor of a search.", hint="Leave it out for the first page."
            )
