"""Start-up: from starting the process to the answer to the first `tools/list`, over stdio, beside the bare SDK.

Run it with the environment that dev.py makes: `.venv/bin/python benchmarks/startup.py [--runs N]`. What is held is the
ratio (at most 1.25), since milliseconds do not travel.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from _measure import print_table
from _stdio import BARE, first_list_ms, tertulia_command


def main() -> None:
    """Measure both in turn, so that a machine whose speed drifts is fair to both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs: int = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        server = tertulia_command(Path(folder) / "store.db")
        first_list_ms(BARE)
        first_list_ms(server)
        pairs = [(first_list_ms(BARE), first_list_ms(server)) for _ in range(runs)]
    bare, own = statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)
    print_table(
        ["to the first tools/list", "median ms", "ratio"],
        [["bare SDK", bare, 1.0], ["tertulia", own, statistics.median(b / a for a, b in pairs)]],
    )


if __name__ == "__main__":
    main()
