"""The request: is it well formed? Records of what was asked for, and their defaults."""

from bids_group.config.corrections import CORRECTIONS
from bids_group.config.inference import InferenceSpec
from bids_group.config.request import AnalysisSpec, Execution, Inputs, RunConfig, Selection
from bids_group.config.typed import ContrastRequest

__all__ = [
    "CORRECTIONS",
    "AnalysisSpec",
    "ContrastRequest",
    "Execution",
    "InferenceSpec",
    "Inputs",
    "RunConfig",
    "Selection",
]
