"""A store that has moved elsewhere. It has a version that no Tertulia knows, so that none uses it any more.

`meta` says under `moved_to` where it is.
"""

from tertulia.vocabulary.errors import StoreError
from tertulia.vocabulary.location import StoreLocation

MOVED = 1_000_000
"""Is added to the version of the schema."""


def moved_error(store: StoreLocation, where: str) -> StoreError:
    """Return the error for whoever still uses a store that has moved."""
    return StoreError(
        f"The store {store} has moved to {where}.",
        hint="Name that with --store, or as `store` in the configuration file.",
    )
