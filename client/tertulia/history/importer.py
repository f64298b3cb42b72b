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
from tertulia.store import messages, transfer
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


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which conversations are stored, and how (see `Importer`)."""

    restore: bool
    is_embedded: Callable[[str], bool]
    elsewhere: AbstractSet[tuple[str, str]]


@dataclass(slots=True)
class Progress:
    """What became of the items that were stored."""

    file: str | None = None
    """The file of the last item."""
    received: dict[str, ImportOutcome] = field(default_factory=dict[str, ImportOutcome])
    """What the store had before of each conversation that was read."""
    updated: set[str] = field(default_factory=set[str])
    """The known conversations that the import has changed."""
    known: dict[str, Conversation] = field(default_factory=dict[str, Conversation])
    """The known conversations as they are in the files."""
    summary: ImportSummary = field(default_factory=ImportSummary)


class Importer:
    """Stores what files hold.

    `is_embedded` says whether an instance's conversations live in the store. `elsewhere` has the sources, with the
    `source_ref`, of conversations that an instance reads from their program itself. `on_problem` is called with each
    problem. `redactor` masks secrets in what is stored.
    """

    def __init__(
        self,
        *,
        restore: bool,
        is_embedded: Callable[[str], bool],
        elsewhere: AbstractSet[tuple[str, str]] = frozenset(),
        on_problem: Callable[[Problem], object],
        redactor: Redactor | None = None,
    ) -> None:
        self._choice = _Choice(restore, is_embedded, elsewhere)
        self._on_problem = on_problem
        self._redactor = redactor
        self._progress = Progress()
        self._archives: dict[str, _Archive] = {}

    @property
    def summary(self) -> ImportSummary:
        """What the import has done so far."""
        return self._progress.summary

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

    def store(self, tx: Transaction, principal: str, batch: Sequence[Item]) -> Progress:
        """Store a batch; return what `note` is told once that is committed."""
        attempt = _Attempt(tx, principal, self._choice, self._progress)
        attempt.store(batch)
        return attempt.progress

    def refresh(self, tx: Transaction, principal: str, known: Sequence[Conversation]) -> Progress:
        """Write what was changed of conversations where they come from, and not in the store; return as `store`."""
        attempt = _Attempt(tx, principal, self._choice, self._progress)
        attempt.refresh(known)
        return attempt.progress

    def note(self, progress: Progress) -> None:
        """Note what a committed transaction has stored."""
        self._progress.file = progress.file
        self._progress.received |= progress.received
        self._progress.updated |= progress.updated
        self._progress.known |= progress.known
        self._progress.summary.add(progress.summary)

    def known(self) -> Generator[Sequence[Conversation]]:
        """Yield the conversations that were read and that the store had before, in batches for `refresh`."""
        known = list(self._progress.known.values())
        for at in range(0, len(known), _BATCH):
            yield known[at : at + _BATCH]


class _Attempt:
    """Stores items in one transaction. `before` is what earlier ones have stored, and stays as it is."""

    def __init__(self, tx: Transaction, principal: str, choice: _Choice, before: Progress) -> None:
        self._tx = tx
        self._principal = principal
        self._choice = choice
        self._before = before
        self.progress = Progress(file=before.file)

    def store(self, batch: Sequence[Item]) -> None:
        """Store a batch."""
        exact: dict[str, Thread] = {}
        added: dict[str, list[int]] = {}
        for item in batch:
            match item:
                case FileStart(name):
                    self.progress.file = name
                case Omission(what, count):
                    self.progress.summary.left_out[what] = self.progress.summary.left_out.get(what, 0) + count
                case Thread(conversation=conversation, exact=True):
                    self._receive(item)
                    exact[conversation.id] = item
                case Thread(conversation=conversation):
                    if self._outcome(conversation.id) is ImportOutcome.NEW:
                        transfer.name(self._tx, self._principal, conversation)
                    self._note_known(item)
                case MessageItem(thread):
                    at = self._add(item)
                    if at is not None:
                        added.setdefault(item.message.conversation_id, []).append(at)
                    if thread.exact:
                        exact[thread.conversation.id] = thread
                case BranchItem(thread, branch):
                    if self._receive(thread) not in _LEFT_ALONE:
                        transfer.add_branch(self._tx, self._principal, thread.conversation.id, branch)
                case PassedBy() | Problem():
                    pass
        for conversation_id, times in added.items():
            messages.count_added(self._tx, self._principal, conversation_id, len(times), max(times))
        for conversation_id, thread in exact.items():
            if self._outcome(conversation_id) is ImportOutcome.NEW:
                counted = self._choice.is_embedded(conversation_id.partition(":")[0])
                transfer.settle(self._tx, self._principal, thread.conversation, counted=counted)

    def refresh(self, known: Sequence[Conversation]) -> None:
        """Write what was changed of conversations where they come from."""
        for conversation in known:
            if transfer.refresh(self._tx, self._principal, conversation):
                self._note_update(conversation.id)

    def _outcome(self, conversation_id: str) -> ImportOutcome | None:
        return self.progress.received.get(conversation_id) or self._before.received.get(conversation_id)

    def _receive(self, thread: Thread) -> ImportOutcome:
        """Store a conversation that the store lacks; return what the store had of it before."""
        conversation = thread.conversation
        received = self._outcome(conversation.id)
        if received is None:
            if (conversation.source, conversation.source_ref) in self._choice.elsewhere:
                received = ImportOutcome.ELSEWHERE
            else:
                received = transfer.receive(
                    self._tx,
                    self._principal,
                    conversation if thread.exact else self._placed(conversation),
                    thread.participants,
                    restore=self._choice.restore,
                )
            self.progress.received[conversation.id] = received
            match received:
                case ImportOutcome.NEW:
                    self.progress.summary.new += 1
                case ImportOutcome.KNOWN | ImportOutcome.ELSEWHERE:
                    self.progress.summary.unchanged += 1
                case ImportOutcome.DELETED:
                    self.progress.summary.deleted += 1
        return received

    def _add(self, item: MessageItem) -> int | None:
        """Store a message; return its time, or None if it is not new."""
        received = self._receive(item.thread)
        if received in _LEFT_ALONE:
            return None
        message = item.message
        self._note_known(item.thread)
        at = transfer.add(self._tx, self._principal, message, timed=item.timed, follows=item.follows)
        if at is not None:
            self.progress.summary.messages += 1
            for kind in item.masked:
                self.progress.summary.masked[kind] = self.progress.summary.masked.get(kind, 0) + 1
            self._note_update(message.conversation_id)
        return at

    def _placed(self, conversation: Conversation) -> Conversation:
        """Return a conversation with the name of its file in the metadata."""
        return replace(conversation, metadata={**conversation.metadata, "file": self.progress.file})

    def _note_known(self, thread: Thread) -> None:
        """Remember what a known conversation is by now in the file."""
        conversation = thread.conversation
        if self._outcome(conversation.id) is ImportOutcome.KNOWN:
            # Tertulia's own export has all that was known of a conversation: nothing can have been found later.
            self.progress.known[conversation.id] = (
                replace(conversation, metadata={}) if thread.exact else self._placed(conversation)
            )

    def _note_update(self, conversation_id: str) -> None:
        updated = conversation_id in self._before.updated or conversation_id in self.progress.updated
        if self._outcome(conversation_id) is ImportOutcome.KNOWN and not updated:
            self.progress.updated.add(conversation_id)
            self.progress.summary.unchanged -= 1
            self.progress.summary.updated += 1
