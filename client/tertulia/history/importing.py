"""Entering into the store what was read from files, in short transactions."""

from collections.abc import Callable, Generator, Sequence

from tertulia.history.files import EventListener, SourceFile
from tertulia.history.reading import read
from tertulia.history.records import Entry, Found, ImportSummary, LeftOut, Parting, Problem, Thread
from tertulia.store import transfer
from tertulia.store.database import Transaction
from tertulia.store.transfer import Admission

_BATCH = 200
"""How many records are entered in one transaction: other processes wait for it."""
_BATCH_TEXT = 1 << 18
"""And how many characters of text, about; indexing them takes the time."""
_BATCH_BYTES = 4 << 20
"""And of how many bytes of a file, about."""


class Importer:
    """Enters what files hold for one principal. `embedded` says whether an instance's conversations live in the store.

    `problem` is given what could not be read, as it is found.
    """

    def __init__(
        self,
        principal: str,
        *,
        restore: bool,
        embedded: Callable[[str], bool],
        problem: Callable[[Problem], object],
    ) -> None:
        self.summary = ImportSummary()
        self._principal = principal
        self._restore = restore
        self._is_embedded = embedded
        self._problem = problem
        self._received: dict[str, Admission] = {}
        self._updated: set[str] = set()

    def batches(
        self, files: Sequence[SourceFile], format_name: str | None, told: EventListener | None
    ) -> Generator[Sequence[Found]]:
        """Yield what the files hold, in parts for one transaction each."""
        batch: list[Found] = []
        size = text = 0

        def counted(read: int) -> None:
            nonlocal size
            size += read
            if told is not None:
                told(read)

        for file in files:
            held = False
            for found in read(file, format_name, counted):
                held = held or not isinstance(found, Problem)
                if isinstance(found, Problem):
                    self.summary.problems += 1
                    self._problem(found)
                    continue
                batch.append(found)
                text += len(found.message.text or "") if isinstance(found, Entry) else 0
                if len(batch) >= _BATCH or text >= _BATCH_TEXT or size >= _BATCH_BYTES:
                    yield batch
                    batch, size, text = [], 0, 0
            self.summary.files += held
        if batch:
            yield batch

    def enter(self, tx: Transaction, batch: Sequence[Found]) -> None:
        """Enter a part."""
        exact: dict[str, Thread] = {}
        for found in batch:
            match found:
                case LeftOut():
                    self.summary.left_out[found.what] = self.summary.left_out.get(found.what, 0) + found.count
                case Thread():
                    if found.exact:
                        self._receive(tx, found)
                        exact[found.conversation.id] = found
                    elif self._received.get(found.conversation.id) is Admission.NEW:
                        transfer.name(tx, self._principal, found.conversation)
                case Entry():
                    self._add(tx, found)
                    if found.thread.exact:
                        exact[found.thread.conversation.id] = found.thread
                case Parting():
                    if self._receive(tx, found.thread) is not Admission.DELETED:
                        transfer.add_branch(tx, self._principal, found.thread.conversation.id, found.branch)
                case Problem():
                    pass
        for conversation_id, thread in exact.items():
            if self._received.get(conversation_id) is Admission.NEW:
                counted = self._is_embedded(conversation_id.partition(":")[0])
                transfer.settle(tx, self._principal, thread.conversation, counted=counted)

    def _receive(self, tx: Transaction, thread: Thread) -> Admission:
        conversation_id = thread.conversation.id
        if conversation_id not in self._received:
            received = transfer.receive(
                tx, self._principal, thread.conversation, thread.participants, restore=self._restore
            )
            self._received[conversation_id] = received
            match received:
                case Admission.NEW:
                    self.summary.new += 1
                case Admission.KNOWN:
                    self.summary.unchanged += 1
                case Admission.DELETED:
                    self.summary.deleted += 1
        return self._received[conversation_id]

    def _add(self, tx: Transaction, entry: Entry) -> None:
        received = self._receive(tx, entry.thread)
        if received is Admission.DELETED:
            return
        message = entry.message
        if not transfer.add(tx, self._principal, message, timed=entry.timed):
            return
        self.summary.messages += 1
        if received is Admission.KNOWN and message.conversation_id not in self._updated:
            self._updated.add(message.conversation_id)
            self.summary.unchanged -= 1
            self.summary.updated += 1
