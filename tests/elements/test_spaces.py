"""Spaces: parts in a fixed order, matched by structure and number, never by the place in a file."""

from pathlib import Path

import numpy as np
import pytest

from bids_group.elements import (
    Elements,
    Grid,
    Parcels,
    Vertices,
    Voxels,
    align,
    check_same_space,
    join,
    structures,
)
from bids_group.errors import BidsGroupError, GridError

GRID = Grid(shape=(3, 4, 5), affine=np.diag([2.0, 2, 2, 1]))


def cortex(side, indices, n_vertices=10):
    return Vertices(structure=f"CORTEX_{side}", n_vertices=n_vertices, indices=np.array(indices))


def thalamus(indices, grid=GRID):
    return Voxels(structure="THALAMUS_LEFT", grid=grid, indices=np.array(indices))


def test_parts_have_one_order_and_stand_one_behind_the_other():
    left, right, deep = cortex("LEFT", [0, 3]), cortex("RIGHT", [1, 2, 9]), thalamus([7, 8])
    space = structures([deep, right, left], "dscalar")
    assert [one.structure for one in space.parts] == ["CORTEX_LEFT", "CORTEX_RIGHT", "THALAMUS_LEFT"]
    assert space.slices == (slice(0, 2), slice(2, 5), slice(5, 7))
    assert (space.n_elements, space.shape, left.hemi, right.hemi) == (7, (7,), "L", "R")
    assert space.is_same(structures([left, right, deep], "dscalar"))
    assert not space.is_same(structures([left, right], "dscalar"))
    assert not space.is_same(structures([cortex("LEFT", [0, 4]), right, deep], "dscalar"))
    assert space.describe().startswith("CORTEX_LEFT: 2 of 10 vertices, CORTEX_RIGHT: 3 of 10 vertices")


def test_a_mask_keeps_parts_and_numbers():
    space = structures([cortex("LEFT", [0, 3]), cortex("RIGHT", [1, 2, 9]), thalamus([7, 8])], "dscalar")
    elements = Elements.from_mask(space, np.array([True, False, False, False, False, True, True]))
    left, right, deep = elements.parts
    assert (left.indices.tolist(), right.n_elements, deep.indices.tolist()) == ([0], 0, [7, 8])
    row = np.array([1.0, 2, 3], dtype=np.float32)
    assert elements.unpack(row).tolist() == [1, 0, 0, 0, 0, 2, 3]
    assert elements.pack(elements.unpack(row)).tolist() == [1, 2, 3]
    with pytest.raises(BidsGroupError, match="grid of voxels"):
        _ = elements.grid


def test_a_plain_volume_is_one_part_of_voxels():
    elements = Elements.from_mask(GRID, np.arange(60).reshape(3, 4, 5) % 7 == 0)
    (part,) = elements.parts
    assert part.structure is None
    assert part.indices.tolist() == elements.indices.tolist() == list(range(0, 60, 7))
    assert (GRID.slices, elements.grid) == ((slice(0, 60),), GRID)


def test_another_medial_wall_is_a_matter_of_coverage():
    one = structures([cortex("LEFT", [0, 1, 4]), thalamus([2, 9])], "dscalar")
    two = structures([cortex("LEFT", [1, 4, 5]), thalamus([2, 11])], "dscalar")
    both = join([one, two])
    assert [part.indices.tolist() for part in both.parts] == [[0, 1, 4, 5], [2, 9, 11]]
    values = np.array([10.0, 11, 14, 102, 109], dtype=np.float32)
    assert np.array_equal(
        align(values, one, both, np.nan), [10, 11, 14, np.nan, 102, 109, np.nan], equal_nan=True
    )
    assert align(values, one, one, np.nan) is values
    check_same_space(Path("a"), one, Path("b"), two)


def test_regions_are_known_by_name():
    one = structures([Parcels(names=("V1", "M1", "A1"))], "table")
    two = structures([Parcels(names=("A1", "V1", "S2"))], "table")
    both = join([one, two])
    assert both.parts[0].names == ("V1", "M1", "A1", "S2")
    assert np.array_equal(align(np.arange(3.0), two, both, np.nan), [1, np.nan, 0, 2], equal_nan=True)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (structures([cortex("LEFT", [0])], "gifti"), "--structures CORTEX_LEFT"),
        (structures([cortex("LEFT", [0]), cortex("RIGHT", [0], 12)], "gifti"), "fsLR"),
        (GRID, "of one kind"),
    ],
)
def test_what_cannot_be_the_same_elements_is_refused(other, words):
    space = structures([cortex("LEFT", [0]), cortex("RIGHT", [0])], "gifti")
    with pytest.raises(GridError) as caught:
        check_same_space(Path("a"), space, Path("b"), other)
    assert words in caught.value.fix
    assert caught.value.found
    assert caught.value.expected


def test_grids_of_one_structure_must_be_the_same():
    moved = Grid(shape=GRID.shape, affine=np.diag([3.0, 2, 2, 1]))
    own, theirs = structures([thalamus([1])], "dscalar"), structures([thalamus([1], moved)], "dscalar")
    with pytest.raises(GridError, match="grid of b"):
        check_same_space(Path("a"), own, Path("b"), theirs)
