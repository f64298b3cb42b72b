"""The simulation: hosts call two servers on one store, and everything goes wrong that can, by a seed."""

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio

from tertulia import (
    Client,
    ClientSettings,
    Decision,
    InstanceSettings,
    MessageDraft,
    NewConversation,
    Run,
    Settlement,
    StoreError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.platforms.registry import PLATFORMS
from tertulia.vocabulary.location import StoreLocation
from tests.simulation.process import DiedError, Machine, Process, weighted
from tests.simulation.upstream import ASKS, KIND, Upstream

T = TypeVar("T")

SERVERS = ("one", "two")
TROUBLE_SECONDS = 60.0
"""How long things go wrong."""
CALM_SECONDS = 7200.0
"""How long everything has to come to its end afterwards."""
ATTEMPTS = 400


@dataclass
class Sending:
    """A message that a host wants to be sent once."""

    text: str
    agent: str
    key: str
    conversation_id: str | None = None
    run_id: str | None = None
    refused: str | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the host was told that it is recorded."""
        return self.run_id is not None


@dataclass
class Seen:
    """What a reader saw of a conversation."""

    conversation_id: str
    entries: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])


@dataclass
class World:
    """One schedule."""

    seed: int
    store: StoreLocation
    upstream: Upstream = field(default_factory=Upstream)
    sendings: list[Sending] = field(default_factory=list[Sending])
    seen: list[Seen] = field(default_factory=list[Seen])
    processes: dict[str, Process] = field(default_factory=dict[str, Process])

    def __post_init__(self) -> None:
        random.seed(self.seed)  # pauses between attempts, and ids
        self.machine = Machine(random.Random(self.seed))
        self._lives: dict[str, anyio.CancelScope] = {}
        cast(dict[str, str], PLATFORMS)[KIND] = "tests.simulation.upstream:UpstreamPlatform"

    async def play(self) -> None:
        """Let things go wrong for a while, then wait until all that was begun has ended."""
        chance = self.machine.chance
        async with anyio.create_task_group() as servers:
            for name in SERVERS:
                servers.start_soon(self._serve, name)
            with anyio.fail_after(TROUBLE_SECONDS + CALM_SECONDS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._trouble)
                    for number in range(chance.randint(2, 4)):
                        tasks.start_soon(Host(self, f"host{number}").live)
                await self._settle()
            for life in self._lives.values():
                life.cancel()
            servers.cancel_scope.cancel()

    async def persist(self, what: str, work: Callable[[Client], Awaitable[T]]) -> T:
        """Make a call again and again, on whichever server, until it is answered.

        Raises:
            TertuliaError: it was refused.
        """
        machine, chance = self.machine, self.machine.chance
        for _ in range(ATTEMPTS):
            process = self.processes.get(chance.choice(SERVERS))
            impatience = 3600.0 if machine.calm else chance.random() * 30
            if process is not None:
                with anyio.move_on_after(impatience):
                    try:
                        return await process.call(work)
                    except (DiedError, StoreError, UnavailableError, UncertainError) as error:
                        machine.note(f"{what} on {process.name}: {type(error).__name__}")
            await anyio.sleep(chance.random() * 3)
        raise AssertionError(f"{what} was never answered")

    async def _serve(self, name: str) -> None:
        while True:
            process = self.processes[name] = Process(name, self.machine)
            options = {"upstream": self.upstream, "process": process}
            instance = InstanceSettings(platform=KIND, options=options, environment={})
            with anyio.CancelScope() as self._lives[name]:
                try:
                    async with process.running(ClientSettings(store=self.store, instances={KIND: instance})):
                        await anyio.sleep_forever()
                except Exception:
                    if not process.dead:
                        raise
            self.machine.note(f"{name} is gone")
            await anyio.sleep(self.machine.chance.random() * 8)

    async def _trouble(self) -> None:
        machine, chance = self.machine, self.machine.chance
        while anyio.current_time() < TROUBLE_SECONDS:
            await anyio.sleep(0.2 + chance.random() * 5)
            name = chance.choice(SERVERS)
            process = self.processes[name]
            trouble = weighted(chance, [(4, "kill"), (3, "stop"), (2, "clock"), (1, "full")])
            machine.note(f"{trouble} {name}")
            if trouble == "kill":
                process.die()
                self._lives[name].cancel()
            elif trouble == "stop":
                process.stop()
                await anyio.sleep(chance.random() * 15)
                process.go_on()
            elif trouble == "full":
                machine.full = True
                await anyio.sleep(chance.random() * 10)
                machine.full = False
            else:
                machine.clock_ahead += chance.choice((-3600, -30, -1, 1, 30, 3600))
        machine.calm = True
        machine.note("calm")

    async def _settle(self) -> None:
        """Decide whatever is asked, and wait for every run that was begun."""

        async def settle(client: Client) -> bool:
            active = False
            for sending in self.sendings:
                if sending.run_id is not None:
                    result = await client.runs.wait(await client.runs.get(sending.run_id), timeout=900)
                    for request in result.pending:
                        await client.runs.respond(request.id, Settlement(decision=Decision.REJECT))
                    active = active or result.run.status.active
            return active

        while await self.persist("settle", settle):
            pass


@dataclass
class Host:
    """A host: it begins conversations, goes on with others', decides, cancels and reads."""

    world: World
    name: str
    made: int = 0

    async def live(self) -> None:
        """Do some things, one after the other."""
        chance = self.world.machine.chance
        for _ in range(chance.randint(3, 10)):
            await anyio.sleep(chance.random() * 5)
            act = weighted(
                chance,
                [(5, self.begin), (4, self.send), (3, self.decide), (1, self.cancel), (2, self.read)],
            )
            await act()

    async def begin(self) -> None:
        """Begin a conversation."""
        agent = self._chance.choice((f"{KIND}:agent", f"{KIND}:agent", "local:archivist"))
        sending = self._new(agent)

        async def begin(client: Client) -> tuple[str, str]:
            sent = await client.runs.start(
                NewConversation(agent=agent), MessageDraft(text=sending.text), idempotency_key=sending.key
            )
            return sent.conversation.id, sent.run.id

        await self._deliver(sending, begin)

    async def send(self) -> None:
        """Send a message into a conversation of whichever host."""
        conversation = self._some_conversation()
        if conversation is None:
            return
        sending = self._new(conversation.agent)

        async def send(client: Client) -> tuple[str, str]:
            assert conversation.conversation_id is not None
            draft = MessageDraft(text=sending.text)
            sent = await client.runs.send(conversation.conversation_id, draft, idempotency_key=sending.key)
            return conversation.conversation_id, sent.run.id

        await self._deliver(sending, send)

    async def decide(self) -> None:
        """Decide about something that is pending."""
        decision = self._chance.choice((Decision.APPROVE, Decision.REJECT))
        key = self._key()
        chosen: list[str] = []

        async def decide(client: Client) -> None:
            if not chosen:
                chosen.extend(request.id for request in (await client.runs.pending())[:1])
            if chosen:
                settlement = Settlement(decision=decision)
                await client.runs.respond(chosen[0], settlement, idempotency_key=key)

        await self._try("decide", decide)

    async def cancel(self) -> None:
        """Cancel what is being answered somewhere."""
        conversation = self._some_conversation()
        key = self._key()

        async def cancel(client: Client) -> None:
            assert conversation is not None
            await client.runs.cancel(conversation.conversation_id or "", idempotency_key=key)

        if conversation is not None:
            await self._try("cancel", cancel)

    async def read(self) -> None:
        """Follow a conversation's newest run by cursor, over broken connections."""
        conversation = self._some_conversation()
        if conversation is None or conversation.run_id is None:
            return
        run_id, seen = conversation.run_id, Seen(conversation.conversation_id or "")
        self.world.seen.append(seen)

        async def read(client: Client) -> None:
            run = await client.runs.get(run_id)
            after = seen.entries[-1][0] if seen.entries else run.first_seq
            async for entries in client.runs.follow(run, after=after):
                seen.entries += [(entry.seq, entry.kind, _data(entry.data)) for entry in entries]

        await self._try("read", read)

    async def _deliver(self, sending: Sending, work: Callable[[Client], Awaitable[tuple[str, str]]]) -> None:
        found = await self._try(f"send {sending.text!r}", work)
        if isinstance(found, TertuliaError):
            sending.refused = str(found)
            return
        sending.conversation_id, sending.run_id = found
        if self._chance.random() < 0.3:  # the host did not see the result, and asks for it again
            found = await self._repeat(sending, work, found)

        run_id = found[1]

        async def wait(client: Client) -> None:
            await client.runs.wait(await client.runs.get(run_id), timeout=self._chance.random() * 20)

        if self._chance.random() < 0.6:
            await self._try("wait", wait)

    async def _repeat(
        self, sending: Sending, work: Callable[[Client], Awaitable[tuple[str, str]]], found: tuple[str, str]
    ) -> tuple[str, str]:
        """Repeat a call: it returns the same, or sends a message of which its platform has got nothing."""

        async def first(client: Client) -> Run:
            return await client.runs.get(found[1])

        again = await self._try("repeat", work)
        if again == found:
            return found
        run = await self._try("look", first)
        assert isinstance(run, Run)
        assert run.unsent, f"{sending.text!r} was begun twice"
        if isinstance(again, TertuliaError):  # another message is being answered there meanwhile
            sending.run_id, sending.refused = None, str(again)
            return found
        sending.run_id = again[1]
        return again

    async def _try(self, what: str, work: Callable[[Client], Awaitable[T]]) -> T | TertuliaError:
        try:
            result = await self.world.persist(f"{self.name} {what}", work)
        except TertuliaError as error:
            self.world.machine.note(f"{self.name} {what}: refused")
            return error
        self.world.machine.note(f"{self.name} {what}: done")
        return result

    def _new(self, agent: str) -> Sending:
        key = self._key()
        ask = self._chance.random() < 0.3
        remote = agent.startswith(KIND)
        text = f"{(ASKS if remote else 'find') if ask else 'hello'} {key.replace('-', ' ')}"
        sending = Sending(text, agent, key)
        self.world.sendings.append(sending)
        return sending

    def _key(self) -> str:
        self.made += 1
        return f"{self.name}-{self.made}"

    def _some_conversation(self) -> Sending | None:
        known: Sequence[Sending] = [one for one in self.world.sendings if one.conversation_id is not None]
        return self._chance.choice(known) if known else None

    @property
    def _chance(self) -> random.Random:
        return self.world.machine.chance


def _data(data: Any) -> str:
    return json.dumps(dict(data), sort_keys=True, default=str)
