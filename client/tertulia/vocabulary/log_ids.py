"""The ids that a record of a log belongs to: of the call of a host, and of the run.

Whoever begins such work says so once, and every record that is logged within has the ids: a task has those of whoever
started it.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_ids: ContextVar[Mapping[str, str]] = ContextVar("log_ids", default=MappingProxyType({}))


@contextmanager
def log_ids(**ids: str) -> Generator[None]:
    """Give the records that are logged in this context, and in the tasks that it starts, these ids as well."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def current_log_ids() -> Mapping[str, str]:
    """Return the ids of what is being done now, by what each is the id of."""
    return _ids.get()
