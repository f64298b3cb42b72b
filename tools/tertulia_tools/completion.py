"""Completing what a person types for an argument of a prompt, or for a variable of a resource's template.

What an argument may be follows from its name, wherever it stands.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from inspect import signature

from mcp_types import CompleteRequestParams, Completion, PromptReference

from tertulia.client import Client
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.states import Status
from tertulia_tools.prompts import PROMPTS
from tertulia_tools.resources import TEMPLATES

MOST = 100
"""The most values that the protocol lets a completion have."""


async def complete(client: Client, params: CompleteRequestParams) -> Completion:
    """Return what an argument may become.

    Raises:
        NotFoundError: there is no such prompt or template.
        InvalidInputError: it has no such argument.
    """
    name, typed = params.argument.name, params.argument.value
    _check(params)
    given = (params.context.arguments if params.context else None) or {}
    values = await _values(client, name, typed, given, native=not isinstance(params.ref, PromptReference))
    return Completion(
        values=list(values[:MOST]),
        total=len(values) if len(values) <= MOST else None,
        has_more=len(values) > MOST,
    )


def _check(params: CompleteRequestParams) -> None:
    if isinstance(params.ref, PromptReference):
        kind, asked = "prompt", params.ref.name
        known = {prompt.name: prompt.function for prompt in PROMPTS}
    else:
        kind, asked = "template", params.ref.uri
        known = {template.uri: template.read for template in TEMPLATES}
    if asked not in known:
        raise NotFoundError(f"There is no {kind} of that name.", valid=list(known))
    arguments = [name for name in signature(known[asked]).parameters if name != "ctx"]
    if params.argument.name not in arguments:
        raise InvalidInputError(f"That {kind} has no such argument.", valid=arguments)


async def _values(
    client: Client, name: str, typed: str, given: Mapping[str, str], *, native: bool
) -> Sequence[str]:
    """Return all the values, or more than `MOST` of them. `native`: of an id only the part behind the colon."""
    instance = given.get("instance") or None
    match name:
        case "conversation":
            ids = await client.conversations.suggest(
                typed, instance=instance if native else None, limit=MOST + 1
            )
            return [split_conversation_id(each)[1] for each in ids] if native else ids
        case "agent":
            asked = [instance] if instance in client.instances else client.instances
            return _fitting(
                typed, [agent.address for each in asked for agent in await client.agents.list(each)]
            )
        case "instance":
            return _fitting(typed, client.instances)
        case "status":
            return _fitting(typed, Status)
        case "since":
            now = datetime.now(UTC)
            return _fitting(typed, [f"{now - timedelta(days=days):%Y-%m-%d}" for days in (0, 1, 7, 30)])
        case _:
            return ()


def _fitting(typed: str, values: Iterable[str]) -> Sequence[str]:
    """Return the values that begin with what was typed, then those that have it further on."""
    wanted = typed.strip().casefold()
    found = [value for value in values if wanted in value.casefold()]
    return sorted(found, key=lambda value: not value.casefold().startswith(wanted))
