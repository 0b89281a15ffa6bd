"""What is significant, and under which null."""

from bids_group.inference.correction import correct_group

__all__ = ["correct_group"]
