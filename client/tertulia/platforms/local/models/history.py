"""A conversation as its model is told it: the newest messages that fit, from the store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart

from tertulia.platforms.local.models.settings import HistoryLimits
from tertulia.store import messages
from tertulia.store.database import Transaction
from tertulia.vocabulary.models import Message, MessageQuery, Role
from tertulia.vocabulary.untrusted import named

_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """What a model is told before it answers."""

    earlier: Sequence[ModelMessage] = field(default=())
    """The turns up to the agent's last answer: it ends with one, so that nothing is joined to its end."""
    prompt: str
    """The message to answer, after those that nobody has answered."""


def model_input(
    tx: Transaction, principal: str, message: Message, agent: str, limits: HistoryLimits
) -> ModelInput:
    """Return what the agent is told with a message of its conversation."""
    fitting: list[Message] = []
    left = limits.characters
    for one in _before(tx, principal, message):
        left -= len(_text(one))
        if len(fitting) == limits.messages or left < 0:
            break
        fitting.append(one)
    turns = [
        (own, [_said(one, message, own=own) for one in each])
        for own, each in groupby(reversed(fitting), key=lambda one: _is_own(one, agent))
    ]
    unanswered = turns.pop()[1] if turns and not turns[-1][0] else []
    earlier = [
        ModelResponse(parts=[TextPart(text) for text in texts])
        if own
        else ModelRequest(parts=[UserPromptPart(text) for text in texts])
        for own, texts in turns
    ]
    return ModelInput(earlier=earlier, prompt="\n\n".join([*unanswered, _text(message)]))


def _before(tx: Transaction, principal: str, message: Message) -> Iterator[Message]:
    """Yield the messages before one on its branch, the newest first."""
    query, seen = MessageQuery(limit=_PAGE, newest_first=True, branch=message.branch), False
    while True:
        page = messages.page(tx, principal, message.conversation_id, query)
        for one in page.items:
            if seen:
                yield one
            seen = seen or one.id == message.id
        if page.next_cursor is None:
            return
        query = MessageQuery(limit=_PAGE, newest_first=True, branch=message.branch, cursor=page.next_cursor)


def _is_own(message: Message, agent: str) -> bool:
    return message.role is Role.ASSISTANT and message.author == agent


def _said(message: Message, asked: Message, *, own: bool) -> str:
    """Return a message's text, after the name of who wrote it where that is neither the agent nor who asks now."""
    text = _text(message)
    return text if own or message.author == asked.author else f"{named(message.author)}: {text}"


def _text(message: Message) -> str:
    data = "" if message.data is None else json.dumps(message.data, ensure_ascii=False)
    return "\n\n".join(filter(None, (message.text, data)))
