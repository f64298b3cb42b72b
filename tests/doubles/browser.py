"""The browser to which a host sends its person, so that the host gets tokens of an authorization server."""

from urllib.parse import parse_qs, urlsplit

import httpx
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl


class _Memory:
    """Keeps what a client has got, for as long as the test runs. It is the SDK's `TokenStorage`."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def browser(url: str, person: str) -> OAuthClientProvider:
    """Return what gets tokens for a host, with a browser in which a person agrees to everything."""
    sent_to = ""

    async def redirect(authorize: str) -> None:
        nonlocal sent_to
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{authorize}&as={person}")
        sent_to = answer.headers["location"]

    async def callback() -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(sent_to).query)
        return AuthorizationCodeResult(code=query["code"][0], state=query["state"][0])

    metadata = OAuthClientMetadata(
        client_name="host",
        redirect_uris=[AnyUrl("http://127.0.0.1:9/callback")],
        token_endpoint_auth_method="client_secret_post",
    )
    return OAuthClientProvider(url, metadata, _Memory(), redirect, callback)
