"""Running for a caller: wait for a run, report its events, ask the person, and return its state when time is up."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import anyio
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import Field

from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Request, Run, RunResult, Sent, SentAs
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.untrusted import named
from tertulia_tools.host import Host, possible
from tertulia_tools.quotes import Quoter, json_size
from tertulia_tools.results import (
    MAX_JSON,
    MAX_PROMPT,
    MAX_REPLY,
    PendingRequest,
    Result,
    answer,
    compact,
    pending_requests,
)
from tertulia_tools.sources import EXCERPT, text_with_sources

MAX_WAIT = 300
WaitSeconds = Annotated[
    float | None,
    Field(
        ge=0,
        le=MAX_WAIT,
        description="Seconds to wait for the answer, 0 to 300; 45 unless configured otherwise. It goes on without you.",
    ),
]


class RunReport(Result):
    """The state of a run, and the answer so far."""

    conversation_id: str
    run_id: str | None = None
    status: str = Field(description="Of the run; of the conversation while it has none.")
    cursor: str | None = Field(default=None, description="For stream_conversation: what follows this result.")
    next: str | None = None
    note: str | None = None
    reply: str | None = Field(default=None, description="The answer so far; all of it when completed.")
    reply_data: str | None = Field(default=None, description="The structured part of the answer. JSON.")
    error: str | None = None
    pending: list[PendingRequest] = []

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        run = "" if self.run_id is None else f" · {self.run_id}"
        lines = [f"{self.status} · {self.conversation_id}{run}"]
        lines += [f"Cursor: {self.cursor}"] if self.cursor else []
        lines += [f"Next: {self.next}"] if self.next else []
        lines += [text for text in (self.note, self.reply, self.reply_data, self.error) if text is not None]
        return [*lines, *(request.line() for request in self.pending)]


async def run_and_wait(
    host: Host, begin: Callable[[bool], Awaitable[Sent]], wait_seconds: float | None
) -> CallToolResult | InputRequiredResult:
    """Begin a run, wait for it, ask the person what it needs, and return its report.

    `begin` is told whether the caller waits. A call that the host repeats to bring an answer finds the run that it
    began before. `wait_seconds` covers beginning and waiting, but not the time in which a person looks at a form.
    """
    seconds = host.wait_seconds if wait_seconds is None else wait_seconds
    deadline = anyio.current_time() + seconds
    sent_as = SentAs.BEGUN
    run_id = await host.resume()
    if run_id is None:
        sent = await begin(seconds > 0)
        run, sent_as = sent.run, sent.sent_as
        if sent.result is not None:
            quoter = Quoter()
            return answer(run_report(host, sent.result, quoter), quoter)
    else:
        run = await host.client.runs.get(run_id)
    if sent_as is SentAs.REPLY:
        return await _delivery_report(host, run)
    outcome, question = await wait_and_ask(host, run, deadline)
    if question is not None:
        return question
    quoter = Quoter()
    return answer(run_report(host, outcome, quoter, sent_as=sent_as), quoter)


async def _delivery_report(host: Host, run: Run) -> CallToolResult:
    """Return the report for a caller whose message was the answer that others waited for."""
    client = host.client
    outcome = await client.runs.take_result(run, answered=True)
    report = RunReport(
        conversation_id=run.conversation_id,
        run_id=run.id,
        status=outcome.run.status,
        cursor=outcome.cursor,
        note="Delivered: this was the answer that the other side waited for.",
        next=possible(
            host,
            "nothing has to be done; stream_conversation with this cursor waits for what comes back.",
        ),
    )
    return answer(report, Quoter())


async def wait_and_ask(host: Host, run: Run, deadline: float) -> tuple[RunResult, InputRequiredResult | None]:
    """Wait for a run until `deadline`, and ask the person to settle its requests.

    Return the run's result; and the question, if the host is to ask it and repeat the call. The time in which a person
    looks at a form does not count.
    """
    who = named(run.agent) if run.agent else "the agent"
    unread = run.status is RunStatus.QUEUED and host.client.runs.waits_for_message(run)
    waiting = f"Sent; {who} has not read it yet" if unread else f"Waiting for {who}"
    while True:
        remaining = max(0.0, deadline - anyio.current_time())
        with host.wait_scope():
            async with host.report_silence(waiting, at_once=unread and remaining > 0):
                await host.client.runs.wait_idle(run, timeout=remaining, on_events=host.on_events)
        outcome = await host.client.runs.take_result(run)
        if not outcome.pending:
            return outcome, None
        before = anyio.current_time()
        elicited = await host.elicit(outcome)
        deadline += anyio.current_time() - before
        if elicited.question is not None:
            return outcome, elicited.question
        if not elicited.settled:  # read again, since the result says that a form was declined
            return await host.client.runs.take_result(run), None


def run_report(
    host: Host, outcome: RunResult, quoter: Quoter, *, sent_as: SentAs = SentAs.BEGUN
) -> RunReport:
    """Return the report of a run."""
    run = outcome.run
    text, data = text_with_sources(outcome.reply, outcome.data, EXCERPT)
    reply = text or ""
    notes: list[str] = []
    if sent_as is SentAs.ADDED:
        notes.append("Added to your earlier message, which is still unanswered.")
    if sent_as is SentAs.JOINED:
        notes.append(
            "Nothing was sent: this is the answer to the identical call you made before. Give a new idempotency_key to "
            "send the same text again."
        )
    if sent_as is SentAs.SETTLED:
        notes.append("The request had been decided like that before; this is what came of it.")
    if json_size(reply) > MAX_REPLY:
        whole = "list_messages" if run.reply_id is not None else "stream_conversation without a cursor"
        notes.append(f"The reply is cut here, of {len(reply):,} characters so far; {whole} reads all of it.")
    pending = pending_requests(outcome.pending, quoter, agent=run.agent)
    return RunReport(
        conversation_id=run.conversation_id,
        run_id=run.id,
        status=run.status,
        reply=quoter.quote(reply, MAX_REPLY) if reply else None,
        reply_data=None if data is None else quoter.quote(compact(data), MAX_JSON),
        error=quoter.optional_line(run.error, MAX_PROMPT),
        pending=pending.items,
        cursor=outcome.cursor,
        note=" ".join([*notes, *pending.notes]) or None,
        next=next_step(host, run, outcome.pending),
    )


def next_step(host: Host, run: Run, pending: Sequence[Request]) -> str | None:
    """Return the sentence that says what to call next, of those tools that the server and the platform offer."""
    can_cancel = host.client.offers(run.conversation_id, Feature.CANCEL)
    step = _next_step(run, pending, caller=host.client.address, can_cancel=can_cancel)
    return None if step is None else possible(host, step)


def _next_step(run: Run, pending: Sequence[Request], *, caller: str, can_cancel: bool) -> str | None:
    if run.status.active and run.agent == caller:
        return "send_message with this conversation_id answers what is asked here."
    match run.status:
        case RunStatus.QUEUED | RunStatus.RUNNING:
            stops = "; cancel_run stops it" if can_cancel else ""
            return f"stream_conversation with this cursor waits for the rest{stops}."
        case RunStatus.INPUT_REQUIRED:
            if not pending:
                return "stream_conversation with this cursor shows how it goes on."
            # Some hosts answer forms by themselves and refuse the tool: then the terminal alone is left.
            terminal = "your user can decide it in a terminal, with `tertulia approve`."
            if pending[0].declined:
                return f"ask your user; confirm_tool can reject the request; {terminal}"
            return f"ask your user, then confirm_tool with request_id {pending[0].id}; {terminal}"
        case RunStatus.COMPLETED:
            return None
        case RunStatus.FAILED:
            again = "the message again" if run.retryable else "another message"
            return f"send {again} with send_message."
        case RunStatus.INTERRUPTED:
            return "list_messages shows whether the answer came all the same; send_message asks again."
        case RunStatus.CANCELED:
            return "send_message goes on with the conversation."
