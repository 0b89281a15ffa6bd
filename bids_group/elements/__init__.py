"""Elements of a map: where they lie, who their neighbours are, how they are read and smoothed.

An element is a voxel of a volume (later: a vertex of a surface). A map is a row of numbers over elements.
"""

from bids_group.elements.grid import Elements, Grid
from bids_group.elements.reading import LoadedMap, read_map

__all__ = ["Elements", "Grid", "LoadedMap", "read_map"]
