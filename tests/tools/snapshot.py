"""Stored snapshots: a test fails when what it is given differs from what is stored, until that is renewed on purpose.

TERTULIA_RENEW_SNAPSHOTS=1 python3 dev.py test tests/tools
"""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).with_name("snapshots")
RENEW = "TERTULIA_RENEW_SNAPSHOTS"

_CHANGING = re.compile(
    r"""
      (?P<mark> (?<=<) (?:/?) q[0-9a-hjkmnp-tv-z]{16} (?=>) )
    | (?P<run> \b run_[0-9a-z]{16} )
    | (?P<request> \b req_[0-9a-z]{16} )
    | (?P<message> \b m_[0-9a-z]{10,16} \b )
    | (?P<seconds> (?<= seconds:\ ) [\d.]+ | (?<= [snt]":\ ) \d+\.\d+ )
    | (?P<branch> \b b_[0-9a-z]{8} \b )
    | (?P<conversation> (?<= stage: ) [0-9a-z]{10} \b )
    | (?P<time> \b \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ )
    | (?P<cursor> (?<= ["\ ] ) (?= [\w-]* [A-Z0-9]) [\w-]{24,} (?= ["\n] ) )
    """,
    re.VERBOSE,
)


def stable(text: str) -> str:
    """Return `text` with whatever differs from run to run as a numbered placeholder: the same for the same value."""
    known: dict[tuple[str, str], int] = {}

    def placeholder(match: re.Match[str]) -> str:
        kind, value = str(match.lastgroup), match.group()
        slash, value = ("/", value[1:]) if value.startswith("/") else ("", value)
        number = known.setdefault((kind, value), sum(each == kind for each, _ in known) + 1)
        return f"{slash}{kind}-{number}"

    return _CHANGING.sub(placeholder, text)


def check(name: str, found: str, *, folder: Path = FOLDER) -> None:
    """See that `found` is what is stored under `name`, or store it if snapshots are renewed."""
    path = folder / name
    if os.environ.get(RENEW):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, "utf-8", newline="\n")
    assert path.is_file(), f"There is no snapshot {name}; store it with {RENEW}=1."
    assert found == path.read_text("utf-8"), (
        f"{name} is not as stored; if that is meant, renew it with {RENEW}=1."
    )
