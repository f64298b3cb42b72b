"""What a platform's refusals mean to a caller: a table for each platform, above what a status means everywhere.

What a platform says becomes part of a sentence only quoted and shortened, and not at all where its server failed: the
body of a 500 may hold anything.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.untrusted import shown

LONGEST_QUOTE = 200
"""The most characters of a platform's own words in a sentence of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a platform answered instead of doing what it was asked, as far as it could be read."""

    status: int
    code: str | None = None
    """The platform's own name for it."""
    text: str | None = None
    """Its words, untrusted."""
    trace_id: str | None = None
    retry_after: float | None = None
    """Seconds that it asks to wait."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a refusal means. `message` and `hint` may name `{platform}`, `{instance}` and the ids the call was about."""

    error: type[TertuliaError]
    message: str
    hint: str | None = None
    retryable: bool | None = None


_SETTINGS = "Check the settings of the instance {instance}."
_ANYWHERE: Mapping[int, Meaning] = {
    401: Meaning(
        NotConfiguredError,
        "{platform} does not accept the credentials of the instance {instance}.",
        "Replace them in the configuration; they may have expired.",
    ),
    402: Meaning(
        NotAllowedError, "{platform} asks for payment.", "The account of {instance} needs more credit."
    ),
    403: Meaning(NotAllowedError, "{platform} does not allow this to the account of {instance}."),
    404: Meaning(NotFoundError, "{platform} ({instance}) knows nothing under this id."),
    405: Meaning(NotConfiguredError, "{platform} does not know this call.", _SETTINGS),
    409: Meaning(ConflictError, "{platform} finds that this does not fit the present state."),
    429: Meaning(
        UnavailableError, "{platform} takes no more calls from {instance} for now.", "Wait, then call again."
    ),
    500: Meaning(
        UnavailableError, "{platform} failed over this call (500).", "Try again later.", retryable=False
    ),
    501: Meaning(UnavailableError, "{platform} cannot do this (501).", _SETTINGS, retryable=False),
    503: Meaning(UnavailableError, "{platform} is out of service for now (503).", "Call again in a moment."),
}
_REDIRECTED = Meaning(
    NotConfiguredError,
    "{platform} answered with a redirection.",
    "Check `base_url` of the instance {instance}.",
)
_REFUSED = Meaning(InvalidInputError, "{platform} cannot use this call.")
_FAILED = Meaning(UnavailableError, "{platform} did not answer properly.", "Call again in a moment.")
_MAYBE_DONE = Meaning(
    UncertainError,
    "{platform} failed while it was asked to do something; whether it did is not known.",
    "Look at the present state before you call again.",
)
_NOT_DONE = frozenset({501, 503})
"""Failures of a server that did nothing."""

ReadRefusal = Callable[[Any], tuple[str | None, str | None, str | None]]
"""Returns code, words and trace id from the JSON of a refusal (None where it was none)."""


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """A platform's table. `meanings` are found by the platform's code first, then by status; the rest has defaults."""

    platform: str
    """The platform as a sentence names it."""
    meanings: Mapping[str | int, Meaning]
    read: ReadRefusal

    def error(
        self, refusal: Refusal, *, instance: str, safe: bool, about: Mapping[str, str] | None = None
    ) -> TertuliaError:
        """Return the error to raise; `safe`: the call was one that changes nothing. `about` are the ids it was about.

        The error's `ids` also hold `upstream_code`, `trace_id`, `status` and `retry_after` where there are such.
        """
        meaning = self._meaning(refusal, safe)
        names = defaultdict(lambda: "it", platform=self.platform, instance=instance, **(about or {}))
        message = meaning.message.format_map(names)
        if refusal.text and refusal.status < 500 and refusal.code not in self.meanings:
            message += f" It says: {shown(refusal.text, LONGEST_QUOTE)}."
        hint = None if meaning.hint is None else meaning.hint.format_map(names)
        if refusal.retry_after is not None and issubclass(meaning.error, UnavailableError):
            hint = f"Wait {refusal.retry_after:.0f} seconds, then call again."
        return meaning.error(
            message,
            hint=hint,
            retryable=meaning.retryable,
            **(about or {}),
            instance=instance,
            status=refusal.status,
            upstream_code=refusal.code,
            trace_id=refusal.trace_id,
            retry_after=refusal.retry_after,
        )

    def _meaning(self, refusal: Refusal, safe: bool) -> Meaning:
        status = refusal.status
        for key in (refusal.code, status):
            if key is not None and key in self.meanings:
                return self.meanings[key]
        if status >= 500 and status not in _NOT_DONE and not safe:
            return _MAYBE_DONE
        if status in _ANYWHERE:
            return _ANYWHERE[status]
        if status >= 500:
            return _FAILED
        return _REDIRECTED if 300 <= status < 400 else _REFUSED


def read_detail(body: Any) -> str | None:
    """Return the words of a refusal as FastAPI makes it: `detail` is a text, an object with a message, or problems.

    What FastAPI repeats of the call in a problem (`input`) is left out: it may be a whole message.
    """
    detail = table(body).get("detail")
    if isinstance(detail, list):
        return "; ".join(f"{_place(one.get('loc'))}: {one.get('msg')}" for one in tables(detail)) or None
    said = text(detail)
    return said or next(
        (said for name in ("message", "msg", "detail") if (said := text(table(detail).get(name)))), None
    )


def _place(value: Any) -> str:
    return ".".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)
