"""Numbers: from pooled maps and a design to the estimates and tests of every group contrast."""

from bids_group.model.design import build_design
from bids_group.model.diagnostics import tabulate_peaks, tabulate_quality
from bids_group.model.formula import add_columns, needed_variables
from bids_group.model.group import fit_group
from bids_group.model.heterogeneity import tell_heterogeneity
from bids_group.model.node_rows import input_names
from bids_group.model.plan import plan_analyses, plan_pooling, restrict
from bids_group.model.pooling import pool
from bids_group.model.scaling import plan_scaling, scale
from bids_group.model.spread import compare_spread
from bids_group.model.stack import StackedMaps, build_stack

__all__ = [
    "StackedMaps",
    "add_columns",
    "build_design",
    "build_stack",
    "compare_spread",
    "fit_group",
    "input_names",
    "needed_variables",
    "plan_analyses",
    "plan_pooling",
    "plan_scaling",
    "pool",
    "restrict",
    "scale",
    "tabulate_peaks",
    "tabulate_quality",
    "tell_heterogeneity",
]
