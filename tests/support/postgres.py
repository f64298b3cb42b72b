"""A PostgreSQL server for the tests: one that a URL names, or a server of the programs that are installed.

`TEST_POSTGRES` has the URL; its user may create databases. Where there is neither, tests are skipped, or fail
where `TEST_NEEDS` names `postgres`.
"""

import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import anyio.lowlevel
import psycopg
import pytest

from tertulia.vocabulary.location import PostgresUrl
from tests.support.needs import needed

URL = "TEST_POSTGRES"
INSTALLED = "/usr/lib/postgresql"
USER = "postgres"
"""Who runs the server where we are root, which it refuses."""
_OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "autovacuum": "off",
    "track_activities": "on",
}
_STOP = '[ ! -e "$1/postmaster.pid" ] || "$0" -D "$1" -w -m immediate stop >/dev/null; rm -rf "$2"'


@contextmanager
def server() -> Generator[str]:
    """Have a server; return the URL of its database `postgres`. Skip the test where there is none."""
    if os.environ.get(URL):
        yield os.environ[URL]
        return
    with own_server() as own:
        yield own.url


@contextmanager
def own_server(**options: str) -> "Generator[Server]":
    """Have a server that the test may stop and start, with options beside ours.

    Skip the test where no programs are installed.
    """
    programs = installed_programs()
    if programs is None:
        reason = f"no PostgreSQL: {URL} names none, and no programs of it (initdb) are installed"
        if needed("postgres"):
            pytest.fail(reason)
        pytest.skip(reason)
    with _folder(programs) as folder:
        run_unprivileged(
            programs / "initdb",
            "--no-sync",
            "--auth=trust",
            f"--username={USER}",
            "--encoding=UTF8",
            "--locale=C",
            folder / "data",
        )
        own = Server(programs, folder, {**_OPTIONS, **options})
        own.start()
        yield own


@contextmanager
def standby_of(primary: "Server") -> "Generator[Server]":
    """Have a server that follows another one, as whose copy it begins; the other is restarted for that."""
    with _folder(primary.programs) as folder:
        primary.stop("fast")
        run_unprivileged("cp", "-R", primary.data, folder)
        primary.start()
        standby = Server(
            primary.programs,
            folder,
            {
                **_OPTIONS,
                "primary_conninfo": f"host={primary.folder} user={USER}",
                "recovery_target_timeline": "latest",
            },
        )
        run_unprivileged("touch", standby.data / "standby.signal")
        standby.start()
        yield standby


@contextmanager
def _folder(programs: Path) -> Generator[Path]:
    """Have a folder for a server, which is stopped at the end if it runs."""
    folder = Path(tempfile.mkdtemp(prefix="tertulia-postgres-"))
    give_away(folder)
    with at_the_end(_STOP, programs / "pg_ctl", folder / "data", folder):
        yield folder


class Server:
    """A server in a folder of its own, which it listens in."""

    def __init__(self, programs: Path, folder: Path, options: Mapping[str, str]) -> None:
        self.programs = programs
        self.folder = folder
        self.data = folder / "data"
        given = {**options, "unix_socket_directories": str(folder)}
        self._options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in given.items())

    @property
    def url(self) -> str:
        """The URL of its database `postgres`."""
        return f"postgresql:///postgres?host={self.folder}&user={USER}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        log = self.folder / "log"
        self._control("-l", log, "-o", self._options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `immediate` as a crash does, `fast` with an end to all connections."""
        self._control("-m", mode, "stop")

    def promote(self) -> None:
        """Have a standby take writes from now on."""
        self._control("promote")

    def _control(self, *arguments: str | Path) -> None:
        run_unprivileged(self.programs / "pg_ctl", "-D", self.data, "-w", *arguments)


class Database:
    """A database for one store after the other."""

    def __init__(self, url: str) -> None:
        self.url = PostgresUrl(url)
        self._emptying = b""
        self.connect()

    @classmethod
    @contextmanager
    def made(cls, url: str) -> Generator[Self]:
        """Make a database in the server at `url`; it is gone at the end."""
        name = f"tertulia_{secrets.token_hex(6)}"
        _execute(url, f"CREATE DATABASE {name}")
        database = cls(_at(url, name))
        try:
            yield database
        finally:
            database.close()
            _execute(url, f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, sql: str) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute a statement, as somebody beside the store does."""
        return self._connection.execute(sql.encode())

    def clear(self) -> None:
        """Delete all rows; of a few, that takes a tenth of what TRUNCATE takes."""
        if not self._emptying:
            tables = self.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'tertulia'").fetchall()
            self._emptying = "; ".join(
                f"DELETE FROM tertulia.{name}{_KEPT if name == 'meta' else ''}" for (name,) in tables
            ).encode()
        self._connection.execute(self._emptying)

    def connect(self) -> None:
        """Connect to it: at the beginning, and when the server was restarted."""
        self._connection = psycopg.connect(self.url.url, autocommit=True)

    def close(self) -> None:
        """Close the connection to it."""
        self._connection.close()


def _execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


async def somebody_waits(database: Database) -> None:
    """Return once a transaction of the database waits for another's lock."""
    while database.execute(_WAITING).fetchone() == (0,):
        await anyio.lowlevel.checkpoint()


_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def _at(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc}/{name}?{parts.query}"


_KEPT = " WHERE name NOT IN ('version', 'epoch')"


def installed_programs() -> Path | None:
    """Return the folder of the programs on the PATH, or else of the newest that are installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = Path(INSTALLED)
    folders = installed.glob("*/bin/initdb") if installed.is_dir() else ()
    return max((each.parent for each in folders), key=lambda each: float(each.parent.name), default=None)


def run_unprivileged(*command: str | Path) -> None:
    """Run a program that refuses to be run by root."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **_as_user())


@contextmanager
def at_the_end(script: str, *arguments: str | Path) -> Generator[None]:
    """Have a shell run a script, not as root, at the end of the context, or of this process however it ends.

    What was started for a test does not outlive a run that is killed.
    """
    with subprocess.Popen(
        ["sh", "-c", f"read -r _; {script}", *arguments],
        stdin=subprocess.PIPE,  # it ends with us
        cwd="/",
        start_new_session=True,  # a Ctrl-C is for us
        **_as_user(),
    ):
        yield


def give_away(*paths: Path) -> None:
    """Let who runs unprivileged programs have files that are ours."""
    user = _as_user()["user"]
    if user is not None:
        for path in paths:
            shutil.chown(path, user)


def _as_user() -> dict[str, Any]:
    user = USER if os.name != "nt" and os.geteuid() == 0 else None
    return {"user": user, "group": user, "extra_groups": None if user is None else []}
