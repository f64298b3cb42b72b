"""Configuring instances of RevEng.AI."""

from pathlib import Path
from typing import Any

import pytest

from tertulia import (
    Client,
    ClientSettings,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotConfiguredError,
    RunStatus,
    SearchQuery,
)
from tertulia.vocabulary.models import ConversationQuery
from tests.client.platforms.revengai import YES, answered, placed, request_of, start
from tests.doubles.revengai import KEY
from tests.support.place import ended, journal

pytestmark = pytest.mark.anyio


def settings(
    path: Path, environment: dict[str, str] | None = None, /, **instances: dict[str, Any]
) -> ClientSettings:
    return ClientSettings(
        store=path / "store.db",
        instances={
            name: InstanceSettings(platform="revengai", options=options, environment=environment or {})
            for name, options in instances.items()
        },
    )


async def test_an_instance_without_a_key_says_what_to_set_and_cannot_be_used(tmp_path: Path) -> None:
    """It is listed all the same; nothing is called."""
    async with Client.open(settings(tmp_path, lab={})) as client:
        (agent,) = await client.agents.list("lab")
        for call in (
            client.conversations.create(NewConversation(agent="lab:assistant")),
            client.conversations.get("lab:1"),
            client.conversations.list(ConversationQuery(instance="lab")),
            client.messages.list("lab:1"),
            client.conversations.events("lab:1"),
            client.runs.send("lab:1", MessageDraft(text="hi")),
            client.runs.cancel("lab:1"),
        ):
            with pytest.raises(NotConfiguredError, match="lab is not configured yet") as caught:
                await call
            assert caught.value.hint == agent.hint

    assert (agent.address, agent.available) == ("lab:assistant", False)
    assert agent.hint == "Set REVENGAI_API_KEY in the environment, or `api_key` in [instances.lab]."


@pytest.mark.io
async def test_the_key_may_come_from_the_environment(tmp_path: Path) -> None:
    """Under its documented name, or one that the configuration gives."""
    async with placed(tmp_path) as place:
        environment = {
            "REVENGAI_API_KEY": KEY,
            "REVENGAI_API_BASE": place.url,
            "OTHER_KEY": "wrong",
            "EMPTY": " ",
        }
        configured = settings(
            tmp_path,
            environment,
            first={},
            other={"api_key_env": "OTHER_KEY"},
            empty={"api_key_env": "EMPTY"},
            own={"api_key": KEY, "base_url": f"{place.url}/"},
        )
        async with Client.open(configured) as client:
            available = {agent.address: agent.available for agent in await client.agents.list()}
            for name in ("first", "own"):
                assert (
                    await client.conversations.create(NewConversation(agent=f"{name}:assistant"))
                ).id.startswith(f"{name}:")
            with pytest.raises(NotConfiguredError, match="does not accept the key of the instance other"):
                await client.conversations.create(NewConversation(agent="other:assistant"))

    assert available == {
        "local:archivist": True,
        "first:assistant": True,
        "other:assistant": True,
        "empty:assistant": False,
        "own:assistant": True,
    }
    assert KEY not in repr(configured)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"apikey": "se-cret"}, "an option `apikey`, which its platform does not know"),
        ({"api_key": 7}, "`api_key` of the instance lab must be a text"),
        ({"api_key": "se\ncret"}, "`api_key` of the instance lab must be printable ASCII"),
        ({"api_key": "sécret"}, "`api_key` of the instance lab must be printable ASCII"),
        ({"base_url": "reveng.ai"}, "`base_url` of the instance lab must be an address"),
        ({"base_url": "ftp://reveng.ai"}, "`base_url` of the instance lab must be an address"),
        ({"base_url": "https://me:secret@reveng.ai"}, "`base_url` of the instance lab must be an address"),
        ({"base_url": "https://reveng.ai/?a=b"}, "`base_url` of the instance lab must be an address"),
        ({"store_content": "se-cret"}, "`store_content` of the instance lab is neither true nor false"),
        ({"api_key_env": 3}, "`api_key_env` of the instance lab must be the name of an environment variable"),
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """Without showing what may be a secret."""
    with pytest.raises(InvalidInputError) as caught:
        async with Client.open(settings(tmp_path, lab=options)):
            pass

    assert sentence in str(caught.value)
    assert not any(str(value) in str(caught.value) for value in options.values())


@pytest.mark.io
async def test_nothing_that_is_said_is_kept_where_it_must_not_be(tmp_path: Path) -> None:
    """The answer is told all the same, as RevEng.AI has it."""
    secret = "xylophone"
    async with placed(tmp_path) as place:
        place.double.scripts["title"] = [*place.double.scripts["title"], ("TITLE_UPDATED", {"title": secret})]
        async with place.client(store_content=False) as client:
            outcome = await answered(client, f"say {secret}", title=secret, context={"analysis_id": 7})
            entries = await journal(client, outcome.run.conversation_id)
            titled = await answered(client, "title")
            listed = await client.conversations.list(ConversationQuery(instance="revengai"))
            page = await client.messages.list(outcome.run.conversation_id)
            found = await client.search.messages(SearchQuery(text=secret))

        kept = b"".join(file.read_bytes() for file in place.path.parent.iterdir())
    assert outcome.reply == f"You said: say {secret}"
    assert {one.title for one in listed.items} == {secret}
    assert [message.text for message in page.items] == [f"say {secret}", f"You said: say {secret}"]
    assert (found.hits, titled.run.status) == ([], RunStatus.COMPLETED)
    assert secret.encode() not in kept
    told = next(entry.data for entry in entries if entry.kind == "text_message_content")
    assert told == {"message_id": "msg_1", "withheld": True}


@pytest.mark.io
async def test_what_a_person_must_see_is_known_until_they_have_decided(tmp_path: Path) -> None:
    """And no longer."""
    async with placed(tmp_path) as place, place.client(store_content=False) as client:
        outcome = await answered(client, "confirm")
        (request,) = outcome.pending
        await client.runs.respond(request_of(outcome), YES)
        outcome = await ended(client, outcome)
        after = await client.runs.request(request.id)

    assert request.arguments == {"function_id": 9, "name": "parse_header"}
    assert (after.arguments, after.prompt) == ({}, "")
    assert outcome.reply == "That is settled."


@pytest.mark.io
async def test_a_message_that_is_not_kept_is_lost_with_its_process(tmp_path: Path) -> None:
    """If it was not sent; if it was, its answer is found again."""
    async with placed(tmp_path) as place:
        async with place.client(store_content=False) as client:
            sent = await start(client, "hold")
            await place.double.listened_to(1)
        place.double.release(sent.conversation.id.partition(":")[2])
        async with place.client(store_content=False) as client:
            outcome = await client.runs.wait(sent.run, timeout=10)
            assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "There it is.")


async def test_the_embedded_platforms_contents_are_kept(tmp_path: Path) -> None:
    """They are nowhere else."""
    local = InstanceSettings(platform="local", options={"store_content": False})
    with pytest.raises(InvalidInputError, match="in the store or nowhere"):
        async with Client.open(ClientSettings(store=tmp_path / "store.db", instances={"local": local})):
            pass
