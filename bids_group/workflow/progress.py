"""How far long work has come: a bar on a terminal and in a notebook, elsewhere a line of log per minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bids_group import output

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN = 60.0
"""Between two lines of the log."""
_SECONDS_OF_KEPT = 1.0
"""What is done within so short a time was taken from an earlier run: it says nothing of the pace."""


@dataclass(slots=True, kw_only=True)
class Lines:
    """Puts a line into the log once a minute: ``Shuffles of faces: 1,200 of 5,000 (24 %), about 3 min left``.

    The pace is that since the line before; the first one leaves out what was done at once, as batches are
    that an earlier run kept. ``clock`` gives seconds.
    """

    what: str
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    said: float = field(init=False)
    n_at: int = 0
    paced: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        self.started = self.said = self.paced = self.clock()

    def update(self, done: int, total: int) -> None:
        """Take note that so many are done, and say it where a minute has gone by."""
        now = self.clock()
        if now - self.started <= _SECONDS_OF_KEPT:
            self.n_at, self.paced = done, now
        if now - self.said < SECONDS_BETWEEN or done >= total:
            return
        n_new, seconds = done - self.n_at, now - self.paced
        left = f", about {output.spell_duration((total - done) * seconds / n_new)} left" if n_new else ""
        LOGGER.info("%s: %s of %s (%d %%)%s", self.what, f"{done:,}", f"{total:,}", 100 * done // total, left)
        self.n_at, self.paced, self.said = done, now, now


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function ``(done, total)`` that shows how far the work ``what`` has come."""
    if not (sys.stderr.isatty() or _is_notebook()):
        yield Lines(what=what).update
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _is_notebook() -> bool:
    """Whether this runs in Jupyter, with the widgets that a bar there is made of."""
    return Console().is_jupyter and find_spec("ipywidgets") is not None
