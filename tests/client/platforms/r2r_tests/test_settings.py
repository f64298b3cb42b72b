"""Which server and account of R2R an instance has, and how it says who it is."""

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationChanges,
    Feature,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotConfiguredError,
    NotOffered,
    RunStatus,
    Status,
    UnavailableError,
)
from tests.client.platforms.r2r import (
    RAG,
    Place,
    ask,
    placed,
)
from tests.doubles.network import answer
from tests.doubles.r2r import KEY, R2RDouble
from tests.support.place import SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.io]


async def test_an_address_is_all_that_an_instance_needs(talk: Client) -> None:
    agents = await talk.agents.list("r2r")
    assert [agent.address for agent in agents] == ["r2r:rag", "r2r:research"]
    assert all(agent.available and agent.hint is None for agent in agents)
    assert agents[0].features == {
        Feature.CREATE,
        Feature.GET,
        Feature.LIST,
        Feature.DELETE,
        Feature.SEND,
        Feature.STREAM,
        Feature.MESSAGES,
        Feature.ADD_MESSAGE,
        Feature.UPDATE_MESSAGE,
        Feature.TITLE,
        Feature.CANCEL,
    }


async def test_what_is_not_offered_is_refused_with_a_word_on_who_offers_it(talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(NotOffered, match="does not offer status") as refused:
        await talk.conversations.update_status(made.id, Status.PAUSED)
    assert refused.value.hint is not None
    assert "local" in refused.value.hint
    with pytest.raises(NotOffered, match="metadata"):
        await talk.conversations.create(NewConversation(agent=RAG, metadata={"team": "sales"}))
    for field in ("entity_type", "source", "source_ref"):
        about: dict[str, Any] = {field: "lead"}
        with pytest.raises(InvalidInputError, match=f"has no place for `{field}` of a conversation"):
            await talk.conversations.create(NewConversation(agent=RAG, **about))
    with pytest.raises(NotOffered, match="metadata"):
        await talk.conversations.update(made.id, ConversationChanges(metadata={"team": "sales"}))
    with pytest.raises(NotOffered, match="archive"):
        await talk.conversations.update(made.id, ConversationChanges(archived=True))
    with pytest.raises(NotOffered, match="branches"):
        await talk.conversations.branches(made.id)
    with pytest.raises(NotOffered, match="branches"):
        await talk.messages.list(made.id, MessageQuery(branch="b"))


async def test_a_key_goes_into_its_own_header(path: Path) -> None:
    double = R2RDouble(require_authentication=True, api_keys={KEY: "ada"})
    async with placed(path, double) as place, place.client({"R2R_API_KEY": KEY}) as talk:
        assert (await ask(talk, "hello")).run.status is RunStatus.COMPLETED


async def test_a_login_is_made_once_and_again_when_its_token_has_ended(path: Path) -> None:
    double = R2RDouble(require_authentication=True, users={"ada@example.org": "geheim ä"})
    login = {"R2R_EMAIL": "ada@example.org", "R2R_PASSWORD": "geheim ä"}
    async with placed(path, double) as place, place.client(login) as talk:
        outcome = await ask(talk, "hello")
        assert outcome.run.status is RunStatus.COMPLETED
        assert place.sent("POST").count("/v3/users/login") == 1
        double.tokens.clear()
        added = await talk.messages.add(outcome.run.conversation_id, MessageDraft(text="One more."))
        assert added.text == "One more."
        assert place.sent("POST").count("/v3/users/login") == 2


async def test_a_wrong_password_is_told_without_telling_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    double = R2RDouble(require_authentication=True, users={"ada@example.org": "right"})
    async with (
        placed(path, double) as place,
        place.client(email="ada@example.org", password="s3cr3t") as talk,
    ):
        with pytest.raises(NotConfiguredError, match="The instance r2r gets no token for R2R") as refused:
            await talk.conversations.create(NewConversation(agent=RAG))
        agents = await talk.agents.list("r2r")
        assert not agents[0].available
        assert agents[0].hint == "Check `email` and `password` in the configuration."
    assert "s3cr3t" not in f"{refused.value!r} {refused.value.ids} {caplog.text}"


async def test_a_server_that_asks_for_credentials_says_what_to_set(path: Path) -> None:
    async with placed(path, R2RDouble(require_authentication=True)) as place, place.client() as talk:
        with pytest.raises(NotConfiguredError, match="asks for credentials") as refused:
            await talk.conversations.create(NewConversation(agent=RAG))
        assert refused.value.hint is not None
        assert "R2R_API_KEY" in refused.value.hint
        assert (await talk.agents.list("r2r"))[0].hint == refused.value.hint


async def test_a_key_and_a_login_are_not_possible_together(place: Place) -> None:
    with pytest.raises(InvalidInputError, match="an API key and a login"):
        async with place.client(api_key=KEY, email="ada@example.org", password="x"):
            pass
    with pytest.raises(InvalidInputError, match="an API key and a login"):
        async with place.client({"R2R_API_KEY": KEY, "R2R_EMAIL": "ada@example.org"}):
            pass


async def test_what_the_configuration_names_goes_before_what_the_environment_has(path: Path) -> None:
    double = R2RDouble(require_authentication=True, users={"ada@example.org": "pw"})
    everybody = {"R2R_API_KEY": "public.others", "R2R_API_BASE": "http://127.0.0.1:9"}
    async with (
        placed(path, double) as place,
        place.client(everybody, email="ada@example.org", password="pw") as talk,
    ):
        await talk.conversations.create(NewConversation(agent=RAG))


async def test_a_login_without_its_password_is_not_configured(place: Place) -> None:
    async with place.client(email="ada@example.org") as talk:
        agents = await talk.agents.list("r2r")
        assert not agents[0].available
        assert agents[0].hint == "Set `password` (or R2R_PASSWORD), or remove `email`."
        with pytest.raises(NotConfiguredError):
            await talk.conversations.create(NewConversation(agent=RAG))
    assert place.double.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:7272"},
        {"base_url": "http://ada:s3cr3t@localhost"},
        {"api_key": "s3cr3t\ns3cr3t"},
        {"apikey": "s3cr3t"},
        {"agent": {"mood": "s3cr3t"}},
        {"agent": {"rag_generation_config": "s3cr3t"}},
    ],
)
async def test_an_impossible_option_is_refused_without_its_value(
    place: Place, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        async with place.client(**options):
            pass
    assert "s3cr3t" not in str(refused.value)


async def test_a_server_that_is_not_there_is_told_as_such(path: Path) -> None:
    async with placed(path) as place:
        pass
    with anyio.fail_after(SECONDS):
        async with place.client() as talk:
            assert not (await talk.agents.list("r2r"))[0].available
            with pytest.raises(UnavailableError, match="cannot be reached") as refused:
                await talk.conversations.create(NewConversation(agent=RAG))
            assert refused.value.retryable


async def test_what_is_no_r2r_server_is_told_as_such(place: Place, talk: Client) -> None:
    place.faults.plan(
        "POST", "/conversations", answer(200, {"ok": True}), answer(404, {"detail": "Not Found"})
    )
    with pytest.raises(UnavailableError, match="answered something else than the new conversation"):
        await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(NotOffered, match="does not know this call"):
        await talk.conversations.create(NewConversation(agent=RAG))


async def test_two_servers_stand_side_by_side(path: Path, tmp_path: Path) -> None:
    async with placed(path) as one, placed(path) as other:
        instances = {
            name: InstanceSettings(platform="r2r", options={"base_url": place.url}, environment={})
            for name, place in (("one", one), ("other", other))
        }
        async with Client.open(ClientSettings(store=path, instances=instances)) as talk:
            made = [
                await talk.conversations.create(NewConversation(agent=f"{name}:rag", title=name))
                for name in instances
            ]
            assert [one.title for one in made] == ["one", "other"]
            assert len(one.double.memory.conversations) == len(other.double.memory.conversations) == 1
