from .notices import Notice, note, warn
from .numbers import (
    LEAST_SQUARES,
    Contrast,
    ContrastResult,
    Design,
    Estimator,
    GroupAnalysis,
    GroupData,
    MapStack,
    Observation,
    PooledMap,
    Scaling,
    are_told_apart,
)
from .people import Cohort, Column, Exclusion, FirstLevelMap, Table
from .significance import Cluster, Peak, Significance, UncorrectedP

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
