"""`tertulia backup` and `tertulia restore`: copy the store to a file, and make it what such a file holds."""

from pathlib import Path
from shlex import quote

from tertulia.store.sqlite.backup import back_up, restore
from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.settings import Settings


def make_backup(settings: Settings, file: str) -> int:
    """Copy the store to a file and print what it holds; return the exit code."""
    url, quoted = quote(str(settings.store)), quote(file)
    store = _file(
        settings,
        f"Use `pg_dump --schema=tertulia --format=custom --file={quoted} {url}`, which copies it while servers use it;"
        f" or `tertulia store copy {url} {quoted} --keep`, during which nobody else writes.",
    )
    copied = back_up(store, Path(file))
    print(f"{file}: {copied.conversations:,} conversations, {copied.messages:,} messages.")
    return 0


def restore_backup(settings: Settings, file: str) -> int:
    """Make the store what the file holds and print that; return the exit code."""
    url = quote(str(settings.store))
    store = _file(
        settings,
        f"End the servers, use `pg_restore --clean --if-exists --dbname={url} {quote(file)}`, and then"
        f" `tertulia store reopen --restored {url}`, so that nothing is sent twice.",
    )
    copied = restore(Path(file), store)
    print(f"{store}: {copied.conversations:,} conversations, {copied.messages:,} messages.")
    if copied.interrupted:
        print(
            f"Of the messages that were unanswered then, {copied.interrupted:,} may have been sent since; "
            "their runs are interrupted."
        )
    return 0


def _file(settings: Settings, instead: str) -> Path:
    """Return the file of the store.

    Raises:
        InvalidInputError: the store is a database, which PostgreSQL's own programs copy; the hint says what to do.
    """
    if isinstance(settings.store, Path):
        return settings.store
    raise InvalidInputError(f"The store {settings.store} is a database, and not a file.", hint=instead)
