"""gzip: unpacked by ISA-L where it is installed, else by zlib, which takes longer; packed by zlib or our own.

Equal content must give equal files, for any number of processes: what packs is the same everywhere, and does
not depend on what is installed.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib

try:
    from isal import isal_zlib
except ImportError:
    isal_zlib = None  # type: ignore[assignment]

GZIP = b"\x1f\x8b"
LEVEL = 1
"""Higher levels take several times as long and make maps of float32 hardly smaller."""

SMALL = 2**20
"""Up to here zlib packs, which is loaded anyway; a map at 2 mm has 4 MB and takes it six times as long."""

_LARGEST_IN_ONE_PIECE = 2**31


def inflate(payload: bytes) -> bytes:
    """Unpack gzip, checksums checked; bytes that are no gzip are returned as they are.

    Raises
    ------
    OSError, EOFError, zlib.error
        As `gzip.decompress`: it is cut short or corrupt.
    """
    if payload[:2] != GZIP:
        return payload
    library = isal_zlib or zlib
    stream = library.decompressobj(wbits=31)
    size = int.from_bytes(payload[-4:], "little")  # of one member
    with contextlib.suppress(library.error):
        content: bytes = stream.decompress(payload, min(size, _LARGEST_IN_ONE_PIECE) + 1)
        if stream.eof and not stream.unused_data.strip(b"\0"):
            return content
    return gzip.decompress(payload)  # of several members, or it says what is wrong


def gzip_bytes(payload: bytes | memoryview) -> bytes:
    """Compress without name, time or system in the header, so that equal content gives equal bytes."""
    if len(payload) > SMALL:
        from bids_group.elements.deflate import deflate  # numba takes 0.2 s to import

        body: bytes | memoryview = deflate(payload)
    else:
        stream = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = stream.compress(payload) + stream.flush()
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    trailer = struct.pack("<LL", checksum(payload), len(payload) & 0xFFFFFFFF)
    return b"".join((header, body, trailer))


def checksum(content: bytes | memoryview) -> int:
    """CRC-32, as gzip has it."""
    found: int = (isal_zlib or zlib).crc32(content)
    return found
