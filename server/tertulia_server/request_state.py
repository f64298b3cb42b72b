"""The seal of the state that a host carries from a call to its repetition."""

import os
from contextlib import suppress
from pathlib import Path

from mcp.server.mcpserver import AESGCMRequestStateCodec, InvalidRequestState

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
            self._codec = AESGCMRequestStateCodec([_key(self._path)])
        return self._codec


def _key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileExistsError):
        if not path.exists():
            # The key is written to another file and then linked: other processes see no key or all of it, and the first
            # process to link its key wins.
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, os.urandom(KEY_BYTES))
            finally:
                os.close(descriptor)
            try:
                os.link(fresh, path)
            finally:
                fresh.unlink()
    return path.read_bytes()
