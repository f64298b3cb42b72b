"""What a reader of transcripts finds in a file, whatever its format."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import Conversation, Message, Participant

TOOL_CALL = "tool_call"
"""The type of a message by which a tool is called. `data` has `id`, `name` and `arguments`."""
TOOL_RESULT = "tool_result"
"""The type of a message with what a tool returned. `data` has `id`, `name` and, if so, `failed`."""
ATTACHMENT = "attachment"
"""The type of a message with the text of a file that was attached. `data` has what is known of the file."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class UnreadableError(Exception):
    """Raised by a reader for one record that it cannot read; says why, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation as a file has it.

    `exact`: it is one of ours, and comes in as it was: under its own id, also without a message.
    """

    conversation: Conversation
    participants: Sequence[Participant] = ()
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of a conversation. `timed`: its time is its own, rather than its conversation's or its file's."""

    thread: Thread
    message: Message
    timed: bool = True


@dataclass(frozen=True, slots=True)
class Parting:
    """A branch of a conversation, told behind the messages."""

    thread: Thread
    branch: BranchRow


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is no part of what was said: `what` names the kind."""

    what: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be read, and where. `line` is None where a file as a whole is meant."""

    file: str
    line: int | None
    why: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.why}"


Found = Thread | Entry | Parting | LeftOut | Problem
"""A `Thread` by itself tells what is known of it by now, such as a title that came later."""


@dataclass(slots=True, kw_only=True)
class ImportSummary:
    """What an import came to."""

    new: int = 0
    """Conversations that were not here before."""
    updated: int = 0
    """Conversations that were here, and have got messages."""
    unchanged: int = 0
    deleted: int = 0
    """Conversations that were deleted here before, and stay so."""
    messages: int = 0
    """Messages that were added."""
    problems: int = 0
    files: int = 0
    """Files that were read."""
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    """What is no part of what was said, by kind."""


def local_id(source: str, source_ref: str) -> str:
    """Return the id that a conversation from elsewhere has on the embedded platform: always the same."""
    digest = hashlib.sha256(f"{source}\0{source_ref}".encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(digest[:10], "big")
    return conversation_id("local", "".join(_ALPHABET[number >> (5 * place) & 31] for place in range(16)))
