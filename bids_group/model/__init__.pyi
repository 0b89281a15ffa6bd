from .design.build import build_design
from .design.proposals import propose_contrasts
from .fitting.diagnostics import compare_spread, describe_rows, tell_units
from .fitting.effect_sizes import add_effect_sizes
from .fitting.fragility import find_most_influential, share_lost
from .fitting.group_fit import fit_group
from .fitting.influence import tabulate_main_peaks
from .fitting.known_variances import tell_heterogeneity
from .fitting.pooling import pool, tell_dominance
from .fitting.sandwich import check_clusters
from .fitting.scaling import plan_scaling, scale
from .fitting.sphericity import measure_sphericity
from .fitting.stack import StackedMaps, build_stack, describe_coverage, join_maps, tell_costs
from .formula.parser import add_columns, needed_variables
from .planning.estimators import check_variances
from .planning.node_design import input_names
from .planning.plan import plan_analyses, plan_pooling, restrict

__all__ = [
    "StackedMaps",
    "add_columns",
    "add_effect_sizes",
    "build_design",
    "build_stack",
    "check_clusters",
    "check_variances",
    "compare_spread",
    "describe_coverage",
    "describe_rows",
    "find_most_influential",
    "fit_group",
    "input_names",
    "join_maps",
    "measure_sphericity",
    "needed_variables",
    "plan_analyses",
    "plan_pooling",
    "plan_scaling",
    "pool",
    "propose_contrasts",
    "restrict",
    "scale",
    "share_lost",
    "tabulate_main_peaks",
    "tell_costs",
    "tell_dominance",
    "tell_heterogeneity",
    "tell_units",
]
