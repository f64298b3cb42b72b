"""Task groups that raise the error of a task as it is.

A task group of anyio wraps whatever its tasks raise in an `ExceptionGroup`, which passes by every `except` that names
an error. All of the client uses this group instead, so that a caller gets the one error that says what happened.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import anyio
import anyio.abc


@asynccontextmanager
async def task_group() -> AsyncGenerator[anyio.abc.TaskGroup]:
    """Open a task group; where tasks fail, leaving it raises the error of the first of them."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except ExceptionGroup as group:
        raise errors_in(group)[0] from None


def errors_in(error: Exception) -> list[Exception]:
    """Return the errors in nested groups, in their order; an error that is no group alone."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    group = cast("ExceptionGroup[Exception]", error)
    return [each for inner in group.exceptions for each in errors_in(inner)]
