"""What PALM's own functions say of the same shuffles (``validation/palm``): maxima, clusters, corrected p."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config import InferenceSpec
from bids_group.elements import Elements, Grid, Structures, Vertices, Voxels
from bids_group.elements.surfaces import build_geometry, template_surface
from bids_group.inference import correct_group
from bids_group.model import fit_group
from tests.groups import make_contrast, make_design, make_group

PALM = Path(__file__).parents[2] / "validation" / "palm"
MEASURES = ("voxel", "size", "mass", "tfce")
PARTS = {"surface": ("cortex",), "cifti": ("cortex", "subcortex"), "volume": ("volume",)}
TOLERANCES = {"voxel": 1e-6, "size": 1e-6, "mass": 1e-6, "tfce": 0.03}
"""PALM's TFCE is a sum over 100 heights (one of 400 is off by 2.8 %)."""


@pytest.fixture(scope="module")
def inputs():
    spec = importlib.util.spec_from_file_location("palm_inputs", PALM / "inputs.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def elements_of(inputs, parts):
    grid = Grid(shape=inputs.SHAPE, affine=inputs.AFFINE)

    def voxels(part, **structure):
        return Voxels(grid=grid, indices=np.ravel_multi_index(tuple(part.which.T), grid.shape), **structure)

    if len(parts) == 1:
        return Elements(space=grid, indices=voxels(parts[0]).indices)
    cut = tuple(
        voxels(one, structure=one.structure)
        if one.mesh is None
        else Vertices(structure=one.structure, n_vertices=one.mesh.n_vertices, indices=one.which)
        for one in parts
    )
    space = Structures(parts=cut, form="dscalar")
    return Elements(space=space, indices=np.arange(space.n_elements))


@pytest.fixture(scope="module", params=PARTS)
def problem(request, inputs):
    """Fourteen people in two groups, their age beside it; a kind of map."""
    parts, maps = inputs.make_parts(request.param), inputs.make_maps(request.param)
    elements = elements_of(inputs, parts)
    surfaces = {one.structure: template_surface(one.mesh) for one in parts if one.mesh is not None}
    columns, contrasts = inputs.design_of_people()
    matrix = pd.DataFrame(columns, index=inputs.PEOPLE, columns=["control", "patient", "age"])
    asked = [make_contrast(weights, name=name) for name, weights in contrasts.items()]
    geometry = build_geometry(elements, surfaces, 26)
    maps = np.concatenate(maps, axis=1)
    return request.param, make_group(make_design(matrix, asked), maps, elements=elements, geometry=geometry)


def judge(inputs, data, *, is_two_sided=True, measures=MEASURES, **more):
    """Judge both contrasts by each measure: ``{contrast: {measure: Significance}}``."""
    spec = InferenceSpec(
        corrections=tuple(f"fwe-{one}" for one in measures), n_permutations=inputs.N_SHUFFLES,
        random_seed=inputs.SEED, cluster_forming_p=inputs.FORMING_P / (1 if is_two_sided else 2),
        familywise_parts="each", alpha=0.5, is_two_sided=is_two_sided, **{"connectivity": 26, **more},
    )  # fmt: skip
    found = correct_group(data, fit_group(data, is_two_sided=is_two_sided).results, spec)
    return {
        name: {one.correction.removeprefix("fwe-"): one for one in found if one.contrast == name}
        for name in inputs.CONTRASTS
    }


@pytest.fixture(scope="module")
def judged(inputs, problem):
    return judge(inputs, problem[1])


def palm(table, kind, **more):
    rows = pd.read_csv(PALM / f"{table}.tsv", sep="\t")
    for column, value in {"data": kind, **more}.items():
        rows = rows[rows[column] == value]
    return rows


def check_maxima(found, kind, contrast, is_two_sided, columns):
    """Compare the null of each part with PALM's."""
    for part, name in enumerate(PARTS[kind]):
        rows = palm("maxima", kind, contrast=contrast, part=name)
        rows = rows if is_two_sided else rows[rows["sign"] == 1]
        largest = rows.groupby("shuffle").max()
        for measure, column in columns.items():
            ours = list(found[measure].null.values())[part]
            theirs = largest[column].to_numpy()
            scale = 8 if measure == "size" and kind == "volume" else 1  # mm³
            slack = 1e-6 * largest["size"].to_numpy() if measure == "mass" else 0  # of z − threshold
            assert (np.abs(ours - scale * theirs) <= TOLERANCES[measure] * scale * theirs + slack).all(), (
                contrast, name, measure
            )  # fmt: skip


COLUMNS = {"voxel": "t", "size": "size", "mass": "mass", "tfce": "tfce"}


def test_maxima_of_each_shuffle_are_palms(inputs, problem, judged):
    for contrast in inputs.CONTRASTS:
        check_maxima(judged[contrast], problem[0], contrast, True, COLUMNS)


def test_one_sided_maxima_are_those_of_one_tail(inputs, problem):
    found = judge(inputs, problem[1], is_two_sided=False)
    for contrast in inputs.CONTRASTS:
        check_maxima(found[contrast], problem[0], contrast, False, COLUMNS)


def test_tfce_of_six_neighbours_is_palms(inputs, problem):
    kind, data = problem
    if kind != "volume":
        pytest.skip("neighbours of a CIFTI file's voxels stand in the geometry, which is given")
    found = judge(inputs, data, measures=("tfce",), connectivity=6)
    for contrast in inputs.CONTRASTS:
        check_maxima(found[contrast], kind, contrast, True, {"tfce": "tfce6"})


def test_corrected_p_are_palms(inputs, problem, judged):
    """How many elements have p of at most 1/25, 2/25 …: the same by t but for a tie, nearly by TFCE."""
    kind, data = problem
    parts = np.zeros(data.elements.n_elements) if data.geometry is None else data.geometry.part_of
    limits = (np.arange(1, 11) + 0.5) / (inputs.N_SHUFFLES + 1)
    for contrast in inputs.CONTRASTS:
        for part, name in enumerate(PARTS[kind]):
            for measure, column in {"voxel": "t", "tfce": "tfce"}.items():
                p = judged[contrast][measure].p_corrected[parts == part]
                ours = (p[:, None] <= limits).sum(axis=0)
                (theirs,) = (
                    palm("p", kind, contrast=contrast, part=name, measure=column).iloc[:, 4:].to_numpy()
                )
                slack = 1 if measure == "voxel" else 0.02 * len(p)
                np.testing.assert_allclose(ours, theirs, atol=slack, err_msg=f"{contrast} {name} {measure}")


def test_clusters_are_palms(problem, inputs, judged):
    """Extent, mass and both corrected p of every cluster of the unshuffled maps that has p of at most 0.5."""
    kind, n_found = problem[0], 0
    for contrast in inputs.CONTRASTS:
        for measure in ("size", "mass"):
            rows = palm("clusters", kind, contrast=contrast)
            theirs = rows[rows[f"p_{measure}"] <= 0.5].drop(columns=["data", "contrast", "part"])
            ours = [
                (
                    one.sign,
                    one.size_mm2 or one.size_mm3,
                    one.mass,
                    *map(one.p_corrected.get, ("size", "mass")),
                )
                for one in judged[contrast][measure].clusters
            ]
            theirs["size"] *= 8 if kind == "volume" else 1
            np.testing.assert_allclose(sorted(ours), theirs.sort_values(list(theirs)[:2]), rtol=5e-6)
            n_found += len(ours)
    assert n_found >= 4
