"""Configuring instances of AgentFlow: who we are there, and where the calls are that the vendor does not publish."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationChanges,
    ConversationQuery,
    Feature,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    RunStatus,
    UnavailableError,
)
from tests.client.platforms.agentflow import MAIN, Place, answered, placed, start, until_told
from tests.doubles.agentflow import SECRET, TOKEN, AgentFlowDouble
from tests.doubles.agentflow_scripts import ELSEWHERE, GUESSED
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import answer, drop, stall
from tests.support.place import SECONDS, native

pytestmark = pytest.mark.anyio

HERE = ConversationQuery(instance="agentflow")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return AgentFlow as it is documented."""
    async with placed(tmp_path) as place:
        yield place


def settings(path: Path, environment: dict[str, str] | None = None, /, **options: Any) -> ClientSettings:
    instance = InstanceSettings(platform="agentflow", options=options, environment=environment or {})
    return ClientSettings(store=path / "store.db", instances={"agentflow": instance})


async def test_an_instance_without_an_address_says_what_to_set_and_cannot_be_used(tmp_path: Path) -> None:
    """There is no default: each tenant has a deployment of its own."""
    async with Client.open(settings(tmp_path)) as client:
        (agent,) = await client.agents.list("agentflow")
        for call in (
            client.conversations.create(NewConversation(agent=MAIN)),
            client.conversations.get("agentflow:1"),
            client.conversations.list(HERE),
            client.messages.list("agentflow:1"),
            client.conversations.delete("agentflow:1"),
            client.runs.send("agentflow:1", MessageDraft(text="hi")),
        ):
            with pytest.raises(NotConfiguredError, match="agentflow is not configured") as caught:
                await call
            assert caught.value.hint == agent.hint

    assert not agent.available
    assert agent.hint == "Set AGENTFLOW_API_BASE in the environment, or `base_url` in [instances.agentflow]."


@pytest.mark.io
async def test_address_and_token_may_come_from_the_environment(place: Place) -> None:
    """Under documented names, or those that the configuration gives."""
    environment = {"AGENTFLOW_API_BASE": place.url, "AGENTFLOW_TOKEN": "other", "MINE": TOKEN}
    configured = settings(place.path.parent, environment, token_env="MINE", tenant="acme", user="u1")
    async with Client.open(configured) as client:
        assert (await client.conversations.create(NewConversation(agent=MAIN))).agent == MAIN

    sent = place.double.headers[-1]
    assert (sent["authorization"], sent["snc-tenant"], sent["snc-userid"]) == (
        f"Bearer {TOKEN}",
        "acme",
        "u1",
    )
    assert TOKEN not in repr(configured)


@pytest.mark.io
async def test_a_server_that_bypasses_authentication_needs_no_token(place: Place) -> None:
    """`DEV_AUTH_BYPASS`: nothing is sent."""
    place.double.needs_token = False
    async with place.client(token=None) as client:
        await client.conversations.create(NewConversation(agent=MAIN))

    assert "authorization" not in place.double.headers[-1]


@pytest.mark.io
async def test_a_token_that_is_not_accepted_says_what_to_set(place: Place) -> None:
    """Without showing it."""
    async with place.client(token="wr0ng") as client:
        with pytest.raises(NotConfiguredError, match="does not accept the credentials") as caught:
            await client.conversations.list(HERE)

    assert "wr0ng" not in f"{caught.value} {caught.value.hint}"


def machine(place: Place, **more: Any) -> dict[str, Any]:
    return {
        "token": None,
        "client_id": "c1",
        "client_secret": SECRET,
        "token_url": f"{place.url}/oauth/token",
        "audience": "https://api.example.org",
        **more,
    }


@pytest.mark.io
async def test_a_machine_fetches_a_token_once_and_again_when_it_is_refused(place: Place) -> None:
    """With its credentials; a refusal of the new one is final."""
    async with place.client(**machine(place)) as client:
        first = await answered(client, "hello")
        issued = place.double.issued
        place.double.tokens.clear()
        await client.conversations.list(HERE)
        again = place.double.issued
        place.faults.plan("GET", "/conversations", answer(401), answer(401))
        with pytest.raises(NotConfiguredError):
            await client.conversations.list(HERE)

    assert (first.reply, issued, again, place.double.issued) == ("You said: hello", 1, 2, 3)
    assert place.double.bodies[0] == {
        "grant_type": "client_credentials",
        "client_id": "c1",
        "client_secret": SECRET,
        "audience": "https://api.example.org",
    }


@pytest.mark.io
async def test_a_token_that_ends_is_renewed_before(place: Place) -> None:
    """Its answer says how long it lasts; here, no longer than the margin."""
    short = {"access_token": "short", "expires_in": 30}
    place.double.tokens.add("short")
    place.faults.plan("POST", "/oauth/token", answer(200, short))
    async with place.client(**machine(place)) as client:
        await client.conversations.list(HERE)
        await client.conversations.list(HERE)
        await client.conversations.list(HERE)

    used = [one.get("authorization") for one in place.double.headers if "authorization" in one]
    assert used[0] == "Bearer short"
    assert set(used[1:]) == {"Bearer machine-1"}


@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        (answer(401, {"error": "access_denied"}), NotConfiguredError, "its credentials are not accepted"),
        (answer(200, {"token": "x"}), UnavailableError, "cannot be had now"),
        (answer(200, ["x"]), UnavailableError, "cannot be had now"),
        (answer(200, {"access_token": "a\nb"}), UnavailableError, "cannot be had now"),
        (answer(503), UnavailableError, "cannot be had now"),
    ],
    ids=["refused", "no token", "no object", "no header", "away"],
)
@pytest.mark.io
async def test_a_token_that_cannot_be_had_says_so(
    place: Place, fault: Any, error: type[Exception], sentence: str
) -> None:
    """Whatever the server of tokens answers."""
    place.faults.plan("POST", "/oauth/token", *[fault] * 9)
    async with place.client(**machine(place)) as client:
        with pytest.raises(error, match=sentence):
            await client.conversations.list(HERE)


@pytest.mark.parametrize(
    ("left_out", "hint"),
    [
        ("client_secret", "Set AGENTFLOW_CLIENT_SECRET in the environment, or `client_secret`"),
        ("token_url", "Set AGENTFLOW_TOKEN_URL in the environment, or `token_url`"),
    ],
)
@pytest.mark.io
async def test_a_machine_that_lacks_something_says_what_to_set(
    place: Place, left_out: str, hint: str
) -> None:
    """Nothing is sent."""
    async with place.client(**machine(place, **{left_out: None})) as client:
        with pytest.raises(NotConfiguredError) as caught:
            await client.conversations.list(HERE)

    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)
    assert place.double.calls == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tokn": "se-cret"}, "an option `tokn`, which its platform does not know"),
        ({"token": "se\ncret"}, "`token` of the instance agentflow must be printable ASCII"),
        ({"token": "se-cret", "client_id": "c1"}, "has a token and a `client_id`"),
        ({"base_url": "agentflow.ai"}, "`base_url` of the instance agentflow must be an address"),
        ({"token_url": "ftp://a.b"}, "`token_url` of the instance agentflow must be an address"),
        ({"all_users": "local"}, "`all_users` of the instance agentflow must be a list of texts"),
        ({"all_users": [1]}, "`all_users` of the instance agentflow must be a list of texts"),
        ({"chat": {"colour": "red"}}, "`chat` of the instance agentflow has “colour”"),
        ({"chat": "fast"}, "`chat` of the instance agentflow must be a table"),
        ({"paths": {"remove": "/x"}}, "`paths` of the instance agentflow has “remove”"),
        (
            {"paths": {"delete": 7}},
            "`paths.delete` of the instance agentflow must be a path like `DELETE /api/v1",
        ),
        ({"paths": {"delete": "x/y"}}, "must be a path like"),
        ({"paths": {"delete": "/x/../y"}}, "must be a path like"),
        ({"paths": {"delete": "/x//y"}}, "must be a path like"),
        ({"paths": {"delete": "/x?y={conversation_id}"}}, "must be a path like"),
        ({"paths": {"delete": "/x/{call_id}"}}, "must be a path like"),
        ({"paths": {"delete": "/x/{conversation_id!r}"}}, "must be a path like"),
        ({"paths": {"delete": "/x/{conversation_id:>99}"}}, "must be a path like"),
        ({"paths": {"delete": "/x/{conversation_id.real}"}}, "must be a path like"),
        ({"paths": {"delete": "/x/{conversation_id"}}, "must be a path like"),
        ({"paths": {"delete": "/x/{}"}}, "must be a path like"),
        ({"paths": {"delete": "STEAL /x"}}, "must be a path like"),
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """Without showing what may be a secret."""
    with pytest.raises(InvalidInputError) as caught:
        async with Client.open(settings(tmp_path, **options)):
            pass

    assert sentence in str(caught.value)
    assert "se-cret" not in str(caught.value)


async def everything(client: Client, place: Place) -> None:
    """Use every call that the vendor does not publish."""
    place.double.breaks_after = [2]
    sent = await start(client, "hold on")
    await place.double.until(lambda: bool(place.double.streams) and _watched(place))
    place.double.release(native(sent))
    outcome = await client.runs.wait(sent.run, timeout=SECONDS)
    assert outcome.reply == "Let me see. There it is."
    own_id = outcome.run.conversation_id
    assert (await client.conversations.generate_title(own_id, force=True)).title == "About hold on"
    assert (await client.conversations.update(own_id, ConversationChanges(title="Mine"))).title == "Mine"
    again = await client.runs.send(own_id, MessageDraft(text="hold on"))
    await until_told(client, again, "see. ")
    assert (await client.runs.cancel(own_id)).status is RunStatus.CANCELED
    await client.conversations.delete(own_id)
    assert place.double.conversations == {}


def _watched(place: Place) -> bool:
    return any(call.endswith(("/watch", "/stream")) for call in place.double.calls)


@pytest.mark.parametrize("openapi", [True, False])
@pytest.mark.io
async def test_calls_are_guessed_as_documented(tmp_path: Path, openapi: bool) -> None:
    """Whether or not the deployment describes itself."""
    async with placed(tmp_path, AgentFlowDouble(openapi=openapi)) as place, place.client() as client:
        await everything(client, place)
        assert place.count("GET", "/openapi.json") == 1


@pytest.mark.io
async def test_calls_are_discovered_where_the_deployment_describes_itself(tmp_path: Path) -> None:
    """Once for a process, by the shapes of their paths, whatever their places are called."""
    async with placed(tmp_path, AgentFlowDouble(paths=ELSEWHERE)) as place, place.client() as client:
        await everything(client, place)
        assert place.count("GET", "/openapi.json") == 1


@pytest.mark.io
async def test_a_setting_goes_before_what_is_discovered(tmp_path: Path) -> None:
    """What is set for every call needs no discovery."""
    async with placed(tmp_path, AgentFlowDouble(paths=ELSEWHERE)) as place:
        async with place.client(paths=ELSEWHERE) as client:
            await everything(client, place)
        assert place.count("GET", "/openapi.json") == 0
        place.double.add(1)
        async with place.client(paths={"delete": GUESSED["delete"]}) as client:
            with pytest.raises(NotOffered, match="`delete` at DELETE /api/v1/conversations/"):
                await client.conversations.delete("agentflow:conv_1")


@pytest.mark.parametrize(
    "fault",
    [drop, answer(404), answer(200, ["no", "document"]), answer(200, {"paths": 7}), stall("openapi")],
    ids=["lost", "not there", "no object", "no paths", "stalled"],
)
@pytest.mark.io
async def test_a_document_that_cannot_be_had_leaves_the_guesses(place: Place, fault: Any) -> None:
    """It is waited for a moment, and asked for once."""
    place.clock = SkippingClock(20)
    place.faults.plan("GET", "/openapi.json", *[fault] * 9)
    place.double.add(1)
    place.double.add(2)
    async with place.client() as client:
        await client.conversations.delete("agentflow:conv_1")
        asked = place.count("GET", "/openapi.json")
        await client.conversations.delete("agentflow:conv_2")

    assert place.double.conversations == {}
    assert place.count("GET", "/openapi.json") == asked


LACKED = {
    "delete": (Feature.DELETE, "DELETE /api/v1/conversations/{conversation_id}"),
    "title": (Feature.TITLE, "PATCH /api/v1/conversations/{conversation_id}"),
    "generate_title": (Feature.GENERATE_TITLE, "POST /api/v1/conversations/{conversation_id}/generate-title"),
}


@pytest.mark.parametrize("name", LACKED)
@pytest.mark.io
async def test_a_deployment_without_a_call_says_so_once_and_its_feature_is_gone(
    tmp_path: Path, name: str
) -> None:
    """It names the path, and the setting; a 405 says it at once, a 404 only where the conversation is there."""
    feature, call = LACKED[name]
    async with placed(tmp_path, AgentFlowDouble(lacks=[name])) as place, place.client() as client:
        place.double.add(1, title=None)

        async def attempt(own_id: str) -> None:
            if name == "delete":
                await client.conversations.delete(own_id)
            elif name == "title":
                await client.conversations.update(own_id, ConversationChanges(title="x"))
            else:
                await client.conversations.generate_title(own_id)

        if name == "generate_title":
            with pytest.raises(NotFoundError):
                await attempt("agentflow:conv_9")
        before = (await client.agents.list("agentflow"))[0].features
        with pytest.raises(NotOffered):
            await attempt("agentflow:conv_1")
        with pytest.raises(NotOffered) as caught:
            await attempt("agentflow:conv_1")
        after = (await client.agents.list("agentflow"))[0].features

    assert (
        caught.value.message == f"This deployment of AgentFlow (agentflow) does not have `{name}` at {call}."
    )
    assert caught.value.hint == f"Set `paths.{name}` in [instances.agentflow] to the path that it has."
    assert before - after == {feature}
    method, _, path = call.partition(" ")
    assert place.double.calls.count(f"{method} {path.format(conversation_id='conv_1')}") == 1


@pytest.mark.io
async def test_what_a_discovered_call_does_not_find_is_not_there(place: Place) -> None:
    """The deployment says that it has the call: a 404 is about the conversation."""
    async with place.client() as client:
        place.double.add(1)
        place.faults.plan("DELETE", "/conv_1", answer(404))
        for own_id in ("agentflow:conv_1", "agentflow:conv_9"):
            with pytest.raises(NotFoundError):
                await client.conversations.delete(own_id)
        agent = (await client.agents.list("agentflow"))[0]

    assert Feature.DELETE in agent.features


@pytest.mark.io
async def test_a_run_that_cannot_be_stopped_says_so(tmp_path: Path) -> None:
    """It goes on."""
    async with placed(tmp_path, AgentFlowDouble(lacks=["cancel"])) as place, place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, "see. ")
        with pytest.raises(NotOffered, match="`cancel` at POST"):
            await client.runs.cancel(sent.conversation.id)
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        agent = (await client.agents.list("agentflow"))[0]

    assert (outcome.run.status, Feature.CANCEL in agent.features) == (RunStatus.COMPLETED, False)
