"""Numbers: from pooled maps and a design to the estimates and tests of every group contrast."""

from bids_group.model.design.build import build_design
from bids_group.model.fitting.diagnostics import describe_rows, tabulate_main_peaks
from bids_group.model.fitting.group_fit import fit_group
from bids_group.model.fitting.known_variances import tell_heterogeneity
from bids_group.model.fitting.pooling import pool
from bids_group.model.fitting.scaling import plan_scaling, scale
from bids_group.model.fitting.spread import compare_spread
from bids_group.model.fitting.stack import build_stack, describe_coverage, join_maps, tell_costs
from bids_group.model.formula.parser import add_columns, needed_variables
from bids_group.model.planning.node_design import input_names
from bids_group.model.planning.plan import plan_analyses, plan_pooling, restrict

__all__ = [
    "add_columns",
    "build_design",
    "build_stack",
    "compare_spread",
    "describe_coverage",
    "describe_rows",
    "fit_group",
    "input_names",
    "join_maps",
    "needed_variables",
    "plan_analyses",
    "plan_pooling",
    "plan_scaling",
    "pool",
    "restrict",
    "scale",
    "tabulate_main_peaks",
    "tell_costs",
    "tell_heterogeneity",
]
