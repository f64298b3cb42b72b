"""Tertulia's own JSON Lines, which keep all of a conversation: `tertulia export` writes them.

Every line has `tertulia`, the version of this format, and `kind`. The line of a `conversation` comes first, with its
participants; then its `message`s on all branches, in the order in which they arrived; then its `branch`es, without the
main one. Fields are those of the models; a missing one is unknown. Runs, requests and events are not exported: a
conversation that waits for a decision is imported as open.

A conversation of a remote platform is imported as the exporting store knew it, under its id on the platform, whether or
not that instance is configured. It can be found and listed; if the instance is configured, it is fetched from there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tertulia.history.formats import Origin, Reader
from tertulia.history.items import BranchItem, Item, MessageItem, Thread, UnreadableError
from tertulia.store.branches import MAIN
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import Conversation, Message, Participant
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import shown

VERSION = 1
_CONVERSATION = TypeAdapter(Conversation)
_MESSAGE = TypeAdapter(Message)
_PARTICIPANTS = TypeAdapter(list[Participant])
_BRANCH = TypeAdapter(BranchRow)
_STORE_ONLY = {"last_seq"}
# Characters that some programs take for line breaks, that terminals obey, or that change the direction of writing.
_ESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_KINDS = ("conversation", "message", "branch")


def conversation_line(conversation: Conversation, participants: Sequence[Participant]) -> str:
    """Return the line of a conversation, which comes before its messages."""
    taking_part = _PARTICIPANTS.dump_python([*participants], mode="json")
    return _line("conversation", {**_dump(_CONVERSATION, conversation), "participants": taking_part})


def message_line(message: Message, *, timed: bool) -> str:
    """Return the line of a message."""
    fields = {**_dump(_MESSAGE, message), "timed": None if timed else False}
    return _line("message", {**fields, "branch": None if message.branch == MAIN else message.branch})


def branch_line(conversation_id: str, branch: BranchRow) -> str:
    """Return the line of a branch."""
    return _line("branch", {"conversation_id": conversation_id, **_dump(_BRANCH, branch)})


def _dump(adapter: TypeAdapter[Any], value: object) -> Mapping[str, Any]:
    return adapter.dump_python(value, mode="json")


def _line(kind: str, fields: Mapping[str, Any]) -> str:
    known = {name: value for name, value in fields.items() if value is not None and name not in _STORE_ONLY}
    line = {"tertulia": VERSION, "kind": kind, **known}
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n"


class NativeReader(Reader):
    """Reads the lines that `tertulia export` wrote."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record has the version of our format."""
        return "tertulia" in record

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._thread: Thread | None = None
        self._branches: set[str] = set()

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the item of a line."""
        version, kind = record.get("tertulia"), record.get("kind")
        if version != VERSION:
            raise UnreadableError(
                f"it is of version {json.dumps(version)} of our format, and this Tertulia reads version {VERSION}"
            )
        fields = {
            name: value for name, value in record.items() if name not in {"tertulia", "kind", *_STORE_ONLY}
        }
        if kind == "conversation":
            yield from self._begin(fields)
        elif kind == "message":
            thread, timed = self._thread_of(fields), fields.pop("timed", True) is not False
            message: Message = _valid(_MESSAGE, {"branch": MAIN, **fields})
            if not message.id:
                raise UnreadableError("a message has no `id`")
            yield MessageItem(thread, message, timed=timed)
        elif kind == "branch":
            thread = self._thread_of(fields)
            del fields["conversation_id"]
            yield BranchItem(thread, self._branch(fields))
        else:
            raise UnreadableError(f"`kind` is {json.dumps(kind)}; known are {', '.join(_KINDS)}")

    def _begin(self, fields: dict[str, Any]) -> Iterator[Item]:
        self._thread = None
        self._branches = {MAIN}
        participants: Sequence[Participant] = _valid(_PARTICIPANTS, fields.pop("participants", []))
        conversation: Conversation = _valid(_CONVERSATION, {"agent": None, **fields})
        try:
            instance, _ = split_conversation_id(conversation.id)
        except InvalidInputError as error:
            raise UnreadableError(f"the conversation's `id` is none: {error.message}") from error
        if conversation.status is Status.INPUT_REQUIRED and instance == "local":
            conversation = replace(conversation, status=Status.OPEN)
        self._thread = Thread(conversation=conversation, participants=participants, exact=True)
        yield self._thread

    def _branch(self, fields: dict[str, Any]) -> BranchRow:
        branch: BranchRow = _valid(_BRANCH, {"shared": None, "parted_from": None, **fields})
        # The first branch has no parent. Any other has one before it: so none is its own ancestor.
        if branch.id != MAIN and branch.parent not in self._branches:
            raise UnreadableError(
                f"the branch {shown(branch.id)} parts from {shown(branch.parent)}, which is no branch before it"
            )
        self._branches.add(branch.id)
        return branch

    def _thread_of(self, fields: dict[str, Any]) -> Thread:
        if self._thread is None or fields.get("conversation_id") != self._thread.conversation.id:
            raise UnreadableError("the line of its conversation is not before it, or could not be read")
        return self._thread


def _valid(adapter: TypeAdapter[Any], value: object) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise UnreadableError(
            f"`{where}` is not possible: {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from error
