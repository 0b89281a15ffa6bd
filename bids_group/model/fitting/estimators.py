"""The ways to fit a group model: a new one is a file with its facts and its verb, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from bids_group.model.fitting import known_variances, ordinary
from bids_group.model.fitting.least_squares import Estimate
from bids_group.records import LEAST_SQUARES, Estimator, GroupData

Prepare = Callable[[GroupData], Callable[[slice], list[Estimate]]]
"""What is done once per model; what it returns fits a tile, one estimate per contrast."""

ESTIMATORS: tuple[tuple[Estimator, Prepare], ...] = (
    (LEAST_SQUARES, ordinary.prepare),
    (known_variances.FIXED_EFFECTS, known_variances.prepare),
)
