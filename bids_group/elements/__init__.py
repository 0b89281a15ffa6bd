"""Elements of a map: where they lie, who their neighbours are, how they are read and smoothed.

An element is a voxel of a volume (later: a vertex of a surface). A map is a row of numbers over elements.
"""

from bids_group.elements.adjacency import Adjacency, Connectivity, build_adjacency
from bids_group.elements.grid import Elements, Grid
from bids_group.elements.observation import observed
from bids_group.elements.reading import LoadedMap, read_map
from bids_group.elements.smoothing import Smoother, smooth

__all__ = [
    "Adjacency",
    "Connectivity",
    "Elements",
    "Grid",
    "LoadedMap",
    "Smoother",
    "build_adjacency",
    "observed",
    "read_map",
    "smooth",
]
