"""Whole runs over surfaces, CIFTI and regions: the same numbers as in a volume give the same statistics."""

import json
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ParcelsAxis, ScalarAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.cli import main
from bids_group.output.results import Results
from tests.studies import begin_study

N_PEOPLE, N_VERTICES, SHAPE = 10, 162, (3, 4, 5)
N_VOXELS = int(np.prod(SHAPE))
N = 2 * N_VERTICES + N_VOXELS
AFFINE = np.diag([2.0, 2, 2, 1])
PEOPLE = [f"{number:02d}" for number in range(1, N_PEOPLE + 1)]
WALL = np.arange(7)
"""Vertices of the left medial wall: 0 in GIFTI, absent in CIFTI."""

QUICK = ["-q", "--no-sensitivity", "--formula", "~ age", "--correction", "none", "fdr", "bonferroni"]


@pytest.fixture(scope="module")
def numbers():
    """Effects and variances ``(n_people, n_elements)`` over left, right and thalamus; 0 at the wall."""
    rng = np.random.default_rng(5)
    effects = rng.standard_normal((N_PEOPLE, N)) + 1.5 * (np.arange(N) % 40 < 8)
    effects[:, WALL] = 0
    return effects.astype(np.float32), rng.uniform(0.5, 2, (N_PEOPLE, N)).astype(np.float32)


def write_gifti(path, values, side):
    meta = GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{side}"})
    nib.save(GiftiImage(darrays=[GiftiDataArray(values)], meta=meta), path)


def write_pair(folder, name, row):
    for number, (letter, side) in enumerate((("L", "Left"), ("R", "Right"))):
        values = row[number * N_VERTICES : (number + 1) * N_VERTICES]
        write_gifti(folder / name.format(hemi=f"hemi-{letter}"), values, side)


def save_cifti(path, axis, row, names=("map",)):
    image = Cifti2Image(np.atleast_2d(row).astype(np.float32), (ScalarAxis(list(names)), axis))
    image.nifti_header.set_intent("ConnDenseScalar")
    nib.save(image, path)


def brain_models(wall=WALL, order=(0, 1, 2), shuffle=None):
    """Axis of the three structures in some order, and the places of its elements in a row over all."""
    left = np.setdiff1d(np.arange(N_VERTICES), wall)
    voxels = np.arange(N_VOXELS) if shuffle is None else shuffle.permutation(N_VOXELS)
    left = left if shuffle is None else shuffle.permutation(left)
    parts = [
        (BrainModelAxis.from_surface(left, N_VERTICES, name="CIFTI_STRUCTURE_CORTEX_LEFT"), left),
        (
            BrainModelAxis.from_surface(
                np.arange(N_VERTICES), N_VERTICES, name="CIFTI_STRUCTURE_CORTEX_RIGHT"
            ),
            N_VERTICES + np.arange(N_VERTICES),
        ),
        (
            BrainModelAxis(
                "CIFTI_STRUCTURE_THALAMUS_LEFT",
                voxel=np.column_stack(np.unravel_index(voxels, SHAPE)),
                affine=AFFINE,
                volume_shape=SHAPE,
            ),
            2 * N_VERTICES + voxels,
        ),
    ]
    axes, places = zip(*(parts[at] for at in order), strict=True)
    return sum(axes[1:], start=axes[0]), np.concatenate(places)


def begin(root):
    ages = {f"sub-{label}": 20 + 3 * int(label) % 17 for label in PEOPLE}
    table = pd.DataFrame({"participant_id": list(ages), "age": list(ages.values())})
    return begin_study(root, table, program="FitLins")


def each_map(derivative, numbers):
    for number, label in enumerate(PEOPLE):
        folder = derivative / f"sub-{label}" / "func"
        folder.mkdir(parents=True, exist_ok=True)
        for stat, rows in zip(("effect", "variance"), numbers, strict=True):
            yield folder, label, stat, rows[number], number


def write_volumes(root, numbers, n=N):
    for folder, label, stat, row, _ in each_map(begin(root), numbers):
        name = f"sub-{label}_task-go_contrast-a_stat-{stat}_statmap.nii.gz"
        nib.save(nib.Nifti1Image(row[:n].reshape(-1, 2, 1, order="C"), AFFINE), folder / name)


def write_surfaces(
    root, numbers, pattern="{sub}_task-go_{hemi}_space-fsaverage2_contrast-a_stat-{stat}_statmap.func.gii"
):
    for folder, label, stat, row, _ in each_map(begin(root), numbers):
        write_pair(folder, pattern.format(sub=f"sub-{label}", hemi="{hemi}", stat=stat), row)


def write_ciftis(root, numbers, axis_of=lambda number: brain_models()):
    for folder, label, stat, row, number in each_map(begin(root), numbers):
        axis, places = axis_of(number)
        name = f"sub-{label}_task-go_space-fsLR_den-1k_contrast-a_stat-{stat}_statmap.dscalar.nii"
        save_cifti(folder / name, axis, row[places])


def run(root, out, *options):
    return main([str(root), str(out), "group", *QUICK, *map(str, options)])


def volume_row(out, stat, n=N):
    """Numbers of a map of the volume, as a row; and which elements were analysed."""
    image = nib.load(next(out.glob(f"group/*contrast-a_stat-{stat}_statmap.nii.gz")))
    mask = nib.load(next(out.glob("group/*contrast-a_desc-analysis_mask.nii.gz")))
    return (np.asarray(one.dataobj).reshape(-1)[:n] for one in (image, mask))


@pytest.fixture(scope="module")
def as_volume(tmp_path_factory, numbers):
    root = tmp_path_factory.mktemp("volume")
    write_volumes(root / "data", numbers)
    assert run(root / "data", root / "out", "--no-report") == 0
    return root / "out"


STATS = ("effect", "variance", "t", "z", "p", "g")


def test_surfaces_give_the_statistics_of_a_volume_and_both_files_of_each_map(tmp_path, numbers, as_volume):
    write_surfaces(tmp_path / "data", numbers)
    assert run(tmp_path / "data", tmp_path / "out") == 0
    stem = "group/task-go_hemi-{}_space-fsaverage2_contrast-a_stat-{}_statmap"
    for stat in STATS:
        expected, _ = volume_row(as_volume, stat, 2 * N_VERTICES)
        sides = [nib.load(tmp_path / "out" / f"{stem.format(hemi, stat)}.func.gii") for hemi in "LR"]
        assert [one.meta["AnatomicalStructurePrimary"] for one in sides] == ["CortexLeft", "CortexRight"]
        found = np.concatenate([one.darrays[0].data for one in sides])
        assert found.dtype == np.float32
        assert found.tobytes() == expected.astype(np.float32).tobytes()
        said = [
            json.loads((tmp_path / "out" / f"{stem.format(hemi, stat)}.json").read_text()) for hemi in "LR"
        ]
        assert said[0] == said[1]
        assert "162 of 162 vertices" in said[0]["Density"]
        assert len(said[0]["Sources"]) == 2 * N_PEOPLE
        assert all("hemi-" in uri and "{" not in uri for uri in said[0]["Sources"])
    pooled = tmp_path / "out" / "sub-01" / "func"
    name = "sub-01_task-go_hemi-L_space-fsaverage2_contrast-a_stat-effect_statmap.func.gii"
    assert np.array_equal(nib.load(pooled / name).darrays[0].data, numbers[0][0, :N_VERTICES])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No picture is drawn of vertices" in page
    table = pd.read_csv(
        tmp_path / "out" / "group" / "task-go_space-fsaverage2_contrast-a_desc-fdr_clusters.tsv", sep="\t"
    )
    t, _ = volume_row(as_volume, "t", 2 * N_VERTICES)
    for _, row in table.iterrows():
        at = row["vertex"] + (N_VERTICES if row["structure"] == "CORTEX_RIGHT" else 0)
        assert row["t"] == pytest.approx(t[at], rel=1e-6)
    assert main([str(tmp_path / "data"), str(tmp_path / "out"), "group", "--reports-only", "-q"]) == 0


def dscalar(out, stat):
    """A map of CIFTI as a row over left, right and thalamus, NaN where it has no element."""
    image = nib.load(next(out.glob(f"group/*contrast-a_stat-{stat}_statmap.dscalar.nii")))
    row, offsets = np.full(N, np.nan, np.float32), {}
    for name, place, model in image.header.get_axis(1).iter_structures():
        start = {"LEFT": 0, "RIGHT": N_VERTICES}.get(name.split("_")[-1], 0)
        if "THALAMUS" in name:
            at = 2 * N_VERTICES + np.ravel_multi_index(tuple(model.voxel.T), SHAPE)
        else:
            at = start + model.vertex
        row[at] = image.get_fdata(dtype=np.float32)[0, place]
        offsets[name] = place
    return row


def test_cifti_gives_them_too_in_whichever_order_its_brain_models_stand(tmp_path, numbers, as_volume):
    rng = np.random.default_rng(1)
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0)]
    write_ciftis(
        tmp_path / "data",
        numbers,
        lambda n: brain_models(order=orders[n % 3], shuffle=rng if n % 2 else None),
    )
    assert run(tmp_path / "data", tmp_path / "out") == 0
    for stat in STATS:
        expected, inside = volume_row(as_volume, stat)
        found = dscalar(tmp_path / "out", stat)
        assert np.isnan(found[WALL]).all()
        assert found[inside > 0].tobytes() == expected[inside > 0].astype(np.float32).tobytes()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The cortex is drawn where there are surfaces: give midthickness surfaces with --surfaces." in page
    assert "What lies below the cortex in the t map" in page


def test_another_medial_wall_is_not_observed_and_not_zero(tmp_path, numbers):
    """One person lacks ten vertices more: they are out, and analysed where nine of ten are enough."""
    effects, _ = numbers
    more = np.arange(17)
    write_ciftis(tmp_path / "data", numbers, lambda n: brain_models(wall=more if n == 3 else WALL))
    assert run(tmp_path / "data", tmp_path / "out", "--no-report") == 0
    found = dscalar(tmp_path / "out", "n")
    assert np.isnan(found[WALL]).all()
    assert (found[7:17] == 0).all()
    assert (found[17:] == N_PEOPLE).all()
    assert run(tmp_path / "data", tmp_path / "most", "--no-report", "--min-coverage", "0.9") == 0
    assert (dscalar(tmp_path / "most", "n")[7:17] == N_PEOPLE - 1).all()
    ages = pd.read_csv(tmp_path / "data" / "participants.tsv", sep="\t")["age"].to_numpy(float)
    kept = np.arange(N_PEOPLE) != 3
    matrix = np.column_stack([np.ones(N_PEOPLE), ages - ages.mean()])[kept]
    expected = np.linalg.lstsq(matrix, effects[kept][:, 7:17].astype(float), rcond=None)[0][0]
    np.testing.assert_allclose(dscalar(tmp_path / "most", "effect")[7:17], expected, rtol=1e-5)


@pytest.mark.skipif(shutil.which("wb_command") is None, reason="Connectome Workbench is not installed")
def test_connectome_workbench_reads_every_map(tmp_path, numbers):
    write_ciftis(tmp_path / "c", numbers)
    write_surfaces(tmp_path / "g", numbers)
    for name in ("c", "g"):
        assert run(tmp_path / name, tmp_path / f"{name}-out", "--no-report") == 0
        maps = [
            path for path in (tmp_path / f"{name}-out" / "group").iterdir() if path.suffix in (".gii", ".nii")
        ]
        assert len(maps) > 20
        for path in maps:
            told = subprocess.run(
                ["wb_command", "-file-information", str(path)], capture_output=True, text=True, check=True
            )
            assert "CortexLeft" in told.stdout or "CortexRight" in told.stdout


def test_parcels_and_tables_of_regions_are_a_volume_of_regions(tmp_path, numbers, as_volume):
    """The first elements of the volume as parcels, and as a table with a column for each."""
    wanted = np.arange(8, 48)
    names = [f"region {number}" for number in wanted]
    nowhere = [np.zeros((0, 3), int)] * len(wanted)
    vertices = [{"CIFTI_STRUCTURE_CORTEX_LEFT": np.array([number])} for number in wanted]
    nvertices = {"CIFTI_STRUCTURE_CORTEX_LEFT": N_VERTICES}
    axis = ParcelsAxis(names, nowhere, vertices, nvertices=nvertices)
    for folder, label, stat, row, _ in each_map(begin(tmp_path / "parcels"), numbers):
        save_cifti(folder / f"sub-{label}_contrast-a_stat-{stat}_statmap.pscalar.nii", axis, row[wanted])
    begin(tmp_path / "table")
    table = pd.DataFrame(numbers[0][:, wanted], columns=names)
    table.insert(0, "participant_id", [f"sub-{label}" for label in PEOPLE])
    table.to_csv(tmp_path / "table" / "a.tsv", sep="\t", index=False)
    assert run(tmp_path / "parcels", tmp_path / "p") == 0
    options = [
        "--maps",
        tmp_path / "table" / "a.tsv",
        "--correction",
        "fdr",
        "fwe-voxel",
        "--n-permutations",
        "99",
    ]
    assert run(tmp_path / "table", tmp_path / "t", *options) == 0
    for stat in ("effect", "t", "p"):
        row, _ = volume_row(as_volume, stat)
        parcels = nib.load(tmp_path / "p" / "group" / f"contrast-a_stat-{stat}_statmap.pscalar.nii")
        assert tuple(parcels.header.get_axis(1).name) == tuple(names)
        assert parcels.get_fdata(dtype=np.float32)[0].tobytes() == row[wanted].astype(np.float32).tobytes()
        regions = pd.read_csv(tmp_path / "t" / "group" / f"contrast-a_stat-{stat}_statmap.tsv", sep="\t")
        assert list(regions["region"]) == names
        assert np.array_equal(regions[stat].astype(np.float32), row[wanted].astype(np.float32))
    assert "Effect of each region, sorted" in (tmp_path / "t" / "report.html").read_text(encoding="utf-8")
    clusters = pd.read_csv(tmp_path / "t" / "group" / "contrast-a_desc-fdr_clusters.tsv", sep="\t")
    assert set(clusters["region"]) <= set(names)
    assert (clusters["n_elements"] == 1).all()
    results = Results(output_dir=tmp_path / "t")
    assert list(results.image("mean", "t").columns) == ["region", "t"]
    assert isinstance(Results(output_dir=tmp_path / "p").image("mean", "t"), Cifti2Image)


def test_a_mask_is_given_by_its_left_file_and_structures_are_kept(tmp_path, numbers, as_volume, capsys):
    write_surfaces(tmp_path / "data", numbers)
    inside = np.zeros(2 * N_VERTICES, np.float32)
    inside[20:40] = inside[200:230] = 1
    write_pair(tmp_path, "{hemi}_mask.shape.gii", inside)
    masked = ["--no-report", "--mask", tmp_path / "hemi-L_mask.shape.gii"]
    assert run(tmp_path / "data", tmp_path / "out", *masked) == 0
    results = Results(output_dir=tmp_path / "out")
    left, right = (one.darrays[0].data for one in results.image("mean", "t"))
    row, _ = volume_row(as_volume, "t", 2 * N_VERTICES)
    expected = np.where(inside > 0, row, 0).astype(np.float32)
    assert np.concatenate([left, right]).tobytes() == expected.tobytes()
    assert run(tmp_path / "data", tmp_path / "left", *masked, "--structures", "CORTEX_LEFT") == 0
    there = sorted(path.name for path in (tmp_path / "left" / "group").glob("*stat-t_statmap.func.gii"))
    assert there == [
        "task-go_hemi-L_space-fsaverage2_contrast-aAge_stat-t_statmap.func.gii",
        "task-go_hemi-L_space-fsaverage2_contrast-a_stat-t_statmap.func.gii",
    ]
    alone = nib.load(tmp_path / "left" / "group" / there[1]).darrays[0].data
    assert alone.tobytes() == expected[:N_VERTICES].tobytes()
    for options, n_foretold in ((masked, 50), ([*masked, "--structures", "CORTEX_LEFT"], 20)):
        capsys.readouterr()
        assert (
            run(tmp_path / "data", tmp_path / "none", *options, "--dry-run", "--output-format", "json") == 0
        )
        said = json.loads(capsys.readouterr().out)["Memory"]["Maps"]
        assert f"about {n_foretold} elements" in said[0], said


def test_a_second_run_takes_the_pooled_maps_and_writes_the_same_bytes(tmp_path, numbers, contents_of):
    write_ciftis(tmp_path / "data", numbers)
    for _ in range(2):
        assert run(tmp_path / "data", tmp_path / "out", "--no-report") == 0
    first = contents_of(tmp_path / "out")
    effect = next((tmp_path / "out" / "sub-01" / "func").glob("*stat-effect*.dscalar.nii"))
    before = effect.stat().st_mtime_ns
    assert run(tmp_path / "data", tmp_path / "out", "--no-report") == 0
    assert contents_of(tmp_path / "out") == first
    assert effect.stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", ["surface", "table"])
def test_what_nobody_was_observed_in_is_named(kind, tmp_path, numbers, capsys):
    if kind == "surface":
        effects = numbers[0][:, : 2 * N_VERTICES].copy()
        effects[:, N_VERTICES:] = 0
        write_surfaces(tmp_path / "data", (effects, numbers[1]))
        options, absent = [], "CORTEX_RIGHT"
    else:
        begin(tmp_path / "data")
        table = pd.DataFrame({"participant_id": [f"sub-{label}" for label in PEOPLE], "V1": "n/a"})
        table = table.assign(V2=numbers[0][:, 20])
        table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
        options, absent = ["--maps", tmp_path / "a.tsv"], "V1"
    assert run(tmp_path / "data", tmp_path / "out", "--no-report", *options) == 0
    assert f"Nobody has a number in {absent}: nothing is analysed there" in capsys.readouterr().err
