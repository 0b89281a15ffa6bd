"""Surfaces, CIFTI and regions: what is found, what belongs together, and what is refused with the choices."""

import zlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ScalarAxis, SeriesAxis
from nibabel.gifti import GiftiCoordSystem, GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.bids import check_spaces, gather_cohort
from bids_group.config import Inputs, Selection
from bids_group.elements import read_header, read_map
from bids_group.elements.region_tables import read_lines
from bids_group.errors import BidsGroupError, DataError, GridError, SelectionError, UsageError
from tests.studies import begin_study

N_VERTICES = 12
PEOPLE = ("01", "02", "03")


@pytest.fixture
def root(tmp_path):
    begin_study(tmp_path, [f"sub-{label}" for label in PEOPLE])
    return tmp_path


def gifti(path, values=None, side=None, n=N_VERTICES, intent="NIFTI_INTENT_NONE", **more):
    """Write a GIFTI file whose numbers tell its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode())
    values = np.random.default_rng(seed).standard_normal(n).astype(np.float32) if values is None else values
    meta = GiftiMetaData({} if side is None else {"AnatomicalStructurePrimary": f"Cortex{side}"})
    nib.save(GiftiImage(darrays=[GiftiDataArray(values, intent=intent, **more)], meta=meta), path)
    return path


def folder_of(root, label):
    return root / "derivatives" / "first" / f"sub-{label}" / "func"


def write_pairs(
    root, name="sub-{}_task-t_hemi-{}_space-fsLR_contrast-a_stat-effect_statmap.func.gii", **more
):
    for label in PEOPLE:
        for hemi in "LR":
            gifti(folder_of(root, label) / name.format(label, hemi), **more)


def gather(root, inputs=None, **selection):
    return gather_cohort(Inputs(bids_dir=root, **(inputs or {})), Selection(**selection), root / "out")


@pytest.mark.parametrize(
    "name",
    [
        "sub-{}_task-t_hemi-{}_space-fsLR_contrast-a_stat-effect_statmap.func.gii",
        "sub-{}_task-t_space-fsLR_hemi-{}_contrast-a_stat-effect_statmap.func.gii",
        "sub-{}_task-t_space-fsLR_hemi-{}_contrast-a_stat-effect_statmap.shape.gii",
        "sub-{}_task-t_hemi-{}_den-10242_contrast-a_stat-effect_statmap.gii",
    ],
)
def test_hemispheres_of_one_map_are_one(root, name):
    write_pairs(root, name)
    cohort = gather(root)
    assert [m.subject for m in cohort.maps] == list(PEOPLE)
    for m in cohort.maps:
        left, right = (folder_of(root, m.subject) / name.format(m.subject, hemi) for hemi in "LR")
        loaded = read_map(m.effect)
        expected = [nib.load(path).darrays[0].data for path in (left, right)]
        assert np.array_equal(loaded.data, np.concatenate(expected))
        assert [part.structure for part in loaded.space.parts] == ["CORTEX_LEFT", "CORTEX_RIGHT"]


def test_a_missing_hemisphere_is_refused_with_the_choices_and_one_may_be_asked_for(root):
    write_pairs(root)
    next(folder_of(root, "02").glob("*hemi-R*")).unlink()
    with pytest.raises(DataError, match="lacks the other hemisphere") as caught:
        gather(root)
    assert "--structures CORTEX_LEFT" in caught.value.fix
    assert "--exclude-participant-label 02" in caught.value.fix
    assert "sub-02" in caught.value.found
    for asked in ({"structures": ("CortexLeft",)}, {"structures": ("L",)}, {"bids_filter": {"hemi": "L"}}):
        cohort = gather(root, **asked)
        assert len(cohort.maps) == 3
        assert {m.entities["hemi"] for m in cohort.maps} == {"L"}


def test_a_filter_of_hemispheres_says_what_there_is_where_maps_have_none(root):
    path = folder_of(root, "01") / "sub-01_contrast-a_stat-effect_statmap.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), path)
    with pytest.raises(SelectionError, match="hemi = L"):
        gather(root, bids_filter={"hemi": "L"})
    with pytest.raises(UsageError, match="--structures"):
        gather(root, structures=("CORTEX_LEFT",))


def test_another_number_of_vertices_is_refused_by_name(root):
    write_pairs(root)
    for path in folder_of(root, "03").iterdir():
        gifti(path, n=20)
    cohort = gather(root)
    with pytest.raises(GridError) as caught:
        check_spaces([(cohort.maps, None)], cohort.spaces)
    assert "of 20 vertices" in caught.value.found
    assert "fsaverage and fsLR" in caught.value.fix


def test_two_spaces_are_refused_with_the_choices(root):
    write_pairs(root)
    write_pairs(root, "sub-{}_task-t_hemi-{}_space-fsaverage5_contrast-a_stat-effect_statmap.func.gii")
    with pytest.raises(UsageError, match="2 spaces") as caught:
        gather(root)
    assert "--space fsLR or --space fsaverage5" in caught.value.fix
    assert len(gather(root, space="fsLR").maps) == 3


def brain_models():
    return BrainModelAxis.from_surface(np.arange(5), N_VERTICES, name="CIFTI_STRUCTURE_CORTEX_LEFT")


def save_cifti(path, along, axis=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    axis = axis or brain_models()
    numbers = np.arange(1, 1 + len(along) * len(axis), dtype=np.float32).reshape(len(along), -1)
    nib.save(Cifti2Image(numbers, (along, axis)), path)
    return path


@pytest.mark.parametrize("ending", ["dtseries.nii", "dlabel.nii", "label.gii"])
def test_series_and_labels_are_no_effects(root, ending):
    path = folder_of(root, "01") / f"sub-01_hemi-L_contrast-a_stat-effect_statmap.{ending}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="no map by its name") as caught:
        gather(root, structures=("CORTEX_LEFT",))
    assert ".dscalar.nii" in caught.value.expected


def test_kinds_side_by_side_are_refused_and_chosen_by_extension(root):
    write_pairs(root, "sub-{}_hemi-{}_contrast-a_stat-effect_statmap.func.gii")
    for label in PEOPLE:
        name = f"sub-{label}_contrast-a_stat-effect_statmap.dscalar.nii"
        save_cifti(folder_of(root, label) / name, ScalarAxis(["a"]), brain_models())
    with pytest.raises(UsageError, match="2 kinds") as caught:
        gather(root)
    assert ".dscalar.nii, .func.gii" in caught.value.fix
    with pytest.raises(DataError, match="same map"):
        gather(root, bids_filter={"extension": ".dscalar.nii"})
    assert len(gather(root, bids_filter={"extension": ".func.gii"}).maps) == 3


def refused(path, kind, *words):
    with pytest.raises(kind) as caught:
        read_map(path)
    assert caught.value.expected
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_no_maps_are_told(tmp_path):
    names = ScalarAxis(["a"])
    refused(save_cifti(tmp_path / "a.dscalar.nii", SeriesAxis(0, 1, 2)), UsageError, "a series")
    table = {0: ("none", (0, 0, 0, 0)), 1: ("one", (1, 0, 0, 1))}
    refused(save_cifti(tmp_path / "b.dscalar.nii", LabelAxis(["a"], [table])), UsageError, "labels")
    refused(save_cifti(tmp_path / "c.nii", names), UsageError, "Rename")
    twice = brain_models() + brain_models()
    refused(save_cifti(tmp_path / "d.dscalar.nii", names, twice), DataError, "twice")
    none = brain_models()
    none.vertex[-1] = N_VERTICES
    refused(
        save_cifti(tmp_path / "h.dscalar.nii", names, none), DataError, f"vertex {N_VERTICES} of CORTEX_LEFT"
    )
    whole = save_cifti(tmp_path / "e.dscalar.nii", names).read_bytes()
    for n_bytes in (0, 100, 700, len(whole) - 4):
        (tmp_path / "f.dscalar.nii").write_bytes(whole[:n_bytes])
        refused(tmp_path / "f.dscalar.nii", DataError)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "g.nii")
    (tmp_path / "g.nii").rename(tmp_path / "g.dscalar.nii")
    refused(tmp_path / "g.dscalar.nii", DataError, "no NIfTI-2")


def test_a_number_that_float32_cannot_hold_is_told_by_its_place(tmp_path):
    path = save_cifti(tmp_path / "a.dscalar.nii", ScalarAxis(["a"]))
    image = nib.load(path)
    numbers = np.array([[1, 2, 1e300, 4, 5]])
    nib.save(Cifti2Image(numbers, image.header, dtype=np.float64), path)
    refused(path, DataError, "at number 2", "1e+300")


def test_gifti_that_is_no_map_is_told(tmp_path):
    points = np.ones((4, 3), np.float32)
    surface = gifti(
        tmp_path / "x_hemi-L.gii", points, intent="NIFTI_INTENT_POINTSET", coordsys=GiftiCoordSystem()
    )
    refused(surface, UsageError, "--surfaces")
    refused(gifti(tmp_path / "nowhere.gii"), DataError, "hemi-L or hemi-R")
    refused(gifti(tmp_path / "hemi-L_x.gii", side="Right"), DataError, "disagree")
    text = gifti(tmp_path / "hemi-R_x.gii").read_text().replace("GZipBase64Binary", "ExternalFileBinary")
    (tmp_path / "hemi-R_y.gii").write_text(text)
    refused(tmp_path / "hemi-R_y.gii", DataError, "wb_command -gifti-convert")
    for cut in (0, 50, 400):
        (tmp_path / "hemi-R_z.gii").write_text(text[:cut])
        refused(tmp_path / "hemi-R_z.gii", DataError)


def test_numbers_of_two_structures_stand_in_the_order_of_the_structures(tmp_path):
    cerebellum = gifti(tmp_path / "one.gii", np.arange(3, dtype=np.float32), side="Left")
    cerebellum.write_text(cerebellum.read_text().replace("CortexLeft", "Cerebellum"))
    gifti(tmp_path / "two.gii", np.arange(10, 14, dtype=np.float32), side="Left")
    loaded = read_map(tmp_path / "{one,two}.gii")
    assert [part.structure for part in loaded.space.parts] == ["CORTEX_LEFT", "CEREBELLUM"]
    assert loaded.data.tolist() == [10, 11, 12, 13, 0, 1, 2]


def test_a_table_is_cut_into_cells_once_for_all_of_its_lines():
    text = b"participant_id\tV1\nsub-01\t1\n"
    assert read_lines(text) is read_lines(bytes(bytearray(text)))


def test_one_of_several_maps_is_named_by_number_or_name(tmp_path):
    path = save_cifti(tmp_path / "a.dscalar.nii", ScalarAxis(["faces", "houses"]))
    assert read_header(path).n_volumes == 2
    assert read_map(path).data.shape == (5, 2)
    for name in ("a.dscalar.nii,2", "a.dscalar.nii[houses]"):
        assert read_map(tmp_path / name).data.tolist() == [6, 7, 8, 9, 10]
    with pytest.raises(DataError, match="no volume"):
        read_map(tmp_path / "a.dscalar.nii[places]")


REGIONS = ("V1", "M1", "A1")


def wide(root, **columns):
    table = pd.DataFrame({"participant_id": [f"sub-{label}" for label in PEOPLE], **columns})
    for number, region in enumerate(REGIONS):
        table[region] = [1.5 + number + 0.25 * person for person in range(len(PEOPLE))]
    return table


def test_a_table_with_a_column_per_region_lists_its_own_lines(root):
    wide(root).to_csv(root / "thickness.tsv", sep="\t", index=False)
    cohort = gather(root, {"maps_table": root / "thickness.tsv"})
    assert {m.contrast for m in cohort.maps} == {"thickness"}
    assert [read_map(m.effect).data.tolist() for m in cohort.maps] == [
        [1.5, 2.5, 3.5],
        [1.75, 2.75, 3.75],
        [2.0, 3.0, 4.0],
    ]
    assert cohort.maps[0].form == "table"
    assert read_header(cohort.maps[0].effect).space.parts[0].names == REGIONS


def test_a_table_per_person_has_effects_and_variances(root):
    folder = root / "derivatives" / "first"
    for number, label in enumerate(PEOPLE):
        path = folder / f"sub-{label}" / "func" / f"sub-{label}_contrast-a_statmap.tsv"
        path.parent.mkdir(parents=True)
        order = [number % 3, (number + 1) % 3, (number + 2) % 3]
        pd.DataFrame(
            {
                "region": [REGIONS[at] for at in order],
                "effect": [float(at) + number for at in order],
                "variance": [0.5 + at for at in order],
            }
        ).to_csv(path, sep="\t", index=False)
    cohort = gather(root)
    assert cohort.has_variance_everywhere
    for number, m in enumerate(cohort.maps):
        effect, variance = read_map(m.effect), read_map(m.variance)
        said = dict(
            zip(effect.space.parts[0].names, zip(effect.data, variance.data, strict=True), strict=True)
        )
        assert said == {name: (at + number, 0.5 + at) for at, name in enumerate(REGIONS)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("region\teffect\nV1\t1\nV1\t2\n", "V1 more than once"),
        ("region\teffect\nV1\tmuch\n", "much"),
        ("region\teffect\nV1\n", "another number of cells"),
        ("region\tthickness\tarea\nV1\t1\t2\n", "no column 'effect'"),
        ("name\tvalue\nV1\t1\n", "line per person"),
        ("", "line per person"),
    ],
)
def test_tables_that_cannot_be_read_say_why(tmp_path, text, words):
    path = tmp_path / "x.tsv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_map(path)
    assert words in str(caught.value)
    assert caught.value.fix


def test_hemispheres_are_joined_in_tables_and_by_patterns(root):
    for label in PEOPLE:
        for side in ("lh", "rh"):
            gifti(root / "surf" / label / f"{side}.thick.gii")
    rows = [
        {
            "participant_id": f"sub-{label}",
            "contrast": "thick",
            "hemi": side,
            "effect": f"surf/{label}/{side}.thick.gii",
        }
        for label in PEOPLE
        for side in ("rh", "lh")
    ]
    pd.DataFrame(rows).to_csv(root / "maps.tsv", sep="\t", index=False)
    listed = gather(root, {"maps_table": root / "maps.tsv"}).maps
    found = gather(root, {"maps_table": root / "surf" / "{subject}" / "{hemi}.thick.gii"}).maps
    for maps in (listed, found):
        assert [m.subject for m in maps] == list(PEOPLE)
        assert {m.entities["hemi"] for m in maps} == {"LR"}
        assert [m.effect.name for m in maps] == ["{l,r}h.thick.gii"] * 3
        assert {m.contrast for m in maps} == {"thick"}
    pd.DataFrame([*rows, rows[0]]).to_csv(root / "twice.tsv", sep="\t", index=False)
    with pytest.raises(UsageError, match="same hemisphere"):
        gather(root, {"maps_table": root / "twice.tsv"})
    pd.DataFrame([{**rows[0], "hemi": "both"}]).to_csv(root / "odd.tsv", sep="\t", index=False)
    with pytest.raises(DataError, match="neither left nor right"):
        gather(root, {"maps_table": root / "odd.tsv"})
    pd.DataFrame(rows).drop(columns="hemi").to_csv(root / "unsaid.tsv", sep="\t", index=False)
    with pytest.raises(UsageError, match="2 lines about the same map") as caught:
        gather(root, {"maps_table": root / "unsaid.tsv"})
    assert "column hemi" in caught.value.fix
    pd.DataFrame(rows[::2]).to_csv(root / "half.tsv", sep="\t", index=False)
    with pytest.raises(BidsGroupError, match="lack the other hemisphere"):
        gather(root, {"maps_table": root / "half.tsv"})


@pytest.mark.parametrize("asked", [{"structures": ("L",)}, {"bids_filter": {"hemi": "L"}}])
def test_of_listed_pairs_the_hemisphere_that_is_wanted_is_kept(root, asked):
    rows = []
    for label in PEOPLE:
        for side in ("rh", "lh"):
            gifti(root / "surf" / label / f"{side}.thick.gii")
            gifti(root / "surf" / label / f"{side}.var.gii", np.ones(N_VERTICES, np.float32))
            files = {key: f"surf/{label}/{side}.{key[:3]}.gii" for key in ("effect", "variance")}
            files["effect"] = files["effect"].replace("eff", "thick")
            rows.append({"participant_id": f"sub-{label}", "contrast": "thick", "hemi": side, **files})
    pd.DataFrame(rows).to_csv(root / "maps.tsv", sep="\t", index=False)
    for table in (root / "maps.tsv", root / "surf" / "{subject}" / "{hemi}.thick.gii"):
        maps = gather(root, {"maps_table": table}, **asked).maps
        assert [m.effect.name for m in maps] == ["lh.thick.gii"] * 3
        assert {m.entities["hemi"] for m in maps} == {"L"}
        assert {m.variance and m.variance.name for m in maps} <= {"lh.var.gii", None}


@pytest.mark.parametrize(("label", "side"), [("02", "lh"), ("01", "rh")])
def test_a_hemisphere_s_file_that_stands_twice_is_told(root, label, side):
    for person in PEOPLE:
        for each in ("lh", "rh"):
            gifti(root / "surf" / person / f"{each}.thick.gii")
    table = {"maps_table": root / "surf" / "{subject}" / "{hemi}.thick.gii"}
    assert not [one for one in gather(root, table).notices if one.topic == "twins"]
    copy, original = (root / "surf" / one for one in (f"{label}/{side}.thick.gii", "01/lh.thick.gii"))
    copy.write_bytes(original.read_bytes())
    (told,) = [one.sentence for one in gather(root, table).notices if one.topic == "twins"]
    assert str(copy) in told
    assert str(original) in told


def test_of_files_of_several_maps_one_is_named_for_both_hemispheres(root):
    for label in PEOPLE:
        for side in ("lh", "rh"):
            gifti(root / "surf" / label / f"{side}.all.gii", np.float32([[1, 2]] * N_VERTICES))
    maps = gather(root, {"maps_table": root / "surf" / "{subject}" / "{hemi}.all.gii,2"}).maps
    assert {m.entities["hemi"] for m in maps} == {"LR"}
    assert all(read_map(m.effect).data.tolist() == [2.0] * 2 * N_VERTICES for m in maps)
