"""The ways to fit a group model: a new one is a file with its facts and its verb, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bids_group.model.fitting.known_variances import KnownVariances
from bids_group.model.fitting.least_squares import Estimate
from bids_group.model.fitting.ordinary import OrdinaryLeastSquares
from bids_group.records import Estimator, GroupData


class Fitter(Protocol):
    """An estimator: its facts, and how it fits."""

    facts: Estimator

    def prepare(self, data: GroupData) -> Callable[[slice], list[Estimate]]:
        """Do what is done once per model; what is returned fits a tile, one estimate per contrast."""
        ...


_ALL: tuple[Fitter, ...] = (OrdinaryLeastSquares(), KnownVariances())
FITTERS = {one.facts.name: one for one in _ALL}


def estimator_of(node_type: str) -> Estimator:
    """Find the estimator that a node's Type asks for."""
    return next(one.facts for one in _ALL if one.facts.node_type == node_type)
