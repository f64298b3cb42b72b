"""What an answer waits for from a person: approvals and questions, settled here or at AgentFlow."""

import anyio

from tertulia.platforms.agentflow.events import listed
from tertulia.platforms.agentflow.server import Server
from tertulia.platforms.base import RunContext
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.events import Event
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import Request, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus

SETTLING_SECONDS = 5.0
"""What a decision needs at most from AgentFlow, which tells it at once, into our store."""

Key = tuple[RequestKind, str]
"""AgentFlow's own id of an approval or a question."""


class Waiting:
    """The requests of one run. Each is asked once, whichever attempt sees it first."""

    def __init__(self, server: Server, work: RunContext) -> None:
        self._server = server
        self._work = work
        self._native_id = split_conversation_id(work.conversation.id)[1]
        self._asked: dict[Key, Request] = {
            (one.kind, one.upstream_id): one for one in work.requests if one.upstream_id is not None
        }
        self._pending: dict[Key, Request] = {
            key: one for key, one in self._asked.items() if one.status is RequestStatus.PENDING
        }

    def __bool__(self) -> bool:
        """Whether anything was asked that is not known to be settled."""
        return bool(self._pending)

    async def ask(self, draft: RequestDraft, *before: Event) -> None:
        """Ask a person, after some events, unless that was done."""
        key: Key = draft.kind, draft.upstream_id or ""
        if key not in self._asked:
            self._asked[key] = self._pending[key] = await self._work.ask(draft, *before)

    async def look(self, call_id: str | None) -> None:
        """See which approvals are pending: go on after those that are not any more, ask for those that are new here.

        Where a deployment does not list them, and of what is not said to belong to this run, nothing is known.
        """
        try:
            there = await self._server.approvals()
        except TertuliaError:
            return
        if there is None:
            return
        for key in [*self._pending]:
            if key[0] is RequestKind.CONFIRMATION and key[1] not in there:
                await self.settled(key)
        for own_id, approval in there.items():
            calls = {approval.get("root_call_id"), approval.get("call_id")} - {None}
            if approval.get("conversation_id") == self._native_id or call_id in calls:
                await self.ask(listed(approval, own_id))

    async def settled(self, key: Key) -> None:
        """Go on after a request: because of a decision here, or of one that was made at AgentFlow."""
        request = self._pending.pop(key, None)
        if request is not None:
            with anyio.move_on_after(SETTLING_SECONDS):
                await self._work.wait_settled(request.id)
            await self._work.withdraw(request.id)

    async def went_on(self, call_id: str | None) -> None:
        """Go on after what was asked for a call that was seen to go on."""
        for key, request in [*self._pending.items()]:
            if call_id is not None and request.tool_call_id == call_id:
                await self.settled(key)

    async def pause(self, seconds: float) -> None:
        """Wait; less long, if a person decides meanwhile."""
        with anyio.move_on_after(seconds):
            for key, request in [*self._pending.items()][:1]:
                await self._work.wait_settled(request.id)
                await self.settled(key)
                return
            await anyio.sleep_forever()
