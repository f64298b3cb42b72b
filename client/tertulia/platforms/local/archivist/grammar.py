r"""What one can say to the archivist.

    find WORDS [in CONVERSATION] [since YYYY-MM-DD]
    quote WORDS or "PHRASE" [in CONVERSATION] [since YYYY-MM-DD]
    list [STATUS | archived | all] [NUMBER]
    archive CONVERSATION, …
    unarchive CONVERSATION, …
    retitle CONVERSATION to "NEW TITLE"
    delete CONVERSATION, …
    remember TEXT
    help

CONVERSATION is an id (`local:7k2mq9x4ab`), `this`, or a title in quotation marks, in which `\"` stands for `"`.
Several are separated by commas, by `and` or by lines; a message can also hold one change in each line. `search` is
another word for find, `rename` for retitle, `note:` for remember.

Whatever is none of this is free text. A question, or something short, looks for its significant words; where it has
none, as in "hello", it is answered like `help`. What is long (see `LONG_WORDS`) is kept as a note, and so is what
begins with one of our verbs, but is long and does not go on like the command.

`parse` is pure and total: every text means exactly one command.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date

from tertulia.platforms.local.archivist.commands import (
    Action,
    Change,
    Command,
    Find,
    Help,
    Keep,
    List,
    Mistake,
    Quote,
    Reference,
    Retitle,
    Several,
    Sought,
)
from tertulia.platforms.local.archivist.lexis import (
    QUOTED,
    first_reference,
    references,
    significant,
    terms,
    unquoted,
)
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import shown
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import checked_line

LONG_WORDS = 40
"""Free text with more words than this is long;"""
LONG_CHARACTERS = 400
"""so is one with more characters (not every language puts spaces between words)"""
LONG_LINES = 3
"""or with this many lines."""
MAX_COMMAND = 10_000
"""No text of more characters is a command."""
MAX_TERMS = 16
"""How many of a question's words are looked for."""

USAGE: Mapping[str, str] = {
    "find WORDS [in CONVERSATION] [since YYYY-MM-DD]": "searches messages and titles",
    'quote WORDS or "PHRASE" [in CONVERSATION] [since YYYY-MM-DD]': "exact passages: who said it, when and where",
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
_LIST_NOISE = frozenset(
    {"the", "my", "me", "conversation", "conversations", "last", "latest", "newest", "recent", "ones"}
)


def parse(text: str) -> Command:
    """Return what `text` means."""
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
    match = re.match(r"(?:please,?\s+)?(\w+)(?::\s*|\s+|$)(.*)", line, re.IGNORECASE | re.DOTALL)
    if match is None or match[1].lower() not in _COMMANDS:
        return None, line
    return match[1].lower(), match[2].strip()


def _long(lines: Sequence[str], line: str) -> bool:
    return len(lines) >= LONG_LINES or len(line.split()) > LONG_WORDS or len(line) > LONG_CHARACTERS


def _one_a_line(lines: Sequence[str]) -> Several | None:
    """Return the changes of a message with one in each line.

    A list of things to do, of which none names a conversation, is no such message.
    """
    verbs = [_verb(line) for line in lines]
    if len(lines) < 2 or not all(verb in _CHANGING for verb, _ in verbs):
        return None
    commands = [_COMMANDS[verb](verb, rest) for verb, rest in verbs if verb is not None]
    changes = tuple(command for command in commands if isinstance(command, Change | Retitle | Mistake))
    return None if all(isinstance(change, Mistake) for change in changes) else Several(changes)


def _find(verb: str, rest: str) -> Command:
    example = f"{verb} renewal Acme in {EXAMPLE} since 2026-11-03"
    sought = _sought(re.sub(r"^for\s+", "", rest, flags=re.IGNORECASE) if verb == "search" else rest)
    if isinstance(sought, str):
        return Mistake(sought, example)
    if not sought.terms:
        return Mistake(f"`{verb}` needs at least one word to look for.", example)
    return Quote(sought) if verb == "quote" else Find(sought)


def _free(line: str) -> Command:
    sought = _sought(line.rstrip(" ?？؟!."))
    if isinstance(sought, str):
        return Mistake(sought, "find renewal since 2026-11-03")
    telling = significant(sought.terms)[:MAX_TERMS]
    return Find(Sought(telling, None, sought.scope, sought.since)) if telling else Help()


def _sought(text: str) -> Sought | str:
    """Return what to look for, or what is wrong with it.

    The clauses `in …` and `since …` are taken off the end of `text`, in whatever order they stand.
    """
    scope: Reference | None = None
    since: date | None = None
    while True:
        if since is None and (clause := re.search(r"(?:^|\s)since:?\s+(\d\S*)$", text, re.IGNORECASE)):
            since = _date(clause[1])
            if since is None:
                return f"`since` takes a date as year, month and day, which {shown(clause[1])} is not."
            text = text[: clause.start()].rstrip()
        elif scope is None and (found := _scope(text)):
            text, scopes = found
            scope, *others = scopes
            if others:
                return "`in` takes one conversation."
        else:
            return Sought(terms(text), text.strip(), scope, since)


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
    target, behind = named
    title = re.sub(
        r"^(?:\s+(?:conversation|chat|one)\b)?\s*(?:(?:to|as)\b|->|→)?:?\s*", "", behind, flags=re.IGNORECASE
    )
    try:
        return Retitle(target, checked_line("title", unquoted(title)))
    except InvalidInputError as error:
        return Mistake(error.message, example)


_COMMANDS: Mapping[str, Callable[[str, str], Command]] = {
    "find": _find,
    "search": _find,
    "quote": _find,
    "list": _list,
    "archive": _change,
    "unarchive": _change,
    "delete": _change,
    "retitle": _retitle,
    "rename": _retitle,
}
