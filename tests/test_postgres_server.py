"""The PostgreSQL servers that tests start for themselves are gone when the tests are."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.postgres import installed_programs

pytestmark = [
    pytest.mark.io,
    pytest.mark.skipif(installed_programs() is None, reason="no programs of PostgreSQL are installed"),
]

SECONDS = 60
PROGRAM = """
from tests.support.postgres import own_server
with own_server() as server:
    print(server.folder, flush=True)
    input()
"""


@pytest.mark.parametrize("killed", [True, False])
def test_a_server_ends_with_the_tests(killed: bool) -> None:
    """Nothing runs on and no folder stays, also where they are killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        assert (folder / "data" / "postmaster.pid").exists()
        if killed:
            tests.kill()
        output = tests.communicate("\n", timeout=SECONDS)  # whoever has its stderr has ended, too

    assert output == ("", "")
    assert not folder.exists()
