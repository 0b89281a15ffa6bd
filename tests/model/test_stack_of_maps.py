"""The stack: which elements are analysed, who costs the mask, where it is kept."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_group.elements import Grid, Smoother, Structures, StructureSmoother, Vertices, template_surface
from bids_group.errors import DataError, DesignError, GridError
from bids_group.executor import Threads
from bids_group.model import build_stack
from bids_group.records import FirstLevelMap, Observation, PooledMap

GRID = Grid(shape=(5, 6, 7), affine=np.diag([2.0, 2, 2, 1]))
N_OBS = 4
LABELS = tuple(f"sub-{k:02d}" for k in range(N_OBS))


@pytest.fixture
def volumes():
    return np.random.default_rng(0).normal(size=(N_OBS, *GRID.shape)).astype(np.float32)


def pooled(volumes, variances=None, grids=None):
    for number, volume in enumerate(volumes):
        source = FirstLevelMap(
            subject=f"{number:02d}", contrast="c", dataset=Path("maps"), effect=Path(f"map{number}.nii")
        )
        yield PooledMap(
            observation=Observation(subject=f"{number:02d}", contrast="c", sources=(source,)),
            space=GRID if grids is None else grids[number],
            effect=volume,
            variance=None if variances is None else variances[number],
            dof=None,
            n_maps=np.isfinite(volume).astype(np.uint8),
            input_hashes={},
        )


def build(maps, **settings):
    defaults = {
        "labels": LABELS, "mask": None, "min_coverage": 1.0, "fwhm_mm": 0.0, "work_dir": None,
    }  # fmt: skip
    return build_stack(maps, take=deepcopy, **(defaults | settings))


def save_mask(path, mask, affine=GRID.affine):
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), path)
    return path


def test_the_elements_are_those_observed_in_everybody(volumes):
    volumes[0, 0, 0, 0] = volumes[2, 1, 2, 3] = volumes[3, 4, 5, 6] = np.nan
    stack, elements, coverage, *_ = build(pooled(volumes))
    expected = np.isfinite(volumes).all(axis=0)
    np.testing.assert_array_equal(elements.mask, expected)
    np.testing.assert_array_equal(stack.data, volumes[:, expected])
    np.testing.assert_array_equal(coverage, np.isfinite(volumes).sum(axis=0))
    assert stack.data.dtype == np.float32
    assert stack.labels == LABELS


def test_the_mask_narrows_the_elements(volumes, tmp_path):
    mask = np.random.default_rng(1).random(GRID.shape) < 0.5
    volumes[1, 2] = np.nan
    stacked = build(pooled(volumes), mask=save_mask(tmp_path / "mask.nii.gz", mask))
    np.testing.assert_array_equal(stacked.elements.mask, mask & np.isfinite(volumes).all(axis=0))


@pytest.mark.parametrize(("share", "needed"), [(0.75, 3), (0.5, 2), (0.51, 3), (0.01, 1)])
def test_below_full_coverage_elements_need_that_share_of_the_rows(volumes, share, needed):
    volumes[np.random.default_rng(2).random(volumes.shape) < 0.4] = np.nan
    stacked = build(pooled(volumes), min_coverage=share)
    expected = np.isfinite(volumes).sum(axis=0) >= needed
    np.testing.assert_array_equal(stacked.elements.mask, expected)
    np.testing.assert_array_equal(stacked.stack.data, volumes[:, expected])


def test_smoothing_is_over_the_observed_elements_of_each_map(volumes):
    volumes[1, 0] = np.nan
    stacked, beside = (build(pooled(volumes), fwhm_mm=4.0, executor=Threads(n_procs=n)) for n in (1, 3))
    np.testing.assert_array_equal(stacked.stack.data, beside.stack.data)
    for row, volume in zip(stacked.stack.data, volumes, strict=True):
        np.testing.assert_array_equal(row, stacked.elements.pack(Smoother(GRID, 4.0).smooth(volume)))


def test_who_costs_the_mask_is_counted(volumes, tmp_path):
    volumes[0, 0] = np.nan  # alone: 42 elements
    volumes[1, 1] = volumes[2, 1] = np.nan  # together: nobody alone
    volumes[3, 2, 0] = np.nan  # alone: 7
    stacked = build(pooled(volumes))
    assert stacked.costs["observation"].tolist() == list(LABELS)
    assert stacked.costs["n_unobserved"].tolist() == [42, 42, 42, 7]
    assert stacked.costs["n_lost_by_this_row_alone"].tolist() == [42, 0, 0, 7]
    assert (stacked.n_lost, stacked.n_needed) == (91, 4)
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[0, 0], mask[3] = True, True
    stacked = build(pooled(volumes), mask=save_mask(tmp_path / "mask.nii.gz", mask))
    assert stacked.costs["n_lost_by_this_row_alone"].tolist() == [7, 0, 0, 0]
    assert stacked.n_lost == 7
    volumes[:, 4] = np.nan  # observed in no row: not lost
    assert build(pooled(volumes)).n_lost == 91
    half = build(pooled(volumes), min_coverage=0.5)
    assert (half.n_lost, half.n_needed) == (0, 2)


def test_the_cost_equals_a_run_without_that_row(volumes):
    volumes[np.random.default_rng(3).random(volumes.shape) < 0.3] = np.nan
    whole = build(pooled(volumes), min_coverage=0.7)
    for number, cost in enumerate(whole.costs["n_lost_by_this_row_alone"]):
        others = [one for k, one in enumerate(pooled(volumes)) if k != number]
        without = build(others, labels=tuple(one.observation.label for one in others), min_coverage=0.7)
        assert (without.elements.mask & ~whole.elements.mask).sum() == cost


def test_a_stack_beyond_the_memory_stands_in_a_file_and_holds_the_same(volumes, tmp_path):
    volumes[2, 3, 3, 3] = np.nan
    in_memory = build(pooled(volumes))
    in_file = build(pooled(volumes), work_dir=tmp_path / "work", executor=Threads(mem_gb=1e-9))
    assert not isinstance(in_memory.stack.data, np.memmap)
    assert isinstance(in_file.stack.data, np.memmap)
    np.testing.assert_array_equal(in_file.stack.data, in_memory.stack.data)


def test_variances_are_stacked_where_needed(volumes):
    variances = np.abs(volumes) + 1
    volumes[0, 0, 0, 0] = variances[0, 0, 0, 0] = np.nan
    stacked = build(pooled(volumes, variances), needs_variance=True)
    np.testing.assert_array_equal(stacked.stack.variance, variances[:, stacked.elements.mask])
    assert build(pooled(volumes, variances)).stack.variance is None


def test_a_row_without_variance_is_named_where_one_is_needed(volumes):
    with pytest.raises(DataError, match="sub-00"):
        build(pooled(volumes), needs_variance=True)


def test_the_map_on_another_grid_is_named(volumes):
    odd = Grid(shape=GRID.shape, affine=GRID.affine @ np.diag([1.0, 1, 1.01, 1]))
    with pytest.raises(GridError, match=r"map2\.nii"):
        build(pooled(volumes, grids=[GRID, GRID, odd, GRID]))


def test_a_mask_on_another_grid_is_named(volumes, tmp_path):
    mask = save_mask(tmp_path / "other_mask.nii.gz", np.ones(GRID.shape), GRID.affine + np.eye(4, k=3))
    with pytest.raises(GridError, match="other_mask"):
        build(pooled(volumes), mask=mask)
    mask = save_mask(tmp_path / "small_mask.nii.gz", np.ones((3, 3, 3)))
    with pytest.raises(GridError, match="small_mask"):
        build(pooled(volumes), mask=mask)


def test_an_empty_mask_is_named(volumes, tmp_path):
    with pytest.raises(DataError, match="empty_mask"):
        build(pooled(volumes), mask=save_mask(tmp_path / "empty_mask.nii.gz", np.zeros(GRID.shape)))


def test_no_common_element_says_who_costs_most(volumes):
    volumes[:, 3:] = np.nan
    volumes[2] = np.nan
    volumes[2, 4] = 1.0
    with pytest.raises(DataError) as raised:
        build(pooled(volumes))
    assert "sub-02 lacks 168 (without it: 126 elements)" in raised.value.found
    assert "--exclude-participant-label" in raised.value.fix


def test_maps_out_of_order_are_refused(volumes):
    with pytest.raises(DesignError, match="order"):
        build(reversed(list(pooled(volumes))))


def test_too_few_maps_are_refused(volumes):
    with pytest.raises(DesignError, match="Fewer maps"):
        build(pooled(volumes[:3]))


def test_a_worker_that_stays_smooths_along_the_surfaces_of_each_stack(make_sphere):
    """Workers of a Dask cluster outlive a stack, and a run: other surfaces need other weights."""
    mesh = make_sphere(1, radius=20.0)
    part = Vertices(structure="CORTEX_LEFT", n_vertices=mesh.n_vertices, indices=np.arange(mesh.n_vertices))
    space = Structures(parts=(part,), form="gifti")
    rows = np.random.default_rng(4).normal(size=(N_OBS, mesh.n_vertices)).astype(np.float32)
    wider = replace(mesh, points=3 * mesh.points)
    with ThreadPoolExecutor(1) as worker:

        class Staying(Threads):
            def map(self, do, items, **_):
                return worker.map(do, list(items))

        for one in (mesh, wider, mesh):
            surfaces = {"CORTEX_LEFT": template_surface(one)}
            stacked = build_stack(
                pooled(rows, grids=[space] * N_OBS),
                take=lambda map_: replace(map_, effect=map_.effect.copy()),
                labels=LABELS,
                space=space,
                mask=None,
                min_coverage=1.0,
                fwhm_mm=12.0,
                surfaces=surfaces,
                work_dir=None,
                executor=Staying(),
            )
            smoother = StructureSmoother(space, surfaces, 12.0)
            expected = [smoother.smooth(row).copy() for row in rows]
            np.testing.assert_array_equal(stacked.stack.data, expected)


def test_equal_numbers_of_two_people_are_refused_by_name(volumes):
    volumes[2] = volumes[0]
    with pytest.raises(DataError, match="sub-00 and sub-02 hold the same numbers"):
        build(pooled(volumes))
    volumes[2] = np.nextafter(volumes[0], np.float32(9))
    assert build(pooled(volumes)).stack.data.shape == (N_OBS, 210)


def test_an_equal_checksum_alone_makes_no_twins(volumes, monkeypatch):
    monkeypatch.setattr("bids_group.model.fitting.stack.checksum", lambda content: 7)
    volumes[:, 0, 0] = np.nan
    assert build(pooled(volumes)).stack.data.shape == (N_OBS, 203)
    twice = [*volumes[:3], np.asfortranarray(volumes[1])]
    with pytest.raises(DataError, match="sub-01 and sub-03 hold the same numbers"):
        build(pooled(twice))
