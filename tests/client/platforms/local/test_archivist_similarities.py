"""`similar to`: conversations about the same, and the words that show it."""

from datetime import timedelta

import pytest

from tertulia.platforms.local.archivist.toolcalls import Tool
from tertulia.platforms.local.archivist.tools.similarities import MATCHES, READ, TERMS
from tertulia.platforms.local.archivist.wording import MAX_ANSWER
from tests.client.platforms.local.counting import read_by
from tests.client.platforms.local.histories import BUDGET, OUTAGE, enter, enter_all
from tests.client.platforms.local.talk import Talk

pytestmark = pytest.mark.anyio


async def test_similar_conversations_are_named_with_the_words_that_both_have(here: Talk) -> None:
    """The most similar first, itself left out."""
    await enter_all(here)
    await enter(here, "r2r:again", "Another outage", [*OUTAGE[1:], "Dana wrote again."], start="2026-05-01")

    answer = await here.say("similar to r2r:outage")

    head, *lines = answer.text.splitlines()
    assert head == "2 conversations are like “The outage” (`r2r:outage`), the most similar first:"
    assert lines[0].startswith("- “Another outage” (`r2r:again`) · open · 20")
    assert lines[1].startswith("- “Renewal with Acme” (`r2r:acme`) · open · 20")
    assert "both have " in lines[1]
    assert "Acme" in lines[1].partition("both have ")[2]
    assert [tool for tool, _ in answer.calls] == ["look_up_conversation", "find_similar"]


async def test_it_can_be_asked_for_in_other_words_and_by_title(here: Talk) -> None:
    """All of these mean the same."""
    await enter_all(here)

    answers = [
        (await here.say(text)).text
        for text in (
            "similar to r2r:outage",
            "related to r2r:outage",
            "like r2r:outage",
            'similar to "the outage"',
            "similar to The outage",
        )
    ]

    assert answers[0].startswith("1 conversation is like “The outage” (`r2r:outage`):\n- “Renewal with Acme”")
    assert set(answers) == {answers[0]}


async def test_conversations_in_a_script_without_spaces_are_compared(here: Talk) -> None:
    """By words of more than one character."""
    await enter_all(here)
    await enter(
        here, "r2r:next", None, ["明年的市场预算怎么样？", "财务部说市场预算不变，新办公室的租金也不变。"]
    )

    answer = await here.say("similar to r2r:budget")

    assert "- `r2r:next` · open · " in answer.text
    shared = answer.text.partition("both have ")[2].split(", ")
    assert "预算" in shared
    assert all(word in "".join(BUDGET) for word in shared)


async def test_archived_ones_are_marked(here: Talk) -> None:
    """They are out of the way, and still there."""
    one = await here.conversation("Cormorants", "note: The cormorant dives at the pier of Cascais.")
    two = await here.conversation("Birds", "note: A cormorant dived, not far from the pier of Cascais.")
    await here.say(f"archive {two.id}")

    answer = await here.say(f"similar to {one.id}")

    assert f"- “Birds” (`{two.id}`) · open, archived · " in answer.text


async def test_one_word_in_common_may_be_chance(here: Talk) -> None:
    """Such conversations are not called similar; what was looked for is said."""
    await enter(here, "r2r:a", "Launch", ["The cormorant project starts in June with a visit to Cascais."])
    await enter(here, "r2r:b", "Lunch", ["We saw a cormorant by the river."])

    answer = await here.say("similar to r2r:a")

    assert answer.text.startswith("No other conversation is like “Launch” (`r2r:a`): I looked for ")
    assert "cormorant" in answer.text


async def test_the_title_counts(here: Talk) -> None:
    """Also before anything was said; where there is neither, nothing can be compared."""
    titled = await here.conversation("Renewals with Acme")
    other = await here.conversation("Acme renewals, once more")
    untitled = await here.conversation(None)

    answer = await here.say(f"similar to {titled.id}")
    nothing = await here.say(f"similar to {untitled.id}")

    assert f"- “Acme renewals, once more” (`{other.id}`) · submitted · " in answer.text
    assert answer.text.endswith("both have Acme, Renewals")
    assert nothing.text == f"`{untitled.id}` has no words yet by which others could be like it."


async def test_what_the_archivist_was_told_and_answered_makes_nothing_similar(here: Talk) -> None:
    """However often a conversation was asked about, that it was is no likeness."""
    await enter_all(here)
    first = await here.say("similar to r2r:outage")
    await here.say("find Premium support for Acme")

    again = await here.say("similar to r2r:outage")

    assert again.text == first.text
    assert here.here.id not in again.text


async def test_a_conversation_that_is_not_there_is_said_to_be_missing(here: Talk) -> None:
    """And so is a title that several have."""
    await enter_all(here)
    first = await here.conversation("Twins")
    await here.conversation("Twins")

    assert (await here.say("similar to r2r:none")).text == "There is no conversation r2r:none."
    assert (await here.say("similar to Twins")).text.startswith("“Twins” could be “Twins” (`local:")
    assert first.id in (await here.say("similar to Twins")).text


async def test_nothing_of_another_principal_is_similar(here: Talk) -> None:
    """Nor does it change what is."""
    await enter_all(here)
    before = await here.say("similar to r2r:outage")
    await enter(here, "r2r:theirs", "The outage", OUTAGE, principal="somebody")
    await enter(here, "r2r:deploy", "The outage", OUTAGE, principal="somebody")

    after = await here.say("similar to r2r:outage")
    other = await here.say("similar to r2r:theirs")

    assert after.text == before.text
    assert other.text == "There is no conversation r2r:theirs."


async def test_a_part_is_read_and_a_part_of_what_matches_counts(
    here: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read does not grow with the conversation, nor with the others."""
    texts = [f"The cormorant {number} dives at the pier of Cascais." for number in range(3_000)]
    for name, count in (("short", 500), ("other", 900), ("long", 3_000)):
        await enter(here, f"r2r:{name}", None, texts[:count], apart=timedelta(minutes=10))

    short = await read_by(here, monkeypatch, Tool.SIMILAR, {"conversation_id": "r2r:short"})
    long = await read_by(here, monkeypatch, Tool.SIMILAR, {"conversation_id": "r2r:long"})

    assert {each["conversation_id"] for each in long.result["similar"]} == {"r2r:short", "r2r:other"}
    assert long.characters < 1.5 * short.characters
    assert long.rows - 3_000 < 1.5 * short.rows
    assert short.rows < READ + TERMS * MATCHES + 60_000


async def test_however_many_are_similar_the_answer_stays_short(here: Talk) -> None:
    """The most similar ones are named."""
    for number in range(20):
        await enter(here, f"r2r:{'x' * 400}{number}", f"Outage {number} " + "of long title " * 12, OUTAGE)
    await enter(here, "r2r:a", None, OUTAGE)

    answer = await here.say("similar to r2r:a")

    assert answer.text.startswith("8 of the conversations are like `r2r:a`, the most similar first:")
    assert len(answer.text) <= MAX_ANSWER
    assert len(str(answer.calls[-1][1])) < 30_000
