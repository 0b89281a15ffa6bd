"""Whole runs over CIFTI files: cortex and subcortex side by side, and atlases of both."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from tests.studies import SIDES, begin_study, clusters, run_group, sidecar, write_surface

N = 12
QUICK = ["--no-report", "--no-sensitivity", "--n-permutations", "99"]
CLUSTERWISE = ["--correction", "fwe-tfce", "fwe-size", "ari", "--cluster-forming-p", "0.01"]


@pytest.fixture(scope="module")
def template(tmp_path_factory, make_sphere):
    """A surface of each hemisphere."""
    folder, mesh = tmp_path_factory.mktemp("template"), make_sphere(3, radius=30.0, bumps=5.0)
    for side, structure in SIDES.items():
        write_surface(folder / f"tpl-x_hemi-{side}_midthickness.surf.gii", mesh, structure)
    return [str(one) for one in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """Twelve people's CIFTI maps: a hemisphere without its medial wall, and two structures of voxels."""
    root, random = tmp_path_factory.mktemp("dense") / "data", np.random.default_rng(1)
    people = [f"sub-{number:02d}" for number in range(1, N + 1)]
    first = begin_study(root, people, program="FitLins")
    boxes = np.zeros((2, 16, 12, 10), bool)
    boxes[0, 2:8, 2:10, 2:8], boxes[1, 8:14, 2:10, 2:8] = True, True
    affine = np.diag([2.0, 2, 2, 1])
    axis = nib.cifti2.BrainModelAxis.from_mask(np.arange(642) >= 40, name="CortexLeft")
    for box, name in zip(boxes, ("thalamus_left", "caudate_left"), strict=True):
        axis += nib.cifti2.BrainModelAxis.from_mask(box, affine=affine, name=name)
    for person in people:
        row = np.float32(random.normal(size=len(axis)))
        row[602:650] += 2.5
        image = nib.Cifti2Image(row[None], header=(nib.cifti2.ScalarAxis(["faces"]), axis))
        name = f"{person}_space-fsLR_den-91k_contrast-faces_stat-effect_statmap.dscalar.nii"
        (first / person / "func").mkdir(parents=True)
        image.to_filename(first / person / "func" / name)
    return root


@pytest.mark.parametrize("parts", ["joint", "each"])
def test_cortex_and_subcortex_have_thresholds_of_their_own(parts, dense, template, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        run_group(dense, out, *CLUSTERWISE, *QUICK, "--surfaces", *template, "--familywise-parts", parts) == 0
    )
    said = sidecar(out, "fweTfce_clusters")
    assert said["FamilywiseParts"] == parts
    assert list(said["ThresholdByPart"]) == ["cortex", "subcortex"]
    assert said["Extent"] == {"cortex": "area in mm2", "subcortex": "volume in mm3"}
    null = pd.read_csv(next(out.glob("group/*fweTfce_null.tsv")), sep="\t")
    assert list(null) == ["tfce_cortex", "tfce_subcortex"]
    assert len(null) == 100
    table = clusters(out, "fweSize")
    assert set(table["structure"]) <= {"CAUDATE_LEFT", "THALAMUS_LEFT"}  # by name: nibabel writes capitals
    assert (table["size_mm3"] == 8 * table["n_elements"]).all()
    assert table["size_mm2"].isna().all()
    assert ("smallest of their p" in capsys.readouterr().err) == (parts == "joint")


def test_a_dlabel_file_names_vertices_and_voxels(dense, tmp_path):
    """Another order of structures; names of the table in it."""
    image = nib.load(next(dense.rglob("sub-01*.dscalar.nii")))
    axis = image.header.get_axis(1)
    own = {name: model for name, _, model in axis.iter_structures()}
    other = own["CIFTI_STRUCTURE_CAUDATE_LEFT"] + own["CIFTI_STRUCTURE_CORTEX_LEFT"]
    keys = np.repeat(
        [7, 5],
        [
            model.name.size
            for model in (own["CIFTI_STRUCTURE_CAUDATE_LEFT"], own["CIFTI_STRUCTURE_CORTEX_LEFT"])
        ],
    )
    table = {0: ("???", (0, 0, 0, 0)), 5: ("bark", (1, 0, 0, 1)), 7: ("tail", (0, 1, 0, 1))}
    atlas = nib.Cifti2Image(keys[None].astype(np.int32), (nib.cifti2.LabelAxis(["a"], [table]), other))
    nib.save(atlas, tmp_path / "x.dlabel.nii")
    job = ["--correction", "none", "--cluster-forming-p", "0.05", *QUICK]
    assert run_group(dense, tmp_path / "out", *job, "--atlas", tmp_path / "x.dlabel.nii") == 0
    found = clusters(tmp_path / "out", "none")
    named = {"CAUDATE_LEFT": {"tail"}, "CORTEX_LEFT": {"bark"}, "THALAMUS_LEFT": {"-"}}
    for structure, names in named.items():
        assert set(found.loc[found["structure"] == structure, "region"].fillna("-")) == names
