from .atlas import OWN_ATLAS, Atlas, read_atlas, region_effects
from .methods import citations, methods_text, write_citations
from .page import build_report

__all__ = [
    "OWN_ATLAS",
    "Atlas",
    "build_report",
    "citations",
    "methods_text",
    "read_atlas",
    "region_effects",
    "write_citations",
]
