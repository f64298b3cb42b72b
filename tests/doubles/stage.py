"""A platform whose agent does what its message tells it, step by step: `stage:actor`.

It keeps its conversations as the embedded platform does, so that everything but the answering is the real thing. A
message made by `script` is played; any other text is echoed. The steps:

    {"say": TEXT, "times": N}                    stream a piece of the answer (N times)
    {"think": TEXT}                              stream a piece of reasoning
    {"tool": NAME, "arguments": …, "result": …}  show the call of a tool
    {"ask": NAME, "arguments": …, "prompt": …}   ask for the confirmation of a tool, then say how it was decided
    {"question": PROMPT}                         ask a question, then say the answer
    {"hold": NAME}                               wait until a script in another conversation releases NAME
    {"release": NAME}                            release it
    {"event": KIND, "data": …}                   tell any other event
    {"fail": SENTENCE}, {"interrupt": SENTENCE}  end the run badly
    {"crash": TEXT}                              raise what no platform should raise
    {"print": TEXT}                              write to stdout, and log, as no server should

What was done is in the run's checkpoint: another process goes on with the next step.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import anyio

from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.platform import LocalPlatform
from tertulia.platforms.registry import PLATFORMS
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Agent, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus

KIND = "stage"
INSTANCE = "stage"
ACTOR = "stage:actor"
Step = Mapping[str, Any]

logger = logging.getLogger(__name__)


def register() -> None:
    """Make the platform known, as if it stood in the registry."""
    cast(dict[str, str], PLATFORMS)[KIND] = "tests.doubles.stage:Stage"


def script(*steps: Step) -> str:
    """Return the message that has these steps played."""
    return json.dumps({"play": steps})


class Stage(LocalPlatform):
    """Conversations in the store, answered by the actor."""

    kind = KIND
    features = LocalPlatform.features | {Feature.QUESTIONS}

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = dict(settings.options)
        self._description = str(options.pop("description", "Plays the script it is sent."))
        super().__init__(instance, replace(settings, options=options), store, clock)
        self._released = defaultdict[str, anyio.Event](anyio.Event)

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the actor."""
        return [
            Agent(address=f"{self.instance}:actor", description=self._description, features=self.features)
        ]

    def _answers_at_once(self, agent: str | None) -> bool:
        return True

    async def answer_in_store(self, context: EmbeddedRunContext) -> None:
        """Play the message."""
        text = context.message.text or ""
        try:
            steps: list[dict[str, Any]] = json.loads(text)["play"]
        except (ValueError, TypeError, KeyError):
            steps = [{"say": f"You said: {text}"}]
        done = int(context.checkpoint.get("done", 0))
        for number, step in enumerate(steps[done:], start=done):
            if not await self._play(context, number, step):
                return
            await context.emit(checkpoint={"done": number + 1})
        await context.finish()

    async def _play(self, context: EmbeddedRunContext, number: int, step: Step) -> bool:
        """Play one step; return whether the answer goes on."""
        call_id = f"{context.run.id}_{number}"
        about = {"tool_call_id": call_id}
        match step:
            case {"say": piece}:
                # Saved with the text: a process that is killed between the two would say it again.
                await self._say(
                    context, *[str(piece)] * int(step.get("times", 1)), checkpoint={"done": number + 1}
                )
            case {"think": piece}:
                await context.emit(Event(EventKind.REASONING, {"delta": piece}))
            case {"tool": tool}:
                await context.emit(
                    Event(EventKind.TOOL_CALL_START, {**about, "tool": tool}),
                    Event(EventKind.TOOL_CALL_ARGS, {**about, "arguments": step.get("arguments", {})}),
                    Event(EventKind.TOOL_CALL_END, about),
                    Event(
                        EventKind.TOOL_CALL_RESULT, {**about, "result": step.get("result"), "outcome": "ok"}
                    ),
                )
            case {"ask": tool}:
                arguments, prompt = step.get("arguments", {}), str(step.get("prompt", f"May I {tool}?"))
                draft = RequestDraft(
                    kind=RequestKind.CONFIRMATION,
                    prompt=prompt,
                    tool=str(tool),
                    arguments=arguments,
                    tool_call_id=call_id,
                )
                return await self._ask(
                    context, draft, Event(EventKind.TOOL_CALL_START, {**about, "tool": tool})
                )
            case {"question": prompt}:
                draft = RequestDraft(kind=RequestKind.QUESTION, prompt=str(prompt), tool_call_id=call_id)
                return await self._ask(context, draft)
            case {"hold": name}:
                await self._released[str(name)].wait()
            case {"release": name}:
                self._released[str(name)].set()
            case {"event": kind}:
                await context.emit(Event(EventKind(kind), step.get("data", {})))
            case {"fail": sentence}:
                await context.fail(str(sentence), retryable=bool(step.get("retryable")))
                return False
            case {"interrupt": sentence}:
                await context.interrupt(str(sentence))
                return False
            case {"crash": text}:
                raise RuntimeError(text)
            case {"print": text}:
                print(text)
                logger.error("%s", text)
            case _:
                raise AssertionError(f"no such step: {step}")
        return True

    async def _say(
        self, context: EmbeddedRunContext, *pieces: str, checkpoint: Mapping[str, Any] | None = None
    ) -> None:
        message_id = f"m_{context.run.id.removeprefix('run_')}"
        events = [
            Event(EventKind.TEXT_MESSAGE_CONTENT, {"message_id": message_id, "delta": piece})
            for piece in pieces
        ]
        for event in events[:-1]:
            await context.emit(event)
        await context.emit(*events[-1:], checkpoint=checkpoint)

    async def _ask(self, context: EmbeddedRunContext, draft: RequestDraft, *events: Event) -> bool:
        """Ask, or say how it was decided; return whether it was."""
        request = next((each for each in context.requests if each.tool_call_id == draft.tool_call_id), None)
        if request is None:
            await context.ask(draft, *events)
            return False
        if request.status is RequestStatus.PENDING:
            return False
        told = [f"[{request.tool or 'question'}: {request.status}"]
        if request.reason:
            told.append(f"because {request.reason}")
        if request.answer:
            told.append(request.answer)
        if request.status is RequestStatus.APPROVED:
            told.append(json.dumps(context.approved_arguments(request)))
        await self._say(context, " ".join(told) + "]")
        return True
