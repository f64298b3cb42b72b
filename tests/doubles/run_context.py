"""A run's context in memory, for tests of what works on a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from tertulia.vocabulary.events import Event, JournalEntry
from tertulia.vocabulary.models import Conversation, Message, Request, RequestDraft, Role, Run
from tertulia.vocabulary.states import RequestStatus, RunStatus, Status


class FakeRunContext:
    """Notes what a run's code does: `journal`, `saved` (each checkpoint), `asked`, and `ended` (how, and with what)."""

    def __init__(
        self,
        text: str | None = "hi",
        *,
        checkpoint: Mapping[str, Any] | None = None,
        requests: Sequence[Request] = (),
    ) -> None:
        self.principal = "me"
        self.run = Run(
            id="run_1",
            conversation_id="somewhere:c1",
            agent="somewhere:agent",
            message_id="m_1",
            first_seq=0,
            status=RunStatus.RUNNING,
        )
        self.conversation = Conversation(id="somewhere:c1", agent="somewhere:agent", status=Status.OPEN)
        self.message = Message(
            id="m_1", conversation_id="somewhere:c1", author="user", role=Role.USER, text=text
        )
        self.message_context: Mapping[str, Any] | None = None
        self.checkpoint: Mapping[str, Any] = checkpoint or {}
        self.entries: Sequence[JournalEntry] = ()
        self.requests = [*requests]
        self.journal: list[Event] = []
        self.saved: list[Mapping[str, Any]] = []
        self.withdrawn: list[str] = []
        self.identified: str | None = None
        self.ended: tuple[str, Any] | None = None
        self._settled: dict[str, anyio.Event] = {}

    async def emit(
        self, *events: Event, checkpoint: Mapping[str, Any] | None = None, awaiting: bool | None = None
    ) -> None:
        """Journal events and save a checkpoint."""
        await anyio.lowlevel.checkpoint()
        assert self.ended is None, "nothing is told of a run that has ended"
        self.journal += events
        if checkpoint is not None:
            self.saved.append(checkpoint)

    async def ask(
        self, draft: RequestDraft, *events: Event, checkpoint: Mapping[str, Any] | None = None
    ) -> Request:
        """Ask a person, who does not answer until `settle` is called."""
        await self.emit(*events, checkpoint=checkpoint)
        self.withdrawn += [
            before.id
            for before in self.requests
            if before.status is RequestStatus.PENDING
            and (before.kind, before.upstream_id) == (draft.kind, draft.upstream_id)
        ]
        request = Request(
            id=f"r_{len(self.requests) + 1}",
            run_id=self.run.id,
            conversation_id=self.conversation.id,
            kind=draft.kind,
            prompt=draft.prompt,
            status=RequestStatus.PENDING,
            tool=draft.tool,
            arguments=draft.arguments,
            tool_call_id=draft.tool_call_id,
            upstream_id=draft.upstream_id,
        )
        self.requests.append(request)
        return request

    def settle(self, request_id: str) -> None:
        """Decide, as a person does."""
        self._settled.setdefault(request_id, anyio.Event()).set()

    async def wait_settled(self, request_id: str) -> Request:
        """Wait for the decision."""
        await self._settled.setdefault(request_id, anyio.Event()).wait()
        return next(request for request in self.requests if request.id == request_id)

    async def withdraw(self, request_id: str) -> None:
        """Withdraw a request, unless it was settled."""
        await anyio.lowlevel.checkpoint()
        if request_id not in self._settled or not self._settled[request_id].is_set():
            self.withdrawn.append(request_id)

    def approved_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return the request's own arguments."""
        return request.arguments

    async def identify(self, message_id: str) -> None:
        """Note the message's own id on its platform."""
        await anyio.lowlevel.checkpoint()
        self.identified = message_id

    async def finish(self, text: str | None = None, **more: Any) -> None:
        """End the run with a reply."""
        await self._end("finished", text)

    async def fail(self, message: str, *, retryable: bool = False, unsent: bool = False) -> None:
        """End the run with an error."""
        await self._end("failed", message)

    async def interrupt(self, message: str) -> None:
        """End the run, whose answer may go on elsewhere."""
        await self._end("interrupted", message)

    async def cancel(self, reason: str) -> None:
        """End the run, which was stopped."""
        await self._end("canceled", reason)

    async def _end(self, how: str, what: Any) -> None:
        await anyio.lowlevel.checkpoint()
        assert self.ended is None, "a run ends once"
        self.ended = how, what
