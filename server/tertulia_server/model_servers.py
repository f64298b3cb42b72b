"""The servers of models on this machine: which of the usual ones answer, and what models they list."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import anyio
import httpx

from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.vocabulary.untrusted import shown
from tertulia_server.settings import Settings

_SECONDS = 3.0
_MAX_BYTES = 1_000_000
_MOST_MODELS = 50
_NOT_A_NAME = re.compile("[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A program that serves models on a port of its own, by its documentation, over OpenAI's Chat Completions."""

    name: str
    title: str
    port: int

    @property
    def url(self) -> str:
        """Where it is, unless it was told another port."""
        return f"http://127.0.0.1:{self.port}/v1"


MODEL_SERVERS = (
    ModelServer("ollama", "Ollama", 11434),
    ModelServer("lmstudio", "LM Studio", 1234),
    ModelServer("llamacpp", "llama.cpp", 8080),
    ModelServer("vllm", "vLLM", 8000),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A server that answers, and the names of its models."""

    server: ModelServer
    models: Sequence[str]

    def table(self, model: str) -> str:
        """Return the table of an agent that one of the models answers for."""
        lines = [f"[agents.{agent_name(model)}]"]
        if self.server.name == "ollama":
            lines.append(f"model = {json.dumps(f'ollama:{model}')}")
        else:
            lines += [f"model = {json.dumps(f'openai-chat:{model}')}", f'base_url = "{self.server.url}"']
        return "\n".join([*lines, 'instructions = "You are a helpful assistant."']) + "\n"


async def find() -> Sequence[Found]:
    """Return the servers that answer, asked all at once."""
    found: list[Found] = []
    async with (
        httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http,
        anyio.create_task_group() as tasks,
    ):
        for server in MODEL_SERVERS:
            tasks.start_soon(partial(_ask, http, server, found))
    return sorted(found, key=lambda one: MODEL_SERVERS.index(one.server))


async def _ask(http: httpx.AsyncClient, server: ModelServer, found: list[Found]) -> None:
    read = b""
    with anyio.move_on_after(_SECONDS):
        try:
            async with http.stream("GET", f"{server.url}/models") as response:
                if not response.is_success:
                    return
                async for piece in response.aiter_bytes():
                    read += piece
                    if len(read) > _MAX_BYTES:
                        return
            listed = tables(table(json.loads(read)).get("data"))
        except (httpx.HTTPError, ValueError):
            return  # nothing is there, or something else
        models = [model for one in listed if (model := text(one.get("id"))) and not model.split()[1:]]
        if models:
            found.append(Found(server, models[:_MOST_MODELS]))


def agent_name(model: str) -> str:
    """Return a name for the agent of a model: `qwen3` for `Qwen/Qwen3:latest`."""
    last = model.removesuffix(":latest").rpartition("/")[2]
    return _NOT_A_NAME.sub("-", last.lower()).strip("-")[:60] or "model"


def line(found: Found, settings: Settings) -> str:
    """Return a line about a server, with what to do about each of its models."""
    server = found.server
    models = ", ".join(shown(model) for model in found.models)
    add = settings.command("agents", "--add", f"{server.name}:MODEL")
    return f"{server.name:<10}{server.title:<14}answers with {models}: {add}"
