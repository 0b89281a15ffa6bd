"""From what was typed to a `RunConfig`; `argparse.Namespace` goes no further than this."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from bids_group import __version__
from bids_group.cli.option_files import read_option_file, write_options
from bids_group.cli.option_slips import guess_option, join_words, order_words, read_word
from bids_group.config import AnalysisSpec, Execution, InferenceSpec, Inputs, RunConfig, Selection
from bids_group.config.options import SECTIONS, Option, options_of
from bids_group.config.request import LEVELS, OPTIONS
from bids_group.errors import AnalysisLevelError, UsageError
from bids_group.words import listed

DESCRIPTION = "Group-level analysis of first-level fMRI maps, as a BIDS App."
EPILOG = """\
examples:
  bids-group /data /out group
      the mean of every first-level contrast over all participants
  bids-group /data /out group --formula "~ group * n_cigs + age" \\
      --contrast "slopeDiff = slope(n_cigs, group=patient) - slope(n_cigs, group=control)" --dry-run
      does the slope differ between the groups, controlling for age? (shown, not yet fitted)
"""

_LEVELS = f"{{{','.join(LEVELS)}}}"
_USAGE = f"bids-group BIDS_DIR OUTPUT_DIR {_LEVELS} [options]"
ARGUMENTS = {
    "bids_dir": "the BIDS dataset (its description and tables)",
    "output_dir": "the folder for the results",
    "level": "pool within participants, or do the whole job",
}
"""What stands in front of the options, and its help."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `UsageError` (exit 64) with "did you mean"."""

    typed: Sequence[str] = ()
    """What was typed, for messages."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting with 2."""
        if unknown := re.match(r"unrecognized arguments: ((\S+).*)", message, re.DOTALL):
            raise self._unknown(unknown[2], unknown[1])
        if missing := re.match(r"the following arguments are required: (.*)", message):
            raise self._missing(missing[1].split(", "))
        if both := re.match(r"argument (\S+): not allowed with argument (\S+)", message):
            raise UsageError(f"{both[2]} and {both[1]} contradict each other.", fix="Leave one of them out.")
        lacking = re.match(r"argument (?:\S+/)?(--[\w-]+): expected", message)
        for one in (one for one in OPTIONS if lacking and one.flag == lacking[1]):
            example = '"~ group + age"' if one.name == "formula" else one.metavar or one.name.upper()
            raise UsageError(f"{one.flag} lacks its value.", fix=f"Write {one.flag} {example}.")
        sentence = f"The command line cannot be read: {message}."
        raise UsageError(sentence, fix=f"See {self.prog} --help.")

    def _unknown(self, word: str, words: str) -> UsageError:
        """Tell what the first unknown word is: an option (behind ``--``?), a column too many, or none."""
        name = word.split("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        ends = [" ".join(self.typed[at:]) for at in range(len(self.typed))]
        places = [at for at, end in enumerate(ends) if end.startswith(words)]
        at = places[-1] if places else list(self.typed).index(word) if word in self.typed else 0
        option, first = self.typed[at - 2 : at] if at > 1 else ("", "")
        why = {one.flag: one.one_only for one in OPTIONS}.get(option)
        if name in known and "--" in self.typed:
            return UsageError(
                f"The option {name} stands behind --, where everything is a folder or the level.",
                fix="Move it before the --.",
            )
        if word.startswith("-"):
            fix = guess_option(name, known, f"See {self.prog} --help.")
            return UsageError(f"There is no option {name}.", fix=fix)
        if why is not None:
            return UsageError(
                f"{option} takes one column: {why}.",
                found=f"{first} {word}",
                fix="Make one column of them in participants.tsv, whose values name both.",
            )
        return UsageError(
            f"The command line has words that belong to no option: {words}",
            expected=self.usage or _USAGE,
            fix=join_words(self.typed, at)
            or 'Put text that has blanks in quotes, such as --formula "~ group + age".',
        )

    def _missing(self, names: Sequence[str]) -> UsageError:
        """Name what is missing, and the list that took it where one ends in an analysis level."""
        sentence = f"The command line lacks {listed(names)}."
        lists = {flag for action in self._actions if action.nargs == "+" for flag in action.option_strings}
        places = [at for at, word in enumerate(self.typed) if word.startswith("-")]
        for at, end in zip(places, [*places, len(self.typed)][1:], strict=True):
            option, values = self.typed[at], self.typed[at + 1 : end]
            if option in lists and len(values) > len(names) and values[-1] in LEVELS:
                kept, taken = " ".join(values[: -len(names)]), " ".join(values[-len(names) :])
                by_dashes = f", or end the list with --: {option} {kept} -- {taken}"
                return UsageError(
                    sentence,
                    found=f"{option} took '{kept} {taken}': a list ends only at the next option",
                    expected=self.usage or _USAGE,
                    fix="Put these three in front of all options"
                    + (by_dashes if end == len(self.typed) else "."),
                )
        return UsageError(sentence, expected=self.usage or _USAGE, fix=f"See {self.prog} --help.")


def build_parser() -> Parser:
    """Build the parser; every option in the groups of the manual."""
    parser = Parser(
        prog="bids-group",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, help_ in ARGUMENTS.items():
        metavar, read = (_LEVELS, str) if name == "level" else (name.upper(), Path)
        parser.add_argument(name, metavar=metavar, type=read, help=help_)
    for title, options in groupby(OPTIONS, key=lambda one: SECTIONS[one.section]):
        group = parser.add_argument_group(title)
        for one in options:
            _add_option(group, one)
    group.add_argument("--version", action="version", version=f"bids-group {__version__}")
    return parser


def dashed(token: str) -> str:
    """Spell an option with dashes: ``--a_b`` is ``--a-b``."""
    name, equals, value = token.partition("=")
    return name.replace("_", "-") + equals + value if token.startswith("--") else token


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``argv``; ``--a_b`` is read as ``--a-b``.

    What a file of options (``--config``) says holds where nothing was typed. An option of coordinates is
    joined to its value, which may begin with a minus: argparse would part them.
    """
    signed = {one.flag for one in OPTIONS if one.is_signed}
    words: list[str] = []
    for token in map(dashed, argv):
        if words and words[-1] in signed:
            words[-1] += f"={token}"
        else:
            words.append(token)
    parser = build_parser()
    parser.typed = words
    said = parser.parse_args(words)
    if vars(said).get("config") is not None:
        of_file = parser.parse_args(
            [*("BIDS_DIR", "OUTPUT_DIR", "group"), *read_option_file(Path(said.config))]
        )
        said = argparse.Namespace(**{**vars(of_file), **vars(said)})
    return said


def _add_option(group: Any, option: Option) -> None:
    """Add an option; what is not typed has no attribute in the namespace."""
    common = {"dest": option.name, "default": argparse.SUPPRESS}
    if option.flags:
        place = group.add_mutually_exclusive_group() if len(option.flags) > 1 else group
        for flag, (value, help_) in option.flags.items():
            place.add_argument(flag, action="store_const", const=value, help=help_, **common)
        return
    spellings = (option.short, option.flag) if option.short else (option.flag,)
    if option.kind == "count":
        group.add_argument(*spellings, action="count", help=option.help, **common)
        return
    type_ = partial(read_word, option) if _has_words(option) and not option.is_list else None
    several = {"nargs": "+", "action": "extend"} if option.is_list else {"choices": option.choices or None}
    metavar = option.metavar or ("L" if option.is_list else None)
    group.add_argument(*spellings, metavar=metavar, type=type_, help=option.help, **several, **common)


def _has_words(option: Option) -> bool:
    return bool(option.choices) or option.kind in ("number", "integer")


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
            fix=order_words(
                [str(arguments.bids_dir), str(arguments.output_dir), str(arguments.level)], LEVELS
            ),
        )
    said = vars(arguments)
    inference = InferenceSpec(**_values(InferenceSpec, said))
    config = RunConfig(
        output_dir=_folder(arguments.output_dir),
        level=arguments.level,
        inputs=Inputs(bids_dir=_folder(arguments.bids_dir), **_values(Inputs, said)),
        selection=Selection(**_values(Selection, said)),
        analysis=AnalysisSpec(inference=inference, **_values(AnalysisSpec, said)),
        execution=Execution(**_values(Execution, said)),
        command=tuple(command),
        options=write_options(said),
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
            if option.grant is not None:
                values[option.attribute] = option.grant()
            continue
        value = said[option.name]
        if option.is_list and _has_words(option):  # behind BIDS_DIR, which a list may have taken
            value = [read_word(option, one) for one in value]
        values[option.attribute] = (option.read or option.convert)(value)
    return values


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
