"""Calls that wait, and how they are ended when the server stops."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio


class WaitRegistry:
    """The waiting calls of a server. A call that is ended early tells what there is, as at the end of its time."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()
        self._closed = False

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Wait inside; leaves at once when the server stops."""
        with anyio.CancelScope() as scope:
            if self._closed:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def close(self) -> None:
        """End all waiting, from now on too."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()
