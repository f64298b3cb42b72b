"""Messages between two agents over HTTP, beside MCP Agent Mail (github.com/Dicklesworthstone/mcp_agent_mail) there.

`.venv/bin/python benchmarks/mail.py [--messages N] [--python PATH]`. PATH, or the environment variable
`AGENT_MAIL_PYTHON`, is the Python of an environment in which a checkout of that project is installed (`pip install
CHECKOUT`; it takes Python 3.12). Without one nothing is measured. Both serve the same traffic, call by call in turn: an
agent writes, another one answers, looks into its inbox, and searches. `times` is how often Tertulia does it in the time
of one call there: by the medians, and by the fastest tenth of the calls, which others on the machine change less.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _http import HttpClient, serving
from _measure import print_table

PYTHON = "AGENT_MAIL_PYTHON"
ALICE, BOB = "BlueLake", "GreenCastle"  # Agent Mail takes an adjective and a noun
PATIENCE = 120.0
"""Seconds in which its server must be up."""
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
RARE, ABSENT = "kappa", "zebrafish"
OPERATIONS = ("send", "reply", "inbox", "search", "search, no hit")
_SETTINGS = {
    "HTTP_RBAC_ENABLED": "false",  # by default, who brings no token only reads
    "LOG_RICH_ENABLED": "false",
    "TOOLS_LOG_ENABLED": "false",
}
Operations = Mapping[str, Callable[[int], object]]
"""What an operation's n-th call does."""


def text(number: int) -> str:
    """Return a message of a dozen words; one in ten has the rare one."""
    said = " ".join(WORDS[(number * step) % 9] for step in range(1, 12))
    return f"{said} {RARE}" if number % 10 == 0 else said


@contextmanager
def tertulia(folder: Path) -> Generator[Operations]:
    """Serve a store under the names of both."""
    store = folder / "store.db"
    with serving(store, "--as", "alice") as alices, serving(store, "--as", "bob") as bobs:
        alice, bob = HttpClient(alices), HttpClient(bobs)
        # Whoever has written can be written to.
        bob.call("send_message", {"agent": "local:archivist", "text": "help", "wait_seconds": 0})
        for client in (alice, bob):
            client.close()  # the other server starts meanwhile; the next call connects again
        threads: list[str] = []

        def send(number: int) -> None:
            sent = alice.call("send_message", {"agent": "local:bob", "text": text(number), "wait_seconds": 0})
            threads.append(sent["structuredContent"]["conversation_id"])

        yield {
            "send": send,
            "reply": lambda number: bob.call(
                "send_message",
                {"conversation_id": threads[number], "text": text(number + 1), "wait_seconds": 0},
            ),
            "inbox": lambda _: bob.call("list_conversations", {"limit": 20}),
            "search": lambda _: bob.call("search_conversations", {"query": RARE, "limit": 10}),
            "search, no hit": lambda _: bob.call("search_conversations", {"query": ABSENT, "limit": 10}),
        }


@contextmanager
def agent_mail(python: str, folder: Path) -> Generator[Operations]:
    """Serve a store of Agent Mail's in which two agents are registered."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = (python, "-m", "mcp_agent_mail", "serve-http", "--port", str(port), "--path", "/mcp")
    own = {
        "STORAGE_ROOT": str(folder / "archive"),
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'mail.db'}",
    }
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **_SETTINGS, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield _operations(_connected(f"http://127.0.0.1:{port}/mcp/", process), folder)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _connected(url: str, process: "subprocess.Popen[bytes]") -> HttpClient:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return HttpClient(url)
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.2)


def _operations(client: HttpClient, folder: Path) -> Operations:
    project = {"project_key": str(folder)}
    client.call("ensure_project", {"human_key": str(folder)})
    tokens: dict[str, str] = {}
    for name in (ALICE, BOB):
        agent = {**project, "program": "benchmark", "model": "none", "name": name}
        tokens[name] = client.call("register_agent", agent)["structuredContent"]["registration_token"]
        policy = {**project, "agent_name": name, "policy": "open", "registration_token": tokens[name]}
        client.call("set_contact_policy", policy)
    client.close()
    ids: list[int] = []

    def send(number: int) -> None:
        message = {"to": [BOB], "subject": "About it", "body_md": text(number)}
        sent = client.call(
            "send_message", {**project, "sender_name": ALICE, "sender_token": tokens[ALICE], **message}
        )
        ids.append(sent["structuredContent"]["deliveries"][0]["payload"]["id"])

    def reply(number: int) -> object:
        answer: dict[str, Any] = {"message_id": ids[number], "body_md": text(number + 1)}
        return client.call(
            "reply_message", {**project, "sender_name": BOB, "sender_token": tokens[BOB], **answer}
        )

    def search(query: str) -> object:
        return client.call(
            "search_messages",
            {**project, "query": query, "limit": 10, "agent_name": BOB, "registration_token": tokens[BOB]},
        )

    return {
        "send": send,
        "reply": reply,
        "inbox": lambda _: client.call(
            "fetch_inbox",
            {**project, "agent_name": BOB, "limit": 20, "registration_token": tokens[BOB]},
        ),
        "search": lambda _: search(RARE),
        "search, no hit": lambda _: search(ABSENT),
    }


def _timed(work: Callable[[int], object], number: int) -> float:
    begun = time.perf_counter()
    work(number)
    return (time.perf_counter() - begun) * 1000


def measure(python: str, messages: int) -> None:
    """Measure both in turn, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with agent_mail(python, folder) as theirs, tertulia(folder) as ours:
            times: dict[str, list[tuple[float, float]]] = {operation: [] for operation in OPERATIONS}
            for number in range(messages):
                for operation in OPERATIONS:
                    pair = _timed(theirs[operation], number), _timed(ours[operation], number)
                    times[operation].append(pair)
    rows: list[list[str | float]] = []
    for operation, pairs in times.items():
        mail, own = zip(*pairs, strict=True)
        fast = [statistics.quantiles(each, n=10)[0] for each in (mail, own)]
        middle = [statistics.median(each) for each in (mail, own)]
        rows.append([operation, *middle, middle[0] / middle[1], *fast, fast[0] / fast[1]])
    head = (
        "over HTTP",
        "Agent Mail, ms",
        "Tertulia, ms",
        "times",
        "fastest tenth there",
        "here",
        "times, of these",
    )
    print_table(head, rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=60)
    parser.add_argument("--python", default=os.environ.get(PYTHON))
    given = parser.parse_args()
    if given.python is None:
        print(f"Agent Mail is not there: {PYTHON} names no Python that has it.", file=sys.stderr)
        return
    measure(given.python, given.messages)


if __name__ == "__main__":
    main()
