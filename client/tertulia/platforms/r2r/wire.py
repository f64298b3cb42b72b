"""R2R's v3 wire as of 3.6.6: its calls for conversations, its login, and what its refusals mean.

Listing, reading and deleting heed whose a conversation is. Renaming, adding and updating do not: they are made only
after the conversation has been read. R2R wraps everything in `results` (`core/main/api/v3/base_router.py`).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning, read_detail
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.tokens import TokenAuth, TokenSource
from tertulia.platforms.kit.http.values import is_uuid, table, text
from tertulia.platforms.kit.secrets import Secret
from tertulia.platforms.r2r.mapping import PLATFORM, Record, Row
from tertulia.vocabulary.errors import NotConfiguredError, NotOffered

IDLE_SECONDS = 300.0
"""How long an agent may be silent: nothing is sent while it thinks or a tool runs. What the vendor's SDK waits."""
MOST_BRANCHES = 1000
_NO_ROUTE = "no_route"
"""Our code for a path that the server does not have: `{"detail": "Not Found"}`. A missing conversation is named."""
_NO_CREDENTIALS = "no_credentials"
"""Our code for a request without credentials to a server that asks for them."""
_NOWHERE = str(UUID(int=0))


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read a refusal in any of R2R's three shapes.

    `{"message", "error_type"}` (an R2RException), `{"detail": text or {"message", …}}`, `{"detail": [{loc, msg}, …]}`.
    """
    words = read_detail(body) or text(table(body).get("message"))
    if words == "Not Found":
        return _NO_ROUTE, None, None
    if words and words.startswith(
        "No credentials provided"
    ):  # and on to a service of the vendor's that is no more
        return _NO_CREDENTIALS, None, None
    return None, words, None


ERRORS = ErrorTable(
    PLATFORM,
    {
        _NO_ROUTE: Meaning(
            NotOffered,
            "The R2R server of the instance {instance} does not know this call.",
            "Its version may be another; otherwise check `base_url` in the configuration.",
        ),
        _NO_CREDENTIALS: Meaning(
            NotConfiguredError,
            "R2R asks for credentials, and the instance {instance} has none.",
            "Set `api_key` (or R2R_API_KEY), or `email` and `password` (or R2R_EMAIL and R2R_PASSWORD).",
        ),
    },
    _refusal,
)


def login(instance: str, base_url: str, email: str, password: Secret) -> TokenAuth:
    """Return what logs in when that is needed: at first, and again once when a token is refused."""
    return TokenAuth(
        TokenSource(
            platform=PLATFORM,
            instance=instance,
            url=f"{base_url}/users/login",
            form={"username": email, "password": password},
            options="`email` and `password`",
            refusals={401, 404, 422},  # wrong, unknown, or no address at all
            read=lambda body: body["results"]["access_token"]["token"],
        )
    )


class Wire:
    """The calls of one instance.

    Every method raises as `Http` does; those that are given a native id also raise `NotFoundError` if this account has
    no such conversation.
    """

    def __init__(self, http: Http) -> None:
        self._http = http
        self._branching: bool | None = None

    async def branching(self) -> bool:
        """Return whether conversations have branches on this server: later lines than 3.3 lack the call.

        The server is asked once. One that has the call returns no branches of a conversation that it does not have.
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
        return self._one(
            await self._http.send("POST", "conversations", json={} if name is None else {"name": name}),
            what="the new conversation",
        )

    async def page(self, *, ids: Sequence[str], offset: int, limit: int) -> tuple[Sequence[Record], int]:
        """Return a page of this account's conversations, newest first, and the count of all (0 after the end)."""
        params: dict[str, Any] = {"offset": offset, "limit": limit}
        if ids:
            params["ids"] = list(ids)
        found = await self._http.get("conversations", params=params)
        return self._many(found, what="conversations"), int(found.get("total_entries", 0))

    async def get(self, native_id: str) -> Record:
        """Return a conversation. R2R has no call for one, but lists by ids."""
        self._check(native_id)
        found, _ = await self.page(ids=[native_id], offset=0, limit=1)
        for record in found:
            if record["id"] == native_id:
                return record
        raise self._http.no_conversation(native_id)

    async def rename(self, native_id: str, name: str | None) -> Record:
        """Name a conversation. Over a missing one, R2R itself would fail with 500."""
        await self.get(native_id)
        return await self._post(native_id, body={"name": name}, what="the conversation")

    async def delete(self, native_id: str) -> None:
        """Delete a conversation with its messages."""
        self._check(native_id)
        await self._http.send("DELETE", "conversations", native_id, about=self._http.about(native_id))

    async def messages(self, native_id: str, branch: str | None = None) -> Sequence[Row]:
        """Return all messages, oldest first; on a server that has branches, those of one, or of the newest."""
        self._check(native_id)
        params = {} if branch is None else {"branch_id": branch}
        about = self._http.about(native_id)
        found = await self._http.get("conversations", native_id, params=params, about=about)
        return self._many(found, what="messages")

    async def branches(self, native_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the branches, newest first, where the server is `branching`."""
        await self.get(native_id)
        path = ("conversations", native_id, "branches")
        found = await self._http.get(*path, params={"limit": MOST_BRANCHES})
        return self._many(found, key="branch_id", what="branches")

    async def add(self, native_id: str, body: Mapping[str, Any]) -> Row:
        """Add a message to a conversation that was read before. What comes back lacks the metadata that were kept."""
        return await self._post(native_id, "messages", body=body, what="the new message")

    async def edit(self, native_id: str, message_id: str, body: Mapping[str, Any]) -> Row:
        """Change a message in its place; on a server that has branches, write it anew on one of its own."""
        what = "the changed message"
        key = "new_message_id" if await self.branching() else "id"
        edited = await self._post(native_id, "messages", message_id, body=body, key=key, what=what)
        if key == "id":
            return edited
        for row in await self.messages(native_id, edited.get("new_branch_id")):
            if row["id"] == edited[key]:
                return row
        raise self._http.foreign(what)

    def ask(self, native_id: str, body: Mapping[str, Any]) -> AbstractAsyncContextManager[Frames]:
        """Ask the agent in a conversation that was read before; yield what it streams. Leaving ends the answer."""
        return self._http.stream(
            *("POST", "retrieval", "agent"),
            safe=False,
            # Without the conversation's id, R2R would make one that nobody can find (`retrieval_service.py:1418`).
            json={**body, "conversation_id": native_id},
            idle=IDLE_SECONDS,
            about=self._http.about(native_id),
        )

    async def _post(
        self, native_id: str, *segments: str, body: Mapping[str, Any], what: str, key: str = "id"
    ) -> Mapping[str, Any]:
        path = ("conversations", native_id, *segments)
        answer = await self._http.send("POST", *path, json=body, about=self._http.about(native_id))
        return self._one(answer, key=key, what=what)

    def _one(self, answer: Any, *, what: str, key: str = "id") -> Mapping[str, Any]:
        return self._http.one(table(answer).get("results"), key=key, what=what)

    def _many(self, answer: Any, *, what: str, key: str = "id") -> Sequence[Mapping[str, Any]]:
        return self._http.many(table(answer).get("results"), key=key, what=what)

    def _check(self, native_id: str) -> None:
        if not is_uuid(native_id):  # over what is none, R2R's list fails with 500
            raise self._http.no_conversation(native_id)
