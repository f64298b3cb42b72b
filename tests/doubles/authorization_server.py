"""An OAuth 2.1 authorization server: Authlib's, with the routes that hosts ask for, and people who always agree.

It registers clients (RFC 7591), sends codes under PKCE, and issues tokens that are signed for the resource which the
client names (RFC 9068, RFC 8707). Whoever asks for a code says as whom, in the query: a browser would have a cookie.
"""

# pyright: basic, reportOptionalMemberAccess=false, reportAttributeAccessIssue=false, reportReturnType=false
# pyright: reportArgumentType=false

import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer as Authlib
from authlib.oauth2.rfc6749 import ClientMixin, JsonPayload, JsonRequest, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.network import served

SCOPES = ["conversations:read", "conversations:write", "conversations:admin"]


@dataclass
class User:
    """Who agrees."""

    name: str

    def get_user_id(self) -> str:
        """See Authlib."""
        return self.name


@dataclass
class Client(ClientMixin):
    """A registered client; its methods are Authlib's."""

    info: dict[str, Any]

    def get_client_id(self):
        return self.info["client_id"]

    def get_default_redirect_uri(self):
        return self.info["redirect_uris"][0]

    def get_allowed_scope(self, scope):
        return " ".join(each for each in (scope or "").split() if each in SCOPES)

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri in self.info["redirect_uris"]

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(self.info["client_secret"], client_secret)

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.info.get("token_endpoint_auth_method", "client_secret_basic")

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


@dataclass
class Code:
    """A code that was sent, and what it is for; its methods are Authlib's."""

    code: str
    user: User
    scope: str
    redirect_uri: str
    challenge: str
    resource: str

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return None


@dataclass
class AuthorizationServer:
    """What a test knows of the server, and can change."""

    issuer: str = ""
    keys: KeySet = field(default_factory=lambda: KeySet([new_key("first")]))
    """The keys that it publishes; it signs with the last one."""
    fetched: int = 0
    """How often the keys were fetched."""
    jwks_url: str | None = None
    """Where its metadata says that its keys are, instead of where they are."""
    lifetime: int = 600
    audience: str | None = None
    """The audience of its tokens, instead of the resource that the client names."""
    clients: dict[str, Client] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The scopes that clients have asked for, in order."""

    def sign(self, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        """Return a token that it never issued; a claim that is None is left out."""
        signing = key or self.keys.keys[-1]
        named = {"alg": "RS256", "typ": "at+jwt", "kid": signing.kid, **(header or {})}
        said = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(named, said, signing, algorithms=[named["alg"]])

    def pem(self, *, private: bool) -> bytes:
        """Return its first key as a PEM."""
        return self.keys.keys[0].as_pem(private=private)


def new_key(name: str) -> RSAKey:
    """Return a key to sign with."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


@asynccontextmanager
async def authorization_server() -> AsyncGenerator[AuthorizationServer]:
    """Serve on loopback."""
    state = AuthorizationServer()
    async with served(_app(state)) as url:
        state.issuer = url
        yield state


def _app(state: AuthorizationServer) -> Starlette:
    async def metadata(_: Request) -> Response:
        return JSONResponse(
            {
                "issuer": state.issuer,
                "authorization_endpoint": f"{state.issuer}/authorize",
                "token_endpoint": f"{state.issuer}/token",
                "registration_endpoint": f"{state.issuer}/register",
                "jwks_uri": state.jwks_url or f"{state.issuer}/keys",
                "scopes_supported": SCOPES,
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def keys(_: Request) -> Response:
        state.fetched += 1
        return JSONResponse(state.keys.as_dict(private=False))

    async def authorize(request: Request) -> Response:
        server = _server(state)
        asked = _Asked(request, dict(request.query_params))
        state.asked.append(request.query_params.get("scope", ""))
        grant = server.get_consent_grant(asked, end_user=None)
        user = User(request.query_params["as"])
        return server.create_authorization_response(asked, grant_user=user, grant=grant)

    async def token(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return _server(state).create_token_response(_Asked(request, form))

    async def register(request: Request) -> Response:
        return _server(state).create_endpoint_response(
            "client_registration", _Asked(request, await request.json())
        )

    return Starlette(
        routes=[
            Route("/.well-known/oauth-authorization-server", metadata),
            Route("/keys", keys),
            Route("/authorize", authorize),
            Route("/token", token, methods=["POST"]),
            Route("/register", register, methods=["POST"]),
        ]
    )


@dataclass
class _Asked:
    """A request with what its body or query says."""

    request: Request
    data: dict[str, Any]


class _Request(OAuth2Request):
    def __init__(self, asked: _Asked) -> None:
        # Authlib serves under https only, which a proxy would do.
        url = str(asked.request.url).replace("http://", "https://", 1)
        super().__init__(asked.request.method, url, headers=asked.request.headers)
        self.payload = BasicOAuth2Payload(asked.data)

    @property
    def args(self):
        return self.payload.data

    @property
    def form(self):
        return self.payload.data


class _JsonPayload(JsonPayload):
    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def data(self):
        return self._data


def _server(state: AuthorizationServer) -> Authlib:
    """Return Authlib's server, with what `state` holds as its storage."""
    resource = ""

    class Server(Authlib):
        def query_client(self, client_id):
            return state.clients.get(client_id)

        def save_token(self, token, request):
            pass

        def create_oauth2_request(self, request):
            return _Request(request)

        def create_json_request(self, request):
            made = JsonRequest(request.request.method, str(request.request.url), request.request.headers)
            made.payload = _JsonPayload(request.data)
            return made

        def handle_response(self, status, body, headers):
            content = json.dumps(body) if isinstance(body, dict) else body
            return Response(content, status, dict(headers))

        def send_signal(self, name, *args, **kwargs):
            pass

    class CodeGrant(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]

        def save_authorization_code(self, code, request):
            data = request.payload.data
            state.codes[code] = Code(
                code,
                request.user,
                request.scope,
                request.payload.redirect_uri,
                data["code_challenge"],
                data["resource"],
            )

        def query_authorization_code(self, code, client):
            nonlocal resource
            found = state.codes.get(code)
            resource = found.resource if found else ""
            return found

        def delete_authorization_code(self, authorization_code):
            del state.codes[authorization_code.code]

        def authenticate_user(self, authorization_code):
            return authorization_code.user

    class Challenge(CodeChallenge):
        def get_authorization_code_challenge(self, authorization_code):
            return authorization_code.challenge

        def get_authorization_code_challenge_method(self, authorization_code):
            return "S256"

    class Registration(ClientRegistrationEndpoint):
        def authenticate_token(self, request):
            return "anybody"

        def get_server_metadata(self):
            return {}

        def save_client(self, client_info, client_metadata, request):
            client = Client({**client_metadata, **client_info})
            state.clients[client.get_client_id()] = client
            return client

    class Tokens(JWTBearerTokenGenerator):
        def get_jwks(self):
            return KeySet([state.keys.keys[-1]])

        def get_audiences(self, client, user, scope):
            return state.audience or resource

    server = Server(scopes_supported=SCOPES)
    server.register_token_generator(
        "default", Tokens(state.issuer, expires_generator=lambda client, grant: state.lifetime)
    )
    server.register_grant(CodeGrant, [Challenge(required=True)])
    server.register_endpoint(Registration)
    return server
