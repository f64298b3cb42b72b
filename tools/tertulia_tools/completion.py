"""Completion of what a person types for an argument of a prompt or a variable of a resource template.

The name of an argument determines its values, in every prompt and template alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from inspect import signature

from mcp_types import CompleteRequestParams, Completion, PromptReference

from tertulia.client import Client
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import is_plain
from tertulia_tools.host import Host
from tertulia_tools.prompts import PROMPTS
from tertulia_tools.resources import TEMPLATES

MAX_VALUE = 512
"""The longest value that is offered."""
MAX_VALUES = 100
"""The most values that the protocol allows in a completion."""


async def complete(host: Host, params: CompleteRequestParams) -> Completion:
    """Return the values that complete an argument.

    Raises:
        NotFoundError: there is no such prompt or template.
        InvalidInputError: the prompt or template has no such argument.
    """
    name, typed = params.argument.name, params.argument.value
    _check(host, params)
    given = (params.context.arguments if params.context else None) or {}
    found = await _values(host.client, name, typed, given, native=not isinstance(params.ref, PromptReference))
    values = [value for value in found if is_plain(value, MAX_VALUE)]
    return Completion(
        values=list(values[:MAX_VALUES]),
        total=len(values) if len(values) <= MAX_VALUES else None,
        has_more=len(values) > MAX_VALUES,
    )


def _check(host: Host, params: CompleteRequestParams) -> None:
    if isinstance(params.ref, PromptReference):
        kind, target = "prompt", params.ref.name
        known = {
            prompt.name: prompt.function for prompt in PROMPTS if not prompt.needs & frozenset(host.withheld)
        }
    else:
        kind, target = "template", params.ref.uri
        known = {template.uri: template.read for template in TEMPLATES}
    if target not in known:
        raise NotFoundError(f"There is no {kind} of that name.", valid=list(known))
    arguments = [name for name in signature(known[target]).parameters if name != "ctx"]
    if params.argument.name not in arguments:
        raise InvalidInputError(f"That {kind} has no such argument.", valid=arguments)


async def _values(
    client: Client, name: str, typed: str, given: Mapping[str, str], *, native: bool
) -> Sequence[str]:
    """Return all values, or more than `MAX_VALUES` of them; with `native`, ids without their instance."""
    instance = given.get("instance") or None
    match name:
        case "conversation":
            ids = await client.conversations.suggest(
                typed, instance=instance if native else None, limit=MAX_VALUES + 1
            )
            return [split_conversation_id(each)[1] for each in ids] if native else ids
        case "agent" | "first" | "second":
            searched = [instance] if instance in client.instances else client.instances
            found = [agent for each in searched for agent in await client.agents.list(each)]
            possible = [each.address for each in found if each.available and each.address != client.address]
            return _fitting(typed, possible)
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
    """Return the values that begin with what the person typed, then those that contain it."""
    wanted = typed.strip().casefold()
    found = [value for value in values if wanted in value.casefold()]
    return sorted(found, key=lambda value: not value.casefold().startswith(wanted))
