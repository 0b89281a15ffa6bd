"""The command ``bids-group-compare``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_group import __version__
from bids_group.cli.main import LOGGER, settle_home, start_log
from bids_group.cli.parser import Parser, dashed
from bids_group.exits import exit_code_of

_EPILOG = """\
examples:
  bids-group-compare out-ols out-weighted comparison
      every contrast that both outputs have
  bids-group-compare out-rows out-pooled comparison --pairs facesVsHousesChange=change
      two contrasts that are called differently (labels as in file names)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``bids-group-compare`` with the arguments ``argv``; return its exit code."""
    typed = list(sys.argv[1:] if argv is None else argv)

    def job() -> None:
        arguments = build_parser().parse_args([dashed(token) for token in typed])
        start_log(arguments.verbose - arguments.quiet)
        settle_home()
        from bids_group.compare import compare_outputs  # numpy, jinja2 …: after the arguments are good

        page = compare_outputs(arguments.out_a, arguments.out_b, arguments.folder, arguments.pairs)
        LOGGER.info("The report: %s", page)

    return exit_code_of(job, after="The same command begins again; an earlier comparison is still there.")


def build_parser() -> Parser:
    """Build the parser of ``bids-group-compare``."""
    parser = Parser(
        prog="bids-group-compare",
        usage="bids-group-compare OUT_A OUT_B DIR [--pairs CONTRAST_A=CONTRAST_B …]",
        description="Lay two finished analyses side by side: how far their maps agree, and what differs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, metavar, help_ in (
        ("out_a", "OUT_A", "OUTPUT_DIR of a finished group run"),
        ("out_b", "OUT_B", "OUTPUT_DIR of another one"),
        ("folder", "DIR", "a new or empty folder (an earlier comparison is replaced)"),
    ):
        parser.add_argument(name, metavar=metavar, type=Path, help=help_)
    parser.add_argument(
        "--pairs",
        metavar="CONTRAST_A=CONTRAST_B",
        nargs="+",
        action="extend",
        default=[],
        help="compare these instead of the contrasts of equal labels in file names",
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    parser.add_argument("-q", "--quiet", action="count", default=0, help="say less")
    parser.add_argument("--version", action="version", version=f"bids-group-compare {__version__}")
    return parser
