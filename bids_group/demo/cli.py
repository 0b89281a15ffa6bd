"""The command ``bids-group-demo``."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bids_group import __version__
from bids_group.demo.dataset import fill_template, write_demo
from bids_group.demo.kinds import KINDS, DemoTruth
from bids_group.errors import UsageError
from bids_group.exits import exit_code_of


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(UsageError.exit_code, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a demo dataset, and say what is in it and how to analyse it; return the exit code."""

    def job() -> None:
        options = build_parser().parse_args(arguments)
        truth = write_demo(options.output_dir, kind=options.kind, seed=options.seed)
        print(describe_demo(truth, options.output_dir))

    return exit_code_of(job, after="The same command begins again.")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of ``bids-group-demo``."""
    kinds = "\n".join(f"  {name:<12}{kind.words}" for name, kind in KINDS.items())
    parser = _Parser(
        prog="bids-group-demo",
        description="Write a small dataset of first-level maps with known effects, and say how to run it.",
        epilog=f"kinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path, help="a new or empty folder")
    parser.add_argument("--kind", choices=tuple(KINDS), default="slopes", help="default: slopes")
    parser.add_argument("--seed", type=int, default=0, help="of the random generator; default: 0")
    parser.add_argument("--version", action="version", version=f"bids-group-demo {__version__}")
    return parser


def describe_demo(truth: DemoTruth, bids_dir: Path) -> str:
    """Say what was written, what is true in it, and the commands that analyse it."""
    beside = bids_dir.with_name(f"{bids_dir.name}-out") if bids_dir.name else None
    out = beside or truth.bids_dir.with_name("demo-out")
    job = shlex.join([name_program(), str(bids_dir), str(out), "group", *truth.options])
    return fill_template("summary.txt.j2", truth=truth, job=job)


def name_program() -> str:
    """Say how ``bids-group`` is called here: bare on the path, else by its place beside this Python."""
    beside = Path(sys.executable).with_name("bids-group")
    if shutil.which("bids-group") is not None or not beside.exists():
        return "bids-group"
    is_below = beside.is_relative_to(Path.cwd())
    return str(beside.relative_to(Path.cwd()) if is_below else beside)
