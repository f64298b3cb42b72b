"""`tertulia backup` and `tertulia restore`: copy the store to a file, and make it what such a file holds."""

from pathlib import Path

from tertulia.store.sqlite.backup import back_up, restore
from tertulia_server.settings import Settings


def make_backup(settings: Settings, file: str) -> int:
    """Copy the store to a file and print what it holds; return the exit code."""
    store = settings.client_settings().store
    copied = back_up(store, Path(file))
    print(f"{file}: {copied.conversations:,} conversations, {copied.messages:,} messages.")
    return 0


def restore_backup(settings: Settings, file: str) -> int:
    """Make the store what the file holds and print that; return the exit code."""
    store = settings.client_settings().store
    copied = restore(Path(file), store)
    print(f"{store}: {copied.conversations:,} conversations, {copied.messages:,} messages.")
    if copied.interrupted:
        print(
            f"Of the messages that were unanswered then, {copied.interrupted:,} may have been sent since; "
            "their runs are interrupted."
        )
    return 0
