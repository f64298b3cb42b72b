"""`tertulia follow`: import the sessions of other programs as they are written; a server does so by a setting."""

import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import anyio

from tertulia.client import Client
from tertulia.history.follower import FollowListener
from tertulia.history.items import ImportSummary, Problem
from tertulia.history.places import known_places
from tertulia.vocabulary.errors import ConflictError, InvalidInputError, NotFoundError
from tertulia.vocabulary.untrusted import one_line
from tertulia_server.settings import Settings

logger = logging.getLogger(__name__)

KNOWN = "known"
"""Names, among folders, those of the programs that are known."""
_BEGIN_AFTER = 2.0
"""Seconds after which a server begins to follow: its host waits for the first answers, or only probes it."""
_TRY_AGAIN = 60.0
"""Seconds after which a server tries again, because another one follows or something failed."""


def follow(settings: Settings, paths: Sequence[str], *, redact: bool) -> int:
    """Follow until Ctrl-C, and print what comes in.

    Raises:
        NotFoundError: none of the folders is there.
    """
    roots = followed_roots(paths or settings.follow or [KNOWN])
    named = paths or settings.follow
    missing = [root for root in roots if not root.exists()]
    if len(missing) == len(roots) or (named and KNOWN not in named and missing):
        raise NotFoundError(
            f"There is no such folder: {', '.join(map(str, missing))}.",
            hint="Name the folder in which a program keeps its sessions.",
        )
    listener = FollowListener(on_watch=_print_watch, on_import=_print_import, on_problem=_print_problem)

    async def run() -> None:
        async with Client.open(settings.client_settings()) as client:
            await client.history.follow(roots, redact=redact, listener=listener)

    anyio.run(run)
    return 0


async def follow_beside(client: Client, roots: Sequence[Path]) -> None:
    """Follow for as long as this is not cancelled, whenever no other process does: the task of a server."""
    listener = FollowListener(on_problem=lambda problem: logger.info("not imported: %s", problem))
    await anyio.sleep(_BEGIN_AFTER)
    while True:
        try:
            await client.history.follow(roots, listener=listener)
        except ConflictError:
            logger.debug("another process follows sessions")
        except Exception:  # a server goes on without what it imports beside
            logger.exception("sessions cannot be followed; the next attempt follows")
        await anyio.sleep(_TRY_AGAIN)


def followed_roots(names: Sequence[str]) -> Sequence[Path]:
    """Return the folders that are named; `known` stands for those of the programs that are known.

    Raises:
        InvalidInputError: a folder is all of the home folder, or more.
    """
    home = Path.home()
    roots: dict[Path, None] = {}
    for name in names:
        path = Path(name).expanduser().absolute()
        if home.is_relative_to(path):
            raise InvalidInputError(
                f"{path} is too much to be followed.",
                hint="Name the folders in which programs keep their sessions.",
            )
        roots |= dict.fromkeys(known_places(os.environ, home) if name == KNOWN else [path])
    return [*roots]


def _print_watch(roots: Sequence[Path]) -> None:
    folders = ", ".join(map(str, roots)) or "nothing yet"
    _print(f"Following {folders}. Ctrl-C ends it.")


def _print_import(paths: Sequence[Path], summary: ImportSummary) -> None:
    if not summary.messages:
        return
    where = str(paths[0]) if len(paths) == 1 else f"{summary.files} files"
    masked = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.masked.items()))
    added = f"{summary.messages} message{'' if summary.messages == 1 else 's'} from {where}"
    _print(f"{datetime.now(UTC).astimezone():%H:%M:%S} {added}" + (f"; masked: {masked}" if masked else ""))


def _print_problem(problem: Problem) -> None:
    print(one_line(str(problem)), file=sys.stderr, flush=True)


def _print(line: str) -> None:
    print(one_line(line), flush=True)
