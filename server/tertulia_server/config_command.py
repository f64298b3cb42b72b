"""`tertulia config`: what is in force, and where it comes from."""

from typing import cast

from tertulia_server.settings import Loaded, Source, spelled, without_secrets

_EMPTY = {"toolsets": "(all)", "tools": "(all)"}


def show(loaded: Loaded) -> str:
    """Return the settings as lines for a person, without secrets."""
    settings = loaded.settings
    read = "read" if loaded.file_read else "not there; defaults apply"
    lines = [f"# configuration file: {loaded.file} ({read})"]
    for name in type(settings).model_fields:
        if name == "instances":
            continue
        value = getattr(settings, name)
        value = () if value is None else value
        shown = (
            ", ".join(cast(tuple[str, ...], value)) or _EMPTY.get(name, "(none)")
            if isinstance(value, tuple)
            else value
        )
        source = loaded.sources[name]
        lines.append(
            f"{spelled(name)} = {shown}" + ("" if source is Source.DEFAULT else f"  # from {source}")
        )
    lines.append("[instances.local]  # always there")
    for name, options in sorted(settings.instances.items()):
        lines.append(f"[instances.{name}]")
        lines += [f"{key} = {value}" for key, value in without_secrets(options).items()]
    return "\n".join(lines)
