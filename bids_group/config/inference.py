"""How significance is judged: the options of inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bids_group.config.corrections import CORRECTIONS, DEFAULT, Correction
from bids_group.config.options import check_bounds, option, options_of
from bids_group.errors import UsageError

CAUCHY_SCALE = math.sqrt(2) / 2
"""Scale of the prior of Bayes factors, in residual SDs ("medium" in BayesFactor)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpec:
    """How significance is judged."""

    section: ClassVar[str] = "inference"
    alpha: float = option("significance level (default 0.05)", 0.05, bounds="above 0 and below 1")
    is_two_sided: bool = option(
        "",
        True,
        flags={"--two-sided": (True, "the default"), "--one-sided": (False, "positive effects only")},
    )
    corrections: tuple[str, ...] = option(
        f"any of {', '.join(CORRECTIONS)} (default {' '.join(DEFAULT)})",
        DEFAULT,
        metavar="NAME",
        choices=tuple(CORRECTIONS),
    )
    cluster_forming_p: float = option(
        "default 0.001", 0.001, metavar="P", bounds="above 0 and below 0.5", needs="uses_forming_p"
    )
    cluster_extent_mm3: float | None = option(
        "of the uncorrected result (--correction none, which this asks for), clusters of at least MM3 cubic "
        "millimetres only; controls no error rate",
        metavar="MM3",
        is_signed=True,
        bounds="above 0",
    )
    n_permutations: int = option(
        "default 10000", 10_000, metavar="N", bounds="at least 1", needs="needs_shuffling"
    )
    random_seed: int = option("default 0", 0, metavar="S", bounds="at least 0")
    connectivity: Literal[6, 18, 26] = option("neighbours of a voxel (default 6)", 6)
    exchangeability_blocks: str | None = option(
        "rows of one block belong together", metavar="COL", one_only="blocks within blocks are not supported"
    )
    block_scheme: Literal["within", "whole"] | None = option(
        "",
        flags={
            "--within-blocks": ("within", "shuffle within blocks"),
            "--whole-blocks": ("whole", "shuffle whole blocks"),
        },
        needs="needs_shuffling",
    )
    variance_groups: str | None = option(
        "groups with a variance of their own",
        metavar="COL",
        one_only="each row belongs to one variance group",
    )
    shuffle: Literal["auto", "flips", "permutations", "both"] = option(
        "default auto", "auto", needs="needs_shuffling"
    )
    familywise: Literal["within-contrast", "across-contrasts"] = option(
        "count family-wise errors in each contrast (default), or over all contrasts of the run",
        "within-contrast",
    )
    familywise_parts: Literal["joint", "each"] = option(
        "maps of surfaces and voxels: count family-wise errors over cortex and subcortex together, by the "
        "smallest p of either (default), or in each alone",
        "joint",
        needs="is_judged_by_shuffling",
        is_late=True,
    )
    has_tail_approximation: bool = option(
        "Pareto tail for few shuffles (sound to p of about 0.01)", False, needs="is_judged_by_shuffling"
    )
    has_permutation_p: bool = option(
        "also a map of each element's uncorrected p by shuffling (stat-p_desc-permutation)", False
    )
    has_log10_p: bool = option(
        "beside each stat-p map one of -log10 p (stat-log10p), with its threshold in the sidecar",
        False,
        is_late=True,
    )

    has_bayes_factor: bool = option(
        "also a map of Bayes factors of each t contrast, an effect against none (JZS, stat-bf10); ols only",
        False,
        is_late=True,
    )

    def __post_init__(self) -> None:
        if self.cluster_forming_p >= 1:
            raise _is_no_p(self.cluster_forming_p, is_two_sided=self.is_two_sided)
        check_bounds(self)

    @property
    def rules(self) -> tuple[Correction, ...]:
        """The records of the corrections."""
        return tuple(CORRECTIONS[name] for name in self.corrections)

    @property
    def parametric(self) -> tuple[str, ...]:
        """The corrections without shuffling."""
        return tuple(one.name for one in self.rules if not one.needs_shuffling)

    @property
    def measures(self) -> frozenset[str]:
        """What shuffling keeps the largest of: ``voxel``, ``size``, ``mass``, ``tfce``."""
        return frozenset(one.measure for one in self.rules if one.measure is not None)

    @property
    def needs_shuffling(self) -> bool:
        """Whether anything is judged by permutations or sign flips."""
        return bool(self.shuffled)

    @property
    def is_judged_by_shuffling(self) -> bool:
        """Whether a correction is by shuffling: a map of uncorrected p alone is held against no alpha."""
        return bool(self.measures)

    @property
    def uses_forming_p(self) -> bool:
        """Whether clusters are formed at a height, or uncorrected p held against it."""
        return self.has_log10_p or any(one.uses_forming_p for one in self.rules)

    @property
    def idle(self) -> tuple[str, ...]:
        """The options of shuffling and of clusters that were set, though nothing asked for uses them."""
        values = [(one, getattr(self, one.attribute)) for one in options_of(InferenceSpec) if one.needs]
        return tuple(
            one.flag_of(value) or one.flag
            for one, value in values
            if value != one.default and not getattr(self, one.needs)
        )

    @property
    def shuffled(self) -> tuple[str, ...]:
        """What needs permutations or sign flips, as options that ask for it."""
        corrections = tuple(f"--correction {one.name}" for one in self.rules if one.needs_shuffling)
        return (*corrections, "--permutation-p") if self.has_permutation_p else corrections


def _is_no_p(value: float, *, is_two_sided: bool) -> UsageError:
    """Say which p a threshold stands for that was typed as a z."""
    tail = math.erfc(value / math.sqrt(2)) / 2
    sides = (f"{2 * tail:.3g} (both tails)", f"{tail:.3g} (one tail, with --one-sided)")
    first, other = sides if is_two_sided else sides[::-1]
    return UsageError(
        "--cluster-forming-p wants a p, not a threshold of z or t.",
        found=f"{value:g}",
        expected="above 0 and below 0.5",
        fix=f"For clusters above z = {value:g} write --cluster-forming-p {first}; it is {other} otherwise.",
    )
