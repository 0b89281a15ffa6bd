"""The same numbers as a volume, on surfaces, in CIFTI files and by region: every estimator says the same.

Eighteen people of two groups with two visits; some elements are not observed in everyone.
"""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ParcelsAxis, ScalarAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.cli import main
from bids_group.elements.geodesic import geodesic_weights
from bids_group.elements.smoothing import SD_PER_FWHM
from tests.studies import begin_study

N_VERTICES, N_VOXELS, N_PEOPLE = 42, 12, 18
N = 2 * N_VERTICES
AFFINE = np.diag([2.0, 2, 2, 1])
SIDES = {"L": "Left", "R": "Right"}
FORMS = {
    "volume": "*_statmap.nii.gz",
    "surface": "*_hemi-L_*_statmap.func.gii",
    "cifti": "*_statmap.dscalar.nii",
    "parcels": "*_statmap.pscalar.nii",
    "table": "*_statmap.tsv",
}
REGIONS = [f"region {number:02d}" for number in range(N)]


def cifti_axis(form):
    """Make the last elements voxels below the cortex; or each element a parcel."""
    if form == "parcels":
        vertices = [{"CIFTI_STRUCTURE_CORTEX_LEFT": np.array([number])} for number in range(N)]
        nowhere = [np.zeros((0, 3), int)] * N
        return ParcelsAxis(REGIONS, nowhere, vertices, nvertices={"CIFTI_STRUCTURE_CORTEX_LEFT": N})
    left, right = (
        BrainModelAxis.from_surface(np.arange(stop), N_VERTICES, name=f"CIFTI_STRUCTURE_CORTEX_{side}")
        for side, stop in (("LEFT", N_VERTICES), ("RIGHT", N_VERTICES - N_VOXELS))
    )
    voxels = np.column_stack(np.unravel_index(np.arange(N_VOXELS), (3, 2, 2)))
    below = BrainModelAxis(
        "CIFTI_STRUCTURE_THALAMUS_LEFT", voxel=voxels, affine=AFFINE, volume_shape=(3, 2, 2)
    )
    return left + right + below


def save_maps(form, folder, stem, rows):
    """Save rows over all elements, by stat, as one person's maps of a form."""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "table":
        table = pd.DataFrame({"region": REGIONS, "effect": rows["effect"], "variance": rows["variance"]})
        table.to_csv(folder / f"{stem}_contrast-a_statmap.tsv", sep="\t", index=False, na_rep="n/a")
        return
    for stat, row in rows.items():
        ending = f"contrast-a_stat-{stat}_statmap"
        if form == "volume":
            nib.save(nib.Nifti1Image(row.reshape(-1, 2, 1), AFFINE), folder / f"{stem}_{ending}.nii.gz")
        elif form == "surface":
            for number, (letter, side) in enumerate(SIDES.items()):
                own = GiftiDataArray(row[number * N_VERTICES :][:N_VERTICES])
                meta = GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{side}"})
                path = folder / f"{stem}_hemi-{letter}_space-x_{ending}.func.gii"
                nib.save(GiftiImage(darrays=[own], meta=meta), path)
        else:
            image = Cifti2Image(row[None], (ScalarAxis(["a"]), cifti_axis(form)))
            kind = "dscalar" if form == "cifti" else "pscalar"
            nib.save(image, folder / f"{stem}_space-x_{ending}.{kind}.nii")


@pytest.fixture(scope="module")
def people():
    draw = np.random.default_rng(5)
    table = pd.DataFrame({"participant_id": [f"sub-{number:02d}" for number in range(1, N_PEOPLE + 1)]})
    table["group"] = ["control", "patient"] * (N_PEOPLE // 2)
    table["age"] = draw.integers(20, 60, N_PEOPLE)
    table["size"] = draw.uniform(0.8, 1.3, N_PEOPLE).round(3)
    return table


@pytest.fixture(scope="module")
def rows(people):
    """Numbers of each person and visit, by stat: ``{(person, visit): {stat: (n_elements,)}}``."""
    draw, found = np.random.default_rng(6), {}
    for person, group in people[["participant_id", "group"]].itertuples(index=False):
        level = draw.normal(0, 0.7, N) + 1.2 * (np.arange(N) % 8 == 0)
        for visit in (1, 2):
            effect = level + draw.normal(0.3 * visit, 1 + 0.8 * (group == "patient"), N)
            variance, is_lost = draw.gamma(3, 0.2, N), draw.uniform(size=N) < 0.03
            numbers = {"effect": effect, "variance": variance, "t": effect / np.sqrt(variance)}
            found[person, visit] = {
                stat: np.where(is_lost, np.nan, row).astype(np.float32) for stat, row in numbers.items()
            }
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory, people, rows):
    """The maps in every form: ``root/form``. Never write into it."""
    root = tmp_path_factory.mktemp("forms")
    for form in FORMS:
        first = begin_study(root / form, people)
        for (person, visit), own in rows.items():
            folder = first / person / f"ses-{visit}" / "func"
            save_maps(form, folder, f"{person}_ses-{visit}_task-go", own)
    return root


def values(path, stat):
    """Numbers of a map of the group, in the order of all elements."""
    if path.suffix == ".tsv":
        return pd.read_csv(path, sep="\t")[stat].to_numpy(np.float32)
    if path.suffix == ".gii":
        sides = [path.with_name(path.name.replace("hemi-L", f"hemi-{hemi}")) for hemi in SIDES]
        return np.concatenate([nib.load(side).darrays[0].data for side in sides])
    return np.asarray(nib.load(path).dataobj, dtype=np.float32).ravel()


def run(data, out, form, options):
    """Run, and read every map by what its name says beside its form: ``aGroup_stat-t``."""
    quiet = ["--no-report", "--no-sensitivity", "-q"]
    assert main([str(data), str(out), "group", *map(str, options), *quiet]) == 0
    found = {}
    for path in (out / "group").glob(FORMS[form]):
        name = path.name.split("contrast-", 1)[1].split("_statmap")[0]
        found[name] = values(path, name.split("stat-")[1].split("_")[0])
    return found


PARTLY = ["--min-coverage", "0.6"]
FIRST_VISIT = ["--session-label", "1", "--formula", "~ group + age"]
BOTH_VISITS = ["--pooling", "none", "--formula"]
SHUFFLED = ["--correction", "fwe-voxel", "fdr", "--n-permutations", "99", "--permutation-p"]
ACROSS = ["--familywise", "across-contrasts"]
QUESTIONS = {
    "table": [*FIRST_VISIT, *PARTLY, "--estimator", "weighted", "--scale-by", "size", *SHUFFLED],
    "cifti": [*BOTH_VISITS, "~ group * session + (1 | subject)", *PARTLY],
    "parcels": [*BOTH_VISITS, "~ group * session", "--estimator", "sandwich", *SHUFFLED],
    "surface": [*FIRST_VISIT, "--variance-groups", "group", *ACROSS, *SHUFFLED],
    "surface, t": [*FIRST_VISIT, *PARTLY, "--input-stat", "t", *ACROSS, *SHUFFLED],
}
"""Each was compared in all forms once; a run takes a second."""


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_map_is_that_of_the_volume(study, question, tmp_path):
    form = question.split(",")[0]
    expected, found = (run(study / one, tmp_path / one, one, QUESTIONS[question]) for one in ("volume", form))
    assert len(expected) >= 10
    assert set(found) == set(expected)
    is_inside = expected["a_stat-effect"] != 0
    for name, row in found.items():
        assert form != "table" or (np.isfinite(row) == is_inside).all()  # n/a
        np.testing.assert_array_equal(row[is_inside], expected[name][is_inside], err_msg=name)


def test_smoothed_surfaces_are_the_smoothed_numbers(study, people, rows, make_sphere, tmp_path):
    """Weights of what a person lacks are left out; the rest is as if smoothed numbers had been given."""
    mesh, first = make_sphere(1, radius=20.0, bumps=4.0), begin_study(tmp_path / "data", people)
    weights = geodesic_weights(mesh, 12 * SD_PER_FWHM)
    for side, structure in SIDES.items():
        meta = [{"GeometricType": "Anatomical"}, {"AnatomicalStructurePrimary": f"Cortex{structure}"}]
        points, whole = (GiftiMetaData(one) for one in meta)
        arrays = [
            GiftiDataArray(np.float32(mesh.points), intent=1008, datatype=16, meta=points),
            GiftiDataArray(mesh.triangles, intent=1009, datatype=8),
        ]
        path = tmp_path / f"hemi-{side}_midthickness.surf.gii"
        nib.save(GiftiImage(darrays=arrays, meta=whole), path)
    for person in people["participant_id"]:
        halves = rows[person, 1]["effect"].astype(float).reshape(2, -1)
        smooth = [
            np.where(np.isnan(half), np.nan, (weights @ np.nan_to_num(half)) / (weights @ ~np.isnan(half)))
            for half in halves
        ]
        effect = np.concatenate(smooth).astype(np.float32)
        save_maps("volume", first / person / "func", f"{person}_task-go", {"effect": effect})
    asked = ["--formula", "~ group + age", *PARTLY, "--correction", "fdr"]
    expected = run(tmp_path / "data", tmp_path / "volume", "volume", asked)
    surfaces = ["--surfaces", *sorted(tmp_path.glob("hemi-*")), "--smoothing-fwhm", "12", *FIRST_VISIT]
    found = run(study / "surface", tmp_path / "surface", "surface", [*asked, *surfaces])
    assert set(found) == set(expected)
    for name, row in found.items():
        np.testing.assert_allclose(row, expected[name], rtol=2e-4, atol=1e-5, err_msg=name)
