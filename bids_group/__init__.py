"""Group-level analysis of first-level statistical maps, as a BIDS App.

From Python: ``bids_group.analyse(bids_dir, output_dir, formula="~ group + age")``.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "analyse"]


def __getattr__(name: str) -> Any:
    """Import `analyse` when it is first asked for: the package by itself imports nothing heavy."""
    if name == "analyse":
        return import_module("bids_group.cli.notebook").analyse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
