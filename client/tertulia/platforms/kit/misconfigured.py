"""An instance whose configuration cannot work, where the others are to be used all the same."""

from collections.abc import Sequence

from tertulia.platforms.base import Platform
from tertulia.platforms.kit.directory import NAMELESS, listed
from tertulia.vocabulary.models import Agent


class MisconfiguredPlatform(Platform):
    """Offers nothing but the sentence that says what is wrong."""

    kind = "misconfigured"

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return an agent that cannot be used, and why."""
        described = [(NAMELESS, "This instance is configured in a way that cannot work.")]
        return listed(self.instance, described, features=self.features, hint=self.missing)
