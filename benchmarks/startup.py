"""Start-up: from starting the process to the answer to the first `tools/list`, over stdio, beside the bare SDK.

Run it with the environment that dev.py makes: `.venv/bin/python benchmarks/startup.py [--runs N]`. What is held is the
ratio (at most 1.25), since milliseconds do not travel. Where other programs use the machine, the time of the processor
tells more than the time that passes.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from _measure import print_table
from _stdio import BARE, first_list, tertulia_command


def main() -> None:
    """Measure both in turn, so that a machine whose speed drifts is fair to both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs: int = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        server = tertulia_command(Path(folder) / "store.db")
        first_list(BARE)
        first_list(server)
        pairs = [(first_list(BARE), first_list(server)) for _ in range(runs)]
    rows = [
        [
            name,
            median(start.passed for start in starts),
            median(start.passed / bare.passed for start, (bare, _) in zip(starts, pairs, strict=True)),
            median(start.busy for start in starts),
            median(start.busy / bare.busy for start, (bare, _) in zip(starts, pairs, strict=True)),
        ]
        for name, starts in zip(("bare SDK", "tertulia"), zip(*pairs, strict=True), strict=True)
    ]
    print_table(["to the first tools/list", "median ms", "ratio", "CPU ms", "ratio"], rows)


if __name__ == "__main__":
    main()
