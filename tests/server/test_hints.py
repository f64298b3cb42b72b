"""Commands that our sentences name: typed as they stand, they are about the store that is spoken of."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import tertulia_server
from tertulia_server.cli import COMMANDS, main
from tertulia_server.command_parser import command_parser
from tertulia_server.settings import load

ROOT = Path(tertulia_server.__file__).parent
_COMMAND = re.compile(rf"\btertulia (--http|{'|'.join(COMMANDS)})\b")

HELP = "`--help` says what commands and settings there are."
URL = "It names the store itself."
REASONS: Mapping[str, str] = {
    "command_parser.py": HELP,
    "settings.py": HELP,
    "approve_command.py": "It names the command that was typed.",
    "backup_command.py": URL,
    "callers.py": "Whoever calls over HTTP learns nothing of the server's files.",
    "token_file.py": "It names the file itself.",
    "cli.py": "Whoever starts `tertulia` alone in a terminal learns what else there is.",
}
"""Why a module's sentences name commands without the flags that were typed."""


def sentences() -> Iterator[tuple[str, str]]:
    """Yield the texts of each module, but for docstrings."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        said = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }  # a text that stands alone explains something
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said:
                yield path.name, node.value


def test_a_command_in_a_sentence_has_the_flags_that_were_typed() -> None:
    """Whoever has named a store by a flag would else be sent to another one (`Settings.command`)."""
    naming = {module for module, text in sentences() if _COMMAND.search(text)}
    assert naming == REASONS.keys()


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ([], "tertulia show local:x"),
        (["--store", "my store.db"], "tertulia --store 'my store.db' show local:x"),
        (["--config", "c.toml", "--as", "ann"], "tertulia --config c.toml --as ann show local:x"),
        (["--store", "postgresql://ann:secret@db/t"], "tertulia --store postgresql://ann@db/t show local:x"),
        (["--log-level", "INFO"], "tertulia show local:x"),
    ],
)
def test_a_command_is_about_the_store_that_was_named(
    typed: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever flags; nobody is shown a password."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text("")
    loaded = load(vars(command_parser().parse_args([*typed, "config"])), {})
    assert loaded.settings.command("show", "local:x") == named
    command_parser().parse_args(shlex.split(named)[1:])


def test_a_new_token_comes_with_how_to_serve_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the store that it was made for."""
    monkeypatch.setenv("TERTULIA_CONFIG", "")
    store = tmp_path / "a store.db"
    main(["token", "--add", "alice", "--store", str(store)])
    said = capsys.readouterr().err
    assert f"Serve with: tertulia --store '{store}' --http --token-file '{store}.tokens'" in said
