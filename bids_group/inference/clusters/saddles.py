"""Largest cluster size, mass and TFCE of a map on a voxel grid, exactly, from its peaks and saddles.

As in `forest`, voxels enter from the highest |z| down and join the components of their neighbours of the
same sign; but at most voxels nothing happens: the neighbours that entered before form one piece within the
3 × 3 × 3 cube around the voxel, so it belongs to their component, whichever that is. Only at a peak (no such
neighbour) a component begins, and only at a saddle (several pieces) components may meet. So the map is
prepared in bulk:

1. ``_encode``: which neighbours enter before each voxel, as the bits of one integer, and of these one for
   every piece that they form.
2. ``_sort``: all voxels by height, those of equal heights by place.
3. ``_label``: in order of entry, each voxel takes the label of its one neighbour; a peak gets a new label; a
   saddle lists the labels around it.
4. ``_enter``: a union-find forest over the labels, of which there are as many as peaks.

The maximum of ``∫ extent(h)^E · h^H dh`` needs no sum for each voxel. Summed by parts, the integral at the
best voxel of a component is ``Σ (k^E − (k−1)^E) · h_k^(H+1) / (H+1)``, where h_k is the height at which the
extent grows to k. Where components of extents a and b meet at h, their sums grow by
``((a+b)^E − a^E) · h^(H+1)`` and ``((a+b)^E − b^E) · h^(H+1)``, and the larger one goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numba as nb
import numpy as np
import numpy.typing as npt

from bids_group.elements import Connectivity, Elements
from bids_group.inference.clusters.forest import Heights

Words = npt.NDArray[np.uint32]
Doubles = npt.NDArray[np.float64]

_u4, _i4, _u8 = np.uint32, np.int32, np.uint64  # all index arithmetic is unsigned: no test for negative ones

CHUNK = 1024
"""Voxels that are labelled before they are let in: their labels and levels stay in the nearest cache."""

_MOST_LISTED = 26
"""Labels that a saddle lists: at most one for each neighbour. So a chunk has room for all of its lists."""

_LONGEST_GAP = 64
"""Runs of voxels that are no farther apart than this are encoded as one."""


_CUBE = tuple(product((-1, 0, 1), repeat=3))


def _bits(is_in: Callable[[tuple[int, ...]], bool]) -> np.uint32:
    return _u4(sum(1 << number for number, step in enumerate(_CUBE) if is_in(step)))


_FACES, _FACES_AND_EDGES = (
    _bits(lambda step: sum(map(abs, step)) == 1),
    _bits(lambda step: sum(map(abs, step)) in (1, 2)),
)
_UP_Y, _DOWN_Y = _bits(lambda step: step[1] > -1), _bits(lambda step: step[1] < 1)
_UP_Z, _DOWN_Z = _bits(lambda step: step[2] > -1), _bits(lambda step: step[2] < 1)
_SIGN, _SIZE = _u4(0x80000000), _u4(0x7FFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """Analysed voxels in their bounding box, with a margin of one voxel, and what a pass over it needs.

    ``places`` ``(n_elements,)``: positions in the flattened box. ``runs`` ``(n_runs, 2)``: first position and
    end of each row of adjacent voxels. ``spans``: the same of rows joined over short gaps. ``steps``
    ``(27,)``: from a position to those around it. ``weights`` ``(n_elements + 1,)``: extent^E.
    """

    connectivity: Connectivity
    n_places: int
    places: Words
    runs: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    steps: Words
    weights: Doubles

    @classmethod
    def of(cls, elements: Elements, connectivity: Connectivity, extent_power: float) -> Lattice:
        """Lay out the voxels of ``elements``."""
        voxels = np.stack(np.unravel_index(elements.indices, elements.grid.shape))
        shape = _box(elements)
        strides = np.array([shape[1] * shape[2], shape[2], 1])
        places = strides @ (voxels - voxels.min(axis=1, keepdims=True) + 1)
        weights = np.arange(elements.n_elements + 1, dtype=np.float64) ** extent_power
        weights[0] = 0.0  # also where E is 0
        return cls(
            connectivity=connectivity,
            n_places=int(shape.prod()),
            places=places.astype(np.uint32),
            runs=_rows(places, int(strides[0]), longest_gap=0),
            spans=_rows(places, int(strides[0]), longest_gap=_LONGEST_GAP),
            steps=(np.array(_CUBE) @ strides).astype(np.uint32),
            weights=weights,
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


@dataclass(frozen=True, slots=True, eq=False)
class LatticeWorkspace:
    """Arrays that one worker reuses for every map."""

    volume: Words  # (n_places,) bits of z, later codes, later labels; 0 outside the analysed voxels
    late: Words  # (2, plane) codes of two planes, while the heights there are still needed
    entries: npt.NDArray[np.uint64]  # (2, n) bits of |z| above, place below: scratch, and the sorted order
    forest: Words  # (2, n) parent and extent of each label, in the memory of the scratch
    sums: Doubles  # (2, n) best sum and mass of each label
    labels: Words  # (CHUNK,) of voxels, or the number of a list and the highest bit
    levels: Doubles  # (2, CHUNK) height and height^(H+1)
    ends: Words  # (CHUNK + 1,) of the lists
    listed: Words  # (CHUNK · 26,)

    @classmethod
    def on(cls, lattice: Lattice) -> LatticeWorkspace:
        """Allocate for maps on a lattice."""
        n, plane = lattice.places.size, int(lattice.steps[22])
        entries = np.empty((2, n), np.uint64)
        return cls(
            volume=np.zeros(lattice.n_places, np.uint32),
            late=np.empty((2, plane), np.uint32),
            entries=entries,
            forest=entries[0].view(np.uint32).reshape(2, n),
            sums=np.empty((2, n)),
            labels=np.empty(CHUNK, np.uint32),
            levels=np.empty((2, CHUNK)),
            ends=np.empty(CHUNK + 1, np.uint32),
            listed=np.empty(CHUNK * _MOST_LISTED, np.uint32),
        )


def lattice_maxima(
    z: npt.NDArray[np.float32], heights: Heights, lattice: Lattice, work: LatticeWorkspace
) -> tuple[float, float, float]:
    """Largest cluster size (voxels), mass and TFCE of a map; 0 where there is none.

    Equal to `forest.cluster_maxima` but for the last digits of mass and TFCE.

    Parameters
    ----------
    z
        Shape ``(n_elements,)``, finite. Clusters consist of voxels above ``heights.threshold``.
    """
    _encode(z, lattice.runs, lattice.spans, lattice.steps, lattice.connectivity, work.volume, work.late)
    n_in = _sort(z, lattice.places, heights.is_two_sided, work.entries)
    size, mass, tfce = _descend(
        work.entries[1, :n_in], heights.threshold, heights.height_power + 1, lattice.weights, lattice.steps,
        work.volume, work.forest, work.sums, work.labels, work.levels, work.ends, work.listed,
    )  # fmt: skip
    return size, mass, tfce / (heights.height_power + 1)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _encode(
    z: npt.NDArray[np.float32],
    runs: npt.NDArray[np.int64],
    spans: npt.NDArray[np.int64],
    steps: Words,
    connectivity: int,
    volume: Words,
    late: Words,
) -> None:
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


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _replace_heights(first: int, end: int, plane: int, late: Words, volume: Words) -> None:
    start = first % plane
    volume[first:end] = late[(first // plane) % 2, start : start + end - first]


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _above(there: np.uint32, sign: np.uint32, height: np.int32, bit: int) -> np.uint32:
    """``bit`` where a neighbour of the same sign is higher: one of the other sign is negative here."""
    return _u4(1 << bit if _i4(there ^ sign) > height else 0)


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _three_above(a: np.uint32, b: np.uint32, c: np.uint32, sign: np.uint32, height: np.int32) -> np.uint32:
    three: np.uint32 = _above(a, sign, height, 0) | _above(b, sign, height, 1) | _above(c, sign, height, 2)
    return three


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_earlier(volume: Words, first: int, row: int, plane: int, codes: Words) -> None:
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
        sign, height = here[j + 1] & _SIGN, _i4(here[j + 1] & _SIZE)
        lower = _i4(height - _i4(1))
        code = _three_above(r0[j], r0[j + 1], r0[j + 2], sign, height)
        code |= _three_above(r1[j], r1[j + 1], r1[j + 2], sign, height) << _u4(3)
        code |= _three_above(r2[j], r2[j + 1], r2[j + 2], sign, height) << _u4(6)
        code |= _three_above(r3[j], r3[j + 1], r3[j + 2], sign, height) << _u4(9)
        code |= _above(here[j], sign, height, 12) | _above(here[j + 2], sign, lower, 14)
        code |= _three_above(r5[j], r5[j + 1], r5[j + 2], sign, lower) << _u4(15)
        code |= _three_above(r6[j], r6[j + 1], r6[j + 2], sign, lower) << _u4(18)
        code |= _three_above(r7[j], r7[j + 1], r7[j + 2], sign, lower) << _u4(21)
        code |= _three_above(r8[j], r8[j + 1], r8[j + 2], sign, lower) << _u4(24)
        codes[j] = code


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_pieces(connectivity: int, codes: Words) -> None:
    """Keep one neighbour of each piece of those marked; now and then two of one piece, which does no harm.

    The first two pieces are grown bit by bit within the cube, by so many steps as nearly all pieces need; of
    what is left every neighbour is kept.
    """
    if connectivity == 26:
        for j in range(codes.size):
            left = codes[j]
            first = _lowest(left)
            left = _u4(left & ~_grow_26(first, left))
            second = _lowest(left)
            codes[j] = first | second | _u4(left & ~_grow_26(second, left))
    elif connectivity == 18:
        for j in range(codes.size):
            marked = codes[j]
            left = _u4(marked & _FACES_AND_EDGES)
            first = _lowest(left)
            left = _u4(left & ~_grow_18(first, marked))
            second = _lowest(left)
            codes[j] = first | second | _u4(left & ~_grow_18(second, marked))
    else:
        for j in range(codes.size):
            marked = codes[j]
            left = _u4(marked & _FACES)
            first = _lowest(left)
            left = _u4(left & ~_grow_6(first, marked))
            second = _lowest(left)
            codes[j] = first | second | _u4(left & ~_grow_6(second, marked))


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _lowest(bits: np.uint32) -> np.uint32:
    return _u4(bits & _u4(_u4(0) - bits))


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _along_z(bits: np.uint32) -> np.uint32:
    return _u4(((bits << _u4(1)) & _UP_Z) | ((bits >> _u4(1)) & _DOWN_Z))


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _along_y(bits: np.uint32) -> np.uint32:
    return _u4(((bits << _u4(3)) & _UP_Y) | ((bits >> _u4(3)) & _DOWN_Y))


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _along_x(bits: np.uint32) -> np.uint32:
    return _u4((bits << _u4(9)) | (bits >> _u4(9)))


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _grow_26(bits: np.uint32, within: np.uint32) -> np.uint32:
    for _ in range(4):
        bits |= _along_z(bits)
        bits |= _along_y(bits)
        bits = _u4((bits | _along_x(bits)) & within)
    return bits


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _grow_18(bits: np.uint32, within: np.uint32) -> np.uint32:
    for _ in range(4):
        line, column = bits | _along_z(bits), bits | _along_y(bits)
        bits = _u4((line | _along_y(line) | _along_x(line | column)) & within)
    return bits


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _grow_6(bits: np.uint32, within: np.uint32) -> np.uint32:
    for _ in range(4):
        bits = _u4((bits | _along_z(bits) | _along_y(bits) | _along_x(bits)) & within)
    return bits


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sort(
    z: npt.NDArray[np.float32], places: Words, is_two_sided: bool, entries: npt.NDArray[np.uint64]
) -> int:
    """Radix-sort what enters by height, ascending, of equal heights by place, into ``entries[1]``."""
    bits = z.view(np.uint32)
    counts = np.zeros((3, 2048), np.uint32)
    low, middle, high = counts[0], counts[1], counts[2]
    n_in, unsorted = _u8(0), entries[0]
    for i in range(bits.size):
        size = _u4(bits[i] & _SIZE)
        unsorted[n_in] = (_u8(size) << _u8(32)) | _u8(places[i])
        enters = _u4(1) if (size > _u4(0)) & (is_two_sided | (bits[i] == size)) else _u4(0)
        low[size & _u4(2047)] += enters
        middle[(size >> _u4(11)) & _u4(2047)] += enters
        high[size >> _u4(22)] += enters
        n_in += _u8(enters)
    for turn in range(3):
        old, new, nexts = entries[turn % 2], entries[(turn + 1) % 2], counts[turn]
        n_before = _u4(0)
        for digit in range(2048):
            n_here = nexts[digit]
            nexts[digit] = n_before
            n_before += n_here
        shift = _u8(32 + 11 * turn)
        for i in range(np.int64(n_in)):
            digit = (old[i] >> shift) & _u8(2047)
            to = nexts[digit]
            nexts[digit] = _u4(to + _u4(1))
            new[to] = old[i]
    return int(n_in)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _descend(
    entries: npt.NDArray[np.uint64],
    threshold: float,
    power: float,
    weights: Doubles,
    steps: Words,
    volume: Words,
    forest: Words,
    sums: Doubles,
    labels: Words,
    levels: Doubles,
    ends: Words,
    listed: Words,
) -> tuple[float, float, float]:
    """Let voxels in from the highest down, a chunk at a time; the sum of TFCE is not yet divided by H + 1."""
    words, sizes = entries.view(np.uint32), entries.view(np.float32)
    parent, extent, best, mass = forest[0], forest[1], sums[0], sums[1]
    n_low = entries.size
    while n_low > 0 and sizes[2 * n_low - 1] > threshold:
        n_low -= 1
    n_labels, most_size, most_mass = _u4(0), 0.0, 0.0
    end = entries.size
    while end > 0:
        is_above = end > n_low
        first = max(end - CHUNK, n_low if is_above else 0)
        n_known = n_labels
        n_labels = _label(words, first, end, steps, volume, n_labels, labels, ends, listed)
        for label in range(n_known, n_labels):
            parent[label], extent[label], best[label], mass[label] = label, 0, 0.0, 0.0
        _measure(sizes, first, end, threshold, power, levels)
        _enter(end - first, is_above, weights, labels, ends, listed, levels, parent, extent, best, mass)
        if first == n_low and is_above:
            for label in range(n_labels):
                if parent[label] == label:
                    most_size = max(most_size, float(extent[label]))
                    most_mass = max(most_mass, mass[label])
        end = first
    most = 0.0
    for label in range(n_labels):
        if parent[label] == label:
            most = max(most, best[label])
    return most_size, most_mass, most


_LIST = _u4(0x80000000)


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _label(
    words: Words,
    first: int,
    end: int,
    steps: Words,
    volume: Words,
    n_labels: np.uint32,
    labels: Words,
    ends: Words,
    listed: Words,
) -> np.uint32:
    """Label the voxels of a chunk in order of entry, in ``volume`` and in ``labels``; count the labels.

    A voxel between several labels has the number of its list in ``labels``:
    ``listed[ends[number]:ends[number + 1]]``.
    """
    n_lists, at = _u4(0), _u4(0)
    ends[0] = 0
    for i in range(_u8(end - first)):
        place = words[_u8(2) * (_u8(end) - _u8(1) - _u8(i))]
        code = volume[place]
        if code == 0:
            volume[place] = n_labels
            labels[i] = n_labels
            n_labels = _u4(n_labels + _u4(1))
            continue
        bit = _lowest(code)
        label = volume[_u4(place + steps[_number(bit)])]
        volume[place] = label
        code = _u4(code ^ bit)
        if code != 0:
            begin = at
            listed[at] = label
            at = _u4(at + _u4(1))
            while code != 0:
                bit = _lowest(code)
                code = _u4(code ^ bit)
                other = volume[_u4(place + steps[_number(bit)])]
                listed[at] = other
                is_new = _u4(1)
                for earlier in range(begin, at):
                    if listed[earlier] == other:
                        is_new = _u4(0)
                at = _u4(at + is_new)
            if at > begin + _u4(1):
                label = _u4(_LIST | n_lists)
                n_lists = _u4(n_lists + _u4(1))
                ends[n_lists] = at
            else:
                at = begin
        labels[i] = label
    return n_labels


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _number(bit: np.uint32) -> np.uint32:
    """Which bit it is: how many lower ones there are (compiled to one instruction)."""
    lower = _u4(bit - _u4(1))
    lower = _u4(lower - ((lower >> _u4(1)) & _u4(0x55555555)))
    lower = _u4((lower & _u4(0x33333333)) + ((lower >> _u4(2)) & _u4(0x33333333)))
    lower = _u4((lower + (lower >> _u4(4))) & _u4(0x0F0F0F0F))
    return _u4(_u4(lower * _u4(0x01010101)) >> _u4(24))


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _measure(
    sizes: npt.NDArray[np.float32], first: int, end: int, threshold: float, power: float, levels: Doubles
) -> None:
    """Height above the threshold and height^(H+1) of a chunk, in order of entry."""
    for i in range(end - first):
        height = np.float64(sizes[2 * (end - 1 - i) + 1])
        levels[0, i] = height - threshold
        levels[1, i] = height * height * height if power == 3.0 else height**power


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _enter(
    n: int,
    is_above: bool,
    weights: Doubles,
    labels: Words,
    ends: Words,
    listed: Words,
    levels: Doubles,
    parent: Words,
    extent: Words,
    best: Doubles,
    mass: Doubles,
) -> None:
    """Let the labelled voxels of a chunk in: each makes its component larger by one."""
    for i in range(_u8(n)):
        level = levels[1, i]
        label = labels[i]
        if label < _LIST:
            root = _root(label, parent)
        else:
            number = _u4(label ^ _LIST)
            root = _root(listed[ends[number]], parent)
            for k in range(ends[number] + _u4(1), ends[number + _u4(1)]):
                other = _root(listed[k], parent)
                if other != root:
                    root = _join(root, other, level, weights, parent, extent, best, mass)
        larger = _u4(extent[root] + _u4(1))
        best[root] += (weights[larger] - weights[extent[root]]) * level
        extent[root] = larger
        if is_above:
            mass[root] += levels[0, i]


@nb.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _root(label: np.uint32, parent: Words) -> np.uint32:
    """Find the root of a label, halving the path."""
    while True:
        above: np.uint32 = parent[label]
        if above == label:
            return label
        highest: np.uint32 = parent[above]
        if highest == above:
            return above
        parent[label] = highest
        label = highest


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _join(
    one: np.uint32,
    other: np.uint32,
    level: float,
    weights: Doubles,
    parent: Words,
    extent: Words,
    best: Doubles,
    mass: Doubles,
) -> np.uint32:
    """Join two components that meet at ``level``, the smaller to the larger; return the root of both."""
    keep, gone = (one, other) if extent[one] >= extent[other] else (other, one)
    both = _u4(extent[one] + extent[other])
    best[keep] = max(
        best[keep] + (weights[both] - weights[extent[keep]]) * level,
        best[gone] + (weights[both] - weights[extent[gone]]) * level,
    )
    parent[gone] = keep
    extent[keep] = both
    mass[keep] += mass[gone]
    return keep
