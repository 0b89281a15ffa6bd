"""Partial correlations of shuffled data at elements where some rows are not observed.

Products of the moved design with the residuals are computed for all elements alike, residuals that are not
observed being 0; here they become those of the rows observed. A permutation may bring a residual to a row
that is not observed: it is then passed on to where that row's own residual would go, until it comes to a row
that is observed. Each step adds a difference of two rows of U, an orthonormal basis of the design, to the
products; a small matrix of the pattern of observed rows turns the sums into products with the tested and
nuisance directions there. So an element costs the same whether its pattern is its own or that of many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bids_group.compiled import compiled
from bids_group.inference.shuffling.partition import Codes, Doubles, Single
from bids_group.inference.shuffling.pooled_variance import LARGEST

Places = npt.NDArray[np.uint32]
Signs = npt.NDArray[np.int8]

_TOGETHER, _SHUFFLES_TOGETHER = 16, 128
"""Elements, and shuffles, that are done together."""

_LINE = 8
"""Unused sums behind those of a column, so that columns do not compete for the same lines of the cache."""

_NO_STEP = 1e-14
"""What rounding leaves between entries of an orthonormal column that are equal."""


class Steps(NamedTuple):
    """What products gain when a residual at a row is passed on to where that row's own residual would go.

    Listed for each row are the shuffles in which a product changes (none does between rows that are equal in
    the design). ``counts`` ``(n_obs,)``: how many these are; ``shuffles`` and ``sources`` ``(n_obs,
    n_shuffles)``: which, and the row whose residual comes here; ``gains`` ``(n_obs, p, n_shuffles)``;
    ``moving``: columns that change at all (the intercept does not).
    """

    moving: Codes
    counts: Codes
    shuffles: Places
    sources: Places
    gains: Doubles


@compiled()
def correlate_observed(
    products: Single, rests: Single, sources: Places, targets: Places, signs: Signs, columns: Doubles,
    pattern: Codes, mixing: Doubles, kinds: Places, exceptions: Codes, starts: Codes, q: int,
    is_signed: bool, values: Single,
) -> None:  # fmt: skip
    """Fill ``values`` (batch_size, n) from products (p, batch_size, n) before any residual was passed on.

    ``rests`` (n, n_obs): the residuals. ``sources`` and ``targets`` (n_obs, n_shuffles): the row whose
    residual comes to each row, and the row where its own goes. ``kinds`` (k, n_obs): as in `Holes`;
    ``exceptions``: rows of a kind other than 0, those of a pattern between two of its ``starts``. A few
    shuffles and elements at a time stay in the processor's cache.
    """
    p = columns.shape[1]
    for first in range(0, sources.shape[1], _SHUFFLES_TOGETHER):
        here = slice(first, min(first + _SHUFFLES_TOGETHER, sources.shape[1]))
        n_shuffles = here.stop - here.start
        sums, found = (
            np.empty((_TOGETHER, p, n_shuffles + _LINE)),
            np.empty((_TOGETHER, n_shuffles), np.float32),
        )
        room, others = np.empty((4, n_shuffles)), np.empty(n_shuffles, np.intp)
        origins, goals, flips = sources[:, here].copy(), targets[:, here].copy(), signs[:, here].copy()
        steps = _steps(origins, goals, flips, columns if exceptions.size else columns[:0])
        for start in range(0, pattern.size, _TOGETHER):
            n_here = min(_TOGETHER, pattern.size - start)
            for c in range(p):
                for k in range(n_shuffles):
                    for j in range(n_here):
                        sums[j, c, k] = products[c, first + k, start + j]
            for j in range(n_here):
                own, rest = pattern[start + j], rests[start + j]
                rows = exceptions[starts[own] : starts[own + 1]]
                if rows.size:
                    _contract(sums[j], rest, rows, kinds[own], origins, steps, room[0], others)
                    _contract_parts(sums[j], rest, rows, kinds[own], goals, flips, columns)
                _combine(sums[j], mixing[own], q, is_signed, room, found[j])
            for k in range(n_shuffles):
                for j in range(n_here):
                    values[first + k, start + j] = found[j, k]


@compiled()
def _steps(sources: Places, targets: Places, signs: Signs, columns: Doubles) -> Steps:
    """Find what products gain when a residual goes from each row of ``columns`` on to the next."""
    (n_obs, p), n_shuffles = columns.shape, sources.shape[1]
    counts, is_moving = np.zeros(n_obs, np.intp), np.zeros(p, np.bool_)
    shuffles, origins = np.empty((n_obs, n_shuffles), np.uint32), np.empty((n_obs, n_shuffles), np.uint32)
    gains = np.empty((n_obs, p, n_shuffles))
    for row in range(n_obs):
        for k in range(n_shuffles):
            target, i, is_step = targets[row, k], counts[row], False
            after, before = (signs[target, k], signs[row, k]) if signs.size else (1, 1)
            for c in range(p):
                gains[row, c, i] = after * columns[target, c] - before * columns[row, c]
                if abs(gains[row, c, i]) > _NO_STEP:
                    is_moving[c] = is_step = True
            shuffles[row, i], origins[row, i] = k, sources[row, k]
            counts[row] += is_step
    return Steps(np.flatnonzero(is_moving), counts, shuffles, origins, gains)


@compiled()
def _contract(
    sums: Doubles, rest: Single, rows: Codes, kind: Places, sources: Places, steps: Steps, carried: Doubles,
    others: Codes,
) -> None:  # fmt: skip
    """Add to sums (p, n_shuffles) what residuals of kind 0 gain as they pass over ``rows`` of other kinds.

    The residual that passes over a row is found by going back along the shuffle to the first row of kind 0
    (none in a cycle without any). Mostly that is the row before: the other cases are listed first.
    """
    n_shuffles = sources.shape[1]
    for row in rows:
        n_steps, n_others = steps.counts[row], 0
        for i in range(n_steps):
            source = steps.sources[row, i]
            carried[i] = rest[source]
            others[n_others] = i
            n_others += kind[source] != 0
        for other in range(n_others):
            i = others[other]
            k, source = steps.shuffles[row, i], steps.sources[row, i]
            while kind[source] != 0 and source != row:
                source = sources[source, k]
            carried[i] = rest[source] if kind[source] == 0 else np.float32(0)
        for moving in range(steps.moving.size):
            c = steps.moving[moving]
            if n_steps == n_shuffles:
                for k in range(n_shuffles):
                    sums[c, k] += carried[k] * steps.gains[row, c, k]
            else:
                for i in range(n_steps):
                    sums[c, steps.shuffles[row, i]] += carried[i] * steps.gains[row, c, i]


@compiled()
def _contract_parts(
    sums: Doubles, rest: Single, rows: Codes, kind: Places, targets: Places, signs: Signs, columns: Doubles
) -> None:
    """Add to sums (p, n_shuffles) what residuals of ``rows`` of other kinds gain on the way to their kind.

    ``signs`` may be empty.
    """
    p, n_shuffles = columns.shape[1], targets.shape[1]
    for row in rows:
        for k in range(n_shuffles if rest[row] != 0 else 0):
            target = place = targets[row, k]
            if kind[target] != kind[row]:
                while kind[place] != kind[row]:
                    place = targets[place, k]
                there = here = np.float64(rest[row])
                if signs.size:
                    there, here = there * signs[place, k], here * signs[target, k]
                for c in range(p):
                    sums[c, k] += there * columns[place, c] - here * columns[target, c]


@compiled(error_model="numpy")
def _combine(sums: Doubles, mix: Doubles, q: int, is_signed: bool, room: Doubles, r: Single) -> None:
    """Fill ``r`` (n_shuffles,) with the partial correlation of the products that ``mix`` makes of sums."""
    p, largest = mix.shape[0], LARGEST
    first, product, explained, taken = room[0], room[1], room[2], room[3]
    explained[:] = 0
    taken[:] = 0
    for c in range(p):
        product[:] = 0
        for other in range(p):
            weight = mix[other, c]
            if weight != 0:
                for k in range(r.size):
                    product[k] += weight * sums[other, k]
        total = explained if c < q else taken
        for k in range(r.size):
            total[k] += product[k] * product[k]
        if c == 0:
            first[:] = product
    for k in range(r.size):
        size = min(np.sqrt(explained[k] / max(1 - taken[k], 1e-6)), largest)
        r[k] = -size if is_signed and first[k] < 0 else size
