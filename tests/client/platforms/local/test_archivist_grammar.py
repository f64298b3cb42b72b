"""What one can say to the archivist, and what it takes it for."""

import time
from datetime import date

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tertulia.platforms.local.archivist import grammar
from tertulia.platforms.local.archivist.agent import Archivist
from tertulia.platforms.local.archivist.commands import (
    Action,
    ById,
    ByTitle,
    Change,
    Command,
    Find,
    Help,
    Keep,
    List,
    Mistake,
    Query,
    Quote,
    Reference,
    Retitle,
    Several,
    Similar,
    Summarise,
    This,
    Timeline,
)
from tertulia.platforms.local.archivist.grammar import LONG_WORDS, USAGE, parse
from tertulia.platforms.local.archivist.tokens import quoted
from tertulia.platforms.local.archivist.wording import help_text, pieces
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import checked_line

A, B = ById("local:7k2mq9x4ab"), ById("local:0c4rm8t2vz")
NOTHING = Query((), "")
EXAMPLES: dict[str, Command] = {
    # find, search
    "find Acme renewal": Find(Query(("Acme", "renewal"), "Acme renewal")),
    "FIND Acme": Find(Query(("Acme",), "Acme")),
    "search for Acme": Find(Query(("Acme",), "Acme")),
    "find: Acme OR Initech -draft": Find(Query(("Acme", "OR", "Initech", "draft"), "Acme OR Initech -draft")),
    f"find Acme in {A.id}": Find(Query(("Acme",), "Acme", A)),
    "find Acme in this": Find(Query(("Acme",), "Acme", This())),
    'find Acme in "Made in Lisbon"': Find(Query(("Acme",), "Acme", ByTitle("Made in Lisbon"))),
    "find the error in “Main loop” since 2026-11-03": Find(
        Query(("the", "error"), "the error", ByTitle("Main loop"), date(2026, 11, 3))
    ),
    f"find Acme since 2026-11-03 in {A.id}": Find(Query(("Acme",), "Acme", A, date(2026, 11, 3))),
    "find Acme in Berlin": Find(Query(("Acme", "in", "Berlin"), "Acme in Berlin")),
    "find Acme since 2026-11-03 until 2026-11-09": Find(
        Query(("Acme",), "Acme", None, date(2026, 11, 3), date(2026, 11, 9))
    ),
    f"find Acme until 2026-11-09 in {A.id}": Find(Query(("Acme",), "Acme", A, until=date(2026, 11, 9))),
    "find the work until then": Find(Query(("the", "work", "until", "then"), "the work until then")),
    "find wars since then": Find(Query(("wars", "since", "then"), "wars since then")),
    # quote
    "quote Acme": Quote(Query(("Acme",), "Acme")),
    'quote "net thirty days"': Quote(Query(("net thirty days",), '"net thirty days"')),
    # summarise, summarize, sum up
    f"summarise {A.id}": Summarise(NOTHING, (A,)),
    f"Summarize the conversation {A.id}, please.": Summarise(NOTHING, (A,)),
    f"please sum  up {A.id} and {B.id}": Summarise(NOTHING, (A, B)),
    "summarise this": Summarise(NOTHING, (This(),)),
    'summarise "Renewals with Acme"': Summarise(NOTHING, (ByTitle("Renewals with Acme"),)),
    f"summarise {A.id} since 2026-11-03": Summarise(Query((), "", since=date(2026, 11, 3)), (A,)),
    f"summarise what was said in {A.id}": Summarise(NOTHING, (A,)),
    "summarise Renewals with Acme": Summarise(Query(("Renewals", "with", "Acme"), "Renewals with Acme")),
    "summarise what was said about Acme since 2026-11-03?": Summarise(
        Query(("Acme",), "Acme", since=date(2026, 11, 3))
    ),
    "sum up all the conversations about net thirty": Summarise(Query(("net", "thirty"), "net thirty")),
    "summarise everything on Acme in this": Summarise(Query(("Acme",), "Acme", This())),
    "summarise what we promised Acme": Summarise(Query(("promised", "Acme"))),
    "sum of all parts": Find(Query(("sum", "parts"))),
    # timeline
    "timeline": Timeline(NOTHING),
    "Timeline!": Timeline(NOTHING),
    "timeline Acme": Timeline(Query(("Acme",), "Acme")),
    "timeline of the renewal": Timeline(Query(("the", "renewal"), "the renewal")),
    f"timeline {A.id}": Timeline(Query((), "", A)),
    f"timeline of {A.id} until 2026-11-09": Timeline(Query((), "", A, until=date(2026, 11, 9))),
    "timeline in this": Timeline(Query((), "", This())),
    "timeline Acme in this since 2026-11-03 until 2026-11-03": Timeline(
        Query(("Acme",), "Acme", This(), date(2026, 11, 3), date(2026, 11, 3))
    ),
    "timeline since 2026-11-03": Timeline(Query((), "", since=date(2026, 11, 3))),
    # similar to, related to, like
    f"similar to {A.id}": Similar(A),
    "similar to this conversation": Similar(This()),
    f"related to: {A.id}": Similar(A),
    f"like {A.id}": Similar(A),
    f"similar {A.id}": Similar(A),
    'similar to "Renewals with Acme"': Similar(ByTitle("Renewals with Acme")),
    "similar to Renewals with Acme": Similar(ByTitle("Renewals with Acme")),
    "like Acme": Find(Query(("like", "Acme"))),
    "similar renewals?": Find(Query(("similar", "renewals"))),
    "Like in May, we met.\nIt was good.\nBob came.": Keep(10),
    # list
    "list": List(),
    "list my last 5 conversations": List(limit=5),
    "list open 20": List(status=Status.OPEN, limit=20),
    "list input required": List(status=Status.INPUT_REQUIRED),
    "list archived": List(archived=True),
    "List all.": List(archived=None),
    # archive, unarchive, delete
    f"archive {A.id}": Change(Action.ARCHIVE, (A,)),
    f"Please archive {A.id}.": Change(Action.ARCHIVE, (A,)),
    f"archive `{A.id}` and {B.id}": Change(Action.ARCHIVE, (A, B)),
    f"unarchive {A.id}, {B.id} & this": Change(Action.UNARCHIVE, (A, B, This())),
    f"delete the conversation {A.id}": Change(Action.DELETE, (A,)),
    f"delete {A.id} {A.id}": Change(Action.DELETE, (A,)),
    'delete "Salt, pepper and oil", this': Change(Action.DELETE, (ByTitle("Salt, pepper and oil"), This())),
    f"archive:\n- {A.id}\n- {B.id}\n\n": Change(Action.ARCHIVE, (A, B)),
    "archive r2r:3f%2Fx": Change(Action.ARCHIVE, (ById("r2r:3f%2Fx"),)),
    # retitle, rename
    f'retitle {A.id} to "Renewals"': Retitle(A, "Renewals"),
    f"rename {A.id} to Renewals with Acme": Retitle(A, "Renewals with Acme"),
    'rename this conversation to "Renewals".': Retitle(This(), "Renewals"),
    'retitle "Old" "New"': Retitle(ByTitle("Old"), "New"),
    f"retitle {A.id}: New": Retitle(A, "New"),
    r'retitle this to "The \"big\" one"': Retitle(This(), 'The "big" one'),
    'retitle this to "The "big" one"': Retitle(This(), 'The "big" one'),
    'retitle this to The "big" one': Retitle(This(), 'The "big" one'),
    # several changes
    f"1. archive {A.id}\n2. rename {B.id} to New\n": Several(
        (Change(Action.ARCHIVE, (A,)), Retitle(B, "New"))
    ),
    # remember, note
    "remember Acme renews in May": Keep(4),
    "note: Acme renews\nin May, they say.": Keep(6),
    # help, and what cannot mean anything else
    "help": Help(),
    " Help! ": Help(),
    "": Help(),
    "?": Help(),
    "hello": Help(),
    "👍": Help(),
    # free text
    "What did we promise Acme?": Find(Query(("promise", "Acme"))),
    'Who said "net thirty" to Bob?': Find(Query(("net thirty", "Bob"))),
    f"What was agreed in {A.id} since 2026-11-03?": Find(Query(("agreed",), None, A, date(2026, 11, 3))),
    "Acme renewal": Find(Query(("Acme", "renewal"))),
    "Acme\nrenewal": Find(Query(("Acme", "renewal"))),
    "会议纪要?": Find(Query(("会议纪要",))),
    "Help me with the renewal": Find(Query(("Help", "renewal"))),
    # notes
    "word " * (LONG_WORDS + 1): Keep(LONG_WORDS + 1),
    "Agreed today:\nAcme renews.\nBob calls them.": Keep(7),
    "Archive the mails\nDelete what is old\nRename the files": Keep(10),
    "Delete " + "word " * LONG_WORDS: Keep(LONG_WORDS + 1),
    "x" * 20_000: Keep(1),
}


@pytest.mark.parametrize(("text", "command"), EXAMPLES.items(), ids=lambda value: repr(value)[:60])
def test_a_text_means_one_command(text: str, command: Command) -> None:
    """Each form of the grammar, with the liberties that people and models take."""
    assert parse(text) == command


MISTAKES = {
    "find": "`find` needs at least one word to look for.",
    "quote ???": "`quote` needs at least one word to look for.",
    f"find in {A.id}": "`find` needs at least one word to look for.",
    f"find Acme in {A.id}, {B.id}": "`in` takes one conversation.",
    "find Acme since 2026-13-01": "`since` takes a date as year, month and day, which “2026-13-01” is not.",
    "What about Acme since 3/4?": "`since` takes a date as year, month and day, which “3/4” is not.",
    "find Acme until 2026-02-30": "`until` takes a date as year, month and day, which “2026-02-30” is not.",
    "find Acme since 2026-11-03 until 2026-11-02": "2026-11-02 is before 2026-11-03.",
    "summarise": "`summarise` needs a conversation, or words that say what about.",
    "sum up everything": "`sum up` needs a conversation, or words that say what about.",
    "summarize Acme since 3/4": "`since` takes a date as year, month and day",
    f"timeline {A.id}, {B.id}": "`timeline` takes one conversation.",
    "timeline Acme until soon 2026-1-1 until 1": "`until` takes a date as year, month and day",
    f"similar to {A.id}, {B.id}": "`similar to` takes one conversation.",
    "similar to": "`similar to` takes one conversation.",
    "list Acme": "“acme” is none of these",
    "archive": "`archive` takes conversations by id, as `this`, or by title in quotation marks.",
    "delete Renewals": "`delete` takes conversations by id, as `this`, or by title in quotation marks.",
    f"delete {A.id} but not {B.id}": "`delete` takes conversations by id",
    "retitle": "`retitle` takes a conversation by id",
    f"rename {A.id}": "`title` is empty.",
    f"rename {A.id} to {'x' * 201}": "`title` has 201 characters; at most 200 are possible.",
    "note:": "`remember` needs something to keep.",
}


@pytest.mark.parametrize(("text", "problem"), MISTAKES.items())
def test_a_mistake_says_what_is_wrong_and_how_the_command_goes(text: str, problem: str) -> None:
    """What begins like a command but is none is told apart from free text, with an example that works."""
    command = parse(text)

    assert isinstance(command, Mistake)
    assert problem in command.problem
    assert not isinstance(parse(command.example), Mistake)


def test_a_line_that_is_wrong_does_not_keep_the_others_from_being_done() -> None:
    """Of several changes, one in each line, the one that cannot be read is told of beside the others."""
    command = parse(f"archive {A.id}\ndelete Renewals")

    assert isinstance(command, Several)
    assert command.changes[0] == Change(Action.ARCHIVE, (A,))
    assert isinstance(command.changes[1], Mistake)


@given(st.text())
@example("in in in in")
@example('archive "')
@example("since 1")
def test_any_text_means_something(text: str) -> None:
    """Parsing is total, whatever comes; and what it says of a mistake can be said again."""
    assert isinstance(parse(text), Command)


@given(
    st.sampled_from(
        [
            *(
                "find",
                "quote",
                "list",
                "archive",
                "retitle",
                "delete",
                "search",
                "note",
                "summarise",
                "sum up",
            ),
            *("timeline", "similar", "similar to", "related to", "like"),
        ]
    ),
    st.text(),
)
@example("summarise", "what was said about in this")
@example("timeline", "since 9999-12-31 until 9999-12-31")
def test_any_text_behind_a_verb_means_something(verb: str, text: str) -> None:
    """So it is behind each verb."""
    assert isinstance(parse(f"{verb} {text}"), Command)


titles = st.text(min_size=1, max_size=60).map(str.strip)
ids = st.text(min_size=1, max_size=20).filter(lambda text: max(text) < "\ud800")
known = st.tuples(st.sampled_from(["local", "r2r", "my-r2r_2"]), ids).map(
    lambda parts: conversation_id(*parts)
)


def is_title(text: str) -> bool:
    """Whether a conversation can have this title."""
    try:
        return checked_line("title", text) == text
    except InvalidInputError:
        return False


@given(known, titles)
@example("local:7k2mq9x4ab", 'The "big" \\ one')
@example("r2r:%22", '"')
def test_an_id_and_a_title_in_quotation_marks_are_read_as_they_were_written(
    conversation: str, title: str
) -> None:
    """Whatever a title has in it, quoted it comes through; and so does every platform's id."""
    assume(is_title(title) and conversation[-1] not in ".!?:")

    assert parse(f"retitle {conversation} to {quoted(title)}") == Retitle(ById(conversation), title)


@given(st.sampled_from(Action), st.lists(st.one_of(known, titles), min_size=1, max_size=5))
def test_a_list_of_conversations_is_read_as_it_was_written(action: Action, names: list[str]) -> None:
    """Commas and the word `and` inside a quoted title do not end it."""
    targets: list[Reference] = []
    written: list[str] = []
    for name in names:
        own = ":" in name and name.startswith(("local:", "r2r:", "my-r2r_2:"))
        assume(name[-1] not in ".!?:" if own else is_title(name))
        targets.append(ById(name) if own else ByTitle(" ".join(name.split())))
        written.append(name if own else quoted(name))

    assert parse(f"{action} {', '.join(written)}") == Change(action, tuple(dict.fromkeys(targets)))


def test_a_text_full_of_open_quotation_marks_is_read_at_once() -> None:
    """Reading takes a time that grows with the text, not with its square: it happens while the store is locked."""
    started = time.perf_counter()
    for mark in ('"', "“", "'", "`", "«", "\\", "in ", "since 1 ", "this "):
        parse(mark * (9_000 // len(mark)))
        parse("find " + mark * (9_000 // len(mark)))
        parse(mark * 500_000)

    assert time.perf_counter() - started < 20  # half a second on an idle machine, and hours with the square


@given(st.text())
def test_the_pieces_that_are_streamed_are_the_whole_text(text: str) -> None:
    """Nothing is lost between two pieces, and no piece is empty."""
    assert "".join(pieces(text)) == text
    assert all(pieces(text))


def test_the_grammar_is_told_the_same_way_everywhere() -> None:
    """The module's docstring, the answer to `help` and the agent's description know the same commands."""
    assert grammar.__doc__ is not None
    for form in USAGE:
        assert f"    {form}\n" in grammar.__doc__
        assert f"`{form}`" in help_text()
        assert form.split()[0] in Archivist.description
    assert len(Archivist.description) <= 400
