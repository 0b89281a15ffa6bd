"""Time per shuffle beside nilearn and tfce, share of the processor's peak, memory. Prints Markdown tables.

Run from the repository's root, with nothing else on the machine if you can::

    OMP_NUM_THREADS=1 python benchmarks/permutation.py

100 smooth maps on nilearn's 2 mm brain mask, one covariate beside an intercept, two-sided; one process and
one BLAS thread for all. Times are processor time, and rounds of both programs alternate, so that other work
on the machine disturbs little; ratios are those of the quietest rounds. nilearn's time per shuffle is the
difference of two runs of different length, without reading and fitting. The package tfce (``pip install
tfce``; left out where it is missing) fits its permuted GLM to each shuffle and enhances its t map.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
from nilearn.datasets import load_mni152_brain_mask
from nilearn.glm.second_level import non_parametric_inference
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from bids_group.config import InferenceSpec
from bids_group.distributions import t_p, t_to_z
from bids_group.elements import Connectivity, Elements, Grid
from bids_group.elements.geometry import volume_geometry
from bids_group.executor import Threads
from bids_group.inference import correct_group
from bids_group.inference.clusters.basins import BasinWorkspace, basin_maxima
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.clusters.lattice import Lattice
from bids_group.inference.clusters.lattice import LatticeWorkspace as Room
from bids_group.inference.clusters.saddles import lattice_maxima
from bids_group.inference.shuffling.engine import Job, build_statistic, observed_map, run_null
from bids_group.inference.shuffling.partition import build_residuals
from bids_group.inference.shuffling.scheme import choose_scheme
from bids_group.records import Contrast, ContrastResult, Design, GroupData, MapStack

try:
    import tfce
except ImportError:
    tfce = None

N_OBS = 100
FORMING_Z = 3.29
SQUARE = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """Maps on the 2 mm mask, their design, and the mask as nilearn wants it."""

    data: GroupData
    mask: nib.Nifti1Image

    @property
    def images(self) -> list[nib.Nifti1Image]:
        """Maps as images in memory."""
        unpack, affine = self.data.elements.unpack, self.data.elements.grid.affine
        return [nib.Nifti1Image(unpack(row), affine) for row in self.data.stack.data]


def brain_mask() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Nilearn's 2 mm brain mask and its affine."""
    image = load_mni152_brain_mask(resolution=2)
    return np.asanyarray(image.dataobj) > 0, np.asarray(image.affine, dtype=np.float64)


def build_setting(inside: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64], fwhm_mm: float) -> Setting:
    """Make 100 maps of noise with a smoothness, one at a time."""
    elements = Elements.from_mask(Grid(shape=inside.shape, affine=affine), inside)
    random = np.random.default_rng(0)
    maps = np.empty((N_OBS, elements.n_elements), np.float32)
    for row in maps:
        noise = random.standard_normal(inside.shape, dtype=np.float32)
        smooth = gaussian_filter(noise, fwhm_mm / 2.355 / 2) if fwhm_mm else noise
        row[:] = elements.pack(smooth / smooth.std())
    labels = tuple(f"sub-{number:03d}" for number in range(N_OBS))
    matrix = pd.DataFrame({"Intercept": 1.0, "age": random.normal(size=N_OBS)}, index=list(labels))
    contrast = Contrast(
        name="age", label="Age", weights=np.array([[0.0, 1.0]]), test="t", expression="age", words=""
    )
    design = Design(
        matrix=matrix, contrasts=(contrast,), formula="~ age", terms={}, variables=matrix, centering="none",
        centers={}, rank=2, details={},
    )  # fmt: skip
    data = GroupData(design=design, stack=MapStack(labels=labels, data=maps), elements=elements)
    return Setting(data=data, mask=nib.Nifti1Image(inside.astype(np.uint8), affine))


def build_job(setting: Setting, n_shuffles: int, connectivity: Connectivity | None = None) -> Job:
    """Prepare shuffles for the voxelwise maximum, or for TFCE, cluster size and mass as well."""
    data, contrast = setting.data, setting.data.design.contrasts[0]
    spec = InferenceSpec(n_permutations=n_shuffles)
    scheme = choose_scheme(data.design, contrast, spec, blocks=None, variance_groups=None)
    heights = Heights(threshold=FORMING_Z, is_two_sided=True, has_tfce=True)
    return Job(
        scheme=scheme,
        statistic=build_statistic(scheme, "t", is_two_sided=True),
        residuals=build_residuals(data.stack.data, scheme.partition),
        heights=heights if connectivity else None,
        geometry=volume_geometry(data.elements, connectivity) if connectivity else None,
    )


def seconds_per_shuffle(job: Job) -> float:
    """Time of one shuffle in a run of whole batches."""
    start = time.process_time()
    run_null(job)
    return (time.process_time() - start) / job.n_shuffles


def nilearn_seconds(setting: Setting, n_shuffles: int, *, has_tfce: bool) -> float:
    """Time of nilearn's permutation test, reading and fitting included."""
    images = setting.images
    start = time.process_time()
    non_parametric_inference(
        images, design_matrix=setting.data.design.matrix, second_level_contrast="age", mask=setting.mask,
        model_intercept=True, n_perm=n_shuffles, two_sided_test=True, n_jobs=1, tfce=has_tfce, verbose=0,
    )  # fmt: skip
    return time.process_time() - start


def tfce_seconds(setting: Setting, connectivity: int, n_shuffles: int = 3) -> float:
    """Time of one shuffle by the package tfce: its permuted GLM and its enhanced map."""
    if tfce is None:
        return float("nan")
    data, random = setting.data, np.random.default_rng(0)
    maps, weights = np.ascontiguousarray(data.stack.data.T), np.array([0.0, 1.0])
    model = tfce.glm.PermutedGLM(maps, data.design.matrix.to_numpy(), weights)
    start = time.process_time()
    for _ in range(n_shuffles):
        t = model.fit(random.permutation(N_OBS))
        volume = data.elements.unpack(t.astype(np.float32))
        np.abs(tfce.tfce(volume, connectivity=connectivity, n_jobs=1)).max()
    return (time.process_time() - start) / n_shuffles


def seconds_of_sgemm() -> float:
    """Time of a large single-precision product, the least of a few."""
    square = np.random.default_rng(0).standard_normal((SQUARE, SQUARE), dtype=np.float32)
    out = np.empty_like(square)
    taken = []
    for _ in range(8):
        start = time.process_time()
        np.matmul(square, square, out=out)
        taken.append(time.process_time() - start)
    return min(taken)


def repeat(measures: dict[str, Callable[[], float]], n_rounds: int) -> dict[str, float]:
    """Least of every measure over rounds that take all of them in turn."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(n_rounds):
        for name, measure in measures.items():
            found[name].append(measure())
            print(f"  {name}: {found[name][-1]:.4g}", file=sys.stderr, flush=True)
    return {name: min(values) for name, values in found.items()}


def compare(setting: Setting, n_rounds: int) -> str:
    """Measure everything that is compared, as rows of a table."""
    voxelwise = build_job(setting, 1023)
    faces, corners = build_job(setting, 127, 6), build_job(setting, 127, 26)
    counting = replace(voxelwise, limits=np.abs(observed_map(voxelwise)))
    for job in (counting, faces):
        run_null(replace(job, scheme=build_job(setting, 15).scheme))  # compiles
    with threadpool_limits(1, user_api="blas"):
        found = repeat(
            {
                "sgemm": seconds_of_sgemm,
                "voxelwise": lambda: seconds_per_shuffle(voxelwise),
                "uncorrected": lambda: seconds_per_shuffle(counting),
                "nilearn, 10": lambda: nilearn_seconds(setting, 10, has_tfce=False),
                "nilearn, 210": lambda: nilearn_seconds(setting, 210, has_tfce=False),
                "clusters, 6": lambda: seconds_per_shuffle(faces),
                "tfce, 6": lambda: tfce_seconds(setting, 6),
                "clusters, 26": lambda: seconds_per_shuffle(corners),
                "tfce, 26": lambda: tfce_seconds(setting, 26),
                "nilearn TFCE, 2": lambda: nilearn_seconds(setting, 2, has_tfce=True),
                "nilearn TFCE, 5": lambda: nilearn_seconds(setting, 5, has_tfce=True),
            },
            n_rounds,
        )
    nilearn_voxelwise = (found["nilearn, 210"] - found["nilearn, 10"]) / 200
    nilearn_tfce = (found["nilearn TFCE, 5"] - found["nilearn TFCE, 2"]) / 3
    nan = float("nan")
    rows = [
        ("voxelwise maximum", found["voxelwise"], nilearn_voxelwise, nan),
        ("voxelwise maximum and uncorrected p", found["uncorrected"], nilearn_voxelwise, nan),
        ("TFCE, cluster size and mass, 6 neighbours", found["clusters, 6"], nilearn_tfce, found["tfce, 6"]),
        ("TFCE, cluster size and mass, 26 neighbours", found["clusters, 26"], nan, found["tfce, 26"]),
    ]
    lines = ["| per shuffle | bids_group | nilearn | ratio | tfce | ratio |", "|---|---|---|---|---|---|"]
    for name, ours, *others in rows:
        cells = [f"{1e3 * other:.0f} ms | {other / ours:.0f}" if other == other else "| " for other in others]
        lines.append(f"| {name} | {1e3 * ours:.2f} ms | {' | '.join(cells)} |")
    reached = 2 * N_OBS * setting.data.elements.n_elements / found["voxelwise"] / 1e9
    peak = 2 * SQUARE**3 / found["sgemm"] / 1e9
    share = f"voxelwise {reached:.0f} of {peak:.0f} GFLOP/s, {100 * reached / peak:.0f} %"
    lines += ["", f"Share of the measured sgemm peak: {share}."]
    return "\n".join(lines)


def compare_passes(elements: Elements, n_rounds: int) -> str:
    """Time of the maxima of one map by basins and by peaks and saddles; and of maps made to be slow."""
    lines = ["| map | neighbours | basins | peaks and saddles | ratio |", "|---|---|---|---|---|"]
    for connectivity in (6, 26):
        lattice = Lattice.of(elements, connectivity)
        graph = volume_geometry(elements, connectivity)
        heights, space = Heights(threshold=FORMING_Z, is_two_sided=True, has_tfce=True), Room(lattice)
        basins = BasinWorkspace(elements.n_elements)
        for name, z in made_maps(elements).items():
            old: list[float] = []
            new: list[float] = []
            for _ in range(n_rounds + 2):  # the first compiles
                start = time.process_time()
                expected = basin_maxima(z, heights, graph, basins)[0]
                between = time.process_time()
                found = lattice_maxima(z, heights, lattice, space)
                old.append(between - start)
                new.append(time.process_time() - between)
            np.testing.assert_allclose(found, expected, rtol=1e-9)
            before, after = 1e3 * float(np.median(old[1:])), 1e3 * float(np.median(new[1:]))
            lines.append(
                f"| {name} | {connectivity} | {before:.1f} ms | {after:.1f} ms | {before / after:.1f} |"
            )
    return "\n".join(lines)


def made_maps(elements: Elements) -> dict[str, npt.NDArray[np.float32]]:
    """Make noise by smoothness (standard deviation in voxels), and adversarial maps."""
    random, shape = np.random.default_rng(0), elements.grid.shape
    noise = random.standard_normal(shape)
    parity = np.indices(shape).sum(axis=0) % 2
    smooth = {f"noise, smoothness {sigma:g}": gaussian_filter(noise, sigma) for sigma in (0.5, 1, 2, 4)}
    others = {
        "white noise": noise,
        "signs in a chequer": np.where(parity, 1, -1) * (1 + random.random(shape)),
        "heights in a chequer": parity + random.random(shape),
        "all equal": np.ones(shape),
        "ramp": np.broadcast_to(1.0 + np.arange(shape[2]), shape),
        "winding path": winding_path(shape),
    }
    packed = {name: elements.pack(volume.astype(np.float32)) for name, volume in (smooth | others).items()}
    return {name: z / z.std() if name in smooth else z for name, z in packed.items()}


def winding_path(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Lay a path of falling heights through every other plane, to and fro; 0 beside it."""
    _, y, z = np.indices(shape)
    along = np.where(y % 4 == 0, z, shape[2] - 1 - z)
    turns = (y % 2 == 1) & (z == np.where(y % 4 == 1, shape[2] - 1, 0))
    path = np.where((y % 2 == 0) | turns, 1e6 - y * shape[2] - along, 0)
    path[1::2] = 0
    return path.astype(np.float64)


def ten_thousand(setting: Setting) -> str:
    """Time 10,000 voxelwise shuffles, and 1,000 with TFCE, by wall clock on one and on two cores."""
    lines = []
    for name, job in (
        ("10,000 voxelwise", build_job(setting, 9999)),
        ("1,000 TFCE", build_job(setting, 999, 6)),
    ):
        taken = []
        for n_workers in (1, 2):
            start = time.perf_counter()
            run_null(job, executor=Threads(n_procs=n_workers))
            taken.append(time.perf_counter() - start)
        lines.append(f"{name} shuffles: {taken[0]:.1f} s with one thread, {taken[1]:.1f} s with two.")
    return "\n".join(lines)


def peak_memory(mask_file: Path) -> str:
    """Run all four familywise corrections; report the peak memory above what the imports take."""
    inside = np.load(mask_file)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    setting = build_setting(inside, np.diag([2.0, 2, 2, 1]), 0.0)
    correct_all(setting)
    above = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    size = setting.data.stack.data.nbytes
    return (
        "Peak memory of all four corrections above what the imports take:"
        f" {above / 1e6:.0f} MB, {above / size:.2f} times the maps ({size / 1e6:.0f} MB)."
    )


def correct_all(setting: Setting) -> None:
    """Judge the contrast by every familywise correction."""
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce"), n_permutations=63)
    correct_group(setting.data, [fit(setting.data)], spec)


def fit(data: GroupData) -> ContrastResult:
    """Least squares, a thousand voxels at a time."""
    x, dof = data.design.matrix.to_numpy(), N_OBS - 2
    inverse = np.linalg.inv(x.T @ x)
    t = np.empty(data.elements.n_elements, np.float32)
    for start in range(0, t.size, 1024):
        maps = data.stack.data[:, start : start + 1024].astype(np.float64)
        beta = inverse @ x.T @ maps
        variance = ((maps - x @ beta) ** 2).sum(axis=0) / dof
        t[start : start + 1024] = beta[1] / np.sqrt(variance * inverse[1, 1])
    maps_by_stat = {"t": t, "z": t_to_z(t, dof).astype(np.float32), "p": t_p(t, dof, True).astype(np.float32)}
    return ContrastResult(contrast=data.design.contrasts[0], dof=dof, dof_numerator=1, maps=maps_by_stat)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory is not None:
        print(peak_memory(given.memory))
        return
    inside, affine = brain_mask()
    with TemporaryDirectory() as folder:
        mask_file = Path(folder) / "mask.npy"
        np.save(mask_file, inside)
        command = [sys.executable, __file__, "--memory", str(mask_file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # fills numba's cache
        subprocess.run(command, check=True)
    setting = build_setting(inside, affine, 5.0)
    print(f"\n{N_OBS} maps of {setting.data.elements.n_elements:,} voxels, one process, one BLAS thread.\n")
    print(compare_passes(setting.data.elements, given.rounds), flush=True)
    print(f"\n{compare(setting, given.rounds)}", flush=True)
    print(ten_thousand(setting), flush=True)


if __name__ == "__main__":
    main()
