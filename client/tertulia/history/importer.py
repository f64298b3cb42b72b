"""Stores what files hold, in short transactions."""

from collections.abc import Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from tertulia.history.files import SourceFile
from tertulia.history.items import (
    BranchItem,
    FileStart,
    ImportSummary,
    Item,
    MessageItem,
    Omission,
    PassedBy,
    Problem,
    Thread,
)
from tertulia.history.reader import read_file
from tertulia.history.redaction import Redactor
from tertulia.history.unpacking import ReadListener
from tertulia.store import transfer
from tertulia.store.database import Transaction
from tertulia.store.transfer import ImportOutcome
from tertulia.vocabulary.models import Conversation

_BATCH = 200
"""The most items of one transaction: other processes wait for it."""
_BATCH_TEXT = 1 << 18
"""The most characters of text of one transaction, about: indexing them takes time."""
_MAX_KINDS = 30
"""The most kinds of files that are counted apart."""
_OTHERS = "other files"
_LEFT_ALONE = {ImportOutcome.DELETED, ImportOutcome.ELSEWHERE}
_BATCH_BYTES = 4 << 20
"""The most bytes of files of one transaction, about."""


@dataclass(slots=True)
class _Archive:
    """An archive that the caller has named. `told`: it has transcripts, or problems that were reported."""

    told: bool = False
    passed_by: dict[str, int] = field(default_factory=dict[str, int])


class Importer:
    """Stores what files hold, for one principal.

    `is_embedded` says whether an instance's conversations live in the store. `elsewhere` has the sources, with the
    `source_ref`, of conversations that an instance reads from their program itself. `on_problem` is called with each
    problem. `redactor` masks secrets in what is stored.
    """

    def __init__(
        self,
        principal: str,
        *,
        restore: bool,
        is_embedded: Callable[[str], bool],
        elsewhere: AbstractSet[tuple[str, str]] = frozenset(),
        on_problem: Callable[[Problem], object],
        redactor: Redactor | None = None,
    ) -> None:
        self.summary = ImportSummary()
        self._principal = principal
        self._restore = restore
        self._is_embedded = is_embedded
        self._elsewhere = elsewhere
        self._on_problem = on_problem
        self._redactor = redactor
        self._file: str | None = None
        self._received: dict[str, ImportOutcome] = {}
        self._updated: set[str] = set()
        self._known: dict[str, Conversation] = {}
        self._archives: dict[str, _Archive] = {}

    def report(self, problem: Problem) -> None:
        """Count a problem and report it."""
        self.summary.problems += 1
        self._on_problem(problem)

    def pass_by(self, passed: PassedBy) -> None:
        """Count a file that is not read."""
        kinds = self.summary.passed_by
        kind = passed.what if passed.what in kinds or len(kinds) < _MAX_KINDS else _OTHERS
        kinds[kind] = kinds.get(kind, 0) + 1
        if passed.archive is not None:
            archive = self._archives.setdefault(passed.archive, _Archive())
            archive.passed_by[kind] = archive.passed_by.get(kind, 0) + 1

    def batches(
        self, files: Sequence[SourceFile], format_name: str | None, on_read: ReadListener
    ) -> Generator[Sequence[Item]]:
        """Yield the items of files in batches, each for one transaction; report the problems among them."""
        batch: list[Item] = []
        size = text = 0

        def count(read: int) -> None:
            nonlocal size
            size += read
            on_read(read)

        for file in files:
            has_items = has_problems = False
            for item in read_file(file, format_name, count):
                if isinstance(item, Problem):
                    has_problems = True
                    self.report(item)
                    continue
                if isinstance(item, PassedBy):
                    self.pass_by(item)
                    continue
                if not has_items:
                    batch.append(FileStart(file.origin))
                has_items = True
                batch.append(item if self._redactor is None else self._redactor.masked(item))
                text += len(item.message.text or "") if isinstance(item, MessageItem) else 0
                if len(batch) >= _BATCH or text >= _BATCH_TEXT or size >= _BATCH_BYTES:
                    yield batch
                    batch, size, text = [], 0, 0
            self.summary.files += has_items
            if file.archive is not None:
                self._archives.setdefault(file.archive, _Archive()).told |= has_items or has_problems
        if batch:
            yield batch
        self._report_archives()

    def _report_archives(self) -> None:
        for name, archive in self._archives.items():
            if not archive.told:
                kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(archive.passed_by.items()))
                self.report(Problem(name, None, f"there is no transcript in this archive, but {kinds}"))

    def store(self, tx: Transaction, batch: Sequence[Item]) -> None:
        """Store a batch."""
        exact: dict[str, Thread] = {}
        for item in batch:
            match item:
                case FileStart(name):
                    self._file = name
                case Omission(what, count):
                    self.summary.left_out[what] = self.summary.left_out.get(what, 0) + count
                case Thread(conversation=conversation, exact=True):
                    self._receive(tx, item)
                    exact[conversation.id] = item
                case Thread(conversation=conversation):
                    if self._received.get(conversation.id) is ImportOutcome.NEW:
                        transfer.name(tx, self._principal, conversation)
                    self._note_known(item)
                case MessageItem(thread):
                    self._add(tx, item)
                    if thread.exact:
                        exact[thread.conversation.id] = thread
                case BranchItem(thread, branch):
                    if self._receive(tx, thread) not in _LEFT_ALONE:
                        transfer.add_branch(tx, self._principal, thread.conversation.id, branch)
                case PassedBy() | Problem():
                    pass
        for conversation_id, thread in exact.items():
            if self._received.get(conversation_id) is ImportOutcome.NEW:
                counted = self._is_embedded(conversation_id.partition(":")[0])
                transfer.settle(tx, self._principal, thread.conversation, counted=counted)

    def known(self) -> Generator[Sequence[Conversation]]:
        """Yield the conversations that were read and that the store had before, in batches for `refresh`."""
        known = list(self._known.values())
        for at in range(0, len(known), _BATCH):
            yield known[at : at + _BATCH]

    def refresh(self, tx: Transaction, known: Sequence[Conversation]) -> None:
        """Write what was changed of conversations where they come from, and not in the store."""
        for conversation in known:
            if transfer.refresh(tx, self._principal, conversation):
                self._note_update(conversation.id)

    def _receive(self, tx: Transaction, thread: Thread) -> ImportOutcome:
        """Store a conversation that the store lacks; return what the store had of it before."""
        conversation_id = thread.conversation.id
        if conversation_id not in self._received:
            conversation = thread.conversation
            if (conversation.source, conversation.source_ref) in self._elsewhere:
                received = ImportOutcome.ELSEWHERE
            else:
                received = transfer.receive(
                    tx,
                    self._principal,
                    conversation if thread.exact else self._placed(conversation),
                    thread.participants,
                    restore=self._restore,
                )
            self._received[conversation_id] = received
            match received:
                case ImportOutcome.NEW:
                    self.summary.new += 1
                case ImportOutcome.KNOWN | ImportOutcome.ELSEWHERE:
                    self.summary.unchanged += 1
                case ImportOutcome.DELETED:
                    self.summary.deleted += 1
        return self._received[conversation_id]

    def _add(self, tx: Transaction, item: MessageItem) -> None:
        received = self._receive(tx, item.thread)
        if received in _LEFT_ALONE:
            return
        message = item.message
        self._note_known(item.thread)
        if transfer.add(tx, self._principal, message, timed=item.timed, follows=item.follows):
            self.summary.messages += 1
            for kind in item.masked:
                self.summary.masked[kind] = self.summary.masked.get(kind, 0) + 1
            self._note_update(message.conversation_id)

    def _placed(self, conversation: Conversation) -> Conversation:
        """Return a conversation with the name of its file in the metadata."""
        return replace(conversation, metadata={**conversation.metadata, "file": self._file})

    def _note_known(self, thread: Thread) -> None:
        """Remember what a known conversation is by now in the file."""
        conversation = thread.conversation
        if self._received.get(conversation.id) is ImportOutcome.KNOWN:
            # Tertulia's own export has all that was known of a conversation: nothing can have been found later.
            self._known[conversation.id] = (
                replace(conversation, metadata={}) if thread.exact else self._placed(conversation)
            )

    def _note_update(self, conversation_id: str) -> None:
        if self._received[conversation_id] is ImportOutcome.KNOWN and conversation_id not in self._updated:
            self._updated.add(conversation_id)
            self.summary.unchanged -= 1
            self.summary.updated += 1
