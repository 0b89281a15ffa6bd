"""What a user asked for: `RunConfig` and its parts, and with them every option of the command line.

What changes a number (`Inputs`, `Selection`, `AnalysisSpec`, `InferenceSpec`) is kept apart from
what must not (`Execution`). A new option is one more field here, and the code that uses its value.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from bids_group.config.estimators import ESTIMATORS
from bids_group.config.inference import InferenceSpec
from bids_group.config.machine import EXECUTORS, granted_memory_gb, granted_processes
from bids_group.config.options import SECTIONS, Option, check_bounds, option, options_of
from bids_group.config.typed import (
    ContrastRequest,
    FilterValue,
    file_of,
    is_pattern,
    read_contrasts,
    read_filter_file,
    read_named_folders,
    read_point,
)
from bids_group.errors import MissingInputError, UsageError
from bids_group.words import closest, list_some, quote_for_shell

LEVELS = ("participant", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Where the maps and the tables are.

    ``derivatives`` holds (name or None, folder) pairs in the order given; empty means: look for them.
    """

    section: ClassVar[str] = "tables"
    bids_dir: Path
    derivatives: tuple[tuple[str | None, Path], ...] = option(
        "folder(s) of first-level maps (default: the dataset in BIDS_DIR/derivatives that holds statmaps)",
        (),
        section="maps",
        name="derivatives",
        metavar="[NAME=]PATH",
        short="-d",
        stands=None,
        read=read_named_folders,
    )
    maps_table: Path | None = option(
        "maps that have no BIDS names (SPM, FSL, AFNI): a table of them, or a pattern of their paths in "
        'quotes, such as "spm/sub-{subject}/con_{contrast}.nii"; also {session}, {run}, {task}, {hemi}',
        section="maps",
        name="maps",
        metavar="TSV|PATTERN",
        stands=None,
    )
    participants_tsv: Path | None = option("this table instead of BIDS_DIR/participants.tsv", metavar="F")
    phenotype: tuple[Path, ...] = option("more covariates: phenotype tables", (), metavar="F")
    categorical: tuple[str, ...] = option("these columns are categories", (), metavar="COL")
    numeric: tuple[str, ...] = option("these columns are numbers", (), metavar="COL")
    design_matrix: Path | None = option(
        "a design of your own in place of --formula: a column participant_id, subject_label, subject or id "
        "(and session_id where --pooling none makes sessions rows), every other column a number, taken as it "
        "is; without --contrast each column is tested",
        section="design",
        metavar="TSV",
    )
    skip_bids_validation: bool = option("do not check BIDS_DIR", False, section="checks", stands=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which maps of which people: labels without ``sub-`` etc.; an empty tuple means all."""

    section: ClassVar[str] = "labels"
    participant_labels: tuple[str, ...] = option("analyse these participants only", (), entity="subject")
    exclude_participant_labels: tuple[str, ...] = option("leave these participants out", (), entity="subject")
    session_labels: tuple[str, ...] = option("use these sessions only", (), entity="session")
    task_labels: tuple[str, ...] = option("use this task only", (), entity="task")
    run_labels: tuple[str, ...] = option("use these runs only", (), entity="run")
    space: str | None = option(
        "use maps of this space; of maps that name none, their space", metavar="S", entity="space"
    )
    res: str | None = option("use maps of this resolution", metavar="R", entity="res")
    den: str | None = option("use maps of this density", metavar="D", entity="den")
    node: str | None = option("use maps of this FitLins node", metavar="N", entity="node")
    first_level_contrasts: tuple[str, ...] = option(
        "use these contrasts (default: all, each its own analysis)", (), metavar="C", entity="contrast"
    )
    structures: tuple[str, ...] = option(
        "use these structures only: CORTEX_LEFT …", (), flag="--structures", metavar="NAME", is_late=True
    )
    bids_filter: Mapping[str, FilterValue] = option(
        "entity filters, as in fMRIPrep; also label, hemi, seg, desc, suffix and extension",
        {},
        section="filter",
        flag="--bids-filter-file",
        metavar="JSON",
        read=read_filter_file,
    )
    exclude_where: str | None = option(
        'drop rows of the tables, e.g. "fd_mean > 0.5"', section="rows", metavar="EXPR"
    )
    input_stat: Literal["effect", "z", "t"] | None = option(
        "z or t: insist on maps of z or t where there are no effects, said in every sidecar; effect: these "
        "are effects, whatever their names and headers say"
    )
    input_suffix: str = option(
        "maps that are no contrasts: files of this suffix, such as probseg; each label (GM, WM …) is an "
        "analysis of its own",
        "statmap",
        metavar="SUFFIX",
        read=lambda text: text.removeprefix("_"),
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]+", self.input_suffix):
            raise UsageError(
                f"--input-suffix {self.input_suffix} is no suffix of a BIDS name.",
                expected="letters and digits: the last part before the extension, such as probseg",
            )
        if self.input_suffix != "statmap" and self.input_stat not in (None, "effect"):
            raise UsageError(
                f"Maps of the suffix {self.input_suffix} have no stat to choose.",
                found=f"--input-stat {self.input_stat}",
                fix="Leave out --input-stat.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSpec:
    """What changes the result, beyond which maps and tables are read.

    ``centering`` is ``grand``, ``none`` or ``within:FACTOR``; ``pooling`` None means: precision
    where every selected map of the dataset has a variance, else mean.
    ``contrasts`` empty means: the mean and one test per term. ``cut_coords_mm`` is about pictures alone.
    """

    section: ClassVar[str] = "model"
    model_file: Path | None = option(
        "a BIDS Stats Models file", section="formula", name="model", metavar="FILE", stands=None
    )
    formula: str = option(
        'Wilkinson formula over the covariates (default "~ 1")',
        "~ 1",
        section="formula",
        metavar="F",
        stands=None,
    )
    contrasts: tuple[ContrastRequest, ...] = option(
        "what to test: a column, mean(...), slope(...), test(term), sums of these, [A, B] for a joint F, "
        "equivalent(A, BOUND), conjunction(A, B) (default: the mean, and one test per term)",
        (),
        metavar='"NAME = EXPR"',
        stands="node",
        read=read_contrasts,
    )
    centering: str = option(
        "centring of numeric columns (default grand)",
        "grand",
        name="center",
        metavar="{grand,none,within:FACTOR}",
        stands="node",
    )
    estimator: str = option(
        "auto: mixed where the formula has a random term, else ols; sandwich: ols with variances by cluster, "
        "for people with several rows; weighted: the variances of the first level, and one between people",
        "auto",
        choices=("auto", *ESTIMATORS),
        is_late=True,
    )
    dof: Literal["satterthwaite", "kenward-roger"] | None = option(
        "degrees of freedom of t under mixed (default satterthwaite; F has kenward-roger)", is_late=True
    )
    sandwich: Literal["CR0", "CR1", "CR2", "CR3", "homogeneous"] | None = option(
        "how sandwich makes variances: small-sample adjustments (default CR2), or one covariance of visits "
        "for all people of a group",
        is_late=True,
    )
    random_terms: tuple[str, ...] = option(
        "random terms of the formula, such as (1 | subject)",
        (),
        name="random_terms",
        flag="--formula",
        stands="node",
        is_late=True,
        is_typed=False,
    )
    missing: Literal["error", "drop"] = option("participants without a needed value (default error)", "error")
    pooling: Literal["precision", "mean", "none"] | None = option(
        "runs and sessions of a person: precision weights where all maps have a variance, else mean; none "
        "keeps sessions as rows"
    )
    mask: Path | None = option("analyse inside this mask only", section="images", metavar="FILE")
    mask_threshold: float | None = option(
        "voxels above F are inside a mask that is not of two values (0 and one other): a probability map, a "
        "mask that was resampled; holds for --mask and for the masks of maps",
        section="images",
        metavar="F",
        bounds="at least 0",
    )
    min_coverage: float = option(
        "analyse elements observed in at least this share of the rows (default 1.0; below it "
        "shuffling is approximate where rows are missing)",
        1.0, section="images", metavar="F", bounds="above 0 and at most 1",
    )  # fmt: skip
    surfaces: tuple[Path, ...] = option(
        "midthickness surfaces (GIFTI) of a template or of each person, or folders in which they have BIDS "
        "names: for clusters, TFCE and smoothing of surfaces (fsaverage5 is known)",
        (), section="images", metavar="PATH", is_late=True,
    )  # fmt: skip
    smoothing_fwhm_mm: float = option(
        "smooth the pooled effects (default 0)", 0.0, section="images", metavar="MM",
        bounds="at least 0 and at most 1000",
    )  # fmt: skip
    scale_by: str | None = option(
        "proportional scaling: each map times the mean of this column (such as total volume) over the "
        "participant's value", section="images", metavar="COLUMN",
    )  # fmt: skip
    inference: InferenceSpec = field(default_factory=InferenceSpec)
    atlas: Path | None = option(
        "name clusters and peaks by this atlas (default: Desikan-Killiany in adult MNI spaces)",
        section="report",
        metavar="FILE",
    )
    cut_coords_mm: tuple[float, float, float] | None = option(
        "slices of the pictures go through this point, in mm", section="report", metavar="X,Y,Z",
        is_signed=True, stands=None, read=read_point,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.centering not in ("grand", "none") and not self.centering.startswith("within:"):
            raise UsageError(
                f"--center {self.centering} is not known.",
                expected="--center grand, none or within:FACTOR",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How the work is done. None of this changes a number in the outputs."""

    section: ClassVar[str] = "execution"
    n_procs: int = option(
        "processes (default: what this machine or job grants)",
        1,
        name="nprocs",
        metavar="N",
        grant=granted_processes,
    )
    mem_gb: float | None = option(
        "memory (default: what this machine or job grants)", metavar="G", grant=granted_memory_gb
    )
    work_dir: Path | None = option(
        "default OUTPUT_DIR/.work, removed after success", metavar="DIR", short="-w", is_made=True
    )
    is_overwrite: bool = option("replace another analysis in OUTPUT_DIR/group", False)
    is_dry_run: bool = option("show people, design, contrasts and checks; write nothing", False, stands=None)
    output_format: Literal["text", "json"] = option("of --dry-run", "text")
    is_reports_only: bool = option("build the report again from OUTPUT_DIR alone", False)
    has_report: bool = option(
        "", True, section="report", flags={"--no-report": (False, "write no report.html")}
    )
    has_sensitivity: bool = option(
        "",
        True,
        section="report",
        flags={"--no-sensitivity": (False, "do not test significant contrasts again without single people")},
    )
    print_design: Path | None = option(
        "write the design as a table that --design-matrix reads (also with --dry-run)",
        section="model",
        metavar="FILE",
        is_made=True,
    )
    executor: str = option(
        "where the work is done: threads of this process, or the workers of a Dask cluster (alone: --nprocs "
        "workers on this machine)",
        "local",
        choices=tuple(EXECUTORS),
        section="cluster",
    )
    dask_scheduler: str | None = option(
        "with --executor dask: a cluster that runs, such as tcp://host:8786",
        section="cluster",
        metavar="ADDRESS",
    )
    dask_slurm: Path | None = option(
        "with --executor dask: start workers by Slurm, with these options of dask_jobqueue.SLURMCluster (a "
        "YAML file; jobs: how many)",
        section="cluster",
        metavar="FILE",
    )
    config_file: Path | None = option(
        "a file of these options (YAML, or TOML by its ending) under their own names; what is typed holds "
        "before it; logs/config.toml of a run is such a file",
        name="config",
        metavar="FILE",
        section="model",
    )
    verbose: int = option("say more", 0, section="cluster", kind="count", short="-v")
    quiet: int = option("say less", 0, section="cluster", kind="count", short="-q")

    def __post_init__(self) -> None:
        asked = {"--dask-scheduler": self.dask_scheduler, "--dask-slurm": self.dask_slurm}
        said = [flag for flag, value in asked.items() if value is not None]
        if said and self.executor != "dask":
            raise UsageError(f"{said[0]} is about a Dask cluster.", fix="Add --executor dask.")
        if len(said) > 1:
            raise UsageError("Two Dask clusters are named.", found=" and ".join(said), expected="one")
        if self.output_format == "json" and not self.is_dry_run:
            raise UsageError("--output-format belongs to --dry-run.", fix="Add --dry-run.")
        for flag, value in (("--nprocs", self.n_procs), ("--mem-gb", self.mem_gb)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{flag} must be above 0.", found=str(value))

    @property
    def verbosity(self) -> int:
        """How much is said: 0 stages, -1 warnings only, 1 everything."""
        return self.verbose - self.quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One request, whole.

    ``command``: the words typed; ``typed``: the names of the options that were said, there or in a file of
    options; ``options``: such a file, of those that change results.
    """

    output_dir: Path
    level: Literal["participant", "group"]
    inputs: Inputs
    selection: Selection = field(default_factory=Selection)
    analysis: AnalysisSpec = field(default_factory=AnalysisSpec)
    execution: Execution = field(default_factory=Execution)
    command: tuple[str, ...] = ()
    options: str = ""
    typed: frozenset[str] = frozenset()


_SAID_BY_MODELS = (AnalysisSpec, InferenceSpec, Selection, Inputs)
_SECTIONS = list(SECTIONS)
OPTIONS: tuple[Option, ...] = tuple(
    sorted(
        (one for record in (*_SAID_BY_MODELS, Execution) for one in options_of(record) if one.is_typed),
        key=lambda one: _SECTIONS.index(one.section),
    )
)
"""Every option, in the order of the manual."""

SETTINGS: Mapping[str, Option] = {
    one.name: one for record in _SAID_BY_MODELS for one in options_of(record) if one.stands is not None
}
"""Those that a model file may say, in the order in which it lists them."""


def check_paths(config: RunConfig) -> None:
    """Refuse (`MissingInputError`) BIDS_DIR, ``--derivatives`` and files of options that are not there.

    At once, for what reads them takes seconds to be imported. A link that points nowhere is left to its
    reader, who knows how to fetch its content.
    """
    inputs = config.inputs
    if config.execution.is_reports_only:
        return
    _check_path(inputs.bids_dir, "BIDS_DIR, the first argument", "folder")
    for _, folder in inputs.derivatives:
        _check_path(folder, "--derivatives", "folder")
    for record in (inputs, config.analysis, config.execution):
        for one in options_of(type(record)):
            path = getattr(record, one.attribute)
            is_file = one.kind == "path" and not one.is_made and path is not None
            if is_file and not (one.name == "maps" and is_pattern(path)):
                _check_path(path, one.flag, "file")


def _check_path(path: Path, option: str, kind: str) -> None:
    path = file_of(path)
    if not os.path.lexists(path):
        try:
            there = sorted(os.listdir(path.parent))  # noqa: PTH208 - names alone
        except OSError as error:
            there, found = [], f"{path.parent}: {error.strerror}"
        else:
            found = f"in {path.parent}: {list_some(there, none='nothing')}"
        meant = closest(path.name, there)
        written = "" if meant is None else quote_for_shell(str(path.with_name(meant)))
        fix = f"Write {option.partition(',')[0]} {written}." if written else f"Check {option}."
        raise MissingInputError(f"There is no {kind} {path}.", found=found, fix=fix)
