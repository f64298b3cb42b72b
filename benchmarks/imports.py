"""Measure an import: messages per second of processor time, and the memory that one long record takes.

    python benchmarks/imports.py [--messages N] [--megabytes N …]

Each import has a process and a store of its own. The sessions are Claude Code's, with prose, code and what tools
returned; the long record is one result of a tool. Memory is the process's largest, beside that of a short import.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
from _measure import print_table

from tertulia import Client, ClientSettings

PER_SESSION = 200
PROSE = (
    "please look why the importer doesn't keep the getUserById calls of version 3.2.1 in src/app/importer.py and "
    "tell me what you'd change; Acme's renewal is due in June, so the naïve fix won't do. I think that we should "
    "first write a test which shows the fault, then mend it where it begins, and say so in the changelog"
).split()
OUTPUT = [
    "src/app/importer.py:120: error[E0382]: use of moved value: `record`",
    "commit 9f8e7d6c5b4a fix(parser): keep max_retry_count of ConnectionPool",
    "FAILED tests/test_importer.py::test_keeps_calls - AssertionError: 3 != 4",
    "2026-11-21T10:00:00Z INFO worker-7 handled GET /api/v2/users/42 in 12.5 ms",
]


def _record(session: int, number: int, message: dict[str, Any]) -> str:
    record = {
        "type": message["role"],
        "sessionId": f"dddddddd-0000-4999-8999-{session:012d}",
        "uuid": f"u{number}",
        "cwd": "/home/me/project",
        "timestamp": f"2026-01-{1 + session % 28:02d}T{number % 24:02d}:{number % 60:02d}:00Z",
        "message": message,
    }
    return json.dumps(record)


def write_sessions(folder: Path, count: int) -> None:
    """Write sessions that have `count` messages together, about."""
    made = random.Random(20261128)

    def prose(length: int) -> str:
        return " ".join(made.choices(PROSE, k=length))

    for session in range(count // PER_SESSION):
        lines: list[str] = []
        for number in range(0, PER_SESSION, 4):
            call = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": prose(8)}}
            result = {
                "type": "tool_result",
                "tool_use_id": f"t{number}",
                "content": "\n".join(made.choices(OUTPUT, k=12)),
            }
            spoken = {"type": "text", "text": prose(60)}
            lines += [
                _record(session, number, {"role": "user", "content": prose(30)}),
                _record(session, number + 1, {"role": "assistant", "content": [spoken, call]}),
                _record(session, number + 2, {"role": "user", "content": [result]}),
            ]
        (folder / f"{session}.jsonl").write_text("\n".join(lines), "utf-8")


def write_long_record(path: Path, megabytes: int) -> None:
    """Write a session with one tool's result of so many megabytes."""
    result = "\n".join(f"line {i} some log words here" for i in range(megabytes * 31_000))
    block = {"type": "tool_result", "tool_use_id": "t1", "content": result}
    lines = [
        _record(megabytes, 1, {"role": "user", "content": "go"}),
        _record(megabytes, 2, {"role": "user", "content": [block]}),
    ]
    path.write_text("\n".join(lines), "utf-8")


def import_once(path: Path, store: Path) -> None:
    """Import in this process; print the number of messages, the seconds of processor time and the megabytes."""

    async def work() -> int:
        async with Client.open(ClientSettings(store=store)) as client:
            return (await client.history.import_files([path])).messages

    begun = time.process_time()
    messages = anyio.run(work)
    seconds = time.process_time() - begun
    print(messages, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(path: Path, store: Path) -> tuple[int, float, float]:
    """Import in a process of its own; return what `import_once` prints."""
    command = [sys.executable, __file__, "--once", str(path), str(store)]
    messages, seconds, megabytes = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.split()
    return int(messages), float(seconds), float(megabytes)


def main(messages: int, megabytes: list[int]) -> None:
    """Measure, and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sessions = folder / "sessions"
        sessions.mkdir()
        write_sessions(sessions, messages)
        count, seconds, _ = measured(sessions, folder / "sessions.db")
        print_table(
            ("sessions", "messages", "seconds of processor time", "messages a second"),
            [["of 200 messages, 65 words each", count, seconds, count / seconds]],
        )
        short = folder / "short.jsonl"
        write_long_record(short, 0)
        *_, base = measured(short, folder / "short.db")
        rows: list[list[str | float | int]] = []
        for size in megabytes:
            path = folder / f"{size}.jsonl"
            write_long_record(path, size)
            length = path.stat().st_size / (1 << 20)
            _, seconds, most = measured(path, folder / f"{size}.db")
            rows.append([f"{length:.1f} MiB", seconds, most, most - base, (most - base) / length])
        print(f"a short import takes {base:.0f} MiB")
        print_table(("one record of", "seconds of processor time", "MiB", "MiB more", "per MiB"), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure an import.")
    parser.add_argument("--messages", type=int, default=20_000, help="how many (default: 20,000)")
    parser.add_argument("--megabytes", type=int, nargs="*", default=[5, 20, 60], help="of the long records")
    parser.add_argument("--once", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        import_once(*given.once)
    else:
        main(given.messages, given.megabytes)
