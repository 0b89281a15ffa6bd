"""Thousands of maps, and real ones."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_group.bids import check_spaces, gather_cohort
from bids_group.config import Inputs, Selection
from bids_group.elements import file_content
from bids_group.errors import UsageError

HEADER = nib.Nifti1Image(np.zeros((1, 1, 1), np.float32), np.eye(4)).to_bytes()[:352]


def write_tiny(path, number):
    """A NIfTI header and one number: enough for gathering."""
    path.write_bytes(gzip.compress(HEADER + struct.pack("<f", number), compresslevel=1, mtime=0))


def test_five_thousand_maps_with_sidecars_are_gathered(study):
    folder = study.derivative()
    for person in range(250):
        place = folder / f"sub-{person:03d}" / "func"
        place.mkdir(parents=True)
        for run in range(4):
            for contrast in range(5):
                stem = f"sub-{person:03d}_task-x_run-{run}_space-S_contrast-c{contrast}_stat-effect_statmap"
                write_tiny(place / f"{stem}.nii.gz", person * 20 + run * 5 + contrast)
                (place / f"{stem}.json").write_text('{"DegreesOfFreedom": 90}')
    cohort = study.gather()
    assert len(cohort.maps) == 5_000
    assert {m.dof for m in cohort.maps} == {90.0}


def test_a_file_is_opened_once_to_be_known(study, monkeypatch):
    """Presence, header, twins and grids: one look at each file, and none at what is not selected."""
    folder = study.derivative()
    study.maps(folder, [f"sub-0{one}/sub-0{one}_contrast-{c}" for one in (1, 2, 3) for c in "ab"])
    opened, plain = Counter(), file_content.open_file

    def count(path, *args, **kwargs):
        opened[path.name] += path.name.endswith(".nii.gz")
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(file_content, "open_file", count)
    cohort = study.gather(first_level_contrasts=("a",))
    check_spaces([(cohort.maps, None)], cohort.spaces)
    assert +opened == {path.name: 1 for m in cohort.maps for path in m.files}
    assert [m.contrast for m in cohort.maps] == ["a", "a", "a"]


def test_emoreg_is_gathered_without_variance(emoreg):
    cohort = gather_cohort(Inputs(bids_dir=emoreg.root), Selection(), Path("nowhere"))
    assert len(cohort.maps) == len(cohort.everyone) == 30
    assert not cohort.has_variance_everywhere
    table = cohort.tables[0]
    assert table.columns["reappraisal_success"].units == "rating points"
    assert table.frame["reappraisal_success"].to_dict()["03"] == 1.2941
    assert cohort.exclusions == ()


def test_haxby_runs_need_a_resolution(haxby_runs):
    inputs = Inputs(bids_dir=haxby_runs.root, skip_bids_validation=True)
    with pytest.raises(UsageError, match="2 resolutions") as caught:
        gather_cohort(inputs, Selection(), Path("nowhere"))
    assert caught.value.found == "25mm (36 maps), slice (36 maps)"
    cohort = gather_cohort(
        inputs, Selection(res="25mm", first_level_contrasts=("faceVsHouse",)), Path("nowhere")
    )
    assert [m.run for m in cohort.maps] == [f"{run:02d}" for run in range(1, 13)]
    assert {m.dof for m in cohort.maps} == {102.0}
    assert all(m.variance and m.mask and "res-25mm" in m.mask.name for m in cohort.maps)
    assert cohort.has_variance_everywhere


def test_pain21_is_gathered_with_variance(pain21):
    cohort = gather_cohort(Inputs(bids_dir=pain21.root), Selection(), Path("nowhere"))
    assert len(cohort.maps) == 42
    assert cohort.has_variance_everywhere
