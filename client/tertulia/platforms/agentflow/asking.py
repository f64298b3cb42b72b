"""What is sent to an agent: the message, under ids of ours, with what can be set for its answer."""

from collections.abc import Mapping
from typing import Any

from tertulia.platforms.agentflow.access import PLATFORM
from tertulia.platforms.base import RunContext
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import shown

CONTEXT = (
    *("attachment_ids", "knowledge_bases", "retrieval_options", "skills", "artifacts", "context_refs"),
    *("prompt_blocks", "memory_policy", "model", "temperature", "max_tokens", "top_p", "max_turns"),
    *(
        "reasoning_effort",
        "enable_planning",
        "selected_tools",
        "client_timezone",
        "session_context",
        "verbose",
    ),
)
"""What can be set for an answer: the other fields of a message's body (the vendor's reference of the chat call)."""


def checked_context(context: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return settings for an answer, if AgentFlow knows them.

    Raises:
        InvalidInputError: it does not.
    """
    for key in context:
        if key not in CONTEXT:
            raise InvalidInputError(
                f"{name} has {shown(key)}, which {PLATFORM} does not know.", valid=CONTEXT
            )
    return context


def body(work: RunContext, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a message is sent as, with the settings of instance, conversation and message, in turn.

    Its id is the key under which AgentFlow takes it once.
    """
    conversation, message = work.conversation, work.message
    chosen = {**defaults, **(conversation.context or {}), **(work.message_context or {})}
    origin = {"source": conversation.source, "source_id": conversation.source_ref}
    return {
        **{name: value for name, value in chosen.items() if name in CONTEXT},
        **{name: value for name, value in origin.items() if value is not None},
        **({"source_metadata": message.metadata} if message.metadata else {}),
        "message": message.text,
        "message_id": message.id,
        "stream": True,
    }
