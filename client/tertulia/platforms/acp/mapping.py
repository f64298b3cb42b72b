"""The updates of a session in our words, and a session's replayed history as turns.

Both versions of the protocol are read: what is there in one only has names that the other does not use. What nobody
here knows is kept as it came, under its own name.
"""

import hashlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.models import RequestDraft, RequestKind

SILENCE = "silence"
"""The name under which it is told that an agent gave no sign of life (`seconds`)."""
NOTICE = "notice"
LONGEST_SHOWN = 2_000
"""The most characters of a diff or a command in the question about it; the whole is in its arguments."""

_LONGEST_TITLE = 200
_DROPPED = frozenset(
    {
        "available_commands_update",
        "config_option_update",
        "user_message_chunk",
        "user_message",
        "state_update",
    }
)
"""Updates that tell nothing of an answer; the first can have half a million characters, again and again."""
_LONGEST_OUTPUT = 100_000
"""The most characters that are kept of what a terminal shows: the last ones."""
_WARNINGS = ("Warning:", "**Warning:**")
_DONE = {"completed": "ok", "failed": "error", "cancelled": "error"}


@dataclass(frozen=True, slots=True)
class Option:
    """What a permission request can be answered with."""

    id: str
    kind: str


@dataclass(slots=True)
class ToolCall:
    """A tool call as its updates have told of it until now."""

    id: str
    known: dict[str, Any] = field(default_factory=dict[str, Any])
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the journal has of it."""

    def update(self, update: Mapping[str, Any]) -> None:
        """Take what an update changes."""
        self.known |= {name: value for name, value in update.items() if value not in (None, [], {})}

    @property
    def tool(self) -> str:
        """The tool's name, or its kind where it has none."""
        meta = table(table(self.known.get("_meta")).get("claudeCode"))
        named = text(self.known.get("name")) or text(meta.get("toolName"))
        return named or text(self.known.get("kind")) or "tool"

    @property
    def title(self) -> str:
        """What the call does, in a line."""
        title = text(self.known.get("title")) or self.tool
        paths = [path for path in self.paths if path not in title]
        return f"{title} ({', '.join(paths)})" if paths else title

    @property
    def paths(self) -> Sequence[str]:
        """The files that it is about."""
        located = [text(one.get("path")) for one in tables(self.known.get("locations"))]
        return [path for path in located if path]

    @property
    def diffs(self) -> Sequence[Mapping[str, Any]]:
        """The changes of files that it makes.

        Each has `path`, `old` (None for a new file) and `new`; or, where the agent says so, `changes` (of each file
        `operation`, `path` and, where it had another, `oldPath`) and the `patch`.
        """
        return [_change_of(one) for one in tables(self.known.get("content")) if one.get("type") == "diff"]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """All that is known of what it is going to do."""
        given = table(self.known.get("rawInput"))
        shown: dict[str, Any] = dict(given) if given else {"title": self.title}
        if self.diffs:
            shown["diff"] = self.diffs
        if self.paths and "locations" not in shown:
            shown["locations"] = self.paths
        return shown

    def result(self, terminals: Mapping[str, "Terminal"]) -> Any:
        """Return what came of it; `terminals` are those that a call may have used, by id."""
        raw = self.known.get("rawOutput")
        if raw is not None:
            return raw
        said = [
            terminals[str(one.get("terminalId"))].shown()
            if one.get("type") == "terminal" and one.get("terminalId") in terminals
            else text(table(one.get("content")).get("text"))
            for one in tables(self.known.get("content"))
        ]
        return "\n".join(part for part in said if part) or None


@dataclass(slots=True)
class Terminal:
    """What a terminal of the agent's has shown until now, and how its command ended."""

    output: str = ""
    code: int | None = None

    def update(self, update: Mapping[str, Any]) -> None:
        """Take what an update says: more output (`data`) or all of it by now (`output`), and the end."""
        if update.get("data") is not None:
            self.output = (self.output + _decoded(update["data"]))[-_LONGEST_OUTPUT:]
        if table(update.get("output")):
            self.output = _decoded(table(update["output"]).get("data"))[-_LONGEST_OUTPUT:]
        code = table(update.get("exitStatus")).get("exitCode")
        if isinstance(code, int):
            self.code = code

    def shown(self) -> str | None:
        """Return what it showed; and how the command ended, where that is no success."""
        ended = f"exit code {self.code}" if self.code else None
        return "\n".join(filter(None, (self.output.rstrip(), ended))) or None


class UpdateMapper:
    """Maps the updates of one turn, in order. `entries` are what the journal has of the run already."""

    def __init__(
        self, entries: Sequence[JournalEntry] = (), *, names_messages: bool = False, titled: bool = False
    ) -> None:
        self._names_messages = names_messages
        self._titled = titled
        self._calls: dict[str, ToolCall] = {}
        self._terminals: dict[str, Terminal] = {}
        self._said: dict[str, str] = {}
        """What each message of the answer says by now."""
        self._part = sum(entry.kind is EventKind.TOOL_CALL_START for entry in entries)
        self._last_text = ""
        self._failed = False

    @property
    def failure(self) -> str | None:
        """What the agent said last, where it has said that its model failed though the turn ends as any other."""
        return (self._last_text.strip() or "its model failed") if self._failed else None

    @property
    def answer(self) -> str:
        """The text of the answer as it is by now."""
        return "\n\n".join(part.strip() for part in self._said.values() if part.strip())

    def events(self, update: Mapping[str, Any]) -> list[Event]:
        """Return what an update tells."""
        kind = text(update.get("sessionUpdate")) or "update"
        if kind == "agent_message_chunk":
            return self._text(update)
        if kind == "agent_message":
            return self._whole(update)
        if kind in {"agent_thought_chunk", "agent_thought"}:
            thought = _texts(update.get("content"))
            return [Event(EventKind.REASONING, {"delta": thought})] if thought else []
        if kind in {"tool_call", "tool_call_update"}:
            return self.tool_events(update)
        if kind == "tool_call_content_chunk":
            call = self.call({"toolCallId": update.get("toolCallId")})
            call.update({"content": [*tables(call.known.get("content")), table(update.get("content"))]})
            return []
        if kind == "session_info_update":
            return self._session_info(update)
        if kind in {"terminal_update", "terminal_output_chunk"}:
            self._terminals.setdefault(str(update.get("terminalId")), Terminal()).update(update)
            return []
        if kind == NOTICE:
            words = [text(update.get("title")), text(update.get("description"))]
            return [notice("\n".join(filter(None, words)))]
        if kind in _DROPPED:
            return []
        names = {"usage_update": "usage", "current_mode_update": "mode"}
        payload = {name: value for name, value in update.items() if name != "sessionUpdate"}
        return [Event(EventKind.RAW, {"name": names.get(kind, kind), "payload": payload})]

    def tool_events(self, update: Mapping[str, Any]) -> list[Event]:
        """Return what an update of a tool call tells, or a request about one: only what was not told before."""
        call = self.call(update)
        about = {"tool_call_id": call.id}
        events: list[Event] = []
        if not call.told:
            self._part += 1  # what is said from here on is another paragraph
            events.append(Event(EventKind.TOOL_CALL_START, {**about, "tool": call.tool, **_kind(call)}))
        given = table(call.known.get("rawInput"))
        if given and given != call.told.get("given"):
            events.append(Event(EventKind.TOOL_CALL_ARGS, {**about, "arguments": given}))
        if call.title != call.told.get("title", call.tool):
            events.append(Event(EventKind.TOOL_CALL_PROGRESS, {**about, "message": call.title}))
        outcome = _DONE.get(str(call.known.get("status")))
        if outcome is not None and outcome != call.told.get("outcome"):
            result = {"result": call.result(self._terminals), "outcome": outcome, **_diff(call)}
            events += [
                Event(EventKind.TOOL_CALL_END, about),
                Event(EventKind.TOOL_CALL_RESULT, {**about, **result}),
            ]
        call.told = {"given": given, "title": call.title, "outcome": outcome}
        return events

    def call(self, update: Mapping[str, Any]) -> ToolCall:
        """Return a tool call as it is after an update."""
        call_id = text(update.get("toolCallId")) or "?"
        call = self._calls.setdefault(call_id, ToolCall(call_id))
        call.update(update)
        return call

    def _text(self, update: Mapping[str, Any]) -> list[Event]:
        content = table(update.get("content"))
        said = text(content.get("text"))
        if said is None:
            return [Event(EventKind.RAW, {"name": "content", "payload": dict(content)})] if content else []
        message_id = text(update.get("messageId"))
        warns = said.lstrip().startswith(_WARNINGS)
        self._last_text = self._last_text if warns else said
        if message_id is None and (self._names_messages or warns):
            return [notice(said.strip())]
        return self._add(message_id or f"part-{self._part}", said)

    def _add(self, message_id: str, said: str) -> list[Event]:
        self._said[message_id] = self._said.get(message_id, "") + said
        return [Event(EventKind.TEXT_MESSAGE_CONTENT, {"message_id": message_id, "delta": said})]

    def _whole(self, update: Mapping[str, Any]) -> list[Event]:
        """Return what an update tells that has a message of the answer as it is by now."""
        message_id, content = text(update.get("messageId")), update.get("content")
        if message_id is None or not isinstance(content, list):
            return []
        said, before = _texts(cast("list[Any]", content)), self._said.get(message_id, "")
        if said.startswith(before):
            return self._add(message_id, said[len(before) :]) if said != before else []
        self._said[message_id] = said
        return [Event(EventKind.SNAPSHOT, {"text": self.answer})]

    def _session_info(self, update: Mapping[str, Any]) -> list[Event]:
        status = table(table(table(update.get("_meta")).get("codex")).get("threadStatus"))
        if status.get("type") == "systemError":
            self._failed = True
        title = text(update.get("title"))
        if title is None or self._titled:
            return []
        return [Event(EventKind.TITLE_UPDATED, {"title": " ".join(title.split())[:_LONGEST_TITLE]})]


def permission(call: ToolCall, *, title: str, request_id: int | str) -> RequestDraft:
    """Return the question whether a tool may run, with the whole call in its arguments."""
    lines = [f"May {title} do this? {call.title}"]
    lines += [_shown_change(one) for one in call.diffs]
    return RequestDraft(
        kind=RequestKind.CONFIRMATION,
        prompt="\n\n".join(lines),
        tool=call.tool,
        arguments=call.arguments,
        tool_call_id=call.id,
        upstream_id=f"{call.id} {request_id}",
    )


def options(params: Mapping[str, Any]) -> Sequence[Option]:
    """Return what a permission request can be answered with."""
    read = ((text(one.get("optionId")), text(one.get("kind"))) for one in tables(params.get("options")))
    return [Option(own_id, kind or "") for own_id, kind in read if own_id is not None]


def chosen(given: Sequence[Option], *, approved: bool) -> Option | None:
    """Return the option for a decision: the first of its kind. What would decide about later calls is never chosen."""
    kind = "allow_once" if approved else "reject_once"
    return next((one for one in given if one.kind == kind), None)


@dataclass(slots=True)
class Turn:
    """A message of the user's in a session's history, and the updates that follow it."""

    said: str
    message_id: str | None = None
    updates: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    def answer(self, *, names_messages: bool) -> str:
        """Return the text of the answer."""
        mapper = UpdateMapper(names_messages=names_messages)
        for update in self.updates:
            mapper.events(update)
        return mapper.answer


def turns(updates: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Return the turns of a replayed history.

    Where messages have no ids, each text is a message: some were never answered, and the next follows at once.
    """
    found: list[Turn] = []
    for update in updates:
        kind = update.get("sessionUpdate")
        if kind not in {"user_message_chunk", "user_message"}:
            if found:
                found[-1].updates.append(update)
            continue
        said = _texts(update.get("content"))
        message_id = text(update.get("messageId"))
        last = found[-1] if found else None
        goes_on = not said if message_id is None else last is not None and last.message_id == message_id
        if last is not None and not last.updates and goes_on:
            last.said = said if kind == "user_message" else last.said + said
        else:
            found.append(Turn(said, message_id))
    return found


def notice(said: str) -> Event:
    """Return what tells something that is no part of the answer."""
    return Event(EventKind.RAW, {"name": NOTICE, "payload": {"text": said}})


def _texts(content: Any) -> str:
    """Return the text of one block of content, or of several."""
    blocks = tables(cast("list[Any]", content)) if isinstance(content, list) else [table(content)]
    return "".join(text(block.get("text")) or "" for block in blocks)


def fingerprint(said: str) -> str:
    """Return what tells a message from others where its words are not kept."""
    return hashlib.sha256(said.strip().encode("utf-8", "replace")).hexdigest()[:16]


def _kind(call: ToolCall) -> Mapping[str, Any]:
    known = {"kind": text(call.known.get("kind")), "locations": list(call.paths)}
    return {name: value for name, value in known.items() if value}


def _diff(call: ToolCall) -> Mapping[str, Any]:
    return {"diff": call.diffs} if call.diffs else {}


def _change_of(diff: Mapping[str, Any]) -> Mapping[str, Any]:
    if "changes" not in diff:
        return {"path": diff.get("path"), "old": diff.get("oldText"), "new": diff.get("newText")}
    names = ("operation", "path", "oldPath")
    changes = [{name: one[name] for name in names if one.get(name)} for one in tables(diff["changes"])]
    return {"changes": changes, "patch": text(table(diff.get("patch")).get("text"))}


def _shown_change(diff: Mapping[str, Any]) -> str:
    """Return a change as a person reads it who decides about it: its beginning, where it is long."""
    if "changes" in diff:
        files = "\n".join(" ".join(map(str, one.values())) for one in diff["changes"])
        whole = "\n".join(filter(None, (files, diff["patch"])))
    else:
        from difflib import unified_diff  # for the rare call that changes a file

        old, new = str(diff["old"] or "").splitlines(), str(diff["new"] or "").splitlines()
        lines = [*unified_diff(old, new, lineterm="", n=2)][2:]
        whole = "\n".join([f"{diff['path']}:", *lines])
    return (
        whole if len(whole) <= LONGEST_SHOWN else f"{whole[:LONGEST_SHOWN]}\n… (the whole is in `arguments`)"
    )


def _decoded(data: Any) -> str:
    """Return what a terminal showed: it comes in base64, and as it is if it does not."""
    shown = text(data) or ""
    try:
        return b64decode(shown, validate=True).decode("utf-8", "replace")
    except ValueError:
        return shown
