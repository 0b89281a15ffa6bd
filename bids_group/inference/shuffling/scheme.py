"""How the rows are shuffled for a contrast: chosen from the design, overridden by request, said in words."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.config import InferenceSpec
from bids_group.errors import DataError
from bids_group.inference.shuffling.partition import Partition, split_design
from bids_group.inference.shuffling.shuffles import Codes, Shuffles, Units
from bids_group.records import Contrast, Design, Notice

_VARIES = 1e-7
_MOST_COUNTED = 20_000
_MOSTLY_TESTED = 0.5
"""Share of a tested direction that shuffling should change; where it changes less, a notice says so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scheme:
    """A contrast's partition and its shuffles. ``groups``: variance group of each row, or None.

    ``notices``: what the shuffles cannot test well.
    """

    partition: Partition
    shuffles: Shuffles
    groups: Codes | None
    shuffling: str
    words: str
    notices: tuple[Notice, ...] = ()

    @property
    def shared(self) -> tuple[Hashable, ...]:
        """What contrasts of the same rows whose shuffle number k is the same have in common."""
        units = self.shuffles.units
        return (
            units.unit_of_row.tobytes(),
            units.cell_of_unit.tobytes(),
            self.shuffles.has_permutations,
            self.shuffles.has_flips,
        )

    @property
    def mean_change(self) -> float:
        """Mean of ‖P x̃ − x̃‖² over all permutations P, beside its largest value 2‖x̃‖².

        The mean of P x̃ is the mean of x̃ over each orbit.
        """
        rest = _within(self.partition.tested, self.shuffles.units.orbits)
        return float((rest**2).sum() / self.partition.q)

    def smallest_p(self, *, is_two_sided: bool) -> float:
        """Share of the shuffles that cannot differ from the unshuffled data, whatever the data are."""
        if not self.shuffles.is_exhaustive or self.shuffles.n_others >= _MOST_COUNTED:
            return 1 / (self.shuffles.n_others + 1)
        batch = self.shuffles.batch(0, self.shuffles.n_others + 1)
        same = np.ones(len(batch.sources), dtype=bool)
        if self.partition.q == 1 and not is_two_sided:
            same &= batch.moved(self.partition.tested)[0] @ self.partition.tested[:, 0] > 0
        for basis in (self.partition.tested, self.partition.nuisance):
            overlap = ((batch.moved(basis) @ basis) ** 2).sum(axis=(0, 2))
            same &= overlap > basis.shape[1] - _VARIES
        return float(same.mean())


def count_families(schemes: Sequence[Scheme], n_together: int) -> float:
    """By how much p counts for contrasts of a model that are judged together, among ``n_together`` of a run.

    Sets of contrasts without shared shuffles divide the model's share of alpha, which is in proportion to
    its contrasts.
    """
    return len({scheme.shared for scheme in schemes}) * n_together / max(len(schemes), 1)


def choose_scheme(
    design: Design,
    contrast: Contrast,
    spec: InferenceSpec,
    *,
    blocks: pd.Series | None,
    variance_groups: pd.Series | None,
) -> Scheme:
    """Decide how the rows are shuffled for one contrast.

    Sign flips where the constant is not in the span of the nuisance part, permutations where it is; with
    variance groups, permutations within them where each group's mean is nuisance, else sign flips. Blocks are
    flipped whole unless within-blocks is asked for. They are permuted whole, or their rows within them,
    whichever changes more of the tested part x̃: the larger mean ‖P x̃ − x̃‖² over the shuffles P.

    Raises
    ------
    DataError
        The blocks or variance groups do not allow these shuffles.
    """
    partition = split_design(design, contrast)
    group_of_row = _codes(variance_groups, design, "variance group")
    if group_of_row is not None and group_of_row.max() == 0:
        group_of_row = None
    kind = spec.shuffle if spec.shuffle != "auto" else _natural_kind(partition, group_of_row)
    build = partial(_build, design, contrast, spec, partition, kind, blocks, variance_groups, group_of_row)
    if blocks is None or spec.block_scheme is not None or kind == "flips":
        return build(is_whole=blocks is not None and spec.block_scheme != "within")
    return _changing_more(build, spec, contrast)


def _build(
    design: Design,
    contrast: Contrast,
    spec: InferenceSpec,
    partition: Partition,
    kind: str,
    blocks: pd.Series | None,
    variance_groups: pd.Series | None,
    group_of_row: Codes | None,
    *,
    is_whole: bool,
) -> Scheme:
    """Shuffle rows, rows within blocks, or whole blocks."""
    block_of_row = _codes(blocks, design, "exchangeability block")
    units = _units(partition.n_obs, block_of_row, group_of_row, contrast, is_whole=is_whole, kind=kind)
    shuffles = Shuffles(
        units=units,
        kinds=_kinds(design),
        has_permutations=kind in ("permutations", "both"),
        has_flips=kind in ("flips", "both"),
        n_requested=spec.n_permutations,
        seed=spec.random_seed,
    )
    if kind == "permutations" and not _varies_within(partition.tested, units.orbits):
        raise _cannot_change(contrast, is_within=block_of_row is not None and not is_whole)
    changed = _least_changed(partition.tested, units.orbits) if kind == "permutations" else 1.0
    if changed <= _VARIES:
        raise _cannot_change_all(contrast, is_within=block_of_row is not None and not is_whole)
    shuffling = {"flips": "sign flips", "both": "permutations and sign flips"}.get(kind, kind)
    return Scheme(
        partition=partition,
        shuffles=shuffles,
        groups=group_of_row,
        shuffling=shuffling,
        words=_in_words(shuffling, shuffles, blocks, variance_groups, is_whole=is_whole),
        notices=() if changed >= _MOSTLY_TESTED else (_changes_little(contrast, changed),),
    )


def _changing_more(build: Callable[..., Scheme], spec: InferenceSpec, contrast: Contrast) -> Scheme:
    """Of rows within blocks and whole blocks take what changes more of the tested part, and say so."""
    allowed: dict[bool, Scheme] = {}
    for is_whole in (False, True):
        try:
            allowed[is_whole] = build(is_whole=is_whole)
        except DataError as error:
            refusal = error
    if len(allowed) < 2:
        if not allowed:
            raise refusal
        return next(iter(allowed.values()))
    is_two_sided = spec.is_two_sided or contrast.test == "F"
    enough = {
        is_whole: scheme
        for is_whole, scheme in allowed.items()
        if scheme.smallest_p(is_two_sided=is_two_sided) <= spec.alpha * (1 + 1e-9)
    }
    changed = {is_whole: scheme.mean_change for is_whole, scheme in allowed.items()}
    is_whole = max(enough or allowed, key=lambda which: (round(changed[which], 9), not which))
    taken = "whole blocks" if is_whole else "rows within blocks"
    shares = f"{changed[True]:.0%} by whole blocks, {changed[False]:.0%} by rows within blocks"
    notice = Notice(
        severity="note",
        topic="shuffling",
        sentence=f"For '{contrast.name}' {taken} are shuffled: of what it tests permutations change on "
        f"average {shares}"
        f"{'' if len(enough) != 1 else ', and only the scheme taken has shuffles enough for alpha'}.",
        fix="--within-blocks or --whole-blocks decide it otherwise.",
    )
    return replace(allowed[is_whole], notices=(notice, *allowed[is_whole].notices))


def _natural_kind(partition: Partition, groups: Codes | None) -> str:
    if groups is None:
        return "permutations" if partition.has_constant_nuisance else "flips"
    indicators = [(groups == group).astype(np.float64) for group in np.unique(groups)]
    return "permutations" if all(map(partition.is_nuisance, indicators)) else "flips"


def _varies_within(columns: npt.NDArray[np.float64], cells: Codes) -> bool:
    """Whether any column differs between rows of the same cell."""
    return bool(np.abs(_within(columns, cells)).max() > _VARIES)


def _least_changed(columns: npt.NDArray[np.float64], orbits: Codes) -> float:
    """Smallest share of any direction of an orthonormal basis that permutations within orbits change."""
    return float(np.linalg.svd(_within(columns, orbits), compute_uv=False)[-1] ** 2)


def _within(columns: npt.NDArray[np.float64], orbits: Codes) -> npt.NDArray[np.float64]:
    """Columns less their means over each orbit, which are those over its permutations."""
    means = np.array([columns[orbits == orbit].mean(axis=0) for orbit in range(int(orbits.max()) + 1)])
    return np.asarray(columns - means[orbits], dtype=np.float64)


def _units(
    n_rows: int, blocks: Codes | None, groups: Codes | None, contrast: Contrast, *, is_whole: bool, kind: str
) -> Units:
    if blocks is None or not is_whole:
        return Units.of_rows(_crossed(n_rows, blocks, groups))
    sizes = np.bincount(blocks)
    if kind != "flips" and np.unique(sizes).size > 1:
        raise DataError(
            f"Whole blocks can only be permuted where they have equal sizes (contrast '{contrast.name}').",
            found=f"blocks of {', '.join(map(str, np.unique(sizes)))} rows",
            expected="blocks with the same number of rows",
            fix="Use --within-blocks, --shuffle flips, or leave out people with missing rows.",
        )
    return Units(unit_of_row=blocks, cell_of_unit=_group_of_block(blocks, groups))


def _group_of_block(blocks: Codes, groups: Codes | None) -> Codes:
    n_blocks = int(blocks.max()) + 1
    if groups is None:
        return np.zeros(n_blocks, dtype=np.intp)
    found = [np.unique(groups[blocks == block]) for block in range(n_blocks)]
    if any(several.size > 1 for several in found):
        raise DataError(
            "Whole blocks cannot be shuffled where a block holds rows of several variance groups.",
            fix="Use --within-blocks, or variance groups that keep each block together.",
        )
    return np.array([one[0] for one in found], dtype=np.intp)


def _crossed(n_rows: int, *codes: Codes | None) -> Codes:
    """Rows that agree in all codes share a number; without codes all rows do."""
    given = [one for one in codes if one is not None]
    if not given:
        return np.zeros(n_rows, dtype=np.intp)
    return np.asarray(np.unique(np.column_stack(given), axis=0, return_inverse=True)[1]).reshape(-1)


def _codes(labels: pd.Series | None, design: Design, what: str) -> Codes | None:
    """Turn labels into numbers from 0, in the order of the design's rows."""
    if labels is None:
        return None
    aligned = labels.reindex(design.matrix.index)
    if aligned.isna().any():
        missing = ", ".join(map(str, aligned.index[aligned.isna()][:5]))
        raise DataError(
            f"The column '{labels.name}' does not give every row its {what}.",
            found=f"no value for {missing}",
            fix="Complete the column, or leave these people out with --exclude-participant-label.",
        )
    return np.asarray(pd.factorize(aligned, sort=True)[0], dtype=np.intp)


def _kinds(design: Design) -> Codes:
    """Rows of the design that are equal have the same number."""
    matrix = design.matrix.to_numpy(dtype=np.float64)
    scale = np.linalg.norm(matrix, axis=0)
    rounded = np.round(matrix / np.where(scale == 0, 1, scale), 10) + 0.0
    return np.asarray(np.unique(rounded, axis=0, return_inverse=True)[1]).reshape(-1)


def _cannot_change(contrast: Contrast, *, is_within: bool) -> DataError:
    where = " within blocks" if is_within else ""
    return DataError(
        f"Permutations cannot test the contrast '{contrast.name}': what it tests does not vary{where}.",
        expected="a contrast that changes when rows are exchanged",
        fix="Use --whole-blocks." if is_within else "Use --shuffle flips (or auto).",
    )


def _cannot_change_all(contrast: Contrast, *, is_within: bool) -> DataError:
    where = " within blocks" if is_within else ""
    return DataError(
        f"Permutations{where} cannot test all of the contrast '{contrast.name}':"
        f" a part of what it tests does not vary{where}.",
        expected="a joint test whose every part changes when rows are exchanged",
        fix="Use --whole-blocks, or contrast only what varies within blocks."
        if is_within
        else "Use --shuffle flips (or auto), or contrast only what varies between the rows exchanged.",
    )


def _changes_little(contrast: Contrast, share: float) -> Notice:
    return Notice(
        severity="warning",
        topic="shuffling",
        sentence=f"Permutations change only {share:.0%} of what the contrast '{contrast.name}' tests: the"
        " rest does not vary between the rows that are exchanged, and the test has little power for it.",
        fix="Use other blocks (--whole-blocks), or contrast what varies within blocks.",
    )


def _in_words(
    shuffling: str,
    shuffles: Shuffles,
    blocks: pd.Series | None,
    groups: pd.Series | None,
    *,
    is_whole: bool,
) -> str:
    units = "rows"
    if blocks is not None:
        units = f"whole blocks of '{blocks.name}'" if is_whole else f"rows within blocks of '{blocks.name}'"
    inside = "" if groups is None else f", never between variance groups of '{groups.name}'"
    if shuffles.is_exhaustive:
        count = f"all {shuffles.n_distinct} distinct ones"
    else:
        count = f"{shuffles.n_others} drawn at random (seed {shuffles.seed}) beside the unshuffled data"
    return f"{shuffling} of {units}{inside}: {count}"
