"""Elements of a map: where they lie, who their neighbours are, how they are read and smoothed.

An element is a voxel, a vertex of a surface, or a region. A map is a row of numbers over elements.
"""

from bids_group.elements.adjacency import Adjacency, Connectivity, build_adjacency
from bids_group.elements.analysed import Elements, check_same_space
from bids_group.elements.compression import checksum, gzip_bytes, inflate
from bids_group.elements.file_content import find_pointer
from bids_group.elements.geometry import (
    CORTEX,
    REGIONS,
    SUBCORTEX,
    VOLUME,
    FamilyPart,
    Geometry,
    Mesh,
    bare_patch,
    join_patches,
    mesh_patch,
    volume_geometry,
    voxel_patch,
)
from bids_group.elements.image_files import (
    FORMATS,
    expand,
    find_pair,
    form_of,
    hemi_of,
    is_cifti_name,
    is_map_name,
    is_volume_name,
    join_pair,
    locate,
    split_volume,
)
from bids_group.elements.loaded import LoadedMap, MapHeader
from bids_group.elements.masks import is_same_mask, observed, read_mask
from bids_group.elements.reading import hash_map, read_header, read_labels, read_map
from bids_group.elements.smoothing import Smoother
from bids_group.elements.space import (
    HEMISPHERES,
    Form,
    Grid,
    Parcels,
    Part,
    Space,
    Structures,
    Vertices,
    Voxels,
    align,
    join,
    select,
    structures,
)
from bids_group.elements.structure_smoothing import StructureSmoother
from bids_group.elements.surfaces import (
    Surface,
    Surfaces,
    build_geometry,
    mean_surface,
    template_surface,
    without_surface,
)

__all__ = [
    "CORTEX",
    "FORMATS",
    "HEMISPHERES",
    "REGIONS",
    "SUBCORTEX",
    "VOLUME",
    "Adjacency",
    "Connectivity",
    "Elements",
    "FamilyPart",
    "Form",
    "Geometry",
    "Grid",
    "LoadedMap",
    "MapHeader",
    "Mesh",
    "Parcels",
    "Part",
    "Smoother",
    "Space",
    "StructureSmoother",
    "Structures",
    "Surface",
    "Surfaces",
    "Vertices",
    "Voxels",
    "align",
    "bare_patch",
    "build_adjacency",
    "build_geometry",
    "check_same_space",
    "checksum",
    "expand",
    "find_pair",
    "find_pointer",
    "form_of",
    "gzip_bytes",
    "hash_map",
    "hemi_of",
    "inflate",
    "is_cifti_name",
    "is_map_name",
    "is_same_mask",
    "is_volume_name",
    "join",
    "join_pair",
    "join_patches",
    "locate",
    "mean_surface",
    "mesh_patch",
    "observed",
    "read_header",
    "read_labels",
    "read_map",
    "read_mask",
    "select",
    "split_volume",
    "structures",
    "template_surface",
    "volume_geometry",
    "voxel_patch",
    "without_surface",
]
