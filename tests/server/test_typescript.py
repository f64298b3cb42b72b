"""Hosts that are built on the TypeScript SDKs show their models what goes wrong, in the words of our server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import ROOT, SECONDS, environment

FOLDER = ROOT / ".venv-typescript"
NODE = FOLDER / ("Scripts/node.exe" if os.name == "nt" else "bin/node")

pytestmark = [
    pytest.mark.io,
    pytest.mark.counterpart(name="typescript", apart=True),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").is_dir(),
        reason="the TypeScript SDKs are not set up: `python3 dev.py counterparts typescript`",
    ),
]

CALLS: list[tuple[str, dict[str, object]]] = [
    *((tool.name, {"no_such_argument": 1}) for tool in TOOLS),
    *((tool.name, {}) for tool in TOOLS if tool.tool.parameters.get("required")),
    ("send_message", {"agent": "local:archivits", "text": "help"}),
    ("cancel_run", {"conversation_id": "local:0000000000"}),
    ("add_message", {"conversation_id": "local:0000000000", "text": "Hello."}),
    ("list_agents", {"instance": "elsewhere"}),
]
"""An error of each tool, and some that carry ids."""


@pytest.mark.parametrize("sdk", ["1", "2"])
def test_a_host_gets_the_whole_of_each_error(tmp_path: Path, sdk: str) -> None:
    """SDK 1 holds the structure of an error to the schema of the result, and throws where it does not fit."""
    server = [sys.executable, "-m", "tertulia_server", "--store", str(tmp_path / "tertulia.db")]
    done = subprocess.run(
        [
            *(str(NODE), str(ROOT / "tests" / "doubles" / "typescript_host.mjs")),
            *(str(FOLDER), sdk, json.dumps(CALLS), *server),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=2 * SECONDS,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    seen: list[dict[str, Any]] = json.loads(done.stdout)

    assert len(seen) == len(CALLS)
    for result in seen:
        assert "thrown" not in result, result
        assert result["isError"] is True
        text: str = result["content"][0]["text"]
        structure = result["structuredContent"]
        assert text.startswith(f"Error ({structure['error']}")
        assert structure["message"] in text
    assert "Did you mean local:archivist?" in seen[-4]["content"][0]["text"]
