"""Raw points behind a peak, and what leaving out a row does there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from bids_group.config.corrections import UNCORRECTED
from bids_group.elements import points_of
from bids_group.model.fitting.group_fit import prepare_fit
from bids_group.records import Contrast, ContrastResult, Design, GroupData, Significance
from bids_group.row_space import RowSpace
from bids_group.work_files import read_columns

MAX_PEAKS = 12
"""Significant peaks of a contrast whose raw points are kept."""

Float64 = npt.NDArray[np.float64]
_MOST_DIRECTIONS = 20
"""Rank of a design up to which fitted lines of estimators that are not least squares have an interval."""
_ENDLESS_DOF = 1e9
_GAP = 1e-9
"""Eigenvalue of I − H at a person's rows below which the model fits that direction exactly."""


def find_strongest(result: ContrastResult, is_two_sided: bool) -> int:
    """Find the element with the most evidence: of t, where the test is one-sided, the largest positive."""
    statistic = result.maps[result.contrast.test]
    is_signed = result.contrast.test == "t" and not (is_two_sided and result.contrast.has_two_tails)
    return int(np.argmax(statistic if is_signed else np.abs(statistic)))


def tabulate_main_peaks(
    data: GroupData,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
    *,
    is_two_sided: bool,
) -> dict[str, pd.DataFrame]:
    """By contrast: raw points at the main peaks of its significant clusters, or at its strongest element."""
    tables = {}
    for result in results:
        name = result.contrast.name
        found = [
            cluster.peaks[0].element
            for one in significances
            if one.contrast == name and one.correction != UNCORRECTED.name
            for cluster in one.clusters
            if cluster.peaks and one.is_significant[cluster.peaks[0].element]
        ]
        elements = list(dict.fromkeys(found))[:MAX_PEAKS] or [find_strongest(result, is_two_sided)]
        tables[name] = tabulate_peaks(data, result.contrast, elements)
        tables[name].insert(4, "is_significant", bool(found))
    return tables


def tabulate_peaks(data: GroupData, contrast: Contrast, elements: Sequence[int]) -> pd.DataFrame:
    """Raw points, fit and influence of each row at some elements, for one contrast.

    Returns
    -------
    DataFrame
        One row per element and observation: ``peak`` (1 …), ``x``, ``y``, ``z`` (mm), ``label``, ``effect``
        (the number that went into the model), ``fitted``, ``partial_residual`` (effect without the centred
        contribution of the terms that hold a variable the contrast does not ask about; Larsen & McCleary
        1972), ``line_lower`` and ``line_upper`` (95 % limits of the fitted line there, with these terms at
        their mean, on the contrast's degrees of freedom; NaN where there are none), ``cooks_distance``
        (Cook 1977), ``statistic_without_row`` (t or F without this row, closed
        form; NaN where there are too few rows, the row alone carries a regressor, the rows observed do not
        determine the contrast, the estimator has no closed form, or it is a test of equivalence), and the
        design's raw variables. With `mixed`, `sandwich` and `weighted` fits are theirs, Cook's distances
        those of least squares.
    """
    design, parts = data.design, []
    fit_directions = _prepare_directions(data, contrast)
    is_other = not data.estimator.has_one_variance and data.estimator.has_residual_variance
    nuisance = _nuisance_columns(design, contrast)
    places = data.elements.name_places(np.array(elements, dtype=np.intp))
    taken = ("peak", "x", "y", "z", "label", "effect", "fitted", "partial_residual", "line_lower",
             "line_upper", *places)  # fmt: skip
    variables = design.variables.rename(
        columns={name: f"{name}_" for name in design.variables if name in taken}
    )
    for number, element in enumerate(elements, start=1):
        column = slice(element, element + 1)
        values = read_columns(data.stack.data, column)[:, 0].astype(np.float64)
        here = np.isfinite(values)
        precision = groups = None
        if data.stack.variance is not None and not data.estimator.has_residual_variance:
            precision = 1 / read_columns(data.stack.variance, column)[here, 0].astype(np.float64)
        if data.has_group_variances and data.variance_groups is not None:
            groups = pd.factorize(data.variance_groups.reindex(design.matrix.index)[here])[0]
        matrix = design.matrix.to_numpy(dtype=np.float64)[here]
        influence = _influence(matrix, values[here], contrast.weights, precision, nuisance, groups)
        if fit_directions is not None:
            own = fit_directions(element)
            influence |= _of_estimator(own, matrix, values[here], nuisance, is_other=is_other)
        half, line = influence.pop("half"), influence["fitted"] - values[here] + influence["partial_residual"]
        influence |= {"line_lower": line - half, "line_upper": line + half}
        if contrast.bounds is not None:  # what is known without fitting anew is t against 0
            influence["statistic_without_row"] = np.full(len(matrix), np.nan)
        x, y, z = points_of(data.elements, data.geometry, np.array([element]))[0]
        named = {name: cells[number - 1] for name, cells in places.items()}
        place = {"peak": number, **named, "x": x, "y": y, "z": z, "label": design.matrix.index[here]}
        table = pd.DataFrame({**place, "effect": values[here], **influence})
        parts.append(table.join(variables.loc[here].reset_index(drop=True)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


@dataclass(frozen=True, slots=True, eq=False)
class _Directions:
    """Effects along each direction of a design's column space, by an estimator, at one element.

    ``space``: of the design; ``effects`` ``(rank,)`` with their ``covariance`` ``(rank, rank)`` (NaN where it
    is not known); ``dof`` of the contrast.
    """

    space: RowSpace
    effects: Float64
    covariance: Float64
    dof: float

    @property
    def coefficients(self) -> Float64:
        """Those of shortest length (columns of unit norm) ``(n_regressors,)``."""
        return np.asarray(self.space.basis @ self.effects / self.space.norms)

    def half_of(self, rows: Float64) -> Float64:
        """Half of the 95 % interval of what is fitted for rows of a design ``(k, n_regressors)``."""
        known = np.array([bool(self.space.is_estimable(row[None]).all()) for row in rows])
        loads = (rows / self.space.norms) @ self.space.basis
        variance = np.einsum("ka,ab,kb->k", loads, self.covariance, loads)
        with np.errstate(invalid="ignore"):
            half = stdtrit(min(self.dof, _ENDLESS_DOF), 0.975) * np.sqrt(variance)
        return np.where(known, half, np.nan)


def _prepare_directions(data: GroupData, contrast: Contrast) -> Callable[[int], _Directions] | None:
    """Prepare the fit of a design's directions at an element; None where it is that of least squares.

    Effects are as many as the design has rank, and where these are few also sums of two: their variances
    give the covariances.
    """
    is_other = not data.estimator.has_one_variance and data.estimator.has_residual_variance
    if not (is_other or data.has_group_variances):
        return None
    space = RowSpace.of(data.design.matrix.to_numpy(dtype=np.float64))
    rows, rank = (space.basis * space.norms[:, None]).T, space.rank
    pairs = [(a, b) for a in range(rank) for b in range(a)] if rank <= _MOST_DIRECTIONS else []
    rows = np.concatenate([rows, *(rows[a : a + 1] + rows[b : b + 1] for a, b in pairs)])
    asked = tuple(
        Contrast(name=str(k), label="", weights=row[None], test="t", expression="", words="")
        for k, row in enumerate(rows)
    )
    fit = prepare_fit(replace(data, design=replace(data.design, contrasts=(*asked, contrast))))

    def fit_at(element: int) -> _Directions:
        estimates = fit(slice(element, element + 1)).estimates
        effects, variance, dofs = (
            np.array([np.where(one.is_estimable, getattr(one, name), np.nan).flat[0] for one in estimates])
            for name in ("effect", "variance", "dof")
        )
        covariance = np.full((rank, rank), np.nan)
        if rank <= _MOST_DIRECTIONS:
            np.fill_diagonal(covariance, variance[:rank])
            for (a, b), both in zip(pairs, variance[rank:-1], strict=True):
                covariance[a, b] = covariance[b, a] = (both - variance[a] - variance[b]) / 2
        return _Directions(space, effects[:rank], covariance, float(dofs[-1]))

    return fit_at


def _of_estimator(
    own: _Directions, matrix: Float64, values: Float64, nuisance: npt.NDArray[np.bool_], *, is_other: bool
) -> dict[str, Float64]:
    """Give the interval of the fitted line; where effects are the estimator's own, points and fit too."""
    half = own.half_of(_set_aside(matrix, nuisance))
    if not is_other:
        return {"half": half}
    aside = matrix[:, nuisance] @ own.coefficients[nuisance]
    return {
        "half": half,
        "fitted": matrix @ own.coefficients,
        "partial_residual": values - (aside - aside.mean()),
        "statistic_without_row": np.full(len(aside), np.nan),
    }


def _set_aside(matrix: Float64, nuisance: npt.NDArray[np.bool_]) -> Float64:
    """Rows of a design with the columns that a contrast does not ask about at their mean."""
    return np.where(nuisance, matrix.mean(axis=0), matrix)


def _nuisance_columns(design: Design, contrast: Contrast) -> npt.NDArray[np.bool_]:
    """Columns of the terms with a variable that no term weighted by the contrast has."""
    columns, known = list(design.matrix.columns), set(design.variables.columns)
    weighted = {columns[k] for k in np.flatnonzero(np.abs(contrast.weights).max(axis=0) > 1e-12)}
    words = {term: re.findall(r"`([^`]+)`|([A-Za-z_]\w*)", term) for term in design.terms}
    used = {term: {name for pair in words[term] for name in pair} & known for term in design.terms}
    asked = set().union(*(used[term] for term, names in design.terms.items() if weighted & set(names)))
    outside = {name for term, names in design.terms.items() if used[term] - asked for name in names}
    return np.array([name in outside for name in columns], dtype=bool)


def _influence(
    matrix: Float64,
    values: Float64,
    weights: Float64,
    precision: Float64 | None,
    nuisance: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.intp] | None,
) -> dict[str, Float64]:
    """Fit one element; ``precision`` (1/v) makes it weighted least squares with known variances.

    ``groups``: variance group of each row, of which only the statistic makes use.
    """
    root = np.ones(len(values)) if precision is None else np.sqrt(precision)
    space, y = RowSpace.of(matrix * root[:, None]), values * root
    basis, back = np.asfortranarray(space.columns), space.basis / space.singular_values[: space.rank]
    scores = basis.T @ y
    residual, leverage = y - basis @ scores, (basis**2).sum(axis=1)
    aside = (matrix / space.norms)[:, nuisance] @ (back @ scores)[nuisance]
    dof = len(y) - space.rank
    noise = residual @ residual / dof if precision is None and dof > 0 else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        cook = residual**2 * leverage / (space.rank * noise * (1 - leverage) ** 2)
    without = np.full(len(y), np.nan)
    reach = np.linalg.norm((_set_aside(matrix, nuisance) / space.norms) @ back, axis=1)
    end = stdtrit(dof if precision is None else _ENDLESS_DOF, 0.975) if dof > 0 else np.nan
    is_alone = leverage > 1 - _GAP
    if space.is_estimable(weights).all():
        loadings, is_known = (weights / space.norms) @ back @ basis.T, precision is not None
        without = statistics_without(basis, loadings, y, np.arange(len(y)), is_known=is_known, groups=groups)
    return {
        "fitted": basis @ scores / root,
        "partial_residual": values - (aside - aside.mean()),
        "half": end * np.sqrt(noise) * reach,
        "cooks_distance": np.where(is_alone, np.nan, cook),
        "statistic_without_row": np.where(is_alone, np.nan, without),
    }


def statistics_without(
    basis: Float64,
    loadings: Float64,
    values: Float64,
    people: npt.NDArray[np.intp],
    *,
    is_known: bool = False,
    groups: npt.NDArray[np.intp] | None = None,
) -> Float64:
    """Give t or F of least squares without all rows of the person of each row; NaN where there is none.

    ``basis`` ``(n_obs, rank)``: orthonormal, of the design; ``loadings`` ``(q, n_obs)``: the contrast as
    weights of rows. ``is_known``: every row has variance 1; ``groups``: variance group of each row.
    """
    found, errors = np.full(len(values), np.nan), values - basis @ (basis.T @ values)
    for rows, gaps, shares, left in leave_out(basis, loadings, people):
        own, dof = errors[rows] @ left, len(values) - basis.shape[1] - gaps.size
        effect = loadings @ values - (shares / gaps) @ own
        covariance = loadings @ loadings.T + (shares / gaps) @ shares.T
        if groups is not None:
            kept = np.delete(np.arange(len(values)), rows)
            covariance = _grouped_covariance(basis[kept], loadings @ basis, values[kept], groups[kept])
        elif not is_known:
            covariance *= (errors @ errors - (own**2 / gaps).sum()) / max(dof, 1)
        if (dof < 1 and not is_known) or not covariance.trace() > 0:
            continue
        if len(effect) == 1:
            found[rows] = effect[0] / np.sqrt(covariance[0, 0])
        else:
            found[rows] = effect @ np.linalg.solve(covariance, effect) / len(effect)
    return found


def leave_out(
    basis: Float64, loadings: Float64, people: npt.NDArray[np.intp]
) -> Iterator[tuple[npt.NDArray[np.intp], Float64, Float64, Float64]]:
    """Yield the rows of each person without whom a contrast ``(q, n_obs)`` can be estimated.

    With H the projection on the ``basis`` ``(n_obs, rank)``, I − H at the person's rows has eigenvalues
    ``gaps`` and eigenvectors ``left``; ``shares`` are the loadings along these. Without the rows the effect
    is less by (shares / gaps) left'e, the residual sum of squares by Σ (left'e)² / gaps, and degrees of
    freedom by the number of rows.
    """
    order = np.argsort(people, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(people))[:-1]):
        gaps, left = np.linalg.eigh(np.eye(len(rows)) - basis[rows] @ basis[rows].T)
        shares, is_left = loadings[:, rows] @ left, gaps > _GAP
        if (shares[:, ~is_left] ** 2).sum() <= _GAP * (loadings**2).sum():
            yield rows, gaps[is_left], shares[:, is_left], left[:, is_left]


def _grouped_covariance(
    basis: Float64, weights: Float64, values: Float64, groups: npt.NDArray[np.intp]
) -> Float64:
    """Covariance of an estimate whose rows have a variance by group; NaN where one that counts has none."""
    inverse = np.linalg.pinv(basis.T @ basis, hermitian=True)
    loadings, gaps = weights @ inverse @ basis.T, 1 - np.einsum("ij,jk,ik->i", basis, inverse, basis)
    residual = values - basis @ (inverse @ (basis.T @ values))
    covariance = np.zeros((len(weights), len(weights)))
    for group in np.unique(groups):
        here = groups == group
        share, dof = loadings[:, here] @ loadings[:, here].T, gaps[here].sum()
        if share.trace() > 1e-12 * (loadings**2).sum():
            covariance += share * ((residual[here] ** 2).sum() / dof if dof > 1e-6 else np.nan)
    return covariance
