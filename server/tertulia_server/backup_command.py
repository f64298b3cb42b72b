"""`tertulia backup` and `tertulia restore`: copy the store to a file, and make it what such a file holds."""

from pathlib import Path

from tertulia.store.sqlite.backup import back_up, restore
from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.settings import Settings


def make_backup(settings: Settings, file: str) -> int:
    """Copy the store to a file and print what it holds; return the exit code."""
    store = _file(
        settings,
        f"Use `pg_dump --schema=tertulia --format=custom --file={file} {settings.store}`, which copies it while servers"
        f" use it; or `tertulia store copy {settings.store} {file} --keep`, during which nobody else writes.",
    )
    copied = back_up(store, Path(file))
    print(f"{file}: {copied.conversations:,} conversations, {copied.messages:,} messages.")
    return 0


def restore_backup(settings: Settings, file: str) -> int:
    """Make the store what the file holds and print that; return the exit code."""
    store = _file(
        settings,
        f"End the servers, use `pg_restore --clean --if-exists --dbname={settings.store} {file}`, and then"
        f" `tertulia store reopen --restored {settings.store}`, so that nothing is sent twice.",
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
