"""Model agents beside a server of models that others made: LiteLLM's proxy, with a scripted model behind it."""

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

from tertulia import Decision, RunStatus, Settlement
from tests.client.platforms.local.models import Place, answered, said
from tests.doubles.chat_completions import MODEL, ChatCompletions, Turn
from tests.doubles.network import listener, served
from tests.doubles.notes_server import Notes, served_notes
from tests.support.counterparts import marks, program
from tests.support.place import ended

pytestmark = [pytest.mark.anyio, pytest.mark.io, *marks("litellm")]

KEY = "sk-a-key-that-is-long-enough-0123456789"
SECONDS = 120


@pytest.fixture
async def place(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Place]:
    """A scripted model; there is time to start a large program."""
    place = Place(tmp_path / "tertulia.db", ChatCompletions())
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.origin:
            yield place


@pytest.fixture
async def proxy(place: Place, tmp_path: Path) -> AsyncIterator[str]:
    """LiteLLM's address, with the scripted model as its one model, `reviewing`."""
    config = tmp_path / "litellm.yaml"
    config.write_text(
        f"""model_list:
  - model_name: reviewing
    litellm_params: {{ model: "openai/{MODEL}", api_base: "{place.origin}/v1", api_key: "none" }}
"""
    )
    with listener() as free:
        port = free.getsockname()[1]
    command = [
        str(program("litellm", "litellm")),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "LITELLM_MASTER_KEY": KEY}
    async with await anyio.open_process(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            await _until_alive(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


async def _until_alive(url: str) -> None:
    async with httpx.AsyncClient() as http:
        while True:
            try:
                (await http.get(f"{url}/health/liveliness")).raise_for_status()
            except httpx.HTTPError:
                await anyio.lowlevel.checkpoint()
            else:
                return


async def test_a_model_behind_litellm_answers_calls_tools_and_is_refused(place: Place, proxy: str) -> None:
    """As the same model does without it; an unknown model is an error that names it."""
    notes = Notes()
    place.double.turns = [
        Turn(thought="easy", text="Looks good to me."),
        Turn(text="I will write it.", calls=[("write_note", {"text": "call Acme"})]),
        Turn(text="It is done."),
    ]
    async with served_notes(notes) as server:
        agent = place.agent(
            model="openai-chat:reviewing", base_url=proxy, api_key_env="LITELLM_KEY", tools=[{"url": server}]
        )
        async with place.client({"LITELLM_KEY": KEY}, **agent) as client:
            first = await answered(client, "Review this.")
            second = await said(client, first, "Note that.")
            (request,) = second.pending
            await client.runs.respond(request.id, Settlement(decision=Decision.APPROVE))
            third = await ended(client, second)
        unknown = place.agent(model="openai-chat:nobody", base_url=proxy, api_key_env="LITELLM_KEY")
        async with place.client({"LITELLM_KEY": KEY}, **unknown) as client:
            refused = await answered(client, "Are you there?")

    assert (first.reply, third.reply, notes.calls) == ("Looks good to me.", "It is done.", ["write_note"])
    assert refused.run.status is RunStatus.FAILED
    assert "nobody" in (refused.run.error or "")
