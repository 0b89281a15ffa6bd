"""What is significant, and under which null."""

from bids_group.inference.checks import check_inference
from bids_group.inference.correction import correct_group

__all__ = ["check_inference", "correct_group"]
