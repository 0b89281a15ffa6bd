"""Build the gallery: run the commands of every question on data made here, and write a page for each.

    python docs/gallery/build.py [NAME …] [--into FOLDER]

A command that ends with another exit code than it should stops the build. A question is a record in
``questions.py``; its page shows what was asked, the commands, what they said where that is the answer, the
pictures, the numbers, and how to read them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import bids_group.cli.compare
import bids_group.demo

sys.path.insert(0, str(Path(__file__).parent))
from covariates import COVARIATES
from questions import QUESTIONS as REPEATED
from questions import Command, Question, Shown

QUESTIONS = (*REPEATED, *COVARIATES)

HERE = Path(__file__).parent
PROGRAMS = {
    "bids-group": bids_group.cli.main,
    "bids-group-compare": bids_group.cli.compare.main,
    "bids-group-demo": bids_group.demo.main,
}


def build(questions: Iterable[Question], into: Path) -> None:
    """Write ``README.md`` (the list of all), a page for each of ``questions``, and their pictures."""
    into.mkdir(parents=True, exist_ok=True)
    for question in questions:
        with tempfile.TemporaryDirectory() as name:
            build_page(question, Path(name), into)
    lines = [f"* [{one.title}]({one.name}.md): {one.asked}" for one in QUESTIONS]
    made = "Each page is made by `python docs/gallery/build.py`, from data that it makes itself."
    (into / "README.md").write_text(
        "\n\n".join(("# Questions and their answers", made, "\n".join(lines))) + "\n"
    )


def build_page(question: Question, work: Path, into: Path) -> None:
    """Run the commands in ``work`` and write the page and its pictures to ``into``."""
    for name, text in question.files.items():
        (work / name).write_text(text)
    parts = [f"# {question.title}", question.asked, *_show_files(question)]
    for command in question.commands:
        parts += [f"```\n{_spell(command.words)}\n```", *run(command, work)]
    if question.python:
        with contextlib.chdir(work), contextlib.redirect_stderr(io.StringIO()):  # of its progress
            exec(question.python, {})  # noqa: S102 (it is the code that the page shows)
        parts += ["The same from Python:", f"```python\n{question.python.strip()}\n```"]
    parts += ["## How to read it", " ".join(question.reading)]
    parts += [show(shown, question, work, into) for shown in question.figures]
    parts += [_show_table(*work.glob(pattern), columns) for pattern, columns in question.tables.items()]
    (into / f"{question.name}.md").write_text("\n\n".join(parts) + "\n")


def run(command: Command, work: Path) -> list[str]:
    """Run a command in this process; give what it said where the page shows it.

    Raises
    ------
    SystemExit
        It ended with another exit code than it should.
    """
    program, *arguments = command.words
    words = io.StringIO()
    with contextlib.chdir(work), contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
        code = PROGRAMS[program](arguments)
    said = words.getvalue().replace(f"{work.resolve()}/", "").strip()
    if code != command.exit_code:
        sys.exit(f"{_spell(command.words)}\nended with {code}, not {command.exit_code}:\n{said}")
    return [f"It says (exit code {code}):", f"```\n{said}\n```"] if command.is_answer else []


def _spell(words: Sequence[str]) -> str:
    """Spell a command as it is typed, broken in front of its options."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(shlex.join(line) for line in lines)


def _show_files(question: Question) -> list[str]:
    return [f"`{name}`:\n\n```\n{text.strip()}\n```" for name, text in question.files.items()]


def show(shown: Shown, question: Question, work: Path, into: Path) -> str:
    """Copy a picture (SVG on white: pages are read on dark ground, too) and give its place on the page."""
    (path,) = work.glob(shown.pattern)
    target = into / "images" / f"{question.name}-{shown.name}{path.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".svg":
        head, tag, rest = path.read_text().partition("<svg ")
        end = rest.index(">") + 1
        ground = '\n<rect width="100%" height="100%" fill="#ffffff"/>'
        target.write_text(head + tag + rest[:end] + ground + rest[end:])
    else:
        shutil.copyfile(path, target)
    return f"![{shown.caption}](images/{target.name})\n\n*{shown.caption}*"


def _show_table(path: Path, columns: Sequence[str]) -> str:
    """Show columns of a TSV, numbers with four digits."""
    heading, *rows = (line.split("\t") for line in path.read_text().splitlines())
    at = [heading.index(name) for name in columns]
    lines = [[heading[i] for i in at], ["---"] * len(at), *([_shorten(row[i]) for i in at] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shorten(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def main() -> None:
    """Build all questions, or those that are named."""
    names = [one.name for one in QUESTIONS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--into", type=Path, default=HERE)
    arguments = parser.parse_args()
    build([one for one in QUESTIONS if one.name in (arguments.names or names)], arguments.into)


if __name__ == "__main__":
    main()
