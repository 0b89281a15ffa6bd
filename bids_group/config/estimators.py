"""The estimators: what the app must know of each way to fit a group model (done in `model.fitting`)."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_LEVELS = 6
"""With fewer groups the variance between them cannot be estimated, in a design or at an element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Facts about a way to fit; the defaults are those of ordinary least squares.

    ``name`` as in ``--estimator`` and ``--dry-run``, ``title`` as in sidecars, ``node_type``: Type of a Stats
    Model's Dataset node that it belongs to, ``module``: the file of ``model/fitting`` whose ``prepare`` fits
    it, ``variant``: how its variance or its degrees of freedom are made, where there is a choice.
    ``needs_variance``: each map's own variance is taken for known. ``has_residual_variance``: a variance is
    estimated from residuals, on N − rank(X) degrees of freedom; else the reference is normal.
    ``has_one_variance``: it is that of all rows (or of each variance group), so effect sizes are in units
    of its root. ``has_own_dof``: each contrast has degrees of freedom of its own at each element, which
    are written. ``compares_people``: people may have several rows and still be compared with each other.
    ``has_clusters``: blocks (else people) are clusters of rows, each with a variance of its own, and
    shuffling is their wild bootstrap. ``why_not_shuffled``: why its tests cannot be judged by shuffling rows
    (may be empty), and what to use instead; None where they can. ``exactness`` is said of tests whose
    variance is too small for float32, ``warning`` (a sentence and what to do) of every analysis. ``assumes``
    completes "It assumes …".
    """

    name: str
    title: str
    node_type: str
    module: str
    variant: str = ""
    needs_variance: bool = False
    has_residual_variance: bool = True
    has_one_variance: bool = True
    has_own_dof: bool = False
    compares_people: bool = False
    has_clusters: bool = False
    why_not_shuffled: tuple[str, str] | None = None
    exactness: str = "right"
    warning: tuple[str, str] | None = None
    assumes: str = "that rows are independent and have one variance"


LEAST_SQUARES = Estimator(name="ols", title="ordinary least squares", node_type="glm", module="ordinary")

MIXED = Estimator(
    name="mixed",
    title="mixed",
    node_type="glm",
    module="mixed",
    variant="satterthwaite",
    has_one_variance=False,
    has_own_dof=True,
    compares_people=True,
    why_not_shuffled=(
        "fitting it anew 10,000 times takes hours",
        "--estimator sandwich without the random term",
    ),
    assumes="that rows are alike as the random terms say, and that rows are missing at random",
)

SANDWICH = Estimator(
    name="sandwich",
    title="sandwich",
    node_type="glm",
    module="sandwich",
    variant="CR2",
    has_one_variance=False,
    has_own_dof=True,
    compares_people=True,
    has_clusters=True,
    assumes="that clusters of rows are independent, and that rows are missing completely at random",
)

WEIGHTED = Estimator(
    name="weighted",
    title="weighted",
    node_type="glm",
    module="known_variances",
    needs_variance=True,
    has_one_variance=False,
    exactness="as exact as the variances of the maps",
    assumes="that the variances of the first level are right, and that people differ by one variance more",
)

FIXED_EFFECTS = Estimator(
    name="meta",
    title="weighted least squares with known variances",
    node_type="meta",
    module="known_variances",
    needs_variance=True,
    has_residual_variance=False,
    has_one_variance=False,
    why_not_shuffled=("", "Type: glm in the last node of the model"),
    exactness="as exact as the variances of the maps",
    assumes="that nothing varies between people but by the variances of their maps",
    warning=(
        "A node of Type meta across people is fixed effects: its standard errors hold no variance "
        "between people, so that p is about these people alone, and far too small for people in general.",
        'Use "Type": "glm" in the node of Level Dataset, unless that is what is asked.',
    ),
)

ESTIMATORS = {one.name: one for one in (LEAST_SQUARES, MIXED, SANDWICH, WEIGHTED)}
"""By the name in ``--estimator``."""

NODE_ESTIMATORS = {one.node_type: one for one in (LEAST_SQUARES, FIXED_EFFECTS)}
"""By the Type of a Dataset node; nodes below the group are ``glm`` (means) or ``meta`` (precision)."""
