"""The people of a demo: their rows in participants.tsv, balanced over factors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from bids_group.demo.kinds import Kind

_AGE_YEARS = (21, 58)
_CIGARETTES_A_DAY = (1, 25)
_WORDS_A_MINUTE = (40, 120)
_VOLUME_ML, _MORE_IN_MEN_ML = (1250, 1550), 150
_RANGES = {
    "age": _AGE_YEARS,
    "n_cigs": _CIGARETTES_A_DAY,
    "reading_speed": _WORDS_A_MINUTE,
    "tiv": _VOLUME_ML,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """Everybody's true values: ``table`` has index ``01`` … and no gaps; people with maps come first."""

    table: pd.DataFrame
    n_with_maps: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the people with maps."""
        return tuple(self.table.index[: self.n_with_maps])


def draw_people(rng: np.random.Generator, kind: Kind) -> People:
    """Draw the people of a kind; whoever has no maps stands last.

    Within each level of the first factor a covariate takes the same evenly spaced values in random order, so
    the groups are alike in it.
    """
    n_with_maps, n_without = kind.n_people, sum(what == "no maps" for what, _ in kind.irregular)
    cells = list(product(*(levels for _, levels in kind.factors))) or [()]
    rows = [cells[i % len(cells)] for i in range(n_with_maps + n_without)]
    labels = [f"{i + 1:02d}" for i in range(len(rows))]
    table = pd.DataFrame(rows, index=labels, columns=[name for name, _ in kind.factors], dtype=object)
    strata = table.iloc[:, 0].to_numpy() if kind.factors else np.zeros(len(rows))
    for name in kind.covariates:
        table[name] = _draw_covariate(rng, strata[:n_with_maps], n_without, _RANGES[name])
        if name == "tiv":
            table[name] += np.where(table["sex"] == "M", _MORE_IN_MEN_ML, 0)
    return People(table=table, n_with_maps=n_with_maps)


def _draw_covariate(
    rng: np.random.Generator, strata: np.ndarray, n_more: int, limits: tuple[int, int]
) -> np.ndarray:
    values = np.zeros(len(strata), dtype=int)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        values[members] = rng.permutation(np.linspace(*limits, len(members)).round().astype(int))
    return np.concatenate([values, rng.integers(limits[0], limits[1], n_more, endpoint=True)])
