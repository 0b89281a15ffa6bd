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
from bids_group.records import Contrast, Design

Doubles = npt.NDArray[np.float64]

RELATIVE_TOLERANCE = 1e-8


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

    @property
    def has_constant_nuisance(self) -> bool:
        """Whether the constant lies in the span of the nuisance part."""
        return self.is_nuisance(np.ones(self.n_obs))

    def is_nuisance(self, column: Doubles) -> bool:
        """Whether a column ``(n_obs,)`` lies in the span of the nuisance part."""
        rest = column - self.nuisance @ (self.nuisance.T @ column)
        return bool(np.linalg.norm(rest) <= 1e-6 * np.linalg.norm(column))


def split_design(design: Design, contrast: Contrast) -> Partition:
    """Split a design for a contrast.

    Raises
    ------
    DesignError
        The contrast cannot be estimated from this design, or no degrees of freedom are left.
    """
    matrix = design.matrix.to_numpy(dtype=np.float64)
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    return partition(matrix / scale, np.atleast_2d(contrast.weights) / scale, name=contrast.name)


def partition(matrix: Doubles, weights: Doubles, *, name: str = "contrast") -> Partition:
    """Split a matrix ``(n_obs, p)`` with columns of like size for weights ``(q, p)``."""
    left, singular, row_space = _decompose(matrix)
    sizes = np.linalg.norm(weights, axis=1, keepdims=True)
    unit = weights / np.where(sizes > 0, sizes, 1.0)
    outside = unit - unit @ row_space.T @ row_space
    if np.linalg.norm(outside, axis=1).max() > 1e-7:
        raise DesignError(
            f"The contrast '{name}' cannot be estimated from this design.",
            found="weights outside the row space of the design",
            expected="a contrast with the same value for every solution of the normal equations",
        )
    dof = matrix.shape[0] - singular.size
    if dof < 1:
        raise DesignError(
            "The design leaves no degrees of freedom.",
            found=f"{matrix.shape[0]} rows and rank {singular.size}",
            expected="more rows than the rank of the design",
        )
    directions = _directed_basis(row_space @ unit.T)  # of the contrast, on scores along the row space
    tested = _directed_basis(directions / singular[:, None])  # X D C' on the orthonormal columns of left
    rest = np.linalg.svd(tested)[0][:, tested.shape[1] :]
    return Partition(tested=left @ tested, nuisance=left @ rest, dof=dof)


def _decompose(matrix: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Singular vectors and values as far as they exist: (n_obs, rank), (rank,), (rank, p)."""
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    rank = int((singular > RELATIVE_TOLERANCE * singular[0]).sum())
    return left[:, :rank], singular[:rank], right[:rank]


def _directed_basis(columns: Doubles) -> Doubles:
    """Orthonormal basis of the span; a single column keeps its direction."""
    if columns.shape[1] == 1:
        return columns / np.linalg.norm(columns)
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.ascontiguousarray(left[:, singular > RELATIVE_TOLERANCE * singular[0]])
