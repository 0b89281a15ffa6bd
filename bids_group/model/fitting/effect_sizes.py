"""Effect sizes at peaks beside Hedges' g: of changes within people, and of slopes without units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.model.fitting.sphericity import between_people, find_rows
from bids_group.records import Contrast, ContrastResult, GroupData, Peak, Significance
from bids_group.row_space import TOLERANCE, Array, RowSpace
from bids_group.work_files import read_columns

Sizes = dict[str, float]

_QUANTILE = float(special.ndtri(0.975))


def add_effect_sizes(
    data: GroupData, results: Sequence[ContrastResult], significances: Sequence[Significance]
) -> tuple[Significance, ...]:
    """Give the peaks of t contrasts what belongs to their question.

    ``d_z`` and ``d_av`` (with limits) of a difference between the rows of people: over the SD of the
    differences, and over the mean of the SDs of the rows compared (Lakens 2013, doi:10.3389/fpsyg.2013.00863,
    eqs. 7 and 10). ``standardised_slope``: slope · SD(covariate) / SD(effects); ``partial_r`` = t/√(t² + dof)
    with Fisher's limits. What cannot be had is left out.
    """
    measures = {one.contrast.name: _sizes_of(data, one) for one in results if one.contrast.test == "t"}
    found = []
    for one in significances:
        clusters = one.clusters
        if (sizes := measures.get(one.contrast)) is not None:
            clusters = tuple(
                replace(each, peaks=tuple(replace(peak, sizes=sizes(peak)) for peak in each.peaks))
                for each in clusters
            )
        found.append(replace(one, clusters=clusters))
    return tuple(found)


def _sizes_of(data: GroupData, result: ContrastResult) -> Callable[[Peak], Sizes]:
    """Prepare what the peaks of a contrast share."""
    contrast, maps = result.contrast, result.maps
    within = _Within.of(data, contrast) if contrast.slope is None else None
    is_plain = data.estimator.has_one_variance and not data.has_group_variances

    def sizes(peak: Peak) -> Sizes:
        at = peak.element
        effect, variance = float(maps["effect"][at]), float(maps["variance"][at])
        values = read_columns(data.stack.data, slice(at, at + 1))[:, 0].astype(np.float64)
        if not variance > 0:
            return {}
        if within is not None:
            return within.sizes(effect, values)
        found = {}
        if contrast.slope is not None and contrast.slope.sd > 0 and np.isfinite(values).all():
            found["standardised_slope"] = effect * contrast.slope.sd / float(values.std())
        dof = result.dof if result.dof is not None or "dof" not in maps else float(maps["dof"][at])
        if contrast.slope is not None and is_plain and dof is not None and dof > 1:
            found |= partial_correlation(effect / variance**0.5, dof)
        return found

    return sizes


def partial_correlation(t: float, dof: float) -> Sizes:
    """Correlation of what the other columns leave of effects and covariate, with its 95 % limits.

    r = t/√(t² + dof); atanh(r) has a standard error of 1/√(dof − 1) (Fisher 1924).
    """
    r, width = t / np.sqrt(t**2 + dof), _QUANTILE / np.sqrt(dof - 1)
    limits = np.tanh(np.arctanh(r) + np.array([-width, width]))
    return {"partial_r": float(r), "partial_r_lower": float(limits[0]), "partial_r_upper": float(limits[1])}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Within:
    """A difference between the rows of a person, of all up to a factor: the effect is Σ a_i (c'y_i).

    ``rows`` ``(n_people, k)``: of people with all k measurements; ``basis``: of what the design says of them;
    ``weights``: c, whose positive parts add up to 1; ``spread``: Σ a_i².
    """

    rows: npt.NDArray[np.intp]
    basis: Array
    weights: Array
    spread: float

    @classmethod
    def of(cls, data: GroupData, contrast: Contrast) -> _Within | None:
        """Find c; None where a contrast compares people, or weighs rows of people in several ways."""
        if data.subjects is None:
            return None
        index = data.design.matrix.index.to_series()
        rows = find_rows(index, data.subjects).dropna().to_numpy(dtype=np.intp)
        space = RowSpace.of(data.design.matrix.to_numpy(dtype=np.float64))
        of_rows = space.weights_of_rows(contrast.weights)[0]
        others = np.delete(of_rows, rows.reshape(-1))
        _, sizes, directions = np.linalg.svd(of_rows[rows], full_matrices=False)
        limit = TOLERANCE * np.abs(of_rows).max()
        if not len(rows) or np.abs(others).max(initial=0.0) > limit or (sizes[1:] > limit).any():
            return None
        weights = directions[0] / (np.abs(directions[0]).sum() / 2)
        basis = between_people(data.design, rows)
        if abs(weights.sum()) > TOLERANCE or len(rows) - basis.shape[1] < 2:
            return None
        spread = float(((of_rows[rows] @ weights / (weights @ weights)) ** 2).sum())
        return cls(rows=rows, basis=basis, weights=weights, spread=spread)

    def sizes(self, effect: float, values: Array) -> Sizes:
        """Standardise an effect by the covariance of the rows, from the values of all rows at an element.

        The standard error of d_av adds to that of the effect what the SDs have by chance: with covariances S
        on ν degrees of freedom, cov(s_u, s_v) = S_uv²/(2ν s_u s_v) (as Bonett 2008,
        doi:10.1037/1082-989X.13.2.99, for a mean of variances).
        """
        own = values[self.rows]
        if not np.isfinite(own).all():
            return {}
        rest, dof = own - self.basis @ (self.basis.T @ own), len(own) - self.basis.shape[1]
        covariance = rest.T @ rest / dof
        of_difference = float(self.weights @ covariance @ self.weights)
        compared = np.abs(self.weights) > TOLERANCE
        sds = np.sqrt(covariance.diagonal()[compared])
        if not (of_difference > 0 and sds.min() > 0):
            return {}
        mean = float(sds.mean())
        of_sds = (covariance[np.ix_(compared, compared)] ** 2 / np.outer(sds, sds)).mean() / (2 * dof)
        d_av = effect / mean
        width = _QUANTILE * float(np.sqrt(of_difference * self.spread + d_av**2 * of_sds)) / mean
        return {
            "d_z": effect / of_difference**0.5,
            "d_av": d_av,
            "d_av_lower": d_av - width,
            "d_av_upper": d_av + width,
        }
