"""Run the benchmarks of speed in rounds, in turn, and write the medians to docs/performance.md.

`python3 dev.py bench [--rounds N] [--postgres URL] [NAME...]`. In turn, because a machine's speed drifts and others
use it: what was measured in one round was measured on the same machine. What counts are the ratios to the floor beside
them. `engines` fills the database at URL, and is left out without one.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _measure import ROWS, read_tables

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
NUMBER = re.compile(r"-?[\d,]+(\.\d+)?")

ENGINES = "engines"
COMMANDS: Mapping[str, Sequence[str]] = {
    "startup": ("startup.py", "--runs", "5"),
    "calls": ("calls.py", "--calls", "200"),
    "calls-http": ("calls.py", "--calls", "200", "--http"),
    "events": ("events.py", "--events", "20000"),
    "sends": ("sends.py", "--sends", "40", "--seconds", "4"),
    "texts": ("texts.py",),
    "streams": ("streams.py", "--rate", "40"),
    "streams-busy": ("streams.py", "--rate", "400"),
    "lists": ("lists.py", "--store", "{stores}/lists.db"),
    "search": ("search.py", "--messages", "100000", "--store", "{stores}/search.db"),
    "deleting": ("deleting.py", "--messages", "20000"),
    "imports": ("imports.py", "--messages", "10000"),
    "mail": ("mail.py", "--messages", "40"),
    ENGINES: ("engines.py", "--store", "{postgres}"),
}
"""By name: a script and its arguments. Stores are built in the first round and used again in the others."""

Table = list[list[str]]


def run(name: str, stores: str, postgres: str | None) -> list[Table]:
    """Run a benchmark; return the tables that it printed, heads first. It prints none where it cannot be run."""
    script, *arguments = (part.format(stores=stores, postgres=postgres) for part in COMMANDS[name])
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as rows:
        subprocess.run(
            [sys.executable, str(FOLDER / script), *arguments],
            env={**os.environ, ROWS: rows.name},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return read_tables(Path(rows.name))


def median_table(tables: Sequence[Table]) -> Table:
    """Return one table of the medians of several alike; a row that not all have is left out."""
    head, *rows = tables[0]
    others = [{row[0]: row for row in table[1:]} for table in tables]
    common = [row[0] for row in rows if all(row[0] in other for other in others)]
    return [
        head,
        *([_median([other[name][i] for other in others]) for i in range(len(head))] for name in common),
    ]


def _median(cells: Sequence[str]) -> str:
    if not all(NUMBER.fullmatch(cell) for cell in cells):
        return cells[0]
    middle = statistics.median(float(cell.replace(",", "")) for cell in cells)
    return f"{middle:,.0f}" if "." not in cells[0] else f"{middle:,.{3 if abs(middle) < 10 else 1}f}"


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    head, *rows = table
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(name: str, tables: Sequence[Table], rounds: int) -> str:
    """Return what the page says of a benchmark."""
    options = " ".join(COMMANDS[name]).format(stores="", postgres="URL")
    command = options.replace("--store /", "--store ")
    today, cores = datetime.now(UTC).date(), os.cpu_count()
    how = f"{today}, {rounds} round{'s' * (rounds > 1)}, Python {platform.python_version()}, {cores} shared cores"
    return "\n\n".join([f"`{command}`: {how}.", *map(markdown, tables)])


def write_page(measured: Mapping[str, str]) -> None:
    """Write these sections between the marks of the page; those of other benchmarks stay."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    between, _, after = rest.partition(END)
    known = {
        name: text.strip() for name, _, text in (part.partition("\n") for part in between.split("### ")[1:])
    }
    sections = {**known, **measured}
    text = "\n\n".join(f"### {name}\n\n{sections[name]}" for name in COMMANDS if name in sections)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def main() -> None:
    """Read the command line, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(COMMANDS)} (default: all)"
    )
    parser.add_argument("--postgres", metavar="URL", help="an empty database, for engines")
    given: Any = parser.parse_args()
    if unknown := [name for name in given.names if name not in COMMANDS]:
        parser.error(f"there is no benchmark {unknown[0]!r}. Valid: {', '.join(COMMANDS)}.")
    names: Sequence[str] = given.names or [name for name in COMMANDS if name != ENGINES or given.postgres]
    if ENGINES in names and given.postgres is None:
        parser.error("engines needs --postgres URL")
    found: dict[str, list[list[Table]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as stores:
        for number in range(given.rounds):
            for name in names:
                print(f"round {number + 1} of {given.rounds}: {name}", file=sys.stderr, flush=True)
                found[name].append(run(name, stores, given.postgres))
    for name, runs in found.items():
        tables = [median_table(alike) for alike in zip(*runs, strict=False)]
        if not tables:
            print(f"skipped: {name}", file=sys.stderr)
            continue
        write_page({name: section(name, tables, given.rounds)})


if __name__ == "__main__":
    main()
