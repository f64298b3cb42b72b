"""What of an instance's options may be shown: only what is known to be harmless."""

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

_HARMLESS = {
    *("platform", "store_content", "principals", "mailboxes", "end_after_idle"),
    *("agent", "agents", "mode", "modes", "folders", "env_file", "config_dir"),
    *("model", "description", "prefix", "approve", "history", "limits"),
    *("hosts", "scope", "audience", "email", "project_name", "tenant", "user", "all_users", "paths"),
}
"""The options whose value is shown, with all that is in it."""
_ADDRESSES = {"base_url", "card", "token_url", "url"}
_PROGRAM = re.compile("(.*_)?command")
_VARIABLE = re.compile("[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which `(set)` or `(empty)` replaces whatever is not known to be harmless, at any depth."""
    return {name: _shown(name, value) for name, value in options.items()}


def holds_secrets(options: Mapping[str, Any]) -> bool:
    """Whether options may hold a secret: something that `without_secrets` replaces."""
    return "(set)" in repr(without_secrets(options))


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, bool) or name in _HARMLESS:
        return value
    if isinstance(value, dict):
        return without_secrets(cast(dict[str, Any], value))
    if isinstance(value, list):
        items = cast(list[Any], value)
        if _PROGRAM.fullmatch(name):  # its arguments may be keys
            return [*items[:1], *("(set)" for _ in items[1:])]
        return [_shown(name, item) if isinstance(item, dict) else _masked(item) for item in items]
    if isinstance(value, str) and value:
        if name in _ADDRESSES:
            return _origin(value)
        if name.endswith("_env") and _VARIABLE.fullmatch(value):
            return value
    return _masked(value)


def _origin(address: str) -> str:
    """Return an address without what may be a secret: user, path, query and fragment."""
    try:
        parts = urlsplit(address)
        origin = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "(set)"
    if not parts.hostname:
        return "(set)"
    return origin if address.rstrip("/") == origin else f"{origin}/(set)"


def _masked(value: Any) -> str:
    return "(empty)" if value in ("", None, [], {}) else "(set)"
