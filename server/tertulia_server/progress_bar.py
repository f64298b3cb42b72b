"""Progress bars on a terminal."""

import shutil
import sys
from importlib import import_module
from typing import Any


def progress_bar(**options: Any) -> Any:
    """Return a progress bar of tqdm on stderr; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        return None
    # Imported by name, since tqdm has no types, and only for a terminal.
    tqdm = import_module("tqdm").tqdm
    terminal = shutil.get_terminal_size()  # tqdm shows nothing on a terminal whose size it cannot read
    return tqdm(file=sys.stderr, ncols=min(terminal.columns, 100), nrows=terminal.lines, **options)
