"""What each row does to the result: quality of maps, and factors whose levels differ in spread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from bids_group.model.fitting.group_fit import cut_tiles
from bids_group.model.fitting.influence import find_strongest, tabulate_peaks
from bids_group.model.fitting.least_squares import orthonormal_basis
from bids_group.records import ContrastResult, GroupData, Notice, warn
from bids_group.words import list_some
from bids_group.work_files import drop_pages, read_columns

OUTLIER_SD = 3.5
"""Robust standard deviations (median, MAD) beyond which a row is marked; Iglewicz & Hoaglin 1993."""
_LARGEST_P, _SMALLEST_RATIO = 0.01, 1.5
_UNLIKE_SD, _ENOUGH_ELEMENTS = 50.0, 10
"""Ratio of the spreads of two maps beyond which they are told: people differ by less than ten."""

Float64 = npt.NDArray[np.float64]


def describe_rows(
    data: GroupData,
    results: Sequence[ContrastResult],
    costs: pd.DataFrame,
    uneven: pd.Series | None,
    *,
    is_two_sided: bool,
) -> pd.DataFrame:
    """Describe each row's map (`tabulate_quality`), and what it does to the strongest elements.

    ``costs`` as in `StackedMaps`; ``uneven``: a factor whose levels differ in variance. Adds
    ``cooks_at_peak``, the largest of Cook's distances at the strongest element of each contrast.
    """
    n_lost_only = dict(zip(costs["observation"], costs["n_lost_by_this_row_alone"], strict=True))
    groups = data.variance_groups if data.has_group_variances else uneven
    quality = tabulate_quality(data, n_lost_only, groups)
    peaks = [tabulate_peaks(data, one.contrast, [find_strongest(one, is_two_sided)]) for one in results]
    influence = pd.concat(peaks).groupby("label")["cooks_distance"].max()
    quality["cooks_at_peak"] = influence.reindex(quality.index)
    return quality


def tell_units(data: GroupData, quality: pd.DataFrame) -> tuple[Notice, ...]:
    """Warn of maps whose spread over elements is so unlike that they must be in other units, or no effects.

    ``quality`` as of `describe_rows`. A map with one value at every element has no spread; a handful of
    elements that every row has say nothing of it. Where rows are weighed by variances, these are judged too.
    """
    return (*_tell_spreads(quality), *_tell_variances(data))


def _tell_spreads(quality: pd.DataFrame) -> tuple[Notice, ...]:
    """Warn of maps whose spread over elements is far from that of most others."""
    if quality.attrs["n_elements_compared"] < _ENOUGH_ELEMENTS:
        return ()
    sd = quality["sd_effect"].where(quality["sd_effect"] > 1e-6 * quality["mean_effect"].abs(), 0.0)
    middle = float(sd[sd > 0].median())
    if not middle > 0 or sd.max() <= _UNLIKE_SD * sd.min():
        return ()
    far = abs(np.log(sd.clip(lower=1e-300) / middle)) > np.log(_UNLIKE_SD) / 2
    sentence = (
        f"Maps scatter very differently over elements: SD {sd.min():.3g} in {sd.idxmin()}, {sd.max():.3g} "
        f"in {sd.idxmax()}. Far from most: {list_some(sd.index[far])}. They may be in other units, or no "
        "effects."
    )
    return (warn("units", sentence, "Compute these maps as the others were, or leave them out."),)


def _tell_variances(data: GroupData) -> tuple[Notice, ...]:
    """Warn of variances so unlike the others' that weighing by them keeps, or leaves out, a few rows."""
    if not data.estimator.needs_variance or data.stack.variance is None:
        return ()
    typical = pd.Series([float(np.nanmedian(row)) for row in data.stack.variance], index=data.stack.labels)
    drop_pages(data.stack.variance)
    if typical.max() <= _UNLIKE_SD**2 * typical.min():
        return ()
    far = abs(np.log(typical / typical.median())) > np.log(_UNLIKE_SD)
    sentence = (
        f"Variances of the maps are very unlike: {typical.min():.3g} in {typical.idxmin()}, "
        f"{typical.max():.3g} in {typical.idxmax()} (medians over elements). Weighed by them, rows with "
        "small ones decide and rows with large ones hardly count. "
        f"Far from most: {list_some(typical.index[far])}."
    )
    return (warn("units", sentence, "See whether these variances belong to their effects, in their units."),)


def tabulate_quality(
    data: GroupData, n_lost_only: Mapping[str, int], groups: pd.Series | None = None
) -> pd.DataFrame:
    """Describe each row's map beside the others, over the elements that every row has.

    Parameters
    ----------
    n_lost_only
        By row: elements that only this row keeps out of the analysis.
    groups
        Rows of which each group has a spread of its own (named in ``attrs["compared_within"]``): a row stands
        out among its own group, and no group as a whole.

    Returns
    -------
    DataFrame
        Index = labels; ``n_elements_lost_only_by_this_row``, ``mean_effect``, ``sd_effect`` (over elements),
        ``correlation_loo`` (with the mean of the other rows), ``mahalanobis`` (of these three together; NaN
        below six rows), ``leverage`` of the row in the design, ``is_outlier`` and ``outlier_reasons``
        (`OUTLIER_SD` on any of them, or Mahalanobis beyond the 99.9 % point of χ²₃). Marked, never removed.
        ``attrs["n_elements_compared"]``: how many elements every row has.
    """
    table = measures = _spatial_measures(data)
    if groups is not None:  # centred at the medians of each group, in units in which groups scatter alike
        own = groups.reindex(table.index).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            alike = table.assign(
                mean_effect=table["mean_effect"] / table["sd_effect"].groupby(own).transform("median"),
                sd_effect=np.log(table["sd_effect"]),
                correlation_loo=np.arctanh(np.clip(table["correlation_loo"], -1 + 1e-12, 1 - 1e-12)),
            )
        measures = alike - alike.groupby(own).transform("median")
        measures = measures.replace([np.inf, -np.inf], np.nan)
        table.attrs["compared_within"] = str(groups.name)
    distances = _mahalanobis(measures.to_numpy(dtype=np.float64))
    z = {name: _robust_z(measures[name].to_numpy(dtype=np.float64)) for name in measures}
    marks = {
        "mean effect far from the others": np.abs(z["mean_effect"]) > OUTLIER_SD,
        "spread over elements far from the others": np.abs(z["sd_effect"]) > OUTLIER_SD,
        "pattern unlike the mean of the others": z["correlation_loo"] < -OUTLIER_SD,
        "unusual in all three together": distances**2 > stats.chi2.ppf(0.999, 3),
    }
    reasons = ["; ".join(why for why, is_so in marks.items() if is_so[row]) for row in range(len(table))]
    n_observed = []
    for row in data.stack.data:
        n_observed.append(int(np.isfinite(row).sum()))
        drop_pages(data.stack.data)
    table.insert(0, "n_elements_observed", n_observed)
    table.insert(1, "n_elements_lost_only_by_this_row", [n_lost_only.get(str(row), 0) for row in table.index])
    leverage = data.design.details.get("leverage", {})
    table["mahalanobis"], table["leverage"] = distances, [leverage.get(row, np.nan) for row in table.index]
    table["is_outlier"], table["outlier_reasons"] = [reason != "" for reason in reasons], reasons
    return table


def _spatial_measures(data: GroupData) -> pd.DataFrame:
    """Means, SDs and leave-one-out correlations from sums and inner products, block by block."""
    n_obs = len(data.stack.data)
    sums, squares, with_total = np.zeros(n_obs), np.zeros(n_obs), np.zeros(n_obs)
    total_sum = total_square = 0.0
    n_used = 0
    for block in _complete_tiles(data):
        total = block.sum(axis=0)
        sums += block.sum(axis=1)
        squares += np.einsum("ij,ij->i", block, block)
        with_total += block @ total
        total_sum, total_square = total_sum + total.sum(), total_square + total @ total
        n_used += total.size
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / n_used
        deviation = squares / n_used - mean**2
        others_mean = (total_sum - sums) / n_used
        others_deviation = (total_square - 2 * with_total + squares) / n_used - others_mean**2
        covariance = (with_total - squares) / n_used - mean * others_mean
        correlation = covariance / np.sqrt(deviation * others_deviation) if n_used > 1 else mean * np.nan
    columns = {"mean_effect": mean, "sd_effect": np.sqrt(deviation), "correlation_loo": correlation}
    table = pd.DataFrame(columns, index=pd.Index(data.stack.labels, name="label"))
    table.attrs["n_elements_compared"] = n_used
    return table


def _complete_tiles(data: GroupData) -> Iterator[Float64]:
    """Yield the effects ``(n_obs, n)`` tile by tile, over elements that every row has."""
    for tile in cut_tiles(data.elements.n_elements, len(data.stack.data)):
        block = read_columns(data.stack.data, tile).astype(np.float64)
        yield block[:, np.isfinite(block).all(axis=0)]


def _robust_z(values: Float64) -> Float64:
    """Deviations from the median in robust SDs (MAD); 0 where nothing varies."""
    spread = 0.0
    if not np.isnan(values).all():
        spread = stats.median_abs_deviation(values, scale="normal", nan_policy="omit")
    if not spread > 0:
        return np.zeros(values.size)
    return np.asarray((values - np.nanmedian(values)) / spread, dtype=np.float64)


def _mahalanobis(measures: Float64) -> Float64:
    """Distance of each row of ``(n_obs, 3)`` from the mean of all; NaN where there are too few."""
    if len(measures) < 6 or not np.isfinite(measures).all():
        return np.full(len(measures), np.nan)
    spread = measures.std(axis=0)
    centred = (measures - measures.mean(axis=0)) / np.where(spread > 0, spread, 1)
    precision = np.linalg.pinv(np.cov(centred, rowvar=False))
    return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", centred, precision, centred)), dtype=np.float64)


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
    for block in _complete_tiles(data):
        residuals = block - columns @ (columns.T @ block)
        squares += np.einsum("ij,ij->i", residuals, residuals)
        n_used += block.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(gaps > 1e-6, squares / gaps / n_used, np.nan)
        means = pd.Series(scaled).groupby(people.to_numpy()).mean()
        logs = pd.Series(np.log(means.to_numpy()), index=means.index)
    return logs[np.isfinite(logs)]


def _uneven(spread: pd.Series, factor: pd.Series, people: pd.Series) -> Iterator[tuple[float, Notice]]:
    """Test whether the levels of a factor differ in the people's logarithmic variances."""
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
