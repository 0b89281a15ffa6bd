"""Two people with the same numbers are one person twice."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_group.elements import Grid
from bids_group.errors import DataError
from bids_group.model import build_stack
from bids_group.records import FirstLevelMap, Observation, PooledMap


def pooled(subject, effect):
    one = FirstLevelMap(subject=subject, contrast="c", effect=Path(f"sub-{subject}.nii"), dataset=Path())
    observation = Observation(subject=subject, contrast="c", sources=(one,))
    return PooledMap(
        observation=observation,
        space=Grid(shape=effect.shape, affine=np.eye(4)),
        effect=effect,
        variance=None,
        dof=None,
        n_maps=np.isfinite(effect).astype(np.uint8),
        input_hashes={},
    )


def stack(maps):
    labels = tuple(one.observation.label for one in maps)
    return build_stack(
        maps,
        take=deepcopy,
        labels=labels,
        mask=None,
        min_coverage=1.0,
        fwhm_mm=0.0,
        work_dir=None,
    )


def test_equal_numbers_of_two_people_are_refused_by_name():
    effect = np.random.default_rng(0).normal(size=(3, 3, 3)).astype(np.float32)
    maps = [pooled("01", effect), pooled("02", effect + 1), pooled("03", effect.copy())]
    with pytest.raises(DataError, match="sub-01 and sub-03 hold the same numbers"):
        stack(maps)
    maps[2] = replace(maps[2], effect=np.nextafter(effect, np.float32(9)))
    assert stack(maps).stack.data.shape == (3, 27)


def test_an_equal_checksum_alone_makes_no_twins(monkeypatch):
    monkeypatch.setattr("bids_group.model.fitting.stack.checksum", lambda content: 7)
    effect = np.random.default_rng(0).normal(size=(3, 3, 3)).astype(np.float32)
    effect[0, 0] = np.nan
    maps = [pooled("01", effect), pooled("02", effect + 1), pooled("03", effect - 1)]
    assert stack(maps).stack.data.shape == (3, 24)
    with pytest.raises(DataError, match="sub-02 and sub-04 hold the same numbers"):
        stack([*maps, pooled("04", np.asfortranarray(effect + 1))])
