"""The options of ``bids-group`` and what they mean."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_group import __version__
from bids_group.config import CORRECTIONS
from bids_group.errors import UsageError

LEVELS = ("participant", "group")
_SIGNED = ("--cut-coords", "--cluster-extent")
"""Options whose value may begin with a minus."""
DESCRIPTION = "Group-level analysis of first-level fMRI maps, as a BIDS App."
EPILOG = """\
examples:
  bids-group /data /out group
      the mean of every first-level contrast over all participants
  bids-group /data /out group --formula "~ group * n_cigs + age" \\
      --contrast "slopeDiff = slope(n_cigs, group=patient) - slope(n_cigs, group=control)" --dry-run
      does the slope differ between the groups, controlling for age? (shown, not yet fitted)
"""

_USAGE = "bids-group BIDS_DIR OUTPUT_DIR {participant,group} [options]"


ONE_COLUMN = {
    "--exchangeability-blocks": "blocks within blocks are not supported",
    "--variance-groups": "each row belongs to one variance group",
}
"""Options of one column for which people type two."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `UsageError` (exit 64) with "did you mean"."""

    typed: Sequence[str] = ()
    """What was typed, for messages."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting with 2."""
        unknown = re.match(r"unrecognized arguments: ((\S+).*)", message, re.DOTALL)
        if unknown and unknown[2].startswith("-"):
            raise self._unknown_option(unknown[2].split("=")[0])
        if unknown:
            self._check_one_column(unknown[2])
            raise UsageError(
                f"The command line has words that belong to no option: {unknown[1]}",
                expected=self.usage or _USAGE,
                fix='Put text that has blanks in quotes, such as --formula "~ group + age".',
            )
        missing = re.match(r"the following arguments are required: (.*)", message)
        if missing:
            raise self._missing(missing[1].split(", "))
        both = re.match(r"argument (\S+): not allowed with argument (\S+)", message)
        if both:
            raise UsageError(f"{both[2]} and {both[1]} contradict each other.", fix="Leave one of them out.")
        raise UsageError(f"The command line cannot be read: {message}.", fix=f"See {self.prog} --help.")

    def _check_one_column(self, word: str) -> None:
        """Say so where the words are columns too many for an option."""
        at = list(self.typed).index(word) if word in self.typed else 0
        option, first = self.typed[at - 2 : at] if at > 1 else ("", "")
        if option in ONE_COLUMN:
            raise UsageError(
                f"{option} takes one column: {ONE_COLUMN[option]}.",
                found=f"{first} {word}",
                fix="Make one column of them in participants.tsv, whose values name both.",
            )

    def _unknown_option(self, name: str) -> UsageError:
        known = [option for action in self._actions for option in action.option_strings]
        if name in known and "--" in self.typed:
            return UsageError(
                f"The option {name} stands behind --, where everything is a folder or the level.",
                fix="Move it before the --.",
            )
        close = difflib.get_close_matches(name, known, n=1)
        return UsageError(
            f"There is no option {name}.",
            fix=f"Did you mean {close[0]}?" if close else f"See {self.prog} --help.",
        )

    def _missing(self, names: Sequence[str]) -> UsageError:
        """Name what is missing, and the list that took it where one ends in an analysis level."""
        lacking = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
        sentence = f"The command line lacks {lacking}."
        for option, values, is_last in self._lists_typed():
            if len(values) > len(names) and values[-1] in LEVELS:
                kept, taken = " ".join(values[: -len(names)]), " ".join(values[-len(names) :])
                end = f", or end the list with --: {option} {kept} -- {taken}" if is_last else "."
                return UsageError(
                    sentence,
                    found=f"{option} took '{kept} {taken}': a list ends only at the next option",
                    expected=self.usage or _USAGE,
                    fix=f"Put these three in front of all options{end}",
                )
        return UsageError(sentence, expected=self.usage or _USAGE, fix=f"See {self.prog} --help.")

    def _lists_typed(self) -> Iterator[tuple[str, list[str], bool]]:
        """Find the options that take several values, the words that each took, and whether it is the last."""
        flags = {flag for action in self._actions if action.nargs == "+" for flag in action.option_strings}
        places = [at for at, word in enumerate(self.typed) if word.startswith("-")]
        for at, end in zip(places, [*places, len(self.typed)][1:], strict=True):
            if self.typed[at] in flags:
                yield self.typed[at], list(self.typed[at + 1 : end]), end == len(self.typed)


def build_parser() -> Parser:
    """Build the parser; every option in the groups of the manual."""
    parser = Parser(
        prog="bids-group",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "bids_dir", metavar="BIDS_DIR", type=Path, help="the BIDS dataset (its description and tables)"
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path, help="the folder for the results")
    parser.add_argument(
        "level", metavar="{participant,group}", help="pool within participants, or do the whole job"
    )
    for add in (_add_inputs, _add_model, _add_images, _add_inference, _add_report, _add_execution):
        add(parser)
    return parser


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``argv``; ``--a_b`` is read as ``--a-b``."""
    parser = build_parser()
    parser.typed = list(_joined(dashed(token) for token in argv))
    return parser.parse_args(parser.typed)


def dashed(token: str) -> str:
    """Spell an option with dashes: ``--a_b`` is ``--a-b``."""
    if not token.startswith("--"):
        return token
    name, equals, value = token.partition("=")
    return name.replace("_", "-") + equals + value


def _joined(tokens: Iterable[str]) -> Iterator[str]:
    """Join an option of coordinates to its value, which may begin with a minus: argparse would part them."""
    waiting = ""
    for token in tokens:
        if waiting:
            yield f"{waiting}={token}"
        elif token not in _SIGNED:
            yield token
        waiting = "" if waiting or token not in _SIGNED else token
    if waiting:
        yield waiting


def _several(group: Any, name: str, help_: str, *, metavar: str = "L", short: str | None = None) -> None:
    flags = [short, name] if short else [name]
    group.add_argument(*flags, metavar=metavar, nargs="+", action="extend", default=[], help=help_)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("inputs")
    _several(
        group,
        "--derivatives",
        "folder(s) of first-level maps (default: the dataset in BIDS_DIR/derivatives that holds statmaps)",
        metavar="[NAME=]PATH",
        short="-d",
    )
    group.add_argument(
        "--maps", metavar="TSV", type=Path, help="a table of maps instead of BIDS names (SPM, FSL, AFNI)"
    )
    _several(group, "--participant-label", "analyse these participants only")
    _several(group, "--exclude-participant-label", "leave these participants out")
    _several(group, "--session-label", "use these sessions only")
    _several(group, "--task-label", "use this task only")
    _several(group, "--run-label", "use these runs only")
    group.add_argument("--space", metavar="S", help="use maps of this space")
    group.add_argument("--res", metavar="R", help="use maps of this resolution")
    group.add_argument("--den", metavar="D", help="use maps of this density")
    group.add_argument("--node", metavar="N", help="use maps of this FitLins node")
    _several(
        group,
        "--first-level-contrast",
        "use these contrasts (default: all, each its own analysis)",
        metavar="C",
    )
    group.add_argument(
        "--input-stat",
        choices=("effect", "z", "t"),
        help="z or t: insist on maps of z or t where there are no effects, said in every sidecar; "
        "effect: these are effects, whatever their names and headers say",
    )
    group.add_argument(
        "--input-suffix",
        metavar="SUFFIX",
        help="maps that are no contrasts: files of this suffix, such as probseg; each label (GM, WM …) is an "
        "analysis of its own",
    )
    group.add_argument(
        "--bids-filter-file",
        metavar="JSON",
        type=Path,
        help="entity filters, as in fMRIPrep; also label, desc, suffix and extension",
    )
    group.add_argument(
        "--participants-tsv", metavar="F", type=Path, help="this table instead of BIDS_DIR/participants.tsv"
    )
    _several(group, "--phenotype", "more covariates: phenotype tables", metavar="F")
    _several(group, "--categorical", "these columns are categories", metavar="COL")
    _several(group, "--numeric", "these columns are numbers", metavar="COL")
    group.add_argument(
        "--exclude-where", metavar="EXPR", help='drop rows of the tables, e.g. "fd_mean > 0.5"'
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="FILE", type=Path, help="a BIDS Stats Models file")
    group.add_argument("--formula", metavar="F", help='Wilkinson formula over the covariates (default "~ 1")')
    group.add_argument(
        "--design-matrix",
        metavar="TSV",
        type=Path,
        help="a design of your own in place of --formula: a column participant_id, subject_label or subject "
        "(and session_id where --pooling none makes sessions rows), every other column a number, taken as it "
        "is; without --contrast each column is tested",
    )
    _several(
        group,
        "--contrast",
        "what to test: a column, mean(...), slope(...), test(term), sums of these, [A, B] for a joint F test "
        "(default: the mean, and one test per term)",
        metavar='"NAME = EXPR"',
    )
    group.add_argument(
        "--center", metavar="{grand,none,within:FACTOR}", help="centring of numeric columns (default grand)"
    )
    group.add_argument(
        "--missing", choices=("error", "drop"), help="participants without a needed value (default error)"
    )
    group.add_argument(
        "--pooling",
        choices=("precision", "mean", "none"),
        help="runs and sessions of a person: precision weights where all maps have a variance, else mean; "
        "none keeps sessions as rows",
    )
    group.add_argument(
        "--print-design",
        metavar="FILE",
        type=Path,
        help="write the design as a table that --design-matrix reads (also with --dry-run)",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument("--mask", metavar="FILE", type=Path, help="analyse inside this mask only")
    group.add_argument(
        "--mask-threshold",
        metavar="F",
        type=float,
        help="voxels above F are inside a mask that is not of two values (0 and one other): a probability "
        "map, a mask that was resampled; holds for --mask and for the masks of maps",
    )
    group.add_argument(
        "--min-coverage",
        metavar="F",
        type=float,
        help="analyse elements observed in at least this share of the rows (default 1.0; below it "
        "nothing can be shuffled: no fwe-*, no --permutation-p)",
    )
    group.add_argument(
        "--smoothing-fwhm", metavar="MM", type=float, help="smooth the pooled effects (default 0)"
    )
    group.add_argument(
        "--scale-by",
        metavar="COLUMN",
        help="proportional scaling: each map times the mean of this column (such as total volume) over the "
        "participant's value",
    )


def _add_inference(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("inference")
    group.add_argument("--alpha", type=float, help="significance level (default 0.05)")
    sides = group.add_mutually_exclusive_group()
    sides.add_argument(
        "--two-sided", dest="is_two_sided", action="store_true", default=None, help="the default"
    )
    sides.add_argument(
        "--one-sided", dest="is_two_sided", action="store_false", default=None, help="positive effects only"
    )
    _several(
        group, "--correction", f"any of {', '.join(CORRECTIONS)} (default fdr bonferroni)", metavar="NAME"
    )
    group.add_argument("--cluster-forming-p", metavar="P", type=float, help="default 0.001")
    group.add_argument(
        "--cluster-extent",
        metavar="MM3",
        type=float,
        help="of the uncorrected result (--correction none, which this asks for), clusters of at least MM3 "
        "cubic millimetres only; controls no error rate",
    )
    group.add_argument("--n-permutations", metavar="N", type=int, help="default 10000")
    group.add_argument("--random-seed", metavar="S", type=int, help="default 0")
    group.add_argument(
        "--connectivity", type=int, choices=(6, 18, 26), help="neighbours of a voxel (default 6)"
    )
    group.add_argument("--exchangeability-blocks", metavar="COL", help="rows of one block belong together")
    blocks = group.add_mutually_exclusive_group()
    blocks.add_argument(
        "--within-blocks",
        dest="block_scheme",
        action="store_const",
        const="within",
        help="shuffle within blocks",
    )
    blocks.add_argument(
        "--whole-blocks",
        dest="block_scheme",
        action="store_const",
        const="whole",
        help="shuffle whole blocks",
    )
    group.add_argument("--variance-groups", metavar="COL", help="groups with a variance of their own")
    group.add_argument("--shuffle", choices=("auto", "flips", "permutations", "both"), help="default auto")
    group.add_argument(
        "--familywise",
        choices=("within-contrast", "across-contrasts"),
        help="count family-wise errors in each contrast (default), or over all contrasts of the run",
    )
    group.add_argument(
        "--tail-approximation",
        action="store_true",
        default=None,
        help="Pareto tail for few shuffles (sound to p of about 0.01)",
    )
    group.add_argument(
        "--permutation-p",
        action="store_true",
        default=None,
        help="also a map of each element's uncorrected p by shuffling (stat-p_desc-permutation)",
    )
    group.add_argument(
        "--log10-p",
        action="store_true",
        default=None,
        help="beside each stat-p map one of -log10 p (stat-log10p), with its threshold in the sidecar",
    )


def _add_report(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("report")
    group.add_argument("--atlas", metavar="FILE", type=Path, help="name clusters and peaks by this atlas")
    group.add_argument(
        "--cut-coords", metavar="X,Y,Z", help="slices of the pictures go through this point, in mm"
    )
    group.add_argument("--no-report", action="store_true", help="write no report.html")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("execution (none of these changes a number)")
    group.add_argument(
        "--nprocs", metavar="N", type=int, help="processes (default: what this machine or job grants)"
    )
    group.add_argument(
        "--mem-gb", metavar="G", type=float, help="memory (default: what this machine or job grants)"
    )
    group.add_argument(
        "-w", "--work-dir", metavar="DIR", type=Path, help="default OUTPUT_DIR/.work, removed after success"
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace another analysis in OUTPUT_DIR/group"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="show people, design, contrasts and checks; write nothing"
    )
    group.add_argument("--output-format", choices=("text", "json"), default="text", help="of --dry-run")
    group.add_argument(
        "--reports-only", action="store_true", help="build the report again from OUTPUT_DIR alone"
    )
    group.add_argument("--skip-bids-validation", action="store_true", help="do not check BIDS_DIR")
    group.add_argument(
        "--executor", choices=("local", "dask"), default="local", help="dask: not yet available"
    )
    group.add_argument("--dask-scheduler", metavar="ADDRESS", help="not yet available")
    group.add_argument("--dask-slurm", metavar="FILE", type=Path, help="not yet available")
    group.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    group.add_argument("-q", "--quiet", action="count", default=0, help="say less")
    group.add_argument("--version", action="version", version=f"bids-group {__version__}")
