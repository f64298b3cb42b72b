"""`python -m tests.doubles.a2a_frameworks NAME`: an agent of a framework (adk, fasta2a), served as that does it.

Runs in the framework's environment and writes the port that it serves on to stdout. The agent has no model: it echoes a
message, and tells how many it got in the conversation.
"""

# pyright: basic, reportMissingImports=false

import asyncio
import socket
import sys
import warnings
from collections.abc import AsyncGenerator
from typing import Any

import uvicorn


def adk(url: str, port: int) -> Any:
    """Return an agent of Google's, behind `to_a2a`."""
    from google.adk.a2a.utils.agent_to_a2a import to_a2a
    from google.adk.agents.base_agent import BaseAgent
    from google.adk.events.event import Event
    from google.genai import types

    warnings.simplefilter("ignore")

    class Echo(BaseAgent):
        """Echoes, in pieces and then as a whole, as models of ADK's do."""

        async def _run_async_impl(self, ctx: Any) -> AsyncGenerator[Any]:
            text = "".join(part.text or "" for part in ctx.user_content.parts)
            number = sum(event.author == "user" for event in ctx.session.events)

            def event(words: str, *, partial: bool) -> Any:
                content = types.Content(role="model", parts=[types.Part(text=words)])
                return Event(
                    author=self.name, invocation_id=ctx.invocation_id, content=content, partial=partial
                )

            yield event("You said: ", partial=True)
            yield event(f"You said: {text} ({number})", partial=False)

    return to_a2a(Echo(name="echo", description="Echoes."), host="127.0.0.1", port=port)


def fasta2a(url: str, port: int) -> Any:
    """Return an agent of Pydantic's, behind `agent_to_a2a`."""
    from fasta2a.pydantic_ai import agent_to_a2a
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, UserPromptPart
    from pydantic_ai.models.function import FunctionModel

    def echo(messages: list[Any], _: Any) -> ModelResponse:
        said = [part.content for each in messages for part in each.parts if isinstance(part, UserPromptPart)]
        last = said[-1] if isinstance(said[-1], str) else said[-1][0]
        return ModelResponse(parts=[TextPart(f"You said: {last} ({len(said)})")])

    return agent_to_a2a(Agent(FunctionModel(echo)), name="echo", description="Echoes.", url=url)


async def main(name: str) -> None:
    """Serve until the process is ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = {"adk": adk, "fasta2a": fasta2a}[name](f"http://127.0.0.1:{port}", port)
        print(port, flush=True)
        await uvicorn.Server(uvicorn.Config(app, log_level="critical")).serve([listening])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
