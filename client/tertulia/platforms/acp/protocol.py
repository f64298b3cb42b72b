"""What differs between the versions of the protocol: where an agent says what it can do, and how some calls are made.

In version 1 the answer to a prompt is the end of its turn. In version 2 it says that the prompt was accepted, and the
session's state tells the end. Version 2 has messages and tool calls as they are by now (`agent_message`,
`tool_call_update`) beside the pieces that are added to them, and terminals apart from the calls that use them.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from tertulia.platforms.acp.connection import Reply, reply_of
from tertulia.platforms.kit.http.values import table, tables, text

VERSIONS = (2, 1)
"""The versions that are spoken here, the one to be asked for first."""
_PATHS: Mapping[int, Mapping[str, Sequence[str]]] = {
    1: {
        "load": ("loadSession",),
        "list": ("sessionCapabilities", "list"),
        "close": ("sessionCapabilities", "close"),
        "image": ("promptCapabilities", "image"),
        "http": ("mcpCapabilities", "http"),
        "sse": ("mcpCapabilities", "sse"),
    },
    2: {
        "load": ("session",),
        "list": ("session",),
        "close": ("session",),
        "image": ("session", "prompt", "image"),
        "http": ("session", "mcp", "http"),
        "sse": ("session", "mcp", "sse"),
    },
}
"""By version and by what an agent may offer: where it declares that."""


def initialize_params(highest: int) -> Mapping[str, Any]:
    """Return how a client presents itself that speaks the versions up to `highest`, in the terms of each."""
    about = {"name": "tertulia", "title": "Tertulia", "version": version("tertulia")}
    fs = {"readTextFile": False, "writeTextFile": False}
    params = {
        "protocolVersion": highest,
        "clientCapabilities": {"fs": fs, "terminal": False},
        "clientInfo": about,
    }
    return params if highest == 1 else {**params, "capabilities": {}, "info": about}


class Protocol:
    """The version that an agent speaks, and what it offers."""

    def __init__(self, spoken: int, initialized: Mapping[str, Any]) -> None:
        self.version = spoken
        self._declared = table(initialized.get("agentCapabilities" if spoken == 1 else "capabilities"))

    @property
    def ends_by_state(self) -> bool:
        """Whether the session's state tells the end of a turn, rather than the answer to the prompt."""
        return self.version > 1

    def offers(self, what: str) -> bool:
        """Whether the agent declares that it can `load`, `list` or `close` sessions, take `image`, reach `http`."""
        value: Any = self._declared
        for name in _PATHS[self.version].get(what, ()):
            value = table(value).get(name)
        return value is not None and value is not False

    def load(self, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Return the call that opens a session again and replays its history."""
        if self.version == 1:
            return "session/load", params
        return "session/resume", {**params, "replayFrom": {"type": "start"}}

    def mcp_servers(self, servers: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return the MCP servers of kinds that the agent connects to, as this version has them."""
        known = {} if self.version == 1 else {"type": "stdio"}
        return [
            {**known, **one} if "command" in one else one
            for one in servers
            if "command" in one or self.offers(str(one["type"]))
        ]

    def set_option(self, option: Mapping[str, Any], value: str | bool) -> Mapping[str, Any]:
        """Return what sets an option of a session to a value."""
        params: dict[str, Any] = {"configId": option_id(option), "value": value}
        if isinstance(value, bool):
            return {**params, "type": "boolean"}
        return params if self.version == 1 else {**params, "type": "id"}


def option_id(option: Mapping[str, Any]) -> str:
    """Return the id of an option of a session."""
    return text(option.get("configId")) or text(option.get("id")) or ""


def option_values(option: Mapping[str, Any]) -> list[str | bool]:
    """Return what an option of a session can be set to, whether or not its values are in groups."""
    if option.get("type") == "boolean":
        return [True, False]
    flat = [one for each in tables(option.get("options")) for one in (tables(each.get("options")) or [each])]
    return [value for one in flat if (value := text(one.get("value"))) is not None]


def end_of_turn(update: Mapping[str, Any]) -> Reply | None:
    """Return the end of a turn that an update of the session's state tells, as version 1 has it; else None."""
    if update.get("sessionUpdate") != "state_update" or update.get("state") != "idle":
        return None
    failed = table(update.get("error"))
    return reply_of({"error": failed}) if failed else Reply(update)


def asked_about(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tool call that a permission is asked for; what is asked about no call is described as one."""
    subject = table(params.get("subject"))
    call = table(params.get("toolCall")) or table(subject.get("toolCall"))
    if call:
        return call
    described = {name: params.get(name) for name in ("title", "description") if params.get(name)}
    return {"title": text(params.get("title")) or "an action", "rawInput": {**described, **subject}}
