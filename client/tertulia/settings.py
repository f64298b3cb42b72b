"""What the client needs to know, built once at the edge and passed in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tertulia.vocabulary.models import LOCAL_PRINCIPAL

USER = "user"
"""How whoever runs the process is called where they have no name of their own."""


class Approvals(StrEnum):
    """Whose approval of a tool counts."""

    HOST = "host"
    """The calling host's too: its own permission prompt is the guard."""
    PERSON = "person"
    """Only a person's, given in a form."""


STORE_CONTENT = "store_content"
"""The option that every platform has: whether the store keeps what is said there. It does, unless this is false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings:
    """A configured platform. `options` are the platform's own; secrets in them never appear in a `repr`."""

    platform: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)
    """Where options that are left out are looked for, under names that the platform documents."""
    identity: str | None = None
    """The name under which this process speaks and receives, where conversations are kept in our own store."""

    @property
    def keeps_content(self) -> bool:
        """Whether the store keeps what is said there. Without it, the store knows that something was said, not what."""
        return self.options.get(STORE_CONTENT) is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of a `Conversations`. `instances` are the configured platforms by name; `local` is always there."""

    store: Path
    approvals: Approvals = Approvals.HOST
    identity: str | None = None
    """The name under which this process speaks and receives on the embedded platform."""
    instances: Mapping[str, InstanceSettings] = field(default_factory=dict[str, InstanceSettings])


def address_of(principal: str, identity: str | None) -> str:
    """Return the address under which a principal writes on the embedded platform."""
    if identity is not None:
        return f"local:{identity}"
    return USER if principal == LOCAL_PRINCIPAL else principal
