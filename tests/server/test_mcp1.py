"""A host that is built on the last release of mcp 1.x, in an environment of its own, holds a whole conversation."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import ROOT, SECONDS
from tests.support.counterparts import marks, program

pytestmark = [pytest.mark.io, *marks("mcp1")]


@pytest.fixture
def seen(tmp_path: Path) -> dict[str, Any]:
    """Return what such a host saw."""
    store = tmp_path / "tertulia.db"
    done = subprocess.run(
        [
            *(
                str(program("mcp1")),
                str(ROOT / "tests" / "doubles" / "mcp1_host.py"),
                'retitle this to "Renewals"',
            ),
            *(sys.executable, "-m", "tertulia_server", "--store", str(store)),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=2 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_host_of_mcp_1_holds_a_whole_conversation_with_an_approval(seen: dict[str, Any]) -> None:
    """It speaks the older era, and misses nothing in it."""
    assert seen["version"].startswith("1.")
    assert seen["protocol"] == "2025-11-25"
    assert "send_message" in seen["instructions"]
    assert seen["tools"] == [tool.name for tool in TOOLS]
    assert len(seen["forms"]) == 1
    assert seen["forms"][0].startswith("local:archivist wants to run the tool retitle_conversation.\n")
    assert seen["progress"]
    assert all(earlier < later for earlier, later in pairwise(seen["progress"]))
    assert seen["sent"]["status"] == "completed"
    assert "Renewals" in seen["sent"]["reply"]
    assert seen["sent"]["reply"] in seen["text"]
    assert seen["messages"] == 2
    assert seen["completed"] == "completed"
    assert seen["failed"][0] is True
    assert "create_conversation" in seen["failed"][1]
