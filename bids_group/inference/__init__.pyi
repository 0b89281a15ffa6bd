from .checks import check_inference
from .correct import correct_group
from .forecast import BRAIN, forecast_seconds

__all__ = ["BRAIN", "check_inference", "correct_group", "forecast_seconds"]
