"""Tertulia's own JSON Lines, which lose nothing."""

from collections.abc import Iterator, Sequence

from tertulia.history.formats.native import branch_line, conversation_line, message_line
from tertulia.history.writers.pages import IndexEntry, Page
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.models import Conversation, Message


class JsonLines:
    """Writes lines that `tertulia.history.formats.native` reads."""

    def begin(self, page: Page) -> Iterator[str]:
        """Yield the conversation's line."""
        yield conversation_line(page.conversation, page.participants)

    def message(self, message: Message, *, timed: bool) -> Iterator[str]:
        """Yield a message's line."""
        yield message_line(message, timed=timed)

    def end(self, conversation: Conversation, branches: Sequence[BranchRow]) -> Iterator[str]:
        """Yield the branches' lines."""
        for branch in branches:
            yield branch_line(conversation.id, branch)

    def index(self, entries: Sequence[IndexEntry]) -> Iterator[str]:
        """Yield nothing: these lines are for programs."""
        yield from ()
