"""The items that a reader yields from a file, whatever its format, and the summary of an import."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tertulia.store.transfer import BranchRow, Follows
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import Conversation, Message, Participant

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class UnreadableError(Exception):
    """Raised by a reader for a record that it cannot read; its text tells a person why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What is known so far of a conversation in a file; yielded again when more is known, such as a title.

    `exact`: Tertulia exported it, so it is imported under its own id, and also without messages.
    """

    conversation: Conversation
    participants: Sequence[Participant] = ()
    exact: bool = False


@dataclass(frozen=True, slots=True)
class MessageItem:
    """A message of a conversation. `timed`: the time is the message's own, not that of its conversation or file.

    Without `follows` it stands after the newest message. `masked` has the kind of each secret that was masked in it.
    """

    thread: Thread
    message: Message
    timed: bool = True
    follows: Follows | None = None
    masked: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class BranchItem:
    """A branch of a conversation; a file has it after the messages."""

    thread: Thread
    branch: BranchRow


@dataclass(frozen=True, slots=True)
class FileStart:
    """The items behind this one are those of the file `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Omission:
    """Content of a conversation that is left out; `what` names its kind."""

    what: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class PassedBy:
    """A file in a folder or archive that was not read; `what` names its kind.

    `archive` is the name of the archive that it is in, if that was named by the caller.
    """

    what: str
    archive: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not be read, or a whole file (`line` is None)."""

    file: str
    line: int | None
    why: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.why}"


Item = Thread | MessageItem | BranchItem | FileStart | Omission | PassedBy | Problem


@dataclass(slots=True, kw_only=True)
class ImportSummary:
    """What an import did."""

    new: int = 0
    """Conversations that the store did not have."""
    updated: int = 0
    """Conversations that the store had, and that got messages."""
    unchanged: int = 0
    deleted: int = 0
    """Conversations that had been deleted from the store, and stay deleted."""
    messages: int = 0
    """Messages that were added."""
    problems: int = 0
    files: int = 0
    """Files that were read."""
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    """How much of the conversations was left out, by kind."""
    passed_by: dict[str, int] = field(default_factory=dict[str, int])
    """How many files in folders and archives were not read, by kind."""
    masked: dict[str, int] = field(default_factory=dict[str, int])
    """How many secrets were masked in the messages that were added, by kind."""

    def add(self, more: "ImportSummary") -> None:
        """Add what a part of the import did."""
        self.new += more.new
        self.updated += more.updated
        self.unchanged += more.unchanged
        self.deleted += more.deleted
        self.messages += more.messages
        self.problems += more.problems
        self.files += more.files
        for total, added in (
            (self.left_out, more.left_out),
            (self.passed_by, more.passed_by),
            (self.masked, more.masked),
        ):
            for kind, count in added.items():
                total[kind] = total.get(kind, 0) + count


def local_id(source: str, source_ref: str) -> str:
    """Return the id that an imported conversation has on the embedded platform: always the same for the same source."""
    digest = hashlib.sha256(f"{source}\0{source_ref}".encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(digest[:10], "big")
    return conversation_id("local", "".join(_ALPHABET[number >> (5 * place) & 31] for place in range(16)))
