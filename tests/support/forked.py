"""What stands for a forked process where a command is started: `forked.py ADDRESS MODULE ARGUMENTS`.

It has the exit code of the process that is forked for it, and passes signals on to it. Tests start hundreds, so it
imports next to nothing: neither `signal` nor `socket`, only what Python builds them of.
"""

import marshal
import os
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOL_SOCKET, socket
from array import array

TYPE_CHECKING = False  # type checkers believe that it is true, and know `signal` alone
if TYPE_CHECKING:
    from signal import SIGINT, SIGTERM, signal
else:
    from _signal import SIGINT, SIGTERM, signal

STREAMS = (0, 1, 2)
LENGTH_BYTES = 4
"""How long the number is that tells how long a command is, the least significant byte first."""


def main(address: str, module: str, *arguments: str) -> int:
    """Have a module run by a process that has this one's streams, folder and environment; return its exit code."""
    connection = socket(AF_UNIX)
    connection.connect(address)
    command = marshal.dumps((module, arguments, os.getcwd(), dict(os.environ)))  # noqa: PTH109 - pathlib is slow to import
    length = len(command).to_bytes(LENGTH_BYTES, "little")
    connection.sendmsg([length], [(SOL_SOCKET, SCM_RIGHTS, array("i", STREAMS))])
    connection.sendall(command)
    for number in (SIGTERM, SIGINT):
        signal(number, lambda number, _: connection.sendall(bytes([number])))
    # The process alone holds the streams: they end with it.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in STREAMS:
        os.dup2(nowhere, stream)
    code = connection.recv(1)
    return code[0] if code else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
