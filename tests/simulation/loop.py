"""An event loop in which no time passes but between two things that happen: an hour is over in a moment.

Nothing in it may use threads or sockets. What happens is then decided by the program alone, and happens again alike.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Moves the time on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, it is later at once."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits for something that cannot happen")
            self.time += max(0.0, timeout)
        return ready


class _NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set depends on when it began, and not on its address."""

    number = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        _NumberedTask.number += 1
        self._number = _NumberedTask.number  # its place in a set is asked for by what follows
        super().__init__(*arguments, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


def _number_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
    return _NumberedTask(coroutine, loop=loop, **more)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        _NumberedTask.number = 0
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.set_task_factory(_number_task)

    def time(self) -> float:
        """Return the time, which begins at 0."""
        return self._virtual.time


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` to its end in a loop of its own."""
    return anyio.run(work, backend_options={"loop_factory": VirtualLoop})
