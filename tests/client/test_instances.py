"""Instances: which there are, what they offer, and that nothing else is pretended."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    Conversation,
    ConversationChanges,
    ConversationQuery,
    InstanceSettings,
    InvalidInputError,
    NewConversation,
    NotOffered,
    Status,
)
from tertulia.platforms.base import Platform
from tertulia.platforms.registry import PLATFORMS
from tertulia.store.database import Store
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.features import Feature
from tests.client.inside import names
from tests.doubles.scripted import AGENT, SECONDS, scripted

pytestmark = pytest.mark.anyio


class Bare(Platform):
    """A platform that offers nothing."""

    kind = "bare"

    def __init__(self, instance: str, settings: InstanceSettings, store: Store, clock: Clock) -> None:
        super().__init__(instance)
        self._closed: list[str] = settings.options["closed"]
        assert store
        assert clock

    async def close(self) -> None:
        """Note it."""
        self._closed.append(self.instance)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the platform known; return which instances of it were closed."""
    monkeypatch.setitem(cast(dict[str, str], PLATFORMS), "bare", f"{__name__}:Bare")
    return []


def settings(path: Path, **instances: InstanceSettings) -> ClientSettings:
    """Return settings with these instances."""
    return ClientSettings(store=path, instances=instances)


async def test_the_embedded_platform_is_always_there(path: Path) -> None:
    """Without any configuration; and neither opening the client nor asking for agents touches the store."""
    with anyio.fail_after(SECONDS):
        async with Client.open(ClientSettings(store=path)) as client:
            assert list(client.instances) == ["local"]
            (agent,) = await client.agents.list()
            assert agent.address == "local:archivist"
            assert await client.agents.list("local") == [agent]

    assert names(path) == set()


async def test_agents_are_listed_of_every_instance_or_of_one(path: Path) -> None:
    """With their addresses."""
    async with scripted(path) as client:
        assert [agent.address for agent in await client.agents.list()] == ["local:archivist", AGENT]
        assert [agent.address for agent in await client.agents.list("scripted")] == [AGENT]


@pytest.mark.parametrize(
    ("instances", "told"),
    [
        ({"Bad Name": InstanceSettings(platform="local")}, "“Bad Name” cannot be the name of an instance"),
        ({"": InstanceSettings(platform="local")}, "cannot be the name"),
        ({"a\n": InstanceSettings(platform="local")}, "cannot be the name"),
        ({"x": InstanceSettings(platform="telepathy")}, "of an unknown platform, “telepathy”"),
        ({"other": InstanceSettings(platform="local")}, "there is one embedded platform"),
        (
            {"local": InstanceSettings(platform="bare", options={"closed": []})},
            "there is one embedded platform",
        ),
        (
            {"local": InstanceSettings(platform="local", options={"principals": ["bob"]})},
            "`principals` of the instance local cannot be set",
        ),
        (
            {"x": InstanceSettings(platform="acp", options={"agent": "claude", "store_content": False})},
            "another process sends its messages",
        ),
        *(
            (
                {"x": InstanceSettings(platform="bare", options={"closed": [], "principals": principals})},
                "must be a list of one principal or more",
            )
            for principals in ("bob", [], [""], [1], True)
        ),
    ],
)
@pytest.mark.usefixtures("bare")
async def test_an_instance_that_cannot_be_is_refused_at_once(
    path: Path, instances: Mapping[str, InstanceSettings], told: str
) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidInputError, match=told):
        async with Client.open(ClientSettings(store=path, instances=instances)):
            pytest.fail("it was opened")


async def test_settings_never_show_what_they_hold(path: Path) -> None:
    """Secrets among the options must not get into a log."""
    shown = repr(settings(path, r2r=InstanceSettings(platform="r2r", options={"api_key": "hush"})))

    assert "hush" not in shown


Attempt = Callable[[Client], Awaitable[Any]]


ATTEMPTS: dict[Feature, Attempt] = {
    Feature.CREATE: lambda c: c.conversations.create(NewConversation(agent="bare:agent")),
    Feature.GET: lambda c: c.conversations.get("bare:1"),
    Feature.MESSAGES: lambda c: c.messages.list("bare:1"),
    Feature.TITLE: lambda c: c.conversations.update("bare:1", ConversationChanges(title="T")),
    Feature.METADATA: lambda c: c.conversations.update("bare:1", ConversationChanges(metadata={"a": 1})),
    Feature.CONTEXT: lambda c: c.conversations.update("bare:1", ConversationChanges(context={"a": 1})),
    Feature.ARCHIVE: lambda c: c.conversations.update("bare:1", ConversationChanges(archived=True)),
    Feature.STATUS: lambda c: c.conversations.update_status("bare:1", Status.PAUSED),
    Feature.END: lambda c: c.conversations.update_status("bare:1", Status.COMPLETED),
    Feature.DELETE: lambda c: c.conversations.delete("bare:1"),
}


@pytest.mark.parametrize("feature", ATTEMPTS)
async def test_what_an_instance_does_not_offer_is_refused_by_name(
    path: Path, bare: list[str], feature: Feature
) -> None:
    """With the instances that do; nothing is faked."""
    with anyio.fail_after(SECONDS):
        async with Client.open(
            settings(path, bare=InstanceSettings(platform="bare", options={"closed": bare}))
        ) as client:
            with pytest.raises(
                NotOffered, match=rf"instance bare \(bare\) does not offer {feature}"
            ) as raised:
                await ATTEMPTS[feature](client)

    assert "local" in (raised.value.hint or "")
    assert raised.value.ids == {"instance": "bare", "feature": feature}


async def test_a_list_that_a_platform_lacks_is_made_here_and_says_so(path: Path, bare: list[str]) -> None:
    """Of what is known of that instance, and of what the platform tells of when it is asked."""
    instance = InstanceSettings(platform="bare", options={"closed": bare})
    begun = Conversation(id="bare:1", agent="bare:agent", status=Status.OPEN, awaiting=True)

    async def discover(self: Platform, principal: str) -> Sequence[Conversation]:
        return [begun]

    async with Client.open(settings(path, bare=instance)) as client:
        await client.conversations.create(NewConversation(agent="local:archivist"))
        empty = await client.conversations.list(ConversationQuery(instance="bare"))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Platform, "discover", discover)
            found = await client.conversations.list(ConversationQuery(instance="bare", awaiting=True))
        kept = await client.conversations.list(ConversationQuery(instance="bare"))
        everything = await client.conversations.list(ConversationQuery())

    assert (empty.items, empty.from_index) == ([], True)
    assert [one.id for one in found.items] == [one.id for one in kept.items] == ["bare:1"]
    assert (everything.total, everything.from_index) == (2, False)


async def test_a_platform_is_closed_once_when_the_client_is(path: Path, bare: list[str]) -> None:
    """Also when the one who used it failed."""
    two = {name: InstanceSettings(platform="bare", options={"closed": bare}) for name in ("one", "two")}

    async def fail() -> None:
        async with Client.open(settings(path, **two)):
            assert bare == []
            raise KeyError

    with pytest.raises(KeyError):
        await fail()

    assert sorted(bare) == ["one", "two"]


async def test_a_list_without_an_instance_has_what_passed_through_of_all(path: Path) -> None:
    """With one, only what is there."""
    async with scripted(path) as client:
        here = await client.conversations.create(NewConversation(agent="local:archivist", title="Here"))
        there = await client.conversations.create(NewConversation(agent=AGENT, title="There"))

        def ids(page: Any) -> set[str]:
            return {each.id for each in page.items}

        assert ids(await client.conversations.list(ConversationQuery())) == {here.id, there.id}
        assert ids(await client.conversations.list(ConversationQuery(instance="local"))) == {here.id}
        assert ids(await client.conversations.list(ConversationQuery(agent=AGENT))) == {there.id}
