"""The same numbers as Connectome Workbench: areas, TFCE, clusters, smoothing (also of CIFTI files)."""

import shutil
import subprocess
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_group.elements import (
    Structures,
    StructureSmoother,
    Vertices,
    join_patches,
    mesh_patch,
    template_surface,
)
from bids_group.inference.clusters.clusters_and_peaks import find_clusters
from bids_group.inference.clusters.forest import Heights, tfce_map

pytestmark = pytest.mark.skipif(
    shutil.which("wb_command") is None, reason="wb_command (connectome-workbench) is not installed"
)

FWHM = 8.0
PEOPLE = 1.7
"""People's areas over those of the mesh, about."""


def described(structure):
    return GiftiMetaData({"AnatomicalStructurePrimary": structure})


@pytest.fixture(scope="module")
def bench(tmp_path_factory, make_sphere):
    """A folder with a bumpy surface, and what runs a command of Workbench there."""

    class Bench:
        folder = tmp_path_factory.mktemp("workbench")
        mesh = make_sphere(4, radius=40.0, bumps=7)
        random = np.random.default_rng(1)

        def run(self, *words):
            subprocess.run(["wb_command", *map(str, words)], check=True, cwd=self.folder, capture_output=True)

        def write(self, name, *columns, structure="CortexLeft"):
            arrays = [GiftiDataArray(np.float32(one), intent=0, datatype=16) for one in columns]
            nib.save(GiftiImage(darrays=arrays, meta=described(structure)), self.folder / name)

        def write_surface(self, name, structure):
            points = GiftiDataArray(
                np.float32(self.mesh.points), intent=1008, datatype=16, meta=described(structure)
            )
            triangles = GiftiDataArray(self.mesh.triangles, intent=1009, datatype=8)
            nib.save(GiftiImage(darrays=[points, triangles]), self.folder / name)

        def read(self, name):
            return np.stack([one.data for one in nib.load(self.folder / name).darrays]).astype(float)

    bench = Bench()
    bench.write_surface("left.surf.gii", "CortexLeft")
    bench.write_surface("right.surf.gii", "CortexRight")
    noise = bench.random.normal(size=bench.mesh.n_vertices)
    bench.write("noise.func.gii", noise)
    bench.run("-metric-smoothing", "left.surf.gii", "noise.func.gii", 6, "smooth.func.gii", "-fwhm")
    z = bench.read("smooth.func.gii")[0]
    bench.z = np.float32(z / z.std() * 1.5)
    bench.write("z.func.gii", bench.z)
    bench.people = np.float32(bench.mesh.areas() * PEOPLE * (1 + 0.3 * bench.random.random(z.size)))
    bench.write("people.func.gii", bench.people)
    bench.inside = np.flatnonzero(bench.random.random(z.size) < 0.85)
    bench.write("roi.func.gii", np.isin(np.arange(z.size), bench.inside))
    return bench


def test_areas(bench):
    bench.run("-surface-vertex-areas", "left.surf.gii", "areas.func.gii")
    np.testing.assert_allclose(bench.mesh.areas(), bench.read("areas.func.gii")[0], rtol=1e-6)


@pytest.mark.parametrize("has_people", [False, True])
@pytest.mark.parametrize("is_cut", [False, True])
def test_tfce(bench, has_people, is_cut):
    corrected = ["-corrected-areas", "people.func.gii"] if has_people else []
    cut = ["-roi", "roi.func.gii"] if is_cut else []
    bench.run("-metric-tfce", "left.surf.gii", "z.func.gii", "tfce.func.gii", *cut, *corrected)
    which = bench.inside if is_cut else np.arange(bench.z.size)
    areas = bench.people.astype(float) if has_people else None
    geometry = join_patches([mesh_patch(bench.mesh, which, areas)])
    heights = Heights(threshold=3.0, is_two_sided=True, has_tfce=True)
    ours = tfce_map(bench.z[which], heights, geometry) * np.sign(bench.z[which])
    theirs = bench.read("tfce.func.gii")[0][which]
    assert np.abs(ours - theirs).max() <= 1e-6 * np.abs(theirs).max()


def test_clusters_one_to_one(bench):
    threshold = 1.5
    bench.run("-metric-find-clusters", "left.surf.gii", "z.func.gii", threshold, 0, "c.func.gii", "-roi",
              "roi.func.gii")  # fmt: skip
    labels = bench.read("c.func.gii")[0][bench.inside]
    geometry = join_patches([mesh_patch(bench.mesh, bench.inside)])
    found = find_clusters(bench.z[bench.inside] > threshold, None, 6, geometry)
    theirs = {tuple(np.flatnonzero(labels == number)) for number in np.unique(labels[labels > 0])}
    assert len(found) > 5
    assert {tuple(one) for one in found} == theirs


@pytest.mark.parametrize("has_holes", [False, True])
@pytest.mark.parametrize("is_cut", [False, True])
def test_smoothing(bench, is_cut, has_holes):
    """With a region of interest, with holes that are 0, and with both: what is not observed counts nowhere.

    A region is what a space lacks (CIFTI), holes are what a person lacks; they stay as they are here, and are
    filled there.
    """
    noise, everywhere = np.float32(bench.read("noise.func.gii")[0]), np.arange(bench.z.size)
    inside = bench.inside if is_cut else everywhere
    noise[bench.random.random(noise.size) < (0.2 if has_holes else 0)] = 0
    bench.write("holes.func.gii", noise)
    more = [*(["-roi", "roi.func.gii"] if is_cut else []), *(["-fix-zeros"] if has_holes else [])]
    bench.run("-metric-smoothing", "left.surf.gii", "holes.func.gii", FWHM, "s.func.gii", "-fwhm", *more)
    theirs, noise = bench.read("s.func.gii")[0][inside], noise[inside]
    surfaces, n = {"CORTEX_LEFT": template_surface(bench.mesh)}, everywhere.size
    seen = noise != 0
    ours = np.where(seen, noise, np.float32(np.nan))
    part = Vertices(structure="CORTEX_LEFT", n_vertices=n, indices=inside)
    ours = StructureSmoother(Structures(parts=(part,), form="gifti"), surfaces, FWHM).smooth(ours)
    assert np.array_equal(np.isfinite(ours), seen)
    assert np.abs(ours - theirs)[seen].max() <= 1e-5 * theirs[seen].std()


def test_smoothing_over_people_s_areas_comes_near(bench):
    """An approximation there and here: distances grow with the root of the areas."""
    bench.run("-metric-smoothing", "left.surf.gii", "noise.func.gii", FWHM, "s.func.gii", "-fwhm",
              "-corrected-areas", "people.func.gii")  # fmt: skip
    theirs, noise = bench.read("s.func.gii")[0], np.float32(bench.read("noise.func.gii")[0])
    space = Structures(
        parts=(Vertices(structure="CORTEX_LEFT", n_vertices=noise.size, indices=np.arange(noise.size)),),
        form="gifti",
    )
    own = template_surface(bench.mesh)
    people = {"CORTEX_LEFT": replace(own, areas=bench.people.astype(float), n_people=2)}
    ours = StructureSmoother(space, people, FWHM).smooth(noise)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9999
    without = StructureSmoother(space, {"CORTEX_LEFT": own}, FWHM).smooth(noise)
    assert np.abs(without - theirs).std() > 5 * np.abs(ours - theirs).std()


@pytest.mark.parametrize("has_holes", [False, True])
def test_smoothing_of_cifti_files(bench, has_holes):
    """Both hemispheres, each without a medial wall of its own, which a CIFTI file does not have at all."""
    n = bench.mesh.n_vertices
    walls = [bench.random.random(n) < share for share in (0.9, 0.8)]
    left, right = (
        nib.cifti2.BrainModelAxis.from_mask(wall, name=f"Cortex{side}", affine=None)
        for wall, side in zip(walls, ("Left", "Right"), strict=True)
    )
    axis = left + right
    row = np.float32(bench.random.normal(size=len(axis)))
    row[bench.random.random(row.size) < (0.1 if has_holes else 0)] = 0
    image = nib.Cifti2Image(row[None], header=(nib.cifti2.ScalarAxis(["noise"]), axis))
    image.to_filename(bench.folder / "noise.dscalar.nii")
    bench.run("-cifti-smoothing", "noise.dscalar.nii", FWHM, FWHM, "COLUMN", "s.dscalar.nii", "-fwhm",
              "-left-surface", "left.surf.gii", "-right-surface", "right.surf.gii",
              *(["-fix-zeros-surface"] if has_holes else []))  # fmt: skip
    theirs = np.asarray(nib.load(bench.folder / "s.dscalar.nii").dataobj)[0]
    names = ("CORTEX_LEFT", "CORTEX_RIGHT")
    parts = tuple(
        Vertices(structure=name, n_vertices=n, indices=np.flatnonzero(wall))
        for name, wall in zip(names, walls, strict=True)
    )
    surfaces = dict.fromkeys(names, template_surface(bench.mesh))
    seen = row != 0
    smoother = StructureSmoother(Structures(parts=parts, form="dscalar"), surfaces, FWHM)
    ours = smoother.smooth(np.where(seen, row, np.float32(np.nan)))
    assert np.array_equal(np.isfinite(ours), seen)
    assert np.abs(ours - theirs)[seen].max() <= 1e-5 * theirs[seen].std()
