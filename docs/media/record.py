"""Record what the README shows: `.venv/bin/python -m docs.media.record [NAME]` writes docs/media/NAME.svg.

The commands run as they are shown, behind a pseudo terminal, in a home folder made for the purpose. What they print is
drawn as it is, but for the name of that folder; only the pauses are made.
"""

import json
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

from docs.media import history
from docs.media.drawing import COLUMNS, Piece, draw
from tests.client.platforms.test_acp_programs import MODULES, PROGRAMS, Program
from tests.doubles import model
from tests.doubles.terminal import CTRL_D, terminal

MEDIA = Path(__file__).resolve().parent
HOME = "/home/ana"
"""How the home folder is shown."""


@dataclass
class Recording:
    """What a terminal showed while commands ran in somebody's home folder."""

    title: str
    description: str
    home: Path
    pieces: list[Piece] = field(default_factory=list[Piece])

    def run(self, command: str, *answers: tuple[str, str]) -> None:
        """Run a command of Tertulia's, and type an answer at each prompt."""
        self.pieces += [Piece("$ ", "prompt"), Piece(f"{command}\n", "typed")]
        arguments = [word.replace("~", str(self.home)) for word in shlex.split(command)[1:]]
        with terminal("tertulia_server", *arguments, variables=self._variables()) as screen:
            for prompt, answer in answers:
                screen.until(prompt)
                screen.type(answer)
            code = screen.end()
        assert code == 0, screen.shown
        shown = screen.shown.replace(str(self.home), HOME)
        for prompt, answer in answers:
            echo = answer.strip(f"\n{CTRL_D}")
            before, _, shown = shown.partition(prompt + echo)
            self.pieces += [Piece(before + prompt), Piece(echo, "typed")]
        self.pieces.append(Piece(f"{shown.rstrip()}\n\n"))

    def drawn(self) -> str:
        """Return it as SVG."""
        return draw(self.title, self.description, self.pieces)

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(piece.text for piece in self.pieces)

    def _variables(self) -> Mapping[str, str]:
        folders = {"XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share"}
        own = {name: str(self.home / folder) for name, folder in folders.items()}
        # Its bar overwrites itself, which a picture cannot show.
        return {"HOME": str(self.home), "COLUMNS": str(COLUMNS), "TQDM_DISABLE": "1", **own}


def search(home: Path) -> Recording:
    """Bring in what was said to three programs, and find something in it."""
    history.write(home)
    recording = Recording(
        "everything you ever said to any agent",
        "A terminal: three histories are imported, “cart rounding” is searched, and the second match is read.",
        home,
    )
    recording.run("tertulia import ~/.claude/projects ~/.codex/sessions ~/Downloads/chatgpt-export.zip")
    recording.run("tertulia search cart rounding", ("Enter leaves)? ", "2\n"))
    return recording


REVIEW = [
    {
        "text": "I ask Codex.",
        "call": "send_message",
        "with": {"agent": "codex:agent", "text": "Review #57: Cart.total rounds once, at the end."},
    },
    {"text": "Codex agrees on the cart. But invoice.py still rounds each line."},
]
REVIEWED = [{"text": "Right for the cart. But invoice.py still rounds each line on its own."}]


def agents(home: Path) -> Recording:
    """Have Claude Code ask Codex, with an approval: the real programs, whose model is a script."""
    recording = Recording(
        "one agent asks another, and you approve",
        "A terminal: Claude Code is told to ask Codex, asks for an approval to do so, and answers.",
        home,
    )
    with scripted_model({"41": REVIEW, "57": REVIEWED}) as url:
        configuration = home / ".config" / "tertulia" / "config.toml"
        configuration.parent.mkdir(parents=True)
        (home / "shop").mkdir()
        programs = [program for program in PROGRAMS if program.name in {"claude", "codex"}]
        configuration.write_text("".join(instance(home, program, url) for program in programs), "utf-8")
        try:
            recording.run(
                "tertulia chat claude:agent",
                ("\n> ", "Ask Codex to review my fix of #41.\n"),
                ("or why not] ", "y\n"),
                ("\n> ", CTRL_D),
            )
            recording.run("tertulia search invoice rounds", ("Enter leaves)? ", "\n"))
        finally:
            end_worker(home)
    return recording


@contextmanager
def scripted_model(script: Mapping[str, Sequence[model.Turn]]) -> Generator[str]:
    """Serve a model that plays these turns, by the number with a `#` in what it was told; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), model.Handler)
    with patch.dict(model.SCRIPT, script), server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def instance(home: Path, program: Program, url: str) -> str:
    """Return the table of an agent program that has Tertulia among its tools."""
    own = home / f".{program.name}"
    own.mkdir()
    path = os.pathsep.join([str(MODULES / "node" / "bin"), str(MODULES / ".bin"), os.defpath])
    env = {"PATH": path, "HOME": str(home), **program.prepare(own, url)}
    store = home / ".local" / "share" / "tertulia" / "tertulia.db"
    served = ["-m", "tertulia_server", "--store", str(store)]
    return f"""\
[instances.{program.name}]
platform = "acp"
agent = "{program.name}"
folders = [{json.dumps(str(home / "shop"))}]
[instances.{program.name}.env]
{"".join(f"{name} = {json.dumps(value)}" + chr(10) for name, value in env.items())}
[instances.{program.name}.mcp_servers.tertulia]
command = {json.dumps(sys.executable)}
args = {json.dumps(served)}
"""


def end_worker(home: Path) -> None:
    """End the process that runs the agents, if there is one."""
    for log in home.rglob("worker.log"):
        for pid in re.findall(r"process (\d+) begins", log.read_text("utf-8"))[-1:]:
            os.kill(int(pid), signal.SIGTERM)


RECORDINGS: Mapping[str, Callable[[Path], Recording]] = {"search": search, "agents": agents}


def main() -> None:
    """Make the recordings that were named, or all."""
    for name in sys.argv[1:] or RECORDINGS:
        with tempfile.TemporaryDirectory() as folder:
            (MEDIA / f"{name}.svg").write_text(RECORDINGS[name](Path(folder)).drawn(), "utf-8")


if __name__ == "__main__":
    main()
