"""How the rows are shuffled for a contrast: chosen from the design, overridden by request, said in words."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bids_group.config import InferenceSpec
from bids_group.errors import DataError
from bids_group.inference.shuffling.partition import Codes, Doubles, Partition, partition
from bids_group.inference.shuffling.shuffles import Shuffles, Units
from bids_group.records import (
    LEAST_SQUARES,
    Contrast,
    Design,
    Estimator,
    Notice,
    note,
    number_clusters,
    warn,
)
from bids_group.words import counted

_VARIES = 1e-7
_MOST_COUNTED = 20_000
_MOSTLY_TESTED = 0.5
"""Share of a tested direction that shuffling should change; where it changes less, a notice says so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scheme:
    """A contrast's partition and its shuffles. ``groups``: variance group of each row, or None.

    ``variant``: how the sandwich adjusts the residuals of units, which are its clusters; None for other
    statistics. ``is_weighted``: rows are weighted by known variances and by one between people.
    ``notices``: what the shuffles cannot test well.
    """

    partition: Partition
    shuffles: Shuffles
    groups: Codes | None
    shuffling: str
    words: str
    notices: tuple[Notice, ...] = ()
    variant: str | None = None
    is_weighted: bool = False

    @property
    def n_arrays(self) -> int:
        """How many arrays of the maps' shape are shuffled: with weights one for each direction."""
        both = self.partition.tested.shape[1] + self.partition.nuisance.shape[1]
        return both if self.is_weighted else 1

    @property
    def shared(self) -> tuple[Hashable, ...]:
        """What contrasts of the same rows whose shuffle number k is the same have in common."""
        units, shuffles = self.shuffles.units, self.shuffles
        codes = units.unit_of_row.tobytes(), units.cell_of_unit.tobytes()
        return (*codes, shuffles.has_permutations, shuffles.has_flips)

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

    def is_enough(self, spec: InferenceSpec, contrast: Contrast) -> bool:
        """Whether the smallest possible p is at most alpha."""
        is_two_sided = spec.is_two_sided or contrast.test == "F"
        return self.smallest_p(is_two_sided=is_two_sided) <= spec.alpha * (1 + 1e-9)


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
    blocks: pd.Series | None = None,
    variance_groups: pd.Series | None = None,
    estimator: Estimator = LEAST_SQUARES,
    is_complete: bool = True,
) -> Scheme:
    """Decide how the rows are shuffled for one contrast.

    Rows that are equal in the design need not change places, but where not everybody is observed at every
    element (``is_complete`` false), as others then take their place differently.

    The sandwich is judged by the wild bootstrap: signs of its clusters, the blocks, or rows without these.
    Weighted rows change signs alone, as their weights stay theirs.
    Sign flips where the constant is not in the span of the nuisance part, permutations where it is; with
    variance groups, permutations within them where each group's mean is nuisance, else sign flips. Blocks are
    flipped whole unless within-blocks is asked for. They are permuted whole, or their rows within them,
    whichever changes more of the tested part x̃: the larger mean ‖P x̃ − x̃‖² over the shuffles P.
    """
    split = partition(design.matrix, contrast.weights, name=contrast.name)
    if estimator.has_clusters:
        return _wild_bootstrap(design, split, spec, blocks, estimator.variant)
    is_weighted = estimator.needs_variance
    variance_groups = None if is_weighted else variance_groups
    groups = _codes(variance_groups, design, "variance group")
    if groups is not None and groups.max() == 0:
        groups = None
    kind = _natural_kind(split, groups) if spec.shuffle == "auto" else spec.shuffle
    kind = "flips" if is_weighted else kind
    named = _KINDS[kind]
    if is_weighted and split.nuisance.shape[1]:
        named = "sign flips of weighted residuals (approximate)"
    block_of_row = _codes(blocks, design, "exchangeability block")
    kinds = _equal_rows(design) if is_complete else np.arange(split.n_obs)

    def build(is_whole: bool) -> Scheme:
        """Shuffle rows, rows within blocks, or whole blocks."""
        if is_whole and block_of_row is not None:
            units = _whole_blocks(contrast, block_of_row, groups, kind)
        else:
            cells = _crossed(split.n_obs, block_of_row, groups)
            units = Units(unit_of_row=np.arange(split.n_obs), cell_of_unit=cells)
        is_within = block_of_row is not None and not is_whole
        notices = _judge_change(contrast, split, units, is_within) if kind == "permutations" else ()
        shuffles = _shuffle(units, kinds, kind, spec)
        return Scheme(
            partition=split,
            shuffles=shuffles,
            groups=groups,
            shuffling=named,
            words=_in_words(named, shuffles, blocks, variance_groups, is_whole=is_whole),
            is_weighted=is_weighted,
            notices=notices,
        )

    if blocks is None or spec.block_scheme is not None or kind == "flips":
        return build(blocks is not None and spec.block_scheme != "within")
    return _changing_more(build, spec, contrast)


def _wild_bootstrap(
    design: Design, split: Partition, spec: InferenceSpec, blocks: pd.Series | None, variant: str
) -> Scheme:
    """Flip the signs of clusters of residuals; every set of signs once, where there are few."""
    clusters = number_clusters(blocks, design.matrix.index)
    n_clusters = int(clusters.max()) + 1
    units = Units(unit_of_row=clusters, cell_of_unit=np.zeros(n_clusters, dtype=np.intp))
    shuffles = _shuffle(units, np.zeros(split.n_obs, dtype=np.intp), "flips", spec)
    named = f"wild cluster bootstrap, {counted(n_clusters, 'cluster')}"
    of = "rows" if blocks is None else f"'{blocks.name}'"
    return Scheme(
        partition=split,
        shuffles=shuffles,
        groups=None,
        shuffling=named,
        words=f"{named} ({of}): {_count_in_words(shuffles)}",
        variant=variant,
    )


_KINDS = {"flips": "sign flips", "permutations": "permutations", "both": "permutations and sign flips"}


def _shuffle(units: Units, kinds: Codes, kind: str, spec: InferenceSpec) -> Shuffles:
    return Shuffles(
        units=units,
        kinds=kinds,
        has_permutations=kind != "flips",
        has_flips=kind != "permutations",
        n_requested=spec.n_permutations,
        seed=spec.random_seed,
    )


def _natural_kind(split: Partition, groups: Codes | None) -> str:
    """Permute rows where the mean of each group lies in the span of the nuisance part, else flip signs."""
    together = np.zeros(split.n_obs, dtype=np.intp) if groups is None else groups
    means = (together[:, None] == np.unique(together)).astype(np.float64)
    rest = means - split.nuisance @ (split.nuisance.T @ means)
    is_nuisance = np.linalg.norm(rest, axis=0) <= 1e-6 * np.linalg.norm(means, axis=0)
    return "permutations" if is_nuisance.all() else "flips"


def _changing_more(build: Callable[[bool], Scheme], spec: InferenceSpec, contrast: Contrast) -> Scheme:
    """Of rows within blocks and whole blocks take what changes more of the tested part, and say so."""
    allowed: dict[bool, Scheme] = {}
    for is_whole in (False, True):
        try:
            allowed[is_whole] = build(is_whole)
        except DataError as error:
            refusal = error
    if not allowed:
        raise refusal
    if len(allowed) == 1:
        return next(iter(allowed.values()))
    changed = {is_whole: scheme.mean_change for is_whole, scheme in allowed.items()}
    enough = [is_whole for is_whole, scheme in allowed.items() if scheme.is_enough(spec, contrast)]
    is_whole = max(enough or allowed, key=lambda which: (round(changed[which], 9), not which))
    taken = "whole blocks" if is_whole else "rows within blocks"
    shares = f"{changed[True]:.0%} by whole blocks, {changed[False]:.0%} by rows within blocks"
    notice = note(
        "shuffling",
        f"For '{contrast.name}' {taken} are shuffled: of what it tests permutations change on "
        f"average {shares}"
        f"{'' if len(enough) != 1 else ', and only the scheme taken has shuffles enough for alpha'}.",
        "--within-blocks or --whole-blocks decide it otherwise.",
    )
    return replace(allowed[is_whole], notices=(notice, *allowed[is_whole].notices))


def _within(columns: Doubles, orbits: Codes) -> Doubles:
    """Columns less their means over each orbit, which are those over its permutations."""
    means = np.array([columns[orbits == orbit].mean(axis=0) for orbit in range(int(orbits.max()) + 1)])
    return np.asarray(columns - means[orbits], dtype=np.float64)


def _judge_change(contrast: Contrast, split: Partition, units: Units, is_within: bool) -> tuple[Notice, ...]:
    """Refuse permutations that change nothing of a tested direction; warn where they change little."""
    where = " within blocks" if is_within else ""
    rest = _within(split.tested, units.orbits)
    if np.abs(rest).max() <= _VARIES:
        raise DataError(
            f"Permutations cannot test the contrast '{contrast.name}': what it tests does not vary{where}.",
            expected="a contrast that changes when rows are exchanged",
            fix="Use --whole-blocks." if is_within else "Use --shuffle flips (or auto).",
        )
    changed = float(np.linalg.svd(rest, compute_uv=False)[-1] ** 2)
    if changed <= _VARIES:
        raise DataError(
            f"Permutations{where} cannot test all of the contrast '{contrast.name}':"
            f" a part of what it tests does not vary{where}.",
            expected="a joint test whose every part changes when rows are exchanged",
            fix="Use --whole-blocks, or contrast only what varies within blocks."
            if is_within
            else "Use --shuffle flips (or auto), or contrast only what varies between the rows exchanged.",
        )
    sentence = (
        f"Permutations change only {changed:.0%} of what the contrast '{contrast.name}' tests: the"
        " rest does not vary between the rows that are exchanged, and the test has little power for it."
    )
    fix = "Use other blocks (--whole-blocks), or contrast what varies within blocks."
    return () if changed >= _MOSTLY_TESTED else (warn("shuffling", sentence, fix),)


def _whole_blocks(contrast: Contrast, blocks: Codes, groups: Codes | None, kind: str) -> Units:
    """Blocks that move as a whole, among those of their variance group."""
    sizes = np.unique(np.bincount(blocks))
    if kind != "flips" and sizes.size > 1:
        raise DataError(
            f"Whole blocks can only be permuted where they have equal sizes (contrast '{contrast.name}').",
            found=f"blocks of {', '.join(map(str, sizes))} rows",
            expected="blocks with the same number of rows",
            fix="Use --within-blocks, --shuffle flips, or leave out people with missing rows.",
        )
    pairs = np.unique(np.column_stack([blocks, np.zeros_like(blocks) if groups is None else groups]), axis=0)
    if len(pairs) > blocks.max() + 1:
        raise DataError(
            "Whole blocks cannot be shuffled where a block holds rows of several variance groups.",
            fix="Use --within-blocks, or variance groups that keep each block together.",
        )
    return Units(unit_of_row=blocks, cell_of_unit=pairs[:, 1])


def _crossed(n_rows: int, *codes: Codes | Doubles | None) -> Codes:
    """Rows that agree in all codes share a number; without codes all rows do."""
    given = [one for one in codes if one is not None]
    if not given:
        return np.zeros(n_rows, dtype=np.intp)
    return np.asarray(np.unique(np.column_stack(given), axis=0, return_inverse=True)[1]).reshape(-1)


def _equal_rows(design: Design) -> Codes:
    """Rows that are equal in the design, but for rounding, share a number."""
    matrix = design.matrix.to_numpy(dtype=np.float64)
    lengths = np.linalg.norm(matrix, axis=0)
    return _crossed(len(matrix), np.round(matrix / np.where(lengths == 0, 1, lengths), 10) + 0.0)


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


def _in_words(
    shuffling: str, shuffles: Shuffles, blocks: pd.Series | None, groups: pd.Series | None, *, is_whole: bool
) -> str:
    units = "rows"
    if blocks is not None:
        units = f"whole blocks of '{blocks.name}'" if is_whole else f"rows within blocks of '{blocks.name}'"
    inside = "" if groups is None else f", never between variance groups of '{groups.name}'"
    return f"{shuffling} of {units}{inside}: {_count_in_words(shuffles)}"


def _count_in_words(shuffles: Shuffles) -> str:
    if shuffles.is_exhaustive:
        return f"all {shuffles.n_distinct} distinct ones"
    return f"{shuffles.n_others} drawn at random (seed {shuffles.seed}) beside the unshuffled data"
