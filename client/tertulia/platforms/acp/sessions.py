"""A running agent program and the sessions that it has open.

`open_agent` runs a program for as long as it is entered. `AgentHost` keeps one for the worker, from the first run that
needs it until the worker ends or the program does.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from tertulia.platforms.acp.connection import (
    Connection,
    ConnectionEnded,
    Incoming,
    Listener,
    Reply,
    RequestId,
    RpcError,
    TooMuchSaid,
    connected,
)
from tertulia.platforms.acp.mapping import fingerprint, turns
from tertulia.platforms.acp.protocol import (
    VERSIONS,
    Protocol,
    end_of_turn,
    initialize_params,
    option_id,
    option_values,
)
from tertulia.platforms.acp.settings import AgentSettings, find_program
from tertulia.platforms.acp.turn_events import (
    Accepted,
    PermissionAsked,
    PermissionWithdrawn,
    TurnEnded,
    TurnEvent,
    TurnEvents,
)
from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    LimitExceededError,
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
)
from tertulia.vocabulary.untrusted import shown

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long a program may take until it answers its first request."""
CALL_SECONDS = 120.0
"""How long a program may take to open a session or to change its mode."""
QUIET_SECONDS = 30.0
"""How long an earlier turn that was stopped may take to come to its end."""
AUTH_REQUIRED = -32000
INVALID_PARAMS = -32602
FREE_CATEGORIES = frozenset({"model", "model_config", "thought_level"})
"""The kinds of a session's options that decide nothing about what the agent may do."""
_HISTORY = 4
"""How many times as much as one message a session's history may have when it is replayed."""
_LONGEST_QUOTE = 300
_CANCELLED: Mapping[str, Any] = {"outcome": {"outcome": "cancelled"}}


class Session:
    """A session that the agent has open."""

    def __init__(
        self, session_id: str, connection: Connection, settings: AgentSettings, protocol: Protocol
    ) -> None:
        self.id = session_id
        self.said: list[str] = []
        """The fingerprints of what the user has said in it."""
        self._connection = connection
        self._settings = settings
        self._protocol = protocol
        self._turn: TurnEvents | None = None
        """What listens to the turn that goes on."""
        self._asked: set[RequestId] = set()
        self._idle: anyio.Event | None = None
        """While a turn goes on: set at its end."""
        self._working = False
        """Whether the agent has begun with the turn: an end that it tells is the end of this one."""

    def take(self, happened: TurnEvent) -> None:
        """Hand on what the agent says, to whoever listens; where nobody does, nothing is approved."""
        if isinstance(happened, PermissionAsked):
            self._asked.add(happened.id)
        elif isinstance(happened, Mapping) and happened.get("sessionUpdate") == "state_update":
            end = end_of_turn(happened)
            self._working = self._working or end is None
            if end is not None and self._working:
                self.end(end)
            return
        if self._turn is not None:
            self._turn.put(happened)
        elif isinstance(happened, PermissionAsked):
            self.decide(happened.id, None)

    async def caught_up(self) -> None:
        """Wait until whoever listens has received nearly all that was said."""
        if self._turn is not None:
            await self._turn.caught_up()

    def decide(self, request_id: RequestId, option_id: str | None) -> None:
        """Answer a permission request, by an option or by its cancellation."""
        if request_id in self._asked:
            self._asked.discard(request_id)
            outcome = {"outcome": {"outcome": "selected", "optionId": option_id}}
            self._connection.respond(request_id, _CANCELLED if option_id is None else outcome)

    def end(self, reply: Reply) -> None:
        """End the turn that goes on, if one does."""
        if self._idle is None:
            return
        self._idle.set()
        self._asked.clear()
        if self._turn is not None:
            self._turn.put(TurnEnded(reply))
        self._turn = self._idle = None

    async def rest(self, clock: Clock) -> None:
        """Wait until an earlier turn has ended.

        Raises:
            UnavailableError: it does not end.
        """
        if self._idle is not None:
            with clock.move_on_after(QUIET_SECONDS) as scope:
                await self._idle.wait()
            if scope.cancelled_caught:
                raise UnavailableError(f"{self._settings.title} has not stopped its last turn yet.")

    @asynccontextmanager
    async def turn(self, prompt: Sequence[Mapping[str, Any]]) -> AsyncGenerator[TurnEvents]:
        """Prompt the agent, and give what comes of it in order. Leaving before the end stops the turn."""
        events = TurnEvents()
        ended = self._idle = anyio.Event()
        self._working = False

        def on_reply(reply: Reply) -> None:
            if ended.is_set():
                return
            if reply.error is not None or not self._protocol.ends_by_state:
                self.end(reply)
                return
            self._working = True
            message_id = text(table(reply.result).get("messageId"))
            if message_id is not None:
                self.take(Accepted(message_id))

        self._turn = events
        self._connection.call("session/prompt", {"sessionId": self.id, "prompt": prompt}, on_reply)
        try:
            yield events
        finally:
            self._turn = None
            events.close()
            if not ended.is_set():
                self._connection.notify("session/cancel", {"sessionId": self.id})
                for request_id in [*self._asked]:
                    self.decide(request_id, None)


class Agent:
    """A running agent program."""

    def __init__(self, connection: Connection, settings: AgentSettings, clock: Clock) -> None:
        self.settings = settings
        self.protocol = Protocol(1, {})
        self.sessions: dict[str, Session] = {}
        self._connection = connection
        self._clock = clock
        self._replayed: dict[str, list[Mapping[str, Any]]] = {}
        self._replayed_bytes = 0
        self._settable: dict[str, Mapping[str, Any]] = {}
        """What each session can be set to, as it was told last."""

    @property
    def ended(self) -> anyio.Event:
        """Set when the program has ended."""
        return self._connection.ended

    @property
    def usable(self) -> bool:
        """Whether the program takes requests."""
        return self._connection.usable

    async def initialize(self) -> None:
        """Begin the conversation with the program, in the newest version of the protocol that both speak.

        Raises:
            UnavailableError: it does not answer, or answers what cannot be used.
        """
        newest, *older = VERSIONS
        try:
            result = await self._request("initialize", initialize_params(newest), seconds=START_SECONDS)
        except RpcError as error:
            if error.code != INVALID_PARAMS:
                raise refused(error, self.settings) from error
            result = await self._call("initialize", initialize_params(older[0]), seconds=START_SECONDS)
        spoken = result.get("protocolVersion")
        if spoken not in VERSIONS:
            raise UnavailableError(
                f"{self.settings.title} speaks version {spoken!s:.20} of the protocol, and Tertulia speaks "
                f"the versions {' and '.join(map(str, sorted(VERSIONS)))}.",
                hint=f"Update {self.settings.title} or Tertulia, whichever is older.",
                retryable=False,
            )
        self.protocol = Protocol(spoken, result)

    async def new_session(self, folder: Path, servers: Sequence[Mapping[str, Any]]) -> Session:
        """Open a new session."""
        result = await self._call(
            "session/new", {"cwd": str(folder), "mcpServers": self.protocol.mcp_servers(servers)}
        )
        session_id = text(result.get("sessionId"))
        if session_id is None:
            raise UnavailableError(f"{self.settings.title} opened a session without an id.")
        return self._opened(session_id, result)

    async def load_session(
        self, session_id: str, folder: Path, servers: Sequence[Mapping[str, Any]]
    ) -> tuple[Session, Sequence[Mapping[str, Any]]]:
        """Open a session that was there before; return it with the updates that replay its history.

        Raises:
            NotFoundError: the agent has no such session any more.
        """
        if not self.protocol.offers("load"):
            raise ConflictError(
                f"{self.settings.title} cannot open a session again once its program has ended.",
                hint="Begin another conversation.",
            )
        replayed = self._replayed[session_id] = []
        self._replayed_bytes = 0
        params = {
            "sessionId": session_id,
            "cwd": str(folder),
            "mcpServers": self.protocol.mcp_servers(servers),
        }
        try:
            result = await self._call(*self.protocol.load(params))
        except TertuliaError as error:
            if isinstance(error, NotConfiguredError) or self.ended.is_set() or error.retryable:
                raise
            raise NotFoundError(
                f"{self.settings.title} has no session {shown(session_id)} any more: {error.message}",
                hint="Begin another conversation.",
            ) from error
        finally:
            del self._replayed[session_id]
        session = self._opened(session_id, result)
        session.said = [fingerprint(turn.said) for turn in turns(replayed)]
        return session, replayed

    async def list_sessions(self, cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        """Return one page of the sessions that the agent has, and where the next begins."""
        result = await self._call("session/list", {} if cursor is None else {"cursor": cursor})
        return tables(result.get("sessions")), text(result.get("nextCursor"))

    async def close_session(self, session: Session) -> None:
        """Let the agent forget a session until it is loaded again, where it offers that."""
        self.sessions.pop(session.id, None)
        self._settable.pop(session.id, None)
        if self.protocol.offers("close"):
            await self._call("session/close", {"sessionId": session.id})

    async def set_mode(self, session: Session, mode: str) -> None:
        """Set a session's mode.

        Raises:
            InvalidInputError: the agent has no such mode.
        """
        modes = table(self._settable.get(session.id, {}).get("modes"))
        names = [name for one in tables(modes.get("availableModes")) if (name := text(one.get("id")))]
        if mode in names:
            await self._call("session/set_mode", {"sessionId": session.id, "modeId": mode})
            return
        await self._set(session, "mode", self._option(session, "mode"), mode, names)

    async def set_model(self, session: Session, model: str) -> None:
        """Set a session's model.

        Raises:
            InvalidInputError: the agent has no such model, or does not let it be chosen.
        """
        await self._set(session, "model", self._option(session, "model"), model)

    async def set_option(self, session: Session, name: str, value: str | bool) -> None:
        """Set another option of a session.

        Raises:
            InvalidInputError: the agent has no such option or value; or nobody has allowed that a caller sets it.
        """
        option = self._option(session, name)
        category = None if option is None else option.get("category") or option_id(option)
        if option is not None and category not in FREE_CATEGORIES and name not in self.settings.options:
            raise InvalidInputError(
                f"The option {shown(name)} of {self.settings.title} is not for callers to set.",
                hint="`mode` in `context` sets the mode."
                if category == "mode"
                else f"A person can allow it with `options` in [instances.{self.settings.instance}].",
            )
        await self._set(session, f"option {shown(name)} with the value", option, value)

    def _options(self, session: Session) -> Sequence[Mapping[str, Any]]:
        return tables(self._settable.get(session.id, {}).get("configOptions"))

    def _option(self, session: Session, name: str) -> Mapping[str, Any] | None:
        """Return an option of a session by its id or, where none has it, the first of that category."""
        options = self._options(session)
        named = (one for one in options if option_id(one) == name)
        return next(named, None) or next((one for one in options if one.get("category") == name), None)

    async def _set(
        self,
        session: Session,
        what: str,
        option: Mapping[str, Any] | None,
        value: str | bool,
        known: Sequence[str] = (),
    ) -> None:
        values = [*known, *([] if option is None else option_values(option))]
        if option is None or value not in values:
            options = ", ".join(option_id(one) for one in self._options(session))
            raise InvalidInputError(
                f"{self.settings.title} has no {what} {shown(str(value))}.",
                valid=[str(one) for one in values],
                hint=None if values else f"It lets these be chosen: {options or 'none'}.",
            )
        params = {"sessionId": session.id, **self.protocol.set_option(option, value)}
        result = await self._call("session/set_config_option", params)
        if tables(result.get("configOptions")):
            told = {"configOptions": result["configOptions"]}
            self._settable[session.id] = {**self._settable[session.id], **told}

    def take(self, incoming: Incoming) -> None:
        """Take what the program says by itself."""
        session_id = text(incoming.params.get("sessionId")) or ""
        session = self.sessions.get(session_id)
        if incoming.method == "session/update":
            update = table(incoming.params.get("update"))
            if session_id in self._replayed:
                self._replayed[session_id].append(update)
                self._replayed_bytes += incoming.size
                if self._replayed_bytes > _HISTORY * self.settings.limits.response_bytes:
                    self._connection.stop_listening()
            elif session is not None:
                session.take(update)
        elif incoming.method == "session/request_permission" and incoming.id is not None:
            if session is None:
                self._connection.respond(incoming.id, _CANCELLED)
            else:
                session.take(PermissionAsked(incoming.id, incoming.params))
        elif incoming.method == "$/cancel_request":
            given: Any = incoming.params.get("requestId")
            for each in self.sessions.values():
                each.take(PermissionWithdrawn(given))
        elif incoming.id is not None:
            self._connection.refuse(incoming.id, incoming.method)

    def lost(self, why: ConnectionEnded) -> None:
        """Take that the program's output has ended: so have the turns of its sessions."""
        for session in self.sessions.values():
            session.end(Reply(error=why))

    async def caught_up(self) -> None:
        """Wait until what the program said has been received, nearly all of it."""
        for session in [*self.sessions.values()]:
            await session.caught_up()

    def _opened(self, session_id: str, told: Mapping[str, Any]) -> Session:
        session = Session(session_id, self._connection, self.settings, self.protocol)
        self.sessions[session_id] = session
        self._settable[session_id] = {name: told.get(name) for name in ("modes", "configOptions")}
        return session

    async def _call(
        self, method: str, params: Mapping[str, Any], *, seconds: float = CALL_SECONDS
    ) -> Mapping[str, Any]:
        try:
            return await self._request(method, params, seconds=seconds)
        except RpcError as error:
            if error.code == AUTH_REQUIRED:
                self._connection.hang_up()  # its next start sees whether somebody has signed in meanwhile
            raise refused(error, self.settings) from error

    async def _request(self, method: str, params: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
        title = self.settings.title
        try:
            with self._clock.move_on_after(seconds):
                return await self._connection.request(method, params)
        except ConnectionEnded as error:
            raise (
                too_much_said(self.settings) if isinstance(error, TooMuchSaid) else self._gone()
            ) from error
        raise UnavailableError(
            f"{title} has not answered {method} within {seconds:.0f} seconds.",
            hint=_said(self._connection, self.settings) or f"See whether {title} starts in a terminal.",
        )

    def _gone(self) -> UnavailableError:
        return UnavailableError(
            f"{self.settings.title} ended before it answered.",
            hint=_said(self._connection, self.settings)
            or f"See whether {self.settings.title} starts in a terminal.",
        )


def too_much_said(settings: AgentSettings) -> LimitExceededError:
    """Return the error for a program that was ended since it says too much at once."""
    return LimitExceededError(
        f"{settings.title} sent a message of more than {settings.limits.max_response_mib:g} MiB, or a session of more "
        f"than {_HISTORY} times as much. Its program was ended.",
        hint=f"`max_response_mib` in [instances.{settings.instance}] sets another limit.",
        instance=settings.instance,
    )


def refused(error: RpcError, settings: AgentSettings) -> TertuliaError:
    """Return what an agent's error says, with what to do about it where that is known."""
    if error.code == AUTH_REQUIRED:
        return NotConfiguredError(
            f"{settings.title} is not signed in on this machine.",
            hint=f"Start {settings.title} in a terminal and sign in, or give its key in `env` or `env_file` of "
            f"[instances.{settings.instance}].",
            instance=settings.instance,
        )
    data = table(error.data)
    details = text(data.get("details")) or text(data.get("message")) or ""
    said = error.message if details in error.message else f"{error.message}: {details}"
    return ConflictError(f"{settings.title} refused: {shown(said, _LONGEST_QUOTE)}.")


@asynccontextmanager
async def open_agent(settings: AgentSettings, clock: Clock) -> AsyncGenerator[Agent]:
    """Run an agent program.

    Raises:
        NotConfiguredError: it is not installed.
        UnavailableError: it does not start.
    """
    program = find_program(settings.command, settings.environment)
    if program is None:
        raise NotConfiguredError(settings.how_to_install, instance=settings.instance)
    agents: list[Agent] = []

    def lost(why: ConnectionEnded) -> None:
        for agent in agents:
            agent.lost(why)

    failure: TertuliaError | None = (
        None  # raised outside of the connection, whose tasks would make a group of it
    )
    try:
        async with connected(
            [program, *settings.command[1:]],
            environment=settings.environment,
            listener=Listener(
                take=lambda incoming: agents[0].take(incoming),  # noqa: PLW0108 - it is there later
                ended=lost,
                caught_up=lambda: agents[0].caught_up(),  # noqa: PLW0108
                longest_line=settings.limits.response_bytes,
            ),
        ) as connection:
            agents.append(Agent(connection, settings, clock))
            try:
                await agents[0].initialize()
            except TertuliaError as error:
                failure = error
            else:
                yield agents[0]
    except OSError as error:
        raise UnavailableError(f"{settings.title} cannot be started: {error.strerror}.") from error
    if failure is not None:
        raise failure


class AgentHost:
    """Keeps one agent program for as long as `serve` is awaited."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._agent: Agent | None = None
        self._starting = anyio.Lock()
        self._tasks: anyio.abc.TaskGroup | None = None

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the program that `agent` starts, until this is cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    async def agent(self) -> Agent:
        """Return the running program, started if need be.

        Raises:
            NotConfiguredError: it is not installed.
            UnavailableError: it does not start.
        """
        assert self._tasks is not None, "only a worker keeps agents"
        async with self._starting:
            agent = self._agent
            if agent is None or not agent.usable:
                agent = self._agent = await self._tasks.start(self._keep)
            return agent

    async def _keep(self, *, task_status: anyio.abc.TaskStatus[Agent]) -> None:
        started = False
        try:
            async with open_agent(self._settings, self._clock) as agent:
                task_status.started(agent)
                started = True
                await agent.ended.wait()
        except Exception:  # what goes wrong with a program must not end the worker
            if not started:
                raise
            logger.exception("the program of %s could not be kept", self._settings.instance)


def _said(connection: Connection, settings: AgentSettings) -> str | None:
    """Return what the program wrote last to its standard error, without what its environment was given."""
    words = connection.last_words
    for value in settings.environment.values():
        if len(value) >= 8:
            words = words.replace(value, "(set)")
    return f"It said: {shown(words, _LONGEST_QUOTE)}." if words else None
