"""Whole runs over surfaces and CIFTI files: areas, smoothing, errors over cortex and subcortex."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from itertools import count

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.elements import Mesh
from bids_group.inference import forecast
from tests.studies import SIDES, begin_study, clusters, run_group, sidecar, write_gifti, write_surface

QUICK = ["--no-report", "--no-sensitivity", "--n-permutations", "99"]
CLUSTERWISE = ["--correction", "fwe-tfce", "fwe-size", "ari", "--cluster-forming-p", "0.01"]
SPACE = "space-fsLR_den-642"
N = 12
LARGE = 11
"""Of this size p of a cluster on the other side is 0.03 with the areas of all, 0.004 without this person."""
PEOPLE = [f"sub-{number:02d}" for number in range(1, N + 1)]


def numbers(path):
    return nib.load(path).darrays[0].data


def values(mesh, random, is_strong):
    near = np.linalg.norm(mesh.points - mesh.points[300], axis=1) < 16
    return np.float32(random.normal(size=mesh.n_vertices) + 2.5 * (near & is_strong))


@pytest.fixture(scope="module")
def mesh(make_sphere):
    return make_sphere(3, radius=30.0, bumps=5.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory, mesh):
    """Twelve people with an effect on the left, a template, and surfaces of their own, half as large again.

    Never write into it.
    """
    root, random = tmp_path_factory.mktemp("surfaces") / "data", np.random.default_rng(0)
    first = begin_study(root, PEOPLE, program="FitLins")
    for side, structure in SIDES.items():
        write_surface(root / "template" / f"tpl-x_hemi-{side}_midthickness.surf.gii", mesh, structure)
        for number, person in enumerate(PEOPLE):
            own = Mesh(points=mesh.points * (1.4 + 0.2 * number / (N - 1)), triangles=mesh.triangles)
            name = f"{person}_hemi-{side}_{SPACE}_midthickness.surf.gii"
            write_surface(root / "people" / person / "anat" / name, own, structure)
            row = GiftiDataArray(values(mesh, random, side == "L"), intent=0, datatype=16)
            name = f"{person}_hemi-{side}_{SPACE}_contrast-faces_stat-effect_statmap.func.gii"
            write_gifti(first / person / "func" / name, [row], structure)
    return root


@pytest.fixture(scope="module")
def template(data):
    return [str(one) for one in sorted((data / "template").iterdir())]


@pytest.fixture(scope="module")
def analysed(data, template, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "template"
    assert run_group(data, out, *CLUSTERWISE, *QUICK, "--surfaces", *template) == 0
    return out


def test_clusters_have_areas_places_and_labels(analysed, mesh):
    for correction in ("fweSize", "fweTfce"):
        table = clusters(analysed, correction)
        labels = {
            side: numbers(next(analysed.glob(f"group/hemi-{side}_*desc-{correction}_dseg.label.gii")))
            for side in SIDES
        }
        assert set(table["structure"]) == {"CORTEX_LEFT"}
        assert not labels["R"].any()
        areas = mesh.areas()
        for row in table.itertuples():
            here = labels["L"] == row.cluster
            assert row.size_mm2 == pytest.approx(areas[here].sum(), rel=1e-5)
            assert row.n_elements == here.sum()
            assert here[row.vertex]
            np.testing.assert_allclose([row.x, row.y, row.z], mesh.points[row.vertex], rtol=1e-5)
        assert table["size_mm3"].isna().all()
    assert sidecar(analysed, "fweTfce_clusters")["Extent"] == {"cortex": "area in mm2"}


def write_atlas(folder, names):
    """Write labels of both hemispheres: 1 where x > 0, 2 elsewhere; 0 at the first ten vertices."""

    def write(side, mesh, n=None):
        keys = np.where(mesh.points[:, 0] > 0, 1, 2).astype(np.int32)
        keys[:10] = 0
        table = nib.gifti.GiftiLabelTable()
        for key, name in {0: "???", **names}.items():
            table.labels.append(nib.gifti.GiftiLabel(key))
            table.labels[-1].label = name
        arrays = [GiftiDataArray(keys[:n], intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32")]
        meta = GiftiMetaData({"AnatomicalStructurePrimary": SIDES[side]})
        path = folder / f"atlas-x_hemi-{side}_dseg.label.gii"
        nib.save(GiftiImage(darrays=arrays, meta=meta, labeltable=table), path)
        return path, keys

    return write


def test_an_atlas_of_labels_names_clusters_and_peaks(data, template, mesh, tmp_path, capsys):
    write = write_atlas(tmp_path, {1: "front", 2: "Unknown"})
    (left, keys), _ = (write(side, mesh) for side in SIDES)
    job = [*CLUSTERWISE, *QUICK, "--surfaces", *template]
    assert run_group(data, tmp_path / "out", *job, "--atlas", left) == 0
    table = clusters(tmp_path / "out", "fweSize")
    assert len(table)
    labels = numbers(next((tmp_path / "out").glob("group/hemi-L_*desc-fweSize_dseg.label.gii")))
    for row in table.itertuples():
        assert row.structure == "CORTEX_LEFT"
        assert (row.region == "front L") == (keys[row.vertex] == 1)
        if row.peak == 1:
            share = (keys[labels == row.cluster] == 1).mean()
            said = row.cluster_regions if isinstance(row.cluster_regions, str) else ""
            assert said == (f"front L {100 * share:.0f} %" if share >= 0.05 else "")
    assert (table["region"] == "front L").any()
    effects = pd.read_csv(next((tmp_path / "out").glob("group/*desc-regions_effects.tsv")), sep="\t")
    assert list(effects)[-2:] == ["front L", "front R"]
    for number, side in enumerate(SIDES):
        paths = sorted((data / "derivatives").rglob(f"*hemi-{side}*statmap.func.gii"))
        means = [numbers(path)[keys == 1].mean() for path in paths]
        np.testing.assert_allclose(effects[f"front {'LR'[number]}"], means, rtol=1e-5)
    assert sidecar(tmp_path / "out", "fweSize_clusters")["Atlas"].startswith("atlas-x")


@pytest.mark.parametrize("kind", ["mesh", "volume", "missing"])
def test_atlases_of_others_are_refused(kind, data, make_sphere, tmp_path, capsys):
    path, told, code = tmp_path / "hemi-L_x.label.gii", "no file", 66
    if kind == "mesh":
        (path, _), told, code = (
            write_atlas(tmp_path, {1: "a", 2: "b"})("L", make_sphere(2)),
            "on the mesh of the maps",
            65,
        )
    if kind == "volume":
        path, told, code = tmp_path / "x_dseg.nii.gz", ".dlabel.nii", 64
        nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.int16), np.eye(4)), path)
    assert run_group(data, tmp_path / "out", *QUICK, "--atlas", path) == code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_mesh_stands_beside_the_results(analysed, mesh):
    for side in SIDES:
        image = nib.load(analysed / "group" / f"hemi-{side}_{SPACE}_midthickness.surf.gii")
        np.testing.assert_allclose(image.agg_data("pointset"), mesh.points, rtol=1e-6)
        np.testing.assert_array_equal(image.agg_data("triangle"), mesh.triangles)
    said = sidecar(analysed, f"hemi-L_{SPACE}_midthickness")
    assert said["Description"] == "The template's midthickness surface"
    assert len(said["Sources"]) == 1


def test_areas_are_the_mean_of_people_s(data, template, analysed, tmp_path, mesh):
    out = tmp_path / "out"
    assert run_group(data, out, *CLUSTERWISE, *QUICK, "--surfaces", data / "people", *template) == 0
    scale = np.mean((1.4 + 0.2 * np.arange(N) / (N - 1)) ** 2)
    before, after = clusters(analysed, "fweSize"), clusters(out, "fweSize")
    np.testing.assert_allclose(after["size_mm2"], before["size_mm2"] * scale, rtol=1e-5)
    np.testing.assert_allclose(after["mass"], before["mass"] * scale, rtol=1e-5)
    np.testing.assert_allclose(after["x"], before["x"])  # the mesh is the template's
    said = sidecar(out, f"hemi-L_{SPACE}_midthickness")
    assert said["Extent"] == {"cortex": f"area in mm2, mean of the surfaces of {N} people"}
    assert len(said["Sources"]) == 1 + N


def test_people_s_surfaces_alone_make_the_mesh(data, tmp_path, mesh, capsys):
    gone = shutil.copytree(data / "people", tmp_path / "people")
    shutil.rmtree(gone / "sub-03")
    out = tmp_path / "out"
    assert run_group(data, out, *CLUSTERWISE, *QUICK, "--surfaces", gone) == 0
    kept = np.delete(1.4 + 0.2 * np.arange(N) / (N - 1), 2).mean()
    image = nib.load(out / "group" / f"hemi-L_{SPACE}_midthickness.surf.gii")
    np.testing.assert_allclose(image.agg_data("pointset"), mesh.points * kept, rtol=1e-5)
    assert "the mean of 11 surfaces of 12 people" in capsys.readouterr().err


def test_areas_without_a_person_are_those_of_the_people_who_stay(data, tmp_path):
    """One person's right hemisphere is so large that clusters there hide the one on the left."""
    own, out = shutil.copytree(data, tmp_path / "data"), tmp_path / "out"
    (left,) = (own / "derivatives").rglob("sub-04_hemi-L*.gii")
    row = numbers(left)
    write_gifti(left, [GiftiDataArray(np.where(row > 2, 3 * row, row), intent=0, datatype=16)], SIDES["L"])
    (right,) = (own / "people").rglob("sub-04_hemi-R*.surf.gii")
    points, triangles = nib.load(right).agg_data(("pointset", "triangle"))
    write_surface(right, Mesh(points=LARGE * points, triangles=triangles), SIDES["R"])
    job = ["--correction", "fwe-size", "--cluster-forming-p", "0.05", "--n-permutations", "499"]
    job += ["--no-report", "--surfaces", own / "people"]
    assert run_group(own, out, *job) == 0
    table = pd.read_csv(next(out.glob("group/*sensitivity_table.tsv")), sep="\t").set_index("left_out")
    assert run_group(own, tmp_path / "alone", *job, "--exclude-participant-label", "04") == 0
    found = clusters(tmp_path / "alone", "fweSize")
    assert table.loc["sub-04", "p"] == pytest.approx(found["p_size"].min(), rel=1e-6)
    assert table.loc["sub-04", "p"] != pytest.approx(table.loc["sub-04", "p_all"])


def test_people_who_are_in_no_analysis_have_no_share_in_the_areas(data, tmp_path):
    """Who lacks a covariate is left out; triangles may be listed in another order."""
    own = shutil.copytree(data, tmp_path / "data")
    ages = ["n/a", *map(str, range(20, 20 + N - 1))]
    people = pd.read_csv(own / "participants.tsv", sep="\t").assign(age=ages)
    people.to_csv(own / "participants.tsv", sep="\t", index=False)
    for path in (own / "people").rglob("sub-03*.surf.gii"):
        points, triangles = nib.load(path).agg_data(("pointset", "triangle"))
        side = "L" if "hemi-L" in path.name else "R"
        write_surface(path, Mesh(points=points, triangles=triangles[::-1][:, [1, 2, 0]]), SIDES[side])
    job = ["--formula", "~ age", "--missing", "drop", "--no-report", "--surfaces", own / "people"]
    assert run_group(own, tmp_path / "out", *job) == 0
    said = sidecar(tmp_path / "out", f"hemi-L_{SPACE}_midthickness")
    assert said["Extent"] == {"cortex": f"area in mm2, mean of the surfaces of {N - 1} people"}
    assert len(said["Sources"]) == N - 1


def test_what_needs_neighbours_is_refused_without_a_surface(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_group(data, out, *CLUSTERWISE, *QUICK) == 64
    told = capsys.readouterr().err
    assert "--correction fwe-tfce, --correction fwe-size, --correction ari" in told
    assert "CORTEX_LEFT, CORTEX_RIGHT" in told
    assert run_group(data, out, "--smoothing-fwhm", "6", *QUICK) == 64
    assert "--smoothing-fwhm 6" in capsys.readouterr().err
    assert not out.exists()


def test_what_needs_none_runs_without_and_says_what_its_clusters_are(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_group(data, out, "--correction", "fwe-voxel", *QUICK) == 0
    assert "stands as one cluster" in capsys.readouterr().err
    table = clusters(out, "fweVoxel")
    assert table["size_mm2"].isna().all()
    assert table["x"].isna().all()
    assert len(table) == 1
    assert not list(out.glob("group/*.surf.gii"))


def test_smoothing_goes_along_the_surface(data, template, tmp_path):
    if shutil.which("wb_command") is None:
        pytest.skip("wb_command (connectome-workbench) is not installed")
    out = tmp_path / "out"
    assert run_group(data, out, "--smoothing-fwhm", "8", "--surfaces", *template, *QUICK) == 0
    name = f"sub-*_hemi-L_{SPACE}_contrast-faces_stat-effect_statmap.func.gii"
    rows = []
    for path in sorted((data / "derivatives").rglob(name)):
        smoothed = tmp_path / path.name
        subprocess.run(
            ["wb_command", "-metric-smoothing", template[0], path, "8", smoothed, "-fwhm"], check=True
        )
        rows.append(numbers(smoothed))
    mean = numbers(out / "group" / f"hemi-L_{SPACE}_contrast-faces_stat-effect_statmap.func.gii")
    assert len(rows) == N
    np.testing.assert_allclose(mean, np.mean(rows, axis=0), atol=1e-5 * np.std(rows))


@pytest.mark.parametrize(
    "kind", ["vertices", "inflated", "hemisphere", "several", "no surface", "empty", "stranger"]
)
def test_wrong_surfaces_are_refused(kind, data, template, make_sphere, mesh, tmp_path, capsys):
    surfaces, out = tmp_path / "surfaces", tmp_path / "out"
    left = surfaces / "hemi-L_midthickness.surf.gii"
    surfaces.mkdir()
    expected = 65
    if kind == "vertices":
        write_surface(left, make_sphere(2), "CortexLeft")
        told = "162 vertices"
    elif kind == "inflated":
        write_surface(left, mesh, "CortexLeft", kind="Inflated")
        told, expected = "inflated", 64
    elif kind == "hemisphere":
        write_surface(left, mesh, "CortexRight")
        told = "disagree about the hemisphere"
    elif kind == "several":
        write_surface(left, mesh, "CortexLeft")
        write_surface(surfaces / "other_hemi-L_midthickness.surf.gii", mesh, "CortexLeft")
        told = "Several surfaces"
    elif kind == "stranger":
        write_surface(surfaces / "sub-77_hemi-L_midthickness.surf.gii", mesh, "CortexLeft")
        told = "CORTEX_RIGHT with 642 vertices, of a template or of people who are analysed (sub-01"
    elif kind == "no surface":
        row = GiftiDataArray(np.zeros(642, np.float32), intent=0, datatype=16)
        write_gifti(left, [row], "CortexLeft")
        told, expected = "is no surface", 64
    given = sorted(surfaces.iterdir())
    if kind == "empty":
        given, told, expected = [surfaces], "no surface in", 66
    assert run_group(data, out, *CLUSTERWISE, *QUICK, "--surfaces", *given) == expected
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_an_extent_in_mm3_has_no_meaning_on_surfaces(data, template, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_group(data, out, "--cluster-extent", "50", *QUICK, "--surfaces", *template) == 64
    told = capsys.readouterr().err
    assert "--cluster-extent" in told
    assert "areas" in told


def test_regions_have_no_neighbours(data, tmp_path, capsys):
    table = pd.DataFrame({"participant_id": PEOPLE, "V1": np.arange(N) / N, "V2": 1.5})
    table.to_csv(tmp_path / "thickness.tsv", sep="\t", index=False)
    maps = ["--maps", tmp_path / "thickness.tsv", *QUICK]
    asked = ["--cluster-extent", "50", "--smoothing-fwhm", "4", "--correction", "fdr", "fwe-size"]
    assert run_group(data, tmp_path / "out", *maps, *asked) == 64
    told = capsys.readouterr().err
    assert "Regions have no neighbours" in told
    assert "areas" not in told
    assert "Leave out fwe-size, --smoothing-fwhm 4, --cluster-extent 50" in told.replace(" and ", ", ")


def seen_in(page):
    """What is read on a page: no scripts, no styles, no command line (``fwe-voxel`` is a name)."""
    bare = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"<[^>]*>|fwe-?[vV]oxel|cluster tests[^<]*|Global, voxel", "", bare)


@pytest.mark.parametrize("correction", ["fwe-voxel", "fwe-size"])
def test_pages_and_methods_speak_of_vertices(correction, data, template, tmp_path):
    out = tmp_path / "out"
    options = ["--correction", correction, "--n-permutations", "99", "--surfaces", *template]
    assert run_group(data, out, *options) == 0
    page = seen_in((out / "report.html").read_text(encoding="utf-8"))
    assert "voxel" not in page
    assert "mm³" not in page
    if correction == "fwe-voxel":
        assert "family-wise error, vertex (permutation)" in page
        assert "distribution of the maximum over elements" in page
        assert "over voxels" not in (out / "logs" / "CITATION.md").read_text(encoding="utf-8")


def test_the_time_of_shuffling_is_measured_on_the_maps_own_neighbours(data, template, tmp_path, monkeypatch):
    """Half of the elements of a graph take half of its time; a clock that ticks once a reading counts."""
    ticks, seen = count(), []
    monkeypatch.setattr(forecast, "perf_counter", lambda: next(ticks))
    timed = forecast._seconds_on_graph
    monkeypatch.setattr(
        forecast,
        "_seconds_on_graph",
        lambda n, geometry: seen.append((n, geometry.weights.size)) or timed(n, geometry),
    )
    job = [*CLUSTERWISE, *QUICK, "--surfaces", *template]
    assert run_group(data, tmp_path / "out", *job, "--dry-run") == 0
    assert seen == [(2 * 642, 2 * 642)]
    assert run_group(data, tmp_path / "out", *job) == 0
    assert seen[1:] == [(2 * 642, 2 * 642)] * 2  # the announcement, and again where the number is known


def test_the_report_draws_surfaces_and_its_viewer_has_the_map(data, template, tmp_path):
    """The mesh stands once on the page; values at the vertices of the file are those of the viewer."""
    out = tmp_path / "out"
    options = ["--correction", "fdr", "--no-sensitivity", "--n-permutations", "99"]
    assert run_group(data, out, *options, "--surfaces", *template) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    (meshes,) = re.findall(r'<script type="application/json" id="meshes-[^"]*">(.*?)</script>', page)
    assert [one["hemi"] for one in json.loads(meshes)] == ["L", "R"]
    (shown,) = re.findall(r'<script type="application/json" id="map-[^"]*">(.*?)</script>', page)
    shown = json.loads(shown)
    for half, side in zip(shown["hemispheres"], "LR", strict=True):
        planes = np.frombuffer(gzip.decompress(base64.b64decode(half["values"])), np.uint8)
        values = np.ascontiguousarray(planes.reshape(2, -1).T).view("<i2").ravel() * half["scale"]
        (path,) = (out / "group").glob(f"*hemi-{side}*_stat-t_statmap.func.gii")
        np.testing.assert_allclose(values, nib.load(path).agg_data(), atol=half["scale"])
    assert shown["strongest"].startswith("L ")
    assert "No picture is drawn" not in page
    assert ">vertices</button>" in page  # the heading of their number
    assert "voxel" not in seen_in(page)
    assert 'class="goto-vertex" data-viewer="viewer-contrast-' in page
