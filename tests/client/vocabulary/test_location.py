"""Where a store is: a path or a URL, whose password nobody is shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.settings import ClientSettings
from tertulia.store.database import Store
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.location import PostgresUrl, store_location

PASSWORD = "s3cret-w0rd"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        (f"postgresql://ann:{PASSWORD}@host:5433/db", "postgresql://ann@host:5433/db"),
        (f"POSTGRES://ann:{PASSWORD}@host", "postgresql://ann@host"),
        (f"postgresql://ann:a:{PASSWORD}@[::1]:5432/db", "postgresql://ann@[::1]:5432/db"),
        (
            f"postgresql://ann@one:5432,two:5433/db?password={PASSWORD}&user=b",
            "postgresql://ann@one:5432,two:5433/db?user=b",
        ),
        (
            f"postgresql:///db?host=/run/postgresql&sslpassword={PASSWORD}&sslmode=require",
            "postgresql:///db?host=/run/postgresql",
        ),
        (f"postgresql://:{PASSWORD}@/db", "postgresql:///db"),
    ],
)
def test_a_url_is_shown_without_its_password(typed: str, shown: str) -> None:
    """Nor is it in the settings of a client that somebody prints; the driver gets the URL as it was typed."""
    location = store_location(f" {typed} ")

    assert isinstance(location, PostgresUrl)
    assert str(location) == shown
    assert shown in repr(ClientSettings(store=location))
    assert PASSWORD not in repr(ClientSettings(store=location))
    assert location.url == typed
    assert location.has_password is (PASSWORD in typed)


@pytest.mark.parametrize(
    "typed",
    [
        f"postgresql://ann:{PASSWORD}/x@host/db",
        f"postgresql://ann:1/{PASSWORD}@host/db",
        f"postgresql://ann:{PASSWORD}#x@host/db",
        f"postgresql://ann:1?{PASSWORD}@host/db",
        f"postgresql://ann:{PASSWORD}@x@host/db",
        f"postgresql://ann:{PASSWORD}%zz@host/db",
        f"postgresql://ann:{PASSWORD}%00@host/db",
        f"postgresql://ann@host:{PASSWORD}/db",
        f"postgresql+psycopg://ann:{PASSWORD}@host/db",
        f"mysql://ann:{PASSWORD}@host/db",
    ],
)
def test_a_url_whose_parts_cannot_be_told_apart_is_refused(typed: str) -> None:
    """The error does not repeat it, since any part may be of the password."""
    with pytest.raises(InvalidInputError) as failure:
        store_location(typed)

    assert PASSWORD not in f"{failure.value} {failure.value.hint} {failure.value!r}"
    assert "postgresql://" in f"{failure.value} {failure.value.hint}"


@given(st.text(st.sampled_from("ab1:/@?#%,[]&=\\ é")))
def test_no_password_is_shown_however_it_is_written(rest: str) -> None:
    """A URL is refused, or shown without what stands between the first colon and the last sign before the host."""
    try:
        shown = str(PostgresUrl(f"postgresql://ann:{PASSWORD}{rest}@host/db"))
    except InvalidInputError as error:
        shown = f"{error} {error.hint}"

    assert PASSWORD not in shown


@pytest.mark.parametrize("typed", ["", " ", ":memory:", "sqlite:///tertulia.db"])
def test_what_names_neither_a_file_nor_a_database_is_refused(typed: str) -> None:
    """An empty path would be the current folder."""
    with pytest.raises(InvalidInputError, match="is the path of a file, or a URL like postgresql://"):
        store_location(typed)


@pytest.mark.parametrize("typed", ["my.db", "/tmp/my.db", "C:\\Users\\ann\\my.db", "postgresql.db"])
def test_everything_else_is_the_path_of_a_file(typed: str) -> None:
    """Also what only begins like a URL."""
    assert store_location(typed) == Path(typed)


@pytest.mark.parametrize("url", ["postgresql:///db", f"postgres://ann:{PASSWORD}@host/db"])
def test_a_url_that_was_made_a_path_is_refused(url: str, tmp_path: Path) -> None:
    """Else a store would be made in a file of that name."""
    for path in (Path(url), tmp_path / url):
        with pytest.raises(InvalidInputError, match="given as the path of a file") as failure:
            Store(path)
        assert PASSWORD not in f"{failure.value} {failure.value.hint}"
