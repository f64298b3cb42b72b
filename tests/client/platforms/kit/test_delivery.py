"""A message reaches its platform once, whatever fails on the way."""

from collections.abc import Sequence
from typing import Any

import pytest

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import (
    DELIVERED,
    MARK,
    NOT_KEPT,
    Delivery,
    DeliveryPolicy,
    Outcome,
    deliver,
)
from tertulia.vocabulary.errors import (
    ConflictError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tests.doubles.clocks import JumpingClock
from tests.doubles.run_context import FakeRunContext

pytestmark = pytest.mark.anyio

LOST = UncertainError("no answer")
AWAY = UnavailableError("away")
TRIED = {MARK: 3}
KEYED = DeliveryPolicy(resends=3, finds_without_contents=True)


class Wire:
    """A platform that answers sending and looking like this, in turn; an exception is raised."""

    def __init__(self, *, sending: Sequence[Any] = (), looking: Sequence[Any] = ()) -> None:
        self._sending = list(sending)
        self._looking = list(looking)
        self.calls: list[str] = []

    async def mark(self) -> int:
        self.calls.append("mark")
        return 3

    async def send(self, *, repeated: bool) -> str:
        self.calls.append("repeat" if repeated else "send")
        return _next(self._sending)

    async def find(self, mark: Any) -> str | None:
        assert mark == 3
        self.calls.append("find")
        return _next(self._looking)


def _next(results: list[Any]) -> Any:
    result = results.pop(0)
    if isinstance(result, Exception):
        raise result
    return result


async def delivered(
    context: FakeRunContext,
    wire: Wire,
    policy: DeliveryPolicy = DeliveryPolicy(),
    clock: JumpingClock | None = None,
) -> Delivery[str, str]:
    attempt = Attempt.begin(context, platform="Somewhere", clock=clock or JumpingClock())
    return await deliver(attempt, wire, policy)


async def test_a_message_is_sent_once_after_the_mark_was_saved() -> None:
    """That it was delivered is saved then."""
    context, wire = FakeRunContext(), Wire(sending=["taken"])

    assert await delivered(context, wire) == Delivery(Outcome.SENT, sent="taken")
    assert wire.calls == ["mark", "send"]
    assert context.saved == [TRIED, {MARK: 3, DELIVERED: True}]


async def test_what_was_delivered_is_neither_sent_nor_looked_for() -> None:
    """The checkpoint knows, whether or not the contents are stored."""
    context = FakeRunContext(None, checkpoint={MARK: 3, DELIVERED: True})

    assert await delivered(context, Wire()) == Delivery(Outcome.KNOWN)
    assert context.ended is None


async def test_a_message_whose_answer_was_lost_is_found() -> None:
    """The platform shows it a moment later."""
    context, wire, clock = FakeRunContext(), Wire(sending=[LOST], looking=[None, "row"]), JumpingClock()

    found: Delivery[str, str] = Delivery(Outcome.FOUND, found="row", cause=LOST)
    assert await delivered(context, wire, clock=clock) == found
    assert wire.calls == ["mark", "send", "find", "find"]
    assert clock.waited == [0.5, 1.5]
    assert context.saved[-1] == {MARK: 3, DELIVERED: True}


async def test_a_message_that_does_not_show_up_is_uncertain_and_not_sent_again() -> None:
    """The caller is told to look, too; the run is neither delivered nor ended here."""
    context, wire = FakeRunContext(), Wire(sending=[LOST], looking=[None] * 3)

    with pytest.raises(UncertainError, match="Somewhere gave no answer to the message") as caught:
        await delivered(context, wire)

    assert (
        caught.value.hint == "Look with list_messages in a moment; send it again if it is still missing then."
    )
    assert caught.value.ids["conversation_id"] == "somewhere:c1"
    assert caught.value.__cause__ is LOST
    assert wire.calls == ["mark", "send", "find", "find", "find"]
    assert (context.saved, context.ended) == ([TRIED], None)


async def test_a_message_that_does_not_show_up_is_absent_where_that_is_proof() -> None:
    """It was not taken; without its contents it could not be looked for, and nothing is proved."""
    proof = DeliveryPolicy(absence_is_proof=True)
    wire = Wire(sending=[LOST], looking=[None] * 3)
    assert await delivered(FakeRunContext(), wire, proof) == Delivery(Outcome.ABSENT, cause=LOST)
    assert wire.calls == ["mark", "send", "find", "find", "find"]

    with pytest.raises(UncertainError):
        await delivered(FakeRunContext(checkpoint=TRIED, text=None), Wire(), proof)


async def test_an_attempt_after_a_tried_one_looks_before_anything_else() -> None:
    """Nothing is marked anew: our own message would be before the mark."""
    wire = Wire(looking=["row"])

    assert await delivered(FakeRunContext(checkpoint=TRIED), wire) == Delivery(Outcome.FOUND, found="row")
    assert wire.calls == ["find"]


async def test_an_attempt_after_a_tried_one_does_not_send_again_on_its_own() -> None:
    """Not being shown is no proof of not having arrived."""
    wire = Wire(looking=[None] * 3)

    with pytest.raises(UncertainError):
        await delivered(FakeRunContext(checkpoint=TRIED), wire)
    assert wire.calls == ["find"] * 3


async def test_where_one_key_is_taken_once_a_missing_message_is_sent_again() -> None:
    """Each time after looking for it, and a bounded number of times."""
    wire = Wire(sending=[LOST, LOST, "taken"], looking=[None] * 6)

    assert await delivered(FakeRunContext(), wire, KEYED) == Delivery(Outcome.SENT, sent="taken")
    assert wire.calls == ["mark", "send", *["find"] * 3, "repeat", *["find"] * 3, "repeat"]

    wire = Wire(sending=[LOST] * 4, looking=[None] * 12)
    with pytest.raises(UncertainError):
        await delivered(FakeRunContext(), wire, KEYED)
    assert (wire.calls.count("send"), wire.calls.count("repeat")) == (1, 3)

    wire = Wire(sending=["taken"], looking=[None] * 3)
    assert await delivered(FakeRunContext(checkpoint=TRIED), wire, KEYED) == Delivery(
        Outcome.SENT, sent="taken"
    )
    assert wire.calls == [*["find"] * 3, "repeat"]


async def test_contents_that_are_not_stored_end_with_the_process_that_had_them() -> None:
    """The run says so; nothing was sent."""
    context, wire = FakeRunContext(None), Wire()

    assert await delivered(context, wire) == Delivery(Outcome.ENDED)
    assert (context.ended, wire.calls) == (("interrupted", NOT_KEPT), [])


async def test_a_tried_message_whose_contents_are_not_stored_is_found_by_its_id_alone() -> None:
    """Where the platform keeps none, whether it arrived stays unknown; where it does, absence is the end."""
    with pytest.raises(UncertainError):
        await delivered(FakeRunContext(None, checkpoint=TRIED), Wire())

    wire = Wire(looking=["row"])
    assert await delivered(FakeRunContext(None, checkpoint=TRIED), wire, KEYED) == Delivery(
        Outcome.FOUND, found="row"
    )

    context, wire = FakeRunContext(None, checkpoint=TRIED), Wire(looking=[None] * 3)
    assert await delivered(context, wire, KEYED) == Delivery(Outcome.ENDED)
    assert context.ended == ("interrupted", NOT_KEPT)


async def test_a_platform_that_is_away_is_waited_for_before_it_is_looked_at() -> None:
    """Not being reached is no look."""
    clock = JumpingClock()
    wire = Wire(sending=[LOST], looking=[*[AWAY] * 12, None, "row"])

    assert (await delivered(FakeRunContext(), wire, clock=clock)).outcome is Outcome.FOUND
    assert clock.now() > 60


async def test_a_platform_that_stays_away_leaves_the_message_uncertain() -> None:
    """After the patience, and no sooner."""
    clock = JumpingClock()

    with pytest.raises(UncertainError) as caught:
        await delivered(FakeRunContext(), Wire(sending=[LOST], looking=[AWAY] * 99), clock=clock)
    assert 570 < clock.now() <= 631
    assert isinstance(caught.value.__cause__, UnavailableError)


async def test_a_platform_that_cannot_be_read_is_not_waited_for() -> None:
    """What is no platform does not become one."""
    foreign = UnavailableError("something else", retryable=False)

    with pytest.raises(UncertainError):
        await delivered(FakeRunContext(), Wire(sending=[LOST], looking=[foreign]))


@pytest.mark.parametrize("refusal", [ConflictError("busy"), AWAY, NotFoundError("gone")])
async def test_a_refusal_is_passed_on_and_nothing_is_looked_for(refusal: Exception) -> None:
    """The platform does not have the message."""
    wire = Wire(sending=[refusal])

    with pytest.raises(type(refusal)) as caught:
        await delivered(FakeRunContext(), wire)
    assert isinstance(caught.value, TertuliaError)
    assert caught.value.unsent
    assert wire.calls == ["mark", "send"]
    with pytest.raises(NotFoundError):
        await delivered(FakeRunContext(checkpoint=TRIED), Wire(looking=[NotFoundError("gone")]))


async def test_a_refusal_of_what_an_earlier_attempt_may_have_sent_does_not_show_that_nothing_arrived() -> (
    None
):
    wire = Wire(looking=[None] * 3, sending=[ConflictError("no")])
    with pytest.raises(ConflictError) as caught:
        await delivered(FakeRunContext(checkpoint=TRIED), wire, KEYED)
    assert not caught.value.unsent
