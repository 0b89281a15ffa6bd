"""All corrections on 30 first-level maps, real ones where they are."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.config import CORRECTIONS, InferenceSpec
from bids_group.elements import Elements, Grid
from bids_group.inference import correct_group
from bids_group.records import GroupData, MapStack


@pytest.fixture
def thirty(emoreg, make_problem, fit_by_hand):
    people = pd.read_csv(emoreg.root / "participants.tsv", sep="\t")
    files = [
        next((emoreg.root / "derivatives" / "firstlevel").rglob(f"{person}_*stat-effect_statmap.nii.gz"))
        for person in people["participant_id"]
    ]
    mask_image = nib.load(emoreg.root / "desc-gm_mask.nii.gz")
    maps = np.stack([nib.load(file).get_fdata(dtype=np.float32) for file in files])
    inside = (np.asarray(mask_image.dataobj) > 0) & np.isfinite(maps).all(axis=0) & (maps != 0).all(axis=0)
    success = people["reappraisal_success"].to_numpy()
    matrix = np.column_stack([np.ones(30), success - success.mean()])
    labels = people["participant_id"].tolist()
    empty = make_problem(matrix, [("t", [1, 0]), ("t", [0, 1])], labels=labels)[0]
    grid = Grid(shape=inside.shape, affine=mask_image.affine)
    data = GroupData(
        design=empty.design,
        stack=MapStack(labels=tuple(labels), data=np.ascontiguousarray(maps[:, inside])),
        elements=Elements.from_mask(grid, inside),
    )
    return data, fit_by_hand(data)


def test_every_correction_gives_plausible_thresholds(emoreg, thirty):
    data, results = thirty
    spec = InferenceSpec(corrections=tuple(CORRECTIONS), n_permutations=299)
    verdicts = {(v.contrast, v.correction): v for v in correct_group(data, results, spec)}
    for contrast in ("c0", "c1"):
        bonferroni, permuted = verdicts[contrast, "bonferroni"], verdicts[contrast, "fwe-voxel"]
        # the maps are smooth: far fewer independent tests than elements
        assert 0.7 * bonferroni.threshold < permuted.threshold < 1.02 * bonferroni.threshold
    found = {name: verdicts["c0", name].is_significant for name in CORRECTIONS}
    assert found["fwe-voxel"].sum() > 0.5 * found["bonferroni"].sum() > 0
    peak = int(np.argmax(results[0].maps["t"]))
    for name in ("none", "fdr", "bonferroni", "ari", "fwe-voxel", "fwe-tfce"):
        assert found[name][peak]
    np.testing.assert_allclose(
        data.elements.coordinates_mm(np.array([peak]))[0], emoreg.peak_with_covariate_mm, atol=0.1
    )
    assert not verdicts["c1", "bonferroni"].is_significant.any()
