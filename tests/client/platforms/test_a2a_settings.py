"""How an agent is found and authenticated to: its card, the addresses in it, and the credentials that it wants."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from tertulia import Agent, Client, ClientSettings, InstanceSettings, InvalidInputError, RunStatus
from tertulia.platforms.a2a.card import Version, read_card
from tertulia.platforms.a2a.settings import read_settings
from tertulia.vocabulary.errors import NotAllowedError, NotConfiguredError
from tests.client.platforms.a2a import AGENT, Place, answered, placed
from tests.doubles.a2a import API_KEY, SECRET, TOKEN
from tests.doubles.network import answer

pytestmark = pytest.mark.anyio

CARD = "https://agents.example/helper"
NO_SCOPES: Mapping[str, Any] = {"list": []}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return an agent that speaks both versions."""
    async with placed(tmp_path) as place:
        yield place


def settings(**options: Any) -> InstanceSettings:
    return InstanceSettings(platform="a2a", options=options, environment={"KEY": API_KEY})


def card(**more: Any) -> Mapping[str, Any]:
    interface = {"url": f"{CARD}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    return {"name": "Helper", "supportedInterfaces": [interface], **more}


async def described(client: Client) -> Agent:
    (agent,) = [one for one in await client.agents.list() if one.address == AGENT]
    return agent


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (CARD, f"{CARD}/.well-known/agent-card.json"),
        (f"{CARD}/", f"{CARD}/.well-known/agent-card.json"),
        (f"{CARD}/.well-known/agent.json", f"{CARD}/.well-known/agent.json"),
    ],
)
def test_a_card_is_given_by_its_address_or_the_agents(given: str, read: str) -> None:
    """The well-known path is added unless the address names a file."""
    assert read_settings("helper", settings(card=given)).card_url == read


@pytest.mark.parametrize(
    "options",
    [
        {"card": "agents.example"},
        {"card": CARD, "hosts": "agents.example"},
        {"card": CARD, "base_url": CARD},
        {"card": CARD, "token": "a", "client_id": "b", "client_secret": "c"},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    """By name."""
    with pytest.raises(InvalidInputError):
        read_settings("helper", settings(**options))


@pytest.mark.parametrize(
    ("options", "missing"),
    [({}, "Set `card`"), ({"card": CARD, "client_id": "b"}, "Set `client_secret`"), ({"card": CARD}, None)],
)
async def test_an_instance_says_what_it_lacks(options: dict[str, Any], missing: str | None) -> None:
    """The one thing to set."""
    assert (read_settings("helper", settings(**options)).missing or "").startswith(missing or "")


def test_settings_show_no_secret() -> None:
    """Whoever logs them logs none."""
    options = {"card": CARD, "api_key_env": "KEY", "client_id": "b", "client_secret": SECRET}
    found = read_settings("helper", settings(**options))

    assert found.api_key == API_KEY
    assert API_KEY not in repr(found)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("interfaces", "version", "url"),
    [
        ([("JSONRPC", "0.3"), ("JSONRPC", "1.0")], Version.V1, "/1"),
        ([("GRPC", "1.0"), ("JSONRPC", "0.3.0")], Version.V03, "/1"),
        ([("HTTP+JSON", "1.0"), ("JSONRPC", "1.0")], Version.V1, "/1"),
    ],
)
def test_the_first_interface_is_taken_that_is_spoken_here(
    interfaces: list[tuple[str, str]], version: Version, url: str
) -> None:
    """1.0 before 0.3."""
    offered = [
        {"url": f"{CARD}/{number}", "protocolBinding": binding, "protocolVersion": told}
        for number, (binding, told) in enumerate(interfaces)
    ]
    found = read_card(card(supportedInterfaces=offered), card_url=CARD, hosts=())

    assert found is not None
    assert (found.interface.version, found.interface.url) == (version, CARD + url)


def test_a_card_of_the_older_version_has_its_address_at_the_top() -> None:
    """Or among the additional interfaces."""
    old = {
        "name": "Helper",
        "url": f"{CARD}/grpc",
        "preferredTransport": "GRPC",
        "additionalInterfaces": [{"url": f"{CARD}/rpc", "transport": "JSONRPC"}],
    }
    found = read_card(old, card_url=CARD, hosts=())

    assert found is not None
    assert (found.interface.version, found.interface.url) == (Version.V03, f"{CARD}/rpc")


def test_an_agent_that_is_not_spoken_to_here_is_refused() -> None:
    """With what it offers."""
    offered = [{"url": f"{CARD}/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0"}]
    with pytest.raises(NotConfiguredError, match=r"GRPC 1\.0"):
        read_card(card(supportedInterfaces=offered), card_url=CARD, hosts=())


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/rpc",
        "https://agents.example:8443/rpc",
        "http://agents.example/rpc",
        "https://agents.example@elsewhere.example/rpc",
        "file:///etc/passwd",
        "nowhere",
    ],
)
def test_an_address_on_another_host_is_refused(url: str) -> None:
    """Or one that is not encrypted, or none at all."""
    offered = [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]
    with pytest.raises(NotAllowedError):
        read_card(card(supportedInterfaces=offered), card_url=CARD, hosts=())


@pytest.mark.parametrize("host", ["elsewhere.example", "elsewhere.example:8443"])
def test_another_host_is_allowed_by_the_configuration(host: str) -> None:
    """With its port, or with any."""
    offered = [
        {"url": "https://elsewhere.example:8443/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    ]
    assert read_card(card(supportedInterfaces=offered), card_url=CARD, hosts={host}) is not None


@pytest.mark.io
async def test_nothing_is_sent_to_another_host(place: Place) -> None:
    """The agent is listed as one that cannot be used, with the option to set."""
    place.double.card_url = "http://elsewhere.example/rpc"
    async with place.client(token=TOKEN) as client:
        agent = await described(client)
        outcome = await answered(client, "hello")

    assert not agent.available
    assert "`hosts`" in (agent.hint or "")
    assert outcome.run.status is RunStatus.FAILED
    assert "elsewhere.example" in (outcome.run.error or "")


@pytest.mark.io
@pytest.mark.parametrize("body", [{}, [], {"name": "x"}, None])
async def test_what_is_no_card_is_said(place: Place, body: Any) -> None:
    """Another page at that address, say."""
    place.faults.plan("GET", "agent-card.json", answer(200, body))
    async with place.client() as client:
        agent = await described(client)

    assert not agent.available
    assert "`card`" in (agent.hint or "")


@pytest.mark.io
@pytest.mark.parametrize(
    ("scheme", "shows"),
    [
        ({"apiKeySecurityScheme": {"location": "header", "name": "X-Agent-Key"}}, "header"),
        ({"type": "apiKey", "in": "header", "name": "X-Agent-Key"}, "header"),
        ({"apiKeySecurityScheme": {"location": "query", "name": "key"}}, "query"),
        ({"apiKeySecurityScheme": {"location": "cookie", "name": "key"}}, "cookie"),
        (None, "unnamed"),
    ],
)
async def test_an_api_key_goes_where_the_card_says(place: Place, scheme: Any, shows: str) -> None:
    """Header, query or cookie; into `x-api-key` where the card says nothing. The card itself is read without it."""

    def takes(request: Request) -> bool:
        found = {
            "header": request.headers.get("x-agent-key"),
            "query": request.query_params.get("key"),
            "cookie": request.cookies.get("key"),
            "unnamed": request.headers.get("x-api-key"),
        }
        return found[shows] == API_KEY

    place.double.takes = takes
    if scheme is not None:
        place.double.card = {
            "securitySchemes": {"key": scheme},
            "securityRequirements": [{"schemes": {"key": {"list": []}}}],
        }
    async with place.client(api_key=API_KEY) as client:
        assert (await answered(client, "hello")).reply == "You said: hello"

    assert API_KEY not in str(place.double.heads[0])


@pytest.mark.io
async def test_a_bearer_token_goes_into_its_header(place: Place) -> None:
    """Also where the card is read."""
    place.double.takes = lambda request: request.headers.get("authorization") == f"Bearer {TOKEN}"
    async with place.client(token=TOKEN) as client:
        assert (await answered(client, "hello")).reply == "You said: hello"


@pytest.mark.io
@pytest.mark.parametrize("configured", [True, False])
async def test_a_machine_fetches_its_token(place: Place, configured: bool) -> None:
    """At the address that is configured, or the one that the card names."""
    place.double.takes = lambda request: request.headers.get("authorization") == f"Bearer {TOKEN}-1"
    token_url = f"{place.url}/token"
    flows = {"clientCredentials": {"tokenUrl": token_url}}
    place.double.card = {"securitySchemes": {"oauth": {"oauth2SecurityScheme": {"flows": flows}}}}
    login = {"client_id": "machine", "client_secret": SECRET, "scope": "talk"}
    if configured:
        place.double.card = {}
        login["token_url"] = token_url
    async with place.client(**login) as client:
        assert (await answered(client, "hello")).reply == "You said: hello"

    assert place.double.forms[0]["scope"] == "talk"
    assert place.double.issued == 1


@pytest.mark.io
async def test_a_secret_goes_to_no_other_host(place: Place) -> None:
    """A card cannot have it sent to wherever it likes."""
    flows = {"clientCredentials": {"tokenUrl": "http://elsewhere.example/token"}}
    place.double.card = {"securitySchemes": {"oauth": {"type": "oauth2", "flows": flows}}}
    async with place.client(client_id="machine", client_secret=SECRET) as client:
        outcome = await answered(client, "hello")

    assert outcome.run.status is RunStatus.FAILED
    assert "another host" in (outcome.run.error or "")
    assert not place.double.sent


@pytest.mark.io
@pytest.mark.parametrize(
    "requirement",
    [
        {"securityRequirements": [{"schemes": {"key": NO_SCOPES}}, {"schemes": {"login": NO_SCOPES}}]},
        {"security": [{"key": NO_SCOPES}, {"login": NO_SCOPES}]},
    ],
)
async def test_credentials_that_the_card_requires_are_named(
    place: Place, requirement: Mapping[str, Any]
) -> None:
    """Any of the alternatives suffices; without one, nothing is sent."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "login": {"type": "http", "scheme": "bearer"},
    }
    place.double.card = {"securitySchemes": schemes, **requirement}
    async with place.client() as client:
        agent = await described(client)
        assert (await answered(client, "hello")).run.error == (
            "The agent of the instance helper wants an API key or a bearer token. Set `api_key`, `token`, or "
            "`client_id` and `client_secret` in [instances.helper]."
        )
    async with place.client(token=TOKEN) as client:
        assert (await described(client)).available

    assert not agent.available
    assert not place.double.sent


@pytest.mark.io
async def test_credentials_that_are_refused_are_said(place: Place) -> None:
    """Without the credentials."""
    place.double.takes = lambda _: False
    async with place.client(token=TOKEN) as client:
        outcome = await answered(client, "hello")

    assert outcome.run.status is RunStatus.FAILED
    assert "does not accept the credentials of the instance helper" in (outcome.run.error or "")
    assert TOKEN not in (outcome.run.error or "")


@pytest.mark.io
async def test_a_card_is_read_again_when_it_is_old(place: Place) -> None:
    """A newer one counts at once; where it cannot be read, the older one does."""
    async with place.client() as client:
        await answered(client, "hello")
        place.double.card = {"description": "Sails."}
        assert "Finds a way" in (await described(client)).description
        place.clock.skip(400)
        assert "Sails" in (await described(client)).description
        place.clock.skip(400)
        place.faults.plan("GET", "agent-card.json", *[answer(503)] * 4)
        assert (await described(client)).available


async def test_an_instance_of_the_platform_is_in_the_registry(tmp_path: Path) -> None:
    """By the name `a2a`."""
    instances = {"helper": InstanceSettings(platform="a2a", options={}, environment={})}
    async with Client.open(ClientSettings(store=tmp_path / "store.db", instances=instances)) as client:
        agent = await described(client)

    assert agent.hint == "Set `card` in [instances.helper] to the address of the agent or of its card."
