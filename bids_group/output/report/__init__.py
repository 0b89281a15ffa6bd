"""The report: one self-contained page, made from OUTPUT_DIR alone."""

from bids_group.output.report.methods import citations, methods_text
from bids_group.output.report.page import build_report

__all__ = ["build_report", "citations", "methods_text"]
