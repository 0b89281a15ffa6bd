"""How the loops are compiled by numba: when they are first called, then kept on disk (``NUMBA_CACHE_DIR``).

A mixed model takes half a minute to compile, most of it in proportion to the number of functions and to how
deep they call each other: each is compiled alone, and again inside every one that calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba as nb

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[_Function], _Function]:
    """Compile a function that Python calls; threads of Python run while it does."""
    made: Callable[[_Function], _Function] = nb.njit(cache=True, nogil=True, **options)
    return made


def written_out(**options: Any) -> Callable[[_Function], _Function]:
    """Write the body of a function into its caller before that is compiled: for parts of a long function."""
    return compiled(inline="always", **options)
