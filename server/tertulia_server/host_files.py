"""Edits of the configuration files of hosts: one entry is set or removed, and everything else stays as it was."""

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from tertulia.vocabulary.errors import InvalidInputError

Entry = Mapping[str, Any]
Keys = Sequence[str]
"""Where an entry is: the keys from the top of the file, its own name last."""

_INDENT = re.compile(r"^[\[{]\s*?\n([ \t]+)\S", re.MULTILINE)
_COMMENT = re.compile(r"^\s*(//|/\*)|,\s*[\]}]", re.MULTILINE)


class UneditableError(ValueError):
    """Says why a file cannot be edited without a risk to what it holds."""


def edited(file: Path, text: str, keys: Keys, entry: Entry | None) -> str:
    """Return a file's text with the entry set, or removed where it is None. What a user has added to it stays.

    Raises:
        UneditableError: the text is not what a file of this kind holds, or has what would get lost.
    """
    return _EDITORS[file.suffix](text, keys, entry)


def read_entry(file: Path, keys: Keys) -> Entry | None:
    """Return the entry that a file has; None where there is none, or nothing that can be read."""
    try:
        found: Any = _READERS[file.suffix](file.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return None
    for key in keys:
        found = cast("Mapping[str, Any]", found).get(key) if isinstance(found, Mapping) else None
    return cast("Entry", found) if isinstance(found, Mapping) else None


def write(file: Path, text: str) -> Path | None:
    """Replace a file in one step, with its permissions; return the copy that was made of it, if it was there.

    A link stays one: what it leads to is replaced.

    Raises:
        InvalidInputError: it cannot be written.
    """
    file = file.resolve()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        backup = None
        if file.exists():
            backup = file.with_name(f"{file.name}.{datetime.now(UTC):%Y%m%d-%H%M%S}.bak")
            shutil.copy2(file, backup)
        handle, path = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as new:
            new.write(text)
        if backup is not None:
            shutil.copymode(backup, path)
        os.replace(path, file)  # noqa: PTH105 - a rename that replaces, everywhere
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}.") from error
    return backup


def _edit_json(text: str, keys: Keys, entry: Entry | None) -> str:
    document = _read_json(text)
    if _set(document, keys, entry):
        indent = _INDENT.search(text)
        text = json.dumps(document, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"
    return text


def _read_json(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        if _COMMENT.search(text):
            raise UneditableError("it has comments or trailing commas, which would get lost") from error
        raise UneditableError(f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise UneditableError("it holds no object")
    return cast("dict[str, Any]", document)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UneditableError("it has a key twice, and one of the two would get lost")
    return found


def _edit_toml(text: str, keys: Keys, entry: Entry | None) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise UneditableError(f"it is no TOML: {error}") from error
    _set(document, keys, entry, new=lambda: tomlkit.table(is_super_table=True), item=tomlkit.item)
    return tomlkit.dumps(document)


def _read_toml(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def _edit_yaml(text: str, keys: Keys, entry: Entry | None) -> str:
    from ruamel.yaml import YAML, util
    from ruamel.yaml.error import YAMLError

    guess: Any = util
    yaml: Any = YAML()  # its types are not declared; it keeps comments, quotes and order
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        _, indent, offset = guess.load_yaml_guess_indent(text)
        yaml.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
        document: Any = yaml.load(text) or {}
    except YAMLError as error:
        raise UneditableError(f"it is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise UneditableError("it holds no mapping")
    if not _set(cast("dict[str, Any]", document), keys, entry):
        return text
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()


def _read_yaml(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        yaml: Any = YAML(typ="safe")
        return yaml.load(text)
    except YAMLError as error:
        raise UneditableError(str(error)) from error


def _set(
    document: dict[str, Any],
    keys: Keys,
    entry: Entry | None,
    *,
    new: Callable[[], Any] = dict,
    item: Callable[[Any], Any] = lambda value: value,
) -> bool:
    """Set or remove an entry in place; return whether that changed anything."""
    for key in keys[:-1]:
        if entry is None and key not in document:
            return False
        inner = document.setdefault(key, new())
        if not isinstance(inner, dict):
            raise UneditableError(f"its `{key}` is not what the host would take")
        document = cast("dict[str, Any]", document[key])
    name = keys[-1]
    if entry is None:
        return document.pop(name, None) is not None
    before = document.get(name)
    if isinstance(before, dict):
        changed = {key: value for key, value in entry.items() if cast("Entry", before).get(key) != value}
        for key, value in changed.items():
            before[key] = item(value)
        return bool(changed)
    document[name] = item(dict(entry))
    return True


_EDITORS: Mapping[str, Callable[[str, Keys, Entry | None], str]] = {
    ".json": _edit_json,
    ".toml": _edit_toml,
    ".yaml": _edit_yaml,
}
_READERS: Mapping[str, Callable[[str], Any]] = {
    ".json": _read_json,
    ".toml": _read_toml,
    ".yaml": _read_yaml,
}
