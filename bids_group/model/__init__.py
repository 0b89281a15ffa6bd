"""Numbers: from pooled maps and a design to the estimates and tests of every group contrast."""

from bids_group.model.group import fit_group
from bids_group.model.pooling import pool
from bids_group.model.stack import StackedMaps, build_stack

__all__ = ["StackedMaps", "build_stack", "fit_group", "pool"]
