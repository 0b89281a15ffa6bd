"""Where work is done: the items of a list one after the other or side by side, their results in order.

An executor has one verb, `map`. Another kind (a cluster, say) is another class with that verb.
"""

from __future__ import annotations

import ctypes
import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar

from bids_group.config import Execution
from bids_group.config.machine import EXECUTORS
from bids_group.threads import one_thread_each

Item = TypeVar("Item")
Result = TypeVar("Result")

_SHARE_OF_MAPS = 0.5
"""Share of the memory that all maps of an analysis may take before they are kept in a file."""

_GLIBC_LIMITS = {-3: 32 * 2**20, -1: 64 * 2**20}
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD (malloc.h), in bytes."""


class Executor(Protocol):
    """Does the same to each item; how it does so changes no bit of a result."""

    def map(
        self, do: Callable[[Item], Result], items: Iterable[Item], *, item_bytes: int = 0, held_bytes: int = 0
    ) -> Iterator[Result]:
        """Yield ``do(item)`` for each item, in their order; items do not depend on each other.

        ``item_bytes``: memory that each needs; ``held_bytes``: what all items share has taken already.
        """
        ...

    def can_hold(self, n_bytes: int) -> bool:
        """Whether arrays of so many bytes may stay in memory, or should lie in a file."""
        ...

    def close(self) -> None:
        """Let go of what was started."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """Threads of this process, each with one BLAS thread: sums in one order, however many there are.

    Reading, unpacking and arithmetic release the interpreter's lock. ``mem_gb``: memory for all of them,
    None = as much as it takes.
    """

    n_procs: int = 1
    mem_gb: float | None = None

    def can_hold(self, n_bytes: int) -> bool:
        """Whether the arrays leave half of the memory free."""
        return self.mem_gb is None or n_bytes <= _SHARE_OF_MAPS * self.mem_gb * 1e9

    def map(
        self, do: Callable[[Item], Result], items: Iterable[Item], *, item_bytes: int = 0, held_bytes: int = 0
    ) -> Iterator[Result]:
        """Work ahead with as many threads as memory allows, at most twice as many results waiting."""
        _keep_freed_memory()
        n_workers = self.n_procs
        if self.mem_gb is not None and item_bytes:
            n_workers = min(n_workers, int((self.mem_gb * 1e9 - held_bytes) // item_bytes))
        if n_workers <= 1:  # in the thread that asks: what was made is still in its processor's cache
            with one_thread_each():
                yield from map(do, items)
            return
        waiting: deque[Future[Result]] = deque()
        with one_thread_each(), ThreadPoolExecutor(n_workers) as threads:
            try:
                for item in items:
                    waiting.append(threads.submit(do, item))
                    if len(waiting) > 2 * n_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Do nothing: threads end with their list."""


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep arrays of a map (up to 32 MB) for the next one, 64 MB a thread at most.

    Given back and asked for again, their pages are new to the system, which took a twelfth of the time of
    reading and fitting, and made threads wait for each other. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        for name, n_bytes in _GLIBC_LIMITS.items():
            ctypes.CDLL(None).mallopt(name, n_bytes)


ONE_THREAD = Threads()


def make(execution: Execution, output_dir: Path) -> Executor:
    """Make the threads of ``--executor local``; OUTPUT_DIR is nothing to them."""
    return Threads(n_procs=execution.n_procs, mem_gb=execution.mem_gb)


def choose_executor(execution: Execution, output_dir: Path) -> Executor:
    """Make the executor of a request; nothing is started yet."""
    made: Executor = import_module(f"bids_group.{EXECUTORS[execution.executor]}").make(execution, output_dir)
    return made


@contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects that stay (modules, a plan, a page): Python does not look for garbage meanwhile.

    Each search goes through all objects again, which took a tenth of the time of a dry run.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
