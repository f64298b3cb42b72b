"""pgbouncer on loopback, in transaction mode: each transaction may be in another connection to the server."""

import shutil
import socket
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict

from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.hosts import SECONDS
from tests.doubles.proxy import free_port
from tests.support.needs import needed
from tests.support.postgres import at_the_end, give_away, run_unprivileged

_SETTINGS = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
ignore_startup_parameters = extra_float_digits
logfile = {folder}/log
pidfile = {folder}/pid
"""
_STOP = '[ ! -e "$0" ] || kill "$(cat "$0")"'


@contextmanager
def pgbouncer(url: PostgresUrl) -> Generator[PostgresUrl]:
    """Have a pooler before the server of a database; yield the URL of the database through it.

    The test is skipped where it is not installed.
    """
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        reason = "pgbouncer is not installed"
        if needed("pgbouncer"):
            pytest.fail(reason)
        pytest.skip(reason)
    named = conninfo_to_dict(url.url)
    server = " ".join(f"{name}={named[name]}" for name in ("host", "port", "password") if name in named)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tertulia-pgbouncer-") as name:
        folder = Path(name)
        settings = folder / "settings.ini"
        server = f"{server} auth_user={named['user']} user={named['user']}"
        settings.write_text(_SETTINGS.format(server=server, port=port, folder=folder))
        give_away(folder, settings)
        with at_the_end(_STOP, folder / "pid"):
            run_unprivileged(program, "--daemon", settings)
            _wait_for(port)
            database = urlsplit(url.url).path
            query = urlencode({"sslmode": "disable"})
            yield PostgresUrl(f"postgresql://{named['user']}@127.0.0.1:{port}{database}?{query}")


def _wait_for(port: int) -> None:
    """Return once somebody listens at a port; nothing tells us when."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "pgbouncer did not start"
        else:
            return
