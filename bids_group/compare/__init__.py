"""Two analyses side by side: maps matched by contrast, how far they agree, and whether they have to."""

from bids_group.compare.page import compare_outputs

__all__ = ["compare_outputs"]
