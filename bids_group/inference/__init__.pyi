from .checks import check_inference as check_inference
from .conjunction import join_contrasts as join_contrasts
from .correct import correct_group as correct_group
from .forecast import count_holes as count_holes
from .forecast import forecast_seconds as forecast_seconds
from .shuffling.scheme import Scheme as Scheme
