"""The estimators: what the app must know of each way to fit a group model (done in `model.fitting`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Facts about a way to fit; the defaults are those of ordinary least squares.

    ``name`` as in ``--dry-run``, ``title`` as in sidecars, ``node_type``: Type of a Stats Model's Dataset
    node that asks for it, ``module``: the file of ``model/fitting`` whose ``prepare`` fits it.
    ``needs_variance``: each map's own variance is taken for known. ``has_residual_variance``: a variance is
    estimated from residuals, on N − rank(X) degrees of freedom, so that there are effect sizes and each group
    of rows can have a variance of its own; else the reference is normal. ``can_be_shuffled``: whether its
    tests can be judged by shuffling rows. ``exactness`` is said of tests whose variance is too small for
    float32, ``warning`` (a sentence and what to do) of every analysis.
    """

    name: str
    title: str
    node_type: str
    module: str
    needs_variance: bool = False
    has_residual_variance: bool = True
    can_be_shuffled: bool = True
    exactness: str = "right"
    warning: tuple[str, str] | None = None


LEAST_SQUARES = Estimator(name="ols", title="ordinary least squares", node_type="glm", module="ordinary")

FIXED_EFFECTS = Estimator(
    name="meta",
    title="weighted least squares with known variances",
    node_type="meta",
    module="known_variances",
    needs_variance=True,
    has_residual_variance=False,
    can_be_shuffled=False,
    exactness="as exact as the variances of the maps",
    warning=(
        "A node of Type meta across people is fixed effects: its standard errors hold no variance "
        "between people, so that p is about these people alone, and far too small for people in general.",
        'Use "Type": "glm" in the node of Level Dataset, unless that is what is asked.',
    ),
)

ESTIMATORS = {one.node_type: one for one in (LEAST_SQUARES, FIXED_EFFECTS)}
"""By the Type of a Dataset node; nodes below the group are ``glm`` (means) or ``meta`` (precision)."""
