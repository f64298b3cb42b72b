"""`tertulia chat AGENT`: a person talks to an agent in the terminal.

The client runs in another thread, so that this one receives Ctrl-C: it cancels the run during an answer, and clears the
line at the prompt. Ctrl-D leaves.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillRunning
from contextlib import suppress
from itertools import takewhile
from typing import TextIO, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tertulia.client import Client
from tertulia.runs.runner import Worker
from tertulia.vocabulary.errors import ConflictError, TertuliaError
from tertulia.vocabulary.events import EventKind, JournalEntry
from tertulia.vocabulary.models import (
    Channel,
    Decision,
    MessageDraft,
    MessageQuery,
    NewConversation,
    Request,
    RequestKind,
    Run,
    RunResult,
    SentAs,
    Settlement,
)
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.untrusted import clean_text, named, one_line
from tertulia_server.settings import Settings
from tertulia_tools.approvals import form_text
from tertulia_tools.results import compact

T = TypeVar("T")

MAX_AWAITING = 20
"""How many messages that wait for the person's answer are shown at most."""
POLL_SECONDS = 0.2
"""How often the waiting thread wakes: Windows does not deliver Ctrl-C to a thread that only waits."""


def chat(settings: Settings, agent: str, conversation_id: str | None, worker: Worker) -> int:
    """Talk until the person leaves; return the exit code.

    Raises:
        TertuliaError: there is no such agent or conversation.
    """
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client.open(settings.client_settings(), worker=worker)) as client,
    ):
        portal.call(client.announce)
        if conversation_id is None:
            conversation_id = portal.call(
                lambda: client.conversations.create(NewConversation(agent=agent))
            ).id
        else:
            agent = portal.call(client.conversations.get, conversation_id).agent or agent
        print(f"{conversation_id} with {named(agent)}. Ctrl-C stops an answer, Ctrl-D leaves.")
        Chat(portal, client, conversation_id).talk()
        print(f"To go on: {settings.command('chat', '--conversation', conversation_id)}")
    return 0


class Chat:
    """The conversation between a person and an agent."""

    def __init__(self, portal: BlockingPortal, client: Client, conversation_id: str) -> None:
        self._portal = portal
        self._client = client
        self._id = conversation_id
        self._printer = Printer(sys.stdout)

    def talk(self) -> None:
        """Send each line that the person types, and show its answer, until the input ends."""
        self._continue_active_run()
        while True:
            try:
                text = input("> ")
            except KeyboardInterrupt:
                print()
                continue
            except EOFError:
                print()
                return
            if text.strip():
                try:
                    self._send(text)
                except TertuliaError as error:
                    print(one_line(f"! {error} {error.hint or ''}"))

    def _continue_active_run(self) -> None:
        run = self._portal.call(self._client.runs.latest, self._id)
        if run is None or not run.status.active:
            return
        if run.agent == self._client.address:
            self._show_unanswered(run)
        else:
            self._follow_to_end(run)

    def _show_unanswered(self, run: Run) -> None:
        page = self._portal.call(
            lambda: self._client.messages.list(self._id, MessageQuery(limit=MAX_AWAITING, newest_first=True))
        )
        after_first = list(takewhile(lambda message: message.id != run.message_id, page.items))
        for message in reversed(page.items[: len(after_first) + 1]):
            content = message.text if message.text is not None else compact(message.data)
            self._printer.line(f"{one_line(message.author)}: {content}")

    def _send(self, text: str) -> None:
        sent = self._portal.call(self._client.runs.send, self._id, MessageDraft(text=text))
        if sent.sent_as is SentAs.REPLY:
            self._portal.call(lambda: self._client.runs.take_result(sent.run, answered=True))
            self._printer.line("Delivered.")
        else:
            self._follow_to_end(sent.run)

    def _follow_to_end(self, run: Run) -> None:
        after = run.first_seq
        while True:
            outcome = self._follow(run, after)
            after = outcome.seq
            if not outcome.pending:
                self._printer.end(outcome)
                return
            if not all(self._decide(request) for request in outcome.pending):
                self._printer.line("Left undecided: it is asked again when you go on with this conversation.")
                return

    def _follow(self, run: Run, after: int) -> RunResult:
        async def follow() -> RunResult:
            async for entries in self._client.runs.follow(run, after=after):
                self._printer.show(entries)
            return await self._client.runs.result(await self._client.runs.get(run.id))

        return self._interruptible(self._portal.start_task_soon(follow), run)

    def _interruptible(self, future: "Future[T]", run: Run) -> T:
        while True:
            try:
                return future.result(timeout=POLL_SECONDS)
            except StillRunning:
                if future.done():
                    raise
            except KeyboardInterrupt:
                with suppress(ConflictError):  # the run may have ended already
                    self._portal.call(self._client.runs.cancel, run.conversation_id)

    def _decide(self, request: Request) -> bool:
        """Ask the person to decide a request; return False if the person left it open."""
        run = self._portal.call(self._client.runs.get, request.run_id)
        self._printer.line(f"? {form_text(request, run.agent)}")
        if request.kind is RequestKind.QUESTION:
            reply = _prompt("  answer: ")
            settlement = Settlement(
                decision=Decision.ANSWER, answer=reply, by_person=True, channel=Channel.TERMINAL
            )
        else:
            reply = _prompt("  approve? [y/n, or why not] ")
            settlement = _settlement(reply)
        if reply:
            self._portal.call(self._client.runs.respond, request.id, settlement)
        return bool(reply)


def _settlement(reply: str) -> Settlement:
    if reply.lower() in {"y", "yes"}:
        return Settlement(decision=Decision.APPROVE, by_person=True, channel=Channel.TERMINAL)
    reason = None if reply.lower() in {"n", "no"} else reply or None
    return Settlement(decision=Decision.REJECT, reason=reason, by_person=True, channel=Channel.TERMINAL)


class Printer:
    """Prints journal entries as they come."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._in_line = False

    def show(self, entries: Sequence[JournalEntry]) -> None:
        """Print the text and the tool calls of these entries."""
        for entry in entries:
            if entry.kind is EventKind.TEXT_MESSAGE_CONTENT:
                text = clean_text(str(entry.data.get("delta", "")))
                self._out.write(text)
                self._in_line = bool(text) and not text.endswith("\n")
            elif entry.kind is EventKind.TOOL_CALL_START:
                self.line(f"· {one_line(str(entry.data.get('tool')))}")
        self._out.flush()

    def line(self, text: str) -> None:
        """Print a line of its own."""
        if self._in_line:
            self._out.write("\n")
        self._out.write(f"{clean_text(text)}\n")
        self._out.flush()
        self._in_line = False

    def end(self, outcome: RunResult) -> None:
        """Print how a run ended, and end the line."""
        if outcome.run.status is not RunStatus.COMPLETED:
            self.line(f"! {outcome.run.status}" + (f": {outcome.run.error}" if outcome.run.error else ""))
        elif self._in_line:
            self._out.write("\n")
            self._in_line = False


def _prompt(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""
