"""How far two maps agree: correlation, limits of agreement, and the overlap of what is significant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.compare.sources import Tested
from bids_group.config.corrections import UNCORRECTED, find_correction
from bids_group.elements import Elements, read_map
from bids_group.errors import DataError, GridError
from bids_group.output.report.folder import alpha_of, read_table, sidecar_of

Row = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
LIMIT_SD = 1.96


@dataclass(frozen=True, eq=False)
class Ground:
    """What both analysed: ``elements`` on the grid of A, ``in_b`` the flat position of each in the grid of B.

    On differing grids each element of A is paired with the element of B that holds its centre.
    """

    elements: Elements
    in_b: npt.NDArray[np.intp]
    shape_b: tuple[int, ...]
    n_a: int
    n_b: int
    remark: str | None

    @property
    def n(self) -> int:
        """Number of elements that both have."""
        return self.elements.n_elements

    def read_a(self, path: Path | None) -> Values | None:
        """Read a map of A at the common elements; None where there is none, or not one volume."""
        return _pick(path, self.elements.grid.shape, self.elements.indices)

    def read_b(self, path: Path | None) -> Values | None:
        """Read a map of B at the common elements."""
        return _pick(path, self.shape_b, self.in_b)


def _pick(path: Path | None, shape: tuple[int, ...], at: npt.NDArray[np.intp]) -> Values | None:
    if path is None or (data := read_map(path).data).ndim != 3:
        return None
    if data.shape != shape:
        raise GridError(
            f"The map {path} does not fit its analysis mask.",
            found=f"shape {data.shape}",
            expected=f"shape {shape}",
            fix="Run that analysis again.",
        )
    return data.reshape(-1)[at]


def find_ground(a: Tested, b: Tested) -> Ground:
    """Find the elements that both analyses have.

    Raises
    ------
    DataError
        An analysis mask lacks, or the two have no element in common.
    """
    masks = [read_map(_mask_of(one)) for one in (a, b)]
    (grid_a, in_a), (grid_b, in_b) = ((one.grid, one.data > 0) for one in masks)
    elements = Elements.from_mask(grid_a, in_a)
    where = elements.indices
    if not grid_a.is_same(grid_b):
        centres = elements.coordinates_mm(np.arange(elements.n_elements))
        inverse = np.linalg.inv(grid_b.affine)
        voxels = np.rint(centres @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
        is_inside = ((voxels >= 0) & (voxels < grid_b.shape)).all(axis=1)
        where = np.where(is_inside, np.ravel_multi_index(tuple(voxels.T), grid_b.shape, mode="clip"), -1)
    is_shared = (where >= 0) & in_b.reshape(-1)[where]
    if not is_shared.any():
        raise GridError(
            f"The analyses of {a.key} (OUT_A) and {b.key} (OUT_B) have no element in common.",
            found=f"{grid_a.describe()}; {grid_b.describe()}",
            expected="masks that overlap",
            fix="Compare analyses of the same part of the brain.",
        )
    return Ground(
        elements=Elements(grid=grid_a, indices=elements.indices[is_shared]),
        in_b=where[is_shared],
        shape_b=grid_b.shape,
        n_a=elements.n_elements,
        n_b=int(in_b.sum()),
        remark=None
        if grid_a.is_same(grid_b)
        else f"The grids differ (A: {grid_a.describe()}; B: {grid_b.describe()}). Each element of A is "
        "compared with the element of B that holds its centre; nothing is interpolated.",
    )


def _mask_of(one: Tested) -> Path:
    if one.analysis.mask is None:
        raise DataError(
            f"The analysis {one.analysis.stem} in {one.root} has no analysis mask.",
            expected=f"{one.analysis.stem}_desc-analysis_mask.nii.gz",
            fix="Run that analysis again.",
        )
    return one.analysis.mask


@dataclass(frozen=True, eq=False)
class Comparison:
    """One map of A against one of B over their common elements, and what is significant in each.

    ``a`` and ``b`` of shape ``(n,)``, None where there is no map to compare (``ari``); ``is_a``, ``is_b``:
    significant elements, None for what is no correction. Limits are bias ± 1.96 SD of the differences (SD
    with n − 1; Bland & Altman 1986).
    """

    stat: str | None
    correction: str | None
    n: int
    a: Values | None = None
    b: Values | None = None
    is_a: Flags | None = None
    is_b: Flags | None = None
    outside: tuple[int, int] = (0, 0)
    """Significant elements of A and of B that the other did not analyse."""

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
    def bias(self) -> float | None:
        """Mean of B − A."""
        return None if self.difference is None or not self.difference.size else float(self.difference.mean())

    @cached_property
    def limits(self) -> tuple[float | None, float | None]:
        """Limits of agreement; None for fewer than two elements."""
        if self.difference is None or self.bias is None or self.difference.size < 2:
            return None, None
        half = LIMIT_SD * float(self.difference.std(ddof=1))
        return self.bias - half, self.bias + half

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
        n = self.n if self.difference is None else self.difference.size
        lower, upper = self.limits
        return {
            "contrast": contrast, "stat": self.stat, "correction": self.correction, "n": n,
            "r": self.r, "bias": self.bias, "limit_lower": lower, "limit_upper": upper,
            "n_a": n_a, "n_b": n_b, "n_both": n_both, "dice": self.dice,
        }  # fmt: skip


def compare_maps(a: Tested, b: Tested, ground: Ground) -> tuple[Comparison, ...]:
    """Compare effect, t or F, z, and each correction that both have."""
    plain = [_compare(a, b, ground, stat) for stat in ("effect", "t", "F", "z")]
    shared = [name for name in a.contrast.corrections if name in b.contrast.corrections]
    corrected = [_compare_correction(a, b, ground, name) for name in reversed(shared)]
    return tuple(one for one in (*plain, *corrected) if one is not None)


def _compare(a: Tested, b: Tested, ground: Ground, stat: str) -> Comparison | None:
    paths = [one.contrast.maps.get(stat) for one in (a, b)]
    if None in paths:
        return None
    values_a, values_b = ground.read_a(paths[0]), ground.read_b(paths[1])
    if values_a is None or values_b is None:
        return None
    return Comparison(stat=stat, correction=None, n=ground.n, a=values_a, b=values_b)


def _compare_correction(a: Tested, b: Tested, ground: Ground, correction: str) -> Comparison:
    found_a, found_b = _significant(a, correction), _significant(b, correction)
    is_a, is_b = found_a.reshape(-1)[ground.elements.indices], found_b.reshape(-1)[ground.in_b]
    a_values, b_values = ground.read_a(_judged(a, correction)), ground.read_b(_judged(b, correction))
    if a_values is None or b_values is None:
        a_values = b_values = None
    # an element of B may be the partner of several of A: what is outside is counted on B's own grid
    reached = np.zeros(found_b.size, dtype=bool)
    reached[ground.in_b] = True
    outside = int(found_a.sum() - is_a.sum()), int((found_b.reshape(-1) & ~reached).sum())
    return Comparison(
        stat=None if a_values is None else "tdp" if find_correction(correction).bounds_discoveries else "p",
        correction=correction,
        n=ground.n,
        a=a_values,
        b=b_values,
        is_a=is_a,
        is_b=is_b,
        outside=outside,
    )


def _judged(one: Tested, correction: str) -> Path | None:
    """Find the map that a correction judged: corrected p, uncorrected p, or true-discovery proportions."""
    if find_correction(correction).bounds_discoveries:
        path = one.root / f"{one.contrast.stem}_stat-tdp_desc-{correction}_statmap.nii.gz"
        return path if path.is_file() else None
    uncorrected = one.contrast.maps.get("p") if correction == UNCORRECTED.label else None
    return one.contrast.corrected.get(correction) or uncorrected


def _significant(one: Tested, correction: str) -> Flags:
    """Mark what a correction found: p at most alpha, else the clusters (or those with true discoveries)."""
    path = one.contrast.corrected.get(correction)
    if path is not None:
        return np.asarray(read_map(path).data <= alpha_of(sidecar_of(path)))
    labels = read_map(one.contrast.labels[correction]).data
    if not find_correction(correction).bounds_discoveries:
        return np.asarray(labels > 0)
    table = read_table(one.contrast.clusters[correction])
    proportions = pd.to_numeric(table["true_discovery_proportion"])
    return np.isin(labels, pd.to_numeric(table.loc[proportions > 0, "cluster"]).to_numpy())
