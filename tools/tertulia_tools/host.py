"""What a tool needs of the host that calls it. The server implements it; tests may."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mcp.server.mcpserver import Context
from mcp_types import InputRequiredResult

from tertulia.client import Client
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import RunResult


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking the caller's person.

    `question` is to be returned as the result of the call: the host asks and calls again. Otherwise `settled` says
    whether something was decided, so that the run goes on.
    """

    settled: bool = False
    question: InputRequiredResult | None = None


class Host(Protocol):
    """One call by a host."""

    @property
    def client(self) -> Client:
        """The client, as the principal who calls."""
        ...

    @property
    def wait_seconds(self) -> float:
        """How long a call waits that does not say it."""
        ...

    async def resumed_run(self) -> str | None:
        """Return the run this call asked about when it was made first, after doing what the person decided.

        None if the call is made for the first time; otherwise its effect has happened, and must not be repeated.

        Raises:
            ConflictError: what the person decided about was settled otherwise meanwhile.
        """
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Wait inside this: it is left early when the server stops."""
        ...

    async def told(self, entries: Sequence[JournalEntry]) -> None:
        """Report what happens as progress, if the host wants that."""
        ...

    async def ask(self, outcome: RunResult) -> Asked:
        """Have a person decide what the run waits for, if the host can show a form."""
        ...


class Hosting(Protocol):
    """Makes a `Host` of a call; it is the server's lifespan context."""

    def host(self, context: Context[Any, Any]) -> Host:
        """Return the host of this call."""
        ...


def host_of(context: Context[Any, Any]) -> Host:
    """Return the host that makes this call."""
    return cast(Hosting, context.request_context.lifespan_context).host(context)
