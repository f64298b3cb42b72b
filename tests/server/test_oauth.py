"""Tokens of an authorization server: from discovery to a call, and every token that must not count."""

import hashlib
import hmac
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from joserfc.jwk import KeySet
from jwt.utils import base64url_encode
from starlette.responses import PlainTextResponse

from tertulia_server.app import build
from tertulia_server.callers import CallerUnknownError, NoCallerError
from tertulia_server.http import listen
from tertulia_server.oauth import (
    FRESH_SECONDS,
    PAUSE_SECONDS,
    STALE_SECONDS,
    AccessTokens,
)
from tertulia_server.oauth import AuthorizationServer as Issuer
from tertulia_server.settings import load
from tests.doubles.authorization_server import AuthorizationServer, authorization_server, new_key
from tests.doubles.browser import browser
from tests.doubles.clocks import SkippingClock
from tests.doubles.hosts import ERAS, http_host, served
from tests.doubles.http_server import INITIALIZE, JSON

pytestmark = [pytest.mark.anyio, pytest.mark.io]

AUDIENCE = "https://tertulia.example/mcp"


@pytest.fixture
async def issuer() -> AsyncGenerator[AuthorizationServer]:
    """Return a running authorization server."""
    async with authorization_server() as server:
        yield server


@asynccontextmanager
async def _tertulia(issuer: AuthorizationServer, store: Path, **flags: object) -> AsyncGenerator[str]:
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        given = {"store": str(store), "discover_agents": False, "public_url": url} | flags
        settings = load({**given, "oauth_issuer": issuer.issuer}, {}).settings
        async with served(build(settings), settings, listener=listener):
            yield url


@pytest.mark.parametrize("era", ERAS)
async def test_a_host_finds_the_way_from_a_refusal_to_a_call(
    issuer: AuthorizationServer, tmp_path: Path, era: str
) -> None:
    """It learns of the issuer, registers, has its person agree, and asks for more once it needs more."""
    async with (
        _tertulia(issuer, tmp_path / "tertulia.db") as url,
        http_host(url, era, {}, auth=browser(url, "alice")) as alice,
        http_host(url, era, {}, auth=browser(url, "bob")) as bob,
    ):
        created = await alice.call("create_conversation", agent="local:archivist", title="Hers")
        its = {"conversation_id": created["conversation_id"]}
        assert (await bob.call("list_conversations"))["conversations"] == []
        await bob.fail("get_conversation", **its)
        assert len((await alice.call("list_conversations"))["conversations"]) == 1
        await alice.call("delete_conversation", **its)
    assert issuer.asked == [
        "conversations:read conversations:write",
        "conversations:read conversations:write",
        "conversations:read conversations:write conversations:admin",
    ]


async def test_a_refusal_says_where_tokens_are_issued(issuer: AuthorizationServer, tmp_path: Path) -> None:
    """As RFC 9728 and RFC 6750 want it; the metadata asks for no token itself."""
    async with _tertulia(issuer, tmp_path / "tertulia.db") as url, httpx.AsyncClient() as client:
        refused = await client.post(url, json=INITIALIZE, headers=JSON)
        wrong = await client.post(url, json=INITIALIZE, headers={**JSON, "authorization": "Bearer x"})
        where = refused.headers["www-authenticate"].partition('resource_metadata="')[2].strip('"')
        metadata = (await client.get(where)).json()

    usual = 'scope="conversations:read conversations:write"'
    assert refused.status_code == wrong.status_code == 401
    assert refused.headers["www-authenticate"] == f'Bearer {usual}, resource_metadata="{where}"'
    assert wrong.headers["www-authenticate"].startswith(f'Bearer error="invalid_token", {usual}')
    assert issuer.issuer in wrong.json()["error"]["message"]
    assert metadata["resource"] == url
    assert metadata["authorization_servers"] == [issuer.issuer]
    assert metadata["scopes_supported"] == [
        "conversations:read",
        "conversations:write",
        "conversations:admin",
    ]
    assert metadata["bearer_methods_supported"] == ["header"]


def _claims(issuer: AuthorizationServer, **other: object) -> dict[str, Any]:
    """Return the usual claims with others; times are seconds from now."""
    now = int(time.time())
    usual: dict[str, object] = {
        "iss": issuer.issuer,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": 600,
        "scope": "conversations:read openid",
    }
    said = usual | other
    return said | {name: now + value for name in ("exp", "nbf") if isinstance(value := said.get(name), int)}


def _tokens(issuer: AuthorizationServer, clock: SkippingClock | None = None) -> AccessTokens:
    return AccessTokens(Issuer(issuer=issuer.issuer, audience=AUDIENCE), clock or SkippingClock())


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": ["https://other.example", AUDIENCE]},
        {"scope": None, "scp": ["conversations:read", "openid"]},
        {"exp": -5},
    ],
    ids=["usual", "several audiences", "scp", "clock of the issuer"],
)
async def test_a_token_names_its_principal_and_scopes(
    issuer: AuthorizationServer, claims: Mapping[str, object]
) -> None:
    """The principal is the subject at its issuer: another issuer's `alice` is somebody else."""
    caller = await _tokens(issuer).caller(issuer.sign(**_claims(issuer, **claims)))
    assert caller.principal == f"{issuer.issuer}#alice"
    assert [*caller.scopes] == ["conversations:read", "openid"]


@pytest.mark.parametrize(
    ("claims", "header", "said"),
    [
        ({"exp": -60}, {}, "has ended"),
        ({"nbf": 600}, {}, "claims are wrong"),
        ({"exp": None}, {}, "claims are wrong"),
        ({"aud": "https://other.example/mcp"}, {}, "was not issued by"),
        ({"aud": f"{AUDIENCE}/"}, {}, "was not issued by"),
        ({"aud": None}, {}, "claims are wrong"),
        ({"iss": "https://evil.example"}, {}, "was not issued by"),
        ({"iss": None}, {}, "claims are wrong"),
        ({"sub": None}, {}, "claims are wrong"),
        ({"sub": ""}, {}, "names nobody"),
        ({"sub": "a\nb"}, {}, "names nobody"),
        ({"sub": "a" * 256}, {}, "names nobody"),
        ({}, {"typ": "logout+jwt"}, "is no access token"),
        ({}, {"kid": "another"}, "does not publish"),
        ({}, {"kid": "../first"}, "does not publish"),
    ],
)
async def test_a_token_that_is_not_for_us_does_not_count(
    issuer: AuthorizationServer, claims: Mapping[str, object], header: dict[str, Any], said: str
) -> None:
    """Whoever signed it; the refusal says what is wrong with it, and nothing of it."""
    token = issuer.sign(header=header, **_claims(issuer, **claims))
    with pytest.raises(NoCallerError, match=said) as refused:
        await _tokens(issuer).caller(token)
    assert token not in str(refused.value)


def _none(issuer: AuthorizationServer) -> str:
    return jwt.encode(_claims(issuer), None, algorithm="none")  # pyright: ignore[reportArgumentType]


def _confused(issuer: AuthorizationServer) -> str:
    """Sign with the public key, as if it were a secret that both sides share."""
    public = issuer.pem(private=False)
    signed = jwt.encode(_claims(issuer), "x" * 64, headers={"kid": "first"}).rpartition(".")[0]
    digest = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url_encode(digest).decode()}"


def _altered(issuer: AuthorizationServer) -> str:
    mine = issuer.sign(**_claims(issuer, sub="mallory")).split(".")
    hers = issuer.sign(**_claims(issuer)).split(".")
    return ".".join([mine[0], hers[1], mine[2]])


def _with_own_key(issuer: AuthorizationServer) -> str:
    """Bring the key along with which to check."""
    key = new_key("first")
    return issuer.sign(header={"jwk": key.as_dict(private=False)}, key=key, **_claims(issuer))


def _critical(issuer: AuthorizationServer) -> str:
    key = issuer.pem(private=True)
    return jwt.encode(
        _claims(issuer), key, "RS256", headers={"kid": "first", "crit": ["bounds"], "bounds": 1}
    )


def _opaque(_: AuthorizationServer) -> str:
    return "x"


def _dots(_: AuthorizationServer) -> str:
    return "a.b.c"


FORGERIES: Sequence[Callable[[AuthorizationServer], str]] = (
    _none,
    _confused,
    _altered,
    _with_own_key,
    _critical,
    _opaque,
    _dots,
)


@pytest.mark.parametrize("forge", FORGERIES)
async def test_a_forged_token_does_not_count(
    issuer: AuthorizationServer, forge: Callable[[AuthorizationServer], str]
) -> None:
    """Neither unsigned, nor signed with what is public, nor with a key that it brings along."""
    tokens = _tokens(issuer)
    with pytest.raises(NoCallerError):
        await tokens.caller(forge(issuer))
    assert (await tokens.caller(issuer.sign(**_claims(issuer)))).principal


async def test_keys_are_fetched_once_and_again_when_they_rotate(issuer: AuthorizationServer) -> None:
    """A new key counts at once; a withdrawn one as long as keys are kept."""
    clock = SkippingClock()
    tokens = _tokens(issuer, clock)
    old = issuer.sign(**_claims(issuer))
    for _ in range(3):
        await tokens.caller(old)
    assert issuer.fetched == 1

    issuer.keys = KeySet([*issuer.keys.keys, new_key("second")])
    new = issuer.sign(**_claims(issuer))
    clock.skip(PAUSE_SECONDS)
    await tokens.caller(new)
    assert issuer.fetched == 2

    issuer.keys = KeySet(issuer.keys.keys[1:])
    await tokens.caller(old)
    clock.skip(FRESH_SECONDS + 1)
    with pytest.raises(NoCallerError, match="does not publish"):
        await tokens.caller(old)
    assert issuer.fetched == 3


async def test_unknown_keys_do_not_have_keys_fetched_again_and_again(issuer: AuthorizationServer) -> None:
    """Whoever invents names of keys does not make us call the issuer for each."""
    tokens = _tokens(issuer)
    for number in range(20):
        with pytest.raises(NoCallerError):
            await tokens.caller(issuer.sign(header={"kid": str(number)}, **_claims(issuer)))
    assert issuer.fetched == 1


async def test_an_issuer_that_is_away_is_not_taken_for_a_wrong_token() -> None:
    """Nobody is let in without keys, and nobody told to get another token; known keys count for a while."""
    clock = SkippingClock()
    async with authorization_server() as issuer:
        tokens, never_there = _tokens(issuer, clock), _tokens(issuer, clock)
        token = issuer.sign(**_claims(issuer))
        await tokens.caller(token)
    with pytest.raises(CallerUnknownError, match="cannot be had"):
        await never_there.caller(token)
    clock.skip(FRESH_SECONDS + 1)
    assert (await tokens.caller(token)).principal == f"{issuer.issuer}#alice"
    clock.skip(STALE_SECONDS + 1)
    with pytest.raises(CallerUnknownError):
        await tokens.caller(token)


async def test_metadata_of_another_issuer_names_no_keys(issuer: AuthorizationServer) -> None:
    """Whoever answers at the address must be who is configured."""
    address, issuer.issuer = issuer.issuer, "https://evil.example"
    tokens = AccessTokens(Issuer(issuer=address, audience=AUDIENCE), SkippingClock())
    with pytest.raises(CallerUnknownError):
        await tokens.caller(issuer.sign(**_claims(issuer, iss=address)))


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost:1/keys",
        "http://localhost:1/keys",
        "https://10.0.0.1/keys",
        "https://169.254.169.254/latest",
        "https://[::1]/keys",
        "https://[::ffff:10.0.0.1]/keys",
        "https://[fd00::1]/keys",
    ],
)
async def test_metadata_sends_nobody_to_a_private_address(
    issuer: AuthorizationServer, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """But to the issuer's own; a configuration may."""
    issuer.jwks_url = url
    with pytest.raises(CallerUnknownError):
        await _tokens(issuer).caller(issuer.sign(**_claims(issuer)))
    assert "not public" in caplog.text
    assert issuer.fetched == 0

    configured = Issuer(issuer=issuer.issuer, audience=AUDIENCE, jwks_url=f"{issuer.issuer}/keys")
    caller = await AccessTokens(configured, SkippingClock()).caller(issuer.sign(**_claims(issuer)))
    assert caller.principal == f"{issuer.issuer}#alice"


async def test_a_token_reaches_nothing_behind_the_check(issuer: AuthorizationServer, tmp_path: Path) -> None:
    """So that it cannot be passed on to any platform."""
    seen: list[Any] = []
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        settings = load(
            {"store": str(tmp_path / "tertulia.db"), "public_url": url, "oauth_issuer": issuer.issuer}, {}
        ).settings
        server = build(settings)

        @server.custom_route("/look", methods=["GET"])
        async def look(request: Any) -> Any:  # pyright: ignore[reportUnusedFunction] - the decorator keeps it
            seen.append((dict(request.headers), request.user.access_token.token))
            return PlainTextResponse("")

        async with served(server, settings, listener=listener), httpx.AsyncClient() as client:
            token = issuer.sign(**_claims(issuer, aud=url))
            await client.get(url.replace("/mcp", "/look"), headers={"authorization": f"Bearer {token}"})
    ((headers, kept),) = seen
    assert "authorization" not in headers
    assert kept == ""
