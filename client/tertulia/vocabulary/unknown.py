"""UNKNOWN, the value of a field about which a platform says nothing: not the same as `{}`, `""` or None."""

from enum import Enum
from typing import Final, Literal, TypeVar

T = TypeVar("T")


class Unknown(Enum):
    """The type of `UNKNOWN`: an enum, so that a type checker narrows a field with `is UNKNOWN`."""

    UNKNOWN = "unknown"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return self.name


UNKNOWN: Final = Unknown.UNKNOWN


def known_or(value: T | Unknown, fallback: T) -> T:
    """Return a value, or `fallback` where it is UNKNOWN."""
    return fallback if value is UNKNOWN else value
