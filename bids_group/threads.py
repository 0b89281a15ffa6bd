"""Threads of numerical libraries (BLAS, OpenMP): one each, as the work is divided by this program."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


def one_thread_each() -> AbstractContextManager[Any]:
    """Let each library that is loaded by now compute with one thread: sums in one order, the same bytes."""
    limited: AbstractContextManager[Any] = _pools(len(sys.modules)).limit(limits=1)
    return limited


@lru_cache(maxsize=1)
def _pools(n_modules: int) -> ThreadpoolController:
    """Find the pools of threads; kept, as a library comes only with one more module."""
    return ThreadpoolController()
