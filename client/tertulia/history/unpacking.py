"""The bytes of a file as UTF-8, whether it was packed with gzip or zstd, or written in UTF-16."""

import codecs
import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader, RawIOBase
from typing import IO, Any, Protocol

from tertulia.history.limits import Allowance, UnpackingError

CHUNK = 1 << 18

ReadListener = Callable[[int], object]
"""Is called with the number of bytes that were read since the last call."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_UNREAD = {
    b"SQLite format 3\0": "a SQLite database",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\xfd7zXZ\0": "packed with xz",
    b"BZh": "packed with bzip2",
    b"%PDF-": "a PDF document",
}
_TAR, _TAR_AT = b"ustar", 257


def unread_container(start: bytes) -> str | None:
    """Return what a file is whose first bytes are `start`, if it is of a kind that is never read."""
    if start[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return "a tar archive"
    return next((kind for magic, kind in _UNREAD.items() if start.startswith(magic)), None)


class Counted(RawIOBase):
    """A stream that counts how much of it was read, and reports it."""

    def __init__(self, stream: IO[bytes], on_read: ReadListener | None) -> None:
        self.read_bytes = 0
        self._stream = stream
        self._on_read = on_read

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.read_bytes += len(data)
        if self._on_read is not None:
            self._on_read(len(data))
        return len(data)


def unpacked(stream: Counted, allowance: Allowance) -> BufferedReader:
    """Return a stream of the same contents as UTF-8, which reads from `stream` as it is read.

    It raises `UnpackingError` where packed contents are damaged, cut off or more than the allowance.
    """
    buffered: BufferedReader[Any] = BufferedReader(stream, CHUNK)
    start = buffered.peek(len(_ZSTD))
    if start.startswith(_GZIP):
        buffered = BufferedReader(
            _Limited(gzip.GzipFile(fileobj=buffered, mode="rb"), "gzip", stream, allowance), CHUNK
        )
    elif start.startswith(_ZSTD):
        buffered = BufferedReader(_Limited(_open_zstd(buffered), "zstd", stream, allowance), CHUNK)
    encoding = _utf16(buffered.peek(4)[:4])
    return buffered if encoding is None else BufferedReader(_Transcoded(buffered, encoding), CHUNK)


class _Packed(Protocol):
    def read1(self, size: int = -1, /) -> bytes: ...


def _open_zstd(stream: IO[bytes]) -> _Packed:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdFile(stream, "rb")


def _utf16(start: bytes) -> str | None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) >= 2 and 0 in start[:2] and any(start[:2]):
        return "utf-16-be" if start[0] == 0 else "utf-16-le"
    return None


class _Limited(RawIOBase):
    """The contents of a packed stream, as far as the allowance goes."""

    def __init__(self, packed: _Packed, kind: str, source: Counted, allowance: Allowance) -> None:
        self._packed = packed
        self._kind = kind
        self._source = source
        self._allowance = allowance
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._packed.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UnpackingError(f"its {self._kind} data is damaged or cut off") from error
        except Exception as error:
            if type(error).__name__ == "ZstdError":  # of whichever of the two modules was imported
                raise UnpackingError(f"its {self._kind} data is damaged") from error
            raise
        self._read += len(data)
        self._allowance.unpack(packed=self._source.read_bytes, size=self._read, new=len(data))
        buffer[: len(data)] = data
        return len(data)


class _Transcoded(RawIOBase):
    """A stream of UTF-16 as UTF-8; what is no character becomes the replacement character."""

    def __init__(self, stream: BufferedReader, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._pieces = self._encoded(stream.read1)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def _encoded(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        while data := read(CHUNK):
            if piece := self._decoder.decode(data):
                yield piece.encode("utf-8", "replace")
        if piece := self._decoder.decode(b"", final=True):
            yield piece.encode("utf-8", "replace")
