"""The calls that an R2R server has for conversations, and what must be looked at before them.

Listing, reading and deleting heed whose a conversation is. Renaming, adding and updating do not: they are made only
after the conversation has been read. R2R wraps everything in `results` (`core/main/api/v3/base_router.py` of 3.6.6).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, cast
from uuid import UUID

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.r2r.rows import Row
from tertulia.vocabulary.errors import NotFoundError, NotOffered, UnavailableError
from tertulia.vocabulary.identifiers import conversation_id, shown

Record = Mapping[str, Any]
"""A conversation as R2R returns it: `id`, `created_at`, `user_id` and `name`."""

IDLE_SECONDS = 300.0
"""How long an agent may be silent: nothing is sent while it thinks or a tool runs. What the vendor's SDK waits."""
MOST_BRANCHES = 1000
_NOWHERE = str(UUID(int=0))


class Server:
    """An R2R server, as one instance uses it.

    Every method may raise what `Http` raises; those that are given a native id, `NotFoundError` if this account has no
    such conversation.
    """

    def __init__(self, instance: str, http: Http) -> None:
        self._instance = instance
        self._http = http
        self._branching: bool | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def branching(self) -> bool:
        """Whether conversations have branches here: on servers of the 3.3 line; later ones lack the call.

        Asked once. Such a server returns no branches of a conversation that it does not have.
        """
        if self._branching is None:
            try:
                await self._http.get("conversations", _NOWHERE, "branches")
            except NotOffered:
                self._branching = False
            else:
                self._branching = True
        return self._branching

    async def create(self, name: str | None) -> Record:
        """Create a conversation."""
        body = {} if name is None else {"name": name}
        return self._one(await self._http.send("POST", "conversations", json=body))

    async def page(self, *, ids: Sequence[str], offset: int, limit: int) -> tuple[Sequence[Record], int]:
        """Return a page of this account's conversations, newest first, and the count of all (0 behind the end)."""
        params: dict[str, Any] = {"offset": offset, "limit": limit}
        if ids:
            params["ids"] = list(ids)
        found = await self._http.get("conversations", params=params)
        return self._many(found), int(found.get("total_entries", 0))

    async def record(self, native_id: str) -> Record:
        """Return a conversation. R2R has no call for one, but lists by ids."""
        self._check(native_id)
        found, _ = await self.page(ids=[native_id], offset=0, limit=1)
        for record in found:
            if record["id"] == native_id:
                return record
        raise self._missing(native_id)

    async def rename(self, native_id: str, name: str | None) -> Record:
        """Name a conversation. Over a missing one, R2R itself would fail with 500."""
        await self.record(native_id)
        path = ("conversations", native_id)
        return self._one(
            await self._http.send("POST", *path, json={"name": name}, about=self._about(native_id))
        )

    async def delete(self, native_id: str) -> None:
        """Delete a conversation with its messages."""
        self._check(native_id)
        await self._http.send("DELETE", "conversations", native_id, about=self._about(native_id))

    async def rows(self, native_id: str, branch: str | None = None) -> Sequence[Row]:
        """Return all messages, oldest first; on a server that has branches, those of one, or of the newest."""
        self._check(native_id)
        params = {} if branch is None else {"branch_id": branch}
        found = await self._http.get("conversations", native_id, params=params, about=self._about(native_id))
        return self._many(found)

    async def branches(self, native_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the branches, newest first, where the server is `branching`."""
        await self.record(native_id)
        path = ("conversations", native_id, "branches")
        return self._many(await self._http.get(*path, params={"limit": MOST_BRANCHES}), key="branch_id")

    async def add(self, native_id: str, body: Mapping[str, Any]) -> Row:
        """Add a message to a conversation that was read before. What comes back lacks the metadata that were kept."""
        path = ("conversations", native_id, "messages")
        return self._one(await self._http.send("POST", *path, json=body, about=self._about(native_id)))

    async def edit(self, native_id: str, message_id: str, body: Mapping[str, Any]) -> Row:
        """Change a message in its place; on a server that has branches, write it anew on one of its own."""
        if all(row["id"] != message_id for row in await self.rows(native_id)):
            own_id = self._id(native_id)
            raise NotFoundError(
                f"The conversation {own_id} has no message {shown(message_id)}.",
                hint="list_messages shows its messages.",
                conversation_id=own_id,
                message_id=message_id,
            )
        path = ("conversations", native_id, "messages", message_id)
        answer = await self._http.send("POST", *path, json=body, about=self._about(native_id))
        if not await self.branching():
            return self._one(answer)
        edited = self._one(answer, key="new_message_id")
        for row in await self.rows(native_id, edited.get("new_branch_id")):
            if row["id"] == edited["new_message_id"]:
                return row
        raise self._foreign()

    def ask(self, native_id: str, body: Mapping[str, Any]) -> AbstractAsyncContextManager[Frames]:
        """Ask the agent in a conversation that was read before; yield what it streams. Leaving ends the answer."""
        about = self._about(native_id)
        # Without the conversation's id, R2R would make one that nobody can find (`retrieval_service.py:1418`).
        named = {**body, "conversation_id": native_id}
        return self._http.stream(
            *("POST", "retrieval", "agent"), safe=False, json=named, idle=IDLE_SECONDS, about=about
        )

    def _one(self, answer: Any, *, key: str = "id") -> Mapping[str, Any]:
        """Return what an answer holds, if it is as R2R answers."""
        found = cast(dict[str, Any], answer).get("results") if isinstance(answer, dict) else None
        if isinstance(found, dict) and key in found:
            return cast(dict[str, Any], found)
        raise self._foreign()

    def _many(self, answer: Any, *, key: str = "id") -> Sequence[Mapping[str, Any]]:
        found = cast(dict[str, Any], answer).get("results") if isinstance(answer, dict) else None
        if isinstance(found, list) and all(
            isinstance(one, dict) and key in one for one in cast(list[Any], found)
        ):
            return cast(list[dict[str, Any]], found)
        raise self._foreign()

    def _foreign(self) -> UnavailableError:
        return UnavailableError(
            f"What answers at the address of the instance {self._instance} is no R2R server.",
            hint="Check `base_url` in the configuration.",
            retryable=False,
            instance=self._instance,
        )

    def _check(self, native_id: str) -> None:
        if not possible(native_id):
            raise self._missing(native_id)

    def _missing(self, native_id: str) -> NotFoundError:
        own_id = self._id(native_id)
        return NotFoundError(
            f"There is no conversation {own_id}, or it belongs to another account.",
            hint="Find it with list_conversations.",
            conversation_id=own_id,
        )

    def _id(self, native_id: str) -> str:
        return conversation_id(self._instance, native_id)

    def _about(self, native_id: str) -> Mapping[str, str]:
        return {"conversation_id": self._id(native_id)}


def possible(native_id: str) -> bool:
    """Whether R2R may have a conversation of this id. Over what is no UUID, its list fails with 500."""
    with suppress(ValueError):
        return str(UUID(native_id)) == native_id  # two spellings of one id would be two conversations to us
    return False
