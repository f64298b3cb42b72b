"""Without PostgreSQL its tests are skipped, and fail where a run needs them."""

from pathlib import Path

import pytest

from tests.support import needs, postgres


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Return what patches a machine on which nothing is installed."""
    monkeypatch.delenv(postgres.URL, raising=False)
    monkeypatch.delenv(needs.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "INSTALLED", str(tmp_path / "postgresql"))
    return monkeypatch


def test_a_server_takes_no_variable_of_the_tests_for_a_setting() -> None:
    """It warns of those with its prefix that it does not know, which tests of what it prints would find."""
    assert not any(name.startswith("TERTULIA_") for name in (needs.VARIABLE, postgres.URL))


@pytest.mark.usefixtures("bare")
def test_a_bare_machine_skips_them() -> None:
    with pytest.raises(pytest.skip.Exception, match="no PostgreSQL"), postgres.server():
        pass


def test_a_run_that_needs_them_fails(bare: pytest.MonkeyPatch) -> None:
    bare.setenv(needs.VARIABLE, "nginx,postgres")
    with pytest.raises(pytest.fail.Exception, match="no PostgreSQL"), postgres.server():
        pass
