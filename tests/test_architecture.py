"""Which package may import which: the contracts in pyproject.toml, held in every test run."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent


def test_every_import_follows_the_contracts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Server knows tools, tools know the client, never back; the vocabulary knows nothing, a platform no other."""
    monkeypatch.chdir(ROOT)  # where the linter looks for its configuration

    broken = lint_imports(no_cache=True)

    assert not broken, capsys.readouterr().out
