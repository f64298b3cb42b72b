"""Progress bars, for a person who looks at a terminal."""

import shutil
import sys
from importlib import import_module
from typing import Any


def bar(**options: Any) -> Any:
    """Return a bar of tqdm on stderr, or None where that is no terminal."""
    if not sys.stderr.isatty():
        return None
    # By name: tqdm brings no types, and is imported for a terminal only.
    tqdm = import_module("tqdm").tqdm
    terminal = shutil.get_terminal_size()  # tqdm shows nothing on one that does not tell its size
    return tqdm(file=sys.stderr, ncols=min(terminal.columns, 100), nrows=terminal.lines, **options)
