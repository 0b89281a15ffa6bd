"""A progress bar with the remaining time, on a terminal or in a notebook only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def _is_notebook() -> bool:
    """Whether this runs in Jupyter, with the widgets that a bar there is made of."""
    return Console().is_jupyter and find_spec("ipywidgets") is not None


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function ``(done, total)`` that moves the bar, or None where nobody looks."""
    if not (sys.stderr.isatty() or _is_notebook()):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Shuffles of {name}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
