"""The interface through which a tool reaches the host that calls it. The server implements it."""

import re
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mcp.server.mcpserver import Context
from mcp_types import InputRequiredResult

from tertulia.client import Client
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import RunResult

_SENTENCE_END = re.compile(r"(?<=\.) ")


@dataclass(frozen=True, slots=True)
class Elicitation:
    """The outcome of asking the person behind the host.

    If `question` is set, the tool returns it as the result of the call: the host shows it and repeats the call.
    Otherwise `settled` says whether the person settled a request, so that the run continues.
    """

    settled: bool = False
    question: InputRequiredResult | None = None


class Host(Protocol):
    """The host that makes one call."""

    @property
    def client(self) -> Client:
        """The client of the principal who calls."""
        ...

    @property
    def withheld(self) -> Collection[str]:
        """The names of the tools that this server does not offer."""
        ...

    @property
    def wait_seconds(self) -> float:
        """How long a call waits if its arguments do not say it."""
        ...

    async def resume(self) -> str | None:
        """Settle what the person decided in the call's form, and return the id of the run that the call is about.

        A repeated call has had its effect already, and must not begin another run. A call that is made for the first
        time has no run: this returns None.

        Raises:
            ConflictError: somebody else settled the request in another way meanwhile.
        """
        ...

    def wait_scope(self) -> AbstractContextManager[None]:
        """Return a scope to wait in; the server leaves it early when it stops."""
        ...

    async def on_events(self, entries: Sequence[JournalEntry]) -> None:
        """Report new events as progress, if the host wants progress."""
        ...

    def report_silence(self, waiting: str, *, at_once: bool = False) -> AbstractAsyncContextManager[None]:
        """Return a scope in which the host is told now and then that the call waits; `waiting` says for whom."""
        ...

    def proof(self, content: str) -> str:
        """Return what nobody can give who has not got it from this store's servers: an authentication of `content`."""
        ...

    async def elicit(self, outcome: RunResult) -> Elicitation:
        """Ask the person to decide what the run waits for, if the host can show a form."""
        ...


class HostFactory(Protocol):
    """Makes the `Host` of a call. The server's lifespan context implements it."""

    def host(self, context: Context[Any, Any]) -> Host:
        """Return the host of this call."""
        ...


def host_of(context: Context[Any, Any]) -> Host:
    """Return the host that makes this call."""
    return cast(HostFactory, context.request_context.lifespan_context).host(context)


def possible(host: Host, advice: str) -> str | None:
    """Return those clauses of an advice that name no tool which the server withholds; None if there are none."""
    return without_withheld(advice, host.withheld)


def without_withheld(advice: str, withheld: Collection[str]) -> str | None:
    """Return those clauses of an advice that name none of the tools in `withheld`; None if there are none."""
    sentences: list[str] = []
    for sentence in _SENTENCE_END.split(advice):
        clauses = sentence.rstrip(".").split("; ")
        kept = [clause for clause in clauses if not any(name in clause for name in withheld)]
        if len(kept) == len(clauses):
            sentences.append(sentence)
        elif kept:
            sentences.append("; ".join(kept) + ".")
    return " ".join(sentences) or None
