"""How long a group analysis takes and how much memory, beside the plain nilearn script.

100 synthetic effect maps on the 2 mm MNI grid (235,375 voxels in the mask), smoothed by 5 mm, three
contrasts, from the first byte read to the group maps written. Each way runs in a process of its own; imports
and the loading of a compiled kernel (0.3 s) are not timed, their memory is part of the peak. The whole app
is timed from its command line to the finished folder, with what it imports on the way and the pooled maps
that it writes. Processor time is told beside the time on the clock because it does not depend on what else
the machine does.

Run with ``python benchmarks/parametric.py [--n-obs N] [--n-procs N]``; prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

FWHM_MM = 5.0
MAP = "sub-{:03d}_task-x_space-MNI152NLin2009cAsym_res-2_contrast-c_stat-effect_statmap.nii.gz"
CONTRASTS = {"mean": [1, 0, 0], "age": [0, 1, 0], "group": [0, 0, 1]}


def main() -> None:
    """Run every way in its own process and print the table."""
    arguments = _arguments()
    if arguments.way:
        print(json.dumps(_measure(arguments.way, arguments.folder, arguments.n_procs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _call("data", folder, arguments.n_obs)
        ways = [("plain nilearn script", "nilearn", 1), ("bids_group, one process", "own", 1)]
        if arguments.n_procs > 1:
            ways.append((f"bids_group, {arguments.n_procs} processes", "own", arguments.n_procs))
        ways.append(("the whole app, one process", "app", 1))
        rows = [(title, _call(way, folder, n)) for title, way, n in ways]
        pooled = _call("pooled", folder, 1)
        print(_table(rows))
        ms = 1000 * pooled["cpu"] / arguments.n_obs
        print(f"\nPooled effect and variance with sidecars: {ms:.1f} ms of processor time a person\n")
        print("| one map | processor time | bytes |\n|---|---|---|")
        for what, (seconds, n_bytes) in _call("stages", folder, 1)["stages"].items():
            print(f"| {what} | {1000 * seconds:.1f} ms | {n_bytes:,} |")
        print(f"\nLargest difference of t: {_largest_difference(Path(folder)):.1e}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-obs", type=int, default=100)
    parser.add_argument("--n-procs", type=int, default=2)
    parser.add_argument("--way", choices=list(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _call(way: str, folder: str, n: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--folder", folder, "--n-procs", str(n)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _measure(way: str, folder: Path, n: int) -> dict[str, float]:
    """Time one way and read the peak of resident memory of this process."""
    run = JOBS[way](folder, n)
    if way == "stages":
        return {"stages": run()}
    at_rest = _peak_gb()
    start, cpu = time.perf_counter(), time.process_time()
    run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak_gb": _peak_gb(), "imports_gb": at_rest}


def _peak_gb() -> float:
    """Peak of resident memory so far, of this process alone."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024**2
    raise RuntimeError("no VmHWM in /proc/self/status")


def _table(rows: list[tuple[str, dict[str, float]]]) -> str:
    first = rows[0][1]
    lines = [
        "| | time | times faster | processor time | times less | peak memory | of it imports | share |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, one in rows:
        lines.append(
            f"| {title} | {one['seconds']:.1f} s | {first['seconds'] / one['seconds']:.1f} "
            f"| {one['cpu']:.1f} s | {first['cpu'] / one['cpu']:.1f} "
            f"| {one['peak_gb']:.2f} GB | {one['imports_gb']:.2f} GB "
            f"| {one['peak_gb'] / first['peak_gb']:.2f} |"
        )
    return "\n".join(lines)


def _largest_difference(folder: Path) -> float:
    import nibabel as nib

    return max(
        float(np.abs(
            nib.load(folder / "nilearn" / f"{name}_stat.nii.gz").get_fdata()
            - nib.load(folder / "own1" / f"{name}_t.nii.gz").get_fdata()
        ).max())
        for name in CONTRASTS
    )  # fmt: skip


# --------------------------------------------------------------------------------------------
# The data


def _prepare_data(folder: Path, n_obs: int) -> Callable[[], None]:
    import nibabel as nib
    from nilearn.datasets import load_mni152_brain_mask

    def run() -> None:
        mask = load_mni152_brain_mask(resolution=2)
        inside = mask.get_fdata() > 0
        nib.save(nib.Nifti1Image(inside.astype(np.uint8), mask.affine), folder / "mask.nii.gz")
        for number in range(n_obs):
            rng = np.random.default_rng([number])
            volume = np.zeros(inside.shape, dtype=np.float32)
            volume[inside] = rng.normal(0.1, 1, int(inside.sum()))
            path = (
                folder
                / "bids"
                / "derivatives"
                / "firstlevel"
                / f"sub-{number:03d}"
                / "func"
                / MAP.format(number)
            )
            path.parent.mkdir(parents=True)
            nib.save(nib.Nifti1Image(volume, mask.affine), path)
        rng = np.random.default_rng(1)
        table = pd.DataFrame(
            {"mean": 1.0, "age": rng.normal(0, 10, n_obs), "group": rng.integers(0, 2, n_obs)},
            index=[f"sub-{number:03d}" for number in range(n_obs)],
        )
        table.to_csv(folder / "design.tsv", sep="\t")
        _describe(folder / "bids", table)

    return run


def _describe(bids_dir: Path, table: pd.DataFrame) -> None:
    """Write what makes the folder a BIDS dataset with first-level derivatives."""
    description = {"Name": "benchmark", "BIDSVersion": "1.10.0"}
    (bids_dir / "dataset_description.json").write_text(json.dumps(description))
    derived = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "benchmark"}]}
    (bids_dir / "derivatives" / "firstlevel" / "dataset_description.json").write_text(
        json.dumps(description | derived)
    )
    people = table[["age", "group"]].rename_axis("participant_id")
    people.to_csv(bids_dir / "participants.tsv", sep="\t")


def _inputs(folder: Path) -> tuple[list[Path], pd.DataFrame]:

    return sorted(folder.glob("bids/derivatives/**/*_statmap.nii.gz")), pd.read_csv(
        folder / "design.tsv", sep="\t", index_col=0
    )


# --------------------------------------------------------------------------------------------
# The ways


def _prepare_nilearn(folder: Path, n: int) -> Callable[[], None]:
    from nilearn.glm.second_level import SecondLevelModel

    paths, design = _inputs(folder)

    def run() -> None:
        target = folder / "nilearn"
        target.mkdir()
        model = SecondLevelModel(mask_img=folder / "mask.nii.gz", smoothing_fwhm=FWHM_MM)
        model.fit([str(path) for path in paths], design_matrix=design)
        for name, weights in CONTRASTS.items():
            maps = model.compute_contrast(np.array(weights, dtype=float), output_type="all")
            for stat, image in maps.items():
                image.to_filename(target / f"{name}_{stat}.nii.gz")

    return run


def _observations(folder: Path) -> list:
    from bids_group.records import FirstLevelMap, Observation

    return [
        Observation(
            subject=path.name[4:7],
            contrast="c",
            sources=(FirstLevelMap(subject=path.name[4:7], contrast="c", effect=path, dataset=folder),),
        )
        for path in _inputs(folder)[0]
    ]


def _prepare_own(folder: Path, n_procs: int) -> Callable[[], None]:
    import nilearn.glm.second_level  # noqa: F401  (imported here so that it is not timed, as all below)
    import scipy.interpolate  # noqa: F401

    from bids_group.elements import Grid, Smoother
    from bids_group.executor import Threads
    from bids_group.model import build_stack, fit_group, pool
    from bids_group.output.disk.map_files import write_map
    from bids_group.records import Contrast, Design, GroupData

    Smoother(Grid(shape=(1, 1, 1), affine=np.eye(4)), FWHM_MM).smooth(np.ones((1, 1, 1), np.float32))
    executor, observations = Threads(n_procs=n_procs), _observations(folder)
    table = _inputs(folder)[1]
    design = Design(
        matrix=table.astype(float), formula="~ age + group", terms={}, variables=table, centering="none",
        centers={}, rank=3, details={},
        contrasts=tuple(
            Contrast(
                name=name, label=name, weights=np.array([row], dtype=float), test="t", expression="", words=""
            )
            for name, row in CONTRASTS.items()
        ),
    )  # fmt: skip

    def run() -> None:
        stacked = build_stack(
            observations,
            take=pool,
            labels=tuple(one.label for one in observations),
            mask=folder / "mask.nii.gz",
            min_coverage=1.0,
            fwhm_mm=FWHM_MM,
            work_dir=None,
            executor=executor,
        )
        data = GroupData(design=design, stack=stacked.stack, elements=stacked.elements)
        results = fit_group(data, is_two_sided=True, executor=executor, has_effect_sizes=False).results
        target = folder / f"own{n_procs}"
        target.mkdir()
        for result in results:
            for stat, values in result.maps.items():
                volume = data.elements.unpack(values)
                write_map(target / f"{result.contrast.name}_{stat}.nii.gz", volume, data.elements.grid)

    return run


def _prepare_pooled(folder: Path, n: int) -> Callable[[], None]:
    from bids_group.model import pool
    from bids_group.output import pooling_key, write_pooled

    first, *others = _observations(folder)
    effects = pool(first)
    pooled = replace(effects, variance=effects.effect**2 + 1)
    keys = [(one, pooling_key(one)) for one in (first, *others)]

    def run(wanted: slice = slice(None)) -> None:
        for one, key in keys[wanted]:
            write_pooled(
                folder / "out", replace(pooled, observation=one), key, dataset_names={"firstlevel": folder}
            )

    run(slice(1))  # loads the compiled kernel
    return run


def _prepare_app(folder: Path, n_procs: int) -> Callable[[], None]:
    from bids_group import workflow  # noqa: F401  (imported here so that it is not timed)
    from bids_group.cli import main

    def run() -> None:
        wanted = [
            f"{name} = {term}" for name, term in (("mean", "mean()"), ("age", "age"), ("group", "group"))
        ]
        code = main(
            [
                str(folder / "bids"), str(folder / "app"), "group", "--formula", "~ age + group",
                "--numeric", "age", "group", "--contrast", *wanted, "--mask", str(folder / "mask.nii.gz"),
                "--smoothing-fwhm", str(FWHM_MM), "--correction", "none", "--no-report",
                "--nprocs", str(n_procs), "-q",
            ]
        )  # fmt: skip
        if code != 0:
            raise SystemExit(code)

    return run


def _prepare_stages(folder: Path, n: int) -> Callable[[], dict[str, tuple[float, int]]]:
    """Time what is done to one map, each the fastest of ten, and tell how many bytes come out."""
    import zlib

    from zlib_ng import zlib_ng

    from bids_group.elements import Smoother, gzip_bytes, inflate, read_map
    from bids_group.elements.zero_runs import deflate_zero_runs

    path = _inputs(folder)[0][0]
    packed = path.read_bytes()
    content, loaded = inflate(packed), read_map(path)
    effects = np.where(loaded.data == 0, np.float32(np.nan), loaded.data)
    smoother = Smoother(loaded.grid, FWHM_MM)

    def deflate(library: ModuleType, strategy: int) -> bytes:
        stream = library.compressobj(1, zlib.DEFLATED, -15, 8, strategy)
        return stream.compress(content) + stream.flush()

    ways = {
        "read, hash, unpack": lambda: read_map(path).data.data,
        "unpack: zlib-ng": lambda: zlib_ng.decompress(packed, 31, len(content) + 1),
        "unpack: zlib": lambda: zlib.decompress(packed, 31, len(content) + 1),
        "smooth": lambda: smoother.smooth(effects).data,
        "pack": lambda: gzip_bytes(content),
        "pack: zlib-ng, runs": lambda: deflate(zlib_ng, zlib.Z_RLE),
        "pack: zlib, runs": lambda: deflate(zlib, zlib.Z_RLE),
        "pack: zlib, level 1": lambda: deflate(zlib, zlib.Z_DEFAULT_STRATEGY),
        "pack a pooled map": lambda: deflate_zero_runs(content),
    }

    def run() -> dict[str, tuple[float, int]]:
        return {what: min(_timed(way) for _ in range(10)) for what, way in ways.items()}

    return run


def _timed(way: Callable[[], memoryview | bytes]) -> tuple[float, int]:
    start = time.process_time()
    made = way()
    return time.process_time() - start, memoryview(made).nbytes


JOBS = {
    "data": _prepare_data,
    "nilearn": _prepare_nilearn,
    "own": _prepare_own,
    "pooled": _prepare_pooled,
    "app": _prepare_app,
    "stages": _prepare_stages,
}

if __name__ == "__main__":
    main()
