"""One recorded stream, in any pieces and with any breaks: always the same journal."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia import Client, ClientSettings, InstanceSettings, RunStatus
from tests.client.platforms.revengai import ASSISTANT, answered, told
from tests.doubles.clocks import SkippingClock
from tests.doubles.revengai import RENAME, RESULT, Step, called, frame, said
from tests.support.drawing import examples
from tests.support.place import SECONDS, journal

pytestmark = pytest.mark.anyio

NATIVE_ID = "424b2ee0-5cf1-4ac8-a712-386a08c6a9a6"
EARLIER = 10
"""The newest event before the message."""
STEPS: Sequence[Step] = [
    ("RUN_STARTED", {}),
    ("STEP_STARTED", {"stepName": "think"}),
    *said("Ünpacked with UPX 🎈"),
    *called("rename_function", RENAME),
    RESULT,
    ("SOMETHING_NEW", {"a": [1]}),
    ("TITLE_UPDATED", {"title": "Packers"}),
    *said("Done.", "msg_2"),
    ("RUN_FINISHED", {}),
]
FRAMES = [
    frame({"event_id": number, "type": name, "source_run_id": "run-1", "data": data}).encode()
    for number, (name, data) in enumerate(STEPS, start=EARLIER + 1)
]
LENGTH = sum(map(len, FRAMES))
JOURNAL: Sequence[tuple[str, Any]] = [
    ("message_added", {"author": "user", "role": "user"}),
    ("run_started", {"agent": ASSISTANT}),
    ("step_started", {"name": "think"}),
    ("text_message_start", {"message_id": "msg_1", "role": "assistant"}),
    ("text_message_content", {"message_id": "msg_1", "delta": "Ünpacked with UPX 🎈"}),
    ("text_message_end", {"message_id": "msg_1"}),
    ("tool_call_start", {"tool_call_id": "call_1", "tool": "rename_function"}),
    ("tool_call_args", {"tool_call_id": "call_1", "delta": '{"fun'}),
    ("tool_call_args", {"tool_call_id": "call_1", "delta": 'ction_id": 9, "name": "parse_header"}'}),
    ("tool_call_end", {"tool_call_id": "call_1"}),
    ("tool_call_result", {"tool_call_id": "call_1", "result": "done"}),
    ("raw", {"name": "SOMETHING_NEW", "payload": {"a": [1]}}),
    ("title_updated", {"title": "Packers"}),
    ("text_message_start", {"message_id": "msg_2", "role": "assistant"}),
    ("text_message_content", {"message_id": "msg_2", "delta": "Done."}),
    ("text_message_end", {"message_id": "msg_2"}),
    ("message_added", {"author": ASSISTANT, "role": "assistant"}),
    ("run_finished", {}),
]
places = st.lists(st.integers(1, LENGTH), max_size=20)


class Pieces(httpx.AsyncByteStream):
    """A body in pieces, which then breaks, or stays open."""

    def __init__(self, pieces: Sequence[bytes], *, breaks: bool) -> None:
        self._pieces = pieces
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._breaks:
            raise httpx.ReadError("cut")
        await anyio.sleep_forever()


class Recorded:
    """RevEng.AI with one conversation. Each stream comes in pieces that end at `cuts`, and the first ones break."""

    def __init__(self, cuts: Sequence[int], breaks: Sequence[int]) -> None:
        self._cuts = cuts
        self._breaks = list(breaks)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return self._stream(int(request.url.params["last_event_id"]))
        earlier = {"event_id": EARLIER, "role": 0, "type": 2, "data": {"content": "earlier"}}
        return httpx.Response(200, json={"conversation_uuid": NATIVE_ID, "title": "New", "events": [earlier]})

    def _stream(self, after: int) -> httpx.Response:
        body = b"".join(FRAMES[after - EARLIER :])
        breaks = bool(self._breaks)
        if breaks:
            body = body[: self._breaks.pop()]
        bounds = sorted({0, *(cut for cut in self._cuts if cut < len(body)), len(body)})
        pieces = [body[start:end] for start, end in pairwise(bounds)]
        stream = Pieces(pieces, breaks=breaks)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


async def happened(cuts: Sequence[int], breaks: Sequence[int]) -> list[tuple[str, Any]]:
    """Have a message answered; return what the journal tells then."""
    recorded = Recorded(cuts, breaks)

    async def handle(transport: object, request: httpx.Request) -> httpx.Response:
        return await recorded.handle(request)

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched, anyio.fail_after(SECONDS):
        patched.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
        instance = InstanceSettings(platform="revengai", options={"api_key": "k"}, environment={})
        client = ClientSettings(store=Path(folder) / "store.db", instances={"revengai": instance})
        async with Client.open(client, clock=SkippingClock(1_000)) as client:
            outcome = await answered(client, "What packs this?")
            assert outcome.run.status is RunStatus.COMPLETED
            assert outcome.reply == "Ünpacked with UPX 🎈\n\nDone."
            return told(await journal(client, outcome.run.conversation_id))


@examples(40)
@given(cuts=places)
@example(cuts=list(range(1, LENGTH)))
async def test_any_cut_of_a_stream_into_pieces_gives_the_same_journal(cuts: list[int]) -> None:
    """Byte by byte, too."""
    assert await happened(cuts, []) == JOURNAL


@examples(40)
@given(cuts=places, breaks=places)
@example(cuts=[], breaks=[LENGTH])
@example(cuts=[], breaks=[len(frame) for frame in FRAMES])
@example(cuts=[], breaks=[len(frame) - 1 for frame in FRAMES])
async def test_any_disconnections_give_the_same_journal(cuts: list[int], breaks: list[int]) -> None:
    """Between events, within them, right at the end, and many in a row without any progress."""
    assert await happened(cuts, breaks) == JOURNAL
