r"""The grammar of the commands to the archivist.

    find WORDS [in CONVERSATION] [since YYYY-MM-DD] [until YYYY-MM-DD]
    quote WORDS or "PHRASE" [in CONVERSATION] [since YYYY-MM-DD] [until YYYY-MM-DD]
    summarise CONVERSATION, … or WORDS [since YYYY-MM-DD] [until YYYY-MM-DD]
    timeline [WORDS] [in CONVERSATION] [since YYYY-MM-DD] [until YYYY-MM-DD]
    similar to CONVERSATION
    list [STATUS | archived | all] [NUMBER]
    archive CONVERSATION, …
    unarchive CONVERSATION, …
    retitle CONVERSATION to "NEW TITLE"
    delete CONVERSATION, …
    remember TEXT
    help

CONVERSATION is an id (`local:7k2mq9x4ab`), `this`, or a title in quotation marks, in which `\"` stands for `"`.
Several are separated by commas, by `and` or by lines; a message can also hold one change in each line. `search` is
another word for find, `rename` for retitle, `note:` for remember, `summarize` and `sum up` for summarise, `related to`
and `like` for similar to. `summarise` and `similar to` also take the whole title of a conversation
without quotation marks.

Any other message is free text. A question or a short text is a search for its significant words; a text that has none,
such as "hello", is answered like `help`. A long text (see `LONG_WORDS`) is kept as a note, and so is a long text that
begins with a verb of the grammar but does not continue like its command.

`parse` is pure and total: it returns one command for every text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from tertulia.platforms.local.archivist.commands import (
    Action,
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
    Timeline,
)
from tertulia.platforms.local.archivist.tokens import (
    QUOTED,
    first_reference,
    references,
    significant,
    terms,
    unquoted,
)
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import checked_line
from tertulia.vocabulary.untrusted import shown

LONG_WORDS = 40
"""Free text with more words than this is long."""
LONG_CHARACTERS = 400
"""So is one with more characters: not every language puts spaces between words."""
LONG_LINES = 3
"""So is one with this many lines."""
MAX_COMMAND = 10_000
"""A text of more characters is no command."""
MAX_TERMS = 16
"""How many of a question's words are searched for."""

_WHEN = "[since YYYY-MM-DD] [until YYYY-MM-DD]"
_WHERE = f"[in CONVERSATION] {_WHEN}"
USAGE: Mapping[str, str] = {
    f"find WORDS {_WHERE}": "searches messages and titles",
    f'quote WORDS or "PHRASE" {_WHERE}': "exact passages: who said it, when and where",
    f"summarise CONVERSATION, … or WORDS {_WHEN}": "the telling lines: who said what, and when",
    f"timeline [WORDS] {_WHERE}": "what happened when, by day or month",
    "similar to CONVERSATION": "conversations about the same, and which words they share",
    "list [STATUS | archived | all] [NUMBER]": "conversations, the last used first",
    "archive CONVERSATION, …": "puts them out of the way",
    "unarchive CONVERSATION, …": "brings them back",
    'retitle CONVERSATION to "NEW TITLE"': "gives it another title",
    "delete CONVERSATION, …": "deletes them for good",
    "remember TEXT": "keeps a note",
    "help": "says this",
}
"""Each form, and what it does."""

EXAMPLE = "local:7k2mq9x4ab"
_CHANGING = frozenset({"archive", "unarchive", "delete", "retitle", "rename"})
_LIKENESS = frozenset({"similar", "related", "like"})
_ASKING = re.compile(r"(?:what|who|how|when|where|why|which)\b", re.IGNORECASE)
_BEFORE_SUBJECT = re.compile(
    r"""
    \A (?: what (?:ever)? \s+ (?: was | were | is | ha[sd] \s+ been | we | i | they | you ) \s+ (?: \w+ \s+ ){0,3}?
        | (?: everything | all | (?: (?: all | the | my | our ) \s+ )* (?: conversations? | chats? | discussions? ) )
          \s+ (?: \w+ \s+ ){0,2}? )?
      (?: about | on | regarding | concerning | of | for ) \s+ (?= \S )
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Words before the subject of a summary or timeline, as in "what was said about Acme"."""
_LIST_NOISE = frozenset(
    {"the", "my", "me", "conversation", "conversations", "last", "latest", "newest", "recent", "ones"}
)


def parse(text: str) -> Command:
    """Return the command that `text` means."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if re.fullmatch(r"(?:help)?[\s.!?]*", text, re.IGNORECASE):
        return Help()
    if note := re.match(r"(?:remember|note)(?::|\s|$)(.*)", text, re.IGNORECASE | re.DOTALL):
        words = len(note[1].split())
        return (
            Keep(words)
            if words
            else Mistake("`remember` needs something to keep.", "remember Acme renews in May")
        )
    if len(text) > MAX_COMMAND:
        return Keep(len(text.split()))
    lines = [line for line in map(_without_bullet, text.split("\n")) if line]
    if several := _one_a_line(lines):
        return several
    line = " ".join(lines)
    verb, rest = _verb(line)
    if verb is not None:
        command = _COMMANDS[verb](verb, rest)
        if isinstance(command, Change) or not _long(lines, QUOTED.sub("", line)):
            return command
    question = line.endswith(("?", "？", "؟")) and len(lines) < LONG_LINES
    if _long(lines, line) and not question:
        return Keep(len(line.split()))
    return _free(line)


def _without_bullet(line: str) -> str:
    return re.sub(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+", "", line).strip()


def _verb(line: str) -> tuple[str | None, str]:
    match = re.match(
        r"(?:please,?\s+)?(sum\s+up|\w+)(?::\s*|\s+|[.!?]*$)(.*)", line, re.IGNORECASE | re.DOTALL
    )
    if match is None:
        return None, line
    verb, rest = " ".join(match[1].lower().split()), match[2].strip()
    if verb in _LIKENESS:
        # Many sentences begin with these words: only one that names a conversation is a command.
        after = re.match(r"to(?::\s*|\s+|$)(.*)", rest, re.IGNORECASE | re.DOTALL)
        if verb == "like" or after is None:
            return ("similar", rest) if references(rest) else (None, line)
        return "similar", after[1].strip()
    return (verb, rest) if verb in _COMMANDS else (None, line)


def _long(lines: Sequence[str], line: str) -> bool:
    return len(lines) >= LONG_LINES or len(line.split()) > LONG_WORDS or len(line) > LONG_CHARACTERS


def _one_a_line(lines: Sequence[str]) -> Several | None:
    """Return the changes of a message that has one in each line.

    A to-do list, in which no line names a conversation, is no such message.
    """
    verbs = [_verb(line) for line in lines]
    if len(lines) < 2 or not all(verb in _CHANGING for verb, _ in verbs):
        return None
    commands = [_COMMANDS[verb](verb, rest) for verb, rest in verbs if verb is not None]
    changes = tuple(command for command in commands if isinstance(command, Change | Retitle | Mistake))
    return None if all(isinstance(change, Mistake) for change in changes) else Several(changes)


def _find(verb: str, rest: str) -> Command:
    example = f"{verb} renewal Acme in {EXAMPLE} since 2026-11-03"
    query = _query(re.sub(r"^for\s+", "", rest, flags=re.IGNORECASE) if verb == "search" else rest)
    if isinstance(query, str):
        return Mistake(query, example)
    if not query.terms:
        return Mistake(f"`{verb}` needs at least one word to look for.", example)
    return Quote(query) if verb == "quote" else Find(query)


def _summarise(verb: str, rest: str) -> Command:
    query = _subject(rest)
    if isinstance(query, str):
        return Mistake(query, f"{verb} {EXAMPLE} since 2026-11-03")
    nowhere = replace(query, terms=(), text="", scope=None)
    if query.scope is None and (targets := references(query.text or "")):
        return Summarise(nowhere, targets)
    if significant(query.terms):
        return Summarise(query)
    if query.scope is not None:
        return Summarise(nowhere, (query.scope,))
    return Mistake(f"`{verb}` needs a conversation, or words that say what about.", f"{verb} {EXAMPLE}")


def _timeline(verb: str, rest: str) -> Command:
    query = _subject(rest)
    if isinstance(query, str):
        return Mistake(query, f"{verb} Acme in {EXAMPLE} since 2026-11-03")
    if query.scope is None and (targets := references(query.text or "")):
        scope, *others = targets
        if others:
            return Mistake(f"`{verb}` takes one conversation.", f"{verb} {EXAMPLE}")
        return Timeline(replace(query, terms=(), text="", scope=scope))
    return Timeline(query if significant(query.terms) else replace(query, terms=(), text=""))


def _subject(text: str) -> Query | str:
    """Return the query of a summary or timeline, without the words before its subject; or what is wrong with it."""
    query = _query(text.rstrip(" ?？؟!."))
    if isinstance(query, str):
        return query
    text = _BEFORE_SUBJECT.sub("", query.text or "")
    if _ASKING.match(text):  # "what we promised Acme" is no list of words that a message must have
        return replace(query, terms=significant(terms(text))[:MAX_TERMS], text=None)
    return replace(query, terms=terms(text), text=text)


def _similar(verb: str, rest: str) -> Command:
    named = references(rest) or ((ByTitle(" ".join(rest.split())),) if terms(rest) else ())
    if len(named) == 1:
        return Similar(named[0])
    return Mistake("`similar to` takes one conversation.", f"similar to {EXAMPLE}")


def _free(line: str) -> Command:
    query = _query(line.rstrip(" ?？؟!."))
    if isinstance(query, str):
        return Mistake(query, "find renewal since 2026-11-03")
    telling = significant(query.terms)[:MAX_TERMS]
    return Find(replace(query, terms=telling, text=None)) if telling else Help()


def _query(text: str) -> Query | str:
    """Return the query that `text` means, or what is wrong with it.

    The clauses `in …`, `since …` and `until …` are at the end of `text`, in any order.
    """
    scope: Reference | None = None
    dates: dict[str, date] = {}
    while True:
        clause = re.search(r"(?:^|\s)(since|until):?\s+(\d\S*)$", text, re.IGNORECASE)
        if clause and (word := clause[1].lower()) not in dates:
            day = _date(clause[2])
            if day is None:
                return f"`{word}` takes a date as year, month and day, which {shown(clause[2])} is not."
            dates[word] = day
            text = text[: clause.start()].rstrip()
        elif scope is None and (found := _scope(text)):
            text, scopes = found
            scope, *others = scopes
            if others:
                return "`in` takes one conversation."
        else:
            since, until = dates.get("since"), dates.get("until")
            if since is not None and until is not None and until < since:
                return f"`until` names a day before that of `since`: {until} is before {since}."
            return Query(terms(text), text.strip(), scope, since, until)


def _scope(text: str) -> tuple[str, tuple[Reference, ...]] | None:
    for clause in re.finditer(r"(?:^|\s)in\s+", text, re.IGNORECASE):
        if (found := references(text[clause.end() :])) is not None:
            return text[: clause.start()].rstrip(), found
    return None


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
    except ValueError:
        return None


def _list(verb: str, rest: str) -> Command:
    statuses = {status.value: status for status in Status}
    status: Status | None = None
    archived: bool | None = False
    limit: int | None = None
    for word in re.findall(r"[\w-]+", rest.lower().replace("input required", "input_required")):
        if word in statuses:
            status = statuses[word]
        elif word == "archived":
            archived = True
        elif word == "all":
            archived = None
        elif re.fullmatch(r"[1-9]\d{0,5}", word, re.ASCII):
            limit = int(word)
        elif word not in _LIST_NOISE:
            return Mistake(
                f"`list` takes a status ({', '.join(statuses)}), `archived` or `all`, and a number, and "
                f"{shown(word)} is none of these; `find` looks for words.",
                "list open 20",
            )
    return List(status, archived, limit)


def _change(verb: str, rest: str) -> Command:
    targets = references(rest)
    if targets is None:
        return Mistake(
            f"`{verb}` takes conversations by id, as `this`, or by title in quotation marks.",
            f'{verb} {EXAMPLE}, "Renewals with Acme"',
        )
    return Change(Action(verb), targets)


def _retitle(verb: str, rest: str) -> Command:
    example = f'{verb} {EXAMPLE} to "Renewals with Acme"'
    named = first_reference(rest)
    if named is None:
        return Mistake(
            f"`{verb}` takes a conversation by id, as `this`, or by its title in quotation marks.", example
        )
    target, rest = named
    title = re.sub(
        r"^(?:\s+(?:conversation|chat|one)\b)?\s*(?:(?:to|as)\b|->|→)?:?\s*", "", rest, flags=re.IGNORECASE
    )
    try:
        return Retitle(target, checked_line("title", unquoted(title)))
    except InvalidInputError as error:
        return Mistake(error.message, example)


_COMMANDS: Mapping[str, Callable[[str, str], Command]] = {
    "find": _find,
    "search": _find,
    "quote": _find,
    "summarise": _summarise,
    "summarize": _summarise,
    "sum up": _summarise,
    "timeline": _timeline,
    "similar": _similar,
    "list": _list,
    "archive": _change,
    "unarchive": _change,
    "delete": _change,
    "retitle": _retitle,
    "rename": _retitle,
}
