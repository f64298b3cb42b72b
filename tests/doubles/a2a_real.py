"""`python -m tests.doubles.a2a_real`: an agent on a server of a2a-sdk itself, 1.x or 0.3, that plays the same scripts.

Runs in an environment of its own (requirements/a2a.in, requirements/a2a03.in) and writes the port that it serves on to
stdout. Where a script holds, the agent waits until the test posts to `/release`.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false

import asyncio
import socket
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.doubles.a2a_scripts import (
    APPEND,
    ARTIFACT,
    AUTH,
    COMPLETE,
    FAIL,
    HOLD,
    INPUT,
    MESSAGE,
    REJECT,
    WORKING,
    Step,
    filled,
    script,
)

OLD = version("a2a-sdk").startswith("0.")

if OLD:
    from a2a.server.apps import A2AStarletteApplication
    from a2a.types import (
        AgentCapabilities,
        AgentCard,
        DataPart,
        FilePart,
        FileWithBytes,
        FileWithUri,
        Message,
        Part,
        Role,
        TextPart,
    )
    from a2a.utils import new_task
else:
    from a2a.helpers.proto_helpers import new_task_from_user_message as new_task
    from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
    from a2a.types import AgentCapabilities, AgentCard, AgentInterface, Message, Part, Role
    from google.protobuf.json_format import ParseDict


def part(value: Mapping[str, Any]) -> Any:
    """Return a part as the release has it."""
    if not OLD:
        return ParseDict(dict(value), Part())
    if "text" in value:
        return Part(root=TextPart(text=value["text"]))
    if "data" in value:
        data = value["data"]
        return Part(root=DataPart(data=data if isinstance(data, dict) else {"value": data}))
    named = {"name": value["filename"], "mime_type": value["mediaType"]}
    file = (
        FileWithUri(uri=value["url"], **named)
        if "url" in value
        else FileWithBytes(bytes=value["raw"], **named)
    )
    return Part(root=FilePart(file=file))


def text_message(text: str, context: RequestContext) -> Any:
    """Return a message of the agent's."""
    return Message(
        message_id=str(uuid.uuid4()),
        role=Role.agent if OLD else Role.ROLE_AGENT,
        parts=[part({"text": text})],
        context_id=context.context_id,
    )


class Player(AgentExecutor):
    """Plays scripts."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self._left: dict[str, list[Step]] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Play a message's script; or the rest of one whose question it answers."""
        answer = context.get_user_input()
        steps = self._left.pop(context.task_id or "", None)
        if steps is None:
            steps = [*script(answer)]
            if steps[0][0] == MESSAGE:
                await event_queue.enqueue_event(text_message(steps[0][1], context))
                return
            await event_queue.enqueue_event(new_task(context.message))
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.start_work()
        while steps:
            name, value = steps.pop(0)
            if name == HOLD:
                await self.released.wait()
            elif await self._play(updater, name, filled(value, answer)):
                self._left[context.task_id] = steps
                return
        await updater.complete()

    async def _play(self, updater: TaskUpdater, name: str, value: Any) -> bool:
        """Play a step; return whether the script stops there."""
        if name in {ARTIFACT, APPEND}:
            artifact_id, parts = value
            pieces: Sequence[Any] = [part(each) for each in parts]
            await updater.add_artifact(pieces, artifact_id=artifact_id, append=name == APPEND)
            return False
        said = None if value is None else updater.new_agent_message([part({"text": value})])
        moves = {
            WORKING: updater.start_work,
            INPUT: updater.requires_input,
            AUTH: updater.requires_auth,
            FAIL: updater.failed,
            REJECT: updater.reject,
            COMPLETE: updater.complete,
        }
        await moves[name](said)
        return name != WORKING

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop."""
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def application(player: Player, url: str) -> Starlette:
    """Return the server."""
    about: dict[str, Any] = {
        "name": "Travel Agent",
        "description": "Finds a way from here to there.",
        "version": "1",
        "default_input_modes": ["text/plain"],
        "default_output_modes": ["text/plain"],
        "skills": [],
        "capabilities": AgentCapabilities(streaming=True),
    }

    async def release(_: Request) -> Response:
        player.released.set()
        return Response()

    beside = [Route("/release", release, methods=["POST"])]
    if OLD:
        card = AgentCard(url=f"{url}/rpc", **about)
        handler = DefaultRequestHandler(agent_executor=player, task_store=InMemoryTaskStore())
        return A2AStarletteApplication(agent_card=card, http_handler=handler).build(
            rpc_url="/rpc", routes=beside
        )
    interface = AgentInterface(url=f"{url}/rpc", protocol_binding="JSONRPC", protocol_version="1.0")
    card = AgentCard(supported_interfaces=[interface], **about)
    handler = DefaultRequestHandler(agent_executor=player, task_store=InMemoryTaskStore(), agent_card=card)
    return Starlette(
        routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/rpc"), *beside]
    )


async def main() -> None:
    """Serve until the process is ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(application(Player(), f"http://127.0.0.1:{port}"), log_level="critical")
        )
        print(port, flush=True)
        await server.serve([listening])


if __name__ == "__main__":
    asyncio.run(main())
