"""What is at hand while a part of the page is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.output.report.brains import Layers
from bids_group.output.report.figures import FigureStore
from bids_group.output.report.folder import AnalysisFiles, ContrastFiles, Folder, read_numbers
from bids_group.output.report.methods import gather_facts
from bids_group.output.report.volumes import (
    ContrastMaps,
    Stage,
    layers_of,
    read_contrast,
    set_stage,
    strongest_mm,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysisInputs:
    """One group model, its files and what all its pictures share. ``quality``: one row per observation."""

    folder: Folder
    analysis: AnalysisFiles
    figures: FigureStore
    stage: Stage
    facts: Mapping[str, Any]
    quality: pd.DataFrame | None

    @property
    def stem(self) -> str:
        """Beginning of the names of figures and tables."""
        return "_".join(Path(self.analysis.stem).parts[1:])

    @property
    def labels(self) -> list[str]:
        """Labels of the rows."""
        return [str(label) for label in self.analysis.matrix.index]


def read_analysis_inputs(folder: Folder, analysis: AnalysisFiles, figures: FigureStore) -> AnalysisInputs:
    """Read what the parts about a group model need."""
    stage, path = set_stage(analysis), analysis.quality
    return AnalysisInputs(
        folder=folder,
        analysis=analysis,
        figures=figures,
        stage=stage,
        facts=gather_facts(folder, analysis, stage.n_elements),
        quality=None if path is None else read_numbers(path, ("label", "outlier_reasons")),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastInputs:
    """One contrast, its maps and the desk of its group model."""

    of_analysis: AnalysisInputs
    contrast: ContrastFiles
    maps: ContrastMaps
    layers: Layers

    @property
    def stem(self) -> str:
        """Beginning of the names of this contrast's figures and tables."""
        return "_".join(Path(self.contrast.stem).parts[1:])

    @property
    def analysis(self) -> AnalysisFiles:
        """Files of the group model."""
        return self.of_analysis.analysis

    @property
    def figures(self) -> FigureStore:
        """Where figures go."""
        return self.of_analysis.figures

    @property
    def stage(self) -> Stage:
        """What all pictures of the group model share."""
        return self.of_analysis.stage

    @property
    def strongest_mm(self) -> tuple[float, float, float]:
        """Where the evidence is strongest."""
        return strongest_mm(self.maps, self.stage.grid)

    @property
    def focus_mm(self) -> tuple[float, float, float]:
        """The point that pictures go through: the one asked for, else that of the strongest evidence."""
        return self.stage.cut_mm or self.strongest_mm

    @property
    def focus_words(self) -> str:
        """What the point is."""
        return f"the strongest {self.contrast.test}" if self.stage.cut_mm is None else "the point asked for"


def read_contrast_inputs(desk: AnalysisInputs, contrast: ContrastFiles) -> ContrastInputs:
    """Read the maps of a contrast."""
    maps = read_contrast(contrast, desk.stage)
    return ContrastInputs(
        of_analysis=desk, contrast=contrast, maps=maps, layers=layers_of(contrast, maps, desk.stage)
    )
