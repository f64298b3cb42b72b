"""What a run must not skip: tests of a program that is not installed are skipped, except where a run needs them.

`TEST_NEEDS` has the names of such programs, between commas; `.ci/run` sets it.
"""

import os

VARIABLE = "TEST_NEEDS"


def needed(name: str) -> bool:
    """Return whether this run must not skip the tests of a program."""
    return name in os.environ.get(VARIABLE, "").split(",")
