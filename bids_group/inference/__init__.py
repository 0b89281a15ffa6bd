"""What is significant, and under which null."""

from bids_group.inference.checks import check_inference
from bids_group.inference.correct import correct_group
from bids_group.inference.forecast import BRAIN, forecast_seconds

__all__ = ["BRAIN", "check_inference", "correct_group", "forecast_seconds"]
