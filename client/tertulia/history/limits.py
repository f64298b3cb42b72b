"""How much an import takes of archives and packed files: a small one may hold very much."""

import math
from dataclasses import dataclass

UNCHECKED = 16 << 20
"""Contents of so many bytes may be packed as well as they can be."""
_LIFTED = "--no-limit reads it all the same"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportLimits:
    """How much an import takes. What is beyond is reported and skipped."""

    ratio: float = 200
    """How many times as large as packed the contents of a file may be, where they have more than `UNCHECKED` bytes."""
    members: float = 100_000
    """How many files the archives may have in all."""
    depth: int = 4
    """How many archives may stand in each other."""
    unpacked: float = 16 << 30
    """The most bytes that are unpacked in all."""


DEFAULT_LIMITS = ImportLimits()
NO_LIMITS = ImportLimits(ratio=math.inf, members=math.inf, depth=100, unpacked=math.inf)
"""Takes everything; an archive that holds itself has an end all the same."""


class UnpackingError(Exception):
    """Raised for packed contents that cannot be read on; its text tells a person why."""


class Allowance:
    """What is left of the limits of one import. Each method raises `UnpackingError` where that is too little."""

    def __init__(self, limits: ImportLimits) -> None:
        self.limits = limits
        self._members = 0
        self._unpacked = 0

    def open_archive(self, depth: int) -> None:
        """Count an archive that stands in so many others."""
        if depth >= self.limits.depth:
            raise UnpackingError(f"it is in {self.limits.depth} archives, and is not opened; {_LIFTED}")

    def take_member(self) -> None:
        """Count a file of an archive."""
        self._members += 1
        if self._members > self.limits.members:
            raise UnpackingError(
                f"the archives have more than {self.limits.members:,} files; the others are skipped, and {_LIFTED}"
            )

    def unpack(self, *, packed: int, size: int, new: int | None = None) -> None:
        """Count contents of `size` bytes, of which `new` were not counted before, that are packed in so many bytes."""
        if size > UNCHECKED and size > packed * self.limits.ratio:
            raise UnpackingError(
                f"it has more than {self.limits.ratio:g} times its size once unpacked, and is skipped; {_LIFTED}"
            )
        self._unpacked += size if new is None else new
        if self._unpacked > self.limits.unpacked:
            raise UnpackingError(
                f"archives and packed files have more than {_size(self.limits.unpacked)} together, which is not read; "
                f"{_LIFTED}"
            )


def _size(limit: float) -> str:
    return f"{limit / (1 << 30):g} GiB" if limit >= 1 << 30 else f"{limit / (1 << 20):g} MiB"
