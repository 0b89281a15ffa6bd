"""Thresholds people use: a minimal extent, true-discovery proportions, −log10 p; each by a second way."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm import cluster_level_inference
from scipy import ndimage, stats

from bids_group.cli import main

EXTENT_MM3 = 2500.0
OPTIONS = ["--correction", "fdr", "fwe-voxel", "ari", "--n-permutations", "40", "--cluster-forming-p", "0.01"]
ASKED = ["--cluster-extent", f"{EXTENT_MM3:g}", "--log10-p", "--permutation-p", "--no-report"]


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module", params=["--two-sided", "--one-sided"])
def outputs(small, tmp_path_factory, request):
    out = tmp_path_factory.mktemp("thresholds") / "out"
    assert main([str(small), str(out), "group", *OPTIONS, *ASKED, request.param, "-q"]) == 0

    def of(ending):
        (path,) = (out / "group").glob(f"*_{ending}")
        return path

    return of, request.param == "--two-sided"


def sidecar(path):
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def test_uncorrected_clusters_have_the_extent_that_was_asked_for_and_say_what_it_is_worth(outputs):
    of, _ = outputs
    t, p = read(of("stat-t_statmap.nii.gz")), read(of("stat-p_statmap.nii.gz"))
    voxel_mm3 = abs(np.linalg.det(nib.load(of("stat-t_statmap.nii.gz")).affine[:3, :3]))
    kept, n_dropped, n_kept = np.zeros(t.shape, dtype=bool), 0, 0
    for sign in (1, -1):
        labels, n = ndimage.label((p <= 0.01) & (t * sign > 0))
        for number in range(1, n + 1):
            is_large = (labels == number).sum() * voxel_mm3 >= EXTENT_MM3
            n_dropped, n_kept = n_dropped + (not is_large), n_kept + is_large
            kept |= (labels == number) & is_large
    assert n_dropped > 0
    assert n_kept > 0
    found = of("desc-none_dseg.nii.gz")
    np.testing.assert_array_equal(read(found) > 0, kept)
    assert sorted(set(read(found)[kept])) == list(range(1, n_kept + 1))
    said = sidecar(found)
    assert said["ClusterExtentMm3"] == EXTENT_MM3
    assert said["ErrorControl"].startswith("none: neither the height nor the extent")
    assert (said["NumberOfClusters"], said["NumberOfSignificantElements"]) == (n_kept, kept.sum())
    table = pd.read_csv(of("desc-none_clusters.tsv"), sep="\t", na_values="n/a")
    assert table["cluster"].nunique() == n_kept
    assert table["size_mm3"].min() >= EXTENT_MM3


def test_each_cluster_carries_the_true_discovery_proportion_of_nilearn(outputs):
    of, is_two_sided = outputs
    z, mask = nib.load(of("stat-z_statmap.nii.gz")), nib.load(of("desc-analysis_mask.nii.gz"))
    alpha, height = (0.025, 0.005) if is_two_sided else (0.05, 0.01)
    expected = np.zeros(z.shape)
    for sign in (1, -1) if is_two_sided else (1,):
        of_sign = nib.Nifti1Image(sign * z.get_fdata(), z.affine)
        theirs = cluster_level_inference(of_sign, mask, threshold=stats.norm.isf(height), alpha=alpha)
        expected += theirs.get_fdata()
    path = of("stat-tdp_desc-ari_statmap.nii.gz")
    assert expected.max() > 0
    np.testing.assert_allclose(read(path), expected, atol=1e-6)
    assert sidecar(path)["AlphaPerSign"] == alpha
    labels, table = read(of("desc-ari_dseg.nii.gz")), of("desc-ari_clusters.tsv")
    for number, rows in pd.read_csv(table, sep="\t", na_values="n/a").groupby("cluster"):
        (value,) = set(read(path)[labels == number])
        assert value == pytest.approx(rows["true_discovery_proportion"].iloc[0], abs=1e-6)


@pytest.mark.parametrize("desc", ["", "desc-fdr_", "desc-fweVoxel_", "desc-permutation_"])
def test_log10_p_is_that_of_p_with_its_threshold_and_cap(outputs, desc):
    of, _ = outputs
    p, path = of(f"stat-p_{desc}statmap.nii.gz"), of(f"stat-log10p_{desc}statmap.nii.gz")
    ours, said = read(path), sidecar(path)
    np.testing.assert_allclose(ours, -np.log10(read(p).astype(float)), rtol=1e-6)
    assert np.isfinite(ours).all()
    assert ours.min() == 0
    level = 0.05 if desc in ("desc-fdr_", "desc-fweVoxel_") else 0.01
    assert said["Threshold"] == pytest.approx(-np.log10(level))
    assert (said["ThresholdStatistic"], said["Alpha"]) == ("log10p", level)
    assert ours.max() <= said["Cap"] * (1 + 1e-6)
    is_shuffled = desc in ("desc-fweVoxel_", "desc-permutation_")
    assert said["Cap"] == pytest.approx(np.log10(41) if is_shuffled else 37.93, abs=0.01)
    np.testing.assert_array_equal(ours >= np.float32(said["Threshold"]), read(p) <= np.float32(level))
    if is_shuffled:
        assert ours.max() == pytest.approx(np.log10(41))


def test_a_p_of_almost_nothing_stays_finite(small_copy, tmp_path):
    """Where all people have one value, t is as large as float32 lets it be."""
    for number, path in enumerate(sorted((small_copy / "derivatives").rglob("*stat-effect_statmap.nii.gz"))):
        image = nib.load(path)
        data = image.get_fdata(dtype=np.float32)
        data[tuple(np.argwhere(data != 0)[0])] = 1 + 1e-6 * number
        nib.save(nib.Nifti1Image(data, image.affine), path)
    out = tmp_path / "out"
    assert main([str(small_copy), str(out), "group", "--log10-p", "--no-report", "-q"]) == 0
    maps = list((out / "group").glob("*_stat-log10p*_statmap.nii.gz"))
    assert len(maps) == 3
    assert all(np.isfinite(read(path)).all() for path in maps)
    assert max(read(path).max() for path in maps) > 20


def test_all_resolutions_inference_is_said_alike_in_log_report_and_table(small, tmp_path):
    out = tmp_path / "out"
    command = [str(small), str(out), "group", "--correction", "ari", "--cluster-forming-p", "0.01"]
    assert main(command) == 0
    table = pd.read_csv(next((out / "group").glob("*desc-ari_clusters.tsv")), sep="\t", na_values="n/a")
    first = table.drop_duplicates("cluster")
    n_found = int((first["true_discovery_proportion"] > 0).sum())
    assert 0 < n_found < len(first)
    words = f"{len(first)} clusters, {n_found} with true discoveries"
    (log,) = (out / "logs").glob("group-*.log")
    assert words in log.read_text()
    page = re.sub(r"<[^>]+>", "", (out / "report.html").read_text())
    assert page.count(words) >= 3  # the answer, the comparison of corrections, the title of the table
    said = json.loads(next((out / "group").glob("*desc-ari_clusters.json")).read_text())
    assert (said["NumberOfClusters"], said["NumberOfClustersWithTrueDiscoveries"]) == (len(first), n_found)


def test_an_extent_asks_for_the_uncorrected_height_and_says_so(small, tmp_path, capsys):
    assert main([str(small), str(tmp_path), "group", "--cluster_extent", "500", "--dry-run"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "Corrections fdr, bonferroni, none" in page
    assert "uncorrected ones of at least 500 mm³" in page
    assert "--cluster-extent 500 belongs to the uncorrected height p ≤ 0.001" in page


@pytest.mark.parametrize(
    "options, message",
    [
        (["--cluster-extent", "-1"], "--cluster-extent is out of range."),
        (["--cluster-extent=-1"], "--cluster-extent is out of range."),
        (["--cluster_extent", "0"], "--cluster-extent is out of range."),
        (["--cluster-extent", "nan"], "--cluster-extent is out of range."),
        (["--cluster-extent", "many"], "--cluster-extent takes a number, not 'many'"),
        (["--cut-coords", "-42,10"], "--cut-coords is not a point."),
        (["--cut-coords", "1,2,3,4"], "--cut-coords is not a point."),
        (["--cut-coords=a,b,c"], "--cut-coords is not a point."),
        (["--cut-coords", "nan,0,0"], "--cut-coords is not a point."),
        (["--cut-coords"], "--cut-coords lacks its value"),
    ],
)
def test_bad_thresholds_and_points_are_refused(small, tmp_path, capsys, options, message):
    assert main([str(small), str(tmp_path / "out"), "group", *options]) == 64
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
