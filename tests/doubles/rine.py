"""Rine, as its SDK 0.13.0 knows it, with agents of two organisations and real cryptography on both sides.

Ours is `alice`, whose keys are in a folder as `rine onboard` makes one (`folder`). `bob` and `carol` belong to others:
the double has their keys, opens what is sealed for them, checks who signed it, and seals and signs what they say. `bob`
answers at once what the first word of a message asks for (`scripts`), and else with an echo; `carol` never does.

What it can do wrong, beside what a network can (`tests.doubles.network`): forge or spoil what it delivers (`Spoiled`),
deliver twice (`write`), hide keys (`hidden`), revoke tokens (`revoke`), and leave parts of a history out (`keeps`).
A conversation opens with its responder's first answer: that is not documented, but the vendor's example needs it.
"""

import base64
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import anyio
from rine._crypto.dm_envelope import RecipientKeys, open_dm, seal_to_recipient, seal_to_self
from rine._crypto.envelope import decode_envelope, encode_envelope
from rine._crypto.keys import AgentKeys, generate_agent_keys, public_keys_body, save_agent_keys
from rine._crypto.sign import sign_payload, verify_signature
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

REQUEST, RESPONSE, RECEIPT, ERROR = (
    f"rine.v1.{name}" for name in ("task_request", "task_response", "receipt", "error")
)
ROLES = ("initiator", "responder")
NEXT: Mapping[str, frozenset[str]] = {
    "submitted": frozenset({"open", "rejected", "canceled", "failed"}),
    "open": frozenset({"paused", "input_required", "completed", "failed", "canceled"}),
    "paused": frozenset({"open", "completed", "failed", "canceled"}),
    "input_required": frozenset({"open", "completed", "failed", "canceled"}),
}
LARGEST = 128_000
BEGINNING = datetime(2026, 11, 21, 2, 22, 44, tzinfo=UTC)


class Spoiled(StrEnum):
    """What is wrong with a message."""

    CIPHERTEXT = "ciphertext"
    """A bit of it was changed on its way."""
    SIGNATURE = "signature"
    """The words were changed after they were signed."""
    SENDER = "sender"
    """Somebody else has signed it, under their own name."""


class Refusal(Exception):
    """Answered as `{"detail": …}`."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail


@dataclass
class Agent:
    """An agent with its keys."""

    id: str
    name: str
    organisation: str
    keys: AgentKeys
    secret: str

    @property
    def handle(self) -> str:
        """The handle in full."""
        return f"{self.name}@{self.organisation}.rine.network"

    @property
    def client_id(self) -> str:
        """The client id of its organisation."""
        return f"cid_{self.organisation}"

    def record(self) -> dict[str, Any]:
        """Return it as `GET /agents` does."""
        return {
            "id": self.id,
            "name": self.name,
            "handle": self.handle,
            "human_oversight": True,
            "created_at": BEGINNING.isoformat(),
        }

    def open(self, sealed: str) -> tuple[str, bytes, bytes]:
        """Return key id, signature and plaintext of what is sealed for it."""
        inner = decode_envelope(open_dm(self.keys, unquoted(sealed)))
        return inner.kid, inner.signature, inner.payload


@dataclass
class Conversation:
    """A conversation with its messages, oldest first."""

    id: str
    created_at: str
    initiator: Agent
    responder: Agent
    metadata: Mapping[str, Any]
    status: str = "submitted"
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class RineDouble:
    """The API, as `app`. `calls` are the requests that came, `bodies` the messages that were posted, as they came."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "rine"
        self.alice, self.bob, self.carol = (
            Agent(str(uuid.uuid4()), name, organisation, generate_agent_keys(), f"secret-of-{organisation}")
            for name, organisation in (("alice", "acme"), ("bob", "beta"), ("carol", "ceta"))
        )
        self.agents = {one.id: one for one in (self.alice, self.bob, self.carol)}
        self.home(self.alice, self.folder)
        self.conversations: dict[str, Conversation] = {}
        self.scripts: dict[str, Callable[[Conversation, dict[str, Any]], None]] = {
            "hold": silent,
            "receipt": lambda conversation, _: self._say(conversation, {"received": True}, type=RECEIPT),
            "error": lambda conversation, _: self._say(conversation, {"text": "Out of office"}, type=ERROR),
            "data": lambda conversation, _: self._say(conversation, {"rate": 7, "unit": "%"}),
        }
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        self.keys_used: list[str | None] = []
        """The Idempotency-Key of each first message."""
        self.peeked: list[bool] = []
        """Of each reading of messages, whether it asked not to consume them."""
        self.tokens: dict[str, Agent] = {}
        self.hidden: set[str] = set()
        """Agents whose keys cannot be read now."""
        self.lifetime: float = 900
        self.keeps: int | None = None
        """How many messages of a history are shown at most, the oldest; None for all."""
        self.page = 100
        """How many messages a page of the inbox has at most."""
        self.said: list[Any] = []
        """What bob and carol were sent, opened and verified."""
        self._by_key: dict[tuple[str, str], tuple[bytes, dict[str, Any]]] = {}
        self._clock = datetime.now(UTC)
        self._changed = anyio.Event()
        one = "/conversations/{id}"
        routes: Sequence[tuple[str, str, Callable[[Request], Any]]] = (
            ("GET", "/agents", self._agents),
            ("GET", "/agents/{id}/keys", self._keys),
            ("GET", "/agents/{id}/messages", self._inbox),
            ("GET", "/groups/{id}", self._group),
            ("POST", "/messages", self._send),
            ("GET", "/messages/{id}", self._message),
            ("POST", "/messages/{id}/reply", self._reply),
            ("GET", one, self._get),
            ("GET", one + "/messages", self._history),
            ("GET", one + "/participants", self._participants),
            ("PATCH", one + "/status", self._move),
        )
        self.app = Starlette(
            routes=[
                Route("/oauth/token", self._told(self._token), methods=["POST"]),
                Route("/.well-known/webfinger", self._told(self._webfinger), methods=["GET"]),
                *(
                    Route(path, self._told(self._guarded(handle)), methods=[method])
                    for method, path, handle in routes
                ),
            ]
        )

    def home(self, agent: Agent, folder: Path) -> Path:
        """Make the folder of an agent's SDK, as `rine onboard` does; return it."""
        folder.mkdir(parents=True)
        credentials = {"default": {"client_id": agent.client_id, "client_secret": agent.secret}}
        (folder / "credentials.json").write_text(json.dumps(credentials))
        save_agent_keys(str(folder), agent.id, agent.keys)
        return folder

    def revoke(self) -> None:
        """Let every token be refused from now on."""
        self.tokens.clear()

    def write(
        self,
        payload: Any,
        *,
        into: str | None = None,
        sender: Agent | None = None,
        type: str = REQUEST,
        spoiled: Spoiled | None = None,
        times: int = 1,
    ) -> str:
        """Have an agent write to alice: into a conversation, or a new one. Return the conversation's id."""
        sender = sender or self.bob
        conversation = self._begin(sender, self.alice, {}) if into is None else self.conversations[into]
        for _ in range(times):
            self._say(conversation, payload, sender=sender, type=type, spoiled=spoiled)
        return conversation.id

    def turn(self, conversation_id: str, status: str) -> None:
        """Move a conversation, as the other side does."""
        self.conversations[conversation_id].status = status
        self._touch()

    async def called(self, end: str, times: int = 1) -> None:
        """Return once so many calls have come whose path ends like this."""
        while sum(call.endswith(end) for call in self.calls) < times:
            await self._changed.wait()

    def posts(self) -> list[str]:
        """Return the paths that something was posted to, but for tokens."""
        posted = [call.partition(" ")[2] for call in self.calls if call.startswith("POST ")]
        return [path for path in posted if path != "/oauth/token"]

    def _touch(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _now(self) -> str:
        self._clock = max(datetime.now(UTC), self._clock + timedelta(microseconds=1))
        return self._clock.isoformat().replace("+00:00", "Z")

    def _told(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def told(request: Request) -> Response:
            self.calls.append(f"{request.method} {request.scope['raw_path'].decode()}")
            self._touch()
            try:
                return await handle(request)
            except Refusal as refusal:
                return JSONResponse({"detail": refusal.detail}, status_code=refusal.status)

        return told

    def _guarded(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind != "Bearer" or token not in self.tokens:
                raise Refusal(401, "Token expired")
            return await handle(request)

        return guarded

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        for agent in self.agents.values():
            given = (form.get("grant_type"), form.get("client_id"), form.get("client_secret"))
            if given == ("client_credentials", agent.client_id, agent.secret):
                token = f"tok-{uuid.uuid4().hex}"
                self.tokens[token] = agent
                return JSONResponse(
                    {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime}
                )
        raise Refusal(401, "Invalid client credentials")

    async def _webfinger(self, request: Request) -> Response:
        resource = request.query_params.get("resource", "")
        for agent in self.agents.values():
            if resource == f"acct:{agent.handle}":
                aliases = [f"https://rine.network/agents/{agent.id}"]
                return JSONResponse({"subject": resource, "aliases": aliases})
        raise Refusal(404, "Resource not found")

    async def _agents(self, request: Request) -> Response:
        return JSONResponse({"items": [self._caller(request).record()], "total": 1})

    async def _keys(self, request: Request) -> Response:
        agent = self.agents.get(request.path_params["id"])
        if agent is None:
            raise Refusal(404, "Agent not found")
        if agent.id in self.hidden:
            raise Refusal(503, "Keys are out of reach")
        return JSONResponse({"agent_id": agent.id, **public_keys_body(agent.keys)})

    async def _group(self, request: Request) -> Response:
        raise Refusal(404, "Group not found")

    async def _send(self, request: Request) -> Response:
        sender = self._acting(request)
        raw = await request.body()
        key = request.headers.get("idempotency-key")
        self.bodies.append(raw)
        self.keys_used.append(key)
        if key is not None and (sender.id, key) in self._by_key:
            first, row = self._by_key[sender.id, key]
            if first != raw:
                raise Refusal(409, "Idempotency key reused with a different payload")
            return JSONResponse(row, status_code=200)
        body = self._checked(raw)
        recipient = self.agents.get(str(body.get("to_agent_id")))
        if recipient is None:
            raise Refusal(404, "Recipient not found")
        if recipient is sender:
            raise Refusal(422, "Cannot send a message to yourself")
        conversation = self._begin(sender, recipient, body.get("conversation_metadata") or {})
        row = self._enter(conversation, sender, body)
        if key is not None:
            self._by_key[sender.id, key] = raw, row
        self._answer(conversation, row)
        return JSONResponse(row, status_code=201)

    async def _reply(self, request: Request) -> Response:
        sender = self._acting(request)
        raw = await request.body()
        self.bodies.append(raw)
        original, conversation = self._row(request.path_params["id"])
        if original["to_agent_id"] != sender.id:
            raise Refusal(403, "Only the addressee may reply")
        if conversation.status not in NEXT:
            raise Refusal(409, f"Conversation is {conversation.status}")
        row = self._enter(conversation, sender, self._checked(raw))
        self._answer(conversation, row)
        return JSONResponse(row, status_code=201)

    async def _message(self, request: Request) -> Response:
        row, _ = self._row(request.path_params["id"])
        self._seen(request, [row])
        return JSONResponse(row)

    async def _inbox(self, request: Request) -> Response:
        agent = self._acting(request)
        if request.path_params["id"] != agent.id:
            raise Refusal(403, "Not your inbox")
        rows = [row for one in self.conversations.values() for row in one.rows]
        status = request.query_params.get("status")
        rows = [
            row
            for row in sorted(rows, key=lambda row: row["created_at"], reverse=True)
            if row["to_agent_id"] == agent.id and (status != "new" or row["delivered_at"] is None)
        ]
        start = int(request.query_params.get("cursor", 0))
        end = start + min(int(request.query_params.get("limit", 20)), self.page)
        self._seen(request, rows[start:end])
        return JSONResponse(
            {
                "items": [shown_to(agent, row) for row in rows[start:end]],
                "total": len(rows),
                "next_cursor": str(end) if end < len(rows) else None,
                "prev_cursor": None,
            }
        )

    async def _get(self, request: Request) -> Response:
        return JSONResponse(record(self._conversation(request)))

    async def _history(self, request: Request) -> Response:
        conversation = self._conversation(request)
        agent = self._acting(request)
        rows = conversation.rows[: self.keeps]
        self._seen(request, rows)
        listed = [
            {**shown_to(agent, row), "direction": "sent" if row["from_agent_id"] == agent.id else "received"}
            for row in rows
        ]
        return JSONResponse({"messages": listed, "truncated": len(rows) < len(conversation.rows)})

    async def _participants(self, request: Request) -> Response:
        conversation = self._conversation(request)
        items = [
            {
                "id": str(uuid.uuid4()),
                "conversation_id": conversation.id,
                "agent_id": agent.id,
                "role": role,
                "joined_at": conversation.created_at,
            }
            for role, agent in zip(ROLES, (conversation.initiator, conversation.responder), strict=True)
        ]
        return JSONResponse({"items": items, "total": len(items)})

    async def _move(self, request: Request) -> Response:
        conversation = self._conversation(request)
        wanted = (await request.json()).get("status")
        if wanted not in NEXT.get(conversation.status, frozenset()):
            raise Refusal(409, f"Invalid transition from '{conversation.status}' to '{wanted}'")
        conversation.status = wanted
        self._touch()
        return JSONResponse(record(conversation))

    def _caller(self, request: Request) -> Agent:
        return self.tokens[request.headers["authorization"].partition(" ")[2]]

    def _acting(self, request: Request) -> Agent:
        """Return the agent that a call acts as: that of the header, which must be the caller's, or its only one."""
        caller = self._caller(request)
        named = request.headers.get("x-rine-agent", caller.id)
        if named not in {caller.id, caller.handle}:
            raise Refusal(422, f"Agent {named} not found or not owned by this org")
        return caller

    def _conversation(self, request: Request) -> Conversation:
        found = self.conversations.get(request.path_params["id"])
        caller = self._caller(request)
        if found is None or caller.id not in {found.initiator.id, found.responder.id}:
            raise Refusal(404, "Conversation not found")
        return found

    def _row(self, message_id: str) -> tuple[dict[str, Any], Conversation]:
        for conversation in self.conversations.values():
            for row in conversation.rows:
                if row["id"] == message_id:
                    return row, conversation
        raise Refusal(404, "Message not found")

    def _seen(self, request: Request, rows: Sequence[dict[str, Any]]) -> None:
        peeks = request.headers.get("x-rine-peek") == "1"
        self.peeked.append(peeks)
        for row in rows:
            if not peeks and row["to_agent_id"] == self._caller(request).id:
                row["delivered_at"] = row["delivered_at"] or self._now()
                row["read_at"] = row["read_at"] or self._now()

    def _checked(self, raw: bytes) -> dict[str, Any]:
        try:
            body = cast(dict[str, Any], json.loads(raw))
        except ValueError:
            raise Refusal(422, [{"loc": ["body"], "msg": "Invalid JSON", "type": "json"}]) from None
        for name in ("type", "encrypted_payload", "encryption_version", "sender_signing_kid"):
            if not isinstance(body.get(name), str):
                raise Refusal(422, [{"loc": ["body", name], "msg": "Field required", "type": "missing"}])
        if body["type"].count(".") < 2:
            raise Refusal(422, [{"loc": ["body", "type"], "msg": "Too few segments", "input": body["type"]}])
        if len(body["encrypted_payload"]) > LARGEST:
            raise Refusal(422, "Payload too large")
        return body

    def _begin(self, initiator: Agent, responder: Agent, metadata: Mapping[str, Any]) -> Conversation:
        conversation = Conversation(str(uuid.uuid4()), self._now(), initiator, responder, metadata)
        self.conversations[conversation.id] = conversation
        return conversation

    def _enter(self, conversation: Conversation, sender: Agent, body: Mapping[str, Any]) -> dict[str, Any]:
        recipient = (
            conversation.responder if sender.id == conversation.initiator.id else conversation.initiator
        )
        row: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "conversation_id": conversation.id,
            "from_agent_id": sender.id,
            "to_agent_id": recipient.id,
            "type": body["type"],
            "encrypted_payload": body["encrypted_payload"],
            "self_encrypted_payload": body.get("self_encrypted_payload"),
            "encryption_version": body["encryption_version"],
            "sender_signing_kid": body["sender_signing_kid"],
            "parent_conversation_id": None,
            "content_type": body.get("content_type"),
            "metadata": body.get("metadata") or {},
            "created_at": self._now(),
            "delivered_at": None,
            "read_at": None,
            "sender_handle": sender.handle,
            "recipient_handle": recipient.handle,
            "group_id": None,
            "group_handle": None,
        }
        conversation.rows.append(row)
        if (
            sender is conversation.responder
            and conversation.status == "submitted"
            and body["type"] != RECEIPT
        ):
            conversation.status = "open"
        self._touch()
        return row

    def _say(
        self,
        conversation: Conversation,
        payload: Any,
        *,
        sender: Agent | None = None,
        type: str = RESPONSE,
        spoiled: Spoiled | None = None,
    ) -> None:
        """Have an agent say something, sealed and signed as the SDK does it (`_crypto/message.py`)."""
        sender = sender or self.bob
        reader = conversation.initiator if sender.id == conversation.responder.id else conversation.responder
        plaintext = json.dumps(payload, separators=(",", ":")).encode()
        signer = self.carol if spoiled is Spoiled.SENDER else sender
        signed = plaintext + b" " if spoiled is Spoiled.SIGNATURE else plaintext
        inner = encode_envelope(
            f"rine:{signer.id}", sign_payload(signer.keys.signing.private_key, signed), plaintext
        )
        sealed, version = seal_to_recipient(public(reader), inner)
        if spoiled is Spoiled.CIPHERTEXT:
            sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        body = {
            "type": type,
            "encrypted_payload": quoted(sealed),
            "encryption_version": str(version),
            "sender_signing_kid": f"rine:{signer.id}",
            "self_encrypted_payload": quoted(seal_to_self(sender.keys, inner)),
        }
        self._enter(conversation, sender, body)

    def _answer(self, conversation: Conversation, row: dict[str, Any]) -> None:
        """Let bob answer what was sent to him, once it is seen to be sealed for him and signed by its sender."""
        reader, sender = self.agents[row["to_agent_id"]], self.agents[row["from_agent_id"]]
        if reader is self.alice:
            return
        kid, signature, plaintext = reader.open(row["encrypted_payload"])
        assert kid == f"rine:{sender.id}" == row["sender_signing_kid"]
        assert verify_signature(sender.keys.signing.public_key, plaintext, signature)
        assert (
            row["self_encrypted_payload"] is None
            or sender.open(row["self_encrypted_payload"])[2] == plaintext
        )
        payload = json.loads(plaintext)
        self.said.append(payload)
        if reader is not self.bob:
            return
        text = cast(dict[str, Any], payload).get("text") if isinstance(payload, dict) else None
        script = self.scripts.get(str(text).partition(" ")[0])
        if script is not None:
            script(conversation, row)
        else:
            self._say(conversation, {"text": f"You said: {text}"})


def silent(conversation: Conversation, row: dict[str, Any]) -> None:
    """Say nothing, for now."""


def public(agent: Agent) -> RecipientKeys:
    """Return the published keys of an agent, for sealing."""
    pq = agent.keys.pq_encryption
    return RecipientKeys(agent.keys.encryption.public_key, None if pq is None else pq.public_key)


def record(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as Rine shows it."""
    return {
        "id": conversation.id,
        "status": conversation.status,
        "created_at": conversation.created_at,
        "parent_conversation_id": None,
        "metadata": conversation.metadata,
    }


def shown_to(agent: Agent, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as an agent is shown it: only its sender gets the copy that is sealed for the sender."""
    own = row["from_agent_id"] == agent.id
    return {**row, "self_encrypted_payload": row["self_encrypted_payload"] if own else None}


def quoted(sealed: bytes) -> str:
    """Return bytes as the wire has them."""
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def unquoted(sealed: str) -> bytes:
    """Return bytes from the wire."""
    return base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
