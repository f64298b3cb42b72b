"""Where the programs whose sessions can be followed keep them."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def known_places(environment: Mapping[str, str], home: Path) -> Sequence[Path]:
    """Return the folders and files in which the known programs keep their sessions, whether they are there or not."""

    def place(variable: str | None, default: str, *parts: str) -> Path:
        named = environment.get(variable) if variable is not None else None
        return Path(named, *parts) if named else Path(home, default, *parts)

    return [
        place("CLAUDE_CONFIG_DIR", ".claude", "projects"),
        place("CODEX_HOME", ".codex", "sessions"),
        place(None, ".gemini", "tmp"),
        place(None, ".qwen", "projects"),
        place(None, ".cursor", "projects"),
        place("COPILOT_HOME", ".copilot", "session-state"),
        place(None, ".pi", "agent", "sessions"),
        place(None, ".openclaw", "agents"),
        place("XDG_DATA_HOME", ".local/share", "opencode", "opencode.db"),
    ]
