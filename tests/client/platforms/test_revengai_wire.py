"""The double, used through the vendor's own SDK: what our adapter is tested against is not of our making."""

from collections.abc import AsyncGenerator, Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import pytest

from tests.client.platforms.revengai import Place, placed
from tests.doubles.network import answer
from tests.doubles.revengai import KEY, NAMES, refusal

# The SDK has its types at run time only: its models are what checks here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="revengai")]

T = TypeVar("T")
NOBODY = "424b2ee0-5cf1-4ac8-a712-386a08c6a9a6"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return RevEng.AI as it is documented; the time that the SDK's import takes is no test's."""
    sdk()
    async with placed(tmp_path) as place:
        yield place


@cache
def sdk() -> Any:
    """Return the vendor's SDK; it takes seconds to import, which only who runs these tests shall pay."""
    return pytest.importorskip(
        "revengai", reason="the SDK of RevEng.AI is not installed (dependency group `vendors`)"
    )


async def use(place: Place, work: Callable[[Any], T], key: str = KEY) -> T:
    """Return what `work` makes of the SDK's API, which is synchronous."""

    def in_thread() -> T:
        configuration = sdk().Configuration(host=place.url, api_key={"APIKey": key})
        with sdk().ApiClient(configuration) as client:
            return work(sdk().ConversationsApi(client))

    return await anyio.to_thread.run_sync(in_thread)


async def created(place: Place) -> str:
    """Create a conversation; return its id."""
    request = sdk().CreateConversationRequest()
    return (await use(place, lambda api: api.create_conversation(request))).conversation_uuid


async def send(place: Place, conversation_id: str, text: str) -> Any:
    """Send a message."""
    request = sdk().SendMessageRequest(content=text)
    return await use(place, lambda api: api.send_message(conversation_id, request))


async def test_a_conversation_is_created_listed_and_read(place: Place) -> None:
    """Its strict models accept every answer."""
    context = sdk().ConversationContext(analysis_id=7, function_id=9)
    request = sdk().CreateConversationRequest(title="T", context=context)
    conversation = await use(place, lambda api: api.create_conversation(request))
    unnamed = await created(place)
    listed = await use(place, lambda api: api.list_conversations())
    read = await use(place, lambda api: api.get_conversation(conversation.conversation_uuid))

    assert (conversation.title, conversation.context) == ("T", {"analysis_id": 7, "function_id": 9})
    assert [one.conversation_uuid for one in listed] == [unnamed, conversation.conversation_uuid]
    assert read.events is None


@pytest.mark.parametrize("text", ["hi", "confirm"])
async def test_a_message_is_sent_and_answered(place: Place, text: str) -> None:
    """And the conversation has its events then."""
    conversation_id = await created(place)
    sent = await send(place, conversation_id, text)
    read = await use(place, lambda api: api.get_conversation(conversation_id))

    assert (str(sent.conversation_uuid), sent.status) == (conversation_id, "started")
    assert read.events[0].data == {"content": text}


@pytest.mark.parametrize("approved", [True, False])
async def test_a_tool_is_confirmed(place: Place, approved: bool) -> None:
    """With a strict boolean."""
    conversation_id = await created(place)
    await send(place, conversation_id, "confirm")
    body = sdk().ConfirmToolInputBody(approved=approved)
    confirmed = await use(place, lambda api: api.confirm_tool(conversation_id, body))

    assert confirmed.status == ("approved" if approved else "rejected")
    assert place.double.confirmed == [approved]


async def test_a_run_is_canceled(place: Place) -> None:
    """With an empty body."""
    conversation_id = await created(place)
    await send(place, conversation_id, "hold")

    assert (await use(place, lambda api: api.cancel_run(conversation_id))).status == "cancelled"


async def test_every_frame_is_one_that_the_sdk_knows(place: Place) -> None:
    """The double sends all seventeen events; the SDK itself cannot read a stream, so that it is given each frame."""
    from revengai.models.stream_events200_response_inner import StreamEvents200ResponseInner

    conversation_id = await created(place)
    conversation = place.double.conversations[conversation_id]
    for number, name in enumerate(NAMES, start=1):
        place.double.tell(conversation, name, None if number % 2 else {"any": ["thing"]})
    place.double.ends_streams = True

    def read(api: Any) -> list[Any]:
        response = api.stream_events_without_preload_content(conversation_id, last_event_id=0)
        blocks = response.read().decode().split("\n\n")
        fields = [
            dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if "data: " in block
        ]
        return [
            StreamEvents200ResponseInner.from_json(
                f'{{"event": "{one["event"]}", "id": {one["id"]}, "data": {one["data"]}}}'
            )
            for one in fields
        ]

    models = await use(place, read)
    assert [model.actual_instance.event for model in models] == list(NAMES)


async def test_a_stream_goes_on_behind_an_event(place: Place) -> None:
    """Which the query names."""
    conversation_id = await created(place)
    await send(place, conversation_id, "hi")
    place.double.ends_streams = True

    def read(api: Any) -> str:
        return api.stream_events_without_preload_content(conversation_id, last_event_id=7).read().decode()

    assert [line for line in (await use(place, read)).splitlines() if line.startswith("id:")] == [
        "id: 8",
        "id: 9",
    ]


async def test_refusals_have_the_shape_that_the_sdk_reads(place: Place) -> None:
    """With a code that it knows."""
    conversation_id = await created(place)
    hold, more = (sdk().SendMessageRequest(content=text) for text in ("hold", "more"))
    yes = sdk().ConfirmToolInputBody(approved=True)
    refused: list[tuple[int, str]] = []

    def collect(api: Any) -> None:
        def attempt(call: Callable[..., Any], *arguments: Any) -> None:
            try:
                call(*arguments)
            except sdk().ApiException as error:
                refused.append((error.status, error.data.error.code))

        attempt(api.get_conversation, NOBODY)
        attempt(api.cancel_run, conversation_id)
        attempt(api.confirm_tool, conversation_id, yes)
        attempt(api.send_message, conversation_id, hold)
        attempt(api.send_message, conversation_id, more)

    await use(place, collect)
    assert refused == [
        (404, "CONVERSATION_NOT_FOUND"),
        (404, "NO_ACTIVE_RUN"),
        (404, "NO_PENDING_CONFIRMATION"),
        (409, "RUN_ALREADY_ACTIVE"),
    ]


async def test_a_wrong_key_is_refused(place: Place) -> None:
    """As is one behind `Bearer`."""
    for key in ("wrong", f"Bearer {KEY}"):
        with pytest.raises(sdk().ApiException) as caught:
            await use(place, lambda api: api.list_conversations(), key=key)
        assert caught.value.status == 401


async def test_the_faults_of_the_network_are_those_that_the_sdk_meets(place: Place) -> None:
    """It tries a GET again where `Retry-After` asks for that."""
    busy = answer(429, refusal("TOO_MANY_REQUESTS"), retry_after="0")
    place.faults.plan("GET", "/conversations", busy, busy, answer(502, "<html>"))

    with pytest.raises(sdk().ApiException) as caught:
        await use(place, lambda api: api.list_conversations())
    assert (caught.value.status, caught.value.data) == (502, None)
    assert await use(place, lambda api: api.list_conversations()) == []
