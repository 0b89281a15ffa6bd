"""The nouns that cross the walls between rooms: what each is called, and which axes it has.

Frozen, without input/output and without algorithms; a record checks its own invariant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import ContrastRequest
from bids_group.elements import Elements, Grid
from bids_group.errors import DesignError

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence the user must see in the log, the dry run and the report.

    ``topic`` is one word for programs (``rank``, ``pooling``, ``centering`` …).
    """

    severity: Literal["note", "warning"]
    topic: str
    sentence: str
    fix: str | None = None


# --------------------------------------------------------------------------------------------
# Files and people (made by `bids`)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLevelMap:
    """One first-level result of one person: an effect map and what belongs to it.

    Labels carry no prefix (``01``, not ``sub-01``). ``dof`` is a number, a map, or unknown.
    ``mask`` is the map's own mask where the producer wrote one. ``dataset`` is the root that BIDS
    URIs are relative to; ``input_stat`` is ``z`` only where the user insisted on it.
    """

    subject: str
    contrast: str
    effect: Path
    dataset: Path
    session: str | None = None
    run: str | None = None
    task: str | None = None
    space: str | None = None
    res: str | None = None
    den: str | None = None
    node: str | None = None
    variance: Path | None = None
    dof: float | Path | None = None
    mask: Path | None = None
    input_stat: Literal["effect", "z"] = "effect"
    producer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Who (or which map of whom) is not in the analysis, and why. Nobody leaves unnamed.

    ``path`` None: the whole person (or the session, where ``session`` is given).
    """

    subject: str
    reason: str
    session: str | None = None
    contrast: str | None = None
    path: Path | None = None
    run: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What is known of a covariate. ``kind_source`` says why it has this kind (for people)."""

    name: str
    kind: Literal["categorical", "numeric"]
    kind_source: str
    source: Path
    levels: tuple[str, ...] = ()
    units: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Covariates of people (or of their sessions).

    ``frame``: index = subject label, or (subject, session) for ``level="session"``; categorical columns
    have pandas ``category`` dtype with the levels in their order (first = reference), numeric columns
    ``float64``; missing = NaN.
    """

    level: Literal["subject", "session"]
    frame: pd.DataFrame
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """The maps of an analysis and the people they belong to: every row has a map, every map a row.

    ``tables`` holds the participants table first (phenotype columns joined to it), then a sessions table
    where there is one. ``everyone`` lists all ids of participants.tsv and of the maps, sorted: the
    denominator of the ledger.
    """

    maps: tuple[FirstLevelMap, ...]
    tables: tuple[Table, ...]
    everyone: tuple[str, ...]
    exclusions: tuple[Exclusion, ...] = ()
    notices: tuple[Notice, ...] = ()
    dataset_names: Mapping[str, Path] = field(default_factory=dict)
    """Name of each input dataset in BIDS URIs (``raw``, ``firstlevel`` …) and its root."""
    has_variance_everywhere: bool = False
    """Whether every effect of the dataset (before labels narrowed it) has a variance: settles pooling."""


# --------------------------------------------------------------------------------------------
# Numbers (made by `model`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A row of the design: one person (or session), one first-level contrast, and the maps it stands on.

    ``sources`` are maps or, where a model has several steps below the group, other observations.
    ``combine``: ``precision`` and ``mean`` are fixed effects; ``weights`` is a weighted sum (a contrast made
    below the group level) with one number of ``weights`` per source. ``is_one_of_several`` says that the
    design
    has a row for each first-level contrast of a person, so that the label names the contrast.
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
        for source in self.sources:
            found.extend(source.maps if isinstance(source, Observation) else (source,))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledMap:
    """An observation's numbers on the whole grid, C order, float32, NaN = observed in no map.

    ``dof`` is one number, an array of the grid's shape, or None where unknown; ``n_maps`` counts the maps at
    each element
    (0 = missing); ``input_hashes`` maps each file read to the SHA-256 of its bytes.
    """

    observation: Observation
    grid: Grid
    effect: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None
    dof: npt.NDArray[np.float32] | None
    n_maps: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    input_hashes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupAnalysis:
    """One group model to be fitted: rows, formula and requested contrasts, before a design exists.

    ``rows``: index = observation labels in the order of ``observations``; columns ``subject``, ``session``
    (where rows are
    sessions), then every covariate (dtypes as in `Table`). ``node`` names the Dataset node of a Stats Model
    (None when there is
    only one); ``group_labels`` are the levels of a GroupBy on participants columns, ``{"group": "patient"}``.
    """

    first_level_contrast: str
    observations: tuple[Observation, ...]
    rows: pd.DataFrame
    formula: str
    contrasts: tuple[ContrastRequest, ...]
    centering: str = "grand"
    has_default_contrasts: bool = False
    """No contrast was named: the mean, and one test per term."""
    estimator: Literal["ols", "meta"] = "ols"
    node: str | None = None
    group_labels: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    """Who a Filter, a DropNA or a missing GroupBy value left out of this analysis."""
    raw_rows: pd.DataFrame | None = None
    """The rows before ``instructions`` (transformations of a Stats Model), which a restricted analysis
    applies anew."""
    instructions: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        labels = [row.label for row in self.observations]
        if labels != list(self.rows.index):
            raise DesignError(
                "The observations and the covariates are not about the same rows.",
                found=", ".join(map(str, self.rows.index)),
                expected=", ".join(labels),
                fix="This is a bug; please report it.",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrast:
    """A group contrast: weights of shape ``(q, n_regressors)`` (independent rows), q = 1 for t.

    ``name`` is as the user wrote it, or generated; ``label`` is the part of the file name that it adds (empty
    for the default
    mean); ``words`` say what is tested, ``expression`` what was typed.
    """

    name: str
    label: str
    weights: npt.NDArray[np.float64]
    test: Literal["t", "F"]
    expression: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """A design matrix with its contrasts; index = observation labels, columns = regressors.

    ``terms`` maps each term of the formula to its column names. ``variables`` holds the raw values
    (uncentred) of the columns that the
    formula uses, by row. ``centers`` maps each centred covariate to the value(s) subtracted, as text for
    people and sidecars.
    ``details`` is JSON-able: rank, condition_number, vif (by term), leverage (by row), n_per_cell, covariate
    summaries.
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

    def __post_init__(self) -> None:
        if self.data.ndim != 2 or self.data.shape[0] != len(self.labels):
            raise DesignError(
                "A stack of maps needs one row per label.",
                found=f"{self.data.shape} for {len(self.labels)} labels",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupData:
    """Design and maps, proven to describe the same rows in the same order."""

    design: Design
    stack: MapStack
    elements: Elements
    is_complete: bool = True
    """Whether every row is observed at every element (coverage 1)."""
    estimator: Literal["ols", "meta"] = "ols"
    blocks: pd.Series | None = None
    variance_groups: pd.Series | None = None

    def __post_init__(self) -> None:
        if self.stack.labels != tuple(self.design.matrix.index):
            raise DesignError(
                "The maps and the design matrix are not about the same rows.",
                found=f"maps of {', '.join(self.stack.labels)}",
                expected=f"maps of {', '.join(map(str, self.design.matrix.index))}",
                fix="Order the maps by the design's index before joining them.",
            )
        if self.stack.data.shape[1] != self.elements.n_elements:
            raise DesignError(
                "The maps and the mask have different numbers of elements.",
                found=str(self.stack.data.shape[1]),
                expected=str(self.elements.n_elements),
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastResult:
    """The numbers of one group contrast.

    ``maps``: by stat, float32 of shape ``(n_elements,)``: ``effect``, ``variance``, ``t`` or ``F``, ``z``
    (signed for t), ``p`` (two-sided
    unless one-sided was asked for); for F of several rows ``effect`` and ``variance`` have shape ``(q,
    n_elements)``. Where coverage is
    below 1 also ``dof`` and ``n``. Effect sizes: ``g``, ``gLower``, ``gUpper`` or ``partialR2`` …
    ``dof`` is the residual one (None where it differs between elements), ``dof_numerator`` is q for F.
    """

    contrast: Contrast
    dof: float | None
    dof_numerator: int
    maps: Mapping[str, npt.NDArray[np.float32]]
    notices: tuple[Notice, ...] = ()


# --------------------------------------------------------------------------------------------
# Significance (made by `inference`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A local maximum. ``element`` indexes the analysed elements; a sub-peak has ``is_sub_peak``."""

    element: int
    xyz_mm: tuple[float, float, float]
    statistic: float
    z: float
    p_uncorrected: float
    p_corrected: float | None
    is_sub_peak: bool = False
    effect: float | None = None
    g: float | None = None
    g_lower: float | None = None
    g_upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cluster:
    """Connected elements of one sign above a threshold.

    ``p_corrected`` by measure: ``size``, ``mass``, ``tfce``, ``peak``.
    """

    index: int
    sign: Literal[1, -1]
    elements: npt.NDArray[np.intp]
    size_mm3: float
    peaks: tuple[Peak, ...]
    mass: float | None = None
    p_corrected: Mapping[str, float] = field(default_factory=dict)
    true_discovery_proportion: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UncorrectedP:
    """Share of the shuffles that reach each element's own statistic: float32 ``(n_elements,)`` in (0, 1].

    ``details`` is JSON-able and says how the rows were shuffled.
    """

    p: npt.NDArray[np.float32]
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Significance:
    """One contrast judged by one correction.

    ``p_corrected``: float32 ``(n_elements,)`` in (0, 1], or None (``ari``, ``none``). ``threshold`` is on the
    scale of the statistic named by
    ``threshold_stat`` (``t``, ``F``, ``z``, ``size``, ``mass``, ``tfce``; ``p`` for fdr); None where nothing
    can pass. ``null`` holds the
    null distribution(s) by name, the unshuffled value first. ``details`` is JSON-able and ends in the
    sidecars. ``by_shuffling``: the contrast's uncorrected p from the same shuffles, where it was asked for.
    """

    contrast: str
    correction: str
    alpha: float
    is_two_sided: bool
    threshold: float | None
    threshold_stat: str
    p_corrected: npt.NDArray[np.float32] | None
    is_significant: npt.NDArray[np.bool_]
    clusters: tuple[Cluster, ...]
    null: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    by_shuffling: UncorrectedP | None = None


# --------------------------------------------------------------------------------------------
# Files (made by `output`)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that was written; ``path`` is relative to OUTPUT_DIR."""

    path: Path
    stat: str | None = None
    contrast: str | None = None
    sources: tuple[str, ...] = ()
