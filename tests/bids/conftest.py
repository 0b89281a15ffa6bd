"""A small study on disk: a raw dataset with tables, and derivatives with tiny maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_group.bids import gather_cohort
from bids_group.config import Inputs, Selection
from bids_group.records import Cohort


class Study:
    """Writes files of a study, and gathers them."""

    def __init__(self, root: Path) -> None:
        self.raw = root / "raw"
        self.output = root / "out"
        self.raw.mkdir(parents=True)
        self.describe(self.raw, Name="study", BIDSVersion="1.10.0")
        self._seed = 0

    def describe(self, folder: Path, **content: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dataset_description.json").write_text(json.dumps(content))

    def derivative(self, name: str = "firstlevel", producer: str | None = "nilearn") -> Path:
        folder = self.raw / "derivatives" / name
        generated = [{"Name": producer}] if producer else []
        self.describe(folder, BIDSVersion="1.10.0", DatasetType="derivative", GeneratedBy=generated)
        return folder

    def image(self, path: Path, shape: tuple[int, ...] = (3, 4, 2), seed: int | None = None) -> Path:
        self._seed += 1
        values = np.random.default_rng(self._seed if seed is None else seed).normal(size=shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(values.astype(np.float32), np.eye(4)).to_filename(path)
        return path

    def maps(self, folder: Path, names: list[str], stats: tuple[str, ...] = ("effect", "variance")) -> None:
        """Write a statmap per name and stat; ``names`` end before ``_stat-``."""
        for name in names:
            for stat in stats:
                self.image(folder / f"{name}_stat-{stat}_statmap.nii.gz")

    def people(self, folder: Path, labels: str, contrasts: str = "a", **entities: str) -> None:
        """Write one effect and variance per person and contrast, into ``sub-X/func``."""
        middle = "".join(f"_{key}-{label}" for key, label in entities.items())
        for label in labels.split():
            for contrast in contrasts.split():
                self.maps(folder, [f"sub-{label}/func/sub-{label}{middle}_contrast-{contrast}"])

    def table(self, rows: str, name: str = "participants.tsv", **dictionary: Any) -> Path:
        """Write a table; blanks between cells become tabs. A dictionary is written beside it."""
        path = self.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(line.split()) for line in rows.strip().splitlines()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if dictionary:
            path.with_suffix(".json").write_text(json.dumps(dictionary))
        return path

    def gather(self, inputs: dict[str, Any] | None = None, **selection: Any) -> Cohort:
        return gather_cohort(Inputs(bids_dir=self.raw, **(inputs or {})), Selection(**selection), self.output)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def three(study: Study) -> Study:
    """Three people with maps."""
    study.people(study.derivative(), "01 02 03")
    return study


@pytest.fixture
def reason_of() -> Callable[[Cohort, str], list[str]]:
    """Reasons of the exclusions of a person."""
    return lambda cohort, subject: [e.reason for e in cohort.exclusions if e.subject == subject]
