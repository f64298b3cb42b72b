"""Features declared are features kept: what each platform declares works on its double; all else is refused by name.

Three things are never refused: where a platform has no list, no search or no figures of its own, they are served from
what is known here, and say so.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    MessageChanges,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotOffered,
    ParticipantRole,
    Rating,
    RequestKind,
    RunResult,
    RunStatus,
    SearchQuery,
    Settlement,
    Status,
)
from tertulia.platforms.registry import PLATFORMS
from tests.client.platforms import a2a, acp, agentflow, knowrithm, r2r, revengai
from tests.doubles.acp_agent import script
from tests.doubles.knowrithm import KnowrithmDouble

pytestmark = pytest.mark.anyio

SECONDS = 20
OURS = frozenset({Feature.LIST, Feature.SEARCH, Feature.ANALYTICS})
"""What is served from our side where a platform has it not."""
IMPLIED = frozenset({Feature.SEND, Feature.STREAM, Feature.RESUME, Feature.CONFIRM, Feature.QUESTIONS})
"""How answers come: none of these is a call of its own that could be refused."""


@dataclass(frozen=True)
class Site:
    """A platform's double. `texts` has what to say for an answer that asks, has a question, or is not over at once."""

    agent: str
    open: Callable[[], AbstractAsyncContextManager[Client]]
    texts: Mapping[str, str]
    context: Mapping[str, Any] | None = None
    """What a conversation there cannot do without."""

    @property
    def new(self) -> NewConversation:
        """The conversation that is begun there."""
        return NewConversation(agent=self.agent, context=self.context)

    @property
    def instance(self) -> str:
        """The instance's name."""
        return self.agent.partition(":")[0]


@dataclass(frozen=True)
class At:
    """A client of a platform, and a conversation there with an answer."""

    site: Site
    client: Client
    outcome: RunResult

    @property
    def own_id(self) -> str:
        """The conversation's id."""
        return self.outcome.run.conversation_id

    async def say(self, what: str) -> RunResult:
        """Begin another conversation by a text of `Site.texts`; return what there is once it is over, or asks."""
        return await begun(self.client, self.site, what)

    async def answer_id(self) -> str:
        """Return the id of the answer."""
        return (await self.client.messages.list(self.own_id, MessageQuery(limit=10))).items[-1].id


Try = Callable[[At], Awaitable[object]]


async def begun(client: Client, site: Site, what: str) -> RunResult:
    """Begin a conversation by a text of `Site.texts`."""
    sent = await client.runs.start(site.new, MessageDraft(text=site.texts.get(what, "Hello")))
    return await client.runs.wait(sent.run, timeout=SECONDS)


@asynccontextmanager
async def local(path: Path) -> AsyncGenerator[Site]:
    """The embedded platform, with the archivist."""

    settings = InstanceSettings(platform="local", options={"mailboxes": ["reviewer"]})

    def open() -> AbstractAsyncContextManager[Client]:
        return Client.open(ClientSettings(store=path / "store.db", instances={"local": settings}))

    asks = "archive this"
    yield Site("local:archivist", open, {"asks": asks, "lasts": asks})


@asynccontextmanager
async def at_revengai(path: Path) -> AsyncGenerator[Site]:
    """RevEng.AI's."""
    async with revengai.placed(path) as place:
        yield Site(revengai.ASSISTANT, place.client, {"asks": "confirm", "lasts": "confirm"})


@asynccontextmanager
async def at_r2r(path: Path) -> AsyncGenerator[Site]:
    """R2R's."""
    async with r2r.placed(path / "store.db") as place:
        yield Site(r2r.RAG, place.client, {"lasts": "hold"})


@asynccontextmanager
async def at_rine(path: Path) -> AsyncGenerator[Site]:
    """Rine's."""
    pytest.importorskip("rine", reason="Rine's client has no wheel for Windows")
    from tests.client.platforms import rine

    async with rine.placed(path) as place:
        yield Site(rine.BOB, place.client, {"lasts": "hold"})


@asynccontextmanager
async def at_knowrithm(path: Path) -> AsyncGenerator[Site]:
    """Knowrithm's, on the older wire: what only that has is declared as well."""
    async with knowrithm.placed(path, KnowrithmDouble(older=True)) as place:
        yield Site(knowrithm.SUPPORT, place.client, {})


@asynccontextmanager
async def at_agentflow(path: Path) -> AsyncGenerator[Site]:
    """AgentFlow's."""
    async with agentflow.placed(path) as place:
        yield Site(
            agentflow.MAIN, place.client, {"asks": "approve it", "question": "ask me", "lasts": "hold on"}
        )


@asynccontextmanager
async def at_acp(path: Path) -> AsyncGenerator[Site]:
    """An agent program's."""
    call = {"toolCallId": "t", "title": "rm a.txt", "kind": "execute"}
    texts = {"asks": script({"ask": call}), "lasts": script({"hang": True})}
    async with acp.placed(path) as place:
        yield Site(acp.AGENT, place.client, texts, {"cwd": str(place.work)})


@asynccontextmanager
async def at_a2a(path: Path) -> AsyncGenerator[Site]:
    """An agent's that speaks A2A."""
    async with a2a.placed(path) as place:
        yield Site(a2a.AGENT, place.client, {"asks": "authorize", "question": "ask", "lasts": "hold"})


SITES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Site]]] = {
    "local": local,
    "revengai": at_revengai,
    "r2r": at_r2r,
    "rine": at_rine,
    "knowrithm": at_knowrithm,
    "agentflow": at_agentflow,
    "acp": at_acp,
    "a2a": at_a2a,
}


async def create(at: At) -> None:
    made = await at.client.conversations.create(at.site.new)
    assert (await at.client.conversations.get(made.id)).id == made.id


async def get(at: At) -> None:
    assert (await at.client.conversations.get(at.own_id)).agent == at.site.agent


async def list_own(at: At) -> None:
    page = await at.client.conversations.list(ConversationQuery(instance=at.site.instance))
    assert at.own_id in {each.id for each in page.items}
    assert page.from_index == (not at.client.offers(at.own_id, Feature.LIST))


async def search(at: At) -> None:
    """What was said is found, by whoever answers."""
    found = await at.client.search.messages(SearchQuery(text="Hello", instance=at.site.instance))
    assert at.own_id in {hit.conversation_id for hit in found.hits}


async def delete(at: At) -> None:
    await at.client.conversations.delete(at.own_id)


async def restore(at: At) -> None:
    await at.client.conversations.delete(at.own_id)
    assert (await at.client.conversations.restore(at.own_id)).id == at.own_id


async def send(at: At) -> None:
    assert at.outcome.run.status is RunStatus.COMPLETED
    assert at.outcome.reply


async def stream(at: At) -> None:
    entries = (await at.client.conversations.events(at.own_id)).entries
    assert {EventKind.TEXT_MESSAGE_CONTENT, EventKind.TEXT_MESSAGE_END} & {entry.kind for entry in entries}


async def resume(at: At) -> None:
    """Another process has the answer of a run whose process is gone."""
    sent = await at.client.runs.start(at.site.new, MessageDraft(text="Hello again"))
    async with at.site.open() as other:
        assert (await other.runs.wait(sent.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED


async def messages(at: At) -> None:
    assert len((await at.client.messages.list(at.own_id)).items) == 2


async def add_message(at: At) -> None:
    added = await at.client.messages.add(at.own_id, MessageDraft(text="A note"))
    assert added.text == "A note"


async def update_message(at: At) -> None:
    changed = await at.client.messages.update(at.own_id, await at.answer_id(), MessageChanges(text="Better"))
    assert changed.text == "Better"


async def rate_message(at: At) -> None:
    rated = await at.client.messages.rate(at.own_id, await at.answer_id(), Rating(value=5))
    assert rated.id


async def branches(at: At) -> None:
    assert len(await at.client.conversations.branches(at.own_id)) == 1


async def remove_branch(at: At) -> None:
    await at.client.messages.update(at.own_id, await at.answer_id(), MessageChanges(text="Better"))
    first, _ = await at.client.conversations.branches(at.own_id)
    await at.client.conversations.remove_branch(at.own_id, first.id)
    assert len(await at.client.conversations.branches(at.own_id)) == 1


async def participants(at: At) -> None:
    assert len(await at.client.conversations.participants(at.own_id)) == 2


async def invite(at: At) -> None:
    await at.client.conversations.invite(at.own_id, {"local:reviewer": ParticipantRole.OBSERVER})
    assert len(await at.client.conversations.participants(at.own_id)) == 3


async def title(at: At) -> None:
    assert (
        await at.client.conversations.update(at.own_id, ConversationChanges(title="Mine"))
    ).title == "Mine"


async def generate_title(at: At) -> None:
    made = await at.client.conversations.generate_title(
        at.own_id, seed_message="What does our pipeline look like?", force=True
    )
    assert made.title


async def metadata(at: At) -> None:
    changed = await at.client.conversations.update(at.own_id, ConversationChanges(metadata={"a": "b"}))
    assert changed.metadata["a"] == "b"


async def context(at: At) -> None:
    changed = await at.client.conversations.update(at.own_id, ConversationChanges(context={"model": "small"}))
    assert changed.context == {**(at.site.context or {}), "model": "small"}


async def archive(at: At) -> None:
    assert (await at.client.conversations.update(at.own_id, ConversationChanges(archived=True))).archived


async def opened(at: At) -> None:
    """See that the conversation is open: not every platform opens it by an answer."""
    if (await at.client.conversations.get(at.own_id)).status is Status.SUBMITTED:
        await at.client.conversations.update_status(at.own_id, Status.OPEN)


async def status(at: At) -> None:
    await opened(at)
    assert (await at.client.conversations.update_status(at.own_id, Status.PAUSED)).status is Status.PAUSED


async def end(at: At) -> None:
    await opened(at)
    assert (
        await at.client.conversations.update_status(at.own_id, Status.COMPLETED)
    ).status is Status.COMPLETED


async def rating(at: At) -> None:
    ended = await at.client.conversations.update_status(at.own_id, Status.COMPLETED, rating=Rating(value=4))
    assert ended.status is Status.COMPLETED


async def analytics(at: At) -> None:
    found = await at.client.conversations.analytics(at.own_id)
    told = at.client.offers(at.own_id, Feature.ANALYTICS) and at.site.instance != "local"
    assert found.computed is not told
    assert sum(found.messages.values()) == 2


async def confirm(at: At) -> None:
    await settle(at, "asks", RequestKind.CONFIRMATION, Settlement(decision=Decision.APPROVE))


async def edit_arguments(at: At) -> None:
    """An approval with other arguments is taken, or refused by name."""
    (request,) = (await at.say("asks")).pending
    edited = Settlement(decision=Decision.APPROVE, arguments=dict(request.arguments))
    await at.client.runs.respond(request.id, edited)


async def questions(at: At) -> None:
    await settle(at, "question", RequestKind.QUESTION, Settlement(decision=Decision.ANSWER, answer="Q3"))


async def cancel(at: At) -> None:
    sent = await at.client.runs.start(at.site.new, MessageDraft(text=at.site.texts.get("lasts", "Hello")))
    await at.client.runs.wait(sent.run, timeout=0)
    assert (await at.client.runs.cancel(sent.conversation.id)).status is RunStatus.CANCELED


async def settle(at: At, what: str, kind: RequestKind, settlement: Settlement) -> None:
    asked = await at.say(what)
    (request,) = asked.pending
    assert request.kind is kind
    await at.client.runs.respond(request.id, settlement)
    assert (await at.client.runs.wait(asked.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED


TRIES: Mapping[Feature, Try] = {
    Feature.CREATE: create,
    Feature.GET: get,
    Feature.LIST: list_own,
    Feature.SEARCH: search,
    Feature.DELETE: delete,
    Feature.RESTORE: restore,
    Feature.SEND: send,
    Feature.STREAM: stream,
    Feature.RESUME: resume,
    Feature.MESSAGES: messages,
    Feature.ADD_MESSAGE: add_message,
    Feature.UPDATE_MESSAGE: update_message,
    Feature.RATE_MESSAGE: rate_message,
    Feature.BRANCHES: branches,
    Feature.REMOVE_BRANCH: remove_branch,
    Feature.PARTICIPANTS: participants,
    Feature.INVITE: invite,
    Feature.TITLE: title,
    Feature.GENERATE_TITLE: generate_title,
    Feature.METADATA: metadata,
    Feature.CONTEXT: context,
    Feature.ARCHIVE: archive,
    Feature.STATUS: status,
    Feature.END: end,
    Feature.RATING: rating,
    Feature.ANALYTICS: analytics,
    Feature.CONFIRM: confirm,
    Feature.EDIT_ARGUMENTS: edit_arguments,
    Feature.QUESTIONS: questions,
    Feature.CANCEL: cancel,
}


def test_every_feature_and_every_platform_is_tried_below() -> None:
    """A new one is not forgotten."""
    assert set(TRIES) == set(Feature)
    assert set(SITES) == {name for name, where in PLATFORMS.items() if where.startswith("tertulia.")}


@pytest.mark.parametrize("feature", Feature)
@pytest.mark.parametrize(
    "platform", [pytest.param(name, marks=[] if name == "local" else pytest.mark.io) for name in SITES]
)
async def test_what_is_declared_works_and_what_is_not_is_refused(
    tmp_path: Path, platform: str, feature: Feature
) -> None:
    """By name, with who offers it; or it is served from our side, and says so."""
    async with SITES[platform](tmp_path) as site, site.open() as client:
        at = At(site, client, await begun(client, site, "plain"))
        nothing_to_edit = feature is Feature.EDIT_ARGUMENTS and not client.offers(at.own_id, Feature.CONFIRM)
        if client.offers(at.own_id, feature) or feature in OURS:
            await TRIES[feature](at)
        elif feature not in IMPLIED and not nothing_to_edit:
            with pytest.raises(NotOffered) as raised:
                await TRIES[feature](at)
            assert raised.value.hint
