"""Elements of a map: where they lie, who their neighbours are, how they are read and smoothed.

An element is a voxel, a vertex of a surface, or a region. A map is a row of numbers over elements.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(
    __name__, __file__
)  # what is heavy comes with its first use
