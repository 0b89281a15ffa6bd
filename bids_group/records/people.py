"""Files and people (made by `bids`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from bids_group.elements import Form, Space, form_of
from bids_group.errors import BidsGroupError
from bids_group.records.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLevelMap:
    """One first-level result of one person: an effect map and what belongs to it.

    Labels carry no prefix (``01``, not ``sub-01``). ``dof`` is a number, a map, or unknown. ``mask`` is the
    map's own mask where the producer wrote one, ``mask_threshold`` what counts as inside where it is not of
    two values. The variance is that file times ``variance_scale``. ``dataset`` is the root that BIDS URIs are
    relative to; ``input_stat`` is ``z`` or ``t`` only where the user insisted on it. ``suffix`` other than
    ``statmap`` (``probseg``): the map is no contrast, and ``contrast`` is made of its label and suffix.
    ``factors`` are further columns of the table that lists the maps, with the cell of this one; ``entities``
    are all that the name of the effect file has.
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
    variance_scale: float = 1.0
    dof: float | Path | None = None
    mask: Path | None = None
    mask_threshold: float | None = None
    input_stat: Literal["effect", "z", "t"] = "effect"
    producer: str | None = None
    suffix: str = "statmap"
    factors: tuple[tuple[str, str | None], ...] = ()
    entities: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The effect and what belongs to it, as far as these are files."""
        beside = [one for one in (self.variance, self.dof, self.mask) if isinstance(one, Path)]
        return (self.effect, *beside)

    @property
    def form(self) -> Form:
        """What the map is made of, by its name: a volume, surfaces, CIFTI, a table of regions."""
        return form_of(self.effect.name)

    def exclude(self, reason: str) -> Exclusion:
        """Say why the map is left out."""
        shared = {name: getattr(self, name) for name in ("subject", "session", "run", "task", "contrast")}
        return Exclusion(path=self.effect, reason=reason, **shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Who is not in the analysis, or (with a ``path``) which map of whom, and why. Nobody leaves unnamed."""

    subject: str
    reason: str
    session: str | None = None
    contrast: str | None = None
    path: Path | None = None
    run: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What is known of a covariate. ``kind_source`` says why it has this kind (for people).

    ``meanings``: what its dictionary says of levels. ``problem`` and ``notices`` are told only where the
    column is used; ``empty`` names the rows whose cell is empty, where ``n/a`` should stand.
    """

    name: str
    kind: Literal["categorical", "numeric"]
    kind_source: str
    source: Path
    levels: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict, compare=False)
    units: str | None = None
    description: str | None = None
    problem: BidsGroupError | None = None
    notices: tuple[Notice, ...] = ()
    empty: tuple[str, ...] = ()

    def check_usable(self) -> None:
        """Raise the column's problem, if it has one."""
        if self.problem is not None:
            raise self.problem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Covariates of people (or of their sessions, scans, or of single maps).

    ``frame``: index = subject label, (subject, session), (subject, file) or the path of the effect, by level;
    categorical columns have pandas ``category`` dtype with the levels in their order (first = reference),
    numeric columns ``float64``; missing = NaN.
    """

    level: Literal["subject", "session", "scan", "map"]
    frame: pd.DataFrame
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """The maps of an analysis and the people they belong to: every row has a map, every map a row.

    ``tables`` holds the participants table first (phenotype columns joined to it), then a sessions table
    where there is one; ``tables_over`` makes them with kinds that only some rows (subject, session or None)
    settle. ``everyone`` lists all ids of participants.tsv and of the maps, sorted: the denominator of the
    ledger. ``dataset_names``: name of each input dataset in BIDS URIs, and its root. ``sessions`` are those
    of the maps in the order that a JSON file gives them (None: alphabetical). ``cell_factors``: columns of
    the table of maps that have one value for each first-level contrast, several over all.
    """

    maps: tuple[FirstLevelMap, ...]
    tables: tuple[Table, ...]
    everyone: tuple[str, ...]
    exclusions: tuple[Exclusion, ...] = ()
    notices: tuple[Notice, ...] = ()
    dataset_names: Mapping[str, Path] = field(default_factory=dict)
    has_variance_everywhere: bool = False
    """Whether every effect of the dataset (before labels narrowed it) has a variance: settles pooling."""
    sessions: Column | None = None
    cell_factors: tuple[str, ...] = ()
    design_matrix: Table | None = None
    """The rows of ``--design-matrix`` as they were given; its columns are those of the last of ``tables``."""
    tables_over: Callable[[Collection[tuple[str, str | None]]], tuple[Table, ...]] | None = None
    maps_tsv: str | None = None
    """The table that a pattern of ``--maps`` stands for, as it is kept with the results."""
    structures: tuple[str, ...] = ()
    """Structures that are kept of surfaces and CIFTI files (none: all), as CIFTI names them."""
    spaces: Mapping[Path, Space] = field(default_factory=dict)
    """The elements of each file of the maps, by its header."""
