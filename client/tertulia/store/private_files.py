"""Files that are nobody else's business: only their owner may read and change them."""

import os
from pathlib import Path

from tertulia.vocabulary.errors import StoreError

_OTHERS = 0o077
"""The rights of everybody but the owner."""


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only; one that is there stays as it is."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def create_file(path: Path) -> None:
    """Create an empty file that only its owner can read, unless there is one.

    Raises:
        StoreError: at the path is a link to a file that is not there: whoever made it would choose where to write.
    """
    if path.exists():
        return
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        if not path.exists():
            raise dangling(path) from error


def dangling(path: Path) -> StoreError:
    """Return the error for a link to a file that is not there."""
    return StoreError(
        f"{path} is a link to a file that is not there, and is not followed.",
        hint="Remove the link, or create the file that it leads to.",
    )


def is_private(path: Path) -> bool:
    """Whether a file is there that nobody but its owner, who runs this process, could read. Windows does not tell."""
    try:
        found = path.stat()
    except OSError:
        return False
    return os.name == "nt" or (found.st_uid == os.geteuid() and not found.st_mode & _OTHERS)


def close_to_others(path: Path) -> str | None:
    """Take everybody's rights to a file but its owner's; return a sentence about what was wrong, None if nothing was.

    The file of another user stays as it is. Windows has no such rights.
    """
    if os.name == "nt":
        return None
    try:
        found = path.stat()
        if not found.st_mode & _OTHERS:
            return None
        if found.st_uid == os.geteuid():
            path.chmod(found.st_mode & 0o700)
            return f"Other users of this machine could read or change {path}; they cannot any more."
    except FileNotFoundError:
        return None
    except OSError:
        pass
    return (
        f"Other users of this machine can read or change {path}: its owner should take that right from them."
    )
