"""Progress bars, for a person who looks at a terminal."""

import sys
from importlib import import_module
from typing import Any


def bar(**options: Any) -> Any:
    """Return a bar of tqdm on stderr, or None where that is no terminal."""
    if not sys.stderr.isatty():
        return None
    # By name: tqdm brings no types, and is imported for a terminal only.
    return import_module("tqdm").tqdm(file=sys.stderr, **options)
