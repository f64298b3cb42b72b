"""The token of a store: whoever shows it over HTTP is the person who runs the server."""

import re
import secrets
from pathlib import Path

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.secret_file import stored_secret

_TOKEN = re.compile(r"[\w.~+/=-]{32,}", re.ASCII)
"""What a header can carry and nobody guesses; ours have 43 characters."""


def token_file(store: Path) -> Path:
    """Return where the token of a store is kept."""
    return store.with_name(f"{store.name}.token")


def store_token(store: Path) -> str:
    """Return the token of a store; the first call makes it.

    Raises:
        InvalidInputError: the file holds no token, or cannot be read or written.
    """
    file = token_file(store)

    def new() -> bytes:
        return f"{secrets.token_urlsafe(32)}\n".encode()

    try:
        token = stored_secret(file, new).decode("ascii").strip()
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
