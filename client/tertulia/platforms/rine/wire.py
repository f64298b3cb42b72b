"""Rine's calls, as its SDK 0.13.0 makes them, and what its refusals mean.

A plain read of a message or an inbox marks what it shows as read; with `X-Rine-Peek` it does not (`_constants.py:111`),
so that looking consumes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning, read_detail
from tertulia.platforms.kit.http.tokens import TokenAuth, TokenSource, client_credentials
from tertulia.platforms.kit.http.values import is_uuid, table, tables, text
from tertulia.platforms.rine.mapping import ANYBODY, DOMAIN, PLATFORM, Actor, History, Record, at, handle
from tertulia.platforms.rine.settings import RineSettings
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
)
from tertulia.vocabulary.identifiers import split_agent_address
from tertulia.vocabulary.untrusted import named, shown

PAGE = 100
"""How many messages of an inbox are read at once."""
_PEEK = {"x-rine-peek": "1"}
_DEFAULT_LIFETIME = 900.0

ERRORS = ErrorTable(
    PLATFORM,
    {
        401: Meaning(
            NotConfiguredError,
            "{platform} does not accept the token of the instance {instance}.",
            "Check `client_id` and `client_secret`: `rine onboard` makes new ones.",
        ),
        403: Meaning(
            NotAllowedError,
            "{platform} does not allow this to the account of {instance}.",
            "Sending needs a verified account, and only who takes part in a conversation may read it.",
        ),
        409: Meaning(
            ConflictError,
            "{platform} finds that this does not fit the present state of {conversation_id}.",
            "get_conversation shows how it stands.",
        ),
    },
    lambda body: (None, read_detail(body), None),
)
"""What Rine's refusals mean (`errors.py:648-657`, `_http.py:55-67` of the SDK)."""


def login(settings: RineSettings) -> TokenAuth:
    """Return what exchanges client id and secret for a token of fifteen minutes (`_http.py:136-151` of the SDK).

    They go in the body: what the SDK does, where the vendor's page speaks of Basic authentication.
    """
    return TokenAuth(
        TokenSource(
            platform=PLATFORM,
            instance=settings.instance,
            url=f"{settings.base_url}/oauth/token",
            form=client_credentials(settings.client_id or "", settings.client_secret or ""),
            options="`client_id` and `client_secret` (`rine onboard` makes new ones)",
            refusals={400, 401, 403, 422},
            lifetime=_DEFAULT_LIFETIME,
        )
    )


class Wire:
    """Rine's calls for one instance. Every method raises as `tertulia.platforms.kit.http.client.Http` does."""

    def __init__(self, settings: RineSettings, clock: Clock) -> None:
        self.instance = settings.instance
        self.http = Http(
            settings.instance,
            ERRORS,
            base_url=settings.base_url,
            headers={},
            auth=login(settings),
            missing=settings.missing,
            clock=clock,
            limits=settings.limits,
            connections=settings.connections,
        )
        self._settings = settings
        self._actor: Actor | None = None

    async def actor(self) -> Actor:
        """Return the agent that the instance acts as: the one that is configured, or the account's only one.

        Raises:
            NotConfiguredError: there is no such agent, or which one is not clear; or its keys are not here.
        """
        if self._actor is None:
            found = self._many(await self.http.get("agents"), "items", "a list of agents")
            self._actor = self._choose([one for one in found if isinstance(one.get("id"), str)])
        return self._actor

    async def agent_id(self, address: str) -> str:
        """Return the id of an agent that somebody wants to write to, by its alias, its handle, or that id itself.

        Raises:
            NotFoundError: there is none.
            InvalidInputError: it is the actor itself, or no agent's address.
        """
        actor_id, name = (await self.actor()).id, split_agent_address(address)[1]
        if name == ANYBODY:
            raise InvalidInputError(
                f"{named(address)} stands for the agents of {PLATFORM}, and is none itself.",
                hint=f"Put the handle of one in the place of {ANYBODY}.",
            )
        aliases, instance = self._settings.aliases, self._settings.instance
        if not is_uuid(name) and "@" not in name and name not in aliases:
            raise NotFoundError(
                f"There is no agent {named(address)}.",
                valid=[f"{instance}:{alias}" for alias in aliases],
                hint=f"Address it by its handle: {instance}:{ANYBODY}.",
                agent=address,
            )
        found = name if is_uuid(name) else await self._resolve(aliases.get(name) or handle(name))
        if found == actor_id:
            raise InvalidInputError(
                f"{named(address)} is the agent that we act as: it cannot write to itself.",
                hint="list_agents shows who can be talked to.",
            )
        return found

    async def keys(self, agent_id: str) -> Record:
        """Return the published keys of an agent.

        Raises:
            NotFoundError: there is no such agent.
        """
        try:
            found = await self.http.get("agents", agent_id, "keys")
        except NotFoundError as error:
            raise self._no_agent(agent_id) from error
        if not table(found).get("encryption_public_key"):
            raise self.http.foreign("an agent's keys")
        return table(found)

    async def send(self, body: bytes, *, key: str) -> Record:
        """Send the first message of a conversation; return it. The same body under the same key arrives once."""
        headers = {**await self._acting(), "idempotency-key": key}
        return self._message(await self.http.send("POST", "messages", content=body, headers=headers))

    async def reply(self, message_id: str, body: Mapping[str, Any], *, native_id: str) -> Record:
        """Reply to a message; return the reply. The wire has no key for this: each call sends another one."""
        return self._message(
            await self.http.send(
                *("POST", "messages", message_id, "reply"),
                json=body,
                headers=await self._acting(),
                about=self.http.about(native_id),
            )
        )

    async def conversation(self, native_id: str) -> Record:
        """Return a conversation's record: status, time and metadata, and nothing that is said in it."""
        return self.http.one(await self._read(native_id), key="id", what="a conversation")

    async def participants(self, native_id: str) -> Sequence[Record]:
        """Return who takes part in a conversation, by id."""
        return self._many(await self._read(native_id, "participants"), "items", "a list of participants")

    async def history(self, native_id: str) -> History:
        """Return the messages of a conversation, each once.

        Which end of a long history Rine leaves out is not documented, so that what is new is then read from the inbox.
        """
        found = await self._read(native_id, "messages", acting=True)
        rows = list(self._many(found, "messages", "a list of messages"))
        truncated = bool(table(found).get("truncated"))
        if truncated:
            newest, _ = await self.inbox()
            rows += [row for row in newest if row.get("conversation_id") == native_id]
        usable = {row["id"]: row for row in rows if isinstance(row.get("id"), str)}
        return History(await self.actor(), sorted(usable.values(), key=at), not truncated)

    async def inbox(self, cursor: str | None = None) -> tuple[Sequence[Record], str | None]:
        """Return a page of the messages that were sent to the actor, and the cursor of the next."""
        actor = await self.actor()
        params: dict[str, Any] = {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}
        found = await self.http.get(
            "agents", actor.id, "messages", params=params, headers={**await self._acting(), **_PEEK}
        )
        return self._many(found, "items", "a list of messages"), text(table(found).get("next_cursor"))

    async def move(self, native_id: str, status: str) -> None:
        """Move a conversation to another state."""
        self._check(native_id)
        moved = await self.http.send(
            *("PATCH", "conversations", native_id, "status"),
            json={"status": status},
            about=self.http.about(native_id),
        )
        self.http.one(moved, key="id", what="a conversation", safe=False)

    async def _resolve(self, name: str) -> str:
        try:
            found = await self.http.get(".well-known", "webfinger", params={"resource": f"acct:{name}"})
        except (NotFoundError, InvalidInputError) as error:
            raise self._no_agent(name) from error
        aliases: Any = table(found).get("aliases")
        for alias in cast("list[Any]", aliases) if isinstance(aliases, list) else []:
            path, _, agent_id = str(alias).rpartition("/")
            if path.endswith("/agents") and is_uuid(agent_id):
                return agent_id
        raise self._no_agent(name)

    async def _read(self, native_id: str, *path: str, acting: bool = False) -> Any:
        self._check(native_id)
        headers = {**await self._acting(), **_PEEK} if acting else None
        about = self.http.about(native_id)
        try:
            return await self.http.get("conversations", native_id, *path, headers=headers, about=about)
        except NotFoundError as error:
            raise self.http.no_conversation(native_id) from error

    async def _acting(self) -> dict[str, str]:
        return {"x-rine-agent": (await self.actor()).id}

    def _message(self, found: Any) -> Record:
        for key in ("id", "conversation_id"):
            self.http.one(found, key=key, what="a message", safe=False)
        return table(found)

    def _many(self, found: Any, key: str, what: str) -> Sequence[Record]:
        listed: Any = table(found).get(key) if isinstance(found, Mapping) else found
        if not isinstance(listed, list):
            raise self.http.foreign(what)
        return tables(listed)

    def _choose(self, agents: Sequence[Record]) -> Actor:
        instance, wanted = self._settings.instance, self._settings.agent
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
                f"The account of the instance {instance} at {PLATFORM} {problem}.",
                valid=sorted({_name(one) for one in agents}),
                hint=f"Set `agent` in [instances.{instance}], or RINE_AGENT, to the handle of one.",
                instance=instance,
            )
        actor = Actor(str(fitting[0]["id"]), _name(fitting[0]))
        folder = self._settings.config_dir
        if not is_uuid(actor.id) or not self._settings.has_keys(actor.id):
            raise NotConfiguredError(
                f"The private keys of {named(actor.handle)} are not on this machine.",
                hint=f"They belong in {folder}: set `config_dir` or RINE_CONFIG_DIR to their folder.",
                instance=instance,
            )
        return actor

    def _check(self, native_id: str) -> None:
        if not is_uuid(native_id):
            raise self.http.no_conversation(native_id)

    def _no_agent(self, name: str) -> NotFoundError:
        return NotFoundError(
            f"{PLATFORM} knows no agent {shown(name)}.",
            hint="Check its handle: name@organisation.",
            agent=f"{self._settings.instance}:{name}",
        )


def _name(agent: Record) -> str:
    return str(agent.get("handle") or agent["id"])


def _is_called(agent: Record, wanted: str) -> bool:
    full, name = str(agent.get("handle") or ""), str(agent.get("name") or "")
    known = {one.casefold() for one in (full, full.removesuffix(DOMAIN), name) if one}
    return wanted == agent["id"] or wanted.casefold() in known
