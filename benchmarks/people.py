"""Two people hold conversations at once, over the internet's way in: are they alone, each, and how long does it take?

`.venv/bin/python -m benchmarks.people [--seconds N] [--pairs N] [--seed N] [--postgres]`, where nginx is installed. An
authorization server, two servers that share one store (a file, or a database of a PostgreSQL server), and nginx in
front as `deploy/nginx.conf` has it run on loopback. Each person has a host of either era of the protocol, which finds
its way from a refusal to a token. They take steps at random (`tests/doubles/people.py`), each of which looks for what
is the other's; at the first that shows, the script fails.

Afterwards, while nobody else calls, tools are given ids of what is another's and ids that nobody has, in pairs and in
changing order. Where the two cannot be told apart by time, the first takes longer in half of the pairs; `z` is how many
standard deviations away from that they are.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx2

from benchmarks._measure import print_table
from tests.doubles.authorization_server import authorization_server
from tests.doubles.browser import browser
from tests.doubles.hosts import CONFIG, ERAS, Setup, http_host
from tests.doubles.http_server import http_server
from tests.doubles.people import FOREIGN, STEPS, WORDS, Person, World, begin, reach
from tests.doubles.proxy import free_port, shipped_proxy
from tests.support.postgres import own_server

SERVERS = 2
ADDRESSES = {"alice": "127.0.0.1", "bob": "127.0.0.2"}
"""The people, and where they call from: the proxy keeps sessions by addresses."""
TOLD_APART = 4.0
"""The `z` beyond which a difference is none of chance: it is exceeded once in 16,000 comparisons."""


@dataclass(frozen=True)
class Place:
    """What runs, and the people who are connected."""

    world: World
    logs: Sequence[Path]
    seconds: Mapping[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    """How long each step took, by its name."""


@asynccontextmanager
async def connected(folder: Path, *, postgres: bool) -> AsyncGenerator[Place]:
    """Start everything, and connect everybody from two addresses with tokens of their own."""
    config = folder / "config.toml"
    config.write_text(CONFIG)
    port = free_port()
    url = f"https://localhost:{port}/mcp"
    logs = [folder / f"server{number}.log" for number in range(SERVERS)]
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(authorization_server())
        flags = {
            "oauth_issuer": issuer.issuer,
            "public_url": url,
            "trusted_proxies": "127.0.0.1",
            "log_level": "INFO",
            "log_format": "json",
        }
        if postgres:
            flags["store"] = stack.enter_context(own_server()).url
        servers = [
            await stack.enter_async_context(http_server(Setup(folder / "tertulia.db", config, log, flags)))
            for log in logs
        ]
        origins = [server.origin for server in servers]
        trusted = await stack.enter_async_context(shipped_proxy(folder, port, origins))
        people: dict[str, Person] = {}
        for name, address in ADDRESSES.items():
            hosts = [
                await stack.enter_async_context(
                    http_host(
                        url,
                        era,
                        {},
                        auth=browser(url, name),
                        transport=httpx2.AsyncHTTPTransport(verify=trusted, local_address=address),
                    )
                )
                for era in ERAS
            ]
            people[name] = Person(name, hosts)
        yield Place(World(people), logs)


async def converse(place: Place, seconds: float, seed: int) -> None:
    """Let everybody take steps at random, at once, for so long."""
    until = time.monotonic() + seconds

    async def live(person: Person) -> None:
        chance = random.Random(f"{seed} {person.name}")
        number = 0
        await begin(place.world, person, person.hosts[0], number)
        while time.monotonic() < until:
            number += 1
            step = chance.choice(STEPS)
            began = time.perf_counter()
            await step(place.world, person, chance.choice(person.hosts), number)
            place.seconds[step.__name__.strip("_")].append(time.perf_counter() - began)

    async with anyio.create_task_group() as tasks:
        for person in place.world.people.values():
            tasks.start_soon(live, person)


async def compare(world: World, pairs: int) -> None:
    """Give every tool what is another's and what nobody has so often, with nobody else calling."""
    alice, bob = world.people.values()
    await begin(world, bob, bob.hosts[0], -1)
    world.reached.clear()
    for number in range(pairs):
        for tool, (kind, _) in FOREIGN.items():
            theirs = world.foreign(alice, f"{kind}s")[-1]
            await reach(world, alice, alice.hosts[0], tool, theirs, foreign_first=number % 2 == 0)


def told_apart(times: Sequence[tuple[float, float]]) -> float:
    """Return by how many standard deviations the first of a pair is the longer more often than by chance."""
    longer = sum(first > second for first, second in times)
    return (longer - len(times) / 2) / (math.sqrt(len(times)) / 2)


def calls_of(log: Path) -> Counter[str]:
    """Return how many calls a server has answered, by who called; its log has no word of what was said."""
    text = log.read_text()
    for word in WORDS.values():
        assert word not in text, f"{log} has {word}"
    lines = [json.loads(line) for line in text.splitlines()]
    return Counter(
        str(line["principal"]).rpartition("#")[2]
        for line in lines
        if line["logger"] == "tertulia_server.calls"
    )


def report(place: Place) -> Sequence[str]:
    """Print the figures; return the tools whose answers can be told apart by time."""
    calls = [calls_of(log) for log in place.logs]
    assert all(each[name] for each in calls for name in ADDRESSES), f"a server was not asked: {calls}"
    print_table(
        ["server", *ADDRESSES],
        [
            [f"calls of server {number}", *(each[name] for name in ADDRESSES)]
            for number, each in enumerate(calls, 1)
        ],
    )
    print(f"\n{place.world.checks:,} answers were looked through: nothing in them was another's.\n")
    print_table(
        ["step", "times", "median ms", "longest ms"],
        [
            [name, len(took), 1000 * statistics.median(took), 1000 * max(took)]
            for name, took in sorted(place.seconds.items())
        ],
    )
    print()
    reached = place.world.reached
    print_table(
        ["tool", "pairs", "another's, ms", "nobody's, ms", "longer, %", "z"],
        [
            [
                tool,
                len(times),
                *(1000 * statistics.median(each) for each in zip(*times, strict=True)),
                100 * sum(first > second for first, second in times) / len(times),
                told_apart(times),
            ]
            for tool, times in reached.items()
        ],
    )
    return [tool for tool, times in reached.items() if abs(told_apart(times)) > TOLD_APART]


async def play(seconds: float, pairs: int, seed: int, *, postgres: bool) -> Sequence[str]:
    """Let them converse, compare times, and print the figures; return what can be told apart by time.

    Raises:
        AssertionError: somebody was shown what is another's.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with connected(Path(folder), postgres=postgres) as place:
            await converse(place, seconds, seed)
            await compare(place.world, pairs)
        return report(place)  # when the servers have ended, so that their logs are whole


def main() -> None:
    parser = argparse.ArgumentParser(description="Two people hold conversations at once, each alone.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    print(f"seed {given.seed}\n")
    if apart := anyio.run(partial(play, given.seconds, given.pairs, given.seed, postgres=given.postgres)):
        raise SystemExit(
            f"What is another's can be told by time from what does not exist: {', '.join(apart)}."
        )


if __name__ == "__main__":
    main()
