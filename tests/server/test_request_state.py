"""The key that seals what a host carries survives the process, and is nobody else's."""

import logging
import os
import stat
from pathlib import Path

import pytest
from mcp.server.mcpserver import InvalidRequestState

from tertulia.vocabulary.errors import StoreError
from tertulia_server.request_state import KEY_BYTES, StoredKeyCodec


def test_another_process_opens_what_was_sealed(tmp_path: Path) -> None:
    """Both read the key from the file that the first one made."""
    path = tmp_path / "new folder" / "key"

    assert StoredKeyCodec(path).unseal(StoredKeyCodec(path).seal(b"state")) == b"state"


def test_nothing_is_written_before_the_key_is_needed(tmp_path: Path) -> None:
    """Listing tools touches no file."""
    StoredKeyCodec(tmp_path / "key")

    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps permissions elsewhere")
def test_the_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """So is the folder, if we made it; and no half-written file stays."""
    path = tmp_path / "folder" / "key"
    StoredKeyCodec(path).seal(b"state")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_size == KEY_BYTES


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps permissions elsewhere")
def test_a_key_that_others_can_read_is_closed_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is told; what it has sealed stays valid."""
    caplog.set_level(logging.WARNING)
    path = tmp_path / "key"
    sealed = StoredKeyCodec(path).seal(b"state")
    path.chmod(0o644)

    assert StoredKeyCodec(path).unseal(sealed) == b"state"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"could read or change {path}" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few make links")
def test_a_link_to_no_key_is_not_followed(tmp_path: Path) -> None:
    """Nothing is created where it leads."""
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="is a link to a file that is not there"):
        StoredKeyCodec(tmp_path / "key").seal(b"state")

    assert [each.name for each in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("token", ["", "nonsense", "v1.AAAA"])
def test_what_was_not_sealed_is_refused(tmp_path: Path, token: str) -> None:
    """Whoever made it up."""
    with pytest.raises(InvalidRequestState):
        StoredKeyCodec(tmp_path / "key").unseal(token)


def test_what_was_sealed_under_another_key_is_refused(tmp_path: Path) -> None:
    """A state of another store decides nothing here."""
    sealed = StoredKeyCodec(tmp_path / "key").seal(b"state")

    with pytest.raises(InvalidRequestState):
        StoredKeyCodec(tmp_path / "other").unseal(sealed)
