"""What the archivist can be told to do. `grammar` says how it is said, `plans` what is done."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from tertulia.vocabulary.states import Status


@dataclass(frozen=True, slots=True)
class ById:
    """A conversation by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class ByTitle:
    """A conversation by its title, or by words of it."""

    title: str


@dataclass(frozen=True, slots=True)
class This:
    """The conversation in which it is said."""


Reference = ById | ByTitle | This


@dataclass(frozen=True, slots=True)
class Sought:
    """What to look for, and where."""

    terms: tuple[str, ...]
    """Words and phrases."""
    text: str | None = None
    """The same as the caller wrote it, in the users' query language; None for free text."""
    scope: Reference | None = None
    since: date | None = None
    """From this day on."""
    until: date | None = None
    """Up to this day, and including it."""


@dataclass(frozen=True, slots=True)
class Find:
    """Search, and say where."""

    sought: Sought


@dataclass(frozen=True, slots=True)
class Quote:
    """Search, and show the exact passages."""

    sought: Sought


@dataclass(frozen=True, slots=True)
class Summarise:
    """Show the telling lines of each of these conversations; without any, of what was said about something."""

    sought: Sought
    """With targets, only its dates count."""
    targets: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """Show what happened when; without words, of all that was said in reach."""

    sought: Sought


@dataclass(frozen=True, slots=True)
class Similar:
    """Name the conversations that are like this one."""

    target: Reference


@dataclass(frozen=True, slots=True)
class List:
    """List conversations; `archived=None` lists both kinds."""

    status: Status | None = None
    archived: bool | None = False
    limit: int | None = None


class Action(StrEnum):
    """What can be done to several conversations at once."""

    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """Do the same to each of these conversations."""

    action: Action
    targets: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Retitle:
    """Give a conversation another title."""

    target: Reference
    title: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the message as a note: that it is in the history is all there is to do."""

    words: int


@dataclass(frozen=True, slots=True)
class Help:
    """Say what can be said."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What begins like a command but is none: what is wrong, and an example of how it goes."""

    problem: str
    example: str


@dataclass(frozen=True, slots=True)
class Several:
    """One change after the other."""

    changes: tuple[Change | Retitle | Mistake, ...]


Command = (
    Find | Quote | Summarise | Timeline | Similar | List | Change | Retitle | Several | Keep | Help | Mistake
)
