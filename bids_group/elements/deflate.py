"""Deflate (RFC 1951) of numbers of four bytes, such as maps in float32.

A general packer looks for repetitions at every byte, and finds next to none in such maps but those of the
number outside the brain. Here numbers are compared as a whole. All is arithmetic with whole numbers in one
order: the same content becomes the same bytes, whatever the processor and whoever packs beside it.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Bits = npt.NDArray[np.uint64]
Whole = npt.NDArray[np.int64]

BLOCK = 1 << 17
"""So many numbers share one code for bytes and lengths, and one for distances."""

_WINDOW = 32768 // 4
_LONGEST_MATCH = 256 // 4
_HASH_BITS = 13
_LONGEST_CODE = 15
_END = 256
_N_SYMBOLS, _N_DISTANCES = 286, 30
_BITS_OF_LENGTH = 4
_LENGTH_MASK = 2**_BITS_OF_LENGTH - 1


class _Memory(NamedTuple):
    """Arrays that each block writes anew."""

    runs: npt.NDArray[np.int32]  # (n, 3): numbers written out, numbers repeated behind them, from how far
    seen_at: Whole  # by hash, where a number was seen last
    counts: Whole  # (5, symbols): of first bytes and lengths, of distances, of second to fourth bytes
    lengths: Whole  # (2, symbols): how many bits a code has
    codes: Bits  # (2, symbols): the code, its first bit lowest, above four bits that say its length
    tree: Whole  # (4, nodes): weights, symbols, parents, depths
    state: Bits  # (3,): whole numbers written, the bits behind them, how many these are


_LOCAL = threading.local()


def deflate(content: bytes | memoryview) -> memoryview:
    """Pack bytes; what is given lies where the thread's next call writes."""
    n_words = len(content) // 4
    words = np.require(np.frombuffer(content, "<u4", n_words), np.uint32, "A").view()
    words.flags.writeable = False
    n_most = n_words + 64 * (n_words // BLOCK + 2)  # four codes of the longest fit a number of eight bytes
    if getattr(_LOCAL, "packed", np.zeros(0)).size < n_most:
        _LOCAL.packed = np.empty(n_most, np.uint64)
        _LOCAL.memory = _Memory(
            runs=np.empty((BLOCK + 1, 3), np.int32),
            seen_at=np.empty(1 << _HASH_BITS, np.int64),
            counts=np.empty((5, _N_SYMBOLS), np.int64),
            lengths=np.empty((2, _N_SYMBOLS), np.int64),
            codes=np.empty((2, _N_SYMBOLS), np.uint64),
            tree=np.empty((4, 2 * _N_SYMBOLS), np.int64),
            state=np.empty(3, np.uint64),
        )
    rest = np.frombuffer(content, np.uint8)[4 * n_words :].copy()
    n_bytes = _pack(words, rest, _LOCAL.packed, *_LOCAL.memory)
    return memoryview(_LOCAL.packed.astype("<u8", copy=False)).cast("B")[:n_bytes]


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pack(
    words: Words,
    rest: npt.NDArray[np.uint8],
    packed: Bits,
    runs: npt.NDArray[np.int32],
    seen_at: Whole,
    counts: Whole,
    lengths: Whole,
    codes: Bits,
    tree: Whole,
    state: Bits,
) -> np.int64:
    """Write block by block, and the up to three bytes behind the numbers; return how many bytes there are."""
    seen_at[:] = 0
    state[:] = 0
    n_blocks = max(1, -(-words.size // BLOCK))
    for block in range(n_blocks):
        start, stop = block * BLOCK, min(words.size, (block + 1) * BLOCK)
        is_last = block == n_blocks - 1
        n_runs = _find_runs(words, start, stop, seen_at, runs)
        _count(words, start, runs, n_runs, rest, counts)
        for kind in range(2):
            _find_lengths(counts, kind, lengths, tree)
            _find_codes(lengths, kind, codes)
        _put(packed, state, np.uint64(5 if is_last else 4), np.uint64(3))
        _put_lengths(packed, state, lengths)
        _put_runs(packed, state, words, start, runs, n_runs, codes)
        for byte in rest[: 3 * is_last]:
            _put_code(packed, state, codes[0, byte])
        _put_code(packed, state, codes[0, _END])
    packed[state[0]] = state[1]
    return np.int64(state[0]) * 8 + (np.int64(state[2]) + 7) // 8


# --------------------------------------------------------------------------------------------
# What is repeated


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_runs(words: Words, start: int, stop: int, seen_at: Whole, runs: npt.NDArray[np.int32]) -> int:
    """Write numbers out until one was seen a little before; from there on repeat as long as numbers agree."""
    n_runs, first, i = 0, start, start
    while i < stop:
        word = words[i]
        place = np.uint32(word * np.uint32(2654435761)) >> np.uint32(32 - _HASH_BITS)
        j = seen_at[place]
        seen_at[place] = i
        if words[j] != word or not 0 < i - j <= _WINDOW:
            i += 1
            continue
        n = _count_equal(words[i : min(i + _LONGEST_MATCH, stop)], words[j:])
        runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2] = i - first, n, i - j
        n_runs += 1
        i += n
        first = i
    runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2] = stop - first, 0, 0
    return n_runs + 1


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_equal(words: Words, others: Words) -> int:
    """How many of the first numbers agree."""
    n = 0
    for k in range(words.size):
        if words[k] != others[k]:
            break
        n += 1
    return n


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _split(n: int, kind: int) -> tuple[int, int, int]:
    """Symbol, number of extra bits, and these bits: of a length (0) or a distance (1) of ``n`` numbers."""
    value, n_fine, first = (4 * n - 1, 1, 0) if kind else (4 * n - 3, 2, _END + 1)
    n_extra = 0
    while value >> n_extra >= 2 << n_fine:
        n_extra += 1
    return first + (n_extra << n_fine) + (value >> n_extra), n_extra, value & ((1 << n_extra) - 1)


# --------------------------------------------------------------------------------------------
# Codes


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(
    words: Words,
    start: int,
    runs: npt.NDArray[np.int32],
    n_runs: int,
    rest: npt.NDArray[np.uint8],
    counts: Whole,
) -> None:
    """How often each byte and length, and each distance comes: some readers want two of each."""
    counts[:] = 0
    counts[0, _END] = counts[0, 0] = counts[1, 0] = counts[1, 1] = 1
    i = start
    for run in range(n_runs):
        for k in range(i, i + runs[run, 0]):
            word = words[k]
            counts[0, word & np.uint32(255)] += 1
            counts[2, word >> np.uint32(8) & np.uint32(255)] += 1
            counts[3, word >> np.uint32(16) & np.uint32(255)] += 1
            counts[4, word >> np.uint32(24)] += 1
        n = runs[run, 1]
        i += runs[run, 0] + n
        if n > 0:
            counts[0, _split(n, 0)[0]] += 1
            counts[1, _split(runs[run, 2], 1)[0]] += 1
    for byte in rest:
        counts[0, byte] += 1
    for symbol in range(256):
        counts[0, symbol] += counts[2, symbol] + counts[3, symbol] + counts[4, symbol]


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_lengths(counts: Whole, kind: int, lengths: Whole, tree: Whole) -> None:
    """Lengths of the codes of a Huffman tree; weights are halved until none is longer than allowed."""
    weights, symbols, parents, depths = tree[0], tree[1], tree[2], tree[3]
    n = _sort(counts[kind], weights, symbols)
    longest = _LONGEST_CODE + 1
    while longest > _LONGEST_CODE:
        leaf, inner = 0, n
        for made in range(n, 2 * n - 1):
            weights[made] = 0
            for _ in range(2):
                is_leaf = leaf < n and (inner == made or weights[leaf] <= weights[inner])
                child = leaf if is_leaf else inner
                leaf, inner = leaf + is_leaf, inner + (not is_leaf)
                weights[made] += weights[child]
                parents[child] = made
        depths[2 * n - 2] = longest = 0
        for node in range(2 * n - 3, -1, -1):
            depths[node] = depths[parents[node]] + 1
            longest = max(longest, depths[node])
        for leaf in range(n):
            weights[leaf] = (weights[leaf] + 1) >> 1
    lengths[kind] = 0
    for leaf in range(n):
        lengths[kind, symbols[leaf]] = depths[leaf]


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sort(counts: Whole, weights: Whole, symbols: Whole) -> int:
    """Sort the symbols that come by their counts; return how many they are."""
    n = 0
    for symbol in range(counts.size):
        count, at = counts[symbol], n
        if count > 0:
            while at > 0 and weights[at - 1] > count:
                weights[at], symbols[at] = weights[at - 1], symbols[at - 1]
                at -= 1
            weights[at], symbols[at] = count, symbol
            n += 1
    return n


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_codes(lengths: Whole, kind: int, codes: Bits) -> None:
    """Codes of one length are numbers in the order of their symbols."""
    code = 0
    for length in range(1, _LONGEST_CODE + 1):
        for symbol in range(_N_SYMBOLS):
            if lengths[kind, symbol] == length:
                codes[kind, symbol] = _turned(code, length) << _BITS_OF_LENGTH | length
                code += 1
        code <<= 1


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _turned(code: int, length: int) -> int:
    """Turn the order of the bits."""
    turned = 0
    for bit in range(length):
        turned |= (code >> bit & 1) << (length - 1 - bit)
    return turned


# --------------------------------------------------------------------------------------------
# Bits


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put_lengths(packed: Bits, state: Bits, lengths: Whole) -> None:
    """Write how long each code is, in four bits each, and first that it is so."""
    sizes = _N_SYMBOLS - 257 | (_N_DISTANCES - 1) << 5 | (19 - 4) << 10
    _put(packed, state, np.uint64(sizes), np.uint64(14))
    for place in range(19):  # the first three are abbreviations, which are not used
        _put(packed, state, np.uint64(0 if place < 3 else 4), np.uint64(3))
    for kind in range(2):
        for symbol in range(_N_DISTANCES if kind else _N_SYMBOLS):
            _put(packed, state, np.uint64(_turned(lengths[kind, symbol], 4)), np.uint64(4))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put_runs(
    packed: Bits,
    state: Bits,
    words: Words,
    start: int,
    runs: npt.NDArray[np.int32],
    n_runs: int,
    codes: Bits,
) -> None:
    """Write numbers, four codes at a time, and what is repeated."""
    shift, low, byte = np.uint64(_BITS_OF_LENGTH), np.uint64(_LENGTH_MASK), np.uint32(255)
    literals = codes[0]
    at, bits, n_bits = state[0], state[1], state[2]
    i = start
    for run in range(n_runs):
        for k in range(i, i + runs[run, 0]):
            word = words[k]
            a, b = literals[word & byte], literals[word >> np.uint32(8) & byte]
            c, d = literals[word >> np.uint32(16) & byte], literals[word >> np.uint32(24)]
            n_a, n_c = a & low, c & low
            n_ab = n_a + (b & low)
            ab, cd = a >> shift | b >> shift << n_a, c >> shift | d >> shift << n_c
            at, bits, n_bits = _append(packed, at, bits, n_bits, ab | cd << n_ab, n_ab + n_c + (d & low))
        n = runs[run, 1]
        i += runs[run, 0] + n
        for kind in range(2 if n > 0 else 0):
            symbol, n_more, more = _split(runs[run, 2] if kind else n, kind)
            a = codes[kind, symbol]
            n_a = a & low
            more_bits = a >> shift | np.uint64(more) << n_a
            at, bits, n_bits = _append(packed, at, bits, n_bits, more_bits, n_a + np.uint64(n_more))
    state[0], state[1], state[2] = at, bits, n_bits


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put_code(packed: Bits, state: Bits, code: np.uint64) -> None:
    _put(packed, state, code >> np.uint64(_BITS_OF_LENGTH), code & np.uint64(_LENGTH_MASK))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _put(packed: Bits, state: Bits, more: np.uint64, n_more: np.uint64) -> None:
    state[0], state[1], state[2] = _append(packed, state[0], state[1], state[2], more, n_more)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _append(
    packed: Bits, at: np.uint64, bits: np.uint64, n_bits: np.uint64, more: np.uint64, n_more: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Append up to 60 bits; those that do not fill a number are handed on."""
    whole = bits | more << n_bits
    packed[at] = whole
    n_all = n_bits + n_more
    is_full = n_all >> np.uint64(6)
    behind = more >> (np.uint64(64) - n_bits & np.uint64(63))
    return at + is_full, behind if is_full else whole, n_all & np.uint64(63)
