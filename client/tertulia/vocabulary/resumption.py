"""How a conversation that was imported goes on in the program that it came from."""

import re
from collections.abc import Mapping

from tertulia.vocabulary.models import Conversation

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,99}")
"""The ids that programs give: nothing in them means anything to a shell or in an address."""
_WAYS: Mapping[str, str] = {
    "claude-code": "claude --resume {}",
    "codex": "codex resume {}",
    "gemini-cli": "gemini --resume {}",
    "qwen-code": "qwen --resume {}",
    "copilot-cli": "copilot --resume {}",
    "opencode": "opencode --session {}",
    "chatgpt": "https://chatgpt.com/c/{}",
    "claude.ai": "https://claude.ai/chat/{}",
}
"""The command, or the address, by source."""


def resumption(conversation: Conversation) -> str | None:
    """Return the command that goes on with a conversation where it came from, or its address; None if there is none.

    A command is to be given in the conversation's folder (`metadata["folder"]`), where that is known.
    """
    way, ref = _WAYS.get(conversation.source or ""), conversation.source_ref
    is_own = ref is not None and _ID.fullmatch(ref) is not None and not ref.startswith("x_")
    if way is None or ref is None or not is_own or "subagent_of" in conversation.metadata:
        return None
    return way.format(ref)
