"""An agent program that speaks the Agent Client Protocol (versions 1 and 2) and does what its prompts tell it.

Run as a program: `acp_agent.py FOLDER`. What it was sent stands in FOLDER/received.jsonl, a session's history in
FOLDER/ID.jsonl, so that another process can load it. FOLDER/knobs.json may have:

    {"start": "slow" | "hang" | "die" | "signed_out" | "future"}, {"default_mode": ID}, {"modes": [ID, …]},
    {"config_modes": true}, {"names_messages": false}, {"load": false}, {"deaf_to_cancel": true},
    {"version": 2}, {"old": true} (refuses to be asked for another version),
    {"forgetful": true} (writes no history), {"list": false} (not offered),
    {"unlisted": true} (lists none of its sessions), {"cwd": FOLDER} (of its sessions)

A prompt made by `script` is played; any other text is echoed. The steps:

    {"say": TEXT}, {"think": TEXT}, {"notice": TEXT}     stream a piece of the answer, of a thought, or a notice
    {"update": {…}}                                      send any other update
    {"ask": {…}, "options": […]}                         ask for permission for a tool call; then do or refuse it,
                                                         and say so, unless the call is `quiet`
    {"asks": [{…}, …]}                                   ask for several at once
    {"withdraw": {…}, "after": 0.3}                      ask, and take the question back after a while
    {"wait": FILE}                                       wait until a file is there
    {"hang": true}                                       wait until the turn is canceled
    {"die": true}, {"die": TEXT}                         end at once; TEXT is in the history as if said afterwards
    {"print": TEXT}, {"huge": SIZE}                      write what is no message; send one of that size
    {"call": METHOD}                                     send a request that nobody knows, and say the answer
    {"variable": NAME}, {"mode": true}, {"servers": true}   say what the environment, the mode, the session has
    {"options": true}                                    say what the session's options are set to
    {"whole": TEXT}                                      have the last piece replaced (version 2)
    {"stop": REASON, …}, {"error": {…}}                  end the turn so
"""

import json
import os
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OPTIONS = [
    {"optionId": "always", "name": "Always", "kind": "allow_always"},
    {"optionId": "once", "name": "Once", "kind": "allow_once"},
    {"optionId": "once-too", "name": "Once, and change the mode", "kind": "allow_once"},
    {"optionId": "no", "name": "No", "kind": "reject_once"},
]
MODES = ["ask", "plan", "auto"]
SETTABLE = {
    "model": ("model", ["small", "large"]),
    "effort": ("thought_level", ["low", "high"]),
    "sandbox": ("sandbox", ["on", "off"]),
}
"""The options of a session beside its mode, by id: category and values."""


def script(*steps: dict[str, Any]) -> str:
    """Return the message that has these steps played."""
    return json.dumps({"play": steps})


class Ended(Exception):
    """The turn ends; `result` or `error` is the answer to the prompt."""

    def __init__(self, **reply: Any) -> None:
        super().__init__()
        self.reply = reply


class AgentDouble:
    """The program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        knobs = folder / "knobs.json"
        self._knobs: dict[str, Any] = json.loads(knobs.read_text()) if knobs.exists() else {}
        self._two = self._knobs.get("version") == 2
        self._writing = threading.Lock()
        self._answers: dict[int, Any] = {}
        self._answered = threading.Condition()
        self._number = 1000
        self._cancelled: set[str] = set()
        self._modes: dict[str, str] = {}
        self._options: dict[str, dict[str, Any]] = {}
        self._servers: dict[str, Any] = {}

    def run(self) -> None:
        """Serve until the input ends."""
        (self._folder / "pid").write_text(str(os.getpid()))
        for line in sys.stdin.buffer:
            message = json.loads(line)
            with (self._folder / "received.jsonl").open("a") as log:
                log.write(json.dumps(message) + "\n")
            if "method" not in message:
                with self._answered:
                    self._answers[message["id"]] = message
                    self._answered.notify_all()
            elif message["method"] == "session/prompt":
                threading.Thread(target=self._prompted, args=[message], daemon=True).start()
            elif message["method"] == "session/cancel":
                if not self._knobs.get("deaf_to_cancel"):
                    with self._answered:
                        self._cancelled.add(message["params"]["sessionId"])
                        self._answered.notify_all()
            else:
                reply = self._reply(message["method"], message.get("params", {}))
                self._send({"id": message["id"], **reply})

    def _reply(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        session_id = params.get("sessionId", "")
        if method == "initialize":
            if self._knobs.get("old") and params.get("protocolVersion") != 1:
                return {"error": {"code": -32602, "message": "Invalid params"}}
            return {"result": self._initialized()}
        if method == "session/new":
            if self._knobs.get("start") == "signed_out":
                return {"error": {"code": -32000, "message": "Authentication required"}}
            session_id = str(uuid.uuid4())
            self._history(session_id).touch()
            return {"result": {"sessionId": session_id, **self._opened(session_id, params)}}
        if method == ("session/resume" if self._two else "session/load"):
            if not self._history(session_id).exists():
                return {"error": {"code": -32002, "message": "Resource not found"}}
            for line in self._history(session_id).read_text().splitlines():
                self._send_update(session_id, json.loads(line))
            if self._two:
                self._send_update(session_id, {"sessionUpdate": "state_update", "state": "idle"})
            return {"result": self._opened(session_id, params)}
        if method == "session/list":
            return {"result": self._page(params)}
        if method == "session/set_config_option" and params.get("configId") != "mode":
            self._options[session_id][params["configId"]] = params["value"]
            return {"result": {"configOptions": self._config(session_id)}}
        if method == "session/close":
            return {"result": {}}
        if method in {"session/set_mode", "session/set_config_option"}:
            if self._two and params.get("type") != "id":
                return {"error": {"code": -32602, "message": "Invalid params"}}
            mode = str(params.get("modeId", params.get("value")))
            self._modes[session_id] = mode
            self._send_update(session_id, {"sessionUpdate": "current_mode_update", "currentModeId": mode})
            return {"result": {}}
        return {"error": {"code": -32601, "message": f"no {method}"}}

    def _initialized(self) -> dict[str, Any]:
        start = self._knobs.get("start")
        if start == "die":
            sys.stderr.write(f"cannot read the key {os.environ.get('AGENT_KEY')}\n")
            sys.stderr.flush()
            os._exit(3)
        while start == "hang":
            time.sleep(60)
        if start == "slow":
            time.sleep(0.5)
        sessions: dict[str, Any] = {"list": {}, "close": {}} if self._knobs.get("list", True) else {}
        if self._two:
            prompt: dict[str, Any] = {"image": {}} if self._knobs.get("images") else {}
            declared: dict[str, Any] = {"session": {"prompt": prompt, "mcp": {"stdio": {}}}}
            return {
                "protocolVersion": 2,
                "info": {"name": "double", "version": "1"},
                "capabilities": declared,
            }
        return {
            "protocolVersion": 99 if start == "future" else 1,
            "agentInfo": {"name": "double", "version": "1"},
            "agentCapabilities": {
                "loadSession": self._knobs.get("load", True),
                "promptCapabilities": {"image": bool(self._knobs.get("images"))},
                "mcpCapabilities": {},
                "sessionCapabilities": sessions,
            },
            "authMethods": [],
        }

    def _opened(self, session_id: str, params: dict[str, Any]) -> dict[str, Any]:
        modes = self._knobs.get("modes", MODES)
        current = self._modes[session_id] = self._knobs.get("default_mode", "auto")
        self._servers[session_id] = params.get("mcpServers")
        self._options[session_id] = {}
        told = {"configOptions": self._config(session_id)}
        if self._two or self._knobs.get("config_modes"):
            return told
        named = [{"id": mode, "name": mode} for mode in modes]
        return {**told, "modes": {"currentModeId": current, "availableModes": named}}

    def _config(self, session_id: str) -> list[dict[str, Any]]:
        """Return the options of a session as they are."""
        settable = {**SETTABLE, "mode": ("mode", self._knobs.get("modes", MODES))}
        if not (self._two or self._knobs.get("config_modes")):
            del settable["mode"]
        named = "configId" if self._two else "id"
        return [
            {
                named: name,
                "category": category,
                "type": "select",
                "options": [{"value": value, "name": value} for value in values],
                "currentValue": self._options[session_id].get(name),
            }
            for name, (category, values) in settable.items()
        ]

    def _page(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return two of the sessions, and where the next begin."""
        found = [] if self._knobs.get("unlisted") else sorted(self._folder.glob("*-*.jsonl"))
        start = int(params.get("cursor") or 0)
        sessions = [
            {
                "sessionId": one.stem,
                "cwd": self._knobs.get("cwd", str(self._folder)),
                "title": f"Session {one.stem}",
                "updatedAt": datetime.fromtimestamp(one.stat().st_mtime, UTC).isoformat(),
            }
            for one in found[start : start + 2]
        ]
        return {"sessions": sessions, "nextCursor": str(start + 2) if start + 2 < len(found) else None}

    def _prompted(self, message: dict[str, Any]) -> None:
        session_id = message["params"]["sessionId"]
        self._cancelled.discard(session_id)
        text = "".join(block.get("text", "") for block in message["params"]["prompt"])
        content = {"type": "text", "text": text}
        message_id = str(uuid.uuid4()) if self._two or self._knobs.get("names_messages", True) else None
        said = {"sessionUpdate": "user_message_chunk", "content": content, "messageId": message_id}
        self._keep(session_id, said)
        if self._two:
            self._send({"id": message["id"], "result": {"messageId": message_id}})
            self._send_update(session_id, {**said, "sessionUpdate": "user_message", "content": [content]})
            self._send_update(session_id, {"sessionUpdate": "state_update", "state": "running"})
        try:
            steps = json.loads(text)["play"]
        except (ValueError, TypeError, KeyError):
            steps = [{"say": f"You said: {text}"}]
        reply: dict[str, Any] = {"result": {"stopReason": "end_turn"}}
        turn = str(uuid.uuid4())
        try:
            for number, step in enumerate(steps):
                self._play(session_id, f"{turn}-{number}", step)
                if session_id in self._cancelled:
                    raise Ended(result={"stopReason": "cancelled"})
        except Ended as end:
            reply = end.reply
        except Exception as error:  # noqa: BLE001 - the test is told
            reply = {"error": {"code": -32603, "message": f"the double failed: {error!r}"}}
        if not self._two:
            self._send({"id": message["id"], **reply})
            return
        idle = {"sessionUpdate": "state_update", "state": "idle", **reply.get("result", {})}
        if "error" in reply:
            idle |= {"stopReason": "error", "error": reply["error"]}
        self._send_update(session_id, idle)

    def _play(self, session_id: str, part: str, step: dict[str, Any]) -> None:
        match step:
            case {"say": text}:
                named = {"messageId": part} if self._knobs.get("names_messages", True) else {}
                self._tell(session_id, "agent_message_chunk", content={"type": "text", "text": text}, **named)
            case {"whole": text}:
                turn, _, number = part.rpartition("-")
                last = {"messageId": f"{turn}-{int(number) - 1}"}
                self._tell(session_id, "agent_message", content=[{"type": "text", "text": text}], **last)
            case {"think": text}:
                self._tell(session_id, "agent_thought_chunk", content={"type": "text", "text": text})
            case {"notice": text} if self._two:
                self._send_update(
                    session_id, {"sessionUpdate": "notice", "severity": "warning", "title": text}
                )
            case {"notice": text}:
                self._tell(session_id, "agent_message_chunk", content={"type": "text", "text": text})
            case {"update": update}:
                self._keep(session_id, update)
                self._send_update(session_id, update)
            case {"ask": call}:
                self._asked(session_id, part, self._ask(session_id, call, step.get("options", OPTIONS)), call)
            case {"asks": calls}:
                numbers = [self._ask(session_id, call, OPTIONS) for call in calls]
                for number, call in zip(numbers, calls, strict=True):
                    self._asked(session_id, part, number, call)
            case {"withdraw": call}:
                number = self._ask(session_id, call, OPTIONS)
                time.sleep(step.get("after", 0.3))
                self._send({"method": "$/cancel_request", "params": {"requestId": number}})
            case {"wait": file}:
                while not Path(file).exists() and session_id not in self._cancelled:
                    time.sleep(0.01)
            case {"hang": _}:
                self._await(session_id, None)
            case {"die": last}:
                if isinstance(last, str):
                    content = {"type": "text", "text": last}
                    self._keep(
                        session_id,
                        {"sessionUpdate": "agent_message_chunk", "content": content, "messageId": "late"},
                    )
                os._exit(1)
            case {"print": text}:
                with self._writing:
                    sys.stdout.write(text + "\n")
                    sys.stdout.flush()
            case {"huge": size}:
                commands = [{"name": "x" * size, "description": "y"}]
                self._send_update(
                    session_id, {"sessionUpdate": "available_commands_update", "availableCommands": commands}
                )
            case {"call": method}:
                answer = self._await(session_id, self._request(method, {"sessionId": session_id}))
                self._play(session_id, part, {"say": json.dumps(answer.get("error", {}).get("code"))})
            case {"variable": name}:
                self._play(session_id, part, {"say": f"{name}={os.environ.get(name)}"})
            case {"mode": _}:
                self._play(session_id, part, {"say": f"mode={self._modes[session_id]}"})
            case {"options": _}:
                self._play(session_id, part, {"say": json.dumps(self._options[session_id])})
            case {"servers": _}:
                self._play(session_id, part, {"say": json.dumps(self._servers[session_id])})
            case {"stop": reason, **more}:
                raise Ended(result={"stopReason": reason, **more})
            case {"error": error}:
                raise Ended(error=error)
            case _:
                raise AssertionError(f"no such step: {step}")

    def _ask(self, session_id: str, call: dict[str, Any], options: list[Any]) -> int:
        if not call.get("unannounced"):
            named = "tool_call_update" if self._two else "tool_call"
            self._tell(session_id, named, **{"status": "pending", **call})
        params = {"sessionId": session_id, "toolCall": call, "options": options}
        if self._two:
            self._send_update(session_id, {"sessionUpdate": "state_update", "state": "requires_action"})
            params = {
                "sessionId": session_id,
                "title": "May it?",
                "subject": {"type": "tool_call", "toolCall": call},
                "options": options,
            }
        return self._request("session/request_permission", params)

    def _asked(self, session_id: str, part: str, number: int, call: dict[str, Any]) -> None:
        outcome = self._await(session_id, number)["result"]["outcome"]
        allowed = outcome.get("optionId") == "once"
        status = "completed" if allowed else "failed"
        about = {"toolCallId": call["toolCallId"], "status": status}
        self._tell(session_id, "tool_call_update", **about, rawOutput={"ran": allowed})
        if call.get("quiet"):
            return
        told = outcome.get("optionId", outcome["outcome"])
        self._play(session_id, f"{part}-{call['toolCallId']}", {"say": f"[{call['toolCallId']}: {told}]"})

    def _await(self, session_id: str, number: int | None) -> Any:
        """Wait for the answer to a request, or for the turn to be canceled (a client answers what is open then)."""
        with self._answered:
            while number not in self._answers:
                if number is None and session_id in self._cancelled:
                    return None
                self._answered.wait(1)
            return self._answers[number]

    def _tell(self, session_id: str, said: str, /, **update: Any) -> None:
        told = {"sessionUpdate": said, **update}
        self._keep(session_id, told)
        self._send_update(session_id, told)

    def _keep(self, session_id: str, update: dict[str, Any]) -> None:
        if self._knobs.get("forgetful"):
            return
        with self._history(session_id).open("a") as history:
            history.write(json.dumps(update) + "\n")

    def _history(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.jsonl"

    def _send_update(self, session_id: str, update: dict[str, Any]) -> None:
        self._send({"method": "session/update", "params": {"sessionId": session_id, "update": update}})

    def _request(self, method: str, params: dict[str, Any]) -> int:
        with self._writing:
            self._number += 1
            number = self._number
        self._send({"id": number, "method": method, "params": params})
        return number

    def _send(self, message: dict[str, Any]) -> None:
        with self._writing:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    AgentDouble(Path(sys.argv[1])).run()
