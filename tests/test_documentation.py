"""The Python examples in the documents run as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 60


def examples() -> Iterator[Any]:
    """Yield each example, named by its document and line."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text("utf-8")
        for found in EXAMPLE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield pytest.param(found[1], id=f"{path.relative_to(ROOT).as_posix()}:{line}")


@pytest.mark.io
@pytest.mark.parametrize("program", list(examples()))
def test_an_example_runs(program: str, tmp_path: Path) -> None:
    """It ends well, in an empty folder that is also the home of the person who runs it."""
    (tmp_path / ".claude" / "projects").mkdir(parents=True)
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout
