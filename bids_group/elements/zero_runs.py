"""Deflate of numbers with zeros between them: zeros as runs, everything else as it is.

Pooled maps are a cache: 20,000 of them should cost little time. In float32 of many digits no library finds
more than a tenth to save, and each takes ten times as long as this to find it. What comes out is plain
deflate (RFC 1951): stored blocks, and blocks of the fixed code in which one zero is repeated.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled

Bytes = npt.NDArray[np.uint8]

_SHORTEST = 16
"""Zero words from which on a run is told as such: one costs about 12 bytes."""

_LARGEST_BLOCK = 65_535
_LONGEST, _REPEATED = 258, 0xA3
"""The longest repetition, and its code (285), to be read from the lowest bit on, as everything here."""


def deflate_zero_runs(content: memoryview | bytes) -> memoryview:
    """Pack bytes (a multiple of 4 of them) into a deflate stream without header and trailer."""
    given = np.frombuffer(content, np.uint8)
    packed = np.empty(given.size + given.size // 4 + 1024, np.uint8)  # the worst: runs of 64 between 4 bytes
    n: int = _deflate(given.view(np.uint32), given, *_repetitions(), packed)
    return packed[:n].data


@cache
def _repetitions() -> tuple[npt.NDArray[np.uint32], Bytes]:
    """Give the code of "repeat the last byte n times" and its number of bits, by n (3 … 258)."""
    codes, sizes = np.zeros(_LONGEST + 1, np.uint32), np.zeros(_LONGEST + 1, np.uint8)
    length = 3
    for symbol in range(257, 285):
        n_extra = max((symbol - 261) // 4, 0)
        width = 7 if symbol < 280 else 8
        code = symbol - 256 if symbol < 280 else symbol - 280 + 0b11000000
        reversed_code = int(f"{code:0{width}b}"[::-1], 2)
        for extra in range(min(2**n_extra, _LONGEST - length)):
            codes[length] = reversed_code | extra << width
            sizes[length] = width + n_extra + 5  # five bits of 0: the byte before
            length += 1
    codes[_LONGEST], sizes[_LONGEST] = _REPEATED, 8 + 5
    return codes, sizes


@compiled()
def _deflate(
    words: npt.NDArray[np.uint32],
    content: Bytes,
    codes: npt.NDArray[np.uint32],
    sizes: Bytes,
    packed: Bytes,
) -> int:
    packed[0] = 0
    at: int = 1
    begin, place, n = 0, 0, words.size
    while place + _SHORTEST <= n:
        if words[place + _SHORTEST - 1] != 0:  # no run of zeros can begin before this word
            place += _SHORTEST
            continue
        stop = place + _SHORTEST - 1
        while stop > begin and words[stop - 1] == 0:
            stop -= 1
        place += _SHORTEST
        while place + 4 <= n and words[place] | words[place + 1] | words[place + 2] | words[place + 3] == 0:
            place += 4
        while place < n and words[place] == 0:
            place += 1
        if place - stop >= _SHORTEST:
            at = _store(content[4 * begin : 4 * stop], packed, at)
            at = _repeat_zero(4 * (place - stop), codes, sizes, packed, at)
            begin = place
    at = _store(content[4 * begin :], packed, at)
    packed[at], packed[at + 1] = 3, 0  # the last block, with nothing in it
    end: int = at + 2
    return end


@compiled()
def _store(values: Bytes, packed: Bytes, at: int) -> int:
    """Write stored blocks: length, its complement, the bytes; the three bits before the first stand there."""
    for begin in range(0, max(values.size, 1), _LARGEST_BLOCK):
        if begin > 0:
            packed[at] = 0
            at += 1
        part = values[begin : begin + _LARGEST_BLOCK]
        for byte, value in enumerate((part.size, part.size >> 8, ~part.size, ~part.size >> 8)):
            packed[at + byte] = value & 0xFF
        target = packed[at + 4 : at + 4 + part.size]
        for byte in range(part.size):  # a slice assigned would be copied before
            target[byte] = part[byte]
        at += 4 + part.size
    return at


@compiled()
def _repeat_zero(n: int, codes: npt.NDArray[np.uint32], sizes: Bytes, packed: Bytes, at: int) -> int:
    """Write a block of ``n`` zeros by the fixed code, and the three bits that begin a stored block."""
    bits, n_bits = np.uint64(2 | 0x0C << 3), np.int64(11)
    left = n - 1
    while left > 0:
        length = min(left, _LONGEST)
        if length < 3:  # too short to be repeated: a literal
            length, code, size = 1, np.uint64(0x0C), np.int64(8)
        else:
            code, size = np.uint64(codes[length]), np.int64(sizes[length])
        bits |= code << np.uint64(n_bits)
        n_bits += size
        left -= length
        while n_bits >= 8:
            packed[at] = bits & np.uint64(0xFF)
            bits >>= np.uint64(8)
            n_bits -= 8
            at += 1
    n_bits += 7 + 3  # all 0: the end of this block, the begin of a stored one; zeros up to a whole byte
    while n_bits > 0:
        packed[at] = bits & np.uint64(0xFF)
        bits >>= np.uint64(8)
        n_bits -= 8
        at += 1
    return at
