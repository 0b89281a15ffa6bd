"""Files as HCP writes them: the person in names of maps, several maps in a file, copes as short series."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis, SeriesAxis

from bids_group.bids import find_surfaces, gather_cohort
from bids_group.config import Inputs, Selection
from bids_group.elements import FSAVERAGE5, Mesh, read_header, read_map
from bids_group.errors import SelectionError, UsageError
from tests.studies import SIDES, begin_study, write_surface

PEOPLE = ("100307", "100408", "101107")
LEVEL = "tfMRI_EMOTION_level2"


def models(side="LEFT"):
    return BrainModelAxis.from_surface(np.arange(5), 12, name=f"CIFTI_STRUCTURE_CORTEX_{side}")


def save(path, along, rows, axis=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(Cifti2Image(np.float32(rows), (along, axis or models())), path)


@pytest.fixture
def root(tmp_path):
    begin_study(tmp_path / "data", [f"sub-{label}" for label in PEOPLE])
    return tmp_path


def write_levels(root, swapped=()):
    """Write both contrasts of each person into one file: faces are the person's number plus 0.5."""
    for number, label in enumerate(PEOPLE):
        rows = {"SHAPES": np.full(5, number + 10.0), "FACES": np.full(5, number + 0.5)}
        names = list(rows)[:: -1 if label in swapped else 1]
        along = ScalarAxis([f"{label}_{LEVEL}_{name}_hp200_s4" for name in names])
        save(root / label / f"{label}_{LEVEL}_s4.dscalar.nii", along, [rows[name] for name in names])


def gather(root, table, **selection):
    return gather_cohort(
        Inputs(bids_dir=root / "data", maps_table=table), Selection(**selection), root / "out"
    )


def test_a_map_is_chosen_by_a_name_with_the_person_in_it(root):
    write_levels(root, swapped=PEOPLE[1:2])
    file = root / "{subject}" / f"{{subject}}_{LEVEL}_s4.dscalar.nii"
    for label in (f"{{subject}}_{LEVEL}_{{contrast}}_hp200_s4", f"*_{LEVEL}_{{contrast}}_hp200_s4"):
        maps = gather(root, file.with_name(f"{file.name}[{label}]")).maps
        assert [m.contrast for m in maps] == ["FACES"] * 3 + ["SHAPES"] * 3
        assert [read_map(m.effect).data[0] for m in maps] == [0.5, 1.5, 2.5, 10, 11, 12]
    (name,) = {
        m.contrast
        for m in gather(root, file.with_name(f"{file.name}[{{subject}}_{LEVEL}_FACES_hp200_s4]")).maps
    }
    assert name == f"{LEVEL}_FACES_hp200_s4"


@pytest.mark.parametrize("swapped", [(), ("100408",)])
@pytest.mark.parametrize("is_pattern", [True, False])
def test_one_number_for_maps_of_other_names_is_told(root, swapped, is_pattern):
    write_levels(root, swapped)
    table = root / "{subject}" / f"{{subject}}_{LEVEL}_s4.dscalar.nii,2"
    if not is_pattern:
        table = root / "maps.tsv"
        files = [f"{label}/{label}_{LEVEL}_s4.dscalar.nii,2" for label in PEOPLE]
        frame = pd.DataFrame({"participant_id": PEOPLE, "contrast": "faces", "effect": files})
        frame.to_csv(table, sep="\t", index=False)
    told = [one.sentence for one in gather(root, table).notices if "different names" in one.sentence]
    assert len(told) == len(swapped)
    assert all(f"'{LEVEL}_SHAPES_hp200_s4' in sub-100408 (1)" in one for one in told)


def write_numbered(root, labels, names=("Contrast 1", "Contrast 2")):
    people = dict.fromkeys(f"sub-{label.split('_')[0]}" for label in labels)
    (root / "data" / "participants.tsv").write_text("\n".join(["participant_id", *people]))
    for n, label in enumerate(labels):
        along = ScalarAxis([name.format(n + 301) for name in names])
        save(root / "maps" / f"sub-{label}.dscalar.nii", along, n + np.arange(10.0).reshape(2, 5))


@pytest.mark.parametrize(
    "labels, pattern, name",
    [
        ("1 2 3", "sub-{subject}.dscalar.nii[Contrast 1]", "Contrast 1"),
        ("1 2 3", "sub-{subject}.dscalar.nii[*1]", "Contrast 1"),
        ("1_run-1 1_run-2 2_run-1 2_run-2", "sub-{subject}_run-{run}.dscalar.nii[Contrast 1]", "Contrast 1"),
    ],
)
def test_a_label_that_stands_in_the_name_of_a_map_too_is_no_other_contrast(root, labels, pattern, name):
    write_numbered(root, labels.split())
    assert {m.contrast for m in gather(root, root / "maps" / pattern).maps} == {name}


def test_a_map_called_only_by_its_person_is_called_as_its_file(root):
    save(root / "all.dscalar.nii", ScalarAxis(list(PEOPLE)), np.arange(15.0).reshape(3, 5))
    maps = gather(root, root / "all.dscalar.nii[{subject}]").maps
    assert [(m.contrast, m.subject) for m in maps] == [("all", label) for label in PEOPLE]


@pytest.mark.parametrize("names", [("Contrast 1", "x"), ("{}_FACES", "x")])
def test_a_number_for_maps_of_one_name_or_of_one_s_own_is_not_told(root, names):
    labels = ["1", "2", "3", "4", "5", "6"]
    write_numbered(root, labels, names)
    cohort = gather(root, root / "maps/sub-{subject}.dscalar.nii,1")
    assert not [one for one in cohort.notices if "different names" in one.sentence]


def test_a_series_of_one_point_is_a_map_and_longer_ones_are_not(root):
    for number, label in enumerate(PEOPLE):
        save(root / label / "cope1.dtseries.nii", SeriesAxis(0, 1, 1), [np.full(5, number + 1.0)])
    maps = gather(root, root / "{subject}" / "cope1.dtseries.nii").maps
    assert {m.contrast for m in maps} == {"cope1"}
    assert [read_map(m.effect).data[0] for m in maps] == [1, 2, 3]
    save(root / "long.dtseries.nii", SeriesAxis(0, 1, 2), np.ones((2, 5)))
    with pytest.raises(UsageError, match="a series"):
        read_map(root / "long.dtseries.nii")


def test_structures_are_parted_by_commas_and_half_names_are_answered_with_both(root):
    both = models("LEFT") + models("RIGHT")
    for number, label in enumerate(PEOPLE):
        save(root / label / "x.dscalar.nii", ScalarAxis(["x"]), [np.full(10, number + 1.0)], both)
    table = root / "{subject}" / "x.dscalar.nii"
    cohort = gather(root, table, structures=("CORTEX_LEFT,CORTEX_RIGHT",))
    assert len(cohort.spaces[cohort.maps[0].effect].parts) == 2
    with pytest.raises(SelectionError) as caught:
        gather(root, table, structures=("CORTEX",))
    assert caught.value.fix == "--structures CORTEX_LEFT CORTEX_RIGHT"


@pytest.mark.parametrize(
    "name", ["{}.{}.midthickness.32k_fs_LR.surf.gii", "sub-{}/surf/{}.midthickness.surf.gii"]
)
def test_people_s_surfaces_are_known_by_names_of_hcp_and_by_folders(root, make_sphere, name):
    mesh = make_sphere(1)
    for number, label in enumerate(PEOPLE):
        for side, structure in SIDES.items():
            own = Mesh(points=mesh.points * (1 + number), triangles=mesh.triangles)
            write_surface(root / "surfaces" / name.format(label, side), own, structure)
        axis = BrainModelAxis.from_surface(np.arange(42), 42, name="CIFTI_STRUCTURE_CORTEX_LEFT")
        save(root / label / "x.dscalar.nii", ScalarAxis(["x"]), [np.full(42, number + 1.0)], axis)
    cohort = gather(root, root / "{subject}" / "x.dscalar.nii")
    assert mesh.n_vertices != FSAVERAGE5
    surfaces, _ = find_surfaces([root / "surfaces"], cohort.maps, cohort.spaces.values())
    assert surfaces["CORTEX_LEFT"].n_people == 3
    np.testing.assert_allclose(surfaces["CORTEX_LEFT"].areas, mesh.areas() * 14 / 3, rtol=1e-5)


def test_voxels_on_another_grid_are_told_with_both_grids(root):
    from bids_group.elements.analysed import check_same_space
    from bids_group.errors import GridError

    for label, shift in (("a", 0), ("b", 2)):
        affine = np.diag([2.0, 2, 2, 1])
        affine[:3, 3] = shift
        axis = BrainModelAxis(
            "CIFTI_STRUCTURE_THALAMUS_LEFT", voxel=np.ones((1, 3), int), affine=affine, volume_shape=(3, 3, 3)
        )
        save(root / f"{label}.dscalar.nii", ScalarAxis(["x"]), [[1.0]], axis)
    one, two = (root / f"{label}.dscalar.nii" for label in "ab")
    with pytest.raises(GridError) as caught:
        check_same_space(one, read_header(one).space, two, read_header(two).space)
    assert "origin (2, 2, 2)" in caught.value.found
    assert "origin (0, 0, 0)" in caught.value.expected
