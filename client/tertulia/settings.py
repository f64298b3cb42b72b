"""What the client needs to know, built once at the edge and passed in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Approvals(StrEnum):
    """Whose approval of a tool counts."""

    HOST = "host"
    """The calling host's too: its own permission prompt is the guard."""
    PERSON = "person"
    """Only a person's, given in a form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings:
    """A configured platform. `options` are the platform's own; secrets in them never appear in a `repr`."""

    platform: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of a `Conversations`. `instances` are the configured platforms by name; `local` is always there."""

    store: Path
    approvals: Approvals = Approvals.HOST
    instances: Mapping[str, InstanceSettings] = field(default_factory=dict[str, InstanceSettings])
