"""The double, used through the vendor's own SDK: what our adapter is tested against is not of our making."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio.from_thread
import anyio.to_thread
import pytest

from tests.client.platforms.knowrithm import Place, placed
from tests.doubles.knowrithm import AGENT, KEY, SECRET
from tests.doubles.network import answer, cut

# The SDK returns what it is answered, untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

sdk = pytest.importorskip(
    "knowrithm_py.knowrithm.client",
    reason="the SDK of Knowrithm is not installed (dependency group `vendors`)",
)
config = pytest.importorskip("knowrithm_py.dataclass.config")
errors = pytest.importorskip("knowrithm_py.dataclass.error")

pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="knowrithm")]

T = TypeVar("T")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Knowrithm as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def use(place: Place, work: Callable[[Any], T], **more: Any) -> T:
    """Return what `work` makes of the SDK's client, which is synchronous."""

    def in_thread() -> T:
        given = {"task_poll_interval": 0.1, "task_poll_timeout": 5, **more}
        secret = given.pop("secret", SECRET)
        client = sdk.KnowrithmClient(KEY, secret, config=config.KnowrithmConfig(base_url=place.url, **given))
        try:
            return work(client)
        finally:
            client._session.close()

    return await anyio.to_thread.run_sync(in_thread)


async def refused(place: Place, work: Callable[[Any], object], **more: Any) -> Any:
    """Return the SDK's error."""
    with pytest.raises(errors.KnowrithmAPIError) as caught:
        await use(place, work, **more)
    return caught.value


async def created(place: Place, **more: Any) -> str:
    """Create a conversation; return its id."""
    made = await use(place, lambda client: client.conversations.create_conversation(AGENT, **more))
    return made["conversation"]["id"]


@pytest.mark.parametrize("later", [True, False])
async def test_a_conversation_is_created_at_once_or_by_a_task(place: Place, later: bool) -> None:
    """The SDK finds it below `conversation` either way."""
    place.double.creates_later = later
    conversation_id = await created(place, title="T", metadata={"k": "v"}, max_context_length=2000)
    record = place.double.conversations[conversation_id].record
    assert (record["title"], record["metadata"], record["max_context_length"]) == ("T", {"k": "v"}, 2000)


async def test_conversations_are_listed_by_every_call_that_lists_them(place: Place) -> None:
    """Of all, of an entity, of an agent, and deleted ones."""
    first, second, third = [await created(place, title=title) for title in "abc"]
    await use(place, lambda client: client.conversations.delete_conversation(second))

    def lists(client: Any) -> list[list[str]]:
        calls = (
            client.conversations.list_conversations(page=1, per_page=1),
            client.conversations.list_conversations(page=2, per_page=1),
            client.conversations.list_conversations_for_entity(page=1),
            client.conversations.list_conversations_by_entity("e1", entity_type="user", status="active"),
            client.conversations.list_conversations_by_agent(AGENT, status="active", per_page=10),
            client.conversations.list_deleted_conversations(),
        )
        return [[one["id"] for one in found["conversations"]] for found in calls]

    both = [third, first]
    assert await use(place, lists) == [[third], [first], both, both, both, [second]]


@pytest.mark.parametrize("url", ["/v1/tasks/{task}/status", "/api/v1/tasks/{task}/status", None])
async def test_a_message_is_answered_by_its_task(place: Place, url: str | None) -> None:
    """Which the SDK asks for by itself, at the double's hints."""
    place.double.slow, place.double.poll_url = 2, url
    conversation_id = await created(place)
    result = await use(place, lambda client: client.messages.send_message(conversation_id, "Hello"))
    listed = await use(
        place, lambda client: client.conversations.list_conversation_messages(conversation_id, page=1)
    )
    words = [message["content"] for message in result["messages"]]
    assert words == [message["content"] for message in listed["messages"]] == ["Hello", "You said: Hello"]
    assert sum("/tasks/" in call for call in place.double.calls) == 3


@pytest.mark.parametrize("word", ["completed", "success", "succeeded", "finished", "done"])
@pytest.mark.parametrize("under", ["result", "data", "response"])
async def test_the_words_of_success_are_those_of_the_sdk(place: Place, word: str, under: str) -> None:
    """And so are the names of the result."""
    place.double.words, place.double.result_under = ("processing", word), under
    conversation_id = await created(place)
    result = await use(place, lambda client: client.messages.send_message(conversation_id, "Hello"))
    assert result["messages"][1]["content"] == "You said: Hello"


@pytest.mark.parametrize("word", ["failed", "error", "rejected"])
async def test_the_words_of_failure_are_those_of_the_sdk(place: Place, word: str) -> None:
    """With message and code."""
    place.double.failing = word
    conversation_id = await created(place)
    error = await refused(place, lambda client: client.messages.send_message(conversation_id, "fail"))
    assert (error.message, error.error_code) == ("LLM quota", "LLM_429")


async def test_the_sdk_does_not_see_a_task_that_tells_its_state_only(place: Place) -> None:
    """As the documentation has it: our adapter reads both."""
    place.double.under, place.double.words = ("state",), ("pending", "success")
    conversation_id = await created(place)
    error = await refused(
        place,
        lambda client: client.messages.send_message(conversation_id, "Hello"),
        task_poll_timeout=0.3,
    )
    assert "Timed out" in error.message


async def test_the_stream_tells_the_sdk_what_becomes_of_a_message(place: Place) -> None:
    """Opened beforehand, as it must be. Heartbeats are events; a comment is an empty one to the SDK."""
    conversation_id = await created(place)

    def read(client: Any) -> list[tuple[str, Any]]:
        stream = client.messages.stream_conversation_messages(conversation_id)
        told: list[tuple[str, Any]] = []
        for event in stream:
            told.append((event.event, event.data))
            if len(told) == 2:
                anyio.from_thread.run(place.double.listened_to, 1)
                client._make_request("POST", f"/conversation/{conversation_id}/chat", data={"message": "Hi"})
            if event.event == "chat_response":
                stream.close()
                break
        return told

    told = await use(place, read)
    asked, reply = place.double.conversations[conversation_id].messages
    assert [event for event in told if event[0].startswith("chat")] == [
        (
            "chat_status",
            {
                "status": "queued",
                "task_id": next(iter(place.double.tasks)),
                "message_id": asked["id"],
                "conversation_id": conversation_id,
            },
        ),
        (
            "chat_response",
            {
                "status": "completed",
                "message": reply,
                "task_id": next(iter(place.double.tasks)),
                "message_id": asked["id"],
                "conversation_id": conversation_id,
            },
        ),
    ]
    assert ("heartbeat", {}) in told
    assert ("message", "") in told


async def test_a_stream_that_is_opened_behind_the_message_has_missed_it(place: Place) -> None:
    """So it is with the SDK's own way of sending: there is no replay."""
    conversation_id = await created(place)
    place.faults.plan("GET", "/stream", cut("heartbeat"))

    def read(client: Any) -> list[str]:
        events: list[str] = []
        try:
            stream = client.messages.send_message(conversation_id, "Hi", stream=True)
            events.extend(event.event for event in stream)
        except Exception as error:  # noqa: BLE001 - `requests` has its own error for a cut stream
            events.append(type(error).__name__)
        return events

    assert not any(event.startswith("chat") for event in await use(place, read))


async def test_streaming_may_be_off(place: Place) -> None:
    """With 503."""
    place.double.streams = False
    conversation_id = await created(place)
    error = await refused(place, lambda client: client.messages.stream_conversation_messages(conversation_id))
    assert (error.status_code, error.response_data["error"]) == (503, "Streaming is not configured")


async def test_a_conversation_is_deleted_and_restored(place: Place) -> None:
    """Deleting is a task, restoring is not."""
    conversation_id = await created(place)
    await use(place, lambda client: client.conversations.delete_conversation(conversation_id))
    assert place.double.conversations[conversation_id].record["status"] == "deleted"
    restored = await use(place, lambda client: client.conversations.restore_conversation(conversation_id))
    assert restored == {"message": "restored"}
    assert place.double.conversations[conversation_id].record["status"] == "active"


async def test_messages_are_deleted(place: Place) -> None:
    """One, and all of a conversation."""
    conversation_id = await created(place)
    await use(place, lambda client: client.messages.send_message(conversation_id, "Hello"))
    messages = place.double.conversations[conversation_id].messages
    await use(place, lambda client: client.messages.delete_message(messages[0]["id"]))
    assert len(messages) == 1
    await use(place, lambda client: client.conversations.delete_conversation_messages(conversation_id))
    assert messages == []


async def test_figures_have_the_shape_of_the_sdks_own_pages(place: Place) -> None:
    """The three that its README reads."""
    conversation_id = await created(place)
    await use(place, lambda client: client.messages.send_message(conversation_id, "Hello"))
    figures = await use(place, lambda client: client.analytics.get_conversation_analytics(conversation_id))
    assert figures["message_statistics"]["total_messages"] == 2
    assert figures["conversation_flow"]["duration_minutes"] == 1.5
    assert figures["quality_metrics"]["satisfaction_rating"] is None


async def test_refusals_have_the_documented_envelope(place: Place) -> None:
    """Whose `code` the SDK does not read."""
    error = await refused(place, lambda client: client.conversations.create_conversation(""))
    assert (error.message, error.status_code, error.error_code) == ("Validation failed", 400, None)
    assert error.response_data == {
        "error": "Validation failed",
        "code": "CONV_001",
        "details": {"agent_id": ["required"]},
    }
    wrong = await refused(place, lambda client: client.conversations.list_conversations(), secret="wrong")
    assert (wrong.message, wrong.status_code) == ("Invalid API credentials", 401)


async def test_the_faults_of_the_network_are_those_that_the_sdk_meets(place: Place) -> None:
    """It tries nothing again that was answered."""
    place.faults.plan("GET", "/conversation", answer(429, {"error": "Too many requests"}, retry_after="1"))
    error = await refused(place, lambda client: client.conversations.list_conversations())
    assert (error.status_code, error.message) == (429, "Too many requests")
    assert await use(place, lambda client: client.conversations.list_conversations()) is not None
