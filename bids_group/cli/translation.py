"""From what was typed to a `RunConfig`; `argparse.Namespace` goes no further than this."""

from __future__ import annotations

import argparse
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bids_group.cli.parser import LEVELS
from bids_group.config import (
    CORRECTIONS,
    AnalysisSpec,
    Execution,
    InferenceSpec,
    Inputs,
    RunConfig,
    Selection,
)
from bids_group.config.machine import granted_memory_gb, granted_processes
from bids_group.config.request import FilterValue
from bids_group.config.stats_model_settings import parse_contrast
from bids_group.errors import AnalysisLevelError, MissingInputError, UsageError


def translate(arguments: argparse.Namespace, command: Sequence[str] = ()) -> RunConfig:
    """Turn parsed arguments into a checked request.

    Raises
    ------
    AnalysisLevelError, UsageError, MissingInputError
    """
    if arguments.level not in LEVELS:
        raise AnalysisLevelError(
            f"There is no analysis level {arguments.level!r}.",
            expected=" or ".join(LEVELS),
            fix="bids-group BIDS_DIR OUTPUT_DIR group",
        )
    return RunConfig(
        output_dir=_folder(arguments.output_dir),
        level=arguments.level,
        inputs=_inputs(arguments),
        selection=_selection(arguments),
        analysis=_analysis(arguments),
        execution=_execution(arguments),
        command=tuple(command),
    )


def _folder(path: Path) -> Path:
    """Make a path absolute as it was typed; steps back (``..``) are taken, from where links point to."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _given(**values: Any) -> dict[str, Any]:
    """Keep what was typed; the rest takes the record's default."""
    return {name: value for name, value in values.items() if value is not None}


def _inputs(arguments: argparse.Namespace) -> Inputs:
    return Inputs(
        bids_dir=_folder(arguments.bids_dir),
        derivatives=tuple(_named_path(text) for text in arguments.derivatives),
        maps_table=_absolute(arguments.maps),
        participants_tsv=_absolute(arguments.participants_tsv),
        phenotype=tuple(Path(text) for text in arguments.phenotype),
        categorical=tuple(arguments.categorical),
        numeric=tuple(arguments.numeric),
        design_matrix=_design_matrix(arguments),
        skip_bids_validation=arguments.skip_bids_validation,
    )


def _design_matrix(arguments: argparse.Namespace) -> Path | None:
    """Refuse what would make another design beside the one that is given."""
    if arguments.design_matrix is not None:
        for option, value in (("--model", arguments.model), ("--formula", arguments.formula)):
            if value is not None:
                raise UsageError(
                    f"A design matrix was given, and {option} beside it.",
                    found=f"--design-matrix {arguments.design_matrix} and {option} {value}",
                    fix="Use one of the two.",
                )
        if arguments.center not in (None, "none"):
            raise UsageError(
                "The columns of a design matrix are taken as they are: nothing is centred.",
                found=f"--design-matrix with --center {arguments.center}",
                fix="Leave out --center, and centre the columns in the table where you want it.",
            )
    return _absolute(arguments.design_matrix)


def _print_design(arguments: argparse.Namespace) -> Path | None:
    if arguments.print_design is not None and (arguments.level != "group" or arguments.reports_only):
        raise UsageError(
            "There is no design to print.",
            found="--reports-only" if arguments.reports_only else f"the level {arguments.level}",
            expected="the level group",
            fix="Leave out --print-design, or run the level group.",
        )
    return _absolute(arguments.print_design)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _named_path(text: str) -> tuple[str | None, Path]:
    name, equals, path = text.partition("=")
    if equals and name and "/" not in name:
        return name, Path(path).absolute()
    return None, Path(text).absolute()


def _selection(arguments: argparse.Namespace) -> Selection:
    return Selection(
        participant_labels=_labels(arguments.participant_label, "sub-"),
        exclude_participant_labels=_labels(arguments.exclude_participant_label, "sub-"),
        session_labels=_labels(arguments.session_label, "ses-"),
        task_labels=_labels(arguments.task_label, "task-"),
        run_labels=_labels(arguments.run_label, "run-"),
        first_level_contrasts=_labels(arguments.first_level_contrast, "contrast-"),
        bids_filter=_bids_filter(arguments.bids_filter_file),
        exclude_where=arguments.exclude_where,
        input_stat=arguments.input_stat,
        input_suffix=_input_suffix(arguments),
        **{
            name: getattr(arguments, name).removeprefix(f"{name}-")
            for name in ("space", "res", "den", "node")
            if getattr(arguments, name) is not None
        },
    )


def _input_suffix(arguments: argparse.Namespace) -> str:
    suffix = "statmap" if arguments.input_suffix is None else str(arguments.input_suffix).removeprefix("_")
    if not re.fullmatch(r"[A-Za-z0-9]+", suffix):
        raise UsageError(
            f"--input-suffix {arguments.input_suffix} is no suffix of a BIDS name.",
            expected="letters and digits: the last part before the extension, such as probseg",
        )
    if suffix != "statmap" and arguments.input_stat not in (None, "effect"):
        raise UsageError(
            f"Maps of the suffix {suffix} have no stat to choose.",
            found=f"--input-stat {arguments.input_stat}",
            fix="Leave out --input-stat.",
        )
    return suffix


def _labels(texts: Sequence[str], prefix: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.removeprefix(prefix) for text in texts))


def _bids_filter(path: Path | None) -> Mapping[str, FilterValue]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MissingInputError(f"The filter file {path} cannot be read.", found=error.strerror) from error
    except ValueError as error:
        raise UsageError(f"The filter file {path} is not JSON.", found=str(error)) from error
    if not isinstance(content, dict):
        raise UsageError(
            f"The filter file {path} is not an object.", expected='{"task": "faces", "session": null}'
        )
    nested = content.get("statmap", content)  # fMRIPrep's files have one object per query
    if not isinstance(nested, dict) or any(isinstance(value, dict) for value in nested.values()):
        queries = [repr(key) for key, value in content.items() if isinstance(value, dict)]
        raise UsageError(
            f"The filter file {path} has no filter of statistical maps.",
            found="statmap, which is not an object of labels"
            if "statmap" in content
            else f"queries {', '.join(queries)}",
            expected='the query "statmap", such as {"statmap": {"run": "1", "session": null}}',
            fix="Call the query of this program 'statmap'; those of other programs may stay beside it.",
        )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in nested.items()}


def _analysis(arguments: argparse.Namespace) -> AnalysisSpec:
    return AnalysisSpec(
        model_file=_absolute(arguments.model),
        contrasts=tuple(parse_contrast(text) for text in arguments.contrast),
        mask=_absolute(arguments.mask),
        mask_threshold=arguments.mask_threshold,
        atlas=_absolute(arguments.atlas),
        cut_coords_mm=_cut_coords(arguments.cut_coords),
        inference=_inference(arguments),
        **_given(
            formula=arguments.formula,
            centering=arguments.center,
            missing=arguments.missing,
            pooling=arguments.pooling,
            min_coverage=arguments.min_coverage,
            smoothing_fwhm_mm=arguments.smoothing_fwhm,
            scale_by=arguments.scale_by,
        ),
    )


def _cut_coords(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        x = y = z = math.nan
    if not math.isfinite(x + y + z):
        raise UsageError(
            "--cut-coords is not a point.", found=text, expected="three numbers in mm: --cut-coords -42,10,3"
        )
    return x, y, z


def _inference(arguments: argparse.Namespace) -> InferenceSpec:
    return InferenceSpec(
        exchangeability_blocks=arguments.exchangeability_blocks,
        block_scheme=arguments.block_scheme,
        variance_groups=arguments.variance_groups,
        **_given(
            alpha=arguments.alpha,
            is_two_sided=arguments.is_two_sided,
            corrections=_corrections(arguments.correction),
            cluster_forming_p=arguments.cluster_forming_p,
            n_permutations=arguments.n_permutations,
            random_seed=arguments.random_seed,
            connectivity=arguments.connectivity,
            shuffle=arguments.shuffle,
            familywise=arguments.familywise,
            has_tail_approximation=arguments.tail_approximation,
            has_permutation_p=arguments.permutation_p,
            cluster_extent_mm3=arguments.cluster_extent,
            has_log10_p=arguments.log10_p,
        ),
    )


def _corrections(names: Sequence[str]) -> tuple[str, ...] | None:
    for name in names:
        if name not in CORRECTIONS:
            close = difflib.get_close_matches(name, CORRECTIONS, n=1)
            raise UsageError(
                f"There is no correction {name!r}.",
                expected=", ".join(CORRECTIONS),
                fix=f"Did you mean {close[0]}?" if close else None,
            )
    return tuple(dict.fromkeys(names)) or None


def _execution(arguments: argparse.Namespace) -> Execution:
    if arguments.executor == "dask" or arguments.dask_scheduler or arguments.dask_slurm:
        raise UsageError(
            "The dask executor is not yet available.",
            fix="Use --nprocs on one node, or an array job of the participant level (docs/hpc.md).",
        )
    if arguments.output_format == "json" and not arguments.dry_run:
        raise UsageError("--output-format belongs to --dry-run.", fix="Add --dry-run.")
    n_procs = granted_processes() if arguments.nprocs is None else arguments.nprocs
    mem_gb = granted_memory_gb() if arguments.mem_gb is None else arguments.mem_gb
    for option, value in (("--nprocs", n_procs), ("--mem-gb", mem_gb)):
        if value <= 0:
            raise UsageError(f"{option} must be above 0.", found=str(value))
    return Execution(
        n_procs=n_procs,
        mem_gb=mem_gb,
        work_dir=_absolute(arguments.work_dir),
        is_overwrite=arguments.overwrite,
        is_dry_run=arguments.dry_run,
        output_format=cast(Any, arguments.output_format),
        is_reports_only=arguments.reports_only,
        has_report=not arguments.no_report,
        print_design=_print_design(arguments),
    )
