"""However an R2R stream is cut into chunks on its way, the same is journalled."""

import json
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia import Client, ClientSettings, EventKind, InstanceSettings, MessageDraft, NewConversation
from tests.doubles.network import App, Faults, Receive, Scope, Send, served
from tests.doubles.r2r import Played, R2RDouble, echo, result, stream, think, tool
from tests.support.drawing import examples

SECONDS = 30
QUESTION = "tool, ä 🙂"
ANSWER = tool(QUESTION, 1)
EVENTS = [
    *think(QUESTION, 1).events[:2],
    *result(QUESTION, 1).events[:2],
    *echo("🙂", 1).events[:2],
    *ANSWER.events,
]
RECORDED = stream(Played(EVENTS, ANSWER.answer)).replace("\\u2026", "…").encode()
Journal = Sequence[tuple[EventKind, Mapping[str, Any]]]
ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@dataclass
class Place:
    """A client of a server whose agent streams what is recorded, cut as a test says."""

    talk: Client
    portal: BlockingPortal
    network: Faults
    double: R2RDouble

    async def journal(self, chunks: Sequence[bytes]) -> Journal:
        """Return what is journalled of an answer in these chunks: without ids, pieces of text joined."""

        async def streamed(app: App, scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await anyio.lowlevel.checkpoint()
            conversation_id = json.loads((await receive())["body"])["conversation_id"]
            self.double.ask_elsewhere(conversation_id, QUESTION)(ANSWER.answer or "")
            await send({"type": "http.response.body", "body": b""})

        self.network.plan("POST", "/retrieval/agent", streamed)
        with anyio.fail_after(SECONDS):
            sent = await self.talk.runs.start(NewConversation(agent="r2r:rag"), MessageDraft(text=QUESTION))
            await self.talk.runs.wait(sent.run, timeout=SECONDS)
            entries = (await self.talk.conversations.events(sent.conversation.id)).entries
        told: list[tuple[EventKind, Mapping[str, Any]]] = []
        for entry in entries:
            data = {key: value for key, value in entry.data.items() if key != "message_id"}
            if told and told[-1][0] is entry.kind and "delta" in data:
                data["delta"] = told.pop()[1]["delta"] + data["delta"]
            told.append((entry.kind, data))
        return told


@asynccontextmanager
async def opened(folder: Path, portal: BlockingPortal) -> AsyncGenerator[Place]:
    """Open a client of a server."""
    double = R2RDouble()
    network = Faults(double.app)
    async with served(network) as url:
        r2r = InstanceSettings(platform="r2r", options={"base_url": url}, environment={})
        async with Client.open(ClientSettings(store=folder / "store.db", instances={"r2r": r2r})) as talk:
            yield Place(talk, portal, network, double)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    """Return one place for all the examples: each is a conversation of its own."""
    with start_blocking_portal() as portal:
        folder = tmp_path_factory.mktemp("chunks")
        with portal.wrap_async_context_manager(opened(folder, portal)) as place:
            yield place


@pytest.fixture(scope="module")
def expected(place: Place) -> Journal:
    """Return what is journalled of the stream in one piece."""
    told = place.portal.call(place.journal, [RECORDED])
    assert told[-1][0] is EventKind.RUN_FINISHED
    return told


@example(cuts=set(range(1, len(RECORDED))), ending=b"\n")
@given(cuts=st.sets(st.integers(1, len(RECORDED) - 1), max_size=60), ending=ENDINGS)
@examples(30)
def test_every_cut_of_a_stream_gives_the_same_journal(
    place: Place, expected: Journal, cuts: set[int], ending: bytes
) -> None:
    recorded = RECORDED.replace(b"\n", ending)
    edges = [0, *sorted(cuts), len(recorded)]
    chunks = [recorded[start:end] for start, end in pairwise(edges)]
    assert place.portal.call(place.journal, chunks) == expected
