"""A server process is killed after each of its effects, on each platform's double; readers see every message once.

The same call is made again, as a host does, by a server on the same store. What comes of it is either the whole answer
or a report that the outcome is not known, and what readers see has the message once and no gap.
"""

import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import Client, ConversationQuery, MessageQuery, Role, RunStatus
from tertulia.store.database import Store
from tests.client.inside import change
from tests.crashes.servers import Servers, try_call
from tests.crashes.sites import SITES, Site, Stores
from tests.doubles.clocks import SkippingClock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]

SECONDS = 240
SIDE_BY_SIDE = 4
"""How many crashes are tried at once: a server waits about as long as it computes."""
BOOKKEEPING = ("store.leases.", "runs.leases.", "store.idempotency.enter", "database.")
"""What commits that change nothing a reader sees; one of each kind is tried in the long run only."""
EVERY = defaultdict(lambda: 3, local=1, r2r=1)
"""Every how manieth effect the usual run crashes after; the long run crashes after each."""


@dataclass(frozen=True)
class Promise:
    """What a platform's wire allows to promise."""

    asks: str = ""
    """A message whose answer asks for an approval."""
    uncertain: Sequence[str] = ()
    """After which effects an attempt cannot know whether the platform acted; one effect of each kind."""
    unnamed: str = "\0"
    """What the platform's adapter says where it lacks the name by which a run is canceled."""


MARKED = "EventQueue.flush"
"""The commit just before a message is sent, which says that it may have been."""
PROMISES: Mapping[str, Promise] = {
    "local": Promise(asks="archive this"),
    "revengai": Promise(asks="confirm", uncertain=("POST /v2/conversations", MARKED)),
    "agentflow": Promise(
        asks="approve it", unnamed="has not named the call", uncertain=("POST /api/v1/conversations",)
    ),
    "knowrithm": Promise(uncertain=("POST /api/v1/conversation", MARKED)),
    "r2r": Promise(),
    "rine": Promise(),
    "a2a": Promise(uncertain=(MARKED,)),
}


@dataclass
class Outcome:
    """What came of the calls, and what readers see afterwards."""

    effects: Sequence[str]
    died: bool
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    sent: list[str | None] = field(default_factory=list[str | None])
    replies: list[str] = field(default_factory=list[str])
    runs: list[RunStatus] = field(default_factory=list[RunStatus])
    pending: int = 0
    empty: int = 0

    @property
    def status(self) -> str | None:
        """What the last call says of the run."""
        return self.results[-1]["structuredContent"].get("status")

    @property
    def completed(self) -> bool:
        """Whether the last call has the whole answer."""
        return self.status == RunStatus.COMPLETED

    @property
    def text(self) -> str:
        """What the model reads of the last result."""
        return "\n".join(block["text"] for block in self.results[-1]["content"])


@dataclass(frozen=True)
class Place:
    """Where a platform is tried, in folders and stores of its own."""

    platform: str
    folder: Path
    stores: Stores
    keeps_content: bool = True


async def play(
    place: Place, name: str, text: str, failpoint: int | None, *, cancels: bool = False
) -> Outcome:
    """Send a message and approve what its answer asks, or cancel it; where the server dies, another one goes on."""
    folder = place.folder / name
    folder.mkdir()
    with place.stores(folder) as store:
        async with SITES[place.platform](folder, store) as made:
            kept = {} if place.keeps_content else {"store_content": False}
            site = replace(made, options={**made.options, **kept})
            return await _play(site, folder, text, failpoint, cancels=cancels)


async def _play(site: Site, folder: Path, text: str, failpoint: int | None, *, cancels: bool) -> Outcome:
    servers = Servers(site, folder)
    about: dict[str, Any] = {"agent": site.agent, "text": text}
    calls = [("send_message", about)]
    results: list[dict[str, Any]] = []
    died = False
    while calls:
        async with servers.start(None if died else failpoint) as server:
            while calls:
                tool, arguments = calls[0]
                result = await try_call(server, tool, **arguments, idempotency_key=tool)
                if result is None:
                    assert not died, server.log.read_text()
                    died = True
                    break
                del calls[0]
                results.append(result)
                calls += _following(result["structuredContent"], cancels=cancels)
            else:
                assert await server.hang_up() == 0
        if died and Store(site.store).exists():
            await change(site.store, "UPDATE leases SET expires_at = 0")
    effects = servers.effects[0].read_text().splitlines()
    outcome = Outcome(effects, died, results)
    async with Client.open(site.settings, clock=SkippingClock()) as client:
        query = ConversationQuery(instance=site.instance, archived=None)
        for conversation in (await client.conversations.list(query)).items:
            await _read(client, conversation.id, outcome)
    return outcome


def _following(result: Mapping[str, Any], *, cancels: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that settle what a result says is pending."""
    requests = result.get("pending", [])
    if cancels:
        return [("cancel_run", {"conversation_id": result["conversation_id"]})] if requests else []
    return [
        ("confirm_tool", {"request_id": request["request_id"], "decision": "approve"}) for request in requests
    ]


async def _read(client: Client, conversation_id: str, outcome: Outcome) -> None:
    entries = (await client.conversations.events(conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    messages = (await client.messages.list(conversation_id, MessageQuery(limit=50))).items
    outcome.sent += [message.text for message in messages if message.role is Role.USER]
    replies = [message.text or "" for message in messages if message.role is Role.ASSISTANT]
    outcome.replies += [reply.replace(conversation_id, "ID") for reply in replies]
    outcome.empty += not messages
    run = await client.runs.latest(conversation_id)
    outcome.runs += [] if run is None else [run.status]
    outcome.pending += len(await client.runs.pending(conversation_id))


def check(platform: str, text: str, outcome: Outcome, whole: Outcome) -> None:
    """Check what readers see after a crash; `whole` is what they see without one."""
    promise = PROMISES[platform]
    last = outcome.effects[-1]
    assert outcome.sent in ([text], []), f"{last}: sent {outcome.sent}"
    allowed = 0 if outcome.completed else 1
    assert outcome.empty <= allowed, f"{last}: {outcome.empty} empty conversations"
    if outcome.completed:
        assert (outcome.sent, outcome.replies) == (whole.sent, whole.replies), last
    else:
        assert any(effect in last for effect in promise.uncertain), f"{last}: {outcome.text}"
        assert "not known" in outcome.text or "does not show it" in outcome.text


def check_canceled(platform: str, text: str, outcome: Outcome) -> None:
    """Check what readers see after a crash on the way to a cancellation."""
    last = outcome.effects[-1]
    assert outcome.sent in ([text], []), f"{last}: sent {outcome.sent}"
    if PROMISES[platform].unnamed in outcome.text:  # the process died before it read what it is to cancel by
        assert "Reject with confirm_tool" in outcome.text, last
        return
    assert outcome.pending == 0, last
    if outcome.status == RunStatus.CANCELED:
        assert (outcome.sent, outcome.runs) == ([text], [RunStatus.CANCELED]), f"{last}: {outcome.runs}"
    else:
        assert any(effect in last for effect in PROMISES[platform].uncertain), f"{last}: {outcome.text}"


async def crash_at(place: Place, text: str, *, everywhere: bool, cancels: bool = False) -> None:
    """Crash after each effect of a call, and check each outcome."""
    platform = place.platform
    whole = await play(place, "whole", text, None, cancels=cancels)
    expected = RunStatus.CANCELED if cancels else RunStatus.COMPLETED
    assert whole.status == expected, whole.text
    assert (whole.sent, whole.empty) == ([text], 0)
    points = _points(whole, everywhere=everywhere)
    points = points if everywhere else points[:: EVERY[platform]]
    died: list[bool] = []
    uncertain: list[str] = []

    async def crash(number: int) -> None:
        outcome = await play(place, f"at-{number}", text, number, cancels=cancels)
        died.append(outcome.died)
        if cancels:
            check_canceled(platform, text, outcome)
        else:
            check(platform, text, outcome, whole)
        if outcome.status != expected and PROMISES[platform].unnamed not in outcome.text:
            uncertain.append(outcome.effects[-1])

    await _side_by_side(points, crash)
    # A renewal of a lease may come in between, so that the last points are not reached.
    assert sum(died) >= len(points) - 2
    assert len(uncertain) <= len(PROMISES[platform].uncertain), f"more than is promised: {uncertain}"


def _points(whole: Outcome, *, everywhere: bool) -> list[int]:
    """Return the numbers of the effects after which a server is killed."""
    points = [
        number
        for number, effect in enumerate(whole.effects)
        if everywhere or not any(kind in effect for kind in BOOKKEEPING)
    ]
    assert len(points) > 5
    return points


async def _side_by_side(points: Iterable[int], crash: Callable[[int], Awaitable[None]]) -> None:
    limit = anyio.CapacityLimiter(SIDE_BY_SIDE)

    async def limited(number: int) -> None:
        async with limit:
            await crash(number)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in points:
                tasks.start_soon(limited, number)


def cases(platforms: Iterable[str], *, usual: Collection[str] = ()) -> pytest.MarkDecorator:
    """Return the mark that has a test tried on each engine; on PostgreSQL, the usual run tries some platforms."""
    return pytest.mark.parametrize(
        ("stores", "platform"),
        [
            *(pytest.param("sqlite", platform) for platform in platforms),
            *(
                pytest.param("postgres", platform, marks=() if platform in usual else pytest.mark.long)
                for platform in platforms
            ),
        ],
        indirect=["stores"],
    )


ASKS = [name for name, promise in PROMISES.items() if promise.asks]


@cases(PROMISES, usual=["agentflow"])
async def test_a_message_survives_a_crash_after_each_step(
    platform: str, stores: Stores, tmp_path: Path
) -> None:
    """Of its way to the platform, and of the answer's way back."""
    await crash_at(Place(platform, tmp_path, stores), "Hello 4711", everywhere=False)


@cases(["r2r"])
async def test_a_message_that_is_kept_nowhere_is_sent_once_or_its_run_says_so(
    platform: str, stores: Stores, tmp_path: Path
) -> None:
    """The server that goes on does not have it, and never answers without it."""
    place = Place(platform, tmp_path, stores, keeps_content=False)
    whole = await play(place, "whole", "Hello 4711", None)
    assert whole.completed, whole.text
    told: list[str] = []

    async def crash(number: int) -> None:
        outcome = await play(place, f"at-{number}", "Hello 4711", number)
        last = outcome.effects[-1]
        assert outcome.sent in (["Hello 4711"], []), f"{last}: sent {outcome.sent}"
        assert not any(status.active for status in outcome.runs), last
        if outcome.completed:
            assert (outcome.sent, outcome.replies) == (whole.sent, whole.replies), last
        else:
            assert set(outcome.runs) <= {RunStatus.INTERRUPTED}, last
            told.append(outcome.text)

    await _side_by_side(_points(whole, everywhere=False)[::4], crash)
    assert any("is not kept here, and the process that had it ended" in text for text in told), told


@pytest.mark.long
@cases(ASKS)
async def test_an_approval_survives_a_crash_after_each_step(
    platform: str, stores: Stores, tmp_path: Path
) -> None:
    """Of the question, of the decision, and of what follows."""
    await crash_at(Place(platform, tmp_path, stores), PROMISES[platform].asks, everywhere=True)


@cases(["revengai"])
async def test_a_cancellation_survives_a_crash_after_each_step(
    platform: str, stores: Stores, tmp_path: Path
) -> None:
    """Nothing is pending afterwards, and nobody goes on with the run."""
    place = Place(platform, tmp_path, stores)
    await crash_at(place, PROMISES[platform].asks, everywhere=False, cancels=True)


@pytest.mark.long
@cases(ASKS)
async def test_a_cancellation_survives_a_crash_after_each_commit_and_request(
    platform: str, stores: Stores, tmp_path: Path
) -> None:
    """Also after those that nobody sees."""
    place = Place(platform, tmp_path, stores)
    await crash_at(place, PROMISES[platform].asks, everywhere=True, cancels=True)


@pytest.mark.long
@cases(PROMISES)
async def test_a_message_survives_a_crash_after_each_commit_and_request(
    platform: str, stores: Stores, tmp_path: Path
) -> None:
    """Also after those that nobody sees."""
    await crash_at(Place(platform, tmp_path, stores), "Hello 4711", everywhere=True)
