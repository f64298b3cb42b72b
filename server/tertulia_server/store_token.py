"""The token of a store: whoever shows it over HTTP is the person who runs the server."""

import re
from functools import partial
from pathlib import Path
from secrets import token_urlsafe

import anyio

from tertulia.client import Client
from tertulia.settings import ClientSettings
from tertulia.store import secrets
from tertulia.store.database import Store
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tertulia_server.secret_file import stored_secret

_TOKEN = re.compile(r"[\w.~+/=-]{32,}", re.ASCII)
"""What a header can carry and nobody guesses; ours have 43 characters."""
SECRET = "http_token"  # noqa: S105 - the name under which a database has the token


def _new() -> str:
    return token_urlsafe(32)


def _line() -> bytes:
    return f"{_new()}\n".encode()


def existing_token(store: StoreLocation) -> str | None:
    """Return the token of a store, if one was ever made. Where there is no store yet, none is made either.

    Raises:
        StoreError: the database cannot be used.
        UnavailableError: it cannot be reached.
    """
    if isinstance(store, PostgresUrl):
        return anyio.run(_found, store)
    file = token_file(store)
    return store_token(store) if file.exists() else None


def keep_token(store: Path, token: str) -> None:
    """Make `token` the token of a store in a file, unless it has one."""
    stored_secret(token_file(store), f"{token}\n".encode)


async def _found(store: PostgresUrl) -> str | None:
    async with Store(store) as opened:
        return await opened.read(partial(secrets.find, name=SECRET))


async def _shared(store: PostgresUrl) -> str:
    async with Client.open(ClientSettings(store=store)) as client:
        return await client.shared_secret(SECRET, _new)


def token_file(store: Path) -> Path:
    """Return where the token of a store is kept."""
    return store.with_name(f"{store.name}.token")


def store_token(store: StoreLocation) -> str:
    """Return the token of a store; the first call makes it. A database holds it itself.

    Raises:
        InvalidInputError: the file holds no token, or cannot be read or written.
        StoreError: the database cannot be used.
        UnavailableError: it cannot be reached.
    """
    if isinstance(store, PostgresUrl):
        return anyio.run(_shared, store)
    file = token_file(store)
    try:
        token = stored_secret(file, _line).decode("ascii").strip()
    except OSError as error:
        raise InvalidInputError(
            f"The token of the store, {file}, cannot be had: {error.strerror}."
        ) from error
    except UnicodeDecodeError:
        token = ""
    if not _TOKEN.fullmatch(token):
        raise InvalidInputError(
            f"{file} holds no token: it takes 32 characters or more, of letters, digits and -._~+/=.",
            hint="Delete the file; the next start makes another.",
        )
    return token
