"""What a run waits for from a person."""

from dataclasses import replace

import anyio
import pytest

from tertulia.platforms.kit.requests import PendingRequests
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Request, RequestDraft, RequestKind
from tertulia.vocabulary.states import RequestStatus
from tests.doubles.clocks import JumpingClock
from tests.doubles.run_context import FakeRunContext

pytestmark = pytest.mark.anyio

BEFORE = Event(EventKind.RAW, {})


def draft(upstream_id: str, kind: RequestKind = RequestKind.CONFIRMATION) -> RequestDraft:
    return RequestDraft(kind=kind, prompt="?", upstream_id=upstream_id)


def ids(requests: PendingRequests) -> list[str | None]:
    return [request.upstream_id for request in requests]


async def test_each_request_is_asked_once_whichever_attempt_sees_it_first() -> None:
    """Its kind tells it apart, too; the checkpoint is saved in any case."""
    first = FakeRunContext()
    requests = PendingRequests(first, JumpingClock())
    assert not requests
    await requests.ask(draft("1"), BEFORE, checkpoint={"a": 1})
    await requests.ask(draft("1"), checkpoint={"a": 2})
    await requests.ask(draft("1", RequestKind.QUESTION))
    assert requests
    assert ids(requests) == ["1", "1"]
    assert (len(first.requests), first.journal, first.saved) == (2, [BEFORE], [{"a": 1}, {"a": 2}])

    second = FakeRunContext(requests=first.requests)
    again = PendingRequests(second, JumpingClock())
    await again.ask(draft("1"))
    assert (ids(again), len(second.requests)) == (["1", "1"], 2)


async def test_what_the_platform_has_changed_is_asked_anew() -> None:
    """A decision about what was shown must not count for something else under the same id."""
    context = FakeRunContext()
    requests = PendingRequests(context, JumpingClock())
    shown = replace(draft("1"), tool="mail", arguments={"to": "acme"})
    await requests.ask(shown)
    await requests.ask(replace(shown, arguments={}))  # the platform does not repeat them
    await requests.ask(replace(shown, arguments={"to": "everybody"}))

    before, _ = context.requests
    assert [request.arguments for request in requests] == [{"to": "everybody"}]
    assert context.withdrawn == [before.id]


async def test_what_an_earlier_attempt_asked_and_was_settled_is_neither_pending_nor_asked_again() -> None:
    """The platform may still show it."""
    settled = Request(
        id="r_1",
        run_id="run_1",
        conversation_id="somewhere:c1",
        kind=RequestKind.CONFIRMATION,
        prompt="?",
        status=RequestStatus.APPROVED,
        upstream_id="1",
    )
    context = FakeRunContext(requests=[settled])
    requests = PendingRequests(context, JumpingClock())
    await requests.ask(draft("1"))

    assert not requests
    assert context.requests == [settled]


async def test_a_decision_that_the_platform_shows_first_is_waited_for() -> None:
    """It is being recorded."""
    context, clock = FakeRunContext(), JumpingClock()
    requests = PendingRequests(context, clock)
    await requests.ask(draft("1"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(requests.resolve_id, RequestKind.CONFIRMATION, "1")
        await clock.sleep(2)
        context.settle("r_1")

    assert (ids(requests), context.withdrawn, clock.now()) == ([], [], 2)


async def test_what_was_decided_on_the_platform_is_withdrawn() -> None:
    """After a few seconds, and once."""
    context, clock = FakeRunContext(), JumpingClock()
    requests = PendingRequests(context, clock)
    await requests.ask(draft("1"))
    await requests.ask(draft("2"))
    await requests.ask(draft("q", RequestKind.QUESTION))
    await requests.resolve_missing(RequestKind.CONFIRMATION, {"2", "3"})
    await requests.resolve_id(RequestKind.CONFIRMATION, "1")
    await requests.resolve_id(RequestKind.QUESTION, "2")

    assert (ids(requests), context.withdrawn, clock.now()) == (["2", "q"], ["r_1"], 5)


async def test_a_pause_lasts_until_a_person_decides() -> None:
    """Or as long as it should; nobody is asked without a request."""
    context, clock = FakeRunContext(), JumpingClock()
    requests = PendingRequests(context, clock)
    await requests.pause(30)
    assert clock.now() == 30
    await requests.ask(draft("1"))
    await requests.pause(30)
    assert (clock.now(), ids(requests)) == (60, ["1"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(requests.pause, 30)
        await clock.sleep(4)
        context.settle("r_1")

    assert (clock.now(), ids(requests), context.withdrawn) == (64, [], [])
