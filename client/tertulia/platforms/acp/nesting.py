"""Which conversations an agent was reached through: one that uses Tertulia itself must not talk in circles.

An MCP server that an agent starts is given the chain in its environment. Where that server is Tertulia, a message that
it sends has the chain in its metadata; so the worker, which knows neither server, can go on with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.models import Message

VARIABLE = "TERTULIA_WITHIN"
"""The environment variable with the chain: ids of conversations, from the outermost, divided by spaces."""
WITHIN = "within"
"""The key of a message's metadata that has it."""
DEEPEST = 3
"""How many conversations may be nested."""


def check_chain(environment: Mapping[str, str], conversation_id: str) -> None:
    """Check that an agent which was reached through Tertulia may write into a conversation.

    Raises:
        ConflictError: it is its own, or the conversations are nested too deeply.
    """
    chain = environment.get(VARIABLE, "").split()
    if conversation_id in chain:
        raise ConflictError(
            f"You are the agent of {conversation_id}, or are answering on its behalf: you would talk to yourself.",
            hint="Answer in your own words.",
            conversation_id=conversation_id,
        )
    if len(chain) >= DEEPEST:
        raise ConflictError(
            f"Agents that ask agents are nested {DEEPEST} deep here, which is the limit.",
            hint="Answer with what you know, and say what remains to be asked.",
            conversation_id=conversation_id,
        )


def with_chain(environment: Mapping[str, str], metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message's metadata with the chain that this process was started in; a caller cannot set it."""
    chain = environment.get(VARIABLE, "").split()
    rest = {name: value for name, value in metadata.items() if name != WITHIN}
    return {**rest, WITHIN: chain} if chain else rest


def chain_of(message: Message, conversation_id: str) -> Sequence[str]:
    """Return the chain for what the agent of a conversation starts while it answers a message."""
    return [*map(str, message.metadata.get(WITHIN, ())), conversation_id]


def servers_within(servers: Sequence[Mapping[str, Any]], chain: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return MCP servers with the chain in the environment of those that are started."""
    variable = {"name": VARIABLE, "value": " ".join(chain)}
    return [{**one, "env": [*one["env"], variable]} if "command" in one else one for one in servers]
