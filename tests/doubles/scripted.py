"""A platform whose answers a test writes: `scripted:agent` does what an async function does with the `Work`.

It keeps its conversations as the embedded platform does, so that everything but the answering is the real thing.
`scripted` opens a client on it.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import anyio

from tertulia import Approvals, Client, ClientSettings, InstanceSettings
from tertulia.platforms.base import EmbeddedRunContext, RunContext
from tertulia.platforms.local.platform import LocalPlatform
from tertulia.platforms.registry import PLATFORMS
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.location import StoreLocation
from tertulia.vocabulary.models import (
    LOCAL_PRINCIPAL,
    Agent,
    Conversation,
    ConversationDraft,
    MessageDraft,
    Request,
    RequestDraft,
    RequestKind,
    Run,
    Settlement,
)

KIND = "scripted"
AGENT = "scripted:agent"
SECONDS = 20
"""How long a test waits for what must come."""

Answer = Callable[[EmbeddedRunContext], Coroutine[Any, Any, None]]


class Script:
    """What the agent does and what it was told. `answers` serve one call each, the last of them every further one."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = deque(answers or [echo])
        self.works: list[EmbeddedRunContext] = []
        """One for each time that an answer was asked for."""
        self.settled: list[Settlement] = []
        self.canceled: list[Run] = []
        self.created: Callable[[Conversation], Awaitable[None]] | None = None
        """Called before a creation returns."""
        self.refusal: Exception | None = None
        """Raised instead of passing a settlement on."""
        self.features = LocalPlatform.features | {Feature.QUESTIONS}

    async def answer(self, context: EmbeddedRunContext) -> None:
        """Give the next answer."""
        self.works.append(context)
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        await answer(context)


class ScriptedPlatform(LocalPlatform):
    """Conversations in the store, answered by a script."""

    kind = KIND

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = dict(settings.options)
        self._script: Script = options.pop("script")
        super().__init__(instance, replace(settings, options=options), store, clock)
        self.features = self._script.features

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agent."""
        return [
            Agent(address=f"{self.instance}:agent", description="Follows a script.", features=self.features)
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation, and let the script know."""
        conversation = await super().create(principal, draft)
        if self._script.created is not None:
            await self._script.created(conversation)
        return conversation

    def _answers_at_once(self, agent: str | None) -> bool:
        return True

    async def answer_in_store(self, context: EmbeddedRunContext) -> None:
        """Follow the script."""
        await self._script.answer(context)

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Note the decision."""
        if self._script.refusal is not None:
            raise self._script.refusal
        self._script.settled.append(settlement)

    async def cancel(self, principal: str, run: Run) -> None:
        """Note that the run was to be stopped."""
        self._script.canceled.append(run)


@asynccontextmanager
async def scripted(
    store: StoreLocation,
    script: Script | Answer | None = None,
    *,
    approvals: Approvals = Approvals.HOST,
    principal: str = LOCAL_PRINCIPAL,
    clock: Clock = SYSTEM_CLOCK,
    max_runs: int | None = None,
    **options: Any,
) -> AsyncGenerator[Client]:
    """Open a client with the instance `scripted`, as one process has it; what is inside takes `SECONDS` at most."""
    cast(dict[str, str], PLATFORMS)[KIND] = f"{__name__}:ScriptedPlatform"
    if not isinstance(script, Script):
        script = Script() if script is None else Script(script)
    instances = {KIND: InstanceSettings(platform=KIND, options={"script": script, **options})}
    settings = ClientSettings(store=store, approvals=approvals, instances=instances, max_runs=max_runs)
    with anyio.fail_after(SECONDS):
        async with Client.open(settings, principal=principal, clock=clock) as client:
            yield client


def says(text: str) -> MessageDraft:
    """Return the message that a person writes."""
    return MessageDraft(text=text)


def piece(text: str, message_id: str = "reply") -> Event:
    """Return a piece of the answer."""
    return Event(EventKind.TEXT_MESSAGE_CONTENT, {"message_id": message_id, "delta": text})


def may_i(tool: str = "shred", **arguments: object) -> RequestDraft:
    """Return the question whether a tool may run."""
    return RequestDraft(
        kind=RequestKind.CONFIRMATION,
        prompt=f"May I {tool}?",
        tool=tool,
        arguments=arguments,
        tool_call_id=f"call-{tool}",
    )


async def echo(context: EmbeddedRunContext) -> None:
    """Answer with the message."""
    await context.finish(f"You said: {context.message.text}")


async def asks_first(context: RunContext) -> None:
    """Ask whether a tool may run, then say how that was decided."""
    if not context.requests:
        await context.ask(may_i(paper="contract"))
    elif all(request.status != "pending" for request in context.requests):
        await context.finish(" ".join(request.status for request in context.requests))


class Held:
    """An answer that says `before`, waits until the test sets `go_on`, and goes on as `after` does."""

    def __init__(self, before: str = "", after: Answer | None = None) -> None:
        self._before = before
        self._after = after
        self.reached = anyio.Event()
        """Set once the answer waits."""
        self.go_on = anyio.Event()

    async def __call__(self, context: EmbeddedRunContext) -> None:
        """Answer."""
        if self._before:
            await context.emit(piece(self._before))
            await context.emit()  # now, rather than in a tenth of a second
        self.reached.set()
        await self.go_on.wait()
        await (context.finish() if self._after is None else self._after(context))
