"""gzip by zlib-ng (the package `zlib-ng`, quicker) where it is installed, else by zlib: the same bytes.

Both libraries find repeated bytes (run-length encoding) by the same steps, and maps of many digits with zeros
outside the brain hold nothing else that can be compressed. Content that a general search makes smaller goes
through zlib in any case, as the two would pack it differently.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import sys
import zlib
from io import BytesIO
from typing import Any

quick: Any = zlib
with contextlib.suppress(ImportError):
    from zlib_ng import zlib_ng as quick

GZIP = b"\x1f\x8b"
LEVEL = 1
"""Higher levels take several times as long and make maps of float32 hardly smaller."""

_SAMPLE = 2**14
"""Bytes from the middle (some rows of voxels of a map) on which both ways of packing are tried."""

_WORTH_NUMBA = 2**20

_LARGEST_IN_ONE_PIECE = 2**31
_PIECE = 2**20

MOST_FOLD = 1032
"""Most bytes that one byte of a gzip file can stand for."""


class TooLongError(OSError):
    """What is packed is longer than its reader wants."""


def inflate(payload: bytes, most: int = sys.maxsize) -> bytes:
    """Unpack gzip, checksums checked; bytes that are no gzip are returned as they are.

    At most ``most`` bytes are returned. Up to as many again (at least 1 MB) may follow and are dropped; more
    is an error.

    Raises
    ------
    OSError, EOFError, zlib.error
        It is cut short, corrupt, or longer.
    """
    if payload[:2] != GZIP:
        return payload
    size = int.from_bytes(payload[-4:], "little")  # of one member
    if size <= most:
        stream = quick.decompressobj(wbits=31)
        with contextlib.suppress(quick.error):
            content: bytes = stream.decompress(payload, min(size, _LARGEST_IN_ONE_PIECE) + 1)
            if stream.eof and not stream.unused_data.strip(b"\0"):
                return content
    kept, n_bytes = [], 0
    with gzip.GzipFile(fileobj=BytesIO(payload)) as members:  # several, or it says what is wrong
        while piece := members.read(_PIECE):
            kept.append(piece[: max(most - n_bytes, 0)])
            n_bytes += len(piece)
            if n_bytes > longest_file(most):
                raise TooLongError(f"more than {n_bytes - 1} bytes, where the header promises {most}")
    return b"".join(kept)


def longest_file(most: int) -> int:
    """Largest size of an unpacked file of which ``most`` bytes are wanted; longer ones are refused."""
    return most + max(most, _PIECE)


def inflate_start(payload: bytes, n_bytes: int) -> bytes:
    """Unpack up to ``n_bytes`` of the beginning of a gzip file, which may be of many members."""
    with gzip.GzipFile(fileobj=BytesIO(payload)) as members:
        return members.read(n_bytes)


def gzip_bytes(payload: bytes | memoryview, *, is_cache: bool = False) -> bytes:
    """Compress without name, time or system in the header, so that equal content gives equal bytes.

    A cache file (``is_cache``) is packed more quickly and may be larger (maps in float32 by an eighth), where
    it is so large that this saves more time than the import of numba takes.
    """
    if is_cache and len(payload) >= _WORTH_NUMBA and len(payload) % 4 == 0:
        from bids_group.elements.zero_runs import deflate_zero_runs

        return _with_frame(deflate_zero_runs(payload), payload)
    middle = (len(payload) - _SAMPLE) // 2
    sample = payload if middle <= 0 else payload[middle : middle + _SAMPLE]
    is_runs = len(_deflated(sample, zlib.Z_RLE)) <= len(_deflated(sample, zlib.Z_DEFAULT_STRATEGY))
    body = _deflated(payload, zlib.Z_RLE if is_runs else zlib.Z_DEFAULT_STRATEGY)
    return _with_frame(body, payload)


def _with_frame(body: bytes | memoryview, payload: bytes | memoryview) -> bytes:
    """Put the header and the trailer of a gzip file around a deflate stream."""
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    trailer = struct.pack("<LL", checksum(payload), len(payload) & 0xFFFFFFFF)
    return b"".join((header, body, trailer))


def _deflated(content: bytes | memoryview, strategy: int) -> bytes:
    """Deflate by zlib-ng where both libraries give the same bytes (runs), else by zlib."""
    library = quick if strategy == zlib.Z_RLE else zlib
    stream = library.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    packed: bytes = stream.compress(content) + stream.flush()
    return packed


def checksum(content: bytes | memoryview) -> int:
    """CRC-32, as gzip has it."""
    found: int = quick.crc32(content)
    return found
