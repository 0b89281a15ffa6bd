"""What a user asked for: `RunConfig` and its parts.

What changes a number (`Inputs`, `Selection`, `AnalysisSpec`, `InferenceSpec`) is kept apart from
what must not (`Execution`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bids_group.errors import UsageError

CORRECTIONS = ("none", "fdr", "bonferroni", "ari", "fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce")
"""Every correction a user can name; those of the ``fwe-`` family need shuffling."""


def _check_between(
    option: str, value: float, low: float, high: float, *, is_upper_allowed: bool = False
) -> None:
    if not (low < value < high or (is_upper_allowed and value == high)):
        upper = "" if high == math.inf else f" {'and at most' if is_upper_allowed else 'and below'} {high:g}"
        raise UsageError(f"{option} is out of range.", found=f"{value:g}", expected=f"above {low:g}{upper}")


def _check_at_least(option: str, value: float, low: float) -> None:
    if not low <= value < math.inf:
        raise UsageError(f"{option} is out of range.", found=f"{value:g}", expected=f"at least {low:g}")


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


FilterValue = str | int | None | tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Where the maps and the tables are.

    ``derivatives`` holds (name or None, folder) pairs in the order given; empty means: look for them.
    """

    bids_dir: Path
    derivatives: tuple[tuple[str | None, Path], ...] = ()
    maps_table: Path | None = None
    participants_tsv: Path | None = None
    phenotype: tuple[Path, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    design_matrix: Path | None = None
    skip_bids_validation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which maps of which people: labels without ``sub-`` etc.; an empty tuple means all."""

    participant_labels: tuple[str, ...] = ()
    exclude_participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    task_labels: tuple[str, ...] = ()
    run_labels: tuple[str, ...] = ()
    space: str | None = None
    res: str | None = None
    den: str | None = None
    node: str | None = None
    first_level_contrasts: tuple[str, ...] = ()
    bids_filter: Mapping[str, FilterValue] = field(default_factory=dict)
    exclude_where: str | None = None
    input_stat: Literal["effect", "z", "t"] | None = None
    input_suffix: str = "statmap"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastRequest:
    """A group contrast as the user wrote it: a name and an expression (contract, section 3).

    ``name`` is None for an expression without ``NAME =``. ``test`` is ``"pass"`` only for a
    BIDS Stats Models contrast that hands maps on without a test.
    """

    expression: str
    name: str | None = None
    test: Literal["auto", "t", "F", "pass"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpec:
    """How significance is judged."""

    alpha: float = 0.05
    is_two_sided: bool = True
    corrections: tuple[str, ...] = ("fdr", "bonferroni")
    cluster_forming_p: float = 0.001
    n_permutations: int = 10_000
    random_seed: int = 0
    connectivity: Literal[6, 18, 26] = 6
    exchangeability_blocks: str | None = None
    block_scheme: Literal["within", "whole"] | None = None
    variance_groups: str | None = None
    shuffle: Literal["auto", "flips", "permutations", "both"] = "auto"
    familywise: Literal["within-contrast", "across-contrasts"] = "within-contrast"
    has_tail_approximation: bool = False
    has_permutation_p: bool = False
    cluster_extent_mm3: float | None = None
    has_log10_p: bool = False

    def __post_init__(self) -> None:
        if self.cluster_extent_mm3 is not None:
            _check_between("--cluster-extent", self.cluster_extent_mm3, 0, math.inf)
        _check_between("--alpha", self.alpha, 0, 1)
        if self.cluster_forming_p >= 1:
            raise _is_no_p(self.cluster_forming_p, is_two_sided=self.is_two_sided)
        _check_between("--cluster-forming-p", self.cluster_forming_p, 0, 0.5)
        _check_at_least("--n-permutations", self.n_permutations, 1)
        _check_at_least("--random-seed", self.random_seed, 0)

    @property
    def needs_shuffling(self) -> bool:
        """Whether anything is judged by permutations or sign flips."""
        return bool(self.shuffled)

    @property
    def is_judged_by_shuffling(self) -> bool:
        """Whether a correction is by shuffling: a map of uncorrected p alone is held against no alpha."""
        return any(name.startswith("fwe-") for name in self.corrections)

    @property
    def shuffled(self) -> tuple[str, ...]:
        """What needs permutations or sign flips, as options that ask for it."""
        corrections = tuple(f"--correction {name}" for name in self.corrections if name.startswith("fwe-"))
        return (*corrections, "--permutation-p") if self.has_permutation_p else corrections


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSpec:
    """What changes the result, beyond which maps and tables are read.

    ``centering`` is ``grand``, ``none`` or ``within:FACTOR``; ``pooling`` None means: precision
    where every selected map of the dataset has a variance, else mean.
    ``contrasts`` empty means: the mean and one test per term. ``cut_coords_mm`` is about pictures alone.
    """

    model_file: Path | None = None
    formula: str = "~ 1"
    contrasts: tuple[ContrastRequest, ...] = ()
    centering: str = "grand"
    missing: Literal["error", "drop"] = "error"
    pooling: Literal["precision", "mean", "none"] | None = None
    mask: Path | None = None
    mask_threshold: float | None = None
    min_coverage: float = 1.0
    smoothing_fwhm_mm: float = 0.0
    scale_by: str | None = None
    inference: InferenceSpec = field(default_factory=InferenceSpec)
    atlas: Path | None = None
    cut_coords_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        _check_between("--min-coverage", self.min_coverage, 0, 1, is_upper_allowed=True)
        _check_at_least("--smoothing-fwhm", self.smoothing_fwhm_mm, 0)
        if self.mask_threshold is not None:
            _check_at_least("--mask-threshold", self.mask_threshold, 0)
        if self.centering not in ("grand", "none") and not self.centering.startswith("within:"):
            raise UsageError(
                f"--center {self.centering} is not known.", expected="grand, none or within:FACTOR"
            )
        if self.min_coverage < 1 and self.inference.needs_shuffling:
            raise UsageError(
                "Shuffling needs every participant at every element.",
                found=f"--min-coverage {self.min_coverage:g} with {', '.join(self.inference.shuffled)}",
                fix="Leave --min-coverage at 1, or use fdr or bonferroni.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How the work is done. None of this changes a number in the outputs."""

    n_procs: int = 1
    mem_gb: float | None = None
    work_dir: Path | None = None
    is_overwrite: bool = False
    is_dry_run: bool = False
    output_format: Literal["text", "json"] = "text"
    is_reports_only: bool = False
    has_report: bool = True
    print_design: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One request, whole."""

    output_dir: Path
    level: Literal["participant", "group"]
    inputs: Inputs
    selection: Selection = field(default_factory=Selection)
    analysis: AnalysisSpec = field(default_factory=AnalysisSpec)
    execution: Execution = field(default_factory=Execution)
    command: tuple[str, ...] = ()
