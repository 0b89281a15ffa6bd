"""What can be said before any map is read: refusals, and how rows will be shuffled, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
import pandas as pd

from bids_group.config import CORRECTIONS, InferenceSpec
from bids_group.config.estimators import ESTIMATORS
from bids_group.elements import Elements
from bids_group.errors import DataError, UsageError
from bids_group.inference.shuffling.partition import partition
from bids_group.inference.shuffling.scheme import Scheme, choose_scheme, count_families
from bids_group.records import LEAST_SQUARES, Contrast, Design, Estimator, Notice, are_told_apart, note, warn
from bids_group.robust_variance import has_weights
from bids_group.row_space import NO_DOF, NO_SHARE
from bids_group.words import counted, plural

_FEW_DOF = 2


def check_inference(
    design: Design,
    spec: InferenceSpec,
    *,
    blocks: pd.Series | None = None,
    variance_groups: pd.Series | None = None,
    subjects: pd.Series | None = None,
    estimator: Estimator = LEAST_SQUARES,
    n_contrasts: int | None = None,
    is_complete: bool = True,
) -> tuple[tuple[Notice, ...], tuple[Scheme, ...]]:
    """Check a request against a design, and say for each contrast how rows will be shuffled.

    Parameters
    ----------
    blocks, variance_groups
        Label of each row of the design (index = observation labels), or None.
    subjects
        Whose row each is, or None where every row is another person.
    estimator
        Of the model; not every one can be shuffled.
    n_contrasts
        Contrasts of the whole run, those of the design unless given.
    is_complete
        Whether every row is observed at every element.

    Returns
    -------
    Notices, and the scheme of each contrast; none where nothing is shuffled.

    Raises
    ------
    UsageError
        The request contradicts itself, or asks for too few shuffles.
    DataError
        The design, blocks or variance groups do not allow the shuffles.
    """
    _check_people(variance_groups, subjects)
    if estimator.has_clusters:
        _check_people(blocks, subjects)
    _check_evidence(design, spec, variance_groups, estimator)
    notices = [
        *_tell(design, spec, blocks, estimator),
        *_check_variance_groups(design, spec, variance_groups, estimator),
    ]
    if not spec.needs_shuffling:
        return tuple(notices), ()
    _check_people(blocks, subjects)
    _check_request(spec, estimator, variance_groups, is_complete=is_complete)
    schemes = []
    for contrast in design.contrasts:
        scheme = choose_scheme(
            design,
            contrast,
            spec,
            blocks=blocks,
            variance_groups=variance_groups,
            estimator=estimator,
            is_complete=is_complete,
        )
        _check_enough(scheme, contrast, spec)
        schemes.append(scheme)
    if spec.familywise == "across-contrasts" and spec.is_judged_by_shuffling:
        _check_families(schemes, spec, max(n_contrasts or 1, len(schemes)))
    for contrast, scheme in zip(design.contrasts, schemes, strict=True):
        notices.append(note("shuffling", f"The contrast '{contrast.name}' is judged by {scheme.words}."))
        notices += scheme.notices
        dof = scheme.partition.dof
        if dof <= _FEW_DOF:  # statistics crowd at the end of their scale
            sentence = (
                f"With {dof} residual {plural(dof, 'degree')} of freedom, single precision does not tell "
                f"strong statistics of '{contrast.name}' apart: they count as ties, and p may be too large."
            )
            notices.append(warn("shuffling", sentence, "Include more people, or fit fewer regressors."))
    return tuple(notices), tuple(schemes)


def _tell(
    design: Design, spec: InferenceSpec, blocks: pd.Series | None, estimator: Estimator
) -> Iterator[Notice]:
    """Say what the request does not apply to, and what takes rows for independent that are not."""
    joint = [f"'{contrast.name}'" for contrast in design.contrasts if contrast.test == "F"]
    if joint and not spec.is_two_sided:
        sentence = f"An F test has no direction: --one-sided does not apply to {', '.join(joint)}."
        yield warn("sides", sentence, "Ask for a t contrast where a direction is meant.")
    unknown = [one.name for one in design.contrasts if one.test == "F" or one.slope_sd is None]
    if unknown and spec.has_bayes_factor:
        yield warn(
            "evidence",
            f"No Bayes factor of {', '.join(unknown)}: it is for one effect (t) in units of the maps, or per "
            "standard deviation of one covariate.",
            "Contrast means, or slopes of one covariate.",
        )
    alone = [one.name for one in CORRECTIONS.values() if one in spec.rules and not one.is_familywise]
    if alone and spec.familywise == "across-contrasts":
        yield note(
            "family",
            f"{' and '.join(alone)}: each contrast is judged alone, as no family-wise error is"
            " controlled; --familywise across-contrasts is about bonferroni, ari and the fwe- corrections.",
        )
    if estimator.warning is not None:
        yield warn("model", *estimator.warning)
    if blocks is None or not are_told_apart(blocks) or estimator.has_clusters:
        return
    if estimator.why_not_shuffled is not None:
        sentence = (
            f"--exchangeability-blocks {blocks.name} changes nothing with {_who(estimator)}, which is not "
            "shuffled: rows of a block are taken for no more alike than the model says."
        )
        yield warn("blocks", sentence, f"Leave it out, or use {estimator.why_not_shuffled[1]}.")
        return
    tell, named = warn if spec.parametric else note, ["the maps of t, F, z and p", *spec.parametric]
    yield tell(
        "blocks",
        f"The blocks of '{blocks.name}' are ignored by {' and '.join(named)}: these take all rows for "
        "independent, and their p is too small where rows of a block are alike and what is tested "
        "differs between blocks.",
        "Report what is judged by shuffling: --correction fwe-voxel (or fwe-size, fwe-mass, "
        "fwe-tfce), and --permutation-p for uncorrected p.",
    )


def _check_evidence(
    design: Design, spec: InferenceSpec, variance_groups: pd.Series | None, estimator: Estimator
) -> None:
    """Refuse tests of equivalence and Bayes factors of what they do not know, and what cannot judge them."""
    named = [one for one in design.contrasts if one.bounds is not None]
    what = f"The test of equivalence '{named[0].name}'" if named else "--bayes-factor"
    if not named and not spec.has_bayes_factor:
        return
    has_groups = variance_groups is not None and len(set(variance_groups)) > 1
    if estimator != LEAST_SQUARES or has_groups:
        raise UsageError(
            f"{what} is for ordinary least squares with one residual variance.",
            found=f"--variance-groups {variance_groups.name}"
            if has_groups and variance_groups is not None and estimator == LEAST_SQUARES
            else _who(estimator),
            expected=f"--estimator {LEAST_SQUARES.name}, without --variance-groups",
            fix="Do these in two runs.",
        )
    if named and spec.shuffled:
        raise UsageError(
            f"{what} cannot be judged by shuffling: a shuffle makes data without an effect, and this null is "
            "an effect at a bound.",
            found=", ".join(spec.shuffled),
            expected="--correction fdr, bonferroni, ari or none",
            fix="Test it in a run of its own, --correction fdr bonferroni.",
        )


def _check_enough(scheme: Scheme, contrast: Contrast, spec: InferenceSpec) -> None:
    """Refuse where no result could ever be significant."""
    smallest = scheme.smallest_p(is_two_sided=spec.is_two_sided or contrast.test == "F")
    if spec.is_judged_by_shuffling and smallest > spec.alpha * (1 + 1e-9):
        raise DataError(
            f"There are too few ways to shuffle the rows for the contrast '{contrast.name}'.",
            found=f"{scheme.words}; the smallest possible p is {smallest:.3g}",
            expected=f"a smallest possible p of at most alpha = {spec.alpha:g}",
            fix="Include more people, or use a correction without shuffling (fdr, bonferroni, ari).",
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


def _check_request(
    spec: InferenceSpec, estimator: Estimator, variance_groups: pd.Series | None, *, is_complete: bool
) -> None:
    """Refuse too few shuffles for alpha, and those that the estimator or missing people do not allow."""
    if spec.is_judged_by_shuffling and 1 / (spec.n_permutations + 1) > spec.alpha:
        raise UsageError(
            "There are too few permutations for this alpha.",
            found=f"--n-permutations {spec.n_permutations}",
            expected=f"at least {ceil(1 / spec.alpha) - 1} for alpha = {spec.alpha:g}",
        )
    if estimator.why_not_shuffled is not None:
        why, instead = estimator.why_not_shuffled
        raise UsageError(
            f"Shuffling is not available for {_who(estimator)}{f': {why}' if why else ''}.",
            found=", ".join(spec.shuffled),
            fix=f"Use {instead}, or fdr, bonferroni, ari.",
        )
    if estimator.has_clusters:
        _check_bootstrap(spec, estimator)
    if estimator.needs_variance and spec.shuffle not in ("auto", "flips"):
        raise UsageError(
            f"Weighted rows cannot change places: --shuffle {spec.shuffle} with {_who(estimator)}.",
            expected="sign flips",
            fix="Leave out --shuffle, or use --estimator ols.",
        )
    has_groups = variance_groups is not None and len(set(variance_groups)) > 1
    if not is_complete and has_groups and estimator.has_one_variance:
        raise UsageError(
            "Shuffling with --variance-groups needs every participant at every element.",
            found=f"--min-coverage below 1 with {', '.join(spec.shuffled)}",
            fix="Leave --min-coverage at 1, leave out --variance-groups, or use fdr or bonferroni.",
        )


def _check_bootstrap(spec: InferenceSpec, estimator: Estimator) -> None:
    """Refuse what the wild cluster bootstrap, which gives whole clusters signs, cannot do."""
    told = None
    if spec.block_scheme == "within":
        told = "--within-blocks", "Leave it out, or use --estimator ols."
    elif spec.shuffle in ("permutations", "both"):
        told = f"--shuffle {spec.shuffle}", "Leave it out, or use --estimator ols."
    elif not has_weights(estimator.variant):
        same = "the same where nobody missed a visit of a formula of group by visit"
        told = f"--sandwich {estimator.variant}", f"Use --sandwich CR2 ({same}), or fdr, bonferroni, ari."
    if told is not None:
        raise UsageError(
            "The sandwich is judged by the wild cluster bootstrap: whole clusters of residuals change sign.",
            found=told[0],
            expected="--sandwich CR0, CR1, CR2 or CR3, signs of whole clusters",
            fix=told[1],
        )


def _who(estimator: Estimator) -> str:
    is_option = estimator.name in ESTIMATORS
    return f"--estimator {estimator.name}" if is_option else f"a weighted model (Type: {estimator.node_type})"


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


def _check_variance_groups(
    design: Design, spec: InferenceSpec, groups: pd.Series | None, estimator: Estimator
) -> tuple[Notice, ...]:
    """Check that each variance group on which a test depends has a variance, and that the test has dof."""
    if groups is None:
        return ()
    aligned, why_idle = groups.reindex(design.matrix.index), None
    if not estimator.has_one_variance:
        is_option = estimator.name in ESTIMATORS
        why_idle = estimator.name if is_option else f"the variances are known (Type: {estimator.node_type})"
        if estimator.has_clusters:
            if not has_weights(estimator.variant):
                return ()
            why_idle = "by the sandwich each cluster has a variance of its own"
    elif aligned.nunique(dropna=False) < 2:
        why_idle = f"all rows analysed have one value, {aligned.iloc[0]}"
    if why_idle:
        return (warn("variance", f"--variance-groups {groups.name} changes nothing: {why_idle}."),)
    for contrast in design.contrasts:
        n_rows = len(np.atleast_2d(contrast.weights))
        if n_rows > 1 and spec.parametric:
            raise UsageError(
                f"With --variance-groups the F test '{contrast.name}' is judged by shuffling only.",
                found=f"--correction {' '.join(spec.parametric)} for an F of {n_rows} rows, for which there "
                "are no degrees of freedom that hold",
                expected="--correction fwe-voxel, fwe-size, fwe-mass or fwe-tfce alone",
                fix="Use one of these (and --permutation-p for uncorrected p), or test each row by itself, "
                "as t.",
            )
        _check_dof(design, contrast, aligned, is_shuffled=spec.needs_shuffling)
    return ()


def _check_dof(design: Design, contrast: Contrast, groups: pd.Series, *, is_shuffled: bool) -> None:
    """Refuse a group of one row or no dof; groups on which nothing depends only where rows are shuffled."""
    split = partition(design.matrix, contrast.weights, name=contrast.name)
    gaps = 1 - (split.tested**2).sum(axis=1) - (split.nuisance**2).sum(axis=1)
    shares = (split.tested**2).sum(axis=1) / split.q
    for group in groups.unique():
        rows = (groups == group).to_numpy()
        dof, counts = float(gaps[rows].sum()), shares[rows].sum() > NO_SHARE
        if (counts or is_shuffled) and (rows.sum() < 2 or dof < NO_DOF):
            n_rows = counted(int(rows.sum()), "row")
            raise DataError(
                f"The variance group '{group}' of '{groups.name}' has no variance that can be estimated, and "
                f"the contrast '{contrast.name}' needs it.",
                found=f"{n_rows}, {dof if dof > NO_DOF else 0:.3g} residual degrees of freedom",
                expected="at least two rows in each variance group, and more than the model fits there",
                fix="Merge variance groups, leave these rows out, or drop --variance-groups.",
            )


def check_geometry(elements: Elements, spec: InferenceSpec) -> tuple[Notice, ...]:
    """Say so where clusters cannot extend in all three dimensions."""
    extents = [np.ptp(axis) + 1 if axis.size else 0 for axis in elements.mask.nonzero()]
    thin = [axis for axis, extent in zip("xyz", extents, strict=True) if extent == 1]
    if not thin or not any(one.is_clusterwise for one in spec.rules):
        return ()
    words = {1: "clusters are flat", 2: "clusters are runs along a line", 3: "a cluster is one element"}
    sentence = f"The mask is one voxel thick along {' and '.join(thin)}: {words[len(thin)]}."
    return (warn("clusters", sentence, "Check the mask; use fwe-voxel where clusters have no meaning."),)
