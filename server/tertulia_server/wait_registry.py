"""The registry of waiting calls, through which a stopping server ends them."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio


class WaitRegistry:
    """The waiting calls of a server. A call that the server ends early returns the result so far, as after its time."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()
        self.closed = False
        """Whether the server stops."""

    def __len__(self) -> int:
        """Return how many calls wait."""
        return len(self._scopes)

    @contextmanager
    def scope(self) -> Generator[None]:
        """Return a scope to wait in; the registry leaves it as soon as the server stops."""
        with anyio.CancelScope() as scope:
            if self.closed:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def close(self) -> None:
        """Leave every scope, and every later one as soon as it is entered."""
        self.closed = True
        for scope in self._scopes:
            scope.cancel()
