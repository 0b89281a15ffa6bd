"""Elements of a map: where they lie, who their neighbours are, how they are read and smoothed.

An element is a voxel of a volume (later: a vertex of a surface). A map is a row of numbers over elements.
"""

from bids_group.elements.adjacency import Adjacency, Connectivity, build_adjacency
from bids_group.elements.compression import checksum, gzip_bytes, inflate
from bids_group.elements.grid import Elements, Grid, check_same_grid
from bids_group.elements.image_files import FORMATS, is_cifti_name, is_volume_name, locate, split_volume
from bids_group.elements.masks import is_same_mask, observed, read_mask
from bids_group.elements.reading import (
    LoadedMap,
    MapHeader,
    find_pointer,
    hash_map,
    read_header,
    read_labels,
    read_map,
)
from bids_group.elements.smoothing import Smoother

__all__ = [
    "FORMATS",
    "Adjacency",
    "Connectivity",
    "Elements",
    "Grid",
    "LoadedMap",
    "MapHeader",
    "Smoother",
    "build_adjacency",
    "check_same_grid",
    "checksum",
    "find_pointer",
    "gzip_bytes",
    "hash_map",
    "inflate",
    "is_cifti_name",
    "is_same_mask",
    "is_volume_name",
    "locate",
    "observed",
    "read_header",
    "read_labels",
    "read_map",
    "read_mask",
    "split_volume",
]
