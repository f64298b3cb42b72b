"""`tertulia token`: tokens for several people, in the file that `--token-file` names."""

import sys
from pathlib import Path

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.untrusted import shown
from tertulia_server.settings import Settings, local_name
from tertulia_server.token_file import add_token, default_token_file, remove_tokens
from tertulia_tools.access import AccessScope

_SHORT = {scope.name.lower(): str(scope) for scope in AccessScope}


def add(settings: Settings, name: str, scopes: str) -> str:
    """Make a token for a principal and return it; stderr says what to do with it.

    Raises:
        InvalidInputError: the name or a scope cannot be one, or the file cannot be changed.
    """
    named = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    unknown = [scope for scope in named if scope not in _SHORT and scope not in _SHORT.values()]
    if unknown or not named:
        raise InvalidInputError(f"{shown(', '.join(unknown))} is no scope.", valid=[*_SHORT])
    file = _file(settings)
    token = add_token(file, name, [_SHORT.get(scope, scope) for scope in named])
    print(
        f"The token of {shown(name)}; it is shown this once. {file} has its digest.",
        *_todo(settings, file),
        file=sys.stderr,
    )
    return token


def remove(settings: Settings, name: str) -> str:
    """Remove the tokens of a principal; return a sentence about it.

    Raises:
        InvalidInputError: the file cannot be changed, or has no such token.
    """
    file = _file(settings)
    count = remove_tokens(file, name)
    if not count:
        raise InvalidInputError(f"{file} has no token of {shown(name)}.")
    return f"Removed {count} token{'' if count == 1 else 's'}: the next request that shows one is refused."


def _file(settings: Settings) -> Path:
    return settings.token_file or default_token_file(local_name(settings.store))


def _todo(settings: Settings, file: Path) -> list[str]:
    if settings.token_file is not None:
        return []
    return [f"Serve with: {settings.command('--http', '--token-file', str(file))}"]
