"""Processes that begin with everything imported: one process imports it, and forks for each that is started.

Importing is most of what a server process costs, and tests start hundreds. A forked process runs a module as
`python -m` does. It has the streams, the folder and the environment of the command that starts it; the command has the
process's exit code, and passes signals on to it. Windows cannot fork: there, each process imports for itself.
"""

import atexit
import gc
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from tests.support import forked
from tests.support.once import made_once

SERVER = "tests.doubles.serve"
PROGRAM = "tertulia_server"
_IMPORTED = (
    *("tests.doubles.failpoints", "tests.doubles.stage", "pytest", "hypothesis", "apsw.aio", "uvicorn"),
    *("tertulia_server.cli", "tertulia_server.stdio", "tertulia_server.http"),
    *("tertulia.store.sqlite.engine", "tertulia.store.index.filling"),
    *("anyio._backends._asyncio", "anyio._core._sockets", "anyio.streams.tls"),
)
"""What most processes import, if not at once."""


def forked_command(module: str) -> Sequence[str]:
    """Return a command that runs a module; its arguments are to be appended."""
    if sys.platform == "win32":
        return [sys.executable, "-m", module]
    # Without `site`, and with next to nothing imported: a hundredth of a second.
    return [sys.executable, "-S", "-E", forked.__file__, _forker(), module]


def server_command() -> Sequence[str]:
    """Return the command of a server with failpoints, where the platform `stage` exists."""
    return forked_command(SERVER)


@cache
def _forker() -> str:
    """Start the process that forks, for as long as this process runs; return the address it listens at."""
    # What else is in the environment is each process's own: pytest writes each test's name into it.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONWARNINGS": "default",
        "PYTHONUTF8": "1",
    }
    sockets = Path(tempfile.mkdtemp(prefix="forking-"))  # not pytest's: the path of a socket has to be short
    address = str(sockets / "s")
    forker = subprocess.Popen(
        [sys.executable, "-m", __name__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert forker.stdout is not None
    assert forker.stdout.readline(), "the forking process did not begin"
    atexit.register(forker.communicate)  # it ends with its input, also where a process ends without this
    return address


def fork_processes(address: str) -> None:
    """Fork a process for each command that connects, until standard input is closed; remove the address then."""
    with made_once(), socket.socket(socket.AF_UNIX) as listener:
        _import_everything()
        listener.bind(address)
        listener.listen()
        print("listening", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                shutil.rmtree(Path(address).parent)
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(connection)
            connection.close()
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # processes that ended meanwhile; the one that was just forked is there, at least


def _import_everything() -> None:
    """Import what processes need, and make what they make once."""
    from tertulia_server.app import build
    from tertulia_server.settings import load

    for module in _IMPORTED:
        import_module(module)
    build(load({}, {}).settings)
    # A collection would look at all of it in each process, and the pages it looks at are copied.
    gc.collect()
    gc.freeze()


def _run(connection: socket.socket) -> None:
    """Be the process of the command at the other end."""
    length, descriptors, _, _ = socket.recv_fds(connection, forked.LENGTH_BYTES, len(forked.STREAMS))
    for stream, descriptor in zip(forked.STREAMS, descriptors, strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    with connection.makefile("rb") as command:
        module, arguments, folder, environment = marshal.loads(command.read(int.from_bytes(length, "little")))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    threading.Thread(target=_obey, args=[connection], daemon=True).start()
    code = 1
    try:
        code = _code_of(module)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([code]))
        os._exit(0)


def _code_of(module: str) -> int:
    """Run a module, and return the exit code of a process that did."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


def _obey(connection: socket.socket) -> None:
    """Give this process the signals that its command was given; kill it when the command is no more."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    fork_processes(sys.argv[1])
