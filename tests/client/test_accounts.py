"""Accounts at a platform: whose credentials a call is made with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tertulia import Client, ClientSettings, InstanceSettings, InvalidInputError, NotFoundError, RunStatus
from tertulia.platforms import registry
from tertulia.platforms.base import RunContext
from tertulia.platforms.registry import build
from tertulia.store.database import Store
from tests.doubles.remote import CONVERSATION, Remote, remote

pytestmark = pytest.mark.anyio


async def _yes(context: RunContext) -> None:
    await context.finish("Yes.")


async def test_whoever_has_an_account_uses_no_other(path: Path) -> None:
    """Reads, lists and answers are made with the credentials of the one who asks; a third has none."""
    shared, hers = Remote(_yes), Remote(_yes)
    async with remote(path, shared, principals=["bob"], accounts={"alice": hers}) as client:
        alice, bob, carol = (client.as_principal(name) for name in ("alice", "bob", "carol"))
        for mine in (alice, bob):
            await mine.agents.list()
            await mine.conversations.get(CONVERSATION)
            sent = await mine.runs.send(CONVERSATION, f"I am {mine.principal}.")
            assert (await mine.runs.wait(sent.run, timeout=10)).run.status is RunStatus.COMPLETED
        with pytest.raises(NotFoundError, match="There is no instance"):
            await carol.conversations.get(CONVERSATION)

    assert (shared.principals, hers.principals) == ({"bob"}, {"alice"})
    assert [context.message.text for context in shared.executed] == ["I am bob."]
    assert [context.message.text for context in hers.executed] == ["I am alice."]


async def test_who_is_served_by_an_account_is_not_who_runs_the_process(path: Path) -> None:
    """The account of one is nobody else's, also where the instance has none to share."""
    shared, hers = Remote(), Remote()
    async with remote(path, shared, accounts={"alice": hers}) as client:
        await client.conversations.get(CONVERSATION)
        assert (shared.principals, hers.principals) == ({"local"}, set())


ENVIRONMENT = {
    "KNOWRITHM_API_KEY": "shared-key",
    "KNOWRITHM_API_SECRET": "shared-secret",
    "KNOWRITHM_API_BASE": "https://knowrithm.example",
    "ALICES_KEY": "her-key",
}


def _knowrithm(**options: Any) -> InstanceSettings:
    return InstanceSettings(platform="knowrithm", options=options, environment=ENVIRONMENT)


def test_an_account_has_nothing_that_opens_the_shared_one() -> None:
    """Neither from the instance's table nor from the environment; addresses and agents are the same."""
    instance = _knowrithm(
        api_key="shared-key",
        api_secret="shared-secret",
        agents={"support": "7"},
        base_url="https://other.example",
        credentials={"alice": {"api_key_env": "ALICES_KEY", "api_secret": "her-secret"}},
    )
    account = instance.of_account("alice")
    assert account.options == {
        "agents": {"support": "7"},
        "base_url": "https://other.example",
        "api_key_env": "ALICES_KEY",
        "api_secret": "her-secret",
        "principals": ["alice"],
    }
    assert account.environment == {
        "KNOWRITHM_API_BASE": "https://knowrithm.example",
        "ALICES_KEY": "her-key",
    }
    assert "her-secret" not in repr(account)


def test_an_account_that_lacks_something_says_where_it_belongs(tmp_path: Path) -> None:
    """It does not fall back to what others share."""
    instance = _knowrithm(credentials={"alice": {"api_key": "her-key"}})
    platform = build({"work": instance}, Store(tmp_path / "tertulia.db"))["work"]
    hers = platform.used_by("alice")
    assert platform.missing is None
    assert hers is not None
    assert hers.missing == "Set `api_secret` in [instances.work.credentials.alice]."
    assert platform.used_by("bob") is None
    assert platform.used_by("local") is platform


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"credentials": "x"}, "must have a table for each principal"),
        ({"credentials": {}}, "must have a table for each principal"),
        ({"credentials": {"alice": "key"}}, "must have a table for each principal"),
        ({"credentials": {"alice": {"principals": ["bob"]}}}, "`principals` of the instance work is nothing"),
        ({"credentials": {"alice": {"store_content": False}}}, "`store_content` of the instance work"),
        (
            {"credentials": {"*": {"api_key_command": ["key"], "api_secret": "x"}}},
            "`api_secret` .* one account",
        ),
        ({"credentials": {"*": {"api_kye_command": ["key"]}}}, r'credentials."\*"\]: The instance work'),
        ({"credentials": {"alice": {"api_key": 7}}}, r"\[instances.work.credentials.alice\]: `api_key`"),
        (
            {"credentials": {"alice": {"api_kye": "x"}}},
            r"\[instances.work.credentials.alice\]: The instance work",
        ),
    ],
)
def test_accounts_that_cannot_work_end_the_start(options: Mapping[str, Any], said: str, path: Path) -> None:
    """With a sentence that names the table, and nothing of what is in it."""
    with pytest.raises(InvalidInputError, match=said):
        Client.check(ClientSettings(store=path, instances={"work": _knowrithm(**options)}))


EVERYBODYS = {"*": {"api_key_command": ["key"], "api_secret_command": ["secret"]}}


def test_an_account_for_everybody_is_each_ones_own(tmp_path: Path) -> None:
    """Of whoever is not named; who runs the process is."""
    named = {"alice": {"api_key": "her-key", "api_secret": "her-secret"}}
    instance = _knowrithm(principals=["local", "bob"], credentials={**EVERYBODYS, **named})
    platform = build({"work": instance}, Store(tmp_path / "tertulia.db"))["work"]
    carols, daves = platform.used_by("carol"), platform.used_by("dave")
    assert carols is not None
    assert daves is not None
    assert len({carols, daves, platform}) == 3
    assert platform.used_by("carol") is carols
    assert instance.of_account("carol").connections.kept == 0
    assert (carols.principals, carols.missing, carols.peers) == ({"carol"}, None, platform.peers)
    assert platform.used_by("alice") is platform.accounts["alice"]
    assert platform.used_by("bob") is platform.used_by("local") is platform


def test_an_account_for_everybody_says_where_it_lacks_something(tmp_path: Path) -> None:
    """It stands in the table that everybody's has."""
    instance = _knowrithm(credentials={"*": {"api_key_command": ["key"]}})
    hers = build({"work": instance}, Store(tmp_path / "tertulia.db"))["work"].used_by("alice")
    assert hers is not None
    assert hers.missing == 'Set `api_secret` in [instances.work.credentials."*"].'


def test_a_process_has_as_many_accounts_as_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more cannot be used, and the others can."""
    monkeypatch.setattr(registry, "MAX_ACCOUNTS", 2)
    platform = build({"work": _knowrithm(credentials=EVERYBODYS)}, Store(tmp_path / "tertulia.db"))["work"]
    of_each = {name: platform.used_by(name) for name in ("alice", "bob", "carol", "alice")}
    missing = {name: each.missing for name, each in of_each.items() if each is not None}
    assert missing["alice"] is missing["bob"] is None
    assert str(missing["carol"]).startswith("This server has the accounts of 2 people in use")
    assert len(platform.accounts) == 2


def test_an_account_at_rine_has_keys_of_its_own(path: Path) -> None:
    """Not those in the folder of whoever runs the process."""
    options = {"credentials": {"alice": {"client_id": "a", "client_secret": "b"}}}
    with pytest.raises(InvalidInputError, match=r"credentials.alice\]: `config_dir` is missing"):
        Client.check(
            ClientSettings(store=path, instances={"work": InstanceSettings(platform="rine", options=options)})
        )


@pytest.mark.parametrize("name", ["local", "claude"])
def test_what_is_on_this_machine_has_no_accounts(name: str, path: Path) -> None:
    """Conversations of the store are everybody's own; programs have the rights of whoever runs the process."""
    options = {"credentials": {"alice": {"agent": "claude-code"}}}
    platform = "local" if name == "local" else "acp"
    with pytest.raises(InvalidInputError, match="has no accounts"):
        Client.check(
            ClientSettings(store=path, instances={name: InstanceSettings(platform=platform, options=options)})
        )
