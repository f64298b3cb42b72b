"""What is said about an agent that is not there."""

from collections.abc import Sequence
from difflib import get_close_matches

from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.identifiers import named


def no_such_agent(
    address: str, known: Sequence[str], *, hint: str = "list_agents shows who can be talked to."
) -> NotFoundError:
    """Return the error for an unknown agent or participant; it names all the known ones, and the nearest."""
    by_name = {each.partition(":")[2] or each: each for each in known}
    near = get_close_matches(address.partition(":")[2] or address, by_name, n=1)
    return NotFoundError(
        f"There is no agent {named(address)}." + (f" Did you mean {by_name[near[0]]}?" if near else ""),
        valid=known,
        hint=hint,
        agent=address,
    )
