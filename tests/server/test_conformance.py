"""The conformance suite and the Inspector of the protocol's makers, on Node, against our server.

The suite was made for a server that has tools, prompts and resources of its own for the purpose. What it cannot find
with us, or asks of features that we do not have, is in the baseline, each with its reason; all else must pass.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import ROOT, environment
from tests.doubles.http_server import HttpServer, Setup, http_server

FOLDER = ROOT / ".venv-typescript"
NODE = FOLDER / ("Scripts/node.exe" if os.name == "nt" else "bin/node")
MODULES = FOLDER / "node_modules" / "@modelcontextprotocol"
SUITE = MODULES / "conformance" / "dist" / "index.js"
INSPECTOR = MODULES / "inspector" / "clients" / "launcher" / "build" / "index.js"
SECONDS = 240

pytestmark = [
    pytest.mark.io,
    pytest.mark.counterpart(name="typescript", apart=True),
    pytest.mark.skipif(
        not SUITE.exists(), reason="the suite is not set up: `python3 dev.py counterparts typescript`"
    ),
]

NO_SUCH_TOOL = "asks for a tool of the suite's own; ours give text and structure"
NO_SUCH_PROMPT = "asks for a prompt of the suite's own"
NO_SUCH_RESOURCE = "asks for a resource of the suite's own"
NO_SAMPLING = "asks for a tool that samples: deprecated, and we do not"
NO_ROOTS = "asks for a tool that lists roots: deprecated, and we do not"
NO_LOGGING = "protocol logging is deprecated, and we do not: the log goes to stderr"
BASELINE: Mapping[str, str] = {
    "completion-complete": NO_SUCH_PROMPT,
    "elicitation-sep1034-general": NO_SUCH_TOOL,
    "elicitation-sep1330-general": NO_SUCH_TOOL,
    "incoming-sse-event": NO_SUCH_TOOL,
    "json-schema-2020-12-tool-found": NO_SUCH_TOOL,
    "logging-set-level": NO_LOGGING,
    "prompts-get-embedded-resource": NO_SUCH_PROMPT,
    "prompts-get-simple": NO_SUCH_PROMPT,
    "prompts-get-with-args": NO_SUCH_PROMPT,
    "prompts-get-with-image": NO_SUCH_PROMPT,
    "resources-read-binary": NO_SUCH_RESOURCE,
    "resources-read-text": NO_SUCH_RESOURCE,
    "resources-subscribe": NO_SUCH_RESOURCE,
    "resources-templates-read": NO_SUCH_RESOURCE,
    "resources-unsubscribe": NO_SUCH_RESOURCE,
    "sep-2243-server-decode-base64": "no tool of ours takes an argument from a header",
    "sep-2243-server-no-xmcp-tool": "no tool of ours takes an argument from a header",
    "sep-2243-server-reject-invalid-param-chars": "no tool of ours takes an argument from a header",
    "sep-2243-server-reject-param-mismatch": "no tool of ours takes an argument from a header",
    "sep-2243-server-validate-param-match": "no tool of ours takes an argument from a header",
    "sep-2322-elicitation-incomplete": NO_SUCH_TOOL,
    "sep-2322-list-roots-incomplete": NO_ROOTS,
    "sep-2322-multi-round-r1": NO_SUCH_TOOL,
    "sep-2322-multiple-inputs-incomplete": NO_SUCH_TOOL,
    "sep-2322-non-tool-incomplete": NO_SUCH_PROMPT,
    "sep-2322-reject-tampered-state": NO_SUCH_TOOL,
    "sep-2322-request-state-incomplete": NO_SUCH_TOOL,
    "sep-2322-respect-client-capabilities": NO_SAMPLING,
    "sep-2322-result-type-included": NO_SUCH_TOOL,
    "sep-2322-sampling-incomplete": NO_SAMPLING,
    "sep-2575-missing-capability-http-400": NO_SAMPLING,
    "sep-2575-server-rejects-undeclared-capability": NO_SAMPLING,
    "tools-call-audio": NO_SUCH_TOOL,
    "tools-call-elicitation": NO_SUCH_TOOL,
    "tools-call-embedded-resource": NO_SUCH_TOOL,
    "tools-call-image": NO_SUCH_TOOL,
    "tools-call-mixed-content": NO_SUCH_TOOL,
    "tools-call-sampling": NO_SAMPLING,
    "tools-call-with-logging": NO_LOGGING,
    "tools-call-with-progress": NO_SUCH_TOOL,
}
"""The checks that fail, by their id, and why."""
LEAST = {"2025-11-25": 40, "2026-07-28": 90}
"""How many checks pass for each revision at least: those that a release of the suite leaves out are noticed."""


@pytest.mark.anyio
@pytest.mark.parametrize("revision", LEAST)
async def test_what_the_suite_checks_holds_or_is_known_not_to(revision: str, tmp_path: Path) -> None:
    """For both revisions: nothing else fails, and no expected failure has come to pass."""
    config = tmp_path / "config.toml"
    config.write_text("discover_agents = false\ntoken = false\n")  # the suite shows no token
    setup = Setup(tmp_path / "tertulia.db", config, tmp_path / "log", {})
    async with http_server(setup) as server:
        checks = await checked(server, revision, tmp_path / "results")

    failed = {check["id"] for check in checks if check["status"] == "FAILURE"}
    passed = {check["id"] for check in checks if check["status"] == "SUCCESS"}
    assert failed - BASELINE.keys() == set()
    assert passed & BASELINE.keys() == set()
    assert len([check for check in checks if check["status"] == "SUCCESS"]) >= LEAST[revision]


async def checked(server: HttpServer, revision: str, results: Path) -> Sequence[dict[str, Any]]:
    """Run the suite; return its checks."""
    command = [str(NODE), str(SUITE), "server", "--url", server.url, "--suite", "all"]
    with anyio.fail_after(SECONDS):
        await anyio.run_process(
            [*command, "--spec-version", revision, "-o", str(results)], check=False, env=environment()
        )
    return [check for file in results.rglob("checks.json") for check in json.loads(file.read_text("utf-8"))]


def inspect(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the Inspector's command line on our server."""
    server = [sys.executable, "-m", "tertulia_server", "--store", str(tmp_path / "tertulia.db")]
    return subprocess.run(
        [str(NODE), str(INSPECTOR), "--cli", *server, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        env={**environment(), "HOME": str(tmp_path)},
    )


def call(tmp_path: Path, tool: str, **arguments: str) -> dict[str, Any]:
    """Have the Inspector call a tool; return the result."""
    given = [word for name, value in arguments.items() for word in ("--tool-arg", f"{name}={value}")]
    done = inspect(tmp_path, "--method", "tools/call", "--tool-name", tool, *given)
    result, _ = json.JSONDecoder().raw_decode(done.stdout)
    return result


def test_the_inspector_finds_no_fault_with_the_schemas(tmp_path: Path) -> None:
    """It looks for what hosts are known to stumble over."""
    done = inspect(tmp_path, "--method", "tools/list", "--strict")

    assert done.returncode == 0, done.stderr
    assert [tool["name"] for tool in json.loads(done.stdout)["tools"]] == [tool.name for tool in TOOLS]


def test_the_inspector_holds_a_conversation(tmp_path: Path) -> None:
    """Each call is a process of its own: a change is approved by the tool, a search finds it, an error is read."""
    asked = call(tmp_path, "send_message", agent="local:archivist", text='retitle this to "Renewals"')
    assert asked["structuredContent"]["status"] == "input_required"
    (request_id,) = set(re.findall(r"req_\w+", asked["content"][0]["text"]))
    decided = call(tmp_path, "confirm_tool", request_id=request_id, decision="approve")
    found = call(tmp_path, "search_conversations", query="Renewals")
    wrong = call(tmp_path, "send_message", agent="local:nobody", text="Hello?")

    assert decided["structuredContent"]["status"] == "completed"
    assert asked["structuredContent"]["conversation_id"] in str(found["structuredContent"]["matches"])
    assert wrong["isError"] is True
    assert "There is no agent local:nobody." in wrong["content"][0]["text"]
