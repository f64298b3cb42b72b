"""Model agents with the models that pydantic-ai has for tests: nothing leaves the process."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import (
    AgentInfo,
    DeltaThinkingCalls,
    DeltaThinkingPart,
    DeltaToolCall,
    DeltaToolCalls,
    FunctionModel,
)
from pydantic_ai.models.test import TestModel

from tertulia import Client, ClientSettings, EventKind, InstanceSettings
from tertulia.platforms.local.models.http_clients import HttpClients
from tertulia.platforms.local.models.settings import ModelAgent
from tests.client.platforms.local.models import AGENT
from tests.support import place
from tests.support.place import journal

pytestmark = pytest.mark.anyio

answered = partial(place.answered, agent=AGENT)


def settings(path: Path, **more: Any) -> ClientSettings:
    """Return the settings of a client with one agent."""
    table = {"model": "anthropic:any", **more}
    local = InstanceSettings(platform="local", options={"agents": {"reviewer": table}}, environment={})
    return ClientSettings(store=path / "tertulia.db", instances={"local": local})


def use(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a model answer in place of the configured one."""

    def model_of(agent: ModelAgent, environment: Mapping[str, str], clients: HttpClients) -> Model:
        return model

    monkeypatch.setattr("tertulia.platforms.local.models.answering.model_of", model_of)


async def test_each_tool_of_the_history_takes_what_its_schema_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model calls all of them with made-up arguments; a refusal is a result that it is told."""
    use(TestModel(custom_output_text="Nothing was promised."), monkeypatch)
    async with Client.open(settings(tmp_path, tools=["history"])) as client:
        outcome = await answered(client, "What did we promise Acme?")
        entries = await journal(client, outcome)

    assert outcome.reply == "Nothing was promised."
    called = {entry.data["tool"] for entry in entries if entry.kind is EventKind.TOOL_CALL_START}
    assert called == {"search_history", "list_history", "read_conversation"}
    outcomes = [entry.data["outcome"] for entry in entries if entry.kind is EventKind.TOOL_CALL_RESULT]
    assert len(outcomes) == 3


async def test_a_thought_and_what_the_model_said_before_a_tool_are_journaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is what it says last."""

    async def say(
        messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | DeltaThinkingCalls | DeltaToolCalls]:
        if any(isinstance(part, ToolReturnPart) for part in messages[-1].parts):
            yield "Nothing was said yet."
        else:
            yield {0: DeltaThinkingPart(content="The list may tell.")}
            yield "Let me look."
            yield {1: DeltaToolCall(name="list_history", json_args="{}")}

    use(FunctionModel(stream_function=say), monkeypatch)
    async with Client.open(settings(tmp_path, tools=["history"])) as client:
        outcome = await answered(client, "What was said?")
        entries = await journal(client, outcome)

    assert outcome.reply == "Nothing was said yet."
    deltas = {EventKind.REASONING, EventKind.TEXT_MESSAGE_CONTENT}
    assert [entry.data["delta"] for entry in entries if entry.kind in deltas] == [
        "The list may tell.",
        "Let me look.",
        "Nothing was said yet.",
    ]


async def test_a_model_that_says_nonsense_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine's sentence is told."""

    async def say(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "Half of "
        raise UnexpectedModelBehavior("The model answered with half a tool call")

    use(FunctionModel(stream_function=say), monkeypatch)
    async with Client.open(settings(tmp_path)) as client:
        outcome = await answered(client, "What was said?")

    assert outcome.run.error == (
        "The model anthropic:any could not answer: The model answered with half a tool call."
    )
