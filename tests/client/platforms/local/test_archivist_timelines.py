"""`timeline`: what happened when, by days or by months."""

import re
from datetime import timedelta

import pytest

from tertulia import Decision, NewConversation, Settlement, Status
from tertulia.platforms.local.archivist.toolcalls import Tool
from tertulia.platforms.local.archivist.tools.timelines import COUNTED, DAYS, MONTHS, READ
from tertulia.platforms.local.archivist.wording import MAX_ANSWER
from tests.client.platforms.local.counting import Reading, read_by
from tests.client.platforms.local.histories import enter, enter_all
from tests.client.platforms.local.talk import Talk

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


def periods(text: str) -> list[str]:
    """The days or months of a timeline."""
    return re.findall(r"^- ([\d-]+)", text, re.MULTILINE)


async def test_a_timeline_of_everything_goes_by_days_oldest_first(here: Talk) -> None:
    """Each day with how much was said, and the line that tells most of it: who, in which message, and where."""
    await enter_all(here)

    answer = await here.say("timeline until 2026-04-30")

    assert answer.text.startswith("Timeline until 2026-04-30, by day (UTC):\n- 2026-02-20 · 2 messages · ")
    days = periods(answer.text)
    assert days == sorted(days)
    assert days[-1] == "2026-04-13"
    assert (
        "- 2026-03-04 · 3 messages · user, `m6` in “Renewal with Acme” (`r2r:acme`): Petra approved the 8 % this "
        "morning, on the condition that they sign before 15 April."
    ) in answer.text.splitlines()
    assert [tool for tool, _ in answer.calls] == ["build_timeline"]


async def test_a_timeline_of_a_conversation_names_it_once(here: Talk) -> None:
    """The head says which it is; `this` is one too."""
    await enter_all(here)
    await here.say("remember that Petra signs off on every discount above 5 %")

    answer = await here.say("timeline of r2r:outage until 2026-03-01")
    own = await here.say("timeline this")

    assert answer.text.splitlines() == [
        "Timeline in “The outage” (`r2r:outage`) until 2026-03-01, by day (UTC):",
        "- 2026-02-20 · 2 messages · user, `m0`: Dana wrote that two tickets were not answered within the SLA.",
        "- 2026-02-21 · 2 messages · r2r:agent, `m3`: Premium support for Acme would cost us about 3,000 € a year.",
    ]
    assert " · 1 message · user, `m_" in own.text
    assert own.text.splitlines()[-1].endswith(" started")


async def test_a_timeline_about_something_shows_the_lines_that_have_it(here: Talk) -> None:
    """And only the days on which it was spoken of."""
    await enter_all(here)

    answer = await here.say("timeline Dana until 2026-04-30")

    assert answer.text.startswith("Timeline of “Dana” until 2026-04-30, by day (UTC):\n")
    lines = answer.text.splitlines()[1:]
    assert [line[2:12] for line in lines] == [
        "2026-02-20",
        "2026-03-02",
        "2026-03-03",
        "2026-03-05",
        "2026-03-06",
    ]
    assert all("Dana" in line for line in lines)


async def test_what_happened_to_conversations_is_told_beside_what_was_said(here: Talk) -> None:
    """Beginnings, endings, other changes of state, and what was approved or turned down; not what only passes."""
    made = await here.conversation("Renewals", "note: Acme renews in May.")
    await here.client.conversations.update_status(made.id, Status.PAUSED)
    await here.client.conversations.update_status(made.id, Status.OPEN)
    await here.client.conversations.update_status(made.id, Status.COMPLETED, reason="signed")
    await here.say(f"archive {made.id}")
    await here.say(f"delete {made.id}", Settlement(decision=Decision.REJECT, reason="No."))

    everything = await here.say("timeline")
    of_it = await here.say(f"timeline {made.id}")
    about = await here.say("timeline Acme renews")

    own = [re.sub(r"^  - \d\d:\d\d ", "", line) for line in of_it.text.splitlines()[2:]]
    assert own == ["started", "paused", "reopened", "completed “signed”"]
    assert "  - and 1 earlier event" in everything.text
    for told in (
        f'approved “Archive the conversation "Renewals" ({made.id})?”: “Here” (`{here.here.id}`)',
        f'turned down “Delete the conversation "Renewals" ({made.id}) with its 2 messages for good?”: “Here”',
        f"completed “signed”: “Renewals” (`{made.id}`)",
    ):
        assert told in everything.text
    assert f"completed “signed”: “Renewals” (`{made.id}`)" in about.text
    assert "Archive the conversation" not in about.text


async def test_a_long_time_goes_by_months(here: Talk) -> None:
    """And says how to see the days of one."""
    texts = [f"On day {number} the cormorant came." for number in range(100)]
    await enter(here, "r2r:a", "Birds", texts, start="2025-11-20", apart=24 * HOUR)

    months = await here.say("timeline in r2r:a until 2026-03-31")
    days = await here.say("timeline in r2r:a since 2026-01-01 until 2026-01-31")

    assert months.text.startswith("Timeline in “Birds” (`r2r:a`) until 2026-03-31, by month (UTC):\n")
    assert re.findall(r"^- (\S+) · (\d+) messages", months.text, re.MULTILINE) == [
        ("2025-11", "11"),
        ("2025-12", "31"),
        ("2026-01", "31"),
        ("2026-02", "27"),
    ]
    assert months.text.endswith("`since` and `until` a day of one month show its days.")
    assert len(periods(days.text)) == DAYS
    assert ", by day (UTC):" in days.text


async def test_what_there_is_no_room_for_can_be_asked_for(here: Talk) -> None:
    """The newest is shown, and the date from which on the rest is seen with the same command."""
    texts = [f"In month {number} the cormorant came." for number in range(60)]
    await enter(here, "r2r:a", "Birds", texts, start="2015-01-15", apart=timedelta(days=30.4))

    newest = await here.say("timeline in r2r:a until 2019-12-31")
    [until] = re.findall(r"the same with `until (\S+)` shows it", newest.text)
    before = await here.say(f"timeline in r2r:a until {until}")

    assert len(periods(newest.text)) == MONTHS
    assert (periods(newest.text)[0], until) == ("2018-01", "2017-12-31")
    assert periods(before.text)[-1] == "2017-12"


async def test_a_timeline_reads_little_of_much(here: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one day to the next it looks into the index; what is read does not grow with what was said between."""
    texts = [f"The cormorant {number} dives at the pier." for number in range(4_000)]
    await enter(here, "r2r:long", "Birds", texts, start="2026-01-10", apart=timedelta(minutes=10))
    await enter(here, "r2r:short", "Birds", texts[:900], start="2026-01-10", apart=timedelta(minutes=45))

    async def of(known: str) -> Reading:
        arguments = {"conversation_id": known, "until": "2026-03-01"}
        return await read_by(here, monkeypatch, Tool.TIMELINE, arguments)

    short, long = await of("r2r:short"), await of("r2r:long")

    assert len(short.result["periods"]) == len(long.result["periods"]) == 29
    assert long.result["periods"][10]["messages"] == 144
    assert long.characters < 1.1 * short.characters
    assert long.rows < (DAYS + 1) * (COUNTED + 1 + READ + 2)


async def test_more_than_is_counted_in_a_day_is_said_to_be_more(here: Talk) -> None:
    """The number is not made up."""
    texts = [f"The cormorant {number} dives." for number in range(COUNTED + 50)]
    await enter(here, "r2r:a", "Birds", texts, start="2026-01-10", apart=timedelta(seconds=1))

    answer = await here.say("timeline cormorant until 2026-01-31")

    assert f"- 2026-01-10 · more than {COUNTED} messages · " in answer.text


async def test_nothing_that_happened_is_said_plainly(here: Talk) -> None:
    """With a correction followed where there is one."""
    await enter_all(here)

    nothing = await here.say("timeline until 2020-01-01")
    words = await here.say("timeline cormorant")
    corrected = await here.say("timeline Premium suport until 2026-04-01")
    careful = await here.say("timeline suport -draft")
    refused = await here.say('timeline -"Acme"')

    assert nothing.text == "Nothing happened until 2020-01-01."
    assert words.text == "No message in your history has “cormorant”."
    assert corrected.text.startswith(
        "Nothing until 2026-04-01 has “Premium suport”; this is what “Premium support” finds. Timeline until "
        "2026-04-01, by day (UTC):\n- 2026-02-21"
    )
    assert careful.text == "No message in your history has “suport -draft”. Did you mean “support -draft”?"
    assert "no word to look for" in refused.text


async def test_however_much_there_is_the_answer_stays_short(here: Talk) -> None:
    """Long titles, ids and lines."""
    for number in range(40):
        texts = ["We decided that " + "much more than that is said here, " * 100] * 4
        known = f"r2r:{'x' * 400}{number}"
        await enter(here, known, "long title " * 18, texts, start=f"2026-01-{number % 28 + 1:02}")

    answer = await here.say("timeline")

    assert len(answer.text) <= MAX_ANSWER
    assert len(str(answer.calls[0][1])) < 30_000
    assert "There is more from before: the same with `until 2" in answer.text


async def test_nothing_of_another_principal_is_in_a_timeline(here: Talk) -> None:
    """Neither what they said, nor what happened to their conversations."""
    await enter_all(here)
    before = await here.say("timeline until 2026-04-30")
    theirs = ["The secret budget was approved."] * 4
    await enter(here, "r2r:theirs", "Theirs", theirs, principal="somebody")
    await enter(here, "r2r:acme", "Theirs", theirs, principal="somebody")
    other = here.client.as_principal("somebody")
    await other.conversations.create(NewConversation(agent="local:archivist", title="Their own"))

    everything = await here.say("timeline")
    after = await here.say("timeline until 2026-04-30")
    words = await here.say("timeline secret")
    by_id = await here.say("timeline r2r:theirs")

    assert after.text == before.text
    assert "Their" not in everything.text
    assert words.text == "No message in your history has “secret”."
    assert by_id.text.startswith("There is no conversation r2r:theirs.")
