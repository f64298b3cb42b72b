"""A person at a terminal: a program behind a pseudo terminal, typed at and read."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from tests.doubles.hosts import ROOT, SECONDS, environment

CTRL_C = "\x03"
CTRL_D = "\x04"
SOON = 3.0
"""For how many seconds it is looked for what may not come."""

# The program is the leader of a session whose terminal this is: Ctrl-C reaches it as from a keyboard.
_BEGIN = """
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for standard in range(3):
    os.dup2(terminal, standard)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])
"""


class Terminal:
    """A running program and what it wrote. `shown` is everything so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int, theirs: int) -> None:
        self._process = process
        self._descriptor = descriptor
        self._theirs: int | None = theirs
        self._read = 0
        self.shown = ""

    def type(self, text: str) -> None:
        """Type, as on a keyboard: a line ends with a line feed."""
        os.write(self._descriptor, text.encode())

    def until(self, text: str) -> str:
        """Read until `text` is shown behind what was waited for last; return what came before it."""
        deadline = time.monotonic() + SECONDS
        while (found := self.shown.find(text, self._read)) < 0:
            assert self._more(deadline), f"no {text!r} in {self.shown[self._read :]!r}"
        before, self._read = self.shown[self._read : found], found + len(text)
        return before

    def shows(self, text: str) -> bool:
        """Whether `text` is shown soon, behind what was waited for last."""
        deadline = time.monotonic() + SOON
        while self.shown.find(text, self._read) < 0:
            if not self._more(deadline):
                return False
        return True

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while self._more(time.monotonic() + SECONDS):
            pass
        return self._process.wait(SECONDS)

    def close_theirs(self) -> None:
        """Leave the program alone with its end, so that its ending is seen; not before it has opened it."""
        if self._theirs is not None:
            os.close(self._theirs)
            self._theirs = None

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            read = os.read(self._descriptor, 65_536)
        except OSError:  # so does Linux tell that the program has ended
            return False
        self.shown += read.decode(errors="replace").replace("\r\n", "\n")
        self.close_theirs()
        return bool(read)


@contextmanager
def terminal(module: str, *arguments: str, variables: Mapping[str, str] | None = None) -> Generator[Terminal]:
    """Run a module of Python behind a terminal, with environment variables of its own."""
    ours, theirs = os.openpty()
    command: Sequence[str] = [sys.executable, "-c", _BEGIN, os.ttyname(theirs), module, *arguments]
    env = {**environment(), "TERM": "dumb", "PYTHONUTF8": "1", **(variables or {})}
    process = subprocess.Popen(command, start_new_session=True, cwd=ROOT, env=env)
    running = Terminal(process, ours, theirs)
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        running.close_theirs()
