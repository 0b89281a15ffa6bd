"""A small group analysis with made-up numbers, as the other packages hand it over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from bids_group.config import AnalysisSpec
from bids_group.elements import Elements, Grid
from bids_group.output import Context, write_group
from bids_group.records import (
    Cluster,
    Cohort,
    Contrast,
    ContrastResult,
    Design,
    FirstLevelMap,
    GroupAnalysis,
    GroupData,
    MapStack,
    Notice,
    Observation,
    Peak,
    PooledMap,
    Significance,
)
from bids_group.records.sidecars import Sidecar

GRID = Grid(shape=(5, 6, 7), affine=np.array([[3.0, 0, 0, -7.1], [0, 3, 0, -8], [0, 0, 3, -9], [0, 0, 0, 1]]))
LABELS = ("01", "02", "03", "04", "05", "06")


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What `write_group` is given, so that a test can change one thing of it."""

    output_dir: Path
    analysis: GroupAnalysis
    data: GroupData
    results: tuple[ContrastResult, ...]
    significances: tuple[Significance, ...]
    cohort: Cohort
    coverage: npt.NDArray[np.uint16]
    spec: AnalysisSpec

    def write(self, **more: Any) -> None:
        context = Context(
            output_dir=self.output_dir,
            analysis=self.analysis,
            data=self.data,
            spec=self.spec,
            dataset_names=self.cohort.dataset_names,
        )
        write_group(context, self.results, self.significances, coverage=self.coverage, **more)

    def but(self, **changes: Any) -> Made:
        return replace(self, **changes)

    @property
    def group(self) -> Path:
        return self.output_dir / "group"


@pytest.fixture
def make_map(tmp_path: Path) -> Callable[..., FirstLevelMap]:
    """Make records of maps; their files hold a few bytes that differ."""

    def make(
        subject: str, *, run: str | None = None, has_variance: bool = True, **more: Any
    ) -> FirstLevelMap:
        folder = tmp_path / "firstlevel" / f"sub-{subject}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"sub-{subject}_run-{run}"
        for stat in ("effect", "variance"):
            (folder / f"{stem}_stat-{stat}_statmap.nii.gz").write_text(f"{stem} {stat}")
        entities = {"task": "faces", "space": "MNI152NLin2009cAsym", "contrast": "facesVsHouses", **more}
        return FirstLevelMap(
            subject=subject,
            run=run,
            effect=folder / f"{stem}_stat-effect_statmap.nii.gz",
            variance=folder / f"{stem}_stat-variance_statmap.nii.gz" if has_variance else None,
            dataset=tmp_path / "firstlevel",
            **entities,
        )

    return make


@pytest.fixture
def make_pooled(make_map: Callable[..., FirstLevelMap]) -> Callable[..., PooledMap]:
    """Make a pooled map of random numbers with missing elements, of two runs."""

    def make(subject: str = "01", *, seed: int = 0, dof: Any = "map", **more: Any) -> PooledMap:
        random = np.random.default_rng(seed)
        n_maps = random.integers(0, 3, GRID.shape).astype(np.uint8)
        nan = np.where(n_maps == 0, np.float32(np.nan), np.float32(0))
        sources = (make_map(subject, run="1", **more), make_map(subject, run="2", **more))
        dofs = random.integers(80, 160, GRID.shape).astype(np.float32) + nan if dof == "map" else dof
        return PooledMap(
            observation=Observation(subject=subject, contrast="facesVsHouses", sources=sources),
            space=GRID,
            effect=random.standard_normal(GRID.shape, dtype=np.float32) + nan,
            variance=random.random(GRID.shape, dtype=np.float32) + np.float32(0.1) + nan,
            dof=dofs,
            n_maps=n_maps,
            input_hashes={str(one.effect): "a" * 64 for one in sources},
        )

    return make


@pytest.fixture
def made(tmp_path: Path, make_map: Callable[..., FirstLevelMap]) -> Made:
    """Six people, two groups; the mean (t) and a joint test of both groups (F of two rows)."""
    observations = tuple(
        Observation(
            subject=one, contrast="facesVsHouses", sources=(make_map(one, run="1"), make_map(one, run="2"))
        )
        for one in LABELS
    )
    labels = [one.label for one in observations]
    matrix = pd.DataFrame(
        {"group[control]": [1.0, 1, 1, 0, 0, 0], "group[patient]": [0.0, 0, 0, 1, 1, 1]}, index=labels
    )
    mean = Contrast(
        name="mean",
        label="",
        weights=np.array([[0.5, 0.5]]),
        test="t",
        expression="mean()",
        words="mean of both groups",
    )
    joint = Contrast(
        name="either group",
        label="EitherGroup",
        weights=np.eye(2),
        test="F",
        expression="[a, b]",
        words="either group",
    )
    design = Design(
        matrix=matrix,
        contrasts=(mean, joint),
        formula="~ 0 + group",
        terms={"group": tuple(matrix.columns)},
        variables=pd.DataFrame({"group": ["control"] * 3 + ["patient"] * 3}, index=labels),
        centering="grand",
        centers={},
        rank=2,
        details={
            "rank": 2,
            "vif": {"group": 1.0},
            "condition_number": 1.0,
            "leverage": dict.fromkeys(labels, 1 / 3),
            "n_per_cell": [{"group": "control", "n": 3}, {"group": "patient", "n": 3}],
            "covariates": [],
        },
        notices=(Notice(severity="note", topic="cells", sentence="Both groups have 3 people."),),
    )
    rows = pd.DataFrame({"subject": LABELS, "group": ["control"] * 3 + ["patient"] * 3}, index=labels)
    analysis = GroupAnalysis(
        first_level_contrast="facesVsHouses",
        observations=observations,
        rows=rows,
        formula="~ 0 + group",
        contrasts=(),
    )
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[1:4, 1:5, 1:6] = True
    elements = Elements.from_mask(GRID, mask)
    random = np.random.default_rng(1)
    stack = MapStack(
        labels=tuple(labels), data=random.standard_normal((6, elements.n_elements), dtype=np.float32)
    )
    results = (_result(mean, elements, random), _result(joint, elements, random))
    significances = tuple(
        _significance(result, elements, correction)
        for result in results
        for correction in ("none", "fdr", "fwe-voxel")
    )
    roots = {"raw": tmp_path / "raw", "firstlevel": tmp_path / "firstlevel"}
    for root in roots.values():
        root.mkdir(exist_ok=True)
    maps = tuple(one for observation in observations for one in observation.maps)
    return Made(
        output_dir=tmp_path / "out",
        analysis=analysis,
        data=GroupData(design=design, stack=stack, elements=elements),
        results=results,
        significances=significances,
        cohort=Cohort(maps=maps, tables=(), everyone=(*LABELS, "07"), dataset_names=roots),
        coverage=np.full(GRID.shape, 6, dtype=np.uint16),
        spec=AnalysisSpec(smoothing_fwhm_mm=5.0, formula="~ 0 + group"),
    )


def _result(contrast: Contrast, elements: Elements, random: np.random.Generator) -> ContrastResult:
    n, q = elements.n_elements, len(contrast.weights)
    shape = (n,) if q == 1 else (q, n)
    maps = {
        "effect": random.standard_normal(shape, dtype=np.float32),
        "variance": random.random(shape, dtype=np.float32) + np.float32(0.5),
        contrast.test: random.standard_normal(n, dtype=np.float32) + np.float32(0.01),
        "z": random.standard_normal(n, dtype=np.float32),
        "p": np.maximum(random.random(n, dtype=np.float32), np.float32(1e-6)),
    }
    return ContrastResult(contrast=contrast, dof=4.0, dof_numerator=q, maps=maps)


def _significance(result: ContrastResult, elements: Elements, correction: str) -> Significance:
    is_significant = np.zeros(elements.n_elements, dtype=bool)
    is_significant[:4] = True
    peaks = tuple(
        Peak(
            element=i,
            xyz_mm=tuple(elements.coordinates_mm(np.array([i]))[0]),
            statistic=4.5 - i,
            z=3.0,
            p_uncorrected=0.001,
            p_corrected=0.02,
            effect=1.5,
        )
        for i in (0, 1)
    )
    cluster = Cluster(
        index=1, sign=1, elements=np.arange(4), size_mm3=108.0, peaks=peaks, p_corrected={"peak": 0.02}
    )
    is_shuffled = correction.startswith("fwe-")
    return Significance(
        contrast=result.contrast.name,
        correction=correction,
        alpha=0.05,
        is_two_sided=True,
        threshold=4.1,
        threshold_stat=result.contrast.test,
        p_corrected=None if correction == "none" else np.full(elements.n_elements, 0.5, dtype=np.float32),
        is_significant=is_significant,
        clusters=(cluster,),
        null={"t": np.array([4.5, 3.1, 2.2], dtype=np.float32)} if is_shuffled else {},
        details=Sidecar(number_of_permutations=2, random_seed=0, shuffling="sign flips")
        if is_shuffled
        else Sidecar(),
    )
