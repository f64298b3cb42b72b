"""Server processes that begin with everything imported: one process imports it, and forks for each that is started.

Importing is most of what a server process costs, and tests start a hundred. A forked server has the streams, the folder
and the environment of the command that starts it; the command has the server's exit code, and passes signals on to it.
Windows cannot fork: there, each server imports for itself.
"""

import atexit
import json
import os
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
from pathlib import Path

SERVER = "tests.doubles.serve"
STANDARD_STREAMS = (0, 1, 2)


def server_command() -> Sequence[str]:
    """Return the command of a server; its arguments are to be appended."""
    if sys.platform == "win32":
        return [sys.executable, "-m", SERVER]
    # Without `site`, and with nothing imported beyond the standard library: a hundredth of a second.
    return [sys.executable, "-S", "-E", __file__, "start", _forker()]


@cache
def _forker() -> str:
    """Start the process that forks, for as long as this process runs; return the address it listens at."""
    # What else is in the environment is each server's own: pytest writes each test's name into it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "default"}
    sockets = Path(tempfile.mkdtemp(prefix="forking-"))  # not pytest's: the path of a socket has to be short
    address = str(sockets / "s")
    forker = subprocess.Popen(
        [sys.executable, "-m", __name__, "fork", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert forker.stdout is not None
    assert forker.stdout.readline(), "the forking process did not begin"
    atexit.register(forker.communicate)  # it ends with its input, also where a process ends without this
    return address


def fork_servers(address: str) -> None:
    """Fork a server for each command that connects, until standard input is closed; remove the address then."""
    from tertulia_server import stdio
    from tertulia_server.settings import load

    stdio.build(load({}, {}).settings)  # the tools are made once in a process
    with socket.socket(socket.AF_UNIX) as listener:
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
                _serve(connection)
            connection.close()
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # servers that ended meanwhile; the one that was just forked is there, at least


def _serve(connection: socket.socket) -> None:
    """Be the server of the command at the other end."""
    from tests.doubles.serve import serve

    _, descriptors, _, _ = socket.recv_fds(connection, 1, len(STANDARD_STREAMS))
    for standard, descriptor in zip(STANDARD_STREAMS, descriptors, strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    with connection.makefile() as lines:
        arguments, folder, environment = json.loads(lines.readline())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    threading.Thread(target=_obey, args=[connection], daemon=True).start()
    code: object = 1
    try:
        code = serve()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([code if isinstance(code, int) else 1]))
        os._exit(0)


def _obey(connection: socket.socket) -> None:
    """Give this process the signals that its command was given; kill it when the command is no more."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


def start_server(address: str, arguments: Sequence[str]) -> int:
    """Have a server forked that has this process's streams, and wait for its end; return its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"\n"], STANDARD_STREAMS)
        connection.sendall(json.dumps([arguments, str(Path.cwd()), dict(os.environ)]).encode() + b"\n")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
        # The server alone holds the streams: they end with it.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in STANDARD_STREAMS:
            os.dup2(nowhere, standard)
        code = connection.recv(1)
    return code[0] if code else 1


if __name__ == "__main__":
    if sys.argv[1] == "fork":
        fork_servers(sys.argv[2])
    else:
        sys.exit(start_server(sys.argv[2], sys.argv[3:]))
