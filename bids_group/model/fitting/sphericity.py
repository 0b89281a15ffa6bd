"""Whether the rows of a person are equally alike, as tests with one variance take them to be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config.estimators import MIXED
from bids_group.labels import natural_order
from bids_group.model.fitting.group_fit import cut_tiles
from bids_group.records import Design, GroupData, Notice, note, warn
from bids_group.records.sidecars import SphericityFacts
from bids_group.row_space import TOLERANCE, RowSpace
from bids_group.words import list_some, say_number
from bids_group.work_files import read_columns

SMALLEST_EPSILON = 0.75
"""Below it tests that assume sphericity should be given up (Girden 1992)."""
_FEWEST_DOF = 2
_NO_VARIANCE = 1e-12

Doubles = npt.NDArray[np.float64]


def measure_sphericity(data: GroupData) -> tuple[SphericityFacts | None, tuple[Notice, ...]]:
    """Measure how unequally alike a person's rows are, where three or more are tested with one variance.

    Measurements are what a person's rows are of: sessions, first-level contrasts, or both. Those that fewer
    than half of the people have are left out, then people who lack one of the others. Residuals of each
    measurement are those of a regression on all columns of the design (at every measurement) but those of
    single people, so that S, their covariance pooled over elements, is that of R's mlm for the same groups
    and covariates. With M = PSP, P = I − 11'/k, ε = tr(M)² / ((k − 1) tr(M²)) (Greenhouse & Geisser 1959).

    Returns
    -------
    The measure, None where it does not apply or cannot be had; and a warning where ε is below
    `SMALLEST_EPSILON` and something that changes within people is tested, or a note of why it is not had.
    """
    people, estimator = data.subjects, data.estimator
    is_symmetric = data.design.random is not None and list(data.design.random.effects) == ["Intercept"]
    if people is None or not (estimator.has_one_variance or (estimator.name == MIXED.name and is_symmetric)):
        return None, ()
    places = find_rows(data.design.matrix.index.to_series(), people)
    n_people, rows = people.nunique(), places.dropna().to_numpy(dtype=np.intp)
    if places.shape[1] < 3:
        return None, ()
    basis = between_people(data.design, rows)
    dof, names = len(rows) - basis.shape[1], [str(name) for name in places]
    covariance, n_used = _pool(data, rows, basis) if dof >= _FEWEST_DOF else (np.zeros((len(names),) * 2), 0)
    centring = np.eye(len(names)) - 1 / len(names)
    within = centring @ covariance @ centring
    if not np.trace(within) > _NO_VARIANCE * np.trace(covariance):
        sentence = (
            f"Whether the rows of a person are equally alike cannot be told: {len(rows)} of {n_people} "
            f"people have all of {list_some(names)}, and the design takes {basis.shape[1]} of their degrees "
            "of freedom. Tests of what changes within people assume that they are."
        )
        return None, (note("sphericity", sentence, "Compare with --estimator sandwich."),)
    own, pairs = covariance.diagonal(), {}
    for later, earlier in zip(*np.tril_indices(len(names), -1), strict=True):
        variance = own[later] + own[earlier] - 2 * covariance[later, earlier]
        pairs[f"{names[later]} − {names[earlier]}"] = float(variance)
    found = SphericityFacts(
        greenhouse_geisser_epsilon=float(np.trace(within) ** 2 / ((len(names) - 1) * (within**2).sum())),
        measurements=names,
        covariance=covariance.tolist(),
        variances_of_differences=dict(sorted(pairs.items(), key=lambda one: one[1])),
        number_of_people=len(rows),
        number_of_people_left_out=n_people - len(rows),
        degrees_of_freedom=dof,
        number_of_elements=n_used,
    )
    is_low = found.greenhouse_geisser_epsilon < SMALLEST_EPSILON and _tests_within(data.design, people)
    return found, (_warn(found),) if is_low else ()


def find_rows(labels: pd.Series, people: pd.Series) -> pd.DataFrame:
    """Find the row of each person (index) for each measurement (columns)."""
    own = people.reindex(labels.index).astype(str).to_numpy()
    kinds = [
        label.removeprefix(f"sub-{person}").strip("_") for label, person in zip(labels, own, strict=True)
    ]
    places = pd.crosstab(own, np.array(kinds), values=np.arange(len(own)), aggfunc="first")
    places = places[natural_order(map(str, places))]
    return places.loc[:, places.notna().mean() >= 0.5]


def between_people(design: Design, rows: npt.NDArray[np.intp]) -> Doubles:
    """Orthonormal columns ``(n_people, rank)`` of what the design says of people, the constant among them."""
    own = set(design.terms.get("subject", ()))
    columns = design.matrix.loc[:, [name not in own for name in design.matrix]].to_numpy(dtype=np.float64)
    is_single = (columns[rows] != 0).any(axis=1).sum(axis=0) == 1  # of one person, in a matrix of one's own
    wide = columns[:, ~is_single][rows].reshape(len(rows), -1)
    return RowSpace.of(np.column_stack([np.ones(len(rows)), wide])).columns


def _pool(data: GroupData, rows: npt.NDArray[np.intp], basis: Doubles) -> tuple[Doubles, int]:
    """Covariance ``(k, k)`` of the measurements, its mean over elements that all have; and their number."""
    n_people, k = rows.shape
    products, n_used = np.zeros((k, k)), 0
    for tile in cut_tiles(data.elements.n_elements, len(data.stack.data)):
        block = read_columns(data.stack.data, tile)[rows.reshape(-1)].astype(np.float64)
        block = block[:, np.isfinite(block).all(axis=0)].reshape(n_people, -1)
        rest = (block - basis @ (basis.T @ block)).reshape(n_people, k, -1)
        products += np.einsum("iaj,ibj->ab", rest, rest, optimize=True)
        n_used += rest.shape[2]
    return products / (max(n_used, 1) * (n_people - basis.shape[1])), n_used


def _tests_within(design: Design, people: pd.Series) -> bool:
    """Whether a contrast weighs the rows of a person unequally."""
    space = RowSpace.of(design.matrix.to_numpy(dtype=np.float64))
    own = people.reindex(design.matrix.index).to_numpy()
    for contrast in design.contrasts:
        weights = pd.DataFrame(space.weights_of_rows(contrast.weights).T)
        rest = weights - weights.groupby(own).transform("mean")
        if np.abs(rest.to_numpy()).max() > TOLERANCE * np.abs(weights.to_numpy()).max():
            return True
    return False


def _warn(found: SphericityFacts) -> Notice:
    pairs = list(found.variances_of_differences.items())
    (low, smallest), (high, largest), lowest = pairs[0], pairs[-1], 1 / (len(found.measurements) - 1)
    return warn(
        "sphericity",
        "The rows of a person are not equally alike: Greenhouse and Geisser's ε is "
        f"{found.greenhouse_geisser_epsilon:.2f} (1 where they are, {lowest:.2g} at worst; "
        f"{found.number_of_people} people, pooled over elements). The variance of a difference goes from "
        f"{say_number(smallest)} ({low}) to {say_number(largest)} ({high}), and one variance is taken for "
        "all: tests of what changes within people err above or below 5 %.",
        "Use --estimator sandwich, or shuffle people as a whole (a correction fwe- with "
        "--exchangeability-blocks subject --whole-blocks --shuffle flips).",
    )
