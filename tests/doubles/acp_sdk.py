# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false
"""An echo agent on the SDK of the Agent Client Protocol: what its own types and server make of what we send.

Run by the interpreter of .venv-acp: `acp_sdk.py FOLDER`, where the sessions are kept. It says back what it is told; a
prompt with `ask` asks first whether it may, and `die` ends the program in the middle of the answer.
"""

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import acp
from acp import schema


class EchoAgent(acp.Agent):
    """Keeps each session as a file of who said what."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._client: Any = None
        self._mode = "auto"

    def on_connect(self, conn: Any) -> None:
        """Keep the connection to the client."""
        self._client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        """Offer to load and to list sessions."""
        sessions = schema.SessionCapabilities(list=schema.SessionListCapabilities())
        return schema.InitializeResponse(
            protocol_version=acp.PROTOCOL_VERSION,
            agent_capabilities=schema.AgentCapabilities(load_session=True, session_capabilities=sessions),
        )

    async def new_session(self, cwd: str, **_: Any) -> schema.NewSessionResponse:
        """Begin a session in the mode in which it asks nobody."""
        session_id = str(uuid.uuid4())
        self._file(session_id).write_text(json.dumps(["cwd", cwd]) + "\n")
        return schema.NewSessionResponse(session_id=session_id, modes=self._modes())

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> schema.LoadSessionResponse:
        """Replay a session."""
        for line in self._file(session_id).read_text().splitlines():
            who, said = json.loads(line)
            block = acp.text_block(said)
            if who == "user":
                chunk = schema.UserMessageChunk(session_update="user_message_chunk", content=block)
                await self._client.session_update(session_id=session_id, update=chunk)
            elif who == "agent":
                await self._client.session_update(
                    session_id=session_id, update=acp.update_agent_message(block)
                )
        return schema.LoadSessionResponse(modes=self._modes())

    async def list_sessions(self, **_: Any) -> schema.ListSessionsResponse:
        """List all sessions."""
        found = [
            schema.SessionInfo(
                session_id=file.stem, cwd=json.loads(file.read_text().splitlines()[0])[1], title="Echo"
            )
            for file in sorted(self._folder.glob("*.jsonl"))
        ]
        return schema.ListSessionsResponse(sessions=found)

    async def set_session_mode(
        self, session_id: str, mode_id: str, **_: Any
    ) -> schema.SetSessionModeResponse:
        """Set the mode."""
        self._mode = mode_id
        return schema.SetSessionModeResponse()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        """Answer."""
        said = "".join(block.text for block in prompt if block.type == "text")
        self._keep(session_id, "user", said)
        allowed = "ask" not in said.split() or await self._may(session_id)
        answer = f"In the mode {self._mode}: {said}" if allowed else "Then not."
        for word in answer.split(" "):
            piece = acp.update_agent_message(acp.text_block(f"{word} "))
            await self._client.session_update(session_id=session_id, update=piece)
            if word == "die":
                os._exit(1)
        self._keep(session_id, "agent", answer)
        return schema.PromptResponse(stop_reason="end_turn")

    async def cancel(self, session_id: str, **_: Any) -> None:
        """Have nothing to stop."""

    async def _may(self, session_id: str) -> bool:
        call = schema.ToolCallUpdate(
            tool_call_id="echo", title="Echo", kind="execute", raw_input={"loud": True}
        )
        options = [
            schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
            schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
        ]
        answer = await self._client.request_permission(session_id=session_id, tool_call=call, options=options)
        return getattr(answer.outcome, "option_id", None) == "yes"

    def _modes(self) -> schema.SessionModeState:
        modes = [schema.SessionMode(id=name, name=name) for name in ("ask", "auto")]
        return schema.SessionModeState(current_mode_id=self._mode, available_modes=modes)

    def _keep(self, session_id: str, who: str, said: str) -> None:
        with self._file(session_id).open("a") as file:
            file.write(json.dumps([who, said]) + "\n")

    def _file(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.jsonl"


if __name__ == "__main__":
    asyncio.run(acp.run_agent(EchoAgent(Path(sys.argv[1]))))
