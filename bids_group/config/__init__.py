"""The request: is it well formed? Records of what was asked for, and their defaults."""

from bids_group.config.request import (
    CORRECTIONS,
    AnalysisSpec,
    ContrastRequest,
    Execution,
    InferenceSpec,
    Inputs,
    RunConfig,
    Selection,
)

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
