"""Files and people: which first-level maps, which participants, what their tables say."""

from bids_group.bids.cohort import gather_cohort
from bids_group.bids.datasets import describe_datasets
from bids_group.bids.design_matrix import check_matrix_rows
from bids_group.bids.ledger import build_ledger, keep_complete, tell_lost_levels, tell_sources
from bids_group.bids.map_files import check_spaces
from bids_group.bids.region_names import tell_regions
from bids_group.bids.surfaces import find_surfaces

__all__ = [
    "build_ledger",
    "check_matrix_rows",
    "check_spaces",
    "describe_datasets",
    "find_surfaces",
    "gather_cohort",
    "keep_complete",
    "tell_lost_levels",
    "tell_regions",
    "tell_sources",
]
