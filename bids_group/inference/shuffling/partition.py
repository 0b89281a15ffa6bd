"""The design split into what a contrast tests and what it must allow for.

Beckmann's partition (Winkler et al. 2014, appendix A) in a form that also holds for rank-deficient designs
and redundant contrasts: with D = (X'X)⁺ and C reduced to independent rows, the tested part is X D C' and
the nuisance part X·null(C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_group.errors import DesignError
from bids_group.row_space import TOLERANCE, RowSpace

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """Orthonormal bases of the tested part ``(n_obs, q)`` and of the nuisance part ``(n_obs, r)``.

    For q = 1 the tested column has the sign of the contrast. ``dof`` is N − rank(X).
    """

    tested: Doubles
    nuisance: Doubles
    dof: int

    @property
    def q(self) -> int:
        """Number of independent rows of the contrast."""
        return int(self.tested.shape[1])

    @property
    def n_obs(self) -> int:
        """Number of rows of the design."""
        return int(self.tested.shape[0])

    def is_nuisance(self, column: Doubles) -> bool:
        """Whether a column ``(n_obs,)`` lies in the span of the nuisance part."""
        rest = column - self.nuisance @ (self.nuisance.T @ column)
        return bool(np.linalg.norm(rest) <= 1e-6 * np.linalg.norm(column))


def partition(matrix: npt.ArrayLike, weights: Doubles, *, name: str = "contrast") -> Partition:
    """Split a design ``(n_obs, p)`` for a contrast ``(q, p)``, which it must be able to estimate."""
    X = np.asarray(matrix, dtype=np.float64)
    space = RowSpace.of(X)
    if not space.is_estimable(weights).all():
        raise DesignError(
            f"The contrast '{name}' cannot be estimated from this design.",
            found="weights outside the row space of the design",
            expected="a contrast with the same value for every solution of the normal equations",
        )
    dof = len(X) - space.rank
    if dof < 1:
        raise DesignError(
            "The design leaves no degrees of freedom.",
            found=f"{len(X)} rows and rank {space.rank}",
            expected="more rows than the rank of the design",
        )
    scaled = np.atleast_2d(weights) / space.norms
    sizes = np.linalg.norm(scaled, axis=1, keepdims=True)
    directions = _directed_basis(space.basis.T @ (scaled / np.where(sizes > 0, sizes, 1.0)).T)
    tested = _directed_basis(
        directions / space.singular_values[: space.rank, None]
    )  # X D C' on space.columns
    rest = np.linalg.svd(tested)[0][:, tested.shape[1] :]
    return Partition(tested=space.columns @ tested, nuisance=space.columns @ rest, dof=dof)


def _directed_basis(columns: Doubles) -> Doubles:
    """Orthonormal basis of the span; a single column keeps its direction."""
    if columns.shape[1] == 1:
        return columns / np.linalg.norm(columns)
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.ascontiguousarray(left[:, singular > TOLERANCE * singular[0]])
