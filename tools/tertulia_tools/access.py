"""What a caller may do: the scopes of OAuth that tools and resources ask for."""

from collections.abc import Collection
from enum import StrEnum


class AccessScope(StrEnum):
    """A scope, as tokens name it. Each includes those before it."""

    READ = "conversations:read"
    """Read what the principal has: every tool that only reads, every resource, prompts, completion, subscriptions."""
    WRITE = "conversations:write"
    """Hold conversations and change them: send, create, decide, cancel."""
    ADMIN = "conversations:admin"
    """Delete for good, and see what others have at a platform whose account is shared."""

    @property
    def granting(self) -> Collection["AccessScope"]:
        """The scopes that include this one."""
        ordered = list(AccessScope)
        return ordered[ordered.index(self) :]

    def among(self, granted: Collection[str]) -> bool:
        """Return whether `granted` includes this scope. Names that mean nothing here are ignored."""
        return any(scope in granted for scope in self.granting)
