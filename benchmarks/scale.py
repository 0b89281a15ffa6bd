"""How time and memory of the whole app grow with the number of people, beside the floor.

Synthetic effect maps on the 2 mm MNI grid: one map of noise, moved and scaled for each person, so that all
differ and cost next to nothing to make. Three contrasts, smoothing by 6 mm. The app runs in a process of its
own from its command line; its memory is the peak of resident memory of the process tree, looked at every
50 ms; the time by stage stands in its log. The floor is what no method can leave out: each map inflated and
smoothed once, in one process.

Run with ``python benchmarks/scale.py [--n-people N …] [--mem-gb GB] [--nprocs N] [--report] [--nilearn]``;
prints a table in Markdown. ``--names N`` instead makes N people with four tiny maps each and times how long
they take to be found and named.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FWHM_MM = 6.0
MAP = "sub-{:05d}_task-x_space-MNI152NLin2009cAsym_res-2_contrast-{}_stat-effect_statmap.nii.gz"
CONTRASTS = ("mean = mean()", "age = age", "group = group")


def main() -> None:
    """Measure each number of people and print the table."""
    arguments = _arguments()
    if arguments.way:
        _measure_here(arguments)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.names:
            make_people(folder, arguments.names, [], n_maps=4)
            print(json.dumps(_call("find", folder, arguments)))
            return
        print("| people | floor | a map | app: processor time | a map | floor / app | on the clock | peak |")
        print(8 * "|---" + "|")
        for n in sorted(arguments.n_people):
            _measure(folder / str(n), n, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-people", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--mem-gb", type=float, default=2.0)
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="write the report too")
    parser.add_argument("--nilearn", action="store_true", help="time plain nilearn too, up to 300 people")
    parser.add_argument("--names", type=int, metavar="N", help="only find N people with four maps each")
    parser.add_argument("--folder", type=Path, help="where the maps are made for the time of the run")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, n: int, arguments: argparse.Namespace) -> None:
    make_people(folder, n, _volumes())
    floor = _call("floor", folder, arguments)
    print(_row(f"{n:,}", n, floor, _call("app", folder, arguments)), flush=True)
    if arguments.nilearn and n <= 300:
        print(_row(f"{n:,}, plain nilearn", n, floor, _call("nilearn", folder, arguments)), flush=True)


def _row(title: str, n: int, floor: dict[str, float], one: dict[str, float]) -> str:
    cells = [title]
    for each in (floor, one):
        cells += [f"{each['cpu']:.1f} s", f"{1000 * each['cpu'] / n:.0f} ms"]
    cells += [
        f"{100 * floor['cpu'] / one['cpu']:.0f} %",
        f"{one['seconds']:.1f} s",
        f"{one['peak_gb']:.2f} GB",
    ]
    return f"| {' | '.join(cells)} |"


def _call(way: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one way in a process of its own; its and its children's processor time, the tree's peak memory."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    command += ["--mem-gb", str(arguments.mem_gb), "--nprocs", str(arguments.nprocs)]
    command += ["--report"] if arguments.report else []
    before, start, peak = os.times(), time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            peak = max(peak, _resident_kb(process.pid))
            time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - start, "cpu": cpu, "peak_gb": peak / 1e6 * 1.024}


def _resident_kb(pid: int) -> int:
    """Resident memory of a process and its children, the pages of files that the kernel may drop left out."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return own + sum(_resident_kb(int(child)) for child in children)


# --------------------------------------------------------------------------------------------
# The data


def _volumes() -> tuple[np.ndarray, np.ndarray]:
    """Noise inside the brain's mask, and the affine."""
    from nilearn.datasets import load_mni152_brain_mask

    mask = load_mni152_brain_mask(resolution=2)
    return mask.get_fdata() > 0, mask.affine


def make_people(folder: Path, n: int, brain: Any, n_maps: int = 1) -> None:
    """Write a BIDS dataset of n people with first-level maps; without a brain these are no images."""
    import pandas as pd

    derived = folder / "bids" / "derivatives" / "firstlevel"
    base, head = None, b""
    if brain:
        import nibabel as nib

        inside, affine = brain
        image = nib.Nifti1Image(np.zeros(inside.shape, dtype=np.float32), affine)
        head = image.to_bytes()[:352]
        noise = np.random.default_rng(0).normal(0.1, 1, 2 * int(inside.sum())).astype(np.float32)
        base = inside.ravel(order="F")
    for number in range(n):
        target = derived / f"sub-{number:05d}" / "func"
        target.mkdir(parents=True)
        for which in range(n_maps):
            path = target / MAP.format(number, "abcd"[which])
            if base is None:
                path.write_bytes(gzip.compress(path.name.encode(), 1))
                continue
            volume = np.zeros(base.size, dtype="<f4")
            shift = 211 * number % (noise.size // 2)
            volume[base] = noise[shift : shift + int(base.sum())] * np.float32(1 + number % 17 / 40)
            path.write_bytes(gzip.compress(head + volume.tobytes(), 1))
    rng = np.random.default_rng(1)
    people = pd.DataFrame({"age": rng.normal(0, 10, n).round(2), "group": rng.integers(0, 2, n)})
    people.insert(0, "participant_id", [f"sub-{number:05d}" for number in range(n)])
    people.to_csv(folder / "bids" / "participants.tsv", sep="\t", index=False)
    description = {"Name": "benchmark", "BIDSVersion": "1.10.0"}
    (folder / "bids" / "dataset_description.json").write_text(json.dumps(description))
    description |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": "benchmark"}]}
    (derived / "dataset_description.json").write_text(json.dumps(description))
    if brain:
        nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), folder / "mask.nii.gz")


# --------------------------------------------------------------------------------------------
# The ways


def _measure_here(arguments: argparse.Namespace) -> None:
    WAYS[arguments.way](arguments)


def _maps(folder: Path) -> list[Path]:
    return sorted(folder.glob("bids/derivatives/firstlevel/sub-*/func/*_statmap.nii.gz"))


def _floor(arguments: argparse.Namespace) -> None:
    """Inflate and smooth each map once, as the app does."""
    from bids_group.elements import Smoother, read_map

    smoother = None
    for path in _maps(arguments.folder):
        image = read_map(path)
        smoother = smoother or Smoother(image.grid, FWHM_MM)
        smoother.smooth(image.data)


def _app(arguments: argparse.Namespace) -> None:
    from bids_group.cli import main

    folder = arguments.folder
    command = [str(folder / "bids"), str(folder / f"app-{arguments.mem_gb:g}"), "group"]
    command += ["--formula", "~ age + group", "--numeric", "age", "group", "--contrast", *CONTRASTS]
    command += ["--mask", str(folder / "mask.nii.gz"), "--smoothing-fwhm", str(FWHM_MM)]
    command += ["--correction", "none", "--nprocs", str(arguments.nprocs)]
    command += ["--mem-gb", str(arguments.mem_gb), *([] if arguments.report else ["--no-report"])]
    code = main(command)
    if code != 0:
        raise SystemExit(code)


def _nilearn(arguments: argparse.Namespace) -> None:
    import pandas as pd
    from nilearn.glm.second_level import SecondLevelModel

    folder = arguments.folder
    people = pd.read_csv(folder / "bids" / "participants.tsv", sep="\t")
    design = people[["age", "group"]].assign(mean=1.0)
    model = SecondLevelModel(mask_img=str(folder / "mask.nii.gz"), smoothing_fwhm=FWHM_MM)
    model.fit([str(path) for path in _maps(folder)], design_matrix=design)
    for name in ("mean", "age", "group"):
        for stat, image in model.compute_contrast(name, output_type="all").items():
            image.to_filename(folder / f"{name}_{stat}.nii.gz")


def _find(arguments: argparse.Namespace) -> None:
    """Find and name people and maps; one header stands for all, as those of tiny files cannot be read."""
    from dataclasses import replace

    import nibabel as nib

    from bids_group.bids import cohort
    from bids_group.config import Inputs, Selection
    from bids_group.elements import read_header

    image = arguments.folder / "one.nii"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.float32), np.eye(4)), image)
    header = read_header(image)
    cohort.read_header = lambda path: replace(header, path=path)
    found = cohort.gather_cohort(
        Inputs(bids_dir=arguments.folder / "bids"), Selection(), arguments.folder / "none"
    )
    print(f"{len(found.maps)} maps of {len(found.everyone)} people", file=sys.stderr)


WAYS: dict[str, Callable[[argparse.Namespace], None]] = {
    "floor": _floor,
    "app": _app,
    "nilearn": _nilearn,
    "find": _find,
}

if __name__ == "__main__":
    main()
