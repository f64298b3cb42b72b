"""The outbox of one instance: bodies that were prepared to be sent under a key (see `tertulia.store.outbox`)."""

from functools import partial

from tertulia.store import outbox
from tertulia.store.database import Store


class Outbox:
    """Keeps a body from before it is sent for the first time until it is known to have arrived."""

    def __init__(self, store: Store, instance: str) -> None:
        self._store = store
        self._instance = instance

    async def find(self, principal: str, key: str) -> bytes | None:
        """Return the body that is kept under a key, if there is one."""
        return await self._store.read(
            partial(outbox.find, principal=principal, instance=self._instance, key=key)
        )

    async def put(self, principal: str, key: str, body: bytes) -> bytes:
        """Keep a body under its key; return the one that is sent under it: the first that was kept."""
        return await self._store.write(
            partial(outbox.put, principal=principal, instance=self._instance, key=key, body=body)
        )

    async def remove(self, principal: str, key: str) -> None:
        """Forget a body: it has arrived, or it will never be sent."""
        await self._store.write(partial(outbox.remove, principal=principal, instance=self._instance, key=key))
