"""What the rest of the app must know of a way to fit a group model; how it fits is in ``model.fitting``."""

from __future__ import annotations

from dataclasses import dataclass

from bids_group.records.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Facts about an estimator; the defaults are those of ordinary least squares.

    ``name`` as in ``--dry-run``, ``title`` as in sidecars, ``node_type``: Type of a Stats Model's node that
    asks for it. ``needs_variance``: each map's own variance is taken for known. ``has_residual_variance``:
    a variance is estimated from residuals, on N − rank(X) degrees of freedom, so that there are effect sizes
    and each group of rows can have a variance of its own; else the reference is normal. ``can_be_shuffled``:
    whether its tests can be judged by shuffling rows. ``exactness`` is said of tests whose variance is too
    small for float32, ``warning`` of every analysis.
    """

    name: str = "ols"
    title: str = "ordinary least squares"
    node_type: str = "glm"
    needs_variance: bool = False
    has_residual_variance: bool = True
    can_be_shuffled: bool = True
    exactness: str = "right"
    warning: Notice | None = None


LEAST_SQUARES = Estimator()
