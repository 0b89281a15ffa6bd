"""The command line as a function, for notebooks and scripts: ``bids_group.analyse``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_group.cli.main import LOGGER, settle_home, start_log
from bids_group.cli.option_files import spell_options
from bids_group.cli.parser import read_arguments, translate
from bids_group.config.request import check_paths
from bids_group.errors import UsageError
from bids_group.words import os_failure

if TYPE_CHECKING:
    from bids_group.output.results import Results


def analyse(
    bids_dir: str | Path,
    output_dir: str | Path,
    formula: str | None = None,
    contrasts: Mapping[str, Any] | Sequence[str] | None = None,
    **options: Any,
) -> Results:
    """Do what ``bids-group BIDS_DIR OUTPUT_DIR group`` does, and return what it wrote.

    Parameters
    ----------
    bids_dir, output_dir, formula
        As on the command line.
    contrasts
        Expressions (or vectors of weights) by name, or a list of ``"NAME = EXPRESSION"``.
    options
        Every option of the command line, with underscores: ``smoothing_fwhm=6``,
        ``correction=["fdr", "fwe-voxel"]``, ``one_sided=True``. None and False say nothing.

    Raises
    ------
    BidsGroupError
        What ends the command line with an exit code (its `exit_code`), one of `bids_group.errors`.
    """
    from bids_group.output.results import Results

    if contrasts is not None and "contrast" in options:
        raise UsageError("Contrasts are given twice.", found="contrasts and contrast", fix="Keep contrasts.")
    said = {"formula": formula, "contrast": contrasts} | options
    typed = [str(bids_dir), str(output_dir), "group", *spell_options(said, more=("contrasts",))]
    arguments = read_arguments(typed)
    config = translate(arguments, typed)
    check_paths(config)
    settle_home()
    with _log(config.execution.verbosity):
        from bids_group.workflow import run

        try:
            run(config)
        except OSError as error:
            raise os_failure(error) from error
    return Results(output_dir=config.output_dir)


@contextmanager
def _log(verbosity: int) -> Iterator[None]:
    """Say what happens as the command line does, unless the user's own logging listens already."""
    before = (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
    if not LOGGER.handlers:
        start_log(verbosity)
    try:
        yield
    finally:
        LOGGER.handlers[:], LOGGER.propagate = before[0], before[2]
        LOGGER.setLevel(before[1])
