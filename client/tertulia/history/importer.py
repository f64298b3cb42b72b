"""Stores what files hold, in short transactions."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from tertulia.history.files import ReadListener, SourceFile
from tertulia.history.items import (
    BranchItem,
    ImportSummary,
    Item,
    MessageItem,
    Omission,
    PassedBy,
    Problem,
    Thread,
)
from tertulia.history.reader import read_file
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
_BATCH_BYTES = 4 << 20
"""The most bytes of files of one transaction, about."""


@dataclass(slots=True)
class _Archive:
    """An archive that the caller has named. `told`: it has transcripts, or problems that were reported."""

    told: bool = False
    passed_by: dict[str, int] = field(default_factory=dict[str, int])


class Importer:
    """Stores what files hold, for one principal.

    `is_embedded` says whether an instance's conversations live in the store. `on_problem` is called with each problem.
    """

    def __init__(
        self,
        principal: str,
        *,
        restore: bool,
        is_embedded: Callable[[str], bool],
        on_problem: Callable[[Problem], object],
    ) -> None:
        self.summary = ImportSummary()
        self._principal = principal
        self._restore = restore
        self._is_embedded = is_embedded
        self._on_problem = on_problem
        self._received: dict[str, ImportOutcome] = {}
        self._updated: set[str] = set()
        self._titles: dict[str, str] = {}
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
                has_items = True
                batch.append(item)
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
                case Omission(what, count):
                    self.summary.left_out[what] = self.summary.left_out.get(what, 0) + count
                case Thread(conversation=conversation, exact=True):
                    self._receive(tx, item)
                    exact[conversation.id] = item
                case Thread(conversation=conversation):
                    if self._received.get(conversation.id) is ImportOutcome.NEW:
                        transfer.name(tx, self._principal, conversation)
                    self._note_title(conversation)
                case MessageItem(thread):
                    self._add(tx, item)
                    if thread.exact:
                        exact[thread.conversation.id] = thread
                case BranchItem(thread, branch):
                    if self._receive(tx, thread) is not ImportOutcome.DELETED:
                        transfer.add_branch(tx, self._principal, thread.conversation.id, branch)
                case PassedBy() | Problem():
                    pass
        for conversation_id, thread in exact.items():
            if self._received.get(conversation_id) is ImportOutcome.NEW:
                counted = self._is_embedded(conversation_id.partition(":")[0])
                transfer.settle(tx, self._principal, thread.conversation, counted=counted)

    def renamed(self) -> Generator[Sequence[tuple[str, str]]]:
        """Yield the ids and titles of the known conversations that were read, in batches for `rename`."""
        titles = list(self._titles.items())
        for at in range(0, len(titles), _BATCH):
            yield titles[at : at + _BATCH]

    def rename(self, tx: Transaction, titles: Sequence[tuple[str, str]]) -> None:
        """Write the titles that were changed where the conversations come from, and not in the store."""
        for conversation_id, title in titles:
            if transfer.rename(tx, self._principal, conversation_id, title):
                self._note_update(conversation_id)

    def _receive(self, tx: Transaction, thread: Thread) -> ImportOutcome:
        """Store a conversation that the store lacks; return what the store had of it before."""
        conversation_id = thread.conversation.id
        if conversation_id not in self._received:
            received = transfer.receive(
                tx, self._principal, thread.conversation, thread.participants, restore=self._restore
            )
            self._received[conversation_id] = received
            match received:
                case ImportOutcome.NEW:
                    self.summary.new += 1
                case ImportOutcome.KNOWN:
                    self.summary.unchanged += 1
                case ImportOutcome.DELETED:
                    self.summary.deleted += 1
        return self._received[conversation_id]

    def _add(self, tx: Transaction, item: MessageItem) -> None:
        received = self._receive(tx, item.thread)
        if received is ImportOutcome.DELETED:
            return
        message = item.message
        self._note_title(item.thread.conversation)
        if transfer.add(tx, self._principal, message, timed=item.timed, follows=item.follows):
            self.summary.messages += 1
            self._note_update(message.conversation_id)

    def _note_title(self, conversation: Conversation) -> None:
        """Remember the title that a known conversation has by now in the file."""
        if conversation.title is not None and self._received.get(conversation.id) is ImportOutcome.KNOWN:
            self._titles[conversation.id] = conversation.title

    def _note_update(self, conversation_id: str) -> None:
        if self._received[conversation_id] is ImportOutcome.KNOWN and conversation_id not in self._updated:
            self._updated.add(conversation_id)
            self.summary.unchanged -= 1
            self.summary.updated += 1
