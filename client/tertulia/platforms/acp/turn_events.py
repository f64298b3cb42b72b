"""What comes of a turn of an agent program's: a session tells it, and an answer takes it, in order."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from tertulia.platforms.acp.connection import Reply, RequestId

MOST_WAITING = 16
"""How many of an agent's messages wait to be journalled before it is not read any further."""


@dataclass(frozen=True, slots=True)
class PermissionAsked:
    """The agent waits for a decision about a tool call."""

    id: RequestId
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PermissionWithdrawn:
    """The agent does not wait for a decision any more."""

    id: RequestId


@dataclass(frozen=True, slots=True)
class Accepted:
    """The agent has taken the prompt, as its history's message of this id."""

    message_id: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The end of the turn: what version 1 answers to the prompt."""

    reply: Reply


TurnEvent = Mapping[str, Any] | PermissionAsked | PermissionWithdrawn | Accepted | TurnEnded
"""What comes of a turn; a mapping is a session's update."""


class TurnEvents:
    """What comes of a turn, in order, until it is closed."""

    def __init__(self) -> None:
        self._heard, self._events = anyio.create_memory_object_stream[TurnEvent](float("inf"))
        self._room = anyio.Event()

    def put(self, happened: TurnEvent) -> None:
        """Add what happened."""
        self._heard.send_nowait(happened)

    async def receive(self) -> TurnEvent:
        """Wait for what happens next."""
        happened = await self._events.receive()
        if self._events.statistics().current_buffer_used <= MOST_WAITING:
            self._room.set()
        return happened

    async def caught_up(self) -> None:
        """Wait until no more than `MOST_WAITING` things wait to be received."""
        while self._events.statistics().current_buffer_used > MOST_WAITING:
            self._room = anyio.Event()
            await self._room.wait()

    def close(self) -> None:
        """Take no more, and let nobody wait."""
        with suppress(anyio.WouldBlock, anyio.EndOfStream):
            while True:
                self._events.receive_nowait()
        self._heard.close()
        self._events.close()
        self._room.set()
