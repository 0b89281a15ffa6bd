"""Numbers (made by `model`): rows, maps, designs and what is estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.config.estimators import LEAST_SQUARES as LEAST_SQUARES
from bids_group.config.estimators import Estimator as Estimator
from bids_group.elements import Elements, Geometry, Grid, Space
from bids_group.errors import DesignError
from bids_group.records.notices import Notice
from bids_group.records.people import Column, Exclusion, FirstLevelMap


def _check_same(what: str, found: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse two lists of rows that are not the same rows in the same order."""
    if list(found) != list(expected):
        raise DesignError(
            f"The {what} are not about the same rows.",
            found=", ".join(map(str, found)),
            expected=", ".join(map(str, expected)),
            fix="This is a bug; please report it.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A row of the design: one person (or session), one first-level contrast, and the maps it stands on.

    ``sources`` are maps or, where a model has several steps below the group, other observations.
    ``combine``: ``precision`` and ``mean`` are fixed effects; ``weights`` is a weighted sum (a contrast made
    below the group level) with one number of ``weights`` per source. ``is_one_of_several`` says that the
    design has a row for each first-level contrast of a person, so that the label names the contrast.
    """

    subject: str
    contrast: str
    sources: tuple[FirstLevelMap | Observation, ...]
    session: str | None = None
    combine: Literal["precision", "mean", "weights"] = "precision"
    weights: tuple[float, ...] = ()
    is_one_of_several: bool = False

    @property
    def label(self) -> str:
        """``sub-01``, ``sub-01_ses-a`` or ``sub-01_contrast-faces``."""
        session = f"_ses-{self.session}" if self.session else ""
        contrast = f"_contrast-{self.contrast}" if self.is_one_of_several else ""
        return f"sub-{self.subject}{session}{contrast}"

    @property
    def maps(self) -> tuple[FirstLevelMap, ...]:
        """All first-level maps below this observation, in order."""
        found: list[FirstLevelMap] = []
        for one in self.sources:
            found += one.maps if isinstance(one, Observation) else (one,)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledMap:
    """An observation's numbers on the whole space, float32, NaN = observed in no map.

    ``dof`` is one number, an array of the space's shape, or None where unknown; ``n_maps`` counts the maps at
    each element (0 = missing); ``input_hashes`` maps each file read to the SHA-256 of its bytes.
    ``dominant``: a map with nearly all the weight, and its share.
    """

    observation: Observation
    space: Space
    effect: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None
    dof: npt.NDArray[np.float32] | None
    n_maps: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    input_hashes: Mapping[str, str]
    dominant: tuple[str, float] | None = None

    @property
    def grid(self) -> Grid:
        """The grid of a plain volume."""
        return self.space.grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Proportional scaling: what each row's map is multiplied by, ``mean`` of ``column`` over its value."""

    column: str
    mean: float
    factors: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupAnalysis:
    """One group model to be fitted: rows, formula and requested contrasts, before a design exists.

    ``rows``: index = observation labels in the order of ``observations``; columns ``subject``, ``session``
    (where rows are sessions), then every covariate (dtypes as in `Table`). ``node`` names the Dataset node of
    a Stats Model (None when there is only one); ``group_labels`` are the levels of a GroupBy on participants
    columns, ``{"group": "patient"}``; ``exclusions`` say whom a Filter, a DropNA or a missing GroupBy value
    left out. ``raw_rows`` are those before ``instructions`` (transformations of a Stats Model), which a
    restricted analysis applies anew. ``design_matrix`` is the user's own, whose columns the formula adds up.
    """

    first_level_contrast: str
    observations: tuple[Observation, ...]
    rows: pd.DataFrame
    formula: str
    contrasts: tuple[ContrastRequest, ...]
    centering: str = "grand"
    has_default_contrasts: bool = False
    """No contrast was named: the mean, and one test per term."""
    estimator: Estimator = LEAST_SQUARES
    node: str | None = None
    group_labels: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    raw_rows: pd.DataFrame | None = None
    instructions: tuple[Mapping[str, Any], ...] = ()
    scaling: Scaling | None = None
    design_matrix: Path | None = None

    @property
    def maps(self) -> tuple[FirstLevelMap, ...]:
        """All first-level maps below the rows."""
        return tuple(one for row in self.observations for one in row.maps)

    def __post_init__(self) -> None:
        labels = [row.label for row in self.observations]
        _check_same("observations and the covariates", self.rows.index, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an effect is to lie between: in its own units, or in residual standard deviations (those of g)."""

    lower: float
    upper: float
    is_standardised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """The covariate per unit of which an effect is, and its SD over the rows (n in the denominator).

    The SD is NaN where no one covariate can be told.
    """

    covariate: str
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrast:
    """A group contrast: weights of shape ``(q, n_regressors)`` (independent rows), q = 1 for t.

    ``name`` is as the user wrote it, or generated; ``label`` is the part of the file name that it adds (empty
    for the default mean); ``words`` say what is tested, ``expression`` what was typed. With ``bounds`` it is
    a test of equivalence: whether the effect lies between them. ``parts`` names the contrasts of which it is
    the conjunction, whose weights are its own; it is not fitted. ``slope``: of what the effect is one.
    """

    name: str
    label: str
    weights: npt.NDArray[np.float64]
    test: Literal["t", "F"]
    expression: str
    words: str
    bounds: Bounds | None = None
    parts: tuple[str, ...] = ()
    slope: Slope | None = None

    @property
    def has_two_tails(self) -> bool:
        """Whether evidence may lie on either side: F has one tail, and so has the test of equivalence."""
        return self.test == "t" and self.bounds is None

    @property
    def slope_sd(self) -> float | None:
        """SD of the covariate per unit of which the effect is; 1 where it is per none, None where unknown."""
        sd = 1.0 if self.slope is None else self.slope.sd
        return sd if sd > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomTerm:
    """A random term of a formula, such as ``(1 + time | subject)``: what varies between groups of rows.

    ``group``: the column whose levels are the groups; ``groups``: the level of each row; ``effects``: what
    varies, a column ``Intercept`` of ones and covariates (centred as in the design), by row;
    ``is_correlated``: whether these effects may be correlated (``||`` says that they are not).
    ``outer`` and ``outer_groups``: column and level of each row of the groups that hold these groups,
    ``family`` of ``(1 | family/subject)``: an intercept for each of them too.
    """

    text: str
    group: str
    groups: pd.Series
    effects: pd.DataFrame
    is_correlated: bool = True
    outer: str | None = None
    outer_groups: pd.Series | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """A design matrix with its contrasts; index = observation labels, columns = regressors.

    ``terms`` maps each term of the formula to its column names. ``variables`` holds the raw values
    (uncentred) of the columns that the formula uses, by row. ``centers`` maps each centred covariate to the
    value(s) subtracted, every digit of them. ``details`` is JSON-able: rank, condition_number,
    vif (by term), leverage (by row), n_per_cell, covariate summaries. ``contrasts`` are fitted,
    ``conjunctions`` made of their results.
    """

    matrix: pd.DataFrame
    contrasts: tuple[Contrast, ...]
    formula: str
    terms: Mapping[str, tuple[str, ...]]
    variables: pd.DataFrame
    centering: str
    centers: Mapping[str, Any]
    rank: int
    details: Mapping[str, Any]
    notices: tuple[Notice, ...] = ()
    random: RandomTerm | None = None
    conjunctions: tuple[Contrast, ...] = ()

    @property
    def dof(self) -> int:
        """Residual degrees of freedom, N − rank."""
        return len(self.matrix) - self.rank


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapStack:
    """All maps of an analysis: ``data`` of shape ``(n_obs, n_elements)``, float32, NaN = not observed there.

    In memory or memory-mapped. ``variance`` has the same shape where the estimator needs it.
    """

    labels: tuple[str, ...]
    data: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None = None


def are_told_apart(blocks: pd.Series | None) -> bool:
    """Whether blocks hold several rows and are not people, whose rows a model tells apart by its columns."""
    return blocks is not None and blocks.name != "subject" and bool(blocks.duplicated().any())


def number_clusters(blocks: pd.Series | None, index: pd.Index) -> npt.NDArray[np.intp]:
    """Give the number of each row's cluster: its exchangeability block, else the row by itself."""
    return np.arange(len(index)) if blocks is None else pd.factorize(blocks.reindex(index))[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupData:
    """Design and maps, proven to describe the same rows in the same order.

    ``geometry``: neighbours and weights of the elements where they are no plain volume. ``is_complete``:
    every row is observed at every element. ``subjects``: whose row each is, where people
    have several; ``visits``: its session, where rows are sessions.
    """

    design: Design
    stack: MapStack
    elements: Elements
    geometry: Geometry | None = None
    is_complete: bool = True
    estimator: Estimator = LEAST_SQUARES
    blocks: pd.Series | None = None
    variance_groups: pd.Series | None = None
    subjects: pd.Series | None = None
    visits: pd.Series | None = None

    @property
    def clusters(self) -> npt.NDArray[np.intp]:
        """Number of the cluster of each row: its exchangeability block, else the row by itself."""
        return number_clusters(self.blocks, self.design.matrix.index)

    @property
    def has_group_variances(self) -> bool:
        """Whether rows of several variance groups are fitted, each group with a variance of its own."""
        groups = self.variance_groups
        return self.estimator.has_one_variance and groups is not None and len(set(groups)) > 1

    def __post_init__(self) -> None:
        labels, shape = list(self.design.matrix.index), (len(self.stack.labels), self.elements.n_elements)
        _check_same("maps and the design matrix", self.stack.labels, labels)
        if self.stack.data.shape != shape:
            raise DesignError(
                "The maps and the mask have different numbers of elements.",
                found=" × ".join(map(str, self.stack.data.shape)),
                expected=" × ".join(map(str, shape)),
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastResult:
    """The numbers of one group contrast.

    ``maps``: by stat, float32 of shape ``(n_elements,)``: ``effect``, ``variance``, ``t`` or ``F``, ``z``
    (signed for t), ``p`` (two-sided unless one-sided was asked for); for F of several rows ``effect`` and
    ``variance`` have shape ``(q, n_elements)``. Where coverage is below 1 also ``dof`` and ``n``. Effect
    sizes: ``g``, ``gLower``, ``gUpper`` or ``partialR2`` … ``dof`` is the residual one (None where it differs
    between elements), ``dof_numerator`` is q for F.

    With variance groups ``dof`` are Satterthwaite's, and ``smallest_dof`` is what corrections that reach into
    the far tail take instead: those of the smallest group on which the contrast depends, one number or
    ``(n_elements,)``. F of several rows then has neither ``z``, ``p`` nor dof: only shuffling can judge it.
    ``effective_size``: 1/c(X'X)⁺c' per SD of the covariate, of the Bayes factors ``bf10``; None where it
    differs between elements. A conjunction has ``t``, ``z`` and ``p`` of the part with the least evidence.
    """

    contrast: Contrast
    dof: float | None
    dof_numerator: int
    maps: Mapping[str, npt.NDArray[np.float32]]
    smallest_dof: float | npt.NDArray[np.float64] | None = None
    effective_size: float | None = None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupFit:
    """A fitted analysis: the results of its contrasts, and maps that belong to no contrast.

    ``maps``: float32 ``(n_elements,)`` by the end of their file names, such as ``stat-icc`` or
    ``stat-variance_desc-residual``.
    """

    results: tuple[ContrastResult, ...]
    maps: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
