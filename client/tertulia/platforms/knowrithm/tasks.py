"""Tasks: what Knowrithm answers with when it will do something later, and what it tells when asked how far that is.

An acknowledgement names a task and where to ask (`client.py:178-216` of the SDK 0.1.22). Its documentation tells how a
task stands under `state`, its SDK reads `status`; here both are read. The words are those of both and of Celery, whose
tasks these are. Hints about when to ask next are those that the SDK knows (`client.py:371-427`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.knowrithm.records import Record, mapping

SUCCESSES = frozenset({"completed", "success", "succeeded", "finished", "done"})
FAILURES = frozenset({"failed", "failure", "error", "rejected", "revoked", "canceled", "cancelled"})
WAITING = frozenset({"accepted", "queued", "pending"})
"""What an acknowledgement says."""
SHORTEST_SECONDS = 0.1
"""Between two questions, whatever the server says; as the SDK has it."""
LONGEST_SECONDS = 60.0
"""Between two questions, whatever the server says."""
_RESULTS = ("result", "data", "response")
_CONTAINERS = ("meta", "metadata", "details", "info")
_DURATIONS = (
    *("retry_after", "retry_after_seconds", "retry_after_ms", "poll_after", "poll_after_seconds"),
    *(
        "poll_after_ms",
        "poll_in",
        "poll_interval",
        "refresh_in",
        "wait_for",
        "wait_for_seconds",
        "next_poll_in",
    ),
)
_MOMENTS = ("retry_at", "next_poll_at", "eta", "available_at", "scheduled_for")


class Standing(StrEnum):
    """How far a task is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ask about a task: a path below `/v1`."""

    segments: tuple[str, ...]
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as one answer tells of it."""

    body: Record
    retry_after: float | None = None
    """What the answer's `Retry-After` asks for."""

    @property
    def id(self) -> str | None:
        """Its id."""
        return _text(self.body.get("task_id"))

    @property
    def url(self) -> str | None:
        """Where to ask about it, as the server writes that."""
        return _text(self.body.get("status_url")) or _text(self.body.get("poll_url"))

    @property
    def word(self) -> str:
        """What it says of itself, in lower case; empty where it says nothing."""
        return _word(self._told, "state") or _word(self._told, "status")

    @property
    def standing(self) -> Standing:
        """How far it is. One that says nothing is not finished, and neither is one whose word nobody knows."""
        words = {_word(self._told, "state"), _word(self._told, "status")}
        if words & FAILURES:
            return Standing.FAILED
        return Standing.DONE if self.word in SUCCESSES else Standing.PENDING

    @property
    def acknowledged(self) -> bool:
        """Whether this is an answer that only says that something will be done."""
        return (self.url is not None or self.id is not None) and _word(self.body, "status") in WAITING

    @property
    def result(self) -> Any:
        """What came of it; None where that is not told."""
        found = (self._told.get(name) for name in _RESULTS)
        return next((result for result in found if result is not None), None)

    @property
    def failure(self) -> tuple[str | None, str | None]:
        """What it says of its failure, untrusted, and the code of that."""
        told = self._told
        error = mapping(told.get("error"))
        if error is not None:
            return _text(error.get("message")) or _text(error.get("error")), _text(error.get("code"))
        said = (_text(told.get(name)) for name in ("error", "message", "detail"))
        return next((text for text in said if text is not None), None), _text(told.get("code"))

    def pause(self, now: datetime | None = None) -> float | None:
        """Return the seconds after which it wants to be asked again, within bounds; None where it does not say."""
        now = datetime.now(UTC) if now is None else now
        hints = [] if self.retry_after is None else [self.retry_after]
        for place in (self.body, *(mapping(self.body.get(name)) or {} for name in _CONTAINERS)):
            hints += [hint for name in _DURATIONS if (hint := _seconds(place.get(name), name)) is not None]
            hints += [hint for name in _MOMENTS if (hint := _until(place.get(name), now)) is not None]
        return min(max(*hints, SHORTEST_SECONDS), LONGEST_SECONDS) if hints else None

    def address(self, base_url: str) -> Address | None:
        """Return where to ask about it on the server at `base_url`; None where it does not tell.

        A URL of another server is not followed: it would be sent our credentials.
        """
        found = None if self.url is None else address(self.url, base_url)
        return Address(("tasks", self.id, "status"), {}) if found is None and self.id is not None else found

    @property
    def _told(self) -> Record:
        if "status" in self.body or "state" in self.body:
            return self.body
        inner = (mapping(self.body.get(name)) for name in ("task", "data"))
        return next((one for one in inner if one and ("status" in one or "state" in one)), self.body)


def address(url: str, base_url: str) -> Address | None:
    """Return a URL as a path below `/v1` of the server at `base_url`; None for one of another server, or for none.

    The base ends in `/api`, while acknowledgements name `/v1/…`, `/api/v1/…`, or all of it (`client.py:335-369`).
    """
    try:
        given, base = urlsplit(url), urlsplit(base_url)
        foreign = (given.scheme or given.netloc) and _origin(given.geturl()) != _origin(base_url)
    except ValueError:
        return None
    if foreign:
        return None
    path = "/" + given.path.lstrip("/")
    for prefix in (base.path.rstrip("/"), "/api", "/v1"):
        if prefix and (path + "/").startswith(f"{prefix}/"):
            path = path[len(prefix) :]
    segments = tuple(unquote(segment) for segment in path.split("/") if segment)
    if not segments or not {".", ".."}.isdisjoint(segments):
        return None
    return Address(segments, dict(parse_qsl(given.query)))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _word(told: Record, name: str) -> str:
    value = told.get(name)
    return value.strip().lower() if isinstance(value, str) else ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(value: Any, name: str) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds / 1000 if name.endswith("_ms") else seconds


def _until(value: Any, now: datetime) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value - now.timestamp()
    at = moment(value)
    return None if at is None else (at - now).total_seconds()
