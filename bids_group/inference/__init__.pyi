from .checks import check_inference
from .conjunction import join_contrasts
from .correct import correct_group
from .forecast import count_holes, forecast_seconds
from .shuffling.scheme import Scheme

__all__ = [
    "Scheme",
    "check_inference",
    "correct_group",
    "count_holes",
    "forecast_seconds",
    "join_contrasts",
]
