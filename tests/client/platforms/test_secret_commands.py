"""Secrets that a command prints, on each platform: wherever a secret may stand in the configuration."""

import importlib
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from tertulia import Client, NewConversation, TertuliaError
from tertulia.vocabulary.errors import NotConfiguredError
from tests.client.platforms import a2a
from tests.doubles import agentflow, knowrithm, r2r, revengai
from tests.doubles.a2a import API_KEY, SECRET, TOKEN, A2ADouble
from tests.doubles.r2r import R2RDouble

pytestmark = [pytest.mark.anyio, pytest.mark.io]

USER, PASSWORD = "ada@example.org", "geheim ä"


def prints(secret: str) -> list[str]:
    """Return a command that prints a secret."""
    return [sys.executable, "-S", "-c", f"import sys; sys.stdout.buffer.write({secret.encode()!r})"]


AGENTS = {"agentflow": "agentflow:MainAgent"}
"""The agents of those platforms that can be asked for theirs by whoever has credentials alone."""

SECRETS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, str]]] = {
    "a key of R2R": ("r2r", {}, {"api_key": r2r.KEY}),
    "a password of R2R": ("r2r", {"email": USER}, {"password": PASSWORD}),
    "a key of RevEng.AI": ("revengai", {"api_key": None}, {"api_key": revengai.KEY}),
    "a key and a secret of Knowrithm": (
        "knowrithm",
        {"api_key": None, "api_secret": None},
        {"api_key": knowrithm.KEY, "api_secret": knowrithm.SECRET},
    ),
    "a token of AgentFlow": ("agentflow", {"token": None}, {"token": agentflow.TOKEN}),
    "a secret of AgentFlow": (
        "agentflow",
        {"token": None, "client_id": "c1", "token_url": "{origin}/oauth/token"},
        {"client_secret": agentflow.SECRET},
    ),
}


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("what", SECRETS)
async def test_a_platform_is_opened_by_what_a_command_prints(tmp_path: Path, what: str, right: bool) -> None:
    """And by nothing else."""
    name, options, secrets = SECRETS[what]
    module = importlib.import_module(f"tests.client.platforms.{name}")
    double = None
    if name == "r2r":
        double = R2RDouble(require_authentication=True, api_keys={r2r.KEY: USER}, users={USER: PASSWORD})
    commands = {f"{each}_command": prints(value if right else f"{value}x") for each, value in secrets.items()}
    async with module.placed(tmp_path / "place", double) as place:
        given = {
            each: value.format(origin=place.origin) if isinstance(value, str) else value
            for each, value in options.items()
        }
        async with place.client(**given, **commands) as client:
            draft = NewConversation(agent=AGENTS.get(name) or (await client.agents.list(name))[0].address)
            if right:
                await client.conversations.create(draft)
            else:
                with pytest.raises(NotConfiguredError):
                    await client.conversations.create(draft)


@pytest.mark.skipif(sys.platform == "win32", reason="Rine's package has no release for Windows")
@pytest.mark.parametrize("right", [True, False])
async def test_an_account_of_rine_is_opened_by_what_a_command_prints(tmp_path: Path, right: bool) -> None:
    """The secret that its token is asked for with."""
    module = importlib.import_module("tests.client.platforms.rine")
    async with module.placed(tmp_path) as place:
        alice = place.double.alice
        command = prints(alice.secret if right else "other")
        async with place.client(client_id=alice.client_id, client_secret_command=command) as client:
            if right:
                await module.start(client, "hello")
            else:
                with pytest.raises(TertuliaError, match="gets no token"):
                    await module.start(client, "hello")


@asynccontextmanager
async def agent(path: Path, double: A2ADouble, **options: Any) -> AsyncGenerator[Client]:
    """Serve an A2A agent, and connect to it."""
    async with (
        a2a.placed(path, double) as place,
        place.client(**{name: _at(place.url, each) for name, each in options.items()}) as client,
    ):
        yield client


def _at(url: str, option: Any) -> Any:
    return option.format(origin=url) if isinstance(option, str) else option


@pytest.mark.parametrize("place", ["header", "query", "cookie"])
async def test_a_key_of_an_a2a_agent_is_what_a_command_prints(tmp_path: Path, place: str) -> None:
    """Wherever the card wants it."""
    double = A2ADouble()

    def takes(request: Request) -> bool:
        found: Mapping[str, Mapping[str, str]] = {
            "header": request.headers,
            "query": request.query_params,
            "cookie": request.cookies,
        }
        return found[place].get("key") == API_KEY

    double.takes = takes
    scheme = {"apiKeySecurityScheme": {"location": place, "name": "key"}}
    double.card = {
        "securitySchemes": {"key": scheme},
        "securityRequirements": [{"schemes": {"key": {"list": []}}}],
    }
    async with agent(tmp_path, double, api_key_command=prints(API_KEY)) as client:
        assert (await a2a.answered(client, "hello")).reply == "You said: hello"


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({"token_command": prints(TOKEN)}, TOKEN),
        (
            {
                "client_id": "machine",
                "client_secret_command": prints(SECRET),
                "token_url": "{origin}/token",
            },
            f"{TOKEN}-1",
        ),
    ],
)
async def test_a_token_of_an_a2a_agent_comes_of_what_a_command_prints(
    tmp_path: Path, options: Mapping[str, Any], taken: str
) -> None:
    """It is the token, or what a token is asked for with."""
    double = A2ADouble()
    double.takes = lambda request: request.headers.get("authorization") == f"Bearer {taken}"
    async with agent(tmp_path, double, **options) as client:
        assert (await a2a.answered(client, "hello")).reply == "You said: hello"


async def test_each_principal_has_what_the_command_of_their_account_prints(tmp_path: Path) -> None:
    """The shared one is not run for them, and theirs for nobody else."""
    double = R2RDouble(require_authentication=True, api_keys={"alices": "alice", "shared": "team"})
    async with importlib.import_module("tests.client.platforms.r2r").placed(tmp_path / "x", double) as place:
        script = "import os; print({'alice': 'alices', '': 'shared'}[os.environ['TERTULIA_PRINCIPAL']])"
        command = [sys.executable, "-S", "-c", script]
        options = {
            "api_key_command": command,
            "principals": ["bob"],
            "credentials": {"alice": {"api_key_command": command}},
        }
        async with place.client(**options) as client:
            hers = await client.as_principal("alice").conversations.create(NewConversation(agent="r2r:rag"))
            his = await client.as_principal("bob").conversations.create(NewConversation(agent="r2r:rag"))
            with pytest.raises(TertuliaError, match="no instance"):
                await client.as_principal("carol").conversations.create(NewConversation(agent="r2r:rag"))
    owners = {one.user_id: f"r2r:{one.id}" for one in double.memory.conversations.values()}
    assert owners == {"alice": hers.id, "team": his.id}


async def test_a_command_for_everybody_is_told_who_is_asked_for(tmp_path: Path) -> None:
    """No shell sees the name of a principal; who runs the process is not one of them."""
    carol = "https://login.example/team#$(touch x); c"
    double = R2RDouble(
        require_authentication=True, api_keys={"key of bob": "bob", f"key of {carol}": "carol"}
    )
    async with importlib.import_module("tests.client.platforms.r2r").placed(tmp_path / "x", double) as place:
        script = "import os; print('key of', os.environ['TERTULIA_PRINCIPAL'])"
        everybody = {"api_key_command": [sys.executable, "-S", "-c", script]}
        async with place.client(credentials={"*": everybody}) as client:
            made = {
                name: await client.as_principal(name).conversations.create(NewConversation(agent="r2r:rag"))
                for name in ("bob", carol)
            }
            with pytest.raises(TertuliaError):
                await client.as_principal("dave").conversations.create(NewConversation(agent="r2r:rag"))
            with pytest.raises(TertuliaError):
                await client.conversations.create(NewConversation(agent="r2r:rag"))
    owners = {one.user_id: f"r2r:{one.id}" for one in double.memory.conversations.values()}
    assert owners == {"bob": made["bob"].id, "carol": made[carol].id}
