"""Means of a volume's values weighted by a Gaussian, along one axis after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled, written_out

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@compiled(error_model="numpy")
def average_around(
    volume: npt.NDArray[np.float32],
    weights: Doubles,
    is_weight: bool,
    first: tuple[int, ...],
    has_values: npt.NDArray[np.bool_],
    kernels: tuple[Doubles, ...],
    sources: tuple[Places, ...],
) -> None:
    """Replace values by the weighted mean around them, in float64; what is not finite counts as 0.

    Slices go through a ring, so that the work stays in the processor's cache, and so that what is written has
    been read. No sum runs across the lanes of a vector: the result is the same on every processor.

    Parameters
    ----------
    volume
        ``(z, y, x)``, of which a box is read and written.
    weights
        ``(nz, ny, nx)``, those of the box: what sums are divided by. Where the volume itself ``is_weight``
        its sums are put there instead.
    first
        Where the box begins in the volume.
    has_values
        ``(nz, ny)``: whether there is a finite value in a row along x; where not, it is left alone.
    kernels
        For z, y and x: the weight of a place itself, one step away, two steps, … four at least.
    sources
        For z, y and x, ``(n + 2 steps,)``: which place stands at −steps … n + steps − 1 (beyond the border:
        a reflection), or −1 where nothing is.
    """
    nz, ny, nx = weights.shape
    ahead, steps = kernels[0].size - 1, kernels[2].size - 1
    width = 2 * ahead + 1
    line, sums = np.zeros(nx + 2 * steps), np.zeros(nx)
    along_x = np.zeros((ny + 1) * nx)  # the last row stays 0: the place −1
    along_xy = np.zeros((width + 1) * ny * nx)  # so does the last slice
    in_line = np.arange(2 * steps + 1)
    in_slice = np.where(sources[1] < 0, ny, sources[1]) * nx
    in_ring = np.where(sources[0] < 0, width, sources[0] % width) * ny * nx
    for front in range(nz + ahead):
        if front < nz:
            for y in range(ny):
                target = along_x[y * nx : (y + 1) * nx]
                if has_values[front, y]:
                    row = volume[first[0] + front, first[1] + y, first[2] : first[2] + nx]
                    _fill(line, row, steps, sources[2])
                    _sum_around(target, line, in_line, kernels[2])
                else:
                    target[:] = 0
            for y in range(ny):
                begin = (front % width * ny + y) * nx
                _sum_around(along_xy[begin : begin + nx], along_x, in_slice[y:], kernels[1])
        z = front - ahead
        for y in range(ny if z >= 0 else 0):
            if has_values[z, y]:
                _sum_around(sums, along_xy[y * nx :], in_ring[z:], kernels[0])
                row = volume[first[0] + z, first[1] + y, first[2] : first[2] + nx]
                _divide(row, sums, weights[z, y], is_weight)


@written_out(error_model="numpy")
def _divide(row: npt.NDArray[np.float32], sums: Doubles, weights: Doubles, is_weight: bool) -> None:
    for x in range(sums.size):
        if is_weight:
            weights[x] = sums[x]
        else:
            row[x] = sums[x] / weights[x]


@written_out()
def _fill(line: Doubles, row: npt.NDArray[np.float32], steps: int, sources: Places) -> None:
    n = row.size
    for x in range(n):
        line[x + steps] = row[x] if np.isfinite(row[x]) else 0
    for x in range(steps):
        left, right = sources[x], sources[n + steps + x]
        line[x] = line[left + steps] if left >= 0 else 0
        line[n + steps + x] = line[right + steps] if right >= 0 else 0


@written_out()
def _sum_around(target: Doubles, values: Doubles, begins: Places, kernel: Doubles) -> None:
    """Sum rows of values, which begin at ``begins`` (−steps … steps); nine at once stay in registers."""
    at = kernel.size - 1
    own = values[begins[at] :]
    left1, right1 = values[begins[at - 1] :], values[begins[at + 1] :]
    left2, right2 = values[begins[at - 2] :], values[begins[at + 2] :]
    left3, right3 = values[begins[at - 3] :], values[begins[at + 3] :]
    left4, right4 = values[begins[at - 4] :], values[begins[at + 4] :]
    w0, w1, w2, w3, w4 = kernel[0], kernel[1], kernel[2], kernel[3], kernel[4]
    for x in range(target.size):
        near = w0 * own[x] + w1 * (left1[x] + right1[x]) + w2 * (left2[x] + right2[x])
        target[x] = near + w3 * (left3[x] + right3[x]) + w4 * (left4[x] + right4[x])
    for step in range(5, kernel.size):
        left, right, weight = values[begins[at - step] :], values[begins[at + step] :], kernel[step]
        for x in range(target.size):
            target[x] += weight * (left[x] + right[x])
