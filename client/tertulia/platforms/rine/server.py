"""Rine's calls, as its SDK 0.13.0 makes them.

A plain read of a message or an inbox marks what it shows as read; with `X-Rine-Peek` it does not (`_constants.py:111`),
so that looking consumes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.rine.access import PLATFORM, Access
from tertulia.platforms.rine.payloads import is_uuid
from tertulia.vocabulary.errors import (
    InvalidInputError,
    NotConfiguredError,
    NotFoundError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.identifiers import conversation_id, shown

Record = Mapping[str, Any]
"""What Rine tells of a conversation or message, as it tells it."""

PAGE = 100
"""How many messages of an inbox are read at once."""
_PEEK = {"x-rine-peek": "1"}


@dataclass(frozen=True, slots=True)
class Actor:
    """The agent that we act as."""

    id: str
    handle: str


class Server:
    """Rine as one instance reaches it. Every method raises as `tertulia.platforms.kit.http.client.Http` does."""

    def __init__(self, access: Access, http: Http) -> None:
        self._access = access
        self._http = http
        self._actor: Actor | None = None

    async def actor(self) -> Actor:
        """Return the agent that we act as: the one that is configured, or the only one of the account.

        Raises:
            NotConfiguredError: there is no such agent, or which one is not clear; or its keys are not here.
        """
        if self._actor is None:
            found = _many(await self._http.get("agents"), "items")
            self._actor = self._choose([one for one in found if isinstance(one.get("id"), str)])
        return self._actor

    async def resolve(self, name: str) -> str:
        """Return the id of the agent with a handle.

        Raises:
            NotFoundError: there is none.
        """
        try:
            found = await self._http.get(".well-known", "webfinger", params={"resource": f"acct:{name}"})
        except (NotFoundError, InvalidInputError) as error:
            raise self._no_agent(name) from error
        aliases: Any = cast(Record, found).get("aliases") if isinstance(found, Mapping) else None
        for alias in cast("list[Any]", aliases) if isinstance(aliases, list) else []:
            path, _, agent_id = str(alias).rpartition("/")
            if path.endswith("/agents") and is_uuid(agent_id):
                return agent_id
        raise self._no_agent(name)

    async def keys(self, agent_id: str) -> Record:
        """Return the published keys of an agent.

        Raises:
            NotFoundError: there is no such agent.
        """
        try:
            return _one(await self._http.get("agents", agent_id, "keys"), "encryption_public_key", safe=True)
        except NotFoundError as error:
            raise self._no_agent(agent_id) from error

    async def send(self, body: bytes, *, key: str) -> Record:
        """Send the first message of a conversation; return it. The same body under the same key arrives once."""
        headers = {**await self._acting(), "idempotency-key": key}
        return _message(await self._http.send("POST", "messages", content=body, headers=headers))

    async def reply(self, message_id: str, body: Mapping[str, Any], *, native_id: str) -> Record:
        """Reply to a message, once; return the reply. The wire has no key for this."""
        return _message(
            await self._http.send(
                *("POST", "messages", message_id, "reply"),
                json=body,
                headers=await self._acting(),
                about=self._about(native_id),
            )
        )

    async def conversation(self, native_id: str) -> Record:
        """Return a conversation's record: status, time and metadata, and nothing that is said in it."""
        return _one(await self._read(native_id), "id", safe=True)

    async def participants(self, native_id: str) -> Sequence[Record]:
        """Return who takes part in a conversation, by id."""
        return _many(await self._read(native_id, "participants"), "items")

    async def messages(self, native_id: str) -> tuple[Sequence[Record], bool]:
        """Return the messages of a conversation, oldest first and each once, and whether these are all.

        Which end of a long history Rine leaves out is not documented, so that what is new is then read from the inbox.
        """
        found = await self._read(native_id, "messages")
        rows = list(_many(found, "messages"))
        truncated = isinstance(found, Mapping) and bool(cast(Record, found).get("truncated"))
        if truncated:
            newest, _ = await self.inbox()
            rows += [row for row in newest if row.get("conversation_id") == native_id]
        usable = {row["id"]: row for row in rows if isinstance(row.get("id"), str)}
        return sorted(usable.values(), key=at), not truncated

    async def inbox(self, cursor: str | None = None) -> tuple[Sequence[Record], str | None]:
        """Return a page of the messages that were sent to us, and the cursor of the next."""
        actor = await self.actor()
        params: dict[str, Any] = {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}
        found = await self._http.get(
            "agents", actor.id, "messages", params=params, headers={**await self._acting(), **_PEEK}
        )
        following: Any = cast(Record, found).get("next_cursor") if isinstance(found, Mapping) else None
        return _many(found, "items"), following if isinstance(following, str) and following else None

    async def move(self, native_id: str, status: str) -> Record:
        """Move a conversation to another state; return its record."""
        self._check(native_id)
        moved = await self._http.send(
            *("PATCH", "conversations", native_id, "status"),
            json={"status": status},
            about=self._about(native_id),
        )
        return _one(moved, "id", safe=False)

    async def _read(self, native_id: str, *path: str) -> Any:
        self._check(native_id)
        headers = {**await self._acting(), **_PEEK} if path == ("messages",) else None
        try:
            return await self._http.get(
                "conversations", native_id, *path, headers=headers, about=self._about(native_id)
            )
        except NotFoundError as error:
            raise self._no_conversation(native_id) from error

    async def _acting(self) -> dict[str, str]:
        return {"x-rine-agent": (await self.actor()).id}

    def _choose(self, agents: Sequence[Record]) -> Actor:
        wanted = self._access.agent
        names = {str(one.get("handle") or one["id"]): one for one in agents}
        fitting = [one for one in agents if wanted is None or _is_called(one, wanted)]
        if len(fitting) != 1:
            problem = (
                f"has no agent {shown(wanted)}"
                if wanted is not None and not fitting
                else "has no agent"
                if not agents
                else "has several agents, and which of them is ours is not clear"
            )
            raise NotConfiguredError(
                f"The account of the instance {self._access.instance} at {PLATFORM} {problem}.",
                valid=sorted(names),
                hint=f"Set `agent` in [instances.{self._access.instance}], or RINE_AGENT, to the handle of one.",
                instance=self._access.instance,
            )
        agent_id = str(fitting[0]["id"])
        if not is_uuid(agent_id) or not (self._access.keys_of(agent_id) / "signing.key").is_file():
            raise NotConfiguredError(
                f"The private keys of {fitting[0].get('handle') or agent_id} are not on this machine.",
                hint=f"They belong in {self._access.config_dir}: set `config_dir` or RINE_CONFIG_DIR to their folder.",
                instance=self._access.instance,
            )
        return Actor(agent_id, str(fitting[0].get("handle") or agent_id))

    def _check(self, native_id: str) -> None:
        if not is_uuid(native_id):
            raise self._no_conversation(native_id)

    def _no_conversation(self, native_id: str) -> NotFoundError:
        own_id = conversation_id(self._access.instance, native_id)
        return NotFoundError(
            f"{PLATFORM} has no conversation {own_id} of ours.",
            hint=f"list_conversations with the instance {self._access.instance} shows those that are known.",
            conversation_id=own_id,
        )

    def _no_agent(self, name: str) -> NotFoundError:
        return NotFoundError(
            f"{PLATFORM} knows no agent {shown(name)}.",
            hint="Check its handle: name@organisation.",
            agent=f"{self._access.instance}:{name}",
        )

    def _about(self, native_id: str) -> dict[str, str]:
        return {"conversation_id": conversation_id(self._access.instance, native_id)}


def moment(value: Any) -> datetime | None:
    """Return a time on the wire (RFC 3339); None for what is none."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def at(row: Record) -> datetime:
    """Return when a message was sent, to compare it with others."""
    return moment(row.get("created_at")) or datetime.min.replace(tzinfo=UTC)


def _is_called(agent: Record, wanted: str) -> bool:
    handle, name = str(agent.get("handle") or ""), str(agent.get("name") or "")
    short = handle.removesuffix(".rine.network")
    return wanted == agent["id"] or wanted.casefold() in {
        known.casefold() for known in (handle, short, name) if known
    }


def _many(found: Any, key: str) -> Sequence[Record]:
    listed: Any = cast(Record, found).get(key) if isinstance(found, Mapping) else found
    if not isinstance(listed, list):
        raise UnavailableError(f"{PLATFORM} answered something else than it should.", retryable=False)
    return [cast(Record, one) for one in cast("list[Any]", listed) if isinstance(one, Mapping)]


def _one(found: Any, key: str, *, safe: bool) -> Record:
    if isinstance(found, Mapping) and cast(Record, found).get(key):
        return cast(Record, found)
    if safe:
        raise UnavailableError(f"{PLATFORM} answered something else than it should.", retryable=False)
    raise UncertainError(
        f"{PLATFORM} answered something else than it should; whether it did what it was asked is not known.",
        hint="Look at the present state before you call again.",
    )


def _message(found: Any) -> Record:
    record = _one(found, "id", safe=False)
    return _one(record, "conversation_id", safe=False)
