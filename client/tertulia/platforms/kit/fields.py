"""Reading untyped data, and asking a person about what it describes."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tertulia.platforms.kit.http.values import table
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import RequestDraft, RequestKind
from tertulia.vocabulary.unknown import UNKNOWN, Unknown
from tertulia.vocabulary.untrusted import named, shown

T = TypeVar("T")

_LONGEST_QUOTE = 500


class Fields:
    """The fields of an object, of which each is taken once, under whichever of its names it has.

    Data that is no object counts as the one field `alone`.
    """

    def __init__(self, data: Any, *, alone: str = "value") -> None:
        self._left = dict(table(data)) if isinstance(data, Mapping) else {} if data is None else {alone: data}

    def take(self, *names: str) -> Any:
        """Return the first of the fields that is there and not null, and None where none is."""
        for name in names:
            if self._left.get(name) is not None:
                return self._left.pop(name)
        return None

    def rest(self) -> dict[str, Any]:
        """Return what nobody has taken, without what is null."""
        return {name: value for name, value in self._left.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ContextFields:
    """What a platform lets a caller set with `context`: the names that it knows, and what some of them must be."""

    platform: str
    """The platform as a sentence names it."""
    names: Sequence[str]
    numbers: Collection[str] = ()
    """Those that must be whole numbers."""
    least: int | None = None
    """The smallest of those numbers that is possible."""
    objects: Collection[str] = ()
    """Those that must be objects."""

    def check(self, context: Mapping[str, Any] | None, where: str = "`context`") -> Mapping[str, Any]:
        """Return a context that the platform knows; `where` is what a sentence calls it.

        Raises:
            InvalidInputError: the platform does not know a field, or it is not what it must be.
        """
        for name, value in (context or {}).items():
            if name not in self.names:
                raise InvalidInputError(
                    f"{where} has {shown(name)}, which {self.platform} does not know.", valid=self.names
                )
            if name in self.numbers and not self._is_number(value):
                least = "" if self.least is None else f", {self.least} at least"
                raise InvalidInputError(
                    f"`{name}` in {where} must be a whole number{least}.", valid=self.names
                )
            if name in self.objects and not isinstance(value, Mapping):
                raise InvalidInputError(f"`{name}` in {where} must be an object.")
        return context or {}

    def _is_number(self, value: object) -> bool:
        return type(value) is int and (self.least is None or value >= self.least)


def read_arguments(value: Any) -> Mapping[str, Any] | None:
    """Return a tool's arguments as an object, from an object or from JSON; None where there are none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {"arguments": value} if value else None
    if value is None or isinstance(value, Mapping):
        return cast("Mapping[str, Any] | None", value)
    return {"arguments": value}


def confirmation(
    platform: str,
    tool: str | None,
    arguments: Mapping[str, Any] | None,
    *,
    said: str | None = None,
    rest: Mapping[str, Any],
    tool_call_id: str | None,
    upstream_id: str,
) -> RequestDraft:
    """Return what a person is asked before a tool runs; all that came with the platform's question is shown."""
    prompt = f"{platform} asks to run {'a tool' if tool is None else named(tool)}."
    if said:
        prompt += f" It says: {shown(said, _LONGEST_QUOTE)}."
    return RequestDraft(
        kind=RequestKind.CONFIRMATION,
        prompt=prompt + came_with(rest),
        tool=tool,
        arguments=arguments or {},
        tool_call_id=tool_call_id,
        upstream_id=upstream_id,
    )


def came_with(rest: Mapping[str, Any]) -> str:
    """Return a sentence about whatever else came with a question; empty where nothing did."""
    return f" It came with: {shown(json.dumps(rest, ensure_ascii=False), _LONGEST_QUOTE)}." if rest else ""


def field_of(record: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> T | Unknown:
    """Return a field of a record as `read` reads its value, null included; UNKNOWN where the record lacks the field."""
    return read(record[name]) if name in record else UNKNOWN
