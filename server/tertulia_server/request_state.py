"""The key of a store: it seals the state that a host carries from a call to its repetition."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import AESGCMRequestStateCodec, InvalidRequestState

from tertulia.client import Client
from tertulia.store.private_files import is_private
from tertulia.vocabulary.errors import StoreError, TertuliaError

KEY_BYTES = 32
SECRET = "request_state"  # noqa: S105 - the name under which the store has the key


class SealingKey:
    """The key of a store, which all its servers share: what one has sealed, another unseals. The first use makes it.

    It implements the SDK's `RequestStateCodec`. As middleware, it reads the key before the first call of a tool.
    `client_of` returns a client of the server that serves a request, whosever it is. `earlier` is a file that had the
    key before the store did.
    """

    def __init__(
        self, client_of: Callable[[ServerRequestContext[Any, Any]], Client], earlier: Path | None = None
    ) -> None:
        self._client_of = client_of
        self._earlier = earlier
        self._key: bytes | None = None
        self._epoch = ""

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass a message on; whoever needs the key of a store that cannot be used is told then."""
        if ctx.method == "tools/call":
            with suppress(TertuliaError):
                await self.load(self._client_of(ctx))
        return await call_next(ctx)

    async def load(self, client: Client) -> None:
        """Read the key of the client's store, unless that was done; a store that was restored has another.

        Raises:
            StoreError: the store cannot be used.
            UnavailableError: other processes keep it locked.
        """
        if self._key is None or self._epoch != client.store_epoch:
            self._key = bytes.fromhex(await client.shared_secret(SECRET, self._make))
            self._epoch = client.store_epoch

    @property
    def key(self) -> bytes:
        """The key.

        Raises:
            StoreError: it could not be read.
        """
        if self._key is None:
            raise StoreError("The key that the store holds for its servers could not be read.")
        return self._key

    def seal(self, payload: bytes) -> str:
        """Return the sealed `payload`."""
        return AESGCMRequestStateCodec([self.key]).seal(payload)

    def unseal(self, token: str) -> bytes:
        """Return the payload of a token.

        Raises:
            InvalidRequestState: the token was not sealed with this key.
        """
        if not token:
            raise InvalidRequestState("empty")
        return AESGCMRequestStateCodec([self.key]).unseal(token)

    def _make(self) -> str:
        if self._earlier is not None and is_private(self._earlier):
            key = self._earlier.read_bytes()
            if len(key) == KEY_BYTES:
                return key.hex()
        return os.urandom(KEY_BYTES).hex()
