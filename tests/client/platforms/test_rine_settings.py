"""Configuring instances of Rine."""

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationQuery,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotConfiguredError,
)
from tertulia.platforms.rine import settings as rine_settings
from tests.client.platforms.rine import BOB, answered, placed, start
from tests.doubles.network import answer

pytestmark = pytest.mark.anyio


def settings(
    path: Path, environment: dict[str, str] | None = None, /, **instances: dict[str, Any]
) -> ClientSettings:
    return ClientSettings(
        store=path / "store.db",
        instances={
            name: InstanceSettings(platform="rine", options=options, environment=environment or {})
            for name, options in instances.items()
        },
    )


async def refused(client: Client, name: str) -> str:
    """See that an instance is listed as not available and cannot be used; return what to do about it."""
    agents = await client.agents.list(name)
    hints = {agent.hint for agent in agents}
    assert not any(agent.available for agent in agents)
    for call in (
        client.runs.start(NewConversation(agent=f"{name}:bob@beta"), MessageDraft(text="hi")),
        client.conversations.get(f"{name}:1"),
        client.messages.list(f"{name}:1"),
        client.conversations.list(ConversationQuery(instance=name)),
    ):
        with pytest.raises(NotConfiguredError, match=f"{name} is not configured yet") as caught:
            await call
        hints.add(caught.value.hint)
    (hint,) = hints
    assert hint is not None
    return hint


async def test_without_the_extra_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence; everything else works."""

    def finds_nothing(package: str) -> None:
        assert package == rine_settings.PACKAGE

    monkeypatch.setattr(rine_settings, "find_spec", finds_nothing)
    async with Client.open(settings(tmp_path, rine={"config_dir": str(tmp_path)})) as client:
        hint = await refused(client, "rine")
        assert [agent.available for agent in await client.agents.list("local")] == [True]
    assert hint == "Install Rine's own package, which encrypts: `pip install 'tertulia[rine]'`."


async def test_windows_is_told_that_there_is_no_release_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it works."""
    monkeypatch.setattr(sys, "platform", "win32")
    configured = settings(tmp_path, rine={"config_dir": str(tmp_path)})
    read = rine_settings.RineSettings.read("rine", configured.instances["rine"])
    assert read.missing is not None
    assert read.missing.startswith("Rine's package has no release for Windows: run Tertulia on Linux, macOS")


async def test_without_an_account_it_says_what_to_do(tmp_path: Path) -> None:
    """Half of one is none."""
    configured = settings(tmp_path, rine={"config_dir": str(tmp_path), "client_id": "cid"})
    async with Client.open(configured) as client:
        hint = await refused(client, "rine")
    assert hint.startswith("Run `rine onboard`, or set RINE_CLIENT_ID and RINE_CLIENT_SECRET")


@pytest.mark.io
async def test_the_working_folder_chooses_no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that somebody else made may have a `.rine`, with an account and keys that they know."""
    async with placed(tmp_path) as place:
        place.double.folder.rename(tmp_path / ".rine")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        async with Client.open(settings(tmp_path, rine={"base_url": place.url})) as client:
            hint = await refused(client, "rine")
        assert place.double.calls == []
    assert hint.startswith("Run `rine onboard`")


@pytest.mark.io
async def test_the_account_may_come_from_the_environment(tmp_path: Path) -> None:
    """Under its documented names, or those that the configuration gives; several stand side by side."""
    async with placed(tmp_path) as place:
        alice, bob = place.double.alice, place.double.bob
        (place.double.folder / "credentials.json").unlink()
        environment = {
            "RINE_CLIENT_ID": alice.client_id,
            "RINE_CLIENT_SECRET": alice.secret,
            "RINE_CONFIG_DIR": str(place.double.folder),
            "RINE_API_URL": f"{place.url}/",
            "RINE_AGENT": "alice@acme",
            "BOB_ID": bob.client_id,
            "BOB_SECRET": bob.secret,
            "BOB": "Bob",
        }
        theirs = {
            "client_id_env": "BOB_ID",
            "client_secret_env": "BOB_SECRET",
            "agent_env": "BOB",
            "config_dir": str(place.double.home(bob, tmp_path / "bob")),
        }
        configured = settings(tmp_path, environment, ours={}, theirs=theirs)
        async with Client.open(configured) as client:
            begun = await start(client, "hold", agent="ours:bob@beta")
            waiting = await client.conversations.list(ConversationQuery(instance="theirs", awaiting=True))

    assert [(one.id.partition(":")[2], one.agent) for one in waiting.items] == [
        (begun.conversation.id.partition(":")[2], "theirs:alice@acme.rine.network")
    ]
    assert not any(secret in repr(configured) for secret in (alice.secret, bob.secret))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"client_secret": "wrong"}, "The instance rine gets no token for Rine"),
        ({"agent": "zoe"}, "has no agent “zoe”"),
    ],
)
@pytest.mark.io
async def test_what_rine_does_not_accept_is_said(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """With who there is; no secret is shown."""
    async with placed(tmp_path) as place:
        given = {"client_id": place.double.alice.client_id, "client_secret": place.double.alice.secret}
        async with place.client(**{**given, **options}) as client:
            with pytest.raises(NotConfiguredError, match=sentence) as caught:
                await start(client, "hello")
    assert caught.value.valid == (("alice@acme.rine.network",) if "agent" in options else ())
    assert "wrong" not in str(caught.value)


@pytest.mark.io
async def test_an_account_with_several_agents_needs_to_know_which(tmp_path: Path) -> None:
    """By name, handle or id; one whose keys are elsewhere cannot be it."""
    async with placed(tmp_path) as place:
        alice = place.double.alice
        other = {**place.double.carol.record(), "handle": "zoe@acme.rine.network", "name": "zoe"}
        both = {"items": [alice.record(), other], "total": 2}
        for agent, expected in (
            (None, "which of them is ours is not clear"),
            ("ALICE", None),
            ("alice@acme", None),
            (alice.id, None),
            ("zoe", "The private keys of zoe@acme.rine.network are not on this machine"),
        ):
            place.faults.plan("GET", "/agents", answer(200, both))
            async with place.client(**({} if agent is None else {"agent": agent})) as client:
                if expected is None:
                    assert (await answered(client, "hello")).reply == "You said: hello"
                else:
                    with pytest.raises(NotConfiguredError, match=expected):
                        await start(client, "hello")


@pytest.mark.io
async def test_agents_are_those_of_the_configuration_and_how_to_address_all_others(tmp_path: Path) -> None:
    """Ourselves we cannot talk to. Nothing is asked of Rine for that."""
    async with placed(tmp_path) as place:
        async with place.client(agents={"desk": "bob@beta"}) as client:
            agents = await client.agents.list("rine")
        calls = list(place.double.calls)
    assert [agent.address for agent in agents] == ["rine:desk", "rine:name@organisation"]
    assert "put its handle in the place of name@organisation" in agents[1].description
    assert calls == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clientid": "x"}, "an option `clientid`, which its platform does not know"),
        ({"client_secret": 7}, "`client_secret` of the instance rine must be a text"),
        ({"config_dir": ".rine"}, "`config_dir` of the instance rine must be an absolute path"),
        ({"base_url": "rine.network"}, "`base_url` of the instance rine must be an address"),
        ({"agents": ["bob"]}, "`agents` of the instance rine must be a table"),
        ({"agents": {"desk": 7}}, "must give a handle, as text, to each name"),
        ({"agents": {"desk": "bob"}}, "“bob” is not a handle"),
        ({"agents": {"bob@beta": "bob@beta"}}, "to each name, which has no `@`"),
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """In a sentence that says what it must be."""
    with pytest.raises(InvalidInputError) as caught:
        async with Client.open(settings(tmp_path, rine=options)):
            pass
    assert sentence in str(caught.value)


@pytest.mark.io
async def test_the_vendors_package_is_imported_when_it_is_needed_and_not_before(tmp_path: Path) -> None:
    """A host waits for the first list of tools; the package takes more than half a second."""
    program = (
        "import sys; from pathlib import Path; from tertulia.platforms.registry import build;"
        "from tertulia import InstanceSettings; from tertulia.store.database import Store;"
        f"options = {{'config_dir': {str(tmp_path)!r}, 'client_id': 'a', 'client_secret': 'b'}};"
        "built = build({'rine': InstanceSettings(platform='rine', options=options)}, Store(Path('x')));"
        "assert built['rine'].missing is None, built['rine'].missing;"
        "print(sorted(set(sys.modules) & {'rine', 'cryptography', 'pydantic'}))"
    )
    done = await anyio.run_process(
        [sys.executable, "-c", program], cwd=Path(__file__).resolve().parents[3] / "client"
    )
    assert done.stdout.decode().strip() == "[]"


async def test_credentials_that_are_none_are_none(tmp_path: Path) -> None:
    """Whatever is in the file."""
    for content in ("", "[]", "{}", '{"default": {"client_id": 1, "client_secret": "x"}}', '{"default": []}'):
        (tmp_path / "credentials.json").write_text(content)
        configured = settings(tmp_path, rine={"config_dir": str(tmp_path)})
        async with Client.open(configured) as client:
            assert (await client.agents.list("rine"))[0].available is False


@pytest.mark.io
async def test_a_token_that_cannot_be_had_now_is_asked_for_again(tmp_path: Path) -> None:
    """Nothing was sent meanwhile."""
    async with placed(tmp_path) as place:
        busy = answer(429, {"detail": "Rate limit exceeded"}, retry_after="0.01")
        place.faults.plan("POST", "/oauth/token", busy, answer(503), answer(200, ["?"]))
        async with place.client() as client:
            assert (await answered(client, "hello")).reply == "You said: hello"
    assert place.double.posts() == ["/messages"]


def test_what_others_are_sent_is_addressed_in_full() -> None:
    """As the vendor writes it."""
    from rine import normalize_handle

    from tertulia.platforms.rine.mapping import handle

    for name in ("bob@beta", "bob@beta.rine.network", "bob@beta.example.org"):
        assert handle(name) == normalize_handle(name)
    assert f"rine:{handle('bob@beta')}" == BOB
