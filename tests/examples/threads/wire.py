"""The calls of Threads, and what its refusals mean."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.kit.directory import AgentEntry
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning, read_detail
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.values import table, text
from tertulia.vocabulary.errors import ConflictError, NotFoundError

PLATFORM = "Threads"
Record = Mapping[str, Any]
"""A thread, a run or a state, as Threads returns it."""

RUNS = 20
"""How many of a thread's newest runs are read: a message's own run and those that resumed it are among them."""
_PAGE = 100


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    return None, read_detail(body), None


ERRORS = ErrorTable(
    PLATFORM,
    {
        404: Meaning(
            NotFoundError,
            "{platform} has no conversation {conversation_id}.",
            "list_conversations with the instance {instance} shows those there are.",
        ),
        409: Meaning(
            ConflictError,
            "{platform} is working on another run in {conversation_id}, or on none any more.",
            "Nothing was done: stream_conversation shows what happens there now.",
        ),
    },
    _refusal,
)


@dataclass(frozen=True, slots=True)
class Wire:
    """The calls of one instance. Every method raises as `Http` does."""

    http: Http

    async def assistants(self) -> Sequence[AgentEntry]:
        """Return the assistants: those who answer."""
        body = await self.http.send("POST", "assistants", "search", json={"limit": _PAGE}, safe=True)
        return [
            AgentEntry(one["assistant_id"], text(one.get("name")), text(one.get("description")))
            for one in self.http.many(body, key="assistant_id", what="assistants")
        ]

    async def create(self, native_id: str, metadata: Record) -> Record:
        """Create a thread under an id of ours; Threads takes each id once, so that the call may be repeated."""
        body = {"thread_id": native_id, "metadata": metadata, "if_exists": "do_nothing"}
        return self._thread(await self.http.send("POST", "threads", json=body, safe=True))

    async def get(self, native_id: str) -> Record:
        """Return a thread."""
        return self._thread(await self.http.get("threads", native_id, about=self.http.about(native_id)))

    async def list(self) -> Sequence[Record]:
        """Return all threads."""
        found: list[Record] = []
        while len(found) % _PAGE == 0:
            body = {"limit": _PAGE, "offset": len(found)}
            page = await self.http.send("POST", "threads", "search", json=body, safe=True)
            found += self.http.many(page, key="thread_id", what="threads")
            if not page:
                break
        return found

    async def update(self, native_id: str, metadata: Record) -> Record:
        """Merge metadata into a thread's; a null removes its key."""
        about = self.http.about(native_id)
        body = {"metadata": metadata}
        return self._thread(await self.http.send("PATCH", "threads", native_id, json=body, about=about))

    async def delete(self, native_id: str) -> None:
        """Delete a thread."""
        await self.http.send("DELETE", "threads", native_id, about=self.http.about(native_id))

    async def state(self, native_id: str) -> Record:
        """Return a thread's state: its messages, and the interrupts that wait for a person."""
        return table(await self.http.get("threads", native_id, "state", about=self.http.about(native_id)))

    async def runs(self, native_id: str) -> Sequence[Record]:
        """Return a thread's newest runs, the newest first."""
        about = self.http.about(native_id)
        found = await self.http.get("threads", native_id, "runs", params={"limit": RUNS}, about=about)
        return self.http.many(found, key="run_id", what="runs")

    async def start(self, native_id: str, body: Record) -> str:
        """Begin a run; return its id."""
        made = await self.http.send(
            "POST", "threads", native_id, "runs", json=body, about=self.http.about(native_id)
        )
        return str(self.http.one(made, key="run_id", what="the new run", safe=False)["run_id"])

    async def cancel(self, native_id: str, run_id: str) -> None:
        """Stop a run."""
        about = self.http.about(native_id)
        await self.http.send("POST", "threads", native_id, "runs", run_id, "cancel", about=about)

    def stream(self, native_id: str, run_id: str, after: str | None) -> AbstractAsyncContextManager[Frames]:
        """Open the stream of a run's events after one of them, or from the first; it ends with the run."""
        return self.http.stream(
            *("GET", "threads", native_id, "runs", run_id, "stream"),
            safe=True,
            headers={} if after is None else {"last-event-id": after},
            about=self.http.about(native_id),
        )

    def _thread(self, body: Any) -> Record:
        return self.http.one(body, key="thread_id", what="a thread")
