"""Elements of a map: where they lie, who their neighbours are, how they are read and smoothed.

An element is a voxel of a volume (later: a vertex of a surface). A map is a row of numbers over elements.
"""

from bids_group.elements.adjacency import Adjacency, Connectivity, build_adjacency
from bids_group.elements.grid import Elements, Grid, check_same_grid
from bids_group.elements.masks import LoadedMask, read_mask
from bids_group.elements.observation import observed
from bids_group.elements.reading import LoadedMap, hash_map, read_map
from bids_group.elements.smoothing import Smoother, smooth

__all__ = [
    "Adjacency",
    "Connectivity",
    "Elements",
    "Grid",
    "LoadedMap",
    "LoadedMask",
    "Smoother",
    "build_adjacency",
    "check_same_grid",
    "hash_map",
    "observed",
    "read_map",
    "read_mask",
    "smooth",
]
