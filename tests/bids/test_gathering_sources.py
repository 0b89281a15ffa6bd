"""Which dataset the maps come from, and whether BIDS_DIR is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bids_group import output
from bids_group.bids.datasets import is_own_map, list_maps
from bids_group.config import Inputs, RunConfig
from bids_group.config.request import check_paths
from bids_group.elements import Grid
from bids_group.errors import DataError, MissingInputError, NotBidsError, SelectionError, UsageError
from bids_group.records import Observation, PooledMap
from tests.bids.conftest import Study


def test_a_folder_without_description_is_not_bids(study):
    study.people(study.derivative(), "01")
    (study.raw / "dataset_description.json").unlink()
    with pytest.raises(NotBidsError, match="not a BIDS dataset") as caught:
        study.gather()
    assert caught.value.exit_code == 16
    assert len(study.gather({"skip_bids_validation": True}).maps) == 1


@pytest.mark.parametrize(
    "content, found", [("{", "not a JSON object"), ('{"Name": "x"}', "no BIDSVersion"), ("[]", "not a")]
)
def test_a_description_that_says_too_little_is_not_bids(study, content, found):
    (study.raw / "dataset_description.json").write_text(content)
    with pytest.raises(NotBidsError) as caught:
        study.gather()
    assert found in caught.value.found


def test_a_missing_bids_dir_is_a_missing_input(study):
    study.raw = study.raw / "nowhere"
    with pytest.raises(MissingInputError, match="There is no folder"):
        study.gather()


def test_raw_folders_of_people_are_not_needed(study):
    study.people(study.derivative(), "01 02")
    study.table("participant_id age\n sub-01 20\n sub-02 30")
    assert not list(study.raw.glob("sub-*"))
    assert len(study.gather().maps) == 2


def test_two_candidates_are_refused_and_listed(study):
    study.people(study.derivative("one", "nilearn"), "01")
    study.people(study.derivative("two", "FitLins"), "01")
    with pytest.raises(UsageError, match="More than one dataset") as caught:
        study.gather()
    assert "one (nilearn)" in caught.value.found
    assert "two (FitLins)" in caught.value.found


def test_datasets_without_statmaps_of_people_are_no_candidates(study):
    study.image(study.derivative("fmriprep", "fMRIPrep") / "sub-01/func/sub-01_desc-preproc_bold.nii.gz")
    study.image(study.derivative("group", "FitLins") / "contrast-a_stat-effect_statmap.nii.gz")
    study.people(study.derivative("glm"), "01")
    assert set(study.gather().dataset_names) == {"raw", "glm"}


def test_what_this_program_wrote_is_never_a_source(study):
    study.people(study.derivative("glm"), "01")
    ours = study.derivative("pooled", "bids_group")
    study.people(ours, "01")
    assert set(study.gather().dataset_names) == {"raw", "glm"}
    with pytest.raises(UsageError, match="written by this program"):
        study.gather({"derivatives": ((None, ours),)})


def test_pooled_maps_in_output_dir_are_no_source_but_maps_of_another_program_are(study):
    study.describe(study.output, GeneratedBy=[{"Name": "bids_group"}])
    study.people(study.output, "01 02")
    with pytest.raises(SelectionError):
        study.gather()
    study.describe(study.output, GeneratedBy=[{"Name": "bids_group"}, {"Name": "FitLins"}])
    assert [m.subject for m in study.gather().maps] == ["01", "02"]
    sidecar = study.output / "sub-02/func/sub-02_contrast-a_stat-effect_statmap.json"
    sidecar.write_text(json.dumps({"PoolingKey": "pending"}))
    cohort = study.gather()
    assert [m.subject for m in cohort.maps] == ["01"]
    assert cohort.maps[0].producer == "FitLins"
    study.people(study.derivative("glm"), "03")
    with pytest.raises(UsageError, match="More than one dataset"):
        study.gather()
    (study.output / "sub-01/func/sub-01_contrast-a_stat-effect_statmap.json").write_text(
        '{"PoolingKey": "k"}'
    )
    assert [m.subject for m in study.gather().maps] == ["03"]


def test_the_output_of_an_earlier_run_inside_a_foreign_dataset_does_not_hide_its_maps(study):
    folder = study.derivative("fitlins", "FitLins")
    study.people(folder, "01", task="x")
    study.describe(folder, GeneratedBy=[{"Name": "FitLins"}, {"Name": "bids_group"}])
    study.people(folder, "01")
    (folder / "sub-01/func/sub-01_contrast-a_stat-effect_statmap.json").write_text('{"PoolingKey": "k"}')
    for inputs in ({}, {"derivatives": ((None, folder),)}):
        assert [m.task for m in study.gather(inputs).maps] == ["x"]


def test_what_output_really_writes_is_known_as_our_own(study):
    """Output and gathering share no code: the marks that the one leaves are what the other looks for."""
    source = study.derivative("glm")
    study.people(source, "01", task="x")
    cohort = study.gather()
    study.output = study.raw / "derivatives" / "mine"
    study.output.mkdir()
    output.write_dataset(study.output, cohort)
    observation = Observation(subject="01", contrast="a", sources=cohort.maps)
    grid = Grid(shape=(3, 4, 2), affine=np.eye(4))
    ones = np.ones(grid.shape, dtype=np.float32)
    counts = np.ones(grid.shape, dtype=np.uint8)
    pooled = PooledMap(
        observation=observation,
        space=grid,
        effect=ones,
        variance=ones,
        dof=None,
        n_maps=counts,
        input_hashes={},
    )
    output.write_pooled(study.output, pooled, "key", dataset_names=cohort.dataset_names)
    assert list(study.output.rglob("*_stat-effect_statmap.nii.gz"))
    assert all(is_own_map(path) for path in list_maps(study.output, [], "statmap"))
    assert set(study.gather().dataset_names) == {"raw", "glm"}


def test_output_dir_inside_derivatives_is_not_found_as_a_candidate(study):
    study.people(study.derivative("glm"), "01")
    study.output = study.raw / "derivatives" / "mine"
    study.describe(study.output, GeneratedBy=[{"Name": "bids_group"}])
    study.people(study.output, "01")
    assert set(study.gather().dataset_names) == {"raw", "glm"}


def test_named_derivatives_keep_their_name_in_uris(study):
    folder = study.derivative("my glm.v1")
    study.people(folder, "01")
    assert study.gather().dataset_names["myglmv1"] == folder
    assert study.gather({"derivatives": (("glm", folder),)}).dataset_names["glm"] == folder


@pytest.mark.parametrize("name", ["raw", "a b", ""])
def test_a_name_that_cannot_stand_in_a_uri_is_refused(study, name):
    study.people(study.derivative("glm"), "01")
    if name:
        with pytest.raises(UsageError, match="cannot be called"):
            study.gather({"derivatives": ((name, study.derivative("glm")),)})
    else:
        assert "glm" in study.gather({"derivatives": ((name, study.derivative("glm")),)}).dataset_names


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_named_derivative_without_maps_is_told_from_one_not_installed(study, is_empty):
    folder = study.raw / "derivatives" / "glm"
    folder.mkdir(parents=True)
    if not is_empty:
        study.image(folder / "sub-01" / "sub-01_desc-x_bold.nii.gz")
    with pytest.raises(SelectionError, match="no first-level maps in") as caught:
        study.gather({"derivatives": ((None, folder),)})
    assert caught.value.fix.startswith("datalad get -n" if is_empty else "Check --derivatives")


def test_a_derivative_whose_description_cannot_be_read_is_refused(study):
    folder = study.derivative("glm")
    study.people(folder, "01")
    (folder / "dataset_description.json").write_text("{broken")
    with pytest.raises(DataError, match="which program made the maps"):
        study.gather()


def test_settings_of_pybids_inside_a_dataset_are_not_followed(study):
    folder = study.derivative("glm")
    study.people(folder, "01")
    (folder / "layout_config.json").write_text(
        '{"name": "own", "entities": [{"name": "stat", "pattern": "(x)"}]}'
    )
    assert len(study.gather().maps) == 1


def test_two_derivatives_of_one_name_are_refused(study):
    one, other = study.derivative("one"), study.derivative("two")
    with pytest.raises(UsageError, match="Two derivatives are called 'glm'"):
        study.gather({"derivatives": (("glm", one), ("glm", other))})


def test_a_missing_derivative_lists_what_exists(study):
    study.derivative("fitlins")
    inputs = Inputs(bids_dir=study.raw, derivatives=((None, study.raw / "derivatives/fitlns"),))
    with pytest.raises(MissingInputError) as caught:
        check_paths(RunConfig(output_dir=study.output, level="group", inputs=inputs))
    assert "fitlins" in caught.value.found
    assert caught.value.fix == f'Write --derivatives "{study.raw / "derivatives/fitlins"}".'


def test_a_folder_of_datasets_is_refused_and_lists_them(study):
    study.people(study.derivative("one"), "01")
    with pytest.raises(UsageError, match="folder of datasets") as caught:
        study.gather({"derivatives": ((None, study.raw / "derivatives"),)})
    assert "one (nilearn)" in caught.value.found


def test_maps_in_bids_dir_itself_are_found_when_named_and_hinted_at_otherwise(study):
    study.people(study.raw, "01")
    with pytest.raises(SelectionError) as caught:
        study.gather()
    assert "it holds statmaps itself" in caught.value.fix
    assert len(study.gather({"derivatives": ((None, study.raw),)}).maps) == 1


@pytest.mark.parametrize("name", ["a b", "x[1]", "50%", "a#b", "q?x=1", "ü{}", "a+b", "c:d"])
def test_odd_folder_names_above_a_dataset_do_no_harm(tmp_path, name):
    odd = Study(tmp_path / name)
    odd.people(odd.derivative(), "01 02", task="x")
    maps = odd.gather().maps
    assert [(m.subject, m.task, m.variance is not None) for m in maps] == [
        ("01", "x", True),
        ("02", "x", True),
    ]
    assert all(m.effect.is_file() for m in maps)


def test_linked_datasets_and_linked_people_are_followed(tmp_path, study):
    folder = study.derivative()
    study.people(folder, "01 02", task="x")
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "sub-02").rename(tmp_path / "sub-02")
    (tmp_path / "elsewhere" / "sub-02").symlink_to(tmp_path / "sub-02")
    folder.symlink_to(tmp_path / "elsewhere")
    assert [m.subject for m in study.gather().maps] == ["01", "02"]


def test_an_older_dataset_description_names_its_pipeline(study):
    folder = study.raw / "derivatives" / "old"
    study.describe(folder, Name="x", BIDSVersion="1.2.0", PipelineDescription={"Name": "fitlins"})
    study.people(folder, "01")
    assert study.gather().maps[0].producer == "fitlins"


def import_with_home(home, folder, code):
    environment = {**os.environ, "HOME": home}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("is_long", [True, False])
def test_pybids_is_imported_where_home_cannot_be_read(tmp_path, is_long):
    """A HOME whose name is too long (an error on looking, even for root), and one with broken settings."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "pybids_config.json").write_text("{")
    assert import_with_home(str(home), tmp_path, "import bids").returncode != 0, "the trap is gone"
    data = tmp_path / "data"
    data.mkdir()
    (data / "sub-01_contrast-a_stat-effect_(1)_statmap.nii.gz").touch()  # a name that only its patterns read
    code = "from bids_group.bids.index import index_dataset; from pathlib import Path; import os\n"
    code += "print(len(index_dataset(Path('.'))[0]), os.environ['HOME'])"
    wanted = "/" + "x" * 5_000 if is_long else str(home)
    done = import_with_home(wanted, data, code)
    assert done.stdout.split() == ["1", wanted], done.stderr
