"""The calls whose paths the vendor does not publish: by setting, by discovery, or by guess.

Every deployment serves `/openapi.json` (so says the vendor's API reference), from which a call is recognised by the
shape of its path. An explicit setting goes before what is discovered there, and that before the documented guess.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from string import Formatter
from typing import Any

from tertulia.platforms.kit.http.values import table, tables
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import shown

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PREFIX = re.compile(r"^/api(/v\d+)?(?=/)")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_MOST_REFERENCES = 8
_LONGEST_PATH = 500


class CallName(StrEnum):
    """A call without a published path, as the table `paths` of the configuration calls it."""

    DELETE = "delete"
    TITLE = "title"
    GENERATE_TITLE = "generate_title"
    WATCH = "watch"
    CANCEL = "cancel"
    RESPOND_APPROVAL = "respond_approval"
    ANSWER_QUESTION = "answer_question"


FEATURES: Mapping[CallName, frozenset[Feature]] = {
    CallName.DELETE: frozenset({Feature.DELETE}),
    CallName.TITLE: frozenset({Feature.TITLE}),
    CallName.GENERATE_TITLE: frozenset({Feature.GENERATE_TITLE}),
    CallName.WATCH: frozenset(),  # answers are found again without it, by looking at their conversation
    CallName.CANCEL: frozenset({Feature.CANCEL}),
    CallName.RESPOND_APPROVAL: frozenset({Feature.CONFIRM, Feature.EDIT_ARGUMENTS}),
    CallName.ANSWER_QUESTION: frozenset({Feature.QUESTIONS}),
}
"""What an instance does not offer where its deployment has not the call."""

_ONE = "/conversations/{conversation_id}"
_APPROVAL = "/approvals/{approval_id}"
_QUESTION = "/questions/{question_id}"
_SHAPES: Mapping[CallName, Sequence[str]] = {
    CallName.DELETE: [f"DELETE {_ONE}"],
    CallName.TITLE: [
        *(f"{method} {_ONE}" for method in ("PATCH", "PUT")),
        *(f"{method} {_ONE}/title" for method in ("PATCH", "PUT", "POST")),
    ],
    CallName.GENERATE_TITLE: [
        f"POST {_ONE}/{tail}" for tail in ("generate-title", "generate_title", "title/generate")
    ],
    CallName.WATCH: [f"GET {_ONE}/{tail}" for tail in ("watch", "stream", "events")],
    CallName.CANCEL: [
        f"POST {_ONE}/cancel",
        f"POST {_ONE}/calls/{{call_id}}/cancel",
        f"POST {_ONE}/runs/{{call_id}}/cancel",
        "POST /calls/{call_id}/cancel",
        "POST /runs/{call_id}/cancel",
        f"POST {_ONE}/stop",
    ],
    CallName.RESPOND_APPROVAL: [
        *(f"POST {_APPROVAL}/{tail}" for tail in ("respond", "response", "decision", "resolve")),
        *(f"{method} {_APPROVAL}" for method in ("POST", "PUT", "PATCH")),
    ],
    CallName.ANSWER_QUESTION: [
        *(f"POST {_QUESTION}/{tail}" for tail in ("answer", "respond", "response")),
        f"POST {_ONE}{_QUESTION}/answer",
        f"POST {_QUESTION}",
    ],
}
"""By which a call is recognised, the likeliest first; that is also the guess, under `/api/v1`."""


@dataclass(frozen=True, slots=True)
class InferredCall:
    """A call: `template` is its path, where ids stand in braces."""

    name: CallName
    method: str
    template: str
    certain: bool = False
    """Whether the deployment says that it has it."""
    fields: frozenset[str] = frozenset()
    """The fields of its body, where the deployment tells them."""

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    def segments(self, **ids: str) -> list[str]:
        """Return the path with these ids, one of them for each place; not quoted yet."""
        return [part.format_map(ids) for part in self.template.removeprefix("/").split("/")]

    def needs(self, placeholder: str) -> bool:
        """Whether that id stands in its path."""
        return f"{{{placeholder}}}" in self.template

    def field(self, *names: str) -> str:
        """Return which of these names the body has for something: the first, where the deployment names none."""
        return next((name for name in names if name in self.fields), names[0])


def guesses() -> dict[CallName, InferredCall]:
    """Return what the calls are where nothing is known of a deployment."""
    return {name: _call(name, shapes[0], prefix="/api/v1") for name, shapes in _SHAPES.items()}


def configured(given: Mapping[str, Any], instance: str) -> dict[CallName, InferredCall]:
    """Return the calls that a table `paths` sets: `NAME = "/path/{conversation_id}"`, with or without a method.

    Raises:
        InvalidInputError: a name is unknown, or a path cannot be one.
    """
    guessed = guesses()
    found: dict[CallName, InferredCall] = {}
    for key, value in given.items():
        if key not in set(CallName):
            raise InvalidInputError(
                f"`paths` of the instance {instance} has {shown(key)}.", valid=[*CallName], instance=instance
            )
        name = CallName(key)
        method, _, path = value.strip().rpartition(" ") if isinstance(value, str) else ("", "", "")
        method = method.strip().upper() or guessed[name].method
        known = {place for shape in _SHAPES[name] for place in _places(shape)}
        if method not in _METHODS or not _possible(path, known):
            places = " or ".join(f"{{{place}}}" for place in sorted(known))
            raise InvalidInputError(
                f"`paths.{key}` of the instance {instance} must be a path like `{guessed[name]}`.",
                hint=f"It begins with `/`; where an id belongs stands {places}.",
                instance=instance,
            )
        found[name] = InferredCall(name, method, path)
    return found


def discovered(document: Any) -> dict[CallName, InferredCall]:
    """Return the calls that an OpenAPI document has, as far as their paths have a shape that is known here."""
    paths = table(table(document).get("paths"))
    served = {
        (method.upper(), _PLACEHOLDER.sub("{}", _PREFIX.sub("", path))): (path, operation)
        for path, operations in ((path.rstrip("/"), operations) for path, operations in paths.items())
        if len(path) <= _LONGEST_PATH
        for method, operation in table(operations).items()
    }
    found: dict[CallName, InferredCall] = {}
    for name, shapes in _SHAPES.items():
        for shape in shapes:
            method, _, path = shape.partition(" ")
            key = method, _PLACEHOLDER.sub("{}", path)
            if key in served:
                full_path, operation = served[key]
                prefix = _PREFIX.match(full_path)
                call = _call(name, shape, prefix="" if prefix is None else prefix.group())
                found[name] = replace(call, certain=True, fields=frozenset(_fields(document, operation)))
                break
    return found


def _call(name: CallName, shape: str, *, prefix: str) -> InferredCall:
    method, _, path = shape.partition(" ")
    return InferredCall(name, method, prefix + path)


def _possible(path: str, known: set[str]) -> bool:
    plain = _PLACEHOLDER.sub("x", path)
    segments = path.removeprefix("/").split("/")
    return (
        path.startswith("/")
        and plain.isascii()
        and plain.isprintable()
        and not set(plain) & set(" ?#%{}\\")
        and not {"", ".", ".."} & set(segments)
        and all(place in known for place in _places(path))
    )


def _places(template: str) -> Iterator[str]:
    try:
        for _, place, form, conversion in Formatter().parse(template):
            if place is not None:
                yield place if not form and not conversion else ""
    except ValueError:
        yield ""


def _fields(document: Any, operation: Any) -> Iterator[str]:
    """Yield the names of the fields that the JSON body of an operation has."""
    body = _resolved(document, table(operation).get("requestBody"))
    content = table(table(body.get("content")).get("application/json"))
    schema = _resolved(document, content.get("schema"))
    yield from table(schema.get("properties"))
    for part in tables(schema.get("allOf")):
        yield from table(_resolved(document, part).get("properties"))


def _resolved(document: Any, value: Any) -> Mapping[str, Any]:
    """Return what a `$ref` within the document stands for."""
    for _ in range(_MOST_REFERENCES):
        reference = table(value).get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        value = document
        for key in reference[2:].split("/"):
            value = table(value).get(key.replace("~1", "/").replace("~0", "~"))
    return table(value)
