"""Pooling of maps that are no volumes: elements are matched by name, and what is not observed."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.model import pool
from bids_group.records import FirstLevelMap, Observation


def observe(*sources):
    return Observation(subject="01", contrast="c", sources=sources, combine="precision")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_maps_of_other_regions_are_pooled_and_weighed_where_both_have_them(tmp_path, order):
    """Files of regions (as of vertices) may each lack some: weights are compared by name."""
    names = [[f"r{k}" for k in (1, 2, 3, 5)], [f"r{k}" for k in (5, 4, 3, 2)]]
    variances = [[1.0, 19.0, 38.0, 19.0], [1.0, 1.0, 2.0, 1.0]]
    maps = []
    for run, (regions, variance) in enumerate(zip(names, variances, strict=True), start=1):
        paths = [tmp_path / f"run-{run}_{stat}.tsv" for stat in ("effect", "variance")]
        for path, values in zip(paths, (np.arange(4.0) + run, variance), strict=True):
            pd.DataFrame({"region": regions, path.stem.split("_")[1]: values}).to_csv(
                path, sep="\t", index=False
            )
        maps.append(
            FirstLevelMap(
                subject="01",
                contrast="c",
                run=str(run),
                dataset=tmp_path,
                effect=paths[0],
                variance=paths[1],
            )
        )
    pooled = pool(observe(*(maps[at] for at in order)))
    found = dict(zip(pooled.space.parts[0].names, pooled.effect, strict=True))
    expected = {"r1": 1, "r2": (2 / 19 + 5) / (20 / 19), "r3": (3 / 38 + 4 / 2) / (20 / 38), "r4": 3}
    expected["r5"] = (4 / 19 + 2) / (20 / 19)
    assert found == pytest.approx(expected, rel=1e-6)
    assert pooled.dominant == ("run-2", pytest.approx(0.95))


def write_structured(folder, kind, values):
    """Write the numbers of one map of a kind that is no volume."""
    row, n = np.asarray(values, np.float32), len(values)
    if kind == "table":
        path = folder / "x.tsv"
        cells = ["n/a" if np.isnan(one) else str(one) for one in values]
        pd.DataFrame({"region": [f"r{k}" for k in range(n)], "effect": cells}).to_csv(
            path, sep="\t", index=False
        )
        return path
    if kind == "func.gii":
        path = folder / "x_hemi-L.func.gii"
        nib.save(nib.GiftiImage(darrays=[nib.gifti.GiftiDataArray(row)]), path)
        return path
    path, sides = folder / f"x.{kind}", {"CIFTI_STRUCTURE_CORTEX_LEFT": n}
    axis = nib.cifti2.BrainModelAxis.from_surface(np.arange(n), n, name="CIFTI_STRUCTURE_CORTEX_LEFT")
    if kind == "pscalar.nii":
        vertices = [dict.fromkeys(sides, np.array([k])) for k in range(n)]
        nowhere = [np.zeros((0, 3), int)] * n
        axis = nib.cifti2.ParcelsAxis([f"r{k}" for k in range(n)], nowhere, vertices, nvertices=sides)
    nib.save(nib.Cifti2Image(row[None], (nib.cifti2.ScalarAxis(["x"]), axis)), path)
    return path


@pytest.mark.parametrize("kind", ["func.gii", "dscalar.nii", "pscalar.nii", "table"])
def test_zeros_are_not_observed_where_there_is_no_other_way_to_say_so(kind, tmp_path):
    """As in volumes; a table has n/a for what is missing, so that its zeros are numbers."""
    effect = write_structured(tmp_path, kind, [1.5, 0.0, np.nan, -2.0])
    pooled = pool(observe(FirstLevelMap(subject="01", contrast="c", dataset=tmp_path, effect=effect)))
    zero = 0.0 if kind == "table" else np.nan
    np.testing.assert_array_equal(pooled.effect, np.array([1.5, zero, np.nan, -2.0], np.float32))
    assert pooled.n_maps.tolist() == [1, int(kind == "table"), 0, 1]
