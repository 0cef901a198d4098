"""Bodies that a sender compressed: kombu's `compression` header. Pure; taskq itself sends none."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

MAX_BYTES = 64 * 1024 * 1024
"""Most that a body may grow to: a megabyte of zeros unpacked to gigabytes would take the process with it."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...

    @property
    def eof(self) -> bool: ...


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "application/x-gzip": zlib.decompressobj,  # kombu's name; what it writes is zlib's format
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}

SUPPORTED = frozenset(_DECOMPRESSORS)
"""Values of the header that can be read."""


def decompress(data: bytes, content_type: str) -> bytes:
    """Return the body of a compressed one.

    Raises:
        ValueError: The compression is not supported, or the data is damaged, cut off or too large.
    """
    make = _DECOMPRESSORS.get(content_type)
    if make is None:
        raise ValueError(f"the compression {content_type[:40]!r} is not supported")
    decompressor = make()
    try:
        body = decompressor.decompress(data, MAX_BYTES)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"the compressed body is damaged: {error}") from error
    if not decompressor.eof:
        why = "cut off" if len(body) < MAX_BYTES else f"larger than {MAX_BYTES} bytes"
        raise ValueError(f"the compressed body is {why}")
    return body
