"""Fixed effects across people: rows weighted by known variances, and how much more people differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from bids_group.model.fitting.least_squares import (
    Estimate,
    fit_known_variances,
    heterogeneity,
    orthonormal_basis,
)
from bids_group.records import Estimator, GroupData, Notice, warn

_BLOCK = 1 << 12

FIXED_EFFECTS = Estimator(
    name="meta",
    title="weighted least squares with known variances",
    node_type="meta",
    needs_variance=True,
    has_residual_variance=False,
    can_be_shuffled=False,
    exactness="as exact as the variances of the maps",
    warning=warn(
        "model",
        "A node of Type meta across people is fixed effects: its standard errors hold no variance "
        "between people, so that p is about these people alone, and far too small for people in general.",
        'Use "Type": "glm" in the node of Level Dataset, unless that is what is asked.',
    ),
)


class KnownVariances:
    """Weighted least squares with the normal distribution as its reference (`fit_known_variances`)."""

    facts = FIXED_EFFECTS

    def prepare(self, data: GroupData) -> Callable[[slice], list[Estimate]]:
        """Fit tiles of effects and variances."""
        basis, maps, variances = orthonormal_basis(data.design), data.stack.data, data.stack.variance
        assert variances is not None
        return lambda tile: fit_known_variances(
            maps[:, tile], variances[:, tile], basis, data.design.contrasts
        )


def tell_heterogeneity(data: GroupData) -> tuple[Notice, ...]:
    """Warn of fixed effects across people, with Cochran's Q and I² (Higgins & Thompson 2002).

    Q = Σ (y − Xβ)²/v on N − rank(X) degrees of freedom, I² = max(0, 1 − dof/Q).
    """
    if not data.estimator.needs_variance or data.estimator.has_residual_variance:
        return ()
    q, dof = _all(data)
    where = dof > 0
    if not where.any():
        return ()
    q, dof = q[where], dof[where]
    share = float((special.chdtrc(dof, q) < 0.05).mean())
    i2 = float(np.median(np.maximum(0.0, 1 - dof / np.maximum(q, np.finfo(np.float64).tiny))))
    sentence = (
        f"Fixed effects across people: Cochran's Q is {np.median(q):.3g} on {np.median(dof):g} "
        f"degrees of freedom in the median, with p < 0.05 at {share:.0%} of the elements; I² is {i2:.0%} "
        "in the median. What people differ in beyond their own variances is in no standard error."
    )
    fix = 'Use "Type": "glm" in the node of Level Dataset to say something about people in general.'
    return (warn("heterogeneity", sentence, fix),)


def _all(data: GroupData) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    values, variances = data.stack.data, data.stack.variance
    assert variances is not None
    basis = orthonormal_basis(data.design)
    parts = [
        heterogeneity(
            np.asarray(values[:, start : start + _BLOCK]), variances[:, start : start + _BLOCK], basis
        )
        for start in range(0, data.elements.n_elements, _BLOCK)
    ]
    return np.concatenate([q for q, _ in parts]), np.concatenate([dof for _, dof in parts])
