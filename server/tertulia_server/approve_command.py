"""`tertulia approve`: a person decides in a terminal what agents ask.

It shows all that will run, and takes a decision only from a keyboard: what a program pipes into it decides nothing.
"""

import sys

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tertulia.client import Client
from tertulia.runs.runner import Worker
from tertulia.vocabulary.errors import NotAllowedError, TertuliaError
from tertulia.vocabulary.models import Channel, Decision, Request, RequestKind, Settlement
from tertulia.vocabulary.untrusted import one_line
from tertulia_server.settings import Settings
from tertulia_tools.approvals import form_text

APPROVE, REJECT = "approve", "reject"


def approve(settings: Settings, worker: Worker) -> int:
    """Show each pending request and take its decision; return 0.

    Raises:
        NotAllowedError: the input or the output is not a terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise NotAllowedError(
            "`tertulia approve` takes decisions from a person at a terminal only.",
            hint="Run it in a terminal, without pipes.",
        )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client.open(settings.client_settings(), worker=worker)) as client,
    ):
        requests = portal.call(client.runs.pending)
        if not requests:
            print(f"Nothing waits for a decision in {settings.store}.")
        for number, request in enumerate(requests, start=1):
            print(f"\n{number} of {len(requests)}: {request.id} in {request.conversation_id}")
            if not _decide(portal, client, request):
                return 0
    return 0


def _decide(portal: BlockingPortal, client: Client, request: Request) -> bool:
    """Show a request and settle it as the person says; return False if the person leaves."""
    run = portal.call(client.runs.get, request.run_id)
    print(form_text(request, run.agent))
    try:
        settlement = _settlement(request)
    except (EOFError, KeyboardInterrupt):
        print()
        return False
    if settlement is None:
        print("Left undecided.")
        return True
    try:
        portal.call(client.runs.respond, request.id, settlement)
    except TertuliaError as error:
        print(one_line(f"! {error} {error.hint or ''}"))
    else:
        print("Decided. The answer goes on with the next call that waits for it.")
    return True


def _settlement(request: Request) -> Settlement | None:
    """Return what the person types; None if that is nothing."""
    if request.kind is RequestKind.QUESTION:
        answer = input("Your answer (empty: leave it open): ").strip()
        return (
            Settlement(decision=Decision.ANSWER, answer=answer, by_person=True, channel=Channel.TERMINAL)
            if answer
            else None
        )
    while True:
        typed = input(f"Type {APPROVE} or {REJECT} (empty: leave it open): ").strip().lower()
        if typed == APPROVE:
            return Settlement(decision=Decision.APPROVE, by_person=True, channel=Channel.TERMINAL)
        if typed == REJECT:
            reason = input("Why? The agent is told (may be empty): ").strip()
            return Settlement(
                decision=Decision.REJECT, reason=reason or None, by_person=True, channel=Channel.TERMINAL
            )
        if not typed:
            return None
