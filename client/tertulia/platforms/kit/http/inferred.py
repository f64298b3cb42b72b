"""The calls whose paths a vendor does not publish: by setting, by discovery, or by guess.

A server may serve an OpenAPI document, from which a call is recognised by the shape of its path. An explicit setting
goes before what is discovered there, and that before the guess.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from string import Formatter
from typing import Any

import anyio

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.values import table, tables
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError, NotOffered, TertuliaError
from tertulia.vocabulary.untrusted import shown

DOCUMENT = "openapi.json"
DISCOVERY_SECONDS = 5.0
"""How long reading that may take; without it, calls are guessed."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PREFIX = re.compile(r"^/api(/v\d+)?(?=/)")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_MOST_REFERENCES = 8
_LONGEST_PATH = 500


@dataclass(frozen=True, slots=True)
class InferredCall:
    """A call: `template` is its path, where ids stand in braces."""

    name: str
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


@dataclass(frozen=True, slots=True)
class CallShapes:
    """By which calls are recognised: `METHOD /path/{id}`, by the name of each call, the likeliest first.

    The first is also the guess, under `prefix`.
    """

    shapes: Mapping[str, Sequence[str]]
    prefix: str

    def guesses(self) -> dict[str, InferredCall]:
        """Return what the calls are where nothing is known of a server."""
        return {name: _call(name, shapes[0], prefix=self.prefix) for name, shapes in self.shapes.items()}

    def configured(self, given: Mapping[str, Any], instance: str) -> dict[str, InferredCall]:
        """Return the calls that a table `paths` sets: `NAME = "/path/{conversation_id}"`, with or without a method.

        Raises:
            InvalidInputError: a name is unknown, or a path cannot be one.
        """
        guessed = self.guesses()
        found: dict[str, InferredCall] = {}
        for name, value in given.items():
            if name not in self.shapes:
                raise InvalidInputError(
                    f"`paths` of the instance {instance} has {shown(name)}.",
                    valid=[*self.shapes],
                    instance=instance,
                )
            method, _, path = value.strip().rpartition(" ") if isinstance(value, str) else ("", "", "")
            method = method.strip().upper() or guessed[name].method
            known = {place for shape in self.shapes[name] for place in _places(shape)}
            if method not in _METHODS or not _possible(path, known):
                places = " or ".join(f"{{{place}}}" for place in sorted(known))
                raise InvalidInputError(
                    f"`paths.{name}` of the instance {instance} must be a path like `{guessed[name]}`.",
                    hint=f"It begins with `/`; where an id belongs stands {places}.",
                    instance=instance,
                )
            found[name] = InferredCall(name, method, path)
        return found

    def discovered(self, document: Any) -> dict[str, InferredCall]:
        """Return the calls that an OpenAPI document has, as far as their paths have a shape that is known here."""
        paths = table(table(document).get("paths"))
        served = {
            (method.upper(), _PLACEHOLDER.sub("{}", _PREFIX.sub("", path))): (path, operation)
            for path, operations in ((path.rstrip("/"), operations) for path, operations in paths.items())
            if len(path) <= _LONGEST_PATH
            for method, operation in table(operations).items()
        }
        found: dict[str, InferredCall] = {}
        for name, shapes in self.shapes.items():
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


class InferredCalls:
    """The inferred calls of one instance. What its server turns out not to have is remembered."""

    def __init__(
        self, http: Http, shapes: CallShapes, configured: Mapping[str, InferredCall], clock: Clock
    ) -> None:
        self._http = http
        self._shapes = shapes
        self._configured = configured
        self._clock = clock
        self._missing: dict[str, InferredCall] = {}
        self._discovered: Mapping[str, InferredCall] | None = None
        self._discovering = anyio.Lock()

    async def find(self, name: str) -> InferredCall:
        """Return what a call is on this server.

        Raises:
            NotOffered: the server was found not to have it.
        """
        if name in self._missing:
            raise self._not_offered(self._missing[name])
        if name in self._configured:
            return self._configured[name]
        async with self._discovering:
            if self._discovered is None:
                self._discovered = await self._discover()
        return self._discovered.get(name) or self._shapes.guesses()[name]

    def miss(self, call: InferredCall) -> NotOffered:
        """Note that the server does not have a call; return the error that says so."""
        self._missing[call.name] = call
        return self._not_offered(call)

    async def _discover(self) -> Mapping[str, InferredCall]:
        with self._clock.move_on_after(DISCOVERY_SECONDS), suppress(TertuliaError):
            return self._shapes.discovered(await self._http.get(DOCUMENT))
        return {}

    def _not_offered(self, call: InferredCall) -> NotOffered:
        instance = self._http.instance
        return NotOffered(
            f"This deployment of {self._http.platform} ({instance}) does not have `{call.name}` at {call}.",
            hint=f"Set `paths.{call.name}` in [instances.{instance}] to the path that it has.",
            instance=instance,
        )


def _call(name: str, shape: str, *, prefix: str) -> InferredCall:
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
