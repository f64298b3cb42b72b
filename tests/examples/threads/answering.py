"""Answers of Threads: the message begins a run, which is followed up to its end or to a question.

A decision begins a run of its own, which resumes the interrupted one. Beside what the kit keeps in the checkpoint,
`run` is the id of the run that is followed now; the position belongs to that run's stream.
"""

from typing import Any

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import DeliveryPolicy, Outcome, deliver
from tertulia.platforms.kit.directory import AgentDirectory
from tertulia.platforms.kit.following import POSITION, EventStream, Follower, LookAgain, Progress, Step
from tertulia.platforms.kit.http.values import table
from tertulia.vocabulary.models import RequestKind
from tertulia.vocabulary.untrusted import shown
from tests.examples.threads import mapping
from tests.examples.threads.mapping import ASSISTANT_ID, UpstreamEvent
from tests.examples.threads.wire import PLATFORM, Record, Wire

RUN = "run"
"""Where the checkpoint has the id of the run that is followed."""
WORKING = frozenset({"pending", "running"})
INTERRUPTED = "interrupted"
PENDING_SECONDS = 5.0
"""How often a run that waits for a person is looked at: somebody may decide at Threads itself."""
_MESSAGE = "message_id"
_LONGEST_QUOTE = 300


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, wire: Wire, assistants: AgentDirectory, attempt: Attempt) -> None:
        self._wire = wire
        self._assistants = assistants
        self._attempt = attempt
        self._context = attempt.context

    async def produce(self) -> None:
        """Send the message unless that was done, and follow its run."""
        policy = DeliveryPolicy(finds_without_contents=True)
        if (await deliver(self._attempt, self, policy)).outcome is Outcome.ENDED:
            return
        stream = EventStream(
            open=lambda after: self._wire.stream(
                self._attempt.native_id, self._attempt.checkpoint[RUN], None if after is None else str(after)
            ),
            read=mapping.read,
            on_event=self._on_event,
            position=lambda event: event.id,
            replays=True,
        )
        await Follower(self._attempt, stream=stream, look=self._look).follow()

    async def mark(self) -> str | None:
        """Return the newest run before the message."""
        runs = await self._wire.runs(self._attempt.native_id)
        return runs[0]["run_id"] if runs else None

    async def send(self, *, repeated: bool) -> None:
        """Begin a run with the message. The run carries the message's id, by which `find` knows it."""
        message = self._context.message
        body: dict[str, Any] = {
            ASSISTANT_ID: await self._assistants.id_of(self._context.conversation.agent or ""),
            "input": {"messages": [{"id": message.id, "type": "human", "content": message.text}]},
            "metadata": {_MESSAGE: message.id},
            "multitask_strategy": "reject",
        }
        if self._context.message_context is not None:
            body["context"] = self._context.message_context
        self._attempt.checkpoint[RUN] = await self._wire.start(self._attempt.native_id, body)

    async def find(self, mark: str | None) -> Record | None:
        """Return the run that the message began, if it is among those after the mark."""
        for run in await self._wire.runs(self._attempt.native_id):
            if run["run_id"] == mark:
                return None
            if table(run.get("metadata")).get(_MESSAGE) == self._context.message.id:
                self._attempt.checkpoint[RUN] = run["run_id"]
                return run
        return None

    async def _on_event(self, event: UpstreamEvent) -> Step:
        if event.name == mapping.END:
            return LookAgain()
        await self._attempt.emit(*mapping.events(event))
        return Progress.CONTINUES

    async def _look(self) -> Step:
        run = mapping.latest(await self._wire.runs(self._attempt.native_id), self._attempt.checkpoint[RUN])
        if run is None:
            return Progress.GONE
        if run["run_id"] != self._attempt.checkpoint[RUN]:
            return await self._resumed(run)
        if run["status"] in WORKING:
            return Progress.CONTINUES
        state = await self._wire.state(self._attempt.native_id)
        if run["status"] == INTERRUPTED and mapping.interrupts(state):
            return await self._ask(run, state)
        return await self._end(run, state)

    async def _resumed(self, run: Record) -> Step:
        """Follow the run that a decision began, here or at Threads."""
        self._attempt.checkpoint[RUN] = run["run_id"]
        self._attempt.checkpoint.pop(POSITION, None)
        for request in self._attempt.requests:
            await self._attempt.requests.resolve(request)
        return Progress.CONTINUES

    async def _ask(self, run: Record, state: Record) -> Step:
        waiting = mapping.interrupts(state)
        for kind in RequestKind:
            await self._attempt.requests.resolve_missing(kind, waiting)
        for interrupt in waiting.values():
            await self._attempt.ask(mapping.request(interrupt, str(run.get(ASSISTANT_ID))))
        return LookAgain(PENDING_SECONDS)

    async def _end(self, run: Record, state: Record) -> Step:
        if run["status"] == "success":
            await self._context.finish(mapping.reply(state, self._context.message.id))
        elif run["status"] == INTERRUPTED:
            await self._context.cancel(f"The answer was canceled at {PLATFORM}.")
        else:
            said = f": {shown(str(run['error']), _LONGEST_QUOTE)}" if run.get("error") else ""
            await self._context.fail(f"{PLATFORM} ended the answer with an error{said}.")
        return Progress.ENDED
