from .atlas import OWN_ATLAS, Atlas, StructureAtlas, read_atlas, read_structure_atlas, region_effects
from .methods import citations, methods_text, write_citations
from .page import build_report

__all__ = [
    "OWN_ATLAS",
    "Atlas",
    "StructureAtlas",
    "build_report",
    "citations",
    "methods_text",
    "read_atlas",
    "read_structure_atlas",
    "region_effects",
    "write_citations",
]
