"""`tertulia config`: the settings in force, and the source of each."""

import json
from typing import cast

from tertulia.vocabulary.untrusted import clean_text
from tertulia_server.secret_values import without_secrets
from tertulia_server.settings import TABLES, Loaded, Source, key

_EMPTY = {"toolsets": "(all)", "tools": "(all)"}


def show(loaded: Loaded) -> str:
    """Return the settings as lines of text, without secrets."""
    settings = loaded.settings
    read = "read" if loaded.file_read else "not there; defaults apply"
    lines = [f"# configuration file: {loaded.file} ({read})"]
    for name in type(settings).model_fields:
        if name in TABLES:
            continue
        source = loaded.sources[name]
        origin = "" if source is Source.DEFAULT else f"  # from {source}"
        lines.append(f"{key(name)} = {_shown(name, getattr(settings, name))}{origin}")
    lines.append("[instances.local]  # always there")
    for name, options in sorted(settings.instances.items()):
        lines.append(f"[instances.{name}]")
        lines += [f"{option} = {value}" for option, value in without_secrets(options).items()]
    for name, options in sorted(settings.agents.items()):
        lines.append(f"[agents.{name}]")
        lines += [f"{option} = {value}" for option, value in without_secrets(options).items()]
    for name, limits in sorted(settings.limits.items()):
        lines.append(f"[limits.{json.dumps(name)}]")
        lines += [f"{limit} = {value}" for limit, value in limits.model_dump(exclude_none=True).items()]
    return clean_text("\n".join(lines))


def _shown(name: str, value: object) -> object:
    if value is None or isinstance(value, tuple):
        return ", ".join(cast(tuple[str, ...], value or ())) or _EMPTY.get(name, "(none)")
    return value
