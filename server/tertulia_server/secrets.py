"""The key that seals what a host carries between a call and its repetition."""

import os
from contextlib import suppress
from pathlib import Path

from mcp.server.mcpserver import AESGCMRequestStateCodec, InvalidRequestState

KEY_BYTES = 32


class StoredKey:
    """Seals request state under a key in a file, so that another process can open it. Made at the first use.

    Implements the SDK's `RequestStateCodec`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._codec: AESGCMRequestStateCodec | None = None

    def seal(self, payload: bytes) -> str:
        """Return `payload` sealed."""
        return self._opened().seal(payload)

    def unseal(self, token: str) -> bytes:
        """Return what was sealed.

        Raises:
            InvalidRequestState: it was not sealed under this key.
        """
        if not token:
            raise InvalidRequestState("empty")
        return self._opened().unseal(token)

    def _opened(self) -> AESGCMRequestStateCodec:
        if self._codec is None:
            self._codec = AESGCMRequestStateCodec([_key(self._path)])
        return self._codec


def _key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileExistsError):
        if not path.exists():
            # Written aside and linked: another process sees no key, or all of it, and whoever is first wins.
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
