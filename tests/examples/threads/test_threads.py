"""The example of `docs/adding-a-platform.md`, on its double: what is peculiar to it, and that the kit is used well."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationChanges,
    ConversationQuery,
    Decision,
    EventKind,
    Feature,
    InstanceSettings,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotFoundError,
    NotOffered,
    Rating,
    RequestKind,
    RequestStatus,
    RunResult,
    RunStatus,
    Sent,
    Settlement,
)
from tertulia.platforms.registry import PLATFORMS
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import Faults as Network
from tests.doubles.network import Hang, answer, cut, drop, lose, served
from tests.doubles.threads import KEY, ThreadsDouble
from tests.examples.threads.platform import ThreadsPlatform

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 20
HELPER = "threads:helper"
APPROVED = Settlement(decision=Decision.APPROVE)


class Place:
    """The double on a network with faults, and the store at `path`."""

    def __init__(self, path: Path) -> None:
        self.double = ThreadsDouble()
        self.network = Network(self.double.app)
        self.url = ""
        self.clock = SkippingClock()
        """The time that the platform goes by."""
        self._path = path

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        cast(dict[str, str], PLATFORMS)["threads"] = "tests.examples.threads.platform:ThreadsPlatform"
        options = {"api_key": KEY, "base_url": self.url}
        instance = InstanceSettings(platform="threads", options=options, environment={})
        settings = ClientSettings(store=self._path, instances={"threads": instance})
        async with Client.open(settings, clock=self.clock) as client:
            yield client

    @property
    def sent(self) -> int:
        """How many runs were asked for."""
        return sum(call.startswith("POST") and call.endswith("/runs") for call in self.double.calls)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return a place; the test has `SECONDS` to be done."""
    place = Place(tmp_path / "store.db")
    with anyio.fail_after(SECONDS):
        async with served(place.network) as place.url:
            yield place


async def start(client: Client, text: str) -> Sent:
    """Begin a conversation with a message."""
    return await client.runs.start(NewConversation(agent=HELPER), MessageDraft(text=text))


async def answered(client: Client, text: str) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, text)).run, timeout=SECONDS)


def native_id(sent: Sent) -> str:
    """Return the thread's id."""
    return sent.conversation.id.partition(":")[2]


async def until(client: Client, sent: Sent, text: str) -> None:
    """Return once an answer has told a text."""
    async for entries in client.runs.follow(sent.run):
        if any(text in str(entry.data.get("delta")) for entry in entries):
            return


async def told(client: Client, result: RunResult) -> list[tuple[EventKind, object]]:
    """Return the kinds of what happened, and what each is about."""
    entries = (await client.conversations.events(result.run.conversation_id)).entries
    return [(entry.kind, entry.data.get("delta") or entry.data.get("text")) for entry in entries]


async def test_an_answer_is_told_as_it_comes(place: Place) -> None:
    """Its text, its tools and its steps; what nobody knows is kept as it came."""
    async with place.client() as client:
        result = await answered(client, "tool")
        kinds = {kind for kind, _ in await told(client, result)}
        strange = await answered(client, "strange")
        strangers = await told(client, strange)

    assert result.reply == "Let me see.\n\nIt is there."
    assert kinds >= {EventKind.TOOL_CALL_START, EventKind.TOOL_CALL_RESULT, EventKind.STEP_FINISHED}
    assert EventKind.RAW in {kind for kind, _ in strangers}


async def test_a_message_whose_answer_was_lost_was_sent_once(place: Place) -> None:
    """Its run is found by the message's id."""
    place.network.plan("POST", "/runs", lose)
    async with place.client() as client:
        result = await answered(client, "hi")

    assert (result.run.status, result.reply, place.sent) == (RunStatus.COMPLETED, "You said: hi", 1)


async def test_a_message_that_may_be_lost_is_not_sent_again(place: Place) -> None:
    """No run has its id: whether it is on its way nobody knows."""
    place.network.plan("POST", "/runs", drop)
    async with place.client() as client:
        result = await answered(client, "hi")

    assert (result.run.status, place.sent) == (RunStatus.FAILED, 0)
    assert result.run.error is not None
    assert "gave no answer to the message" in result.run.error


@pytest.mark.parametrize("text", ['"content": "see', "id: 3-0\n", "event: end", "\n\n"])
async def test_a_stream_that_is_cut_is_read_on_without_gap_or_repetition(place: Place, text: str) -> None:
    """Although the run has ended meanwhile."""
    async with place.client() as client:
        undisturbed = await told(client, await answered(client, "tool"))
        place.network.plan("GET", "/stream", cut(text), answer(503))
        disturbed = await told(client, await answered(client, "tool"))

    assert disturbed == undisturbed


async def test_an_answer_goes_on_after_its_process_is_gone(place: Place) -> None:
    """The next process reads the stream on from the position in the checkpoint."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until(client, sent, "see.")
    place.double.release(native_id(sent))
    async with place.client() as client:
        result = await client.runs.wait(sent.run, timeout=SECONDS)
        pieces = [text for kind, text in await told(client, result) if kind is EventKind.TEXT_MESSAGE_CONTENT]

    assert (result.run.status, result.reply) == (RunStatus.COMPLETED, "Let me see.\n\nThere it is.")
    assert "".join(map(str, pieces)) == "Let me see.There it is."
    assert place.double.asked_from[0] is None
    assert None not in place.double.asked_from[1:]
    assert place.sent == 1


async def test_a_process_that_dies_while_it_sends_has_sent_once(place: Place) -> None:
    """The next process finds the run that the message began."""
    hanging = Hang(arrives=True)
    place.network.plan("POST", "/runs", hanging)
    async with place.client() as client:
        sent = await start(client, "hi")
        await hanging.reached.wait()
    async with place.client() as client:
        result = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (result.reply, place.sent) == ("You said: hi", 1)


async def test_a_person_approves_what_a_run_asks(place: Place) -> None:
    """The decision begins a run at Threads, which is followed as the same answer."""
    async with place.client() as client:
        asked = await answered(client, "approve")
        (request,) = asked.pending
        await client.runs.respond(request.id, APPROVED)
        result = await client.runs.wait(asked.run, timeout=SECONDS)

    assert (request.kind, request.tool, request.arguments) == (
        RequestKind.CONFIRMATION,
        "transfer",
        {"amount": 40},
    )
    assert "It is a payment." in request.prompt
    assert place.double.resumed == [{"type": "approve"}]
    assert (result.run.status, result.reply) == (RunStatus.COMPLETED, "I would pay.\n\nThat is settled.")


async def test_a_decision_whose_answer_was_lost_has_arrived(place: Place) -> None:
    """The thread does not wait for it any more."""
    async with place.client() as client:
        asked = await answered(client, "approve")
        place.network.plan("POST", "/runs", lose)
        await client.runs.respond(asked.pending[0].id, APPROVED)
        result = await client.runs.wait(asked.run, timeout=SECONDS)

    assert (result.run.status, place.double.resumed) == (RunStatus.COMPLETED, [{"type": "approve"}])


async def test_a_decision_made_at_the_platform_is_noticed(place: Place) -> None:
    """The request is withdrawn, and the answer goes on."""
    place.clock = SkippingClock(100)
    async with place.client() as client:
        sent = await start(client, "ask")
        asked = await client.runs.wait(sent.run, timeout=SECONDS)
        place.double.resume(native_id(sent), "Q3")
        while (await client.runs.request(asked.pending[0].id)).status is RequestStatus.PENDING:
            await anyio.lowlevel.checkpoint()
        result = await client.runs.wait(sent.run, timeout=SECONDS)

    assert asked.pending[0].prompt == "Which quarter?"
    assert (result.run.status, result.reply, result.pending) == (RunStatus.COMPLETED, "Thank you.", [])


async def test_an_error_ends_the_run_with_its_reason(place: Place) -> None:
    """In a sentence that quotes it."""
    async with place.client() as client:
        result = await answered(client, "boom")

    assert result.run.status is RunStatus.FAILED
    assert result.run.error == "Threads ended the answer with an error: “The model is overloaded”."


Try = Callable[[Client, Place], Awaitable[object]]


async def create(client: Client, place: Place) -> None:
    """Create a conversation once, though the first answer is lost."""
    place.network.plan("POST", "/threads", lose)
    new = NewConversation(agent=HELPER, title="Renewals", metadata={"team": "sales"})
    made = await client.conversations.create(new)
    assert (made.title, made.metadata, made.agent) == ("Renewals", {"team": "sales"}, HELPER)
    assert len(place.double.threads) == 1
    with pytest.raises(NotFoundError):
        await client.conversations.create(NewConversation(agent="threads:nobody"))


async def get_and_list(client: Client, place: Place) -> None:
    """Return one conversation, and all of them in pages."""
    made = [await client.conversations.create(NewConversation(agent=HELPER, title=title)) for title in "abc"]
    page = await client.conversations.list(ConversationQuery(instance="threads", limit=2))
    assert (len(page.items), page.total, page.from_index) == (2, 3, False)
    assert (await client.conversations.get(made[0].id)).title == "a"


async def change(client: Client, place: Place) -> None:
    """Change title and metadata; remove a key, and the last one."""
    made = await client.conversations.create(NewConversation(agent=HELPER, metadata={"a": "1", "b": "2"}))
    changes = ConversationChanges(title="Mine", metadata={"a": None})
    changed = await client.conversations.update(made.id, changes)
    assert (changed.title, changed.metadata) == ("Mine", {"b": "2"})
    await client.conversations.update(made.id, ConversationChanges(metadata={"b": None}))
    assert (await client.conversations.get(made.id)).metadata == {}


async def delete(client: Client, place: Place) -> None:
    """Delete a conversation."""
    made = await client.conversations.create(NewConversation(agent=HELPER))
    await client.conversations.delete(made.id)
    assert not place.double.threads


async def send_with_context(client: Client, place: Place) -> None:
    """Pass a message's context on; read the messages back."""
    draft = MessageDraft(text="hi", context={"tone": "dry"})
    sent = await client.runs.start(NewConversation(agent=HELPER), draft)
    result = await client.runs.wait(sent.run, timeout=SECONDS)
    page = await client.messages.list(result.run.conversation_id, MessageQuery(limit=1))
    assert place.double.contexts == [{"tone": "dry"}]
    assert ([one.text for one in page.items], page.total) == (["hi"], 2)


async def edit(client: Client, place: Place) -> None:
    """Approve a tool with other arguments."""
    asked = await answered(client, "approve")
    edited = Settlement(decision=Decision.APPROVE, arguments={"amount": 1})
    await client.runs.respond(asked.pending[0].id, edited)
    await client.runs.wait(asked.run, timeout=SECONDS)
    assert place.double.resumed == [{"type": "edit", "args": {"amount": 1}}]


async def answer_question(client: Client, place: Place) -> None:
    """Answer a question in words."""
    asked = await answered(client, "ask")
    await client.runs.respond(asked.pending[0].id, Settlement(decision=Decision.ANSWER, answer="Q3"))
    assert (await client.runs.wait(asked.run, timeout=SECONDS)).reply == "Thank you."
    assert place.double.resumed == ["Q3"]


async def cancel(client: Client, place: Place) -> None:
    """Stop an answer, here and there."""
    sent = await start(client, "hold")
    await until(client, sent, "see.")
    assert (await client.runs.cancel(sent.conversation.id)).status is RunStatus.CANCELED
    assert place.double.threads[native_id(sent)].runs[-1].status == "interrupted"


async def resume(client: Client, place: Place) -> None:
    """Have another process read the answer on."""
    sent = await start(client, "hi")
    async with place.client() as other:
        assert (await other.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: hi"


TRIES: Mapping[Feature, Try] = {
    Feature.CREATE: create,
    Feature.GET: get_and_list,
    Feature.LIST: get_and_list,
    Feature.DELETE: delete,
    Feature.SEND: send_with_context,
    Feature.STREAM: send_with_context,
    Feature.RESUME: resume,
    Feature.MESSAGES: send_with_context,
    Feature.TITLE: change,
    Feature.METADATA: change,
    Feature.CONFIRM: edit,
    Feature.EDIT_ARGUMENTS: edit,
    Feature.QUESTIONS: answer_question,
    Feature.CANCEL: cancel,
}


def test_every_declared_feature_is_tried() -> None:
    """A new one is not forgotten."""
    assert set(TRIES) == ThreadsPlatform.features


@pytest.mark.parametrize("attempt", dict.fromkeys(TRIES.values()))
async def test_what_is_declared_works(place: Place, attempt: Try) -> None:
    """On the double."""
    async with place.client() as client:
        await attempt(client, place)


async def test_what_is_not_declared_is_refused(place: Place) -> None:
    """By name, with who offers it."""
    async with place.client() as client:
        result = await answered(client, "hi")
        own_id = result.run.conversation_id
        with pytest.raises(NotOffered, match="archive"):
            await client.conversations.update(own_id, ConversationChanges(archived=True))
        with pytest.raises(NotOffered, match="rate_message"):
            await client.messages.rate(own_id, "m-1", Rating(value=5))
        with pytest.raises(NotOffered, match="branches"):
            await client.messages.list(own_id, MessageQuery(branch="b"))
