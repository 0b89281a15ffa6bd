"""First-level maps of three studies: the real ones where they are, else look-alikes written here.

The tests that use them are the same; what they expect of the real ones (a peak and its t) is known from
elsewhere, what they expect of look-alikes is computed here from the numbers that were written.
"""

import gc
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from scipy import ndimage

from bids_group.elements import Mesh
from bids_group.output.report.axes import Chart
from bids_group.output.report.sheet import Sheet
from tests.studies import begin_study

settings.register_profile("same", derandomize=True)  # to search on: pytest --hypothesis-profile=default
settings.load_profile("same")


def pytest_collection_finish():
    """Keep modules and tests, which stay, from being searched for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """A command that was interrupted ignores signals until it is gone; here the next test follows."""
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(one) for one in both]
    yield
    for one, usual in zip(both, before, strict=True):
        signal.signal(one, usual)


REAL = Path(__file__).parents[1] / ".." / "shared" / "data"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A dataset, and what its maps are known to hold (thirty people: place and t of the peak)."""

    root: Path
    peak_mm: tuple[float, ...] = ()
    peak_with_covariate_mm: tuple[float, ...] = ()
    peak_t: float = 0.0


def icosphere(order: int, radius: float = 50.0, bumps: float = 0.0) -> Mesh:
    """A sphere of 10 · 4^order + 2 vertices; with bumps of so many mm, so that areas differ."""
    golden = (1 + 5**0.5) / 2
    points = [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    points = np.array([np.roll(one, turn) for turn in range(3) for one in points], dtype=float)
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    near = np.isclose(gaps, 2)
    sides = [
        (i, j, k)
        for i in range(12)
        for j in range(i)
        for k in range(j)
        if near[i, j] & near[j, k] & near[i, k]
    ]
    triangles = np.array(sides)
    middles = points[triangles]
    outward = np.einsum("ti,ti->t", np.cross(*np.diff(middles, axis=1).transpose(1, 0, 2)), middles[:, 0]) > 0
    triangles[~outward] = triangles[~outward][:, ::-1]
    for _ in range(order):
        ends = np.sort(
            np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
        )
        edges, number = np.unique(ends, axis=0, return_inverse=True)
        a, b, c = number.reshape(3, -1) + len(points)
        points = np.concatenate([points, points[edges].mean(axis=1)])
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        i, j, k = triangles.T
        triangles = np.concatenate(
            [np.stack(one, axis=1) for one in ((i, a, c), (a, j, b), (c, b, k), (a, b, c))]
        )
    random = np.random.default_rng(0)
    radii = radius + bumps * np.sin(3 * points @ random.normal(size=(3, 2))).sum(axis=1, keepdims=True)
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return Mesh(points=points * radii, triangles=triangles.astype(np.int32))


@pytest.fixture(scope="session")
def make_sphere():
    return icosphere


def _write_placeholders():
    """Write a word for each picture: to draw them takes most of the time of a run with a report."""
    with pytest.MonkeyPatch.context() as patched:
        for kind in (Chart, Sheet):
            patched.setattr(kind, "render", lambda _: b"a picture")
        yield


@pytest.fixture(scope="session", autouse=True)
def _do_not_wait_for_the_disk():
    """What a loss of power would do is tested in ``tests/faults``, in processes of their own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _time_once():
    """Let the forecast of a run time each part once, on a small tile, not for a twentieth of a second."""
    from bids_group.inference import forecast
    from bids_group.workflow import needs

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forecast, "_ENOUGH", 1e-9)
        patched.setattr(needs, "_NUMBERS_OF_TILE", 2**12)
        yield


placeholders = pytest.fixture(_write_placeholders, name="placeholders")
placeholders_in_module = pytest.fixture(_write_placeholders, name="placeholders_in_module", scope="module")


@pytest.fixture(scope="session")
def emoreg(tmp_path_factory):
    """Thirty people, one contrast, no variance, NaN outside each person's mask; a mask of grey matter."""
    if (REAL / "emoreg").is_dir():
        return Study(
            root=REAL / "emoreg",
            peak_mm=(-6.9, 24.1, 54.0),
            peak_with_covariate_mm=(-6.9, 24.1, 49.5),
            peak_t=7.25,
        )
    return _write_thirty_people(tmp_path_factory.mktemp("look-alike") / "emoreg")


@pytest.fixture(scope="session")
def haxby_runs(tmp_path_factory):
    """Twelve runs of one person, three contrasts with variances, in two resolutions."""
    if (REAL / "haxby_runs").is_dir():
        return Study(root=REAL / "haxby_runs")
    return _write_twelve_runs(tmp_path_factory.mktemp("look-alike") / "haxby_runs")


@pytest.fixture(scope="session")
def pain21(tmp_path_factory):
    """Twenty-one people, two contrasts, variances that differ by orders of magnitude."""
    if (REAL / "pain21").is_dir():
        return Study(root=REAL / "pain21")
    return _write_twenty_one_people(tmp_path_factory.mktemp("look-alike") / "pain21")


def _save(path, values, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine), path)


def _write_thirty_people(root):
    random, shape = np.random.default_rng(2008), (20, 22, 16)
    labels = [f"sub-{number:02d}" for number in range(1, 31)]
    success = random.normal(0.8, 0.5, 30).round(4)
    success[2] = 1.2941
    people = pd.DataFrame({"participant_id": labels, "reappraisal_success": success})
    folder = begin_study(root, people, name="firstlevel")
    described = {"reappraisal_success": {"Description": "Drop in rating", "Units": "rating points"}}
    (root / "participants.json").write_text(json.dumps(described))
    affine = np.diag([3.4375, 3.4375, 4.5, 1.0])
    affine[:3, 3] = (-34.0, -20.0, -30.0)
    distance = np.sqrt((((np.indices(shape).T - np.array(shape) / 2 + 0.5) / np.array(shape)) ** 2).sum(-1)).T
    grey, lost = distance < 0.4, np.zeros((30, *shape), dtype=bool)
    for number, element in enumerate(random.permutation(np.argwhere(grey))[:4]):
        lost[(7 * number, *element)] = True  # four elements, each in one person
    noise = np.stack([ndimage.gaussian_filter(random.normal(size=shape), 1.5) for _ in labels])
    bump = np.exp(-((np.indices(shape).T - (7, 13, 10)) ** 2).sum(-1).T / 8)
    maps = (noise / noise.std() + 1.4 * bump).astype(np.float32)
    maps[lost | (distance > 0.45 + 0.02 * random.uniform(size=30)[:, None, None, None])] = np.nan
    stem = "task-emoreg_space-MNI152Lin_contrast-reappraiseVsLook_stat-effect_statmap.nii.gz"
    for label, values in zip(labels, maps, strict=True):
        _save(folder / label / "func" / f"{label}_{stem}", values, affine)
    _save(root / "desc-gm_mask.nii.gz", grey, affine)
    seen = grey & np.isfinite(maps).all(axis=0)
    observed = maps[:, seen].astype(np.float64)
    t = observed.mean(axis=0) / observed.std(axis=0, ddof=1) * np.sqrt(30)
    centred = success - success.mean()
    slope = centred @ observed / (centred @ centred)
    residuals = observed - observed.mean(axis=0) - centred[:, None] * slope
    with_covariate = observed.mean(axis=0) / np.sqrt((residuals**2).sum(axis=0) / 28 / 30)
    peaks = [
        tuple(nib.affines.apply_affine(affine, np.argwhere(seen)[values.argmax()]))
        for values in (t, with_covariate)
    ]
    return Study(root=root, peak_mm=peaks[0], peak_with_covariate_mm=peaks[1], peak_t=float(t.max()))


def _write_twelve_runs(root):
    random = np.random.default_rng(2001)
    folder = begin_study(root, ["sub-01"], name="firstlevel") / "sub-01" / "func"
    grids = {
        "25mm": ((6, 10, 10), np.diag([-25.0, 25.0, 25.0, 1.0])),
        "slice": ((40, 20, 1), np.diag([-3.1, 3.75, 3.75, 1.0])),
    }
    for res, (shape, affine) in grids.items():
        stem = f"sub-01_task-objectviewing{{}}_space-orig_res-{res}"
        mask = random.uniform(size=shape) < 0.6
        _save(folder / f"{stem.format('')}_desc-brain_mask.nii.gz", mask, affine)
        for run in range(1, 13):
            for contrast in ("face", "faceVsHouse", "objectVsScrambled"):
                own = (
                    folder
                    / f"{stem.format(f'_run-{run:02d}')}_contrast-{contrast}_stat-effect_statmap.nii.gz"
                )
                effect = np.where(mask, random.normal(0.5, 2, shape), 0)
                variance = np.where(mask, random.gamma(2, 1, shape) * 10.0 ** random.integers(-1, 2), 0)
                _save(own, effect, affine)
                _save(Path(str(own).replace("stat-effect", "stat-variance")), variance, affine)
                sidecar = {"ContrastName": contrast, "DegreesOfFreedom": 102}
                Path(str(own).replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return Study(root=root)


def _write_twenty_one_people(root):
    random, shape = np.random.default_rng(21), (10, 10, 10)
    labels = [f"sub-{number:02d}" for number in range(1, 22)]
    folder = begin_study(root, labels, name="firstlevel")
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    for label in labels:
        for contrast in ("pain", "painHedges"):
            own = (
                folder / label / "func" / f"{label}_task-pain_space-MNI152NLin6Asym_res-2_contrast-{contrast}"
            )
            scale = 10.0 ** random.uniform(-1, 2)
            variance = scale * random.gamma(4, 0.25, shape)
            _save(Path(f"{own}_stat-effect_statmap.nii.gz"), random.normal(1, np.sqrt(variance)), affine)
            _save(Path(f"{own}_stat-variance_statmap.nii.gz"), variance, affine)
    return Study(root=root)
