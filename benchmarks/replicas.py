"""Two servers on one PostgreSQL database, behind nginx; all of them die: is anything lost, or done twice?

`.venv/bin/python -m benchmarks.replicas [--seconds N] [--seed N] [--pause N] [--forked]`, where PostgreSQL and nginx
are installed. Eight hosts of four people send messages, each again under its key until it is acknowledged, to the
archivist and to a remote platform that takes each message as often as it is sent. Meanwhile replicas are killed, or
stand still for longer than a lease, the database crashes or is restarted, its connections are cut, and so are the
proxy's. Whatever ends is started again. Afterwards, every run must end though nobody waits for it.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from benchmarks._measure import print_table
from tertulia import RunStatus
from tests.doubles.replicas import PEOPLE, PROXY, Deployment, Sender, deployed

SENDERS = 8
PATIENCE = 120.0
"""Seconds that everything has to come to its end when nothing dies any more."""
PAUSE = 5.0
"""The longest pause between two troubles, in seconds: a server takes about as long to begin on a busy machine."""


@dataclass(frozen=True)
class Figures:
    """What came of it."""

    troubles: Counter[str]
    acknowledged: int
    attempts: int
    longest: float
    """Seconds from the first attempt to send a message to its acknowledgement."""
    lost: Sequence[str]
    doubled: Sequence[str]
    gaps: Sequence[str]
    runs: Counter[str]
    settled: float
    """Seconds until the last run had ended, after nothing died any more."""


async def play(seconds: float, seed: int, *, forked: bool = False, pause: float = PAUSE) -> Figures:
    """Send and make trouble for so long, by a seed; return what came of it.

    Forked replicas begin faster, and never stand still.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        async with deployed(Path(folder), forked=forked) as place:
            senders = [
                Sender(place, PEOPLE[number % len(PEOPLE)], number, random.Random(f"{seed} {number}"))
                for number in range(SENDERS)
            ]
            with anyio.fail_after(seconds + PATIENCE):
                async with anyio.create_task_group() as tasks:
                    until = anyio.current_time() + seconds
                    for sender in senders:
                        tasks.start_soon(sender.live, until)
                    tasks.start_soon(make_trouble, place, chance, until, not forked, pause)
            calm = anyio.current_time()
            await settle(place)
            return figures(place, senders, anyio.current_time() - calm)


async def make_trouble(
    place: Deployment, chance: random.Random, until: float, halts: bool, pause: float
) -> None:
    """Do something to what runs, again and again."""
    replicas = [name for name in place.processes if name != PROXY]

    while anyio.current_time() < until:
        await anyio.sleep(chance.random() * pause)
        name = chance.choice(replicas)
        troubles: Sequence[tuple[int, Callable[[], Awaitable[None]]]] = [
            (10, partial(place.kill_replica, name)),
            (2 if halts else 0, partial(place.halt_replica, name)),
            (1, partial(place.restart_database, "immediate")),
            (1, partial(place.restart_database, "fast")),
            (2, place.cut_connections),
            (2, place.restart_proxy),
        ]
        (act,) = chance.choices([act for _, act in troubles], [weight for weight, _ in troubles])
        await act()


async def settle(place: Deployment) -> None:
    """Wait until every run has ended; nobody waits for them but we, and we look at the database alone."""
    with anyio.fail_after(PATIENCE):
        while any(RunStatus(status).active for status in place.runs()):  # noqa: ASYNC110 - nothing tells us
            await anyio.sleep(0.1)


def figures(place: Deployment, senders: Sequence[Sender], settled: float) -> Figures:
    """Look at what the store and the platform have."""
    recorded, taken = place.recorded(), place.taken()
    acknowledged = [text for sender in senders for text in sender.acknowledged]
    return Figures(
        troubles=place.troubles,
        acknowledged=len(acknowledged),
        attempts=sum(sender.attempts for sender in senders),
        longest=max(sender.longest for sender in senders),
        lost=[text for text in acknowledged if not recorded[text]],
        doubled=[text for text, count in [*recorded.items(), *taken.items()] if count > 1],
        gaps=place.gaps(),
        runs=place.runs(),
        settled=settled,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Two servers, their database and their proxy die.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument(
        "--pause", type=float, default=PAUSE, help="the longest pause between two troubles, in seconds"
    )
    parser.add_argument(
        "--forked", action="store_true", help="replicas that begin faster, and never stand still"
    )
    given = parser.parse_args()
    print(f"seed {given.seed}\n")
    found = anyio.run(partial(play, given.seconds, given.seed, forked=given.forked, pause=given.pause))
    print_table(["trouble", "times"], [[name, count] for name, count in sorted(found.troubles.items())])
    print()
    print_table(
        ["messages", "number"],
        [
            ["acknowledged", found.acknowledged],
            ["calls, repeated ones included", found.attempts],
            ["lost", len(found.lost)],
            ["recorded or taken twice", len(found.doubled)],
            ["journals with a gap", len(found.gaps)],
            *([f"runs {status}", count] for status, count in sorted(found.runs.items())),
        ],
    )
    print(f"\nThe longest acknowledgement took {found.longest:.1f} s.")
    print(f"The last run ended {found.settled:.1f} s after nothing died any more.")
    if found.lost or found.doubled or found.gaps:
        raise SystemExit("A promise is broken.")


if __name__ == "__main__":
    main()
