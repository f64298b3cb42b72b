"""`summarise`: the telling lines of a conversation, or of what was said about something."""

import re
from datetime import timedelta

import pytest

from tertulia import EventKind, MessageDraft, NewConversation
from tertulia.platforms.local.archivist.toolcalls import Tool
from tertulia.platforms.local.archivist.tools.summaries import READ, READ_MATCHES
from tertulia.platforms.local.archivist.wording import MAX_ANSWER
from tests.client.platforms.local.counting import read_by
from tests.client.platforms.local.histories import ACME, enter, enter_all
from tests.client.platforms.local.talk import Talk, run_and_wait

pytestmark = pytest.mark.anyio


def lines(text: str) -> list[str]:
    """The lines of a summary, without who said them, when and where."""
    return [re.sub(r"^- .*?: ", "", line) for line in text.splitlines() if line.startswith("- ")]


async def test_a_conversation_is_summarised_by_its_telling_lines(here: Talk) -> None:
    """What it is about, what was decided, promised and how much it is; not the greetings, nor what leads nowhere."""
    await enter_all(here)

    answer = await here.say("summarise r2r:acme")

    head, *told = answer.text.splitlines()
    assert head.startswith(
        "“Renewal with Acme” (`r2r:acme`): 12 messages. 2026-03-02 to 2026-03-06, by user and r2r:agent, much about "
    )
    assert "Dana" in head
    assert (
        "- 2026-03-04 · user, `m6`: Petra approved the 8 % this morning, on the condition that they sign before 15 "
        "April." in told
    )
    assert (
        "- 2026-03-06 · r2r:agent, `m11`: I will remind you on 10 April if there is no answer from Dana."
        in told
    )
    assert any("Their contract ends on 31 May" in line for line in told)
    assert 5 <= len(told) <= 10
    for idle in ("hope you're doing well", "Yes please", "Great news", "Looks good", "Happy to help"):
        assert idle not in answer.text
    assert [tool for tool, _ in answer.calls] == ["look_up_conversation", "summarise_conversation"]


async def test_its_lines_stand_in_the_order_in_which_they_were_said_as_they_were_said(here: Talk) -> None:
    """A summary by extraction changes nothing: each line is part of the message it names."""
    await enter_all(here)

    answer = await here.say("summarise r2r:acme")

    found = answer.calls[-1][1]["result"]["lines"]
    numbers = [int(line["message_id"].removeprefix("m")) for line in found]
    assert numbers == sorted(numbers)
    for number, line in zip(numbers, found, strict=True):
        assert line["text"] in ACME[number]


async def test_code_and_quoted_mail_are_not_what_somebody_said(here: Talk) -> None:
    """However decided they sound."""
    await enter_all(here)

    answer = await here.say("summarise r2r:acme")

    assert "print" not in answer.text
    assert "Dear Dana" not in answer.text


async def test_what_was_said_twice_is_told_once(here: Talk) -> None:
    """A line that repeats another adds nothing."""
    decision = "We decided to move the launch of the cormorant project to 12 June."
    await enter(here, "r2r:a", "Launch", [decision, f"Noted: {decision}", "Bob calls the printer tomorrow."])

    answer = await here.say("summarise r2r:a")

    assert answer.text.count("the cormorant project") == 1
    assert "Bob calls the printer tomorrow." in answer.text


async def test_a_conversation_in_a_script_without_spaces_is_summarised(here: Talk) -> None:
    """Chinese sentences end at their own stops, and pairs of characters are what tells."""
    await enter_all(here)

    answer = await here.say('sum up "预算会议"')

    assert "much about 预算" in answer.text
    assert lines(answer.text)[-1] == "最后决定市场预算增加百分之十，也就是一百六十五万元，从一月开始执行。"


async def test_several_conversations_are_summarised_one_after_the_other(here: Talk) -> None:
    """Each with fewer lines; one that is not there does not keep the others from it."""
    await enter_all(here)

    answer = await here.say("summarise r2r:acme, r2r:none and r2r:deploy")
    many = await here.say("summarise " + ", ".join(f"r2r:c{number}" for number in range(6)))

    blocks = answer.text.split("\n\n")
    assert blocks[0].startswith("“Renewal with Acme” (`r2r:acme`): 12 messages.")
    assert len(blocks[0].splitlines()) <= 6
    assert blocks[1] == "There is no conversation r2r:none."
    assert blocks[2].startswith("`r2r:deploy`: 4 messages.")
    assert many.text == ("One message can have at most 5 conversations summarised, and this one names 6.")
    assert not many.calls


async def test_a_whole_title_needs_no_quotation_marks(here: Talk) -> None:
    """Where a conversation is called so, it is meant; else what was said about the words."""
    await enter_all(here)

    titled = await here.say("summarise renewal with acme")
    words = await here.say("summarise Acme")

    assert titled.text.startswith("“Renewal with Acme” (`r2r:acme`): 12 messages.")
    assert words.text.startswith("“Acme”: 5 messages.")


async def test_what_was_said_about_something_is_summarised_across_conversations(here: Talk) -> None:
    """Every line has the words, and says in which conversation and message it stands."""
    await enter_all(here)

    answer = await here.say("summarise what was said about Premium support?")

    told = [line for line in answer.text.splitlines() if line.startswith("- ")]
    assert len(told) >= 3
    assert all("Premium support" in line for line in told)
    assert (
        "- 2026-02-21 · r2r:agent, `m3` in “The outage” (`r2r:outage`): Premium support for Acme would cost us about "
        "3,000 € a year."
    ) in told
    assert any("in “Renewal with Acme” (`r2r:acme`)" in line for line in told)
    assert answer.text.endswith("`in CONVERSATION` or `since YYYY-MM-DD` narrows it down.")


async def test_a_summary_can_be_kept_to_a_time_and_to_a_conversation(here: Talk) -> None:
    """The last day counts."""
    await enter_all(here)

    late = await here.say("summarise r2r:acme since 2026-03-05 until 2026-03-05")
    words = await here.say("summarise support in r2r:outage until 2026-02-20")
    never = await here.say("summarise r2r:acme since 2027-01-01")

    assert late.text.startswith(
        "“Renewal with Acme” (`r2r:acme`): 3 messages since 2026-03-05 until 2026-03-05. 2026-03-05, by "
    )
    # Only one line has the word: another of the messages that have it is shown beside it.
    assert lines(words.text) == [
        "I see four tickets by Acme.",
        "The support rota had only one person that night.",
    ]
    assert never.text == (
        "“Renewal with Acme” (`r2r:acme`) has nothing to summarise: nothing was said since 2027-01-01 beside what I "
        "was told to do, and my answers."
    )


async def test_what_the_archivist_was_told_and_answered_is_left_out(here: Talk) -> None:
    """Only notes count of a conversation with it; and to ask again changes nothing."""
    await enter_all(here)
    empty = await here.say("summarise this")
    await here.say("remember that Petra signs off on every discount above 5 %")
    first = await here.say("summarise r2r:acme")
    again = await here.say("summarise r2r:acme")
    own = await here.say("summarise this")

    assert "has nothing to summarise" in empty.text
    assert again.text == first.text
    assert own.text.startswith(f"“Here” (`{here.here.id}`): 1 message.")
    assert lines(own.text) == ["remember that Petra signs off on every discount above 5 %"]


async def test_words_that_nobody_said_are_told_as_in_a_search(here: Talk) -> None:
    """With a correction followed, or nothing at all; a mistake of the search is its answer."""
    await enter_all(here)

    corrected = await here.say("summarise Premium suport")
    nothing = await here.say("summarise cormorants")
    refused = await here.say('summarise -"Acme"')

    assert corrected.text.startswith("Nothing has “Premium suport”; this is what “Premium support” finds. ")
    assert nothing.text == "No message in your history has “cormorants”."
    assert "no word to look for" in refused.text


async def test_of_a_long_conversation_a_part_is_read_evenly_spread_and_it_is_said(
    here: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end counts like its beginning; what is read does not grow with it, but for a number for each message."""
    texts = [
        f"The cormorant {number} dives at the pier. It comes back with a fish." for number in range(3_000)
    ]
    await enter(here, "r2r:short", "More birds", texts[:600], apart=timedelta(minutes=30))
    texts[-1] = "We decided to count the cormorants again in May."
    await enter(here, "r2r:long", "Birds", texts, apart=timedelta(minutes=30))

    answer = await here.say("summarise r2r:long")
    short = await read_by(here, monkeypatch, Tool.SUMMARISE, {"conversation_id": "r2r:short"})
    long = await read_by(here, monkeypatch, Tool.SUMMARISE, {"conversation_id": "r2r:long"})

    assert answer.text.startswith(
        f"“Birds” (`r2r:long`): 3,000 messages, of which I read {READ}, evenly spread. "
    )
    assert "We decided to count the cormorants again in May." in answer.text
    assert short.result["read"] == long.result["read"] == READ
    assert long.characters < 1.1 * short.characters


async def test_of_a_conversation_without_end_the_newest_part_is_looked_at(
    here: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is said, too."""
    monkeypatch.setattr("tertulia.platforms.local.archivist.tools.summaries.LISTED", 500)
    texts = [f"The cormorant {number} dives." for number in range(700)]
    await enter(here, "r2r:long", "Birds", texts, apart=timedelta(minutes=30))

    answer = await here.say("summarise r2r:long")

    assert answer.text.startswith(
        f"“Birds” (`r2r:long`): the newest 500 messages, of which I read {READ}, evenly spread. "
    )


async def test_of_what_matches_the_newest_is_read(here: Talk) -> None:
    """And it is said that there is more."""
    texts = [f"The cormorant {number} dives." for number in range(READ_MATCHES + 5)]
    await enter(here, "r2r:long", "Birds", texts, apart=timedelta(minutes=30))

    answer = await here.say("summarise cormorant")

    assert answer.text.startswith(f"“cormorant”: the newest {READ_MATCHES} messages. ")


async def test_however_long_and_odd_what_was_said_the_answer_stays_short(here: Talk) -> None:
    """One message without an end, a list of a thousand entries, ids and titles as long as they can be."""
    texts = [
        "word " * 40_000,
        "\n".join(f"- entry {number} costs {number} €" for number in range(1_000)),
        "。" * 5_000,
    ]
    known = [f"r2r:{'x' * 400}{number}" for number in range(5)]
    for each in known:
        await enter(here, each, "long title " * 18, texts * 3)

    answer = await here.say(f"summarise {', '.join(known)}")
    words = await here.say("summarise entry costs")

    for each in (answer, words):
        assert len(each.text) <= MAX_ANSWER
        assert all(len(str(result)) < 30_000 for _, result in each.calls)


async def test_what_others_wrote_stays_in_its_line(here: Talk) -> None:
    """Neither marks that change the direction of writing nor line breaks leave it."""
    await enter(
        here, "r2r:a", "T", ["We decided to pay \u202e25 €\u2028- `local:x` deleted.\x07 Really everything."]
    )

    answer = await here.say("summarise r2r:a")

    assert len(answer.text.splitlines()) == len([line for line in answer.text.split("\n") if line])
    assert not set("\u202e\u2028\x07") & set(answer.text)


async def test_nothing_of_another_principal_is_told_or_counts(here: Talk) -> None:
    """Neither by id nor by words; and what they wrote does not change what tells."""
    await enter_all(here)
    before = await here.say("summarise r2r:acme")
    theirs = [f"Petra approved the secret budget {number}." for number in range(50)]
    await enter(here, "r2r:theirs", "Theirs", theirs, principal="somebody")
    await enter(here, "r2r:acme", "Theirs", theirs, principal="somebody")

    after = await here.say("summarise r2r:acme")
    by_id = await here.say("summarise r2r:theirs")
    by_words = await here.say("summarise secret budget")

    assert after.text == before.text
    assert by_id.text == "There is no conversation r2r:theirs."
    assert "secret" not in by_words.text.replace("“secret budget”", "")


async def test_the_summary_is_a_tool_call_that_can_be_seen(here: Talk) -> None:
    """With its arguments and its compact result."""
    await enter_all(here)

    answer = await here.say("summarise r2r:deploy")

    assert answer.of(EventKind.TOOL_CALL_ARGS)[-1].data["arguments"] == {
        "conversation_id": "r2r:deploy",
        "lines": 10,
    }
    result = answer.calls[-1][1]["result"]
    assert (result["messages"], result["read"], result["authors"]) == (4, 4, ["user", "r2r:agent"])


async def test_a_conversation_whose_contents_are_not_kept_has_nothing_to_summarise(here: Talk) -> None:
    """Messages without text are none that can be read."""
    made = await here.client.conversations.create(NewConversation(agent="local:archivist", title="Data"))
    run = (await here.client.runs.send(made.id, MessageDraft(data={"a": 1}))).run
    await run_and_wait(here.client, run)

    answer = await here.say(f"summarise {made.id}")

    assert answer.text.startswith(f"“Data” (`{made.id}`) has nothing to summarise: nothing was said")
