"""Programs that others made, each in an environment of its own (`dev.py counterparts`)."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def program(name: str, command: str = "python") -> Path:
    """Return a command of a counterpart's environment."""
    windows = sys.platform == "win32"
    return ROOT / f".venv-{name}" / (f"Scripts/{command}.exe" if windows else f"bin/{command}")


def marks(name: str) -> Sequence[pytest.MarkDecorator]:
    """Return the marks of what is tested with it."""
    return [
        pytest.mark.counterpart(name=name, apart=True),
        pytest.mark.skipif(
            not program(name).exists(), reason=f"{name} is not set up: `python3 dev.py counterparts {name}`"
        ),
    ]
