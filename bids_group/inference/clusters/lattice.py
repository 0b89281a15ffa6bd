"""The voxels of a map in their bounding box, and which of their neighbours are higher, as bits.

`encode` prepares a map for `saddles`, in bulk: which neighbours enter before each voxel, as the bits of one
integer, and of these one for every piece that they form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.elements import Connectivity, Elements

Words = npt.NDArray[np.uint32]
Doubles = npt.NDArray[np.float64]

u4, _i4 = np.uint32, np.int32  # all index arithmetic is unsigned: no test for negative ones

CHUNK = 1024
"""Voxels that are labelled before they are let in: their labels and levels stay in the nearest cache."""

_MOST_LISTED = 26
"""Labels that a saddle lists: at most one for each neighbour. So a chunk has room for all of its lists."""

_LONGEST_GAP = 64
"""Runs of voxels that are no farther apart than this are encoded as one."""


_CUBE = tuple(product((-1, 0, 1), repeat=3))


def _bits(is_in: Callable[[tuple[int, ...]], bool]) -> np.uint32:
    return u4(sum(1 << number for number, step in enumerate(_CUBE) if is_in(step)))


_FACES, _FACES_AND_EDGES = (
    _bits(lambda step: sum(map(abs, step)) == 1),
    _bits(lambda step: sum(map(abs, step)) in (1, 2)),
)
_UP_Y, _DOWN_Y = _bits(lambda step: step[1] > -1), _bits(lambda step: step[1] < 1)
_UP_Z, _DOWN_Z = _bits(lambda step: step[2] > -1), _bits(lambda step: step[2] < 1)
_SIGN_BIT, SIZE_BITS = u4(0x80000000), u4(0x7FFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """Analysed voxels in their bounding box, with a margin of one voxel, and what a pass over it needs.

    ``places`` ``(n_elements,)``: positions in the flattened box. ``runs`` ``(n_runs, 2)``: first position and
    end of each row of adjacent voxels. ``spans``: the same of rows joined over short gaps. ``steps``
    ``(27,)``: from a position to those around it. ``weights`` ``(n_elements + 1,)``: √extent.
    """

    connectivity: Connectivity
    n_places: int
    places: Words
    runs: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    steps: Words
    weights: Doubles

    @classmethod
    def of(cls, elements: Elements, connectivity: Connectivity) -> Lattice:
        """Lay out the voxels of ``elements``."""
        voxels = np.stack(np.unravel_index(elements.indices, elements.grid.shape))
        shape = _box(elements)
        strides = np.array([shape[1] * shape[2], shape[2], 1])
        places = strides @ (voxels - voxels.min(axis=1, keepdims=True) + 1)
        return cls(
            connectivity=connectivity,
            n_places=int(shape.prod()),
            places=places.astype(np.uint32),
            runs=_rows(places, int(strides[0]), longest_gap=0),
            spans=_rows(places, int(strides[0]), longest_gap=_LONGEST_GAP),
            steps=(np.array(_CUBE) @ strides).astype(np.uint32),
            weights=np.sqrt(np.arange(elements.n_elements + 1, dtype=np.float64)),
        )

    @staticmethod
    def fits(elements: Elements) -> bool:
        """Whether a place in the box can be told by 32 bits, as the pass does."""
        return bool(_box(elements).prod() < 2**32)

    @property
    def bytes_per_worker(self) -> int:
        """Memory of a `LatticeWorkspace`, but for what does not grow with the map."""
        return 4 * self.n_places + (16 + 16) * self.places.size


def _box(elements: Elements) -> npt.NDArray[np.int64]:
    """Extents of the voxels' bounding box with its margin."""
    voxels = np.stack(np.unravel_index(elements.indices, elements.grid.shape))
    return np.asarray(np.ptp(voxels, axis=1) + 3)


def _rows(places: npt.NDArray[np.int64], plane: int, longest_gap: int) -> npt.NDArray[np.int64]:
    """First position and end of rows of voxels of one plane, with gaps of at most so many positions."""
    is_new = (np.diff(places) > longest_gap + 1) | (np.diff(places // plane) > 0)
    first = np.concatenate([[0], np.flatnonzero(is_new) + 1])
    last = np.append(first[1:], places.size) - 1
    return np.column_stack([places[first], places[last] + 1])


class LatticeWorkspace:
    """Arrays that one worker reuses for every map on a lattice."""

    def __init__(self, lattice: Lattice) -> None:
        n, plane = lattice.places.size, int(lattice.steps[22])
        # bits of z, later codes, later labels; 0 outside the analysed voxels
        self.volume = np.zeros(lattice.n_places, np.uint32)
        # codes of two planes, while the heights there are still needed
        self.late = np.empty((2, plane), np.uint32)
        # bits of |z| above, place below: scratch, and the sorted order
        self.entries = np.empty((2, n), np.uint64)
        # parent and extent of each label, in the memory of the scratch; its best sum and mass
        self.forest, self.sums = self.entries[0].view(np.uint32).reshape(2, n), np.empty((2, n))
        # of the voxels of a chunk: label, or the number of a list and the highest bit; height, height³
        self.labels, self.levels = np.empty(CHUNK, np.uint32), np.empty((2, CHUNK))
        self.ends, self.listed = np.empty(CHUNK + 1, np.uint32), np.empty(CHUNK * _MOST_LISTED, np.uint32)


@compiled()
def encode(
    z: npt.NDArray[np.float32], runs: npt.NDArray[np.int64], spans: npt.NDArray[np.int64], steps: Words,
    connectivity: int, volume: Words, late: Words,
) -> None:  # fmt: skip
    """Put each voxel's code into ``volume``: one bit for each piece of the neighbours that enter before.

    The codes of a plane replace its heights once those of the next plane are known.
    """
    bits = z.view(np.uint32)
    row, plane = np.int64(steps[16]), np.int64(steps[22])
    n_done = 0
    for run in range(runs.shape[0]):
        first, end = runs[run]
        volume[first:end] = bits[n_done : n_done + end - first]
        n_done += end - first
    run = 0
    for span in range(spans.shape[0]):
        first, end = spans[span]
        number, start = first // plane, first % plane
        while runs[run, 0] // plane < number - 1:
            _replace_heights(runs[run, 0], runs[run, 1], plane, late, volume)
            run += 1
        codes = late[number % 2, start : start + end - first]
        _find_earlier(volume, first, row, plane, codes)
        _find_pieces(connectivity, codes)
    while run < runs.shape[0]:
        _replace_heights(runs[run, 0], runs[run, 1], plane, late, volume)
        run += 1


@written_out()
def _replace_heights(first: np.int64, end: np.int64, plane: np.int64, late: Words, volume: Words) -> None:
    start = first % plane
    volume[first:end] = late[(first // plane) % 2, start : start + end - first]


@written_out()
def _above(there: np.uint32, sign: np.uint32, height: np.int32, bit: int) -> np.uint32:
    """``bit`` where a neighbour of the same sign is higher: one of the other sign is negative here."""
    return u4(1 << bit if _i4(there ^ sign) > height else 0)


@written_out()
def _three_above(a: np.uint32, b: np.uint32, c: np.uint32, sign: np.uint32, height: np.int32) -> np.uint32:
    three: np.uint32 = _above(a, sign, height, 0) | _above(b, sign, height, 1) | _above(c, sign, height, 2)
    return three


@compiled()
def _find_earlier(volume: Words, first: np.int64, row: np.int64, plane: np.int64, codes: Words) -> None:
    """Mark the neighbours that enter before each of the voxels from ``first`` on, by 27 bits.

    Of equal heights the later place enters first: neighbours there need only be higher than the next lower
    height. One loop without branches over the nine rows around: eight voxels at a time.
    """
    n = codes.size
    p = first - 1
    here = volume[p : p + n + 2]
    r0, r1, r2 = volume[p - plane - row :], volume[p - plane :], volume[p - plane + row :]
    r3, r5 = volume[p - row :], volume[p + row :]
    r6, r7, r8 = volume[p + plane - row :], volume[p + plane :], volume[p + plane + row :]
    for j in range(n):
        sign, height = here[j + 1] & _SIGN_BIT, _i4(here[j + 1] & SIZE_BITS)
        lower = _i4(height - _i4(1))
        code = _three_above(r0[j], r0[j + 1], r0[j + 2], sign, height)
        code |= _three_above(r1[j], r1[j + 1], r1[j + 2], sign, height) << u4(3)
        code |= _three_above(r2[j], r2[j + 1], r2[j + 2], sign, height) << u4(6)
        code |= _three_above(r3[j], r3[j + 1], r3[j + 2], sign, height) << u4(9)
        code |= _above(here[j], sign, height, 12) | _above(here[j + 2], sign, lower, 14)
        code |= _three_above(r5[j], r5[j + 1], r5[j + 2], sign, lower) << u4(15)
        code |= _three_above(r6[j], r6[j + 1], r6[j + 2], sign, lower) << u4(18)
        code |= _three_above(r7[j], r7[j + 1], r7[j + 2], sign, lower) << u4(21)
        code |= _three_above(r8[j], r8[j + 1], r8[j + 2], sign, lower) << u4(24)
        codes[j] = code


@compiled()
def _find_pieces(connectivity: int, codes: Words) -> None:
    """Keep one neighbour of each piece of those marked; now and then two of one piece, which does no harm.

    The first two pieces are grown bit by bit within the cube, by so many steps as nearly all pieces need; of
    what is left every neighbour is kept.
    """
    if connectivity == 26:
        for j in range(codes.size):
            left = codes[j]
            first = lowest(left)
            left = u4(left & ~_grow_26(first, left))
            second = lowest(left)
            codes[j] = first | second | u4(left & ~_grow_26(second, left))
    elif connectivity == 18:
        for j in range(codes.size):
            marked = codes[j]
            left = u4(marked & _FACES_AND_EDGES)
            first = lowest(left)
            left = u4(left & ~_grow_18(first, marked))
            second = lowest(left)
            codes[j] = first | second | u4(left & ~_grow_18(second, marked))
    else:
        for j in range(codes.size):
            marked = codes[j]
            left = u4(marked & _FACES)
            first = lowest(left)
            left = u4(left & ~_grow_6(first, marked))
            second = lowest(left)
            codes[j] = first | second | u4(left & ~_grow_6(second, marked))


@written_out()
def lowest(bits: np.uint32) -> np.uint32:
    """Keep the lowest bit."""
    return u4(bits & u4(u4(0) - bits))


@written_out()
def _along_z(bits: np.uint32) -> np.uint32:
    return u4(((bits << u4(1)) & _UP_Z) | ((bits >> u4(1)) & _DOWN_Z))


@written_out()
def _along_y(bits: np.uint32) -> np.uint32:
    return u4(((bits << u4(3)) & _UP_Y) | ((bits >> u4(3)) & _DOWN_Y))


@written_out()
def _along_x(bits: np.uint32) -> np.uint32:
    return u4((bits << u4(9)) | (bits >> u4(9)))


@written_out()
def _grow_26(bits: np.uint32, within: np.uint32) -> np.uint32:
    for _ in range(4):
        bits |= _along_z(bits)
        bits |= _along_y(bits)
        bits = u4((bits | _along_x(bits)) & within)
    return bits


@written_out()
def _grow_18(bits: np.uint32, within: np.uint32) -> np.uint32:
    for _ in range(4):
        line, column = bits | _along_z(bits), bits | _along_y(bits)
        bits = u4((line | _along_y(line) | _along_x(line | column)) & within)
    return bits


@written_out()
def _grow_6(bits: np.uint32, within: np.uint32) -> np.uint32:
    for _ in range(4):
        bits = u4((bits | _along_z(bits) | _along_y(bits) | _along_x(bits)) & within)
    return bits
