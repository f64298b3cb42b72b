"""Answers of a model: pydantic-ai drives it, the run's journal and checkpoint let any process go on.

What is in the checkpoint: `messages` (what the model and its tools have said in this run, as pydantic-ai writes it),
`usage`, `deferred` (the calls that a person is asked about) and `running` (calls of tools that change something, and
whose results are not in `messages` yet). The journal and the checkpoint are written before a tool runs. So a process
that takes a run over asks the model again where it was asked when the other process died, and never runs a tool twice:
where one was running, the run is interrupted.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from pydantic_ai import (
    Agent,
    AgentRunError,
    DeferredToolRequests,
    DeferredToolResults,
    ToolApproved,
    ToolDenied,
    UsageLimitExceeded,
    UserError,
)
from pydantic_ai.messages import (
    AgentStreamEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelMessagesTypeAdapter,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
)
from pydantic_ai.models import Model, infer_model
from pydantic_ai.usage import RunUsage, UsageLimits
from pydantic_core import to_jsonable_python

from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.models.errors import one_sentence
from tertulia.platforms.local.models.history import ModelInput, model_input
from tertulia.platforms.local.models.http_clients import HttpClients
from tertulia.platforms.local.models.settings import ModelAgent
from tertulia.platforms.local.models.tools import HISTORY_INSTRUCTIONS, HistoryTools, toolsets
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError, TertuliaError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Request, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus
from tertulia.vocabulary.untrusted import named

_OLLAMA = "http://localhost:11434/v1"
_NO_KEY = "none"
"""What servers of this machine are given as a key: they want none, and their client wants one."""
_OUTCOMES = {"success": "ok", "denied": "rejected"}
_CLOSING_SECONDS = 5.0


def model_of(agent: ModelAgent, environment: Mapping[str, str], clients: HttpClients) -> Model:
    """Return the model of an agent, which is asked by `clients`.

    Raises:
        InvalidInputError: the provider is not known or not installed, or its key is missing.
    """
    provider, _, _ = agent.model.partition(":")
    options = {}
    if agent.base_url is not None or (provider == "ollama" and "OLLAMA_BASE_URL" not in environment):
        options = {"base_url": agent.base_url or _OLLAMA, "api_key": _NO_KEY}
    if agent.api_key_env is not None:
        options["api_key"] = environment.get(agent.api_key_env) or ""
        if not options["api_key"]:
            raise InvalidInputError(
                f"The key of the agent {agent.name} is missing.",
                hint=f"Set {agent.api_key_env} in the environment.",
            )
    try:
        return infer_model(agent.model, provider_factory=partial(clients.provider, **options))
    except (UserError, ValueError, ImportError, TypeError) as error:
        raise InvalidInputError(
            f"The model {agent.model} of the agent {agent.name} cannot be used: {one_sentence(error)}",
            hint=f"Change it in [agents.{agent.name}], or set what is missing in the environment.",
        ) from error


class Answer:
    """One attempt at having a model answer a message."""

    def __init__(
        self,
        agent: ModelAgent,
        settings: InstanceSettings,
        store: Store,
        context: EmbeddedRunContext,
        clock: Clock,
    ) -> None:
        self._agent = agent
        self._environment = settings.environment
        self._clients = HttpClients(environment_proxy=settings.environment_proxy)
        self._store = store
        self._context = context
        self._clock = clock
        self._checkpoint = dict(context.checkpoint)
        self._texts = 0
        """How many texts the model has begun in this attempt."""

    async def produce(self) -> None:
        """Answer, up to the end or to where a person has to decide."""
        running: Sequence[str] = self._checkpoint.get("running", ())
        if running:
            await self._context.interrupt(
                f"{', '.join(map(named, running))} was running when the process that answered ended. Whether it took "
                f"effect is not known, and it was not run again: ask {self._agent.name} how far it came."
            )
            return
        deferred: Mapping[str, Any] = self._checkpoint.get("deferred", {})
        if deferred and not await self._decided(deferred):
            return
        with self._clock.move_on_after(self._agent.limits.seconds) as scope:
            async with self._clients:
                await self._answer(deferred)
        if scope.cancelled_caught:
            await self._context.fail(
                f"{self._agent.name} has not answered within {self._agent.limits.seconds:g} s. "
                f"{self._limit('seconds')}"
            )

    async def _answer(self, deferred: Mapping[str, Any]) -> None:
        """Have the model answer, and end the run or ask a person."""
        try:
            output = await self._run(deferred)
        except TertuliaError as error:
            if not isinstance(error, InvalidInputError):
                raise  # this process has lost the run, or the store could not be written
            await self._context.fail(" ".join(filter(None, (error.message, error.hint))))
        except UsageLimitExceeded as error:
            kind = "requests" if "request" in str(error) else "tokens"
            await self._context.fail(
                f"{self._agent.name} was stopped: {one_sentence(error)} {self._limit(kind)}"
            )
        except (AgentRunError, UserError) as error:
            await self._context.fail(
                f"The model {self._agent.model} could not answer: {one_sentence(error)}",
                retryable=getattr(error, "status_code", 0) in {0, 408, 429, 500, 502, 503, 504, 529},
            )
        else:
            if isinstance(output, DeferredToolRequests):
                await self._ask(output.approvals)
            else:
                usage = self._checkpoint["usage"]
                metadata = {"model": self._agent.model} | {
                    name: usage[name] for name in ("input_tokens", "output_tokens")
                }
                await self._context.finish(output, metadata=metadata)

    async def _run(self, deferred: Mapping[str, Any]) -> str | DeferredToolRequests:
        """Run the model and its tools; what happens is journaled, and saved before each request to the model."""
        before = await self._store.read(
            lambda tx: model_input(
                tx,
                self._context.principal,
                self._context.message,
                str(self._context.run.agent),
                self._agent.history,
            )
        )
        saved = self._saved()
        if self._journal_has_text():
            # The model is asked again from where it was saved: what it had said since is told anew.
            await self._context.emit(Event(EventKind.SNAPSHOT, {"text": ""}))
        history = HistoryTools(self._store, self._context.principal, self._context.conversation.id)
        agent = Agent(
            model_of(self._agent, self._environment, self._clients),
            deps_type=type(None),
            output_type=[str, DeferredToolRequests],
            instructions=self._instructions(),
            toolsets=toolsets(self._agent, self._environment, self._clients, self._begin, history.toolset),
            name=self._agent.name,
        )
        limits = UsageLimits(
            request_limit=self._agent.limits.requests, total_tokens_limit=self._agent.limits.tokens
        )
        usage = RunUsage(**self._checkpoint.get("usage", {}))
        async with (
            _opened(agent),
            agent.iter(
                before.prompt if not saved else None,
                message_history=[*before.earlier, *saved],
                deferred_tool_results=self._results(deferred) if deferred else None,
                usage_limits=limits,
                usage=usage,
            ) as run,
        ):
            async for node in run:
                if Agent.is_model_request_node(node):
                    await self._save([*run.all_messages(), node.request], before, run.usage)
                    async with node.stream(run.ctx) as stream:
                        async for event in stream:
                            await self._emit(event)
                elif Agent.is_call_tools_node(node):
                    async with node.stream(run.ctx) as events:
                        async for event in events:
                            await self._emit(event)
            await self._save(run.all_messages(), before, run.usage)
            if run.result is None:
                raise AssertionError("a run of pydantic-ai that ends has a result")
            return run.result.output

    def _instructions(self) -> str:
        parts = [self._agent.instructions, HISTORY_INSTRUCTIONS if "history" in self._agent.tools else ""]
        return "\n\n".join(filter(None, parts))

    def _saved(self) -> list[ModelMessage]:
        return ModelMessagesTypeAdapter.validate_python(self._checkpoint.get("messages", []))

    async def _save(self, all_messages: Sequence[ModelMessage], before: ModelInput, usage: RunUsage) -> None:
        """Save what this run has said so far: the tools that ran are in it."""
        new = list(all_messages[len(before.earlier) :])
        counted = {
            name: getattr(usage, name) for name in ("requests", "tool_calls", "input_tokens", "output_tokens")
        }
        self._checkpoint = {
            "messages": ModelMessagesTypeAdapter.dump_python(new, mode="json"),
            "usage": counted,
        }
        await self._context.emit(checkpoint=self._checkpoint)

    async def _begin(self, call_id: str, tool: str, arguments: Mapping[str, Any], only_reads: bool) -> None:
        """Journal that a tool begins; have that saved before it begins where it may change something."""
        opening = (
            [] if call_id in self._checkpoint.get("deferred", {}) else _opening(call_id, tool, arguments)
        )
        end = Event(EventKind.TOOL_CALL_END, {"tool_call_id": call_id})
        await self._context.emit(*opening, end, checkpoint=self._checkpoint)
        if not only_reads:
            self._checkpoint["running"] = [*self._checkpoint.get("running", ()), tool]
            await self._context.emit(checkpoint=self._checkpoint)

    async def _emit(self, event: AgentStreamEvent) -> None:
        """Journal what a model's stream or a tool says."""
        match event:
            case PartStartEvent(part=TextPart(content=text)):
                self._texts += 1
                await self._context.emit(self._text(EventKind.TEXT_MESSAGE_START))
                await self._say(text)
            case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                await self._say(text)
            case PartEndEvent(part=TextPart()):
                await self._context.emit(self._text(EventKind.TEXT_MESSAGE_END))
            case PartStartEvent(part=ThinkingPart(content=thought)):
                await self._think(thought)
            case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought)):
                await self._think(thought)
            case FunctionToolResultEvent(part=part):
                result = to_jsonable_python(part.content, fallback=str)
                outcome = _OUTCOMES.get(getattr(part, "outcome", "failed"), "error")
                data = {"tool_call_id": part.tool_call_id, "result": result, "outcome": outcome}
                await self._context.emit(Event(EventKind.TOOL_CALL_RESULT, data))
            case _:
                pass  # the calls of tools are journaled as they begin

    async def _say(self, text: str) -> None:
        if text:
            await self._context.emit(self._text(EventKind.TEXT_MESSAGE_CONTENT, delta=text))

    async def _think(self, thought: str | None) -> None:
        if thought:
            await self._context.emit(Event(EventKind.REASONING, {"delta": thought}))

    def _text(self, kind: EventKind, **data: str) -> Event:
        return Event(kind, {"message_id": f"{self._context.run.id}_{self._texts}", **data})

    def _journal_has_text(self) -> bool:
        return any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in self._context.entries)

    async def _ask(self, calls: Sequence[ToolCallPart]) -> None:
        """Ask a person about calls of tools. What is asked is saved first: another process may have to go on."""
        self._checkpoint["deferred"] = {
            call.tool_call_id: {
                "tool": call.tool_name,
                "arguments": call.args_as_dict(),
                # Some models use the id of a call again in a later turn.
                "earlier": len(self._about(call.tool_call_id)),
            }
            for call in calls
        }
        await self._context.emit(checkpoint=self._checkpoint)
        await self._ask_about(self._checkpoint["deferred"])

    async def _ask_about(self, deferred: Mapping[str, Any]) -> None:
        for call_id, call in deferred.items():
            if self._request(call_id, call) is None:
                draft = RequestDraft(
                    kind=RequestKind.CONFIRMATION,
                    prompt="",
                    tool=call["tool"],
                    arguments=call["arguments"],
                    tool_call_id=call_id,
                )
                await self._context.ask(draft, *_opening(call_id, call["tool"], call["arguments"]))

    async def _decided(self, deferred: Mapping[str, Any]) -> bool:
        """Whether a person has decided about each call; asks about those that nobody was asked about yet."""
        await self._ask_about(deferred)
        asked = [self._request(call_id, call) for call_id, call in deferred.items()]
        return all(one is not None and one.status is not RequestStatus.PENDING for one in asked)

    def _request(self, call_id: str, call: Mapping[str, Any]) -> Request | None:
        """Return the request about a deferred call, as this attempt found it."""
        return next(iter(self._about(call_id)[call["earlier"] :]), None)

    def _about(self, call_id: str) -> Sequence[Request]:
        return [request for request in self._context.requests if request.tool_call_id == call_id]

    def _results(self, deferred: Mapping[str, Any]) -> DeferredToolResults:
        """Return what was decided, as pydantic-ai takes it."""
        results = DeferredToolResults()
        for call_id, call in deferred.items():
            request = self._request(call_id, call)
            if request is not None and request.status is RequestStatus.APPROVED:
                arguments = dict(self._context.approved_arguments(request))
                changed = arguments != call["arguments"]
                results.approvals[call_id] = ToolApproved(override_args=arguments if changed else None)
            else:
                why = "" if request is None or request.reason is None else f" {request.reason}"
                results.approvals[call_id] = ToolDenied(f"The user did not approve this call.{why}")
        return results

    def _limit(self, name: str) -> str:
        """Return how a limit is raised."""
        return f"Raise `limits.{name}` of [agents.{self._agent.name}] if that is too little."


@asynccontextmanager
async def _opened(agent: Agent[None, Any]) -> AsyncGenerator[None]:
    """Start the servers of an agent's tools; they end with the answer, however it ends."""
    await agent.__aenter__()
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            await agent.__aexit__(None, None, None)


def _opening(call_id: str, tool: str, arguments: Mapping[str, Any]) -> list[Event]:
    about = {"tool_call_id": call_id}
    return [
        Event(EventKind.TOOL_CALL_START, {**about, "tool": tool}),
        Event(EventKind.TOOL_CALL_ARGS, {**about, "arguments": dict(arguments)}),
    ]
