"""Processes that open one store at once, as a host starts several at a time."""

import os
from functools import partial

from tertulia.store.database import Store
from tertulia.vocabulary.location import store_location
from tests.client.elsewhere import elsewhere, say, told
from tests.client.making import add_conversation


async def opens(location: str) -> None:
    """Open the store when told, write to it, and tell its epoch."""
    say("ready")
    await told()
    async with Store(store_location(location)) as store:
        await store.write(partial(add_conversation, native_id=f"c{os.getpid()}"))
        say(store.epoch)


async def opened_at_once(location: object) -> set[str]:
    """Have three processes open a store at once; return the epochs that they see."""
    async with (
        elsewhere(opens, location) as one,
        elsewhere(opens, location) as two,
        elsewhere(opens, location) as three,
    ):
        others = [one, two, three]
        for other in others:
            assert await other.says() == "ready"
        for other in others:
            await other.tell()
        epochs = {await other.says() for other in others}
        assert [await other.ends() for other in others] == [0, 0, 0]
    return epochs
