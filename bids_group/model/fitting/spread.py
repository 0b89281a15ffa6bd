"""Whether groups of people differ in residual variance, which the pooled fit takes for equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from bids_group.model.fitting.least_squares import orthonormal_basis
from bids_group.records import GroupData, Notice, warn

_BLOCK = 1 << 15
_LARGEST_P, _SMALLEST_RATIO = 0.01, 1.5

Float64 = npt.NDArray[np.float64]


def compare_spread(data: GroupData) -> tuple[pd.Series | None, tuple[Notice, ...]]:
    """Test for each factor between people whether its levels differ in residual variance.

    A person's spread is the logarithm of the mean over elements (and rows) of e²/(1 − h), with residual e and
    leverage h. Its means are compared by Brown & Forsythe's F (1974), which allows for levels that scatter
    unequally; told where p < 0.01 and the variances of two levels have a ratio above 1.5.

    Returns
    -------
    The factor with the smallest p (index = rows), if any is told of; and a warning for each.
    """
    if not data.estimator.has_residual_variance or data.has_group_variances:
        return None, ()
    rows, variables = data.design.matrix.index, data.design.variables
    people = pd.Series(rows, index=rows) if data.subjects is None else data.subjects.reindex(rows)
    coded = {name for cell in data.design.details.get("n_per_cell") or () for name in cell}
    factors = []
    for name in map(str, variables.columns):
        is_factor = name in coded or not pd.api.types.is_numeric_dtype(variables[name])
        levels = variables[name].astype(str)
        if is_factor and name != "subject" and levels.groupby(people.to_numpy()).nunique().max() == 1:
            factors.append(levels)  # it does not change within a person
    if not factors:
        return None, ()
    spread = _log_mean_squares(data, people)
    found = [(p, factor, told) for factor in factors for p, told in _uneven(spread, factor, people)]
    found.sort(key=lambda one: one[0])
    return (found[0][1] if found else None), tuple(told for _, _, told in found)


def _log_mean_squares(data: GroupData, people: pd.Series) -> pd.Series:
    """Logarithm of each person's mean squared residual, by person; over elements observed in everybody."""
    columns = orthonormal_basis(data.design).columns
    gaps = 1 - (columns**2).sum(axis=1)
    squares, n_used = np.zeros(len(columns)), 0
    for start in range(0, data.elements.n_elements, _BLOCK):
        block = data.stack.data[:, start : start + _BLOCK].astype(np.float64)
        block = block[:, np.isfinite(block).all(axis=0)]
        residuals = block - columns @ (columns.T @ block)
        squares += np.einsum("ij,ij->i", residuals, residuals)
        n_used += block.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(gaps > 1e-6, squares / gaps / n_used, np.nan)
        means = pd.Series(scaled).groupby(people.to_numpy()).mean()
        logs = pd.Series(np.log(means.to_numpy()), index=means.index)
    return logs[np.isfinite(logs)]


def _uneven(spread: pd.Series, factor: pd.Series, people: pd.Series) -> Iterator[tuple[float, Notice]]:
    level_of = dict(zip(people, factor, strict=True))
    by_level = {
        str(level): values.to_numpy()
        for level, values in spread.groupby(spread.index.map(level_of))
        if len(values) > 1
    }
    if len(by_level) < 2:
        return
    p = brown_forsythe_p(list(by_level.values()))
    means = {level: float(values.mean()) for level, values in by_level.items()}
    high, low = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    if not (p < _LARGEST_P and means[high] - means[low] > np.log(_SMALLEST_RATIO)):
        return
    sizes = " against ".join(
        f"{np.exp(means[level] / 2):.3g} in {level} ({len(by_level[level])} people)" for level in (high, low)
    )
    sentence = (
        f"The levels of '{factor.name}' differ in residual variance: SD {sizes}, p = {p:.2g}. "
        "Tests that pool it find too much or too little where the levels have unequal numbers of people."
    )
    yield p, warn("variance", sentence, f"Use --variance-groups {factor.name}.")


def brown_forsythe_p(groups: list[Float64]) -> float:
    """P-value of Brown & Forsythe's test of equal means, whose groups may scatter unequally (1974).

    F = Σ n_g (m_g − m)² / Σ (1 − n_g/N) s_g² on k − 1 and 1/Σ(c_g²/(n_g − 1)) degrees of freedom, with the
    shares c_g of the groups in the denominator.
    """
    sizes = np.array([len(one) for one in groups], dtype=np.float64)
    means = np.array([one.mean() for one in groups])
    parts = (1 - sizes / sizes.sum()) * np.array([one.var(ddof=1) for one in groups])
    if not parts.sum() > 0:
        return 1.0
    between = (sizes * (means - (sizes * means).sum() / sizes.sum()) ** 2).sum()
    dof = 1 / ((parts / parts.sum()) ** 2 / (sizes - 1)).sum()
    return float(special.fdtrc(len(groups) - 1, dof, between / parts.sum()))
