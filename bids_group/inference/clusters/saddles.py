"""Largest cluster size, mass and TFCE of a map on a voxel grid, exactly, from its peaks and saddles.

As in `forest`, voxels enter from the highest |z| down and join the components of their neighbours of the
same sign; but at most voxels nothing happens: the neighbours that entered before form one piece within the
3 × 3 × 3 cube around the voxel, so it belongs to their component, whichever that is. Only at a peak (no such
neighbour) a component begins, and only at a saddle (several pieces) components may meet. So the map is
prepared in bulk:

1. ``encode``: which neighbours enter before each voxel, as the bits of one integer, and of these one for
   every piece that they form.
2. ``_sort``: all voxels by height, those of equal heights by place.
3. ``_label``: in order of entry, each voxel takes the label of its one neighbour; a peak gets a new label; a
   saddle lists the labels around it.
4. ``_enter``: a union-find forest over the labels, of which there are as many as peaks.

The maximum of ``∫ √extent(h) · h² dh`` needs no sum for each voxel. Summed by parts, the integral at the best
voxel of a component is ``Σ (√k − √(k−1)) · h_k³ / 3``, with h_k the height at which the extent grows to k.
Where components of extents a and b meet at h, their sums grow by ``(√(a+b) − √a) · h³`` and
``(√(a+b) − √b) · h³``, and the larger one goes on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.clusters.lattice import (
    CHUNK,
    SIZE_BITS,
    Doubles,
    Lattice,
    LatticeWorkspace,
    Words,
    encode,
    lowest,
    u4,
)

_u8 = np.uint64  # all index arithmetic is unsigned: no test for negative ones


def lattice_maxima(
    z: npt.NDArray[np.float32], heights: Heights, lattice: Lattice, work: LatticeWorkspace
) -> tuple[float, float, float]:
    """Largest cluster size (voxels), mass and TFCE of a map; 0 where there is none.

    Equal to `basin_maxima` but for the last digits of TFCE. ``z`` ``(n_elements,)`` must be
    finite; clusters consist of voxels above ``heights.threshold``.
    """
    encode(z, lattice.runs, lattice.spans, lattice.steps, lattice.connectivity, work.volume, work.late)
    n_in = _sort(z, lattice.places, heights.is_two_sided, work.entries)
    size, mass, tfce = _descend(
        work.entries[1, :n_in], heights.threshold, lattice.weights, lattice.steps, work.volume, work.forest,
        work.sums, work.labels, work.levels, work.ends, work.listed,
    )  # fmt: skip
    return size, mass, tfce / 3.0


@compiled()
def _sort(
    z: npt.NDArray[np.float32], places: Words, is_two_sided: bool, entries: npt.NDArray[np.uint64]
) -> int:
    """Radix-sort what enters by height, ascending, of equal heights by place, into ``entries[1]``."""
    bits = z.view(np.uint32)
    counts = np.zeros((3, 2048), np.uint32)
    low, middle, high = counts[0], counts[1], counts[2]
    n_in, unsorted = _u8(0), entries[0]
    for i in range(bits.size):
        size = u4(bits[i] & SIZE_BITS)
        unsorted[n_in] = (_u8(size) << _u8(32)) | _u8(places[i])
        enters = u4(1) if (size > u4(0)) & (is_two_sided | (bits[i] == size)) else u4(0)
        low[size & u4(2047)] += enters
        middle[(size >> u4(11)) & u4(2047)] += enters
        high[size >> u4(22)] += enters
        n_in += _u8(enters)
    for turn in range(3):
        old, new, nexts = entries[turn % 2], entries[(turn + 1) % 2], counts[turn]
        n_before = u4(0)
        for digit in range(2048):
            n_here = nexts[digit]
            nexts[digit] = n_before
            n_before += n_here
        shift = _u8(32 + 11 * turn)
        for i in range(np.int64(n_in)):
            digit = (old[i] >> shift) & _u8(2047)
            to = nexts[digit]
            nexts[digit] = u4(to + u4(1))
            new[to] = old[i]
    return int(n_in)


@compiled()
def _descend(
    entries: npt.NDArray[np.uint64], threshold: float, weights: Doubles, steps: Words, volume: Words,
    forest: Words, sums: Doubles, labels: Words, levels: Doubles, ends: Words, listed: Words,
) -> tuple[float, float, float]:  # fmt: skip
    """Let voxels in from the highest down, a chunk at a time; the sum of TFCE is not yet divided by 3."""
    words, sizes = entries.view(np.uint32), entries.view(np.float32)
    parent, extent, best, mass = forest[0], forest[1], sums[0], sums[1]
    n_low = entries.size
    while n_low > 0 and sizes[2 * n_low - 1] > threshold:
        n_low -= 1
    n_labels, most_size, most_mass = u4(0), 0.0, 0.0
    end = entries.size
    while end > 0:
        is_above = end > n_low
        first = max(end - CHUNK, n_low if is_above else 0)
        n_known = n_labels
        n_labels = _label(words, first, end, steps, volume, n_labels, labels, ends, listed)
        for label in range(n_known, n_labels):
            parent[label], extent[label], best[label], mass[label] = label, 0, 0.0, 0.0
        _measure(sizes, first, end, threshold, levels)
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


_LIST = u4(0x80000000)


@compiled()
def _label(
    words: Words, first: int, end: int, steps: Words, volume: Words, n_labels: np.uint32, labels: Words,
    ends: Words, listed: Words,
) -> np.uint32:  # fmt: skip
    """Label the voxels of a chunk in order of entry, in ``volume`` and in ``labels``; count the labels.

    A voxel between several labels has the number of its list in ``labels``:
    ``listed[ends[number]:ends[number + 1]]``.
    """
    n_lists, at = u4(0), u4(0)
    ends[0] = 0
    for i in range(_u8(end - first)):
        place = words[_u8(2) * (_u8(end) - _u8(1) - _u8(i))]
        code = volume[place]
        if code == 0:
            volume[place] = n_labels
            labels[i] = n_labels
            n_labels = u4(n_labels + u4(1))
            continue
        bit = lowest(code)
        label = volume[u4(place + steps[_number(bit)])]
        volume[place] = label
        code = u4(code ^ bit)
        if code != 0:
            begin = at
            listed[at] = label
            at = u4(at + u4(1))
            while code != 0:
                bit = lowest(code)
                code = u4(code ^ bit)
                other = volume[u4(place + steps[_number(bit)])]
                listed[at] = other
                is_new = u4(1)
                for earlier in range(begin, at):
                    if listed[earlier] == other:
                        is_new = u4(0)
                at = u4(at + is_new)
            if at > begin + u4(1):
                label = u4(_LIST | n_lists)
                n_lists = u4(n_lists + u4(1))
                ends[n_lists] = at
            else:
                at = begin
        labels[i] = label
    return n_labels


@written_out()
def _number(bit: np.uint32) -> np.uint32:
    """Which bit it is: how many lower ones there are (compiled to one instruction)."""
    lower = u4(bit - u4(1))
    lower = u4(lower - ((lower >> u4(1)) & u4(0x55555555)))
    lower = u4((lower & u4(0x33333333)) + ((lower >> u4(2)) & u4(0x33333333)))
    lower = u4((lower + (lower >> u4(4))) & u4(0x0F0F0F0F))
    return u4(u4(lower * u4(0x01010101)) >> u4(24))


@compiled()
def _measure(sizes: npt.NDArray[np.float32], first: int, end: int, threshold: float, levels: Doubles) -> None:
    """Height above the threshold and height³ of a chunk, in order of entry."""
    for i in range(end - first):
        height = np.float64(sizes[2 * (end - 1 - i) + 1])
        levels[0, i] = height - threshold
        levels[1, i] = height * height * height


@compiled()
def _enter(
    n: int, is_above: bool, weights: Doubles, labels: Words, ends: Words, listed: Words, levels: Doubles,
    parent: Words, extent: Words, best: Doubles, mass: Doubles,
) -> None:  # fmt: skip
    """Let the labelled voxels of a chunk in: each makes its component larger by one."""
    for i in range(_u8(n)):
        level = levels[1, i]
        label = labels[i]
        if label < _LIST:
            root = _root(label, parent)
        else:
            number = u4(label ^ _LIST)
            root = _root(listed[ends[number]], parent)
            for k in range(ends[number] + u4(1), ends[number + u4(1)]):
                other = _root(listed[k], parent)
                if other != root:
                    root = _join(root, other, level, weights, parent, extent, best, mass)
        larger = u4(extent[root] + u4(1))
        best[root] += (weights[larger] - weights[extent[root]]) * level
        extent[root] = larger
        if is_above:
            mass[root] += levels[0, i]


@written_out()
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


@compiled()
def _join(
    one: np.uint32, other: np.uint32, level: float, weights: Doubles, parent: Words, extent: Words,
    best: Doubles, mass: Doubles,
) -> np.uint32:  # fmt: skip
    """Join two components that meet at ``level``, the smaller to the larger; return the root of both."""
    keep, gone = (one, other) if extent[one] >= extent[other] else (other, one)
    both = u4(extent[one] + extent[other])
    best[keep] = max(
        best[keep] + (weights[both] - weights[extent[keep]]) * level,
        best[gone] + (weights[both] - weights[extent[gone]]) * level,
    )
    parent[gone] = keep
    extent[keep] = both
    mass[keep] += mass[gone]
    return keep
