"""Where a store is: the path of an SQLite file, or the URL of a PostgreSQL database."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from tertulia.vocabulary.errors import InvalidInputError

_SCHEME = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_SCHEME_IN_A_PATH = re.compile(r"postgres(?:ql)?:", re.IGNORECASE)
_ANY_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@,/?#]*)(?::\d*)?"
_PARTS = re.compile(
    rf"{_SCHEME.pattern}(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<database>/[^@/?#]*)?(?:\?(?P<query>[^@?#]*))?",
    re.IGNORECASE,
)
_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})|%00")
_SHOWN = ("host", "port", "dbname", "user", "service")
"""The parameters of a URL that say where the database is, and nothing that opens it."""
_SECRET = ("password", "sslpassword")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """The URL of a PostgreSQL database, as libpq takes it. Its password is in no `str` and no `repr`.

    What the URL leaves out, libpq takes from its own environment variables (`PGPASSWORD`, `PGPASSFILE`, `PGSERVICE`).

    Raises:
        InvalidInputError: it is no such URL, or its parts cannot be told apart.
    """

    url: str = field(repr=False)
    """The whole URL, with the password: for the driver alone."""

    def __post_init__(self) -> None:
        """Refuse what libpq would read otherwise, and would then quote in an error: that may be of the password."""
        if not _PARTS.fullmatch(self.url) or _BROKEN_ESCAPE.search(self.url):
            raise InvalidInputError(
                "The URL of the store cannot be read.",
                hint="It is postgresql://USER:PASSWORD@HOST:PORT/DATABASE; in names and in the password, / @ : ? # and "
                "% are written as %2F %40 %3A %3F %23 %25.",
            )

    def __str__(self) -> str:
        """Return the URL without what opens the database."""
        parts = self._parts()
        user = f"{parts['user']}@" if parts["user"] else ""
        shown = urlencode([(name, value) for name, value in self._query() if name in _SHOWN], safe="/,:")
        return f"postgresql://{user}{parts['hosts']}{parts['database'] or ''}{shown and f'?{shown}'}"

    def __repr__(self) -> str:
        """Return what a traceback may show."""
        return f"PostgresUrl('{self}')"

    @property
    def has_password(self) -> bool:
        """Whether the URL itself holds a password."""
        return bool(self._parts()["password"]) or any(name in _SECRET for name, _ in self._query())

    def _parts(self) -> dict[str, str | None]:
        found = _PARTS.fullmatch(self.url)
        assert found is not None, "it was checked"
        return found.groupdict()

    def _query(self) -> list[tuple[str, str]]:
        return parse_qsl(self._parts()["query"] or "")


StoreLocation = Path | PostgresUrl
"""Where a store is."""


def store_location(text: str) -> StoreLocation:
    """Return what a person has written as the location of a store: a URL, or else the path of a file.

    Raises:
        InvalidInputError: it is neither.
    """
    named = text.strip()
    if _SCHEME.match(named):
        return PostgresUrl(named)
    # An empty path would mean the current folder. What SQLite calls :memory: is a file of that name to everybody else.
    if not named or named.startswith(":") or _ANY_SCHEME.match(named):
        raise InvalidInputError("A store is the path of a file, or a URL like postgresql://HOST/DATABASE.")
    return Path(text)


def check_file(path: Path) -> None:
    """Check that a path is no URL of a database that somebody has taken for one: a file of that name would be made.

    Raises:
        InvalidInputError: it is one.
    """
    if any(_SCHEME_IN_A_PATH.fullmatch(part) for part in path.parts):
        raise InvalidInputError(
            "The store is the URL of a database, and was given as the path of a file.",
            hint="Give it as PostgresUrl(…), which `import tertulia` has.",
        )
