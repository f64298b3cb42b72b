"""The seal of the state that a host carries from a call to its repetition."""

import os
from pathlib import Path

from mcp.server.mcpserver import AESGCMRequestStateCodec, InvalidRequestState

from tertulia_server.secret_file import stored_secret

KEY_BYTES = 32


class StoredKeyCodec:
    """Seals request state with a key in a file, so that another process can unseal it. The first use makes the key.

    It implements the SDK's `RequestStateCodec`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._codec: AESGCMRequestStateCodec | None = None

    def seal(self, payload: bytes) -> str:
        """Return the sealed `payload`."""
        return self._loaded().seal(payload)

    def unseal(self, token: str) -> bytes:
        """Return the payload of a token.

        Raises:
            InvalidRequestState: the token was not sealed with this key.
        """
        if not token:
            raise InvalidRequestState("empty")
        return self._loaded().unseal(token)

    def _loaded(self) -> AESGCMRequestStateCodec:
        if self._codec is None:
            self._codec = AESGCMRequestStateCodec([state_key(self._path)])
        return self._codec


def state_key(path: Path) -> bytes:
    """Return the key in a file. The first use makes it."""
    return stored_secret(path, lambda: os.urandom(KEY_BYTES))
