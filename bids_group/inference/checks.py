"""What can be said before any map is read: refusals, and how rows will be shuffled, in words."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import pandas as pd

from bids_group.config import CORRECTIONS, InferenceSpec
from bids_group.elements import Elements
from bids_group.errors import DataError, UsageError
from bids_group.inference.assumptions import (
    check_variance_groups,
    tell_ignored_blocks,
)
from bids_group.inference.shuffling.scheme import Scheme, choose_scheme, count_families
from bids_group.records import LEAST_SQUARES, Contrast, Design, Estimator, Notice
from bids_group.words import plural

_FEW_DOF = 2


def check_inference(
    design: Design,
    spec: InferenceSpec,
    *,
    is_complete: bool = True,
    blocks: pd.Series | None = None,
    variance_groups: pd.Series | None = None,
    subjects: pd.Series | None = None,
    estimator: Estimator = LEAST_SQUARES,
    n_contrasts: int | None = None,
) -> tuple[Notice, ...]:
    """Check a request against a design, and say for each contrast how rows will be shuffled.

    Parameters
    ----------
    is_complete
        Whether every row is to be observed at every element (coverage 1).
    blocks, variance_groups
        Label of each row of the design (index = observation labels), or None.
    subjects
        Whose row each is, or None where every row is another person.
    estimator
        Of the model; not every one can be shuffled.
    n_contrasts
        Contrasts of the whole run, those of the design unless given.

    Raises
    ------
    UsageError
        The request contradicts itself, or asks for too few shuffles.
    DataError
        The design, blocks or variance groups do not allow the shuffles.
    """
    _check_people(variance_groups, subjects)
    notices = (
        *_sides(design, spec),
        *_family(spec),
        *([] if estimator.warning is None else [estimator.warning]),
        *tell_ignored_blocks(spec, blocks),
        *check_variance_groups(design, spec, variance_groups, estimator),
    )
    if not spec.needs_shuffling:
        return notices
    _check_people(blocks, subjects)
    _check_request(spec, is_complete=is_complete, estimator=estimator)
    from bids_group.inference.shuffling.statistic import build_statistic

    schemes = [
        checked_scheme(design, contrast, spec, blocks=blocks, variance_groups=variance_groups)
        for contrast in design.contrasts
    ]
    for contrast, scheme in zip(design.contrasts, schemes, strict=True):
        build_statistic(scheme, contrast.test, is_two_sided=spec.is_two_sided)  # each group has a variance
    if spec.familywise == "across-contrasts" and spec.is_judged_by_shuffling:
        _check_families(schemes, spec, max(n_contrasts or 1, len(schemes)))
    for contrast, scheme in zip(design.contrasts, schemes, strict=True):
        sentence = f"The contrast '{contrast.name}' is judged by {scheme.words}."
        notices += (Notice(severity="note", topic="shuffling", sentence=sentence), *scheme.notices)
        notices += _precision(contrast, scheme)
    return notices


def checked_scheme(
    design: Design,
    contrast: Contrast,
    spec: InferenceSpec,
    *,
    blocks: pd.Series | None,
    variance_groups: pd.Series | None,
) -> Scheme:
    """Choose how rows are shuffled; refuse where no result could ever be significant."""
    scheme = choose_scheme(design, contrast, spec, blocks=blocks, variance_groups=variance_groups)
    is_two_sided = spec.is_two_sided or contrast.test == "F"
    smallest = scheme.smallest_p(is_two_sided=is_two_sided)
    if spec.is_judged_by_shuffling and smallest > spec.alpha * (1 + 1e-9):
        raise DataError(
            f"There are too few ways to shuffle the rows for the contrast '{contrast.name}'.",
            found=f"{scheme.words}; the smallest possible p is {smallest:.3g}",
            expected=f"a smallest possible p of at most alpha = {spec.alpha:g}",
            fix="Include more people, or use a correction without shuffling (fdr, bonferroni, ari).",
        )
    return scheme


def _precision(contrast: Contrast, scheme: Scheme) -> tuple[Notice, ...]:
    """Say so where so few degrees of freedom are left that statistics crowd at the end of their scale."""
    dof = scheme.partition.dof
    if dof > _FEW_DOF:
        return ()
    return (
        Notice(
            severity="warning",
            topic="shuffling",
            sentence=f"With {dof} residual {plural(dof, 'degree')} of freedom, single precision"
            f" does not tell strong statistics of '{contrast.name}' apart: they count as ties,"
            " and p may be too large.",
            fix="Include more people, or fit fewer regressors.",
        ),
    )


def _check_families(schemes: Sequence[Scheme], spec: InferenceSpec, n_together: int) -> None:
    """Refuse where contrasts that are judged together leave none enough shuffles for its share of alpha."""
    n_families = count_families(schemes, n_together)
    for scheme in schemes:
        smallest = n_families / (scheme.shuffles.n_others + 1)
        more = "Include more people" if scheme.shuffles.is_exhaustive else "Do more permutations"
        if smallest > spec.alpha * (1 + 1e-9):
            raise DataError(
                "There are too few shuffles for contrasts that are judged together.",
                found=f"{scheme.words}; p counts {n_families:g} times, so the smallest is {smallest:.3g}",
                expected=f"a smallest possible p of at most alpha = {spec.alpha:g}",
                fix=f"{more}, or judge each contrast alone: --familywise within-contrast.",
            )


def check_geometry(elements: Elements, spec: InferenceSpec) -> tuple[Notice, ...]:
    """Say so where clusters cannot extend in all three dimensions."""
    if not any(one.is_clusterwise for one in spec.rules):
        return ()
    thin = [axis for axis, size in zip("xyz", _extent(elements), strict=True) if size == 1]
    if not thin:
        return ()
    words = {1: "clusters are flat", 2: "clusters are runs along a line", 3: "a cluster is one element"}
    return (
        Notice(
            severity="warning",
            topic="clusters",
            sentence=f"The mask is one voxel thick along {' and '.join(thin)}: {words[len(thin)]}.",
            fix="Check the mask; use fwe-voxel where clusters have no meaning.",
        ),
    )


def _extent(elements: Elements) -> tuple[int, ...]:
    where = elements.mask.nonzero()
    return tuple(int(axis.max() - axis.min() + 1) if axis.size else 0 for axis in where)


def _sides(design: Design, spec: InferenceSpec) -> tuple[Notice, ...]:
    names = [contrast.name for contrast in design.contrasts if contrast.test == "F"]
    if spec.is_two_sided or not names:
        return ()
    listed = ", ".join(f"'{name}'" for name in names)
    return (
        Notice(
            severity="warning",
            topic="sides",
            sentence=f"An F test has no direction: --one-sided does not apply to {listed}.",
            fix="Ask for a t contrast where a direction is meant.",
        ),
    )


def _family(spec: InferenceSpec) -> tuple[Notice, ...]:
    names = [name for name in CORRECTIONS if name in spec.corrections and not CORRECTIONS[name].is_familywise]
    if spec.familywise != "across-contrasts" or not names:
        return ()
    return (
        Notice(
            severity="note",
            topic="family",
            sentence=f"{' and '.join(names)}: each contrast is judged alone, as no family-wise error is"
            " controlled; --familywise across-contrasts is about bonferroni, ari and the fwe- corrections.",
        ),
    )


def _check_request(spec: InferenceSpec, *, is_complete: bool, estimator: Estimator) -> None:
    if spec.is_judged_by_shuffling and 1 / (spec.n_permutations + 1) > spec.alpha:
        raise UsageError(
            "There are too few permutations for this alpha.",
            found=f"--n-permutations {spec.n_permutations}",
            expected=f"at least {ceil(1 / spec.alpha) - 1} for alpha = {spec.alpha:g}",
        )
    if not is_complete:
        raise UsageError(
            "Shuffling needs everybody at every element.",
            found=f"--min-coverage below 1 with {', '.join(spec.shuffled)}",
            fix="Use --min-coverage 1, or corrections without shuffling (fdr, bonferroni, ari).",
        )
    if not estimator.can_be_shuffled:
        raise UsageError(
            f"Shuffling is not available for a weighted model (Type: {estimator.node_type}).",
            found=", ".join(spec.shuffled),
            fix="Use Type: glm in the model's last node, or fdr, bonferroni, ari.",
        )


def _check_people(labels: pd.Series | None, subjects: pd.Series | None) -> None:
    """Rows of one person may not carry different labels: they are not independent of each other."""
    if labels is None or subjects is None:
        return
    n_labels = labels.groupby(subjects.reindex(labels.index), observed=True).nunique()
    split = [f"sub-{person}" for person in n_labels.index[n_labels > 1]]
    if split:
        raise DataError(
            f"The column '{labels.name}' divides the rows of one person.",
            found=f"several values for {', '.join(split[:5])}",
            expected="all rows of a person in one block or variance group",
            fix="Use a column that is constant within each person.",
        )
