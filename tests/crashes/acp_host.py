"""`python -m tests.crashes.acp_host FOLDER TEXT`: a host that is the worker of a store, has a message answered by the
double of an agent program, approves what that asks, and prints what came of it. Failpoints kill it on the way.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import anyio

from tertulia import Client, Decision, MessageDraft, NewConversation, RunStatus, Settlement
from tertulia.runs.runner import Worker
from tertulia.vocabulary.errors import MovedOnError
from tests.client.platforms.acp import AGENT, SECONDS, Place
from tests.doubles.failpoints import install


async def main(folder: Path, text: str) -> None:
    """Make the calls that a host makes again after a crash, each under its key."""
    place = Place(folder)
    install(os.environ)
    async with Client.open(place.settings(), worker=Worker()) as client:
        new = NewConversation(agent=AGENT, context={"cwd": str(place.work)})
        sent = await client.runs.start(new, MessageDraft(text=text), idempotency_key="start")
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        for request in outcome.pending:
            approve = Settlement(decision=Decision.APPROVE)
            with suppress(MovedOnError):  # who asked has died since
                await client.runs.respond(request.id, approve, idempotency_key=f"confirm {request.id}")
        if outcome.run.status is RunStatus.INPUT_REQUIRED:
            outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        entries = (await client.conversations.events(sent.conversation.id)).entries
        messages = (await client.messages.list(sent.conversation.id)).items
        print(
            json.dumps(
                {
                    "status": outcome.run.status,
                    "error": outcome.run.error,
                    "pending": len(await client.runs.pending(sent.conversation.id)),
                    "seqs": [entry.seq for entry in entries],
                    "said": [[message.role, message.text] for message in messages],
                }
            )
        )


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2])
