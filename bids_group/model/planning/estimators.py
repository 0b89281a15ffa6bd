"""Which estimator a Dataset node is fitted by, and what it needs of the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from bids_group.config import AnalysisSpec
from bids_group.config.estimators import (
    ESTIMATORS,
    LEAST_SQUARES,
    MIXED,
    NODE_ESTIMATORS,
    SANDWICH,
    WEIGHTED,
    Estimator,
)
from bids_group.config.stats_model import Node, split_random
from bids_group.errors import DataError, UsageError
from bids_group.records import GroupAnalysis
from bids_group.words import list_some


def choose_estimator(node: Node, spec: AnalysisSpec) -> Estimator:
    """Choose the estimator: of a node of type glm ``mixed`` where it has a random term, else as asked.

    Raises
    ------
    UsageError
        The estimator, the random term, or the Type of the node contradict each other.
    """
    random = (*node.random_terms, *split_random(node.formula or "")[1])
    estimator = NODE_ESTIMATORS[node.type]
    if estimator != LEAST_SQUARES:
        if random or spec.estimator != "auto":
            raise UsageError(
                f"The node {node.name!r} is of Type {node.type}, which is an estimator by itself.",
                found=f"the random term {random[0]}" if random else f"--estimator {spec.estimator} beside it",
                fix='Use "Type": "glm".',
            )
        return estimator
    by_default = MIXED if random else LEAST_SQUARES
    estimator = by_default if spec.estimator == "auto" else ESTIMATORS[spec.estimator]
    if random and estimator != MIXED:
        fixed = split_random(node.formula or "")[0] if node.formula else "the formula"
        raise UsageError(
            f"A random term belongs to a mixed model, not to --estimator {estimator.name}.",
            found=list_some(random),
            fix=f'Leave out --estimator, or the random term (--formula "{fixed}").',
        )
    if estimator == MIXED and not random:
        raise UsageError(
            "A mixed model needs a random term in the formula.",
            found=f"--estimator {estimator.name} with the formula {node.formula or 'of X'}",
            fix=f'Write --formula "{node.formula or "~ 1"} + (1 | subject)".',
        )
    variant = estimator.variant
    for flag, value, owner, way in (
        ("--dof", spec.dof, MIXED, "add '+ (1 | subject)' to the formula"),
        ("--sandwich", spec.sandwich, SANDWICH, f"add --estimator {SANDWICH.name}"),
    ):
        if value is not None and estimator != owner:
            raise UsageError(
                f"{flag} belongs to the estimator {owner.name}, and this is {estimator.name}.",
                found=f"{flag} {value}",
                fix=f"Leave it out, or {way}.",
            )
        variant = value or variant
    return replace(estimator, variant=variant)


def check_variances(analysis: GroupAnalysis, spec: AnalysisSpec) -> None:
    """Refuse rows that known variances cannot be used for.

    Raises
    ------
    UsageError, DataError
        Effects are to be smoothed; a map has no variance, or a person several rows.
    """
    estimator, rows = analysis.estimator, analysis.observations
    if not estimator.needs_variance:
        return
    who, instead = f"--estimator {estimator.name}", "--estimator ols"
    if estimator.name not in ESTIMATORS:
        who, instead = f"A node of Type {estimator.node_type}", "Type glm"
    if spec.smoothing_fwhm_mm > 0:
        raise UsageError(
            f"{who} cannot be combined with smoothing.",
            found=f"--smoothing-fwhm {spec.smoothing_fwhm_mm:g}",
            expected="0: the variance maps do not describe smoothed effects",
            fix=f"Smooth before the first level, or use {instead}.",
        )
    lacking = [one.label for one in rows if any(each.variance is None for each in one.maps)]
    if lacking:
        raise DataError(
            f"{who} needs the variance of every map.",
            found=f"no variance for {list_some(lacking)}",
            expected="a variance map (stat-variance) beside every effect map",
            fix="Give the variances of the first level (FSL: varcope), leave these people out, or use "
            f"{instead}.",
        )
    several = [person for person, n in Counter(one.subject for one in rows).items() if n > 1]
    if several and estimator == WEIGHTED:
        raise DataError(
            "--estimator weighted takes one row per person.",
            found=f"several rows of {list_some([f'sub-{one}' for one in several])}",
            fix="Pool sessions (leave out --pooling none), or use --estimator sandwich or a random term.",
        )
