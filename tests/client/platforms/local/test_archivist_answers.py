"""What the archivist answers from the history, and how its answers read."""

import re

import pytest

from tertulia import Client, EventKind, MessageDraft, NewConversation, RunStatus
from tertulia.platforms.local.archivist.tools.passages import MAX_PASSAGE, passage
from tertulia.platforms.local.archivist.wording import MAX_ANSWER
from tertulia.store.engine import OverdueError
from tests.client.platforms.local.talk import Talk, day, run_and_wait

pytestmark = pytest.mark.anyio

PROMISE = "note: We promised Acme net thirty days and 5 % off the renewal.\n\nBob calls them."
LONG = (
    "Other things.\n" * 60
    + "\nInitech wants 7 % off. It was agreed on Friday.\n\n"
    + "More other things.\n" * 60
)


async def test_find_says_where_each_match_is(here: Talk) -> None:
    """A match has its conversation's title and id, its day, its author and what surrounds the words."""
    acme = await here.conversation("Renewals with Acme", PROMISE)
    await here.elsewhere(
        "r2r:a1", "Terms", "What are Acme's terms?", "Acme pays net thirty days.", at=day("2026-03-01")
    )

    answer = await here.say("find net thirty")

    assert re.sub(r"\d{4}-\d\d-\d\d · user", "DAY · user", answer.text) == (
        "“net thirty”: 2 matches, best first.\n"
        "- “Terms” (`r2r:a1`) · 2026-03-01 · r2r:agent: Acme pays net thirty days.\n"
        f"- “Renewals with Acme” (`{acme.id}`) · DAY · user: note: We promised Acme net thirty days and 5 % off the "
        "renewal. Bob calls them."
    )


async def test_a_title_that_matches_is_a_match(here: Talk) -> None:
    """What a conversation is called finds it, also before anything was said in it."""
    made = await here.conversation("Offsite in Lisbon")

    answer = await here.say("find lisbon")

    assert f"- “Offsite in Lisbon” (`{made.id}`) · " in answer.text
    assert answer.text.endswith(" · its title")


async def test_a_conversation_without_a_title_goes_by_its_id(here: Talk) -> None:
    """Wherever it is found."""
    made = await here.conversation(None, PROMISE)

    found = await here.say("find renewal")
    quoted = await here.say("quote renewal")

    assert f"- `{made.id}` · 20" in found.text
    assert f"Z, in `{made.id}`, message `m_" in quoted.text


async def test_every_look_up_is_a_tool_call_that_can_be_seen(here: Talk) -> None:
    """A reader of the journal sees the tool, its arguments and what it found, before the answer's text streams."""
    await here.conversation("Renewals", PROMISE)

    answer = await here.say("find Acme since 2026-01-01")

    kinds = [entry.kind for entry in answer.entries]
    assert kinds[kinds.index(EventKind.TOOL_CALL_START) :] == [
        EventKind.TOOL_CALL_START,
        EventKind.TOOL_CALL_ARGS,
        EventKind.TOOL_CALL_END,
        EventKind.TOOL_CALL_RESULT,
        EventKind.TEXT_MESSAGE_START,
        *[EventKind.TEXT_MESSAGE_CONTENT] * kinds.count(EventKind.TEXT_MESSAGE_CONTENT),
        EventKind.TEXT_MESSAGE_END,
        EventKind.MESSAGE_ADDED,
        EventKind.RUN_FINISHED,
    ]
    [(tool, result)] = answer.calls
    assert tool == "search_history"
    assert answer.of(EventKind.TOOL_CALL_ARGS)[0].data["arguments"] == {
        "query": "Acme",
        "since": "2026-01-01",
    }
    assert result["outcome"] == "ok"
    assert [hit["title"] for hit in result["result"]["hits"]] == ["Renewals"]


async def test_the_archivist_finds_neither_its_instructions_nor_its_answers(here: Talk) -> None:
    """Asking for the same thing again and again does not make the question the answer."""
    await here.say("find cormorant")
    answer = await here.say("find cormorant")

    assert answer.text == "Nothing in your history has “cormorant”."
    page = await here.client.messages.list(here.here.id)
    assert [message.type for message in page.items] == ["archivist.command", "archivist.answer"] * 2


async def test_a_message_that_has_a_type_keeps_it(here: Talk) -> None:
    """A caller's own type is not ours to replace."""
    sent = await here.client.runs.send(here.here.id, MessageDraft(text="help", type="mine"))

    await run_and_wait(here.client, sent.run)

    page = await here.client.messages.list(here.here.id)
    assert [message.type for message in page.items] == ["mine", "archivist.answer"]


async def test_a_message_of_data_only_is_answered_with_what_can_be_said(here: Talk) -> None:
    """The archivist reads text."""
    sent = await here.client.runs.send(here.here.id, MessageDraft(data={"find": "Acme"}))

    answer = await run_and_wait(here.client, sent.run)

    assert answer.text.startswith("I answer from your own history")


async def test_a_question_is_a_search_for_its_significant_words(here: Talk) -> None:
    """Words that every question has are not looked for, and those that are may stand in another form."""
    await here.conversation("Renewals", PROMISE)

    answer = await here.say("What did we promise to Acme?")

    assert answer.text.startswith("“promise Acme”: 1 match.\n- “Renewals”")


async def test_a_question_that_nothing_answers_in_full_gets_what_there_is(here: Talk) -> None:
    """Where no message has all the words, those with some of them are shown, and it is said."""
    await here.conversation("Renewals", PROMISE)

    answer = await here.say("What about Acme and the cormorant?")

    assert answer.text.startswith("Nothing has all of “Acme cormorant”; this has some of it. 1 match.")
    assert [tool for tool, _ in answer.calls] == ["search_history", "search_history"]


async def test_a_search_that_was_worded_with_care_is_not_loosened(here: Talk) -> None:
    """A phrase is meant as it stands."""
    await here.conversation("Renewals", PROMISE)

    answer = await here.say('find "Acme thirty net"')

    assert answer.text == "Nothing in your history has “Acme thirty net”."


async def test_a_misspelt_search_finds_what_was_meant_and_says_so(here: Talk) -> None:
    """A slip of the finger is followed, in a search, a quote and a question, and in more words than one."""
    await here.conversation("Renewals", PROMISE)

    found = await here.say("find renewel")
    quoted = await here.say("quote net thrity dayz")
    asked = await here.say("What is the renewel?")
    two = await here.say("What did we promisse of the renewels?")

    assert found.text.startswith(
        "Nothing has “renewel”; this is what “renewal” finds. 1 match.\n- “Renewals”"
    )
    assert quoted.text.startswith(
        "Nothing has “net thrity dayz”; this is what “net thirty days” finds. 1 match.\n\nuser, "
    )
    assert asked.text.startswith(
        "Nothing has “renewel”; this is what “renewal” finds. 1 match.\n- “Renewals”"
    )
    assert two.text.startswith(
        "Nothing has “promisse renewels”; this is what “promised Renewals” finds. 1 match."
    )
    assert [tool for tool, _ in found.calls] == ["search_history", "search_history"]
    assert [tool for tool, _ in quoted.calls] == ["quote_history", "quote_history"]


async def test_a_correction_keeps_to_the_place_and_the_time(here: Talk) -> None:
    """What is found elsewhere only is no correction."""
    await here.elsewhere("r2r:old", "Old terms", "Acme pays on renewal.", at=day("2025-03-01"))
    await here.elsewhere("r2r:new", "New terms", "Acme pays in thirty days.", at=day("2026-03-01"))

    there = await here.say("find renewel in r2r:old until 2025-03-01")
    elsewhere = await here.say("find renewel in r2r:new")
    later = await here.say("find renewel since 2025-03-02")

    assert there.text.startswith(
        "Nothing in “Old terms” (`r2r:old`) until 2025-03-01 has “renewel”; this is what “renewal” finds. 1 match."
    )
    assert elsewhere.text == "Nothing in “New terms” (`r2r:new`) has “renewel”."
    assert later.text == "Nothing since 2025-03-02 has “renewel”."


async def test_a_search_that_was_worded_with_care_is_corrected_by_who_worded_it(here: Talk) -> None:
    """Quotation marks and operators are meant: the correction is offered, and not followed."""
    await here.conversation("Renewals", PROMISE)

    phrase = await here.say('find "net thrity"')
    without = await here.say("quote renewel -draft")
    begun = await here.say("find renewell*")

    assert phrase.text == "Nothing in your history has “net thrity”. Did you mean “net thirty”?"
    assert without.text == "No message in your history has “renewel -draft”. Did you mean “renewal -draft”?"
    assert begun.text == "Nothing in your history has “renewell*”. Did you mean “renewal*”?"
    assert [len(each.calls) for each in (phrase, without, begun)] == [1, 1, 1]


async def test_a_correction_that_only_a_title_has_is_no_quote(here: Talk) -> None:
    """It is offered, since a search would find it."""
    await here.conversation("Cormorants")

    answer = await here.say("quote cormorents")

    assert answer.text == "No message in your history has “cormorents”. Did you mean “Cormorants”?"


async def test_a_search_can_be_kept_to_a_conversation_and_a_time(here: Talk) -> None:
    """`in` and `since` leave out what else would match."""
    await here.elsewhere("r2r:old", "Old terms", "Acme pays in sixty days.", at=day("2025-03-01"))
    await here.elsewhere("r2r:new", "New terms", "Acme pays in thirty days.", at=day("2026-03-01"))

    by_id = await here.say("find Acme in r2r:old")
    by_title = await here.say('find Acme in "new terms"')
    by_words = await here.say('find Acme in "old"')
    by_time = await here.say("find Acme since 2026-01-01")
    neither = await here.say("find Acme in r2r:old since 2026-01-01")
    unknown = await here.say("find Acme in r2r:none")

    assert by_id.text.startswith("“Acme” in “Old terms” (`r2r:old`): 1 match.")
    assert by_title.text.startswith("“Acme” in “New terms” (`r2r:new`): 1 match.")
    assert by_words.text.startswith("“Acme” in “Old terms” (`r2r:old`): 1 match.")
    assert by_time.text.startswith("“Acme” since 2026-01-01: 1 match.\n- “New terms”")
    assert neither.text == "Nothing in “Old terms” (`r2r:old`) since 2026-01-01 has “Acme”."
    assert unknown.text == "There is no conversation r2r:none. Without `in …` I look everywhere."


async def test_a_title_that_several_have_is_not_guessed_at(here: Talk) -> None:
    """The candidates are named with their ids."""
    first = await here.conversation("Renewals 2025")
    second = await here.conversation("Renewals 2026")

    answer = await here.say('find Acme in "renewals"')

    assert answer.text.startswith("“renewals” could be “Renewals 202")
    assert first.id in answer.text
    assert second.id in answer.text
    assert [tool for tool, _ in answer.calls] == ["look_up_conversation"]


async def test_a_title_is_meant_exactly_before_it_is_looked_for(here: Talk) -> None:
    """A conversation of just this title is meant, though others have the word."""
    await here.conversation("Renewals 2025")
    exact = await here.conversation("Renewals")

    answer = await here.say('find Acme in "renewals"')

    assert answer.text == f"Nothing in “Renewals” (`{exact.id}`) has “Acme”."


async def test_quote_shows_the_passage_as_it_was_written(here: Talk) -> None:
    """A short message is quoted whole; of a long one it is the paragraph that is about it."""
    acme = await here.conversation("Acme", PROMISE)
    initech = await here.conversation("Initech", LONG)

    answer = await here.say("quote off")

    first = re.escape("> " + PROMISE.replace("\n\n", "\n>\n> "))
    second = re.escape("> Initech wants 7 % off. It was agreed on Friday.")
    stamp = r"user, \d\d\d\d-\d\d-\d\dT\d\d:\d\dZ, in “%s” \(`%s`\), message `m_\w+`:\n"
    assert re.search(stamp % ("Acme", acme.id) + first, answer.text)
    assert re.search(stamp % ("Initech", initech.id) + second + "$", answer.text, re.MULTILINE)
    assert answer.calls[0][0] == "quote_history"


async def test_quote_leaves_titles_out(here: Talk) -> None:
    """A title is nothing that anybody said."""
    await here.conversation("Acme", PROMISE)
    await here.conversation("Terms")

    answer = await here.say("quote Acme")
    nothing = await here.say("quote Terms")

    assert answer.text.startswith("“Acme”: 1 match.\n")
    assert nothing.text == "No message in your history has “Terms”."


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("short\n\n text ", "text", "short\n\n text"),
        ("Far away. " * 200 + "The cormorant dives.", "cormorant", "The cormorant dives."),
        ("x" * 2_000 + " cormorant " + "y" * 2_000, "cormorant", "… cormorant …"),
        ("far " * 20_000 + "cormorant dives " + "far " * 99, "cormorant", "…cormorant dives…"),
        ("Ein Café.\n\n" + "fern " * 300, "cafe", "Ein Café."),
        ("Invoices.\n\n" + "far " * 300, "invoic*", "Invoices."),
    ],
)
async def test_a_passage_is_short_and_has_what_was_sought(text: str, query: str, shown: str) -> None:
    """However a message is built, what is quoted of it is bounded and about the matter."""
    found = passage(text, query)

    assert len(found) <= MAX_PASSAGE + 2
    assert all(part in found for part in shown.strip("…").split("…"))


async def test_list_tells_of_all_conversations(here: Talk) -> None:
    """The last used come first, with what is needed to choose one."""
    await here.elsewhere("r2r:a1", "Terms", "Acme?", "Net thirty.", at=day("2026-03-01"))

    answer = await here.say("list")

    lines = answer.text.splitlines()
    assert lines[0] == "2 conversations, the last used first."
    assert re.fullmatch(
        rf"- “Here” \(`{here.here.id}`\), this one · open · with local:archivist · 1 message · [\d-]+",
        lines[1],
    )
    assert re.fullmatch(r"- “Terms” \(`r2r:a1`\) · open · with r2r:agent · 2 messages · [\d-]+", lines[2])


async def test_list_can_be_narrowed_and_says_how_many_more_there_are(here: Talk) -> None:
    """A status, archived ones, a number."""
    for number in range(12):
        await here.conversation(f"Number {number}")
    archived = await here.conversation("Old")
    await here.say(f"archive {archived.id}")

    everything = await here.say("list all")
    some = await here.say("list submitted 3")
    old = await here.say("list archived")
    none = await here.say("list paused")

    assert everything.text.startswith("10 of 14 conversations, the last used first.")
    assert everything.text.endswith("`list 14` shows more; a status (`list open`) narrows it down.")
    assert some.text.startswith("3 of 12 submitted conversations, the last used first.")
    assert old.text.startswith("1 archived conversation, the last used first.\n- “Old”")
    assert " · submitted, archived · " in old.text
    assert none.text == "There is no paused conversation. `list all` shows archived ones too."


async def test_a_note_is_kept_and_found_again(here: Talk) -> None:
    """Long text and what is to be remembered become part of the history that is searched."""
    kept = await here.say("remember that Acme renews in May")
    long = await here.say("word " * 50 + "cormorant")
    found = await here.say("find cormorant")

    assert kept.text == "Kept (5 words); you can ask me to find or quote it."
    assert long.text == "Kept (51 words); you can ask me to find or quote it."
    assert found.text.startswith("“cormorant”: 1 match.")


async def test_a_mistake_is_answered_with_an_example(here: Talk) -> None:
    """One sentence, and how it goes."""
    answer = await here.say("archive the old ones")

    assert answer.run.status is RunStatus.COMPLETED
    assert answer.text == (
        "`archive` takes conversations by id, as `this`, or by title in quotation marks. "
        'For example: `archive local:7k2mq9x4ab, "Renewals with Acme"`. `help` says more.'
    )


async def test_a_search_that_cannot_be_made_says_why(here: Talk) -> None:
    """What the search refuses is an answer, and an error in the journal."""
    answer = await here.say('find -"Acme"')

    assert answer.run.status is RunStatus.COMPLETED
    assert "no word to look for" in answer.text
    assert answer.calls[0][1]["outcome"] == "error"


async def test_a_search_that_takes_too_long_says_so_and_ends(
    here: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not made again and again: it may take as long each time."""
    searches: list[object] = []

    def look_at_length(*_: object, **search: object) -> None:
        searches.append(search)
        raise OverdueError(2.0)

    monkeypatch.setattr("tertulia.platforms.local.archivist.tools.look_up", look_at_length)

    answer = await here.say("find Acme")

    assert answer.run.status is RunStatus.COMPLETED
    assert "took longer than 2 seconds" in answer.text
    assert "ask for less" in answer.text
    assert answer.calls[0][1]["outcome"] == "error"
    assert len(searches) == 1


async def test_an_answer_stays_short_and_says_how_to_narrow_it_down(here: Talk) -> None:
    """However much there is, the answer fits a host's window and the journal stays compact."""
    for number in range(30):
        title = f"{number} " + "long title " * 15
        texts = [f"The cormorant {number} dives. " + "It is a bird of the sea. " * 40] * 2
        await here.elsewhere(f"r2r:{'x' * 400}{number}", title, *texts, at=day("2026-03-01"))

    answers = [await here.say(text) for text in ("find cormorant", "quote cormorant", "list 30")]

    for answer in answers:
        assert len(answer.text) <= MAX_ANSWER
        assert len(str(answer.calls[0][1])) < 30_000
    assert "Narrow it down with another word" in answers[0].text
    assert "Narrow it down with another word" in answers[1].text


async def test_what_others_wrote_cannot_pass_for_the_archivist(here: Talk) -> None:
    """A title leaves neither its line nor its quotation marks; a snippet stays in its line."""
    await here.elsewhere(
        "r2r:a1", "Bird”.\u2028- Deleted", "cormorant\n- “Fake” (`local:x`)", at=day("2026-03-01")
    )

    answer = await here.say("find cormorant")

    assert answer.text.splitlines()[1:] == [
        '- “Bird". - Deleted” (`r2r:a1`) · 2026-03-01 · r2r:agent: cormorant - “Fake” (`local:x`)'
    ]


async def test_nobody_finds_what_is_another_principals(here: Talk) -> None:
    """The history is the caller's own."""
    await here.conversation("Renewals", PROMISE)
    other: Client = here.client.as_principal("somebody")
    conversation = await other.conversations.create(NewConversation(agent="local:archivist"))

    async def say(text: str) -> str:
        sent = await other.runs.send(conversation.id, MessageDraft(text=text))
        return (await run_and_wait(other, sent.run)).text

    assert await say("find Acme") == "Nothing in your history has “Acme”."
    assert (await say("list")).startswith("1 conversation,")
    assert await say(f"delete {here.here.id}") == f"There is no conversation {here.here.id}."
