"""The records that packages hand to each other: what each is called, and which axes it has.

Frozen, without input/output and without algorithms; a record checks its own invariant. By the package that
makes them: `people` (`bids`), `numbers` (`model`), `significance` (`inference`); `notices` by all.
"""

from __future__ import annotations

from bids_group.records.estimators import LEAST_SQUARES, Estimator
from bids_group.records.notices import Notice, note, warn
from bids_group.records.numbers import (
    Contrast,
    ContrastResult,
    Design,
    GroupAnalysis,
    GroupData,
    MapStack,
    Observation,
    PooledMap,
    Scaling,
    are_told_apart,
)
from bids_group.records.people import Cohort, Column, Exclusion, FirstLevelMap, Table
from bids_group.records.significance import Cluster, Peak, Significance, UncorrectedP

__all__ = [
    "LEAST_SQUARES",
    "Cluster",
    "Cohort",
    "Column",
    "Contrast",
    "ContrastResult",
    "Design",
    "Estimator",
    "Exclusion",
    "FirstLevelMap",
    "GroupAnalysis",
    "GroupData",
    "MapStack",
    "Notice",
    "Observation",
    "Peak",
    "PooledMap",
    "Scaling",
    "Significance",
    "Table",
    "UncorrectedP",
    "are_told_apart",
    "note",
    "warn",
]
