"""Tokens of several people in a file: who is who, what they may do, and what the file tells to whoever reads it."""

import stat
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import build
from tertulia_server.callers import Caller, NoCallerError, by_tokens
from tertulia_server.cli import main
from tertulia_server.settings import TOKEN_VARIABLE, load
from tertulia_server.store_token import token_file
from tertulia_server.token_file import TokenFile, add_token, remove_tokens
from tests.doubles.hosts import ERAS, http_host, served

pytestmark = pytest.mark.anyio

READ = ["conversations:read"]
DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file of tokens, which is not there yet."""
    return tmp_path / "folder" / "tokens"


def test_each_token_has_a_principal_and_scopes(file: Path) -> None:
    """A principal may have several."""
    alice, bob, again = (
        add_token(file, "alice", READ),
        add_token(file, "bob", READ),
        add_token(file, "alice", READ),
    )
    tokens = TokenFile(file)
    assert len({alice, bob, again}) == 3
    assert tokens.caller(alice) == tokens.caller(again) == Caller("alice", READ)
    assert tokens.caller(bob) == Caller("bob", READ)
    for wrong in ("", alice[:-1], f"{alice}x", DIGEST, "0" * 64):
        assert tokens.caller(wrong) is None


def test_the_file_tells_no_token(file: Path) -> None:
    """Only its owner reads it, and it has digests only."""
    token = add_token(file, "alice", READ)
    assert token not in file.read_text()
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*file.parent.iterdir()] == [file]


def test_a_change_counts_at_the_next_request(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is removed is out; while the file cannot be read, everybody is."""
    alice = add_token(file, "alice", READ)
    tokens = TokenFile(file)
    bob = add_token(file, "bob", READ)
    assert tokens.caller(bob) == Caller("bob", READ)
    assert remove_tokens(file, "alice") == 1
    assert tokens.caller(alice) is None
    assert tokens.caller(bob) == Caller("bob", READ)
    file.rename(file.with_name("elsewhere"))
    assert tokens.caller(bob) is None
    assert "cannot be read" in caplog.text
    file.with_name("elsewhere").rename(file)
    assert tokens.caller(bob) == Caller("bob", READ)


def test_lines_of_a_person_stay(file: Path) -> None:
    """Comments and empty lines mean nothing, and are kept."""
    file.parent.mkdir()
    file.write_text("# the team\n\n")
    add_token(file, "alice", READ)
    remove_tokens(file, "alice")
    assert file.read_text() == "# the team\n\n"


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        f"alice {DIGEST}",
        f"alice {DIGEST} conversations:everything",
        f"alice sha256:{'0' * 63} conversations:read",
        "alice secret conversations:read",
        f"älice {DIGEST} conversations:read",
    ],
)
def test_a_line_that_says_nothing_ends_the_start(file: Path, line: str) -> None:
    """A sentence says which."""
    file.parent.mkdir()
    file.write_text(f"# one\n{line}\n")
    with pytest.raises(InvalidInputError, match=f"^Line 2 of {file}"):
        TokenFile(file)


@pytest.mark.parametrize(
    ("name", "scopes"), [("", READ), ("a b", READ), ("#a", READ), ("a", []), ("a", ["x"])]
)
def test_what_would_be_no_line_is_not_written(file: Path, name: str, scopes: list[str]) -> None:
    """The command says so before it writes."""
    with pytest.raises(InvalidInputError):
        add_token(file, name, scopes)
    assert not file.exists()


async def test_without_a_known_token_nobody_is_there(file: Path) -> None:
    """The store's token is not among those of a file."""
    token = add_token(file, "alice", READ)
    authenticate = by_tokens(TokenFile(file), None)
    assert (await authenticate(Headers({"authorization": f"Bearer {token}"}))).principal == "alice"
    for headers in ({}, {"authorization": f"Basic {token}"}, {"authorization": "Bearer x"}):
        with pytest.raises(NoCallerError, match="Ask whoever runs it"):
            await authenticate(Headers(headers))
    twice = Headers(raw=[(b"authorization", f"Bearer {token}".encode())] * 2)
    with pytest.raises(NoCallerError):
        await authenticate(twice)


def test_the_command_shows_a_token_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says how to serve with it; another removes it."""
    store = str(tmp_path / "tertulia.db")
    file = tmp_path / "tertulia.db.tokens"
    assert main(["token", "--store", store, "--add", "alice", "--scopes", "read"]) == 0
    shown = capsys.readouterr()
    assert TokenFile(file).caller(shown.out.strip()) == Caller("alice", READ)
    assert f"--token-file {file}" in shown.err
    assert main(["token", "--store", store, "--remove", "alice"]) == 0
    assert main(["token", "--store", store, "--remove", "alice"]) == 2
    assert main(["token", "--store", store, "--add", "alice", "--scopes", "all"]) == 2
    assert "Valid: read, write, admin" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["claude-code", "cursor", "codex"])
def test_the_configuration_of_a_host_has_no_token_that_opens_nothing(
    tmp_path: Path, file: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the caller's own from the environment; where an authorization server issues tokens, it has none."""
    store, url = tmp_path / "tertulia.db", "https://tertulia.example/mcp"
    add_token(file, "alice", READ)
    shared = ["manifest", host, "--http", "--store", str(store), "--public-url", url]
    assert main([*shared, "--token-file", str(file)]) == 0
    by_file = capsys.readouterr()
    assert main([*shared, "--oauth-issuer", "https://as.example"]) == 0
    by_issuer = capsys.readouterr()

    assert url in by_file.out
    assert TOKEN_VARIABLE in by_file.out
    assert "token)" not in by_file.err
    assert "token --add NAME" in by_file.err
    assert url in by_issuer.out
    assert TOKEN_VARIABLE not in by_issuer.out
    assert not token_file(store).exists()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.io
async def test_the_holders_of_tokens_share_nothing(tmp_path: Path, file: Path, era: str) -> None:
    """A server with a file of tokens takes these and no other, also not the store's."""
    tokens = {name: add_token(file, name, ["conversations:write"]) for name in ("alice", "bob")}
    flags = {"store": str(tmp_path / "tertulia.db"), "token_file": str(file), "discover_agents": False}
    settings = load(flags, {}).settings
    shown = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    async with (
        served(build(settings), settings) as url,
        http_host(url, era, shown["alice"]) as alice,
        http_host(url, era, shown["bob"]) as bob,
    ):
        created = await alice.call("create_conversation", agent="local:archivist", title="Hers")
        await bob.fail("get_conversation", conversation_id=created["conversation_id"])
        await alice.call("get_conversation", conversation_id=created["conversation_id"])
