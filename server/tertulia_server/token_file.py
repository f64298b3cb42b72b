"""Tokens of several people in a file: a line has a principal, the digest of a token, and the scopes of its holder.

    alice  sha256:b563d24acfb0c903c25038c71d8a3187b9dae335754325d5380cbfbe521a211b  conversations:read

Lines that begin with `#` and empty ones mean nothing. A principal may have several tokens. `tertulia token --add NAME`
shows a token once; the file does not have it. A server notices at the next request that the file has changed.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.untrusted import shown
from tertulia_server.callers import Caller
from tertulia_tools.access import AccessScope

logger = logging.getLogger(__name__)

_PRINCIPAL = re.compile(r"[!-~]{1,256}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Entry:
    principal: str
    digest: str
    scopes: Sequence[str]

    def line(self) -> str:
        return "  ".join((self.principal, self.digest, " ".join(self.scopes)))


class TokenFile:
    """The file of a server. What it held last counts until it changes; while it cannot be read, nobody is known."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InvalidInputError: the file, or one of its lines, cannot be read.
        """
        self._path = path
        self._version = _version(path)
        self._entries: Sequence[_Entry] = _read(path)

    def caller(self, token: str) -> Caller | None:
        """Return the holder of a token; None if it is nobody's. The time that this takes tells nothing of any token."""
        if (version := _version(self._path)) != self._version:
            self._version = version
            try:
                self._entries = _read(self._path)
            except InvalidInputError as error:
                logger.warning("%s Nobody is let in by it now.", error)
                self._entries = ()
        digest = _digest(token)
        found = [entry for entry in self._entries if hmac.compare_digest(entry.digest, digest)]
        return Caller(found[0].principal, found[0].scopes) if found else None


def default_token_file(store: Path) -> Path:
    """Return where the tokens for a store are kept, unless a setting says otherwise."""
    return store.with_name(f"{store.name}.tokens")


def add_token(path: Path, principal: str, scopes: Sequence[str]) -> str:
    """Write the digest of a new token for a principal, and return the token.

    Raises:
        InvalidInputError: the principal or a scope cannot be one, or the file cannot be read or written.
    """
    if not _PRINCIPAL.fullmatch(principal) or principal.startswith("#"):
        raise InvalidInputError(
            f"{shown(principal)} cannot be the name of a principal.",
            hint="Use 1 to 256 letters, digits and signs of ASCII, without spaces.",
        )
    _check_scopes(scopes, "")
    token = secrets.token_urlsafe(32)
    _change(path, lambda lines: [*lines, _Entry(principal, _digest(token), scopes).line()])
    return token


def remove_tokens(path: Path, principal: str) -> int:
    """Remove all tokens of a principal; return how many there were.

    Raises:
        InvalidInputError: the file cannot be read or written.
    """
    count = sum(entry.principal == principal for entry in _read(path))
    _change(path, lambda lines: [line for line in lines if line.split()[:1] != [principal]])
    return count


def _digest(token: str) -> str:
    # A token is 256 random bits, so that a plain digest cannot be reversed.
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> Sequence[_Entry]:
    entries: list[_Entry] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        principal, digest, scopes = words[0], "".join(words[1:2]), words[2:]
        if not _PRINCIPAL.fullmatch(principal) or not _DIGEST.fullmatch(digest):
            raise InvalidInputError(
                f"Line {number} of {path} is not a principal with `sha256:` and 64 hexadecimal digits.",
                hint=f"Remove or correct the line; `{_adding(path)}` writes new ones.",
            )
        _check_scopes(scopes, f"Line {number} of {path}: ")
        entries.append(_Entry(principal, digest, scopes))
    return entries


def _check_scopes(scopes: Sequence[str], where: str) -> None:
    known = [str(scope) for scope in AccessScope]
    if not scopes or any(scope not in known for scope in scopes):
        unknown = next((scope for scope in scopes if scope not in known), "")
        problem = f"{shown(unknown)} is no scope" if unknown else "a scope is missing"
        raise InvalidInputError(f"{where}{problem}.", valid=known)


def _adding(path: Path) -> str:
    return f"tertulia token --token-file {shlex.quote(str(path))} --add NAME"


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidInputError(
            f"The file of tokens {path} cannot be read: {reason}.",
            hint=f"`{_adding(path)}` makes one.",
        ) from error


def _change(path: Path, change: Callable[[Sequence[str]], Sequence[str]]) -> None:
    lines = change(_lines(path) if path.exists() else [])
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise InvalidInputError(f"The file of tokens {path} cannot be written: {error.strerror}.") from error
