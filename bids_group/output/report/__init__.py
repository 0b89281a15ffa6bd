"""The report: one self-contained page, made from OUTPUT_DIR alone; and the names of places in it."""

from bids_group.output.report.atlas import Atlas, read_atlas, region_effects
from bids_group.output.report.methods import citations, methods_text
from bids_group.output.report.page import build_report, write_citations

__all__ = [
    "Atlas",
    "build_report",
    "citations",
    "methods_text",
    "read_atlas",
    "region_effects",
    "write_citations",
]
