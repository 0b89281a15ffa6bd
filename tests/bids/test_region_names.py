"""Tables of regions as FreeSurfer, R and spreadsheets write them, and what the names in them tell."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import Cifti2Image, ParcelsAxis, ScalarAxis

from bids_group.bids import gather_cohort, tell_regions
from bids_group.config import Inputs, Selection
from bids_group.elements import read_header, read_map
from bids_group.errors import DataError
from tests.studies import begin_study

PEOPLE = ("01", "02", "03")
REGIONS = ("lh_V1_thickness", "lh_V2_thickness", "rh_V1_thickness")


@pytest.fixture
def root(tmp_path):
    people = {
        "participant_id": [f"sub-{label}" for label in PEOPLE],
        "age": [f"3{label}" for label in PEOPLE],
    }
    begin_study(tmp_path, pd.DataFrame(people))
    return tmp_path


def wide(header="participant_id", ids="sub-{}", **more):
    table = pd.DataFrame({header: [ids.format(label) for label in PEOPLE]})
    for number, region in enumerate(REGIONS):
        table[region] = [1.5 + number + 0.25 * person for person in range(len(PEOPLE))]
    return table.assign(**more)


def gather(root, table):
    return gather_cohort(Inputs(bids_dir=root, maps_table=table), Selection(), root / "out")


WRITTEN = {
    "commas.csv": {"sep": ","},
    "semicolons.csv": {"sep": ";"},
    "quoted.csv": {"sep": ",", "quoting": 1},
    "r.tsv": {"sep": "\t", "quoting": 1},
    "aparcstats.txt": {"sep": "\t"},
}
HEADED = [
    ("participant_id", "sub-{}"),
    ("subject", "{}"),
    ("lh.aparc.thickness", "sub-{}"),
    ("Measure:volume", "sub-{}/"),
    ("participant_id", "/data/freesurfer/sub-{}"),
]


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(("header", "ids"), HEADED)
def test_tables_with_a_line_per_person_are_read_as_they_are_written(root, name, header, ids):
    wide(header, ids).to_csv(root / name, index=False, **WRITTEN[name])
    cohort = gather(root, root / name)
    assert [m.subject for m in cohort.maps] == list(PEOPLE)
    assert {m.contrast for m in cohort.maps} == {name.partition(".")[0]}
    for person, m in enumerate(cohort.maps):
        assert read_header(m.effect).space.parts[0].names == REGIONS
        assert read_map(m.effect).data.tolist() == [1.5 + n + 0.25 * person for n in range(3)]
    assert not list(tell_regions(cohort, None))


@pytest.mark.parametrize("ids", ["sub-{}_ses-pre", "sub-{}_ses-pre.long.sub-01"])
def test_folders_of_freesurfer_say_the_session(root, ids):
    wide(ids=ids).to_csv(root / "x.tsv", sep="\t", index=False)
    maps = gather(root, root / "x.tsv").maps
    assert [(m.subject, m.session) for m in maps] == [(label, "pre") for label in PEOPLE]


def test_a_table_of_a_person_may_have_commas(root):
    for label in PEOPLE:
        (root / f"sub-{label}.csv").write_text(f'"region","effect","variance"\n"V1, left",{int(label)},2\n')
    maps = gather(root, root / "sub-{subject}.csv").maps
    assert [read_map(m.effect).data.tolist() for m in maps] == [[1], [2], [3]]
    assert [read_map(m.variance).data.tolist() for m in maps] == [[2]] * 3
    assert read_header(maps[0].effect).space.parts[0].names == ("V1, left",)


def test_decimal_commas_and_tables_without_regions_say_what_to_write(root):
    wide().to_csv(root / "x.tsv", sep="\t", index=False, decimal=",")
    with pytest.raises(DataError, match=r"lh_V1_thickness") as caught:
        gather(root, root / "x.tsv")
    assert "1.5" in caught.value.fix
    (root / "y.tsv").write_text("StructName\tThickAvg\nV1\t2.5\n")
    with pytest.raises(DataError, match="no column 'region'"):
        read_map(root / "y.tsv")


@pytest.mark.parametrize(
    ("cell", "fix"),
    [
        ("3,512", "Write 3512, or 3.512."),
        ("1,234,567", "Write 1234567."),
        ("0,512", "Write decimal points: 0.512."),
        ("-3,512", "Write -3512, or -3.512."),
        ("1,234.5", "Write 1234.5."),
    ],
)
def test_a_comma_may_part_thousands(root, cell, fix):
    (root / "x.csv").write_text(f'region,effect\nV1,"{cell}"\n')
    with pytest.raises(DataError, match="value of V1") as caught:
        read_map(root / "x.csv")
    assert caught.value.fix == fix


def test_an_empty_table_has_no_line(root):
    (root / "x.tsv").write_text("")
    with pytest.raises(DataError) as caught:
        read_map(root / "x.tsv")
    assert "-1" not in caught.value.found


def test_other_columns_of_people_are_no_region(root):
    wide(subject=[1, 2, 3], id=[7, 8, 9]).to_csv(root / "x.tsv", sep="\t", index=False)
    maps = gather(root, root / "x.tsv").maps
    assert {read_header(m.effect).space.parts[0].names for m in maps} == {REGIONS}


def test_a_line_for_each_person_and_region_is_answered_with_how_to_spread_it(root):
    long = wide().melt("participant_id", var_name="region", value_name="thickness")
    long.to_csv(root / "x.csv", index=False)
    with pytest.raises(DataError, match="line for each person and region") as caught:
        gather(root, root / "x.csv")
    assert 'pivot(index="participant_id", columns="region", values="thickness")' in caught.value.fix


@pytest.mark.parametrize("name", ["session", "session_id", "ses"])
def test_sessions_are_no_region(root, name):
    wide(**{name: ["1", "1", "2"]}).to_csv(root / "x.tsv", sep="\t", index=False)
    maps = gather(root, root / "x.tsv").maps
    assert [m.session for m in maps] == ["1", "1", "2"]
    assert {read_header(m.effect).space.parts[0].names for m in maps} == {REGIONS}


def said(cohort, mask=None):
    return " ".join(one.sentence for one in tell_regions(cohort, mask))


@pytest.mark.parametrize(
    "name",
    [
        *("eTIV", "BrainSegVolNotVent", "lh_MeanThickness_thickness", "lhCortexVol", "BrainSegVol-to-eTIV"),
        *("ICV", "smri_thick_cdk_meanlh", "age", "Sex", "wave"),
    ],
)
def test_what_is_no_region_is_named(root, name):
    table = wide(**{name: [1.5, 2.5, 3.5]})
    table.to_csv(root / "x.tsv", sep="\t", index=False)
    assert f"{name} stands among the 4 regions" in said(gather(root, root / "x.tsv"))


@pytest.mark.parametrize("end", ["fa_mean", "total"])
def test_what_was_measured_in_each_region_is_no_measure_of_the_whole(root, end):
    table = pd.DataFrame({"participant_id": [f"sub-{label}" for label in PEOPLE]})
    for tract in ("CST_left", "CST_right", "ILF_left", "ILF_right"):
        table[f"{tract}_{end}"] = [0.25, 0.5, 0.75]
    table.to_csv(root / "x.tsv", sep="\t", index=False)
    assert said(gather(root, root / "x.tsv")) == ""


def test_the_summaries_of_abcd_are_named(root):
    table = pd.DataFrame({"participant_id": [f"sub-{label}" for label in PEOPLE]})
    for region in ("bankslh", "banksrh", "cuneuslh", "cuneusrh", "meanlh", "meanrh", "mean"):
        table[f"smri_thick_cdk_{region}"] = [1.5, 2.5, 3.5]
    table.to_csv(root / "x.tsv", sep="\t", index=False)
    assert "cdk_meanlh, smri_thick_cdk_meanrh, smri_thick_cdk_mean stand" in said(
        gather(root, root / "x.tsv")
    )


def test_two_spellings_of_a_region_are_named(root):
    names = (("lh_V1", "V3a", "V3A"), ("L-V1", "V3a", "V3A"), ("V1 left", "V3a", "V3A"))
    others = ("\u0437\u043e\u043d\u0430", "\u044f\u0434\u0440\u043e", "\u0441\u043b\u043e\u0439")
    for label, regions, other in zip(PEOPLE, names, others, strict=True):
        table = pd.DataFrame({"region": [*regions, other], "effect": [1.0, 2.0, float(label), 3.0]})
        table.to_csv(root / f"sub-{label}.tsv", sep="\t", index=False)
    text = said(gather(root, root / "sub-{subject}.tsv"))
    assert "lh_V1, L-V1 and V1 left" in text
    assert "V3" not in text
    assert others[0] not in text


def test_regions_of_a_mask_that_no_map_has_are_named(root):
    wide().to_csv(root / "x.tsv", sep="\t", index=False)
    (root / "mask.tsv").write_text("region\tmask\nlh_V1_thickness\t1\nL_V2\t1\n")
    text = said(gather(root, root / "x.tsv"), read_header(root / "mask.tsv").space)
    assert "No map has 1 region of the mask: L_V2" in text


def test_parcels_of_one_name_and_other_vertices_are_named(root):
    for number, label in enumerate(PEOPLE):
        side = ("LEFT", "LEFT", "RIGHT")[number]
        vertices = {f"CIFTI_STRUCTURE_CORTEX_{side}": np.arange(4)}
        counts = {f"CIFTI_STRUCTURE_CORTEX_{one}": 12 for one in ("LEFT", "RIGHT")}
        none = np.zeros((0, 3), int)
        axis = ParcelsAxis(["V1"], [none], [vertices], np.eye(4), (2, 2, 2), counts)
        image = Cifti2Image(np.full((1, 1), number + 1.0, np.float32), (ScalarAxis(["a"]), axis))
        path = root / "derivatives/first" / f"sub-{label}" / f"sub-{label}_contrast-a_stat-effect"
        path.parent.mkdir()
        nib.save(image, f"{path}_statmap.pscalar.nii")
    cohort = gather_cohort(Inputs(bids_dir=root), Selection(), root / "out")
    assert "V1 of sub-03 and of sub-01" in said(cohort)
