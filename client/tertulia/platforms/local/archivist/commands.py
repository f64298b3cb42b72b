"""The commands of the archivist. `grammar` parses them, `plans` carry them out."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from tertulia.vocabulary.states import Status


@dataclass(frozen=True, slots=True)
class ById:
    """A conversation, named by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class ByTitle:
    """A conversation, named by its title or by words of it."""

    title: str


@dataclass(frozen=True, slots=True)
class This:
    """The conversation in which the command is given."""


Reference = ById | ByTitle | This


@dataclass(frozen=True, slots=True)
class Query:
    """What a command searches for, and where."""

    terms: tuple[str, ...]
    """Words and phrases, without quotation marks."""
    text: str | None = None
    """The query as the caller wrote it, in the users' query language; None for free text."""
    scope: Reference | None = None
    since: date | None = None
    """The first day that counts."""
    until: date | None = None
    """The last day that counts."""


@dataclass(frozen=True, slots=True)
class Find:
    """Search, and list the matches."""

    query: Query


@dataclass(frozen=True, slots=True)
class Quote:
    """Search, and quote the passages that match."""

    query: Query


@dataclass(frozen=True, slots=True)
class Summarise:
    """Summarise each of the targets; without targets, the messages that match the query."""

    query: Query
    """With targets, only the query's dates count."""
    targets: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """List what happened when, about the query's words; without words, everything in its scope."""

    query: Query


@dataclass(frozen=True, slots=True)
class Similar:
    """List the conversations that are similar to the target."""

    target: Reference


@dataclass(frozen=True, slots=True)
class List:
    """List conversations; `archived=None` lists archived and other ones."""

    status: Status | None = None
    archived: bool | None = False
    limit: int | None = None


class Action(StrEnum):
    """The changes that one command can make to several conversations."""

    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """Make the same change to each of the targets."""

    action: Action
    targets: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Retitle:
    """Give a conversation a new title."""

    target: Reference
    title: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the message as a note. Nothing has to be done for it: every message is in the history."""

    words: int


@dataclass(frozen=True, slots=True)
class Help:
    """Explain the commands."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A message that begins like a command but is none: what is wrong with it, and a correct example."""

    problem: str
    example: str


@dataclass(frozen=True, slots=True)
class Several:
    """Make several changes, one after the other."""

    changes: tuple[Change | Retitle | Mistake, ...]


Command = (
    Find | Quote | Summarise | Timeline | Similar | List | Change | Retitle | Several | Keep | Help | Mistake
)
