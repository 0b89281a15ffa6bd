"""How far two maps agree: correlation, limits of agreement, and the overlap of what is significant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_group.compare.sources import Pair, Tested, find_map
from bids_group.config.corrections import UNCORRECTED, find_correction
from bids_group.elements import (
    Elements,
    Grid,
    LoadedMap,
    Space,
    Structures,
    align,
    fits,
    name_elements,
    read_map,
)
from bids_group.errors import DataError, GridError
from bids_group.output.files.sidecars import SHARED_STATS
from bids_group.output.report.inputs import mark_significant, read_clusters

Row = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
LIMIT_SD = 1.96
_PLAIN = ("effect", "t", "F", "z", "dTotal", "dof", *SHARED_STATS)
"""Maps that are compared as they are: of a contrast, and of what the estimator found for all contrasts."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ground:
    """What A and B both analysed: ``elements`` in the space of A.

    ``positions`` are their flat positions in the space of each (``spaces``), ``n_own`` how many elements each
    analysed. On differing grids each element of A is paired with the element of B that holds its centre;
    vertices, and voxels of CIFTI files, have partners of their structure and number, regions of their name.
    ``remark`` says so.
    """

    elements: Elements
    positions: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    spaces: tuple[Space, Space]
    n_own: tuple[int, int]
    remark: str | None

    @property
    def n(self) -> int:
        """Number of elements that both have."""
        return self.elements.n_elements

    @property
    def word(self) -> str:
        """What the elements are: ``voxels``, ``vertices`` …."""
        return name_elements(self.elements.space)

    def read(self, side: int, path: Path | None) -> Values | None:
        """Read a map of A (0) or B (1) at the common elements; None without one, or with several volumes."""
        space = self.spaces[side]
        if path is None or (loaded := read_map(path)).data.ndim != len(space.shape):
            return None
        data = loaded.data
        if isinstance(space, Structures) and isinstance(loaded.space, Structures):
            data = align(data, loaded.space, space, np.nan)
        if data.shape != space.shape:
            raise GridError(
                f"The map {path} does not fit its analysis mask.",
                found=f"shape {data.shape}",
                expected=f"shape {space.shape}",
                fix="Run that analysis again.",
            )
        return data.reshape(-1)[self.positions[side]]


def find_ground(pair: Pair) -> Ground:
    """Find the elements that both analyses have; refuse two without any in common."""
    (space_a, in_a), (space_b, in_b) = ((one.space, one.data > 0) for one in map(_read_mask, pair.sides))
    elements, is_same = Elements.from_mask(space_a, in_a), space_a.is_same(space_b)
    where = elements.indices if is_same else _find_partners(pair, elements, space_b)
    is_shared = (where >= 0) & in_b.reshape(-1)[where]
    if not is_shared.any():
        raise _different(pair, "have no element in common", (space_a, space_b), "masks that overlap")
    shared = Elements(space=space_a, indices=elements.indices[is_shared])
    how = (
        "The grids differ (A: {}; B: {}). Each element of A is compared with the element of B that holds its "
        "centre; nothing is interpolated."
        if isinstance(space_a, Grid)
        else "The elements differ (A: {}; B: {}). Compared are those of the same structure and number, or of "
        "the same name."
    )
    return Ground(
        elements=shared,
        positions=(shared.indices, where[is_shared]),
        spaces=(space_a, space_b),
        n_own=(elements.n_elements, int(in_b.sum())),
        remark=None if is_same else how.format(space_a.describe(), space_b.describe()),
    )


def _find_partners(pair: Pair, elements: Elements, other: Space) -> npt.NDArray[np.intp]:
    """Find the flat position in another space of each element; −1 where it is not there."""
    own = elements.space
    if isinstance(own, Grid) and isinstance(other, Grid):
        centres = elements.coordinates_mm(np.arange(elements.n_elements))
        inverse = np.linalg.inv(other.affine)
        voxels = np.rint(centres @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
        is_inside = ((voxels >= 0) & (voxels < other.shape)).all(axis=1)
        return np.where(is_inside, np.ravel_multi_index(tuple(voxels.T), other.shape, mode="clip"), -1)
    theirs = {part.structure: part for part in other.parts}
    shared = [(part, theirs[part.structure]) for part in own.parts if part.structure in theirs]
    if type(own) is not type(other) or not all(fits(one, two) for one, two in shared):
        raise _different(pair, "are of different elements", (own, other), "maps on one mesh or grid")
    places = align(np.arange(other.n_elements), other, own, -1)
    return np.asarray(places[elements.indices])


def _different(pair: Pair, how: str, spaces: tuple[Space, Space], expected: str) -> GridError:
    a, b = pair.sides
    return GridError(
        f"The analyses of {a.key} (OUT_A) and {b.key} (OUT_B) {how}.",
        found="; ".join(one.describe() for one in spaces),
        expected=expected,
        fix="Compare analyses of the same part of the brain.",
    )


def _read_mask(one: Tested) -> LoadedMap:
    if one.analysis.mask is None:
        raise DataError(
            f"The analysis {one.analysis.stem} in {one.root} has no analysis mask.",
            expected=f"{one.analysis.stem}_desc-analysis_mask.*",
            fix="Run that analysis again.",
        )
    return read_map(one.analysis.mask)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One map of A against one of B over their common elements, and what is significant in each.

    ``a`` and ``b`` of shape ``(n,)``, None where there is no map to compare (``ari``); ``is_a``, ``is_b``:
    significant elements, None for what is no correction; ``outside``: how many of A and of B the other did
    not analyse. ``word``: what elements are.
    """

    stat: str | None
    correction: str | None
    n: int
    a: Values | None = None
    b: Values | None = None
    is_a: Flags | None = None
    is_b: Flags | None = None
    outside: tuple[int, int] = (0, 0)
    word: str = "voxels"

    @property
    def name(self) -> str:
        """What is compared: ``t``, ``false discovery rate`` …."""
        rule = None if self.correction is None else find_correction(self.correction)
        return str(self.stat) if rule is None else rule.over(self.word).title

    @cached_property
    def finite(self) -> tuple[Row, Row] | None:
        """Both maps where both are finite; None where there is no map."""
        if self.a is None or self.b is None:
            return None
        is_finite = np.isfinite(self.a) & np.isfinite(self.b)
        return self.a[is_finite].astype(float), self.b[is_finite].astype(float)

    @cached_property
    def r(self) -> float | None:
        """Pearson's correlation; None where a map does not vary."""
        if self.finite is None:
            return None
        a, b = (values - values.mean() if values.size else values for values in self.finite)
        size = float(np.sqrt((a @ a) * (b @ b)))
        return float(np.clip(a @ b / size, -1, 1)) if size > 0 else None

    @cached_property
    def difference(self) -> Row | None:
        """B − A at the common elements where both are finite."""
        return None if self.finite is None else self.finite[1] - self.finite[0]

    @cached_property
    def limits(self) -> tuple[float | None, float | None, float | None]:
        """Mean of B − A, and 1.96 SD (with n − 1) below and above it (Bland & Altman 1986).

        None where there is no element; without limits for a single one.
        """
        if self.difference is None or not self.difference.size:
            return None, None, None
        bias = float(self.difference.mean())
        if self.difference.size < 2:
            return bias, None, None
        half = LIMIT_SD * float(self.difference.std(ddof=1))
        return bias, bias - half, bias + half

    @property
    def counts(self) -> tuple[int, int, int] | None:
        """Significant elements of A, of B, of both, among the common ones."""
        if self.is_a is None or self.is_b is None:
            return None
        return int(self.is_a.sum()), int(self.is_b.sum()), int((self.is_a & self.is_b).sum())

    @property
    def dice(self) -> float | None:
        """Twice the number in both over the sum of the numbers; None where nothing is significant."""
        if self.counts is None or not self.counts[0] + self.counts[1]:
            return None
        return 2 * self.counts[2] / (self.counts[0] + self.counts[1])

    def row(self, contrast: str) -> dict[str, str | float | int | None]:
        """One row of comparison.tsv."""
        n_a, n_b, n_both = self.counts or (None, None, None)
        bias, lower, upper = self.limits
        return {
            "contrast": contrast, "stat": self.stat, "correction": self.correction,
            "n": self.n if self.difference is None else self.difference.size,
            "r": self.r, "bias": bias, "limit_lower": lower, "limit_upper": upper,
            "n_a": n_a, "n_b": n_b, "n_both": n_both, "dice": self.dice,
        }  # fmt: skip


def compare_maps(pair: Pair, ground: Ground) -> Iterator[Comparison]:
    """Compare effect, t or F, z, what estimators add, and each correction that both have."""
    a, b = (one.contrast for one in pair.sides)
    for plain in _PLAIN:
        values = (
            ground.read(0, _find_map(pair.sides[0], plain)),
            ground.read(1, _find_map(pair.sides[1], plain)),
        )
        if values[0] is not None and values[1] is not None:
            yield Comparison(plain, None, ground.n, *values, word=ground.word)
    for correction in reversed([name for name in a.corrections if name in b.corrections]):
        (path_a, found_a), (path_b, found_b) = (_judge(one, correction) for one in pair.sides)
        values = ground.read(0, path_a), ground.read(1, path_b)
        stat: str | None = "tdp" if find_correction(correction).bounds_discoveries else "p"
        if values[0] is None or values[1] is None:
            values, stat = (None, None), None
        is_a, is_b = found_a[ground.positions[0]], found_b[ground.positions[1]]
        # an element of B may be the partner of several of A: what is outside is counted on B's own grid
        reached = np.zeros(found_b.size, dtype=bool)
        reached[ground.positions[1]] = True
        outside = int(found_a.sum() - is_a.sum()), int((found_b & ~reached).sum())
        yield Comparison(stat, correction, ground.n, *values, is_a, is_b, outside, ground.word)


def _find_map(one: Tested, stat: str) -> Path | None:
    """Find a map of the contrast, or of its analysis."""
    shared = find_map(one.root, one.analysis.stem, f"stat-{stat}_statmap") if stat in SHARED_STATS else None
    return shared or one.contrast.maps.get(stat)


def _judge(one: Tested, correction: str) -> tuple[Path | None, Flags]:
    """Find the map that a correction judged, and what it found, flat on the whole grid.

    The map is that of corrected p, uncorrected p, or shares of true discoveries.
    """
    files, rule = one.contrast, find_correction(correction)
    judged = files.corrected.get(correction) or (files.maps.get("p") if rule == UNCORRECTED else None)
    if rule.bounds_discoveries:
        judged = find_map(one.root, files.stem, f"stat-tdp_desc-{correction}_statmap")
    return judged, mark_significant(files, read_clusters(files, rule)).reshape(-1)
