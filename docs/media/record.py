"""Record what the README shows: `.venv/bin/python -m docs.media.record [NAME]` writes docs/media/NAME.svg.

The commands run as they are shown, behind a pseudo terminal, in a home folder made for the purpose. What they print is
drawn as it is, but for the name of that folder; only the pauses are made.
"""

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docs.media import history
from docs.media.drawing import COLUMNS, Piece, draw
from tests.doubles.terminal import terminal

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
            before, _, shown = shown.partition(prompt + answer.rstrip("\n"))
            self.pieces += [Piece(before + prompt), Piece(answer.rstrip("\n"), "typed")]
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


RECORDINGS: Mapping[str, Callable[[Path], Recording]] = {"search": search}


def main() -> None:
    """Make the recordings that were named, or all."""
    for name in sys.argv[1:] or RECORDINGS:
        with tempfile.TemporaryDirectory() as folder:
            (MEDIA / f"{name}.svg").write_text(RECORDINGS[name](Path(folder)).drawn(), "utf-8")


if __name__ == "__main__":
    main()
