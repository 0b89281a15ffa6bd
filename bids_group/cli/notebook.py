"""The command line as a function, for notebooks and scripts: ``bids_group.analyse``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_group.cli.main import LOGGER, settle_home, start_log
from bids_group.cli.parser import read_arguments, translate
from bids_group.config.options import Option
from bids_group.config.request import OPTIONS, check_paths
from bids_group.errors import UsageError
from bids_group.words import os_failure, suggest

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
    typed = spell_command(bids_dir, output_dir, {"formula": formula, "contrast": contrasts} | options)
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


def spell_command(bids_dir: str | Path, output_dir: str | Path, options: Mapping[str, Any]) -> list[str]:
    """Write a call as the words of a command line.

    Raises
    ------
    UsageError
        There is no such option, or its value is of the wrong kind.
    """
    flags = [(flag, one) for one in OPTIONS for flag in one.spellings]
    known = {flag.removeprefix("--").replace("-", "_"): (flag, one) for flag, one in flags}
    words = [str(bids_dir), str(output_dir), "group"]
    for name, value in options.items():
        if name not in known:
            raise UsageError(
                f"There is no option {name!r}.",
                expected="the options of bids-group --help, with underscores",
                fix=suggest(name, [*known, "contrasts"]),
            )
        if value is not None and value is not False:
            words += _spell(name, *known[name], value)
    return words


def _spell(name: str, flag: str, option: Option, value: Any) -> list[str]:
    what = f"The option {name!r}"
    if option.takes_none:
        if value is not True and not (option.kind == "count" and isinstance(value, int)):
            raise UsageError(f"{what} is switched on or off.", found=repr(value), expected="True or False")
        return [flag] * int(value)
    if value is True:
        raise UsageError(f"{what} needs a value.", found="True")
    values = _listed(value, " = " if name == "contrast" else "=")
    if not option.is_list and len(values) != 1:
        raise UsageError(f"{what} takes one value.", found=repr(value))
    if any(not one or one.startswith("-") for one in values):  # not to be taken for options
        return [f"{flag}={one}" for one in values]
    return [flag, *values] if values else []


def _listed(value: Any, equals: str) -> list[str]:
    """List the values of an option as text; a mapping names them (contrasts, derivatives)."""
    if isinstance(value, str | Path) or not hasattr(value, "__iter__"):
        return [str(value)]
    named = {f"{name}{equals}": one for name, one in value.items()} if isinstance(value, Mapping) else {}
    pairs = named.items() or (("", one) for one in value)
    return [f"{name}{one.tolist() if hasattr(one, 'tolist') else one}" for name, one in pairs]  # arrays too


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
