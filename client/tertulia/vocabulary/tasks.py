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
        raise first_error(group) from None


def first_error(error: Exception) -> Exception:
    """Return the first error in nested groups; an error that is no group as it is."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
