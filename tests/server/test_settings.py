"""Settings: flags over environment over one file, read once; what is wrong is told where it was set."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tertulia.client import Client
from tertulia.settings import Approvals
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.location import PostgresUrl
from tertulia_server.app import build
from tertulia_server.config_command import show
from tertulia_server.secret_values import without_secrets
from tertulia_server.settings import Settings, Source, default_store, load, local_name
from tertulia_tools.definition import Toolset
from tertulia_tools.registry import TOOLS, select

READING = {tool.name for tool in TOOLS if tool.read_only}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the configuration file of a test is."""
    return tmp_path / "config.toml"


def test_without_anything_set_the_defaults_apply(tmp_path: Path) -> None:
    """The first start needs no configuration."""
    loaded = load({}, {"TERTULIA_CONFIG": ""})

    assert loaded.settings.wait_seconds == 45
    assert loaded.settings.form_seconds == 90
    assert loaded.settings.approvals is Approvals.HOST
    assert loaded.settings.store == default_store().absolute()
    assert default_store().name == "tertulia.db"


def test_flags_go_over_environment_and_environment_over_file(file: Path) -> None:
    """Whoever is nearest to the start decides; where each value comes from is known."""
    file.write_text("wait_seconds = 1\nform_seconds = 1\napprovals = 'person'\nstore = 'file.db'\n")
    environment = {"TERTULIA_WAIT_SECONDS": "2", "TERTULIA_FORM_SECONDS": "2", "TERTULIA_CONFIG": str(file)}

    loaded = load({"wait_seconds": "3"}, environment)

    settings = loaded.settings
    assert (settings.wait_seconds, settings.form_seconds, settings.approvals) == (3, 2, "person")
    assert loaded.sources["wait_seconds"] is Source.FLAG
    assert loaded.sources["form_seconds"] is Source.ENVIRONMENT
    assert loaded.sources["approvals"] is Source.FILE
    assert loaded.sources["log_level"] is Source.DEFAULT


def test_a_server_that_an_agent_started_takes_no_approvals_whatever_else_is_set(file: Path) -> None:
    """The agent was itself reached through Tertulia."""
    file.write_text("")
    loaded = load({"config": str(file), "approvals": "host"}, {"TERTULIA_WITHIN": "codex:1"})

    assert loaded.settings.approvals is Approvals.ELSEWHERE


@pytest.mark.parametrize("name", ["store", "store_listen_url"])
@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_the_password_of_a_database_is_shown_nowhere(file: Path, source: str, name: str) -> None:
    """A configuration file that has it is closed to others."""
    url = "postgresql://ann:s3cret@host/db?password=s3cret"
    file.write_text(f"{name} = '{url}'" if source == "file" else "")
    file.chmod(0o644)
    flags = {"config": str(file), name: url if source == "flag" else None}
    loaded = load(flags, {f"TERTULIA_{name.upper()}": url} if source == "environment" else {})

    found = getattr(loaded.settings.client_settings(), name)
    assert isinstance(found, PostgresUrl)
    assert found.url == url
    assert f"{name} = postgresql://ann@host/db" in show(loaded)
    for shown in (show(loaded), repr(loaded), repr(loaded.settings.client_settings())):
        assert "s3cret" not in shown
    if os.name != "nt":
        others = stat.S_IMODE(file.stat().st_mode) & 0o077
        assert (others == 0) is (source == "file")


def test_a_file_delivers_no_notices() -> None:
    """Only a database does."""
    with pytest.raises(InvalidInputError, match="--store-listen-url is not possible: it must be a URL"):
        load({"store_listen_url": "tertulia.db"}, {})


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    """A part of the password would be."""
    with pytest.raises(InvalidInputError, match=r"TERTULIA_STORE is not possible: .*percent|%2F") as failure:
        load({}, {"TERTULIA_STORE": "postgresql://ann:s3/cret@host/db"})

    assert "cret" not in str(failure.value)


def test_a_database_has_its_files_in_the_folder_of_the_default_store() -> None:
    """Another password does not move them."""
    one, two = (PostgresUrl(f"postgresql://ann:{password}@host/db") for password in "ab")

    assert local_name(one) == local_name(two)
    assert local_name(one).parent == default_store().parent
    assert local_name(one) != local_name(PostgresUrl("postgresql://ann@host/other"))
    assert local_name(Path("/tmp/my.db")) == Path("/tmp/my.db")


def test_a_flag_that_was_not_given_hides_nothing(file: Path) -> None:
    """Nor does an empty variable, as hosts pass for what a person left blank."""
    file.write_text("wait_seconds = 7\n")

    loaded = load({"config": str(file), "wait_seconds": None}, {"TERTULIA_WAIT_SECONDS": ""})

    assert loaded.settings.wait_seconds == 7


@pytest.mark.parametrize("given", ["talk,browse", " talk , browse ,", "browse,talk"])
def test_lists_are_separated_by_commas_outside_the_file(given: str) -> None:
    """Spaces do not matter."""
    assert set(load({"toolsets": given}, {}).settings.toolsets) == {"talk", "browse"}


def test_the_file_has_real_lists_and_tables(file: Path) -> None:
    """And instances of platforms, with whatever options theirs take."""
    file.write_text('tools = ["list_agents"]\n[instances.work]\nplatform = "stage"\nurl = "http://x"\n')

    settings = load({"config": str(file)}, {}).settings

    assert settings.tools == ("list_agents",)
    assert settings.client_settings().instances["work"].platform == "stage"
    assert settings.client_settings().instances["work"].options == {"url": "http://x"}


def test_a_store_is_found_from_where_the_command_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`~` is the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))

    assert load({"store": "my.db"}, {}).settings.store == tmp_path / "my.db"
    assert load({"store": "~/my.db"}, {}).settings.store == tmp_path / "home" / "my.db"


def test_settings_are_frozen() -> None:
    """They are built once, at the edge."""
    settings = load({}, {}).settings

    with pytest.raises(ValidationError, match="frozen"):
        settings.wait_seconds = 1


@pytest.mark.parametrize(
    ("flags", "environment", "says"),
    [
        ({"wait_seconds": "soon"}, {}, "--wait-seconds is not possible: input should be a valid number"),
        (
            {"wait_seconds": "301"},
            {},
            "--wait-seconds is not possible: input should be less than or equal to 300",
        ),
        (
            {"wait_seconds": "-1"},
            {},
            "--wait-seconds is not possible: input should be greater than or equal to 0",
        ),
        ({"form_seconds": "0"}, {}, "--form-seconds is not possible"),
        (
            {"store": ""},
            {},
            "--store is not possible: a store is the path of a file, or a URL like postgresql://",
        ),
        (
            {"store": " "},
            {},
            "--store is not possible: a store is the path of a file, or a URL like postgresql://",
        ),
        (
            {"store": ":memory:"},
            {},
            "--store is not possible: a store is the path of a file, or a URL like postgresql://",
        ),
        (
            {},
            {"TERTULIA_APPROVALS": "nobody"},
            "TERTULIA_APPROVALS is not possible: input should be 'host', 'person' or 'elsewhere'",
        ),
        ({}, {"TERTULIA_READ_ONLY": "perhaps"}, "TERTULIA_READ_ONLY is not possible"),
        ({}, {"TERTULIA_LOG_LEVEL": "LOUD"}, "TERTULIA_LOG_LEVEL is not possible"),
    ],
)
def test_a_value_that_is_not_possible_is_told_by_the_name_it_was_set_under(
    flags: dict[str, Any], environment: dict[str, str], says: str
) -> None:
    """A flag as a flag, a variable as a variable."""
    with pytest.raises(InvalidInputError) as failure:
        load(flags, environment)

    assert says in str(failure.value)
    assert "pydantic" not in str(failure.value)


def test_a_variable_that_looks_like_a_setting_and_is_none_is_named(file: Path) -> None:
    """It is ignored, since an instance may have its credentials under any name; those names are known."""
    file.write_text("[instances.work]\nplatform = 'r2r'\napi_key_env = 'TERTULIA_WORK_KEY'\n")
    environment = {
        "TERTULIA_CONFIG": str(file),
        "TERTULIA_WAIT_SECONDS": "5",
        "TERTULIA_WAIT_SECOND": "6",
        "TERTULIA_WORK_KEY": "hunter2",
    }

    loaded = load({}, environment)

    assert loaded.warnings == [
        "TERTULIA_WAIT_SECOND in the environment is no setting, and is ignored. Is TERTULIA_WAIT_SECONDS meant?"
    ]
    assert loaded.settings.wait_seconds == 5


def test_the_file_may_begin_with_a_byte_order_mark(file: Path) -> None:
    """Editors and shells on Windows write one."""
    file.write_text("wait_seconds = 7\n", "utf-8-sig")

    assert load({"config": str(file)}, {}).settings.wait_seconds == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wait_seconds = 'soon'", "`wait_seconds` in {file} is not possible: input should be a valid number"),
        ("wait_second = 5", "{file} sets `wait_second`, which is no setting."),
        ("instances = 5", "`instances` in {file} is not possible"),
        ("wait_seconds =", "The configuration file {file} is not TOML: "),
        ("\udcff", "The configuration file {file} is not TOML: "),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_name(file: Path, text: str, says: str) -> None:
    """A person has to find it."""
    file.write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(InvalidInputError) as failure:
        load({"config": str(file)}, {})

    assert says.format(file=file) in str(failure.value)


def test_an_unknown_key_lists_those_there_are(file: Path) -> None:
    """A typing mistake must not be taken for a setting."""
    file.write_text("wait_second = 5")

    with pytest.raises(InvalidInputError) as failure:
        load({"config": str(file)}, {})

    assert "wait_seconds" in failure.value.valid


def test_a_file_that_was_named_must_be_there(file: Path) -> None:
    """One that was not named need not."""
    with pytest.raises(InvalidInputError, match="cannot be read: No such file") as failure:
        load({}, {"TERTULIA_CONFIG": str(file)})

    assert failure.value.hint == "Name another with --config."


def test_an_instance_must_say_which_platform_it_is_of(file: Path) -> None:
    """And one that there is."""
    file.write_text("[instances.work]\nurl = 'x'")
    with pytest.raises(InvalidInputError, match="work does not say which platform it is of") as failure:
        Client.check(load({"config": str(file)}, {}).settings.client_settings())

    assert failure.value.hint == 'Add `platform = "…"` to [instances.work].'


SECRETS = """
wait_seconds = 5
[instances.work]
platform = "stage"
url = "https://ana:hunter2@example.com/v1"
api_key = "sk-hunter2"
Token = "hunter2"
client_secret = ""
[instances.work.auth]
user = "ana"
password = "hunter2"
[[instances.work.accounts]]
name = "first"
bearer = "hunter2"
"""

SECRET: dict[str, object] = {
    "pat": "hunter2",
    "auth": "hunter2",
    "pwd": ["hunter2"],
    "pin": 4711,
    "base_url": "https://ana:hunter2@example.com:8443/hunter2?sig=hunter2#hunter2",
    "card": "https://[hunter2",
    "token_url": "hunter2",
    "command": ["program", "--key", "hunter2"],
    "api_key_command": ["pass", "hunter2"],
    "api_key_env": "hunter2",
    "mcp_servers": {"files": {"command": "hunter2", "args": ["hunter2"], "headers": {"X": "hunter2"}}},
    "accounts": [{"name": "hunter2"}, "hunter2", ["hunter2"]],
}
HARMLESS: dict[str, object] = {
    "platform": "stage",
    "agents": {"desk": "bob@beta"},
    "base_url": "https://example.com:8443",
    "api_key_env": "STAGE_API_KEY",
    "store_content": False,
    "folders": ["/home/ana/shop"],
    "principals": ["local"],
}


def test_what_is_in_force_is_shown_without_secrets(file: Path) -> None:
    """However deep they stand, and in an address too; whether one is set is no secret."""
    file.write_text(SECRETS)

    shown = show(load({"config": str(file), "tools": "list_agents"}, {"TERTULIA_FORM_SECONDS": "9"}))

    assert "hunter2" not in shown
    assert f"# configuration file: {file} (read)" in shown
    assert "wait_seconds = 5.0  # from file" in shown
    assert "form_seconds = 9.0  # from environment" in shown
    assert "tools = list_agents  # from flag" in shown
    assert "toolsets = (all)" in shown
    assert "[instances.local]" in shown
    assert "api_key = (set)" in shown
    assert "client_secret = (empty)" in shown
    assert "first" not in shown


def test_what_is_not_known_to_be_harmless_is_masked() -> None:
    """Whatever its name and its form; what a person needs to see stays."""
    shown = without_secrets(SECRET)

    assert "hunter2" not in repr(shown)
    assert "4711" not in repr(shown)
    assert shown["base_url"] == "https://example.com:8443/(set)"
    assert shown["command"] == ["program", "(set)", "(set)"]
    assert shown["api_key_command"] == ["pass", "(set)"]
    assert without_secrets(HARMLESS) == HARMLESS


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps permissions elsewhere")
@pytest.mark.parametrize(
    ("content", "closed"),
    [('api_key = "k"', True), ("store_content = false", False), ('env_file = "{keys}"', True)],
)
def test_a_file_with_credentials_is_closed_to_others(
    file: Path, tmp_path: Path, content: str, closed: bool
) -> None:
    """And that it was open is told; one without any is left as it is."""
    keys = tmp_path / "keys"
    keys.write_text("KEY=k")
    holding = keys if "keys" in content else file
    file.write_text(f'[instances.work]\nplatform = "stage"\n{content.format(keys=keys)}\n')
    for each in (file, keys):
        each.chmod(0o644)

    told = load({"config": str(file)}, {}).warnings

    assert stat.S_IMODE(holding.stat().st_mode) == (0o600 if closed else 0o644)
    assert told == (
        [f"Other users of this machine could read or change {holding}; they cannot any more."] * closed
    )
    assert load({"config": str(file)}, {}).warnings == []


def test_secrets_are_not_in_the_representation_of_settings(file: Path) -> None:
    """A log line or a traceback may show that."""
    file.write_text(SECRETS)
    settings = load({"config": str(file)}, {}).settings

    assert "hunter2" not in repr(settings) + repr(settings.client_settings())
    assert "hunter2" not in repr(without_secrets(settings.instances["work"]))


def test_every_setting_says_what_it_is() -> None:
    """`--help` has nothing else."""
    assert all(field.description for field in Settings.model_fields.values())


def names(**restrictions: Any) -> set[str]:
    """Return the tools that are offered under these restrictions."""
    return {tool.name for tool in select(**restrictions)}


def test_all_tools_are_offered_unless_some_are_chosen() -> None:
    """Toolsets and tools add up; read-only takes away what changes something."""
    every = names()

    assert every == {tool.name for tool in TOOLS}
    assert names(names=["list_agents"]) == {"list_agents"}
    assert names(toolsets=["talk"]) == {tool.name for tool in TOOLS if tool.toolset is Toolset.TALK}
    assert names(toolsets=["talk"], names=["list_messages"]) == names(toolsets=["talk"]) | {"list_messages"}
    assert names(read_only=True) == READING
    assert names(toolsets=["talk"], read_only=True) == names(toolsets=["talk"]) & READING


def test_chosen_tools_keep_their_order() -> None:
    """The list of tools is the same for every host, whatever order somebody typed."""
    assert [tool.name for tool in select(names=["list_messages", "list_agents"])] == [
        "list_agents",
        "list_messages",
    ]


@pytest.mark.parametrize(
    ("restrictions", "says"),
    [
        ({"toolsets": "talking"}, "There is no toolset `talking`."),
        ({"tools": "send_massage"}, "There is no tool `send_massage`."),
        ({"tools": "send_message", "read_only": True}, "No tool is left to offer."),
    ],
)
def test_an_impossible_choice_of_tools_is_refused_at_the_start(
    restrictions: dict[str, Any], says: str
) -> None:
    """A host would otherwise wonder where a tool is."""
    with pytest.raises(InvalidInputError, match=says):
        build(load(restrictions, {}).settings)


@pytest.mark.anyio
async def test_a_server_offers_what_was_chosen() -> None:
    """And nothing else can be called."""
    server = build(load({"tools": "list_agents,list_messages", "read_only": "true"}, {}).settings)

    assert [tool.name for tool in await server.list_tools()] == ["list_agents", "list_messages"]
