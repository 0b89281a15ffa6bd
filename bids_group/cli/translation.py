"""From what was typed to a `RunConfig`; `argparse.Namespace` goes no further than this."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_group.config import AnalysisSpec, Execution, InferenceSpec, Inputs, RunConfig, Selection
from bids_group.config.machine import granted_memory_gb, granted_processes
from bids_group.config.options import options_of
from bids_group.config.request import LEVELS
from bids_group.errors import AnalysisLevelError, UsageError
from bids_group.words import suggest


def translate(arguments: argparse.Namespace, command: Sequence[str] = ()) -> RunConfig:
    """Turn parsed arguments, which hold what was typed and no more, into a checked request.

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
    said = vars(arguments)
    config = RunConfig(
        output_dir=_folder(arguments.output_dir),
        level=arguments.level,
        inputs=Inputs(bids_dir=_folder(arguments.bids_dir), **_values(Inputs, said)),
        selection=Selection(**_values(Selection, said)),
        analysis=AnalysisSpec(
            inference=InferenceSpec(**_values(InferenceSpec, said)), **_values(AnalysisSpec, said)
        ),
        execution=Execution(**_granted(_values(Execution, said))),
        command=tuple(command),
        typed=frozenset(said),
    )
    _check_design(config)
    return config


def _folder(path: Path) -> Path:
    """Make a path absolute as it was typed; steps back (``..``) are taken, from where links point to."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _values(record: type, said: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a record what was said of them; the rest takes the record's default."""
    values = {}
    for option in options_of(record):
        if option.name not in said:
            continue
        typed = said[option.name]
        if option.kind == "texts" and option.choices:
            for one in typed:
                if one not in option.choices:
                    raise UsageError(
                        f"There is no {option.name} {one!r}.",
                        expected=", ".join(option.choices),
                        fix=suggest(one, option.choices, mark=""),
                    )
        values[option.attribute] = option.convert(typed) if option.read is None else option.read(typed)
    return values


def _granted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the processes and the memory that are granted, where none are asked for."""
    granted = {
        name: grant()
        for name, grant in (("n_procs", granted_processes), ("mem_gb", granted_memory_gb))
        if name not in values
    }
    return {**granted, **values}


def _check_design(config: RunConfig) -> None:
    """Refuse a second design beside the one that is given, and to print one where there is none."""
    matrix, analysis, execution = config.inputs.design_matrix, config.analysis, config.execution
    if matrix is not None:
        for option, value in (("model", analysis.model_file), ("formula", analysis.formula)):
            if option in config.typed:
                raise UsageError(
                    f"A design matrix was given, and --{option} beside it.",
                    found=f"--design-matrix {matrix} and --{option} {value}",
                    fix="Use one of the two.",
                )
        if "center" in config.typed and analysis.centering != "none":
            raise UsageError(
                "The columns of a design matrix are taken as they are: nothing is centred.",
                found=f"--design-matrix with --center {analysis.centering}",
                fix="Leave out --center, and centre the columns in the table where you want it.",
            )
    if execution.print_design is not None and (config.level != "group" or execution.is_reports_only):
        raise UsageError(
            "There is no design to print.",
            found="--reports-only" if execution.is_reports_only else f"the level {config.level}",
            expected="the level group",
            fix="Leave out --print-design, or run the level group.",
        )
