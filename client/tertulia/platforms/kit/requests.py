"""What a run waits for from a person: each asked once, settled in the store or on the platform."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from tertulia.platforms.base import RunContext
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.events import Event
from tertulia.vocabulary.models import Request, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus
from tertulia.vocabulary.values import same_json

SETTLING_SECONDS = 5.0
"""How long a decision that the platform shows already may take to be recorded in the store."""

_Key = tuple[RequestKind, str]


class PendingRequests:
    """The requests of one run, told apart by their kind and the platform's own id. True while one is pending."""

    def __init__(self, context: RunContext, clock: Clock) -> None:
        self._context = context
        self._clock = clock
        self._asked = {_key(request): request for request in context.requests}
        self._pending = {
            key: request for key, request in self._asked.items() if request.status is RequestStatus.PENDING
        }

    def __bool__(self) -> bool:
        return bool(self._pending)

    def __iter__(self) -> Iterator[Request]:
        return iter([*self._pending.values()])

    async def ask(
        self, draft: RequestDraft, *events: Event, checkpoint: Mapping[str, Any] | None = None
    ) -> None:
        """Ask a person, after these events, unless this attempt or an earlier one has asked.

        A request that the platform has changed since is asked anew, and the one that was shown is withdrawn.
        """
        key = _key(draft)
        known = self._asked.get(key)
        if known is None or asks_otherwise(known, draft):
            request = await self._context.ask(draft, *events, checkpoint=checkpoint)
            self._asked[key] = self._pending[key] = request
        else:
            await self._context.emit(*events, checkpoint=checkpoint)

    async def resolve(self, request: Request) -> None:
        """Go on after a request that the platform does not wait for any more.

        Either the decision was made here, and is recorded within `SETTLING_SECONDS`; or it was made on the platform,
        and the request is withdrawn.
        """
        if self._pending.pop(_key(request), None) is not None:
            with self._clock.move_on_after(SETTLING_SECONDS):
                await self._context.wait_settled(request.id)
            await self._context.withdraw(request.id)

    async def resolve_id(self, kind: RequestKind, upstream_id: str) -> None:
        """Go on after the request of this kind and id, if it is pending."""
        for request in self:
            if _key(request) == (kind, upstream_id):
                await self.resolve(request)

    async def resolve_missing(self, kind: RequestKind, present: Container[str]) -> None:
        """Go on after the requests of a kind that are not among those that the platform shows as pending."""
        for request in self:
            if request.kind is kind and (request.upstream_id or "") not in present:
                await self.resolve(request)

    async def pause(self, seconds: float) -> None:
        """Wait, and no longer than until a person decides."""
        waited_for = next(iter(self), None)
        if waited_for is None:
            await self._clock.sleep(seconds)
            return
        with self._clock.move_on_after(seconds):
            await self._context.wait_settled(waited_for.id)
            await self.resolve(waited_for)


def asks_otherwise(request: Request, draft: RequestDraft) -> bool:
    """Return whether a platform asks for another tool, or other arguments, than were shown under the same id."""
    other_tool = None not in {request.tool, draft.tool} and request.tool != draft.tool
    return other_tool or (bool(draft.arguments) and not same_json(request.arguments, draft.arguments))


def _key(request: Request | RequestDraft) -> _Key:
    return request.kind, request.upstream_id or ""
