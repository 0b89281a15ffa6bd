"""What the tests assume about variance groups and blocks: refused, or said, before any map is read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bids_group.config import InferenceSpec
from bids_group.errors import DataError, UsageError
from bids_group.inference.shuffling.partition import split_design
from bids_group.records import Contrast, Design, Estimator, Notice, are_told_apart
from bids_group.words import counted

_NO_DOF = 1e-6
_NO_SHARE = 1e-12


def check_variance_groups(
    design: Design, spec: InferenceSpec, groups: pd.Series | None, estimator: Estimator
) -> tuple[Notice, ...]:
    """Check that each variance group on which a test depends has a variance.

    Raises
    ------
    DataError
        Such a group has one row, or no residual degree of freedom.
    UsageError
        A correction without shuffling is asked for an F test of several rows, which has no dof that hold.
    """
    if groups is None:
        return ()
    aligned = groups.reindex(design.matrix.index)
    why_idle = (
        f"the variances are known (Type: {estimator.node_type})"
        if not estimator.has_residual_variance
        else f"all rows analysed have one value, {aligned.iloc[0]}"
        if aligned.nunique(dropna=False) < 2
        else None
    )
    if why_idle:
        sentence = f"--variance-groups {groups.name} changes nothing: {why_idle}."
        return (Notice(severity="warning", topic="variance", sentence=sentence),)
    for contrast in design.contrasts:
        _check_joint_test(contrast, spec)
        _check_dof(design, contrast, aligned, is_shuffled=spec.needs_shuffling)
    return ()


def _check_joint_test(contrast: Contrast, spec: InferenceSpec) -> None:
    n_rows = len(np.atleast_2d(contrast.weights))
    if n_rows < 2 or not spec.parametric:
        return
    raise UsageError(
        f"With --variance-groups the F test '{contrast.name}' is judged by shuffling only.",
        found=f"--correction {' '.join(spec.parametric)} for an F of {n_rows} rows, for which there are "
        "no degrees of freedom that hold",
        expected="--correction fwe-voxel, fwe-size, fwe-mass or fwe-tfce alone",
        fix="Use one of these (and --permutation-p for uncorrected p), or test each row by itself, as t.",
    )


def _check_dof(design: Design, contrast: Contrast, groups: pd.Series, *, is_shuffled: bool) -> None:
    """Refuse a group of one row or no dof; groups on which nothing depends only where rows are shuffled."""
    split = split_design(design, contrast)
    gaps = 1 - (split.tested**2).sum(axis=1) - (split.nuisance**2).sum(axis=1)
    shares = (split.tested**2).sum(axis=1) / split.q
    for group in groups.unique():
        rows = (groups == group).to_numpy()
        dof, counts = float(gaps[rows].sum()), shares[rows].sum() > _NO_SHARE
        if (counts or is_shuffled) and (rows.sum() < 2 or dof < _NO_DOF):
            n_rows = counted(int(rows.sum()), "row")
            raise DataError(
                f"The variance group '{group}' of '{groups.name}' has no variance that can be estimated, and "
                f"the contrast '{contrast.name}' needs it.",
                found=f"{n_rows}, {dof if dof > _NO_DOF else 0:.3g} residual degrees of freedom",
                expected="at least two rows in each variance group, and more than the model fits there",
                fix="Merge variance groups, leave these rows out, or drop --variance-groups.",
            )


def tell_ignored_blocks(spec: InferenceSpec, blocks: pd.Series | None) -> tuple[Notice, ...]:
    """Say that what is not shuffled takes rows for independent; silent for the rows of a person."""
    if blocks is None or not are_told_apart(blocks):
        return ()
    named = " and ".join(["the maps of t, F, z and p", *spec.parametric])
    return (
        Notice(
            severity="warning" if spec.parametric else "note",
            topic="blocks",
            sentence=f"The blocks of '{blocks.name}' are ignored by {named}: these take all rows for "
            "independent, and their p is too small where rows of a block are alike and what is tested "
            "differs between blocks.",
            fix="Report what is judged by shuffling: --correction fwe-voxel (or fwe-size, fwe-mass, "
            "fwe-tfce), and --permutation-p for uncorrected p.",
        ),
    )
