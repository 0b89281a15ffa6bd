"""How time and memory of the whole app grow with the number of people, by stage, beside floor and nilearn.

Synthetic effect maps on the 2 mm MNI grid: one map of noise, moved and scaled for each person, so that all
differ and cost next to nothing to make. Three contrasts, smoothing by 6 mm. Each way runs in a process of its
own; its memory is the peak of resident memory of the process tree, looked at every 50 ms. The floor is what
no method can leave out: each map inflated and smoothed once, without imports; its share is that of the app
without the report. Times are of processors, but that on the clock.

Run with ``python benchmarks/scale.py [--n-people N …] [--mem-gb GB] [--nprocs N] [--report]``; prints a table
in Markdown, what is reasoned from it about 40,000 people, and with ``--picture FILE`` draws both. Plain
nilearn is timed up to ``--nilearn N`` people. ``--shuffles N`` adds a run of so many voxelwise shuffles of
the largest number of people, and its share of the measured sgemm peak. ``--names N`` instead makes N people
with four tiny maps each and times how long they take to be found and named, and their headers to be read.
"""

from __future__ import annotations

import argparse
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
STAGES = {
    "find, plan": [("workflow.preparation", "prepare")],
    "read, smooth, pool": [("model", "build_stack")],
    "fit": [("model", "fit_group")],
    "correct": [("inference", "correct_group")],
    "write": [("output", "write_group"), ("bids", "build_ledger"), ("output", "write_ledger")],
    "report": [("output.report", "build_report")],
}
"""The stages of a run, and the functions of the app that do them."""

MANY = 40_000
MACHINES = {"one machine, 16 processors": (1, 16), "20 nodes of 16 processors": (20, 16)}
SQUARE = 3000

Measured = dict[str, Any]


def main() -> None:
    """Measure each number of people and print the table."""
    arguments = _arguments()
    if arguments.way:
        WAYS[arguments.way](arguments)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.names:
            folder = arguments.keep or folder
            make_people(folder, arguments.names, _tiny(), n_maps=4)
            print(json.dumps(_call("find", folder, arguments)))
            return
        rows: list[Measured] = []
        print(f"| people | floor | app | {' | '.join([*STAGES, 'rest'])} | floor / app | clock | memory |")
        print((6 + len(STAGES) + 1) * "|---" + "|", flush=True)
        for n in sorted(arguments.n_people):
            rows += _measure(folder / str(n), n, arguments)
        if len(rows) > 1:
            print(f"\n{extrapolate(rows, arguments.nprocs)}")
        if arguments.shuffles:
            print(f"\n{_shuffles(folder / str(rows[-1]['n']), arguments)}")
    if arguments.picture:
        draw(rows, arguments.mem_gb, arguments.picture)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-people", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--mem-gb", type=float, default=2.0)
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="write the report too")
    parser.add_argument("--nilearn", type=int, default=0, metavar="N", help="plain nilearn up to N people")
    parser.add_argument("--shuffles", type=int, default=0, help="voxelwise shuffles of the largest number")
    parser.add_argument("--picture", type=Path, help="where to draw time and memory")
    parser.add_argument("--names", type=int, metavar="N", help="only find N people with four maps each")
    parser.add_argument(
        "--keep", type=Path, help="a new folder where the people of --names are left, in bids/"
    )
    parser.add_argument("--folder", type=Path, help="where the maps are made for the time of the run")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, n: int, arguments: argparse.Namespace) -> list[Measured]:
    """Time floor, app and (of few people) plain nilearn; print a row, and give what was measured."""
    make_people(folder, n, _volumes())
    floor, app = (_call(way, folder, arguments) for way in ("floor", "app"))
    nilearn = _call("nilearn", folder, arguments) if n <= arguments.nilearn else None
    app["stages"]["rest"] = app["cpu"] - sum(app["stages"].values())
    share = floor["cpu"] / (app["cpu"] - app["stages"]["report"])
    cells = [f"{n:,}", _seconds(floor["cpu"], n), _seconds(app["cpu"], n)]
    cells += [f"{taken:.1f} s" for taken in app["stages"].values()]
    cells += [f"{100 * share:.0f} %", f"{app['seconds']:.0f} s", f"{app['peak_gb']:.2f} GB"]
    print(f"| {' | '.join(cells)} |", flush=True)
    if nilearn is not None:
        cells = [f"{n:,}, plain nilearn", "", _seconds(nilearn["cpu"], n), *[""] * (len(STAGES) + 2)]
        cells += [f"{nilearn['seconds']:.0f} s", f"{nilearn['peak_gb']:.2f} GB"]
        print(f"| {' | '.join(cells)} |", flush=True)
    return [{"n": n, "floor": floor, "app": app, "nilearn": nilearn}]


def _seconds(taken: float, n: int) -> str:
    return f"{taken:.1f} s ({1000 * taken / n:.0f} ms)"


def _call(way: str, folder: Path, arguments: argparse.Namespace) -> Measured:
    """Run one way in a process of its own; processor time of it and its children, the tree's peak memory."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    command += ["--mem-gb", str(arguments.mem_gb), "--nprocs", str(arguments.nprocs)]
    command += ["--report"] if arguments.report else []
    command += ["--shuffles", str(arguments.shuffles)]
    before, start, peak = os.times(), time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, _resident_kb(process.pid))
            time.sleep(0.05)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    told = json.loads(said.splitlines()[-1]) if said else {}
    return {"seconds": time.perf_counter() - start, "cpu": cpu, "peak_gb": peak / 1e6 * 1.024, **told}


def _resident_kb(pid: int) -> int:
    """Resident memory of a process and its children, the pages of files that the kernel may drop left out."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return own + sum(_resident_kb(int(child)) for child in children)


def extrapolate(rows: list[Measured], n_procs: int) -> str:
    """Reason from the stages of the two largest runs what many people would take, on a line through both.

    Reading and fitting are shared by processors as well as they were here; finding, correcting, writing and
    the rest are done by one.
    """
    few, most = rows[-2:]
    seconds = {}
    for stage, taken in most["app"]["stages"].items():
        slope = max(taken - few["app"]["stages"][stage], 0.0) / (most["n"] - few["n"])
        seconds[stage] = taken + slope * (MANY - most["n"])
    apart = seconds["read, smooth, pool"] + seconds["fit"]
    alone = sum(seconds.values()) - apart - seconds["report"]
    busy = min(1.0, most["app"]["cpu"] / (most["app"]["seconds"] * n_procs))
    lines = [
        f"Reasoned from {few['n']:,} and {most['n']:,} people, without the report: {MANY:,} people take "
        f"{(apart + alone) / 3600:.1f} h of processor time, {apart / 3600:.1f} h of it shared by processors "
        f"(as busy as here: {100 * busy:.0f} %); their maps are "
        f"{4e-9 * MANY * most['app']['n_elements']:.0f} GB.",
        "",
        f"| {MANY:,} people | on the clock |",
        "|---|---|",
    ]
    for name, (nodes, processors) in MACHINES.items():
        minutes = (alone + apart / (nodes * processors * busy)) / 60
        lines.append(f"| {name} | {minutes:.0f} min |")
    return "\n".join(lines)


def _shuffles(folder: Path, arguments: argparse.Namespace) -> str:
    """Time voxelwise shuffles beside large single-precision products in the same process."""
    told = _call("shuffles", folder, arguments)
    reached, peak = told["flops"] / told["shuffling"] / 1e9, told["peak"] / 1e9
    return (
        f"{arguments.shuffles:,} voxelwise shuffles of {told['n']:,} people, {len(CONTRASTS)} contrasts: "
        f"{told['stages']['correct']:.0f} s of processor time in corrections, {told['shuffling']:.0f} s of "
        f"it shuffling, at {reached:.0f} GFLOP/s, {100 * reached / peak:.0f} % of the measured sgemm peak "
        f"({peak:.0f}), in {told['peak_gb']:.2f} GB."
    )


def draw(rows: list[Measured], mem_gb: float, path: Path) -> None:
    """Draw processor time of a map by stage, and memory, over the number of people."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    places, base = np.arange(len(rows)), np.zeros(len(rows))
    names = [f"{row['n']:,}" for row in rows]
    for number, name in enumerate(rows[0]["app"]["stages"]):
        taken = np.array([1000 * row["app"]["stages"][name] / row["n"] for row in rows])
        left.bar(places, taken, 0.6, base, label=name, color=plt.get_cmap("viridis")(number / 6))
        base += taken
    floors = [1000 * row["floor"]["cpu"] / row["n"] for row in rows]
    left.hlines(floors, places - 0.35, places + 0.35, color="#c44e52", linewidth=3, label="floor")
    left.set(xticks=places, xticklabels=names, xlabel="people", ylabel="processor time of a map (ms)")
    left.legend(fontsize="x-small", frameon=False)
    n = [row["n"] for row in rows]
    right.semilogx(n, [row["app"]["peak_gb"] for row in rows], "o-", label="bids-group", color="#31688e")
    beside = [(row["n"], row["nilearn"]["peak_gb"]) for row in rows if row["nilearn"]]
    if beside:
        right.semilogx(*zip(*beside, strict=True), "s--", label="plain nilearn", color="#c44e52")
    right.axhline(mem_gb, color="0.6", linewidth=1, label=f"--mem-gb {mem_gb:g}")
    right.set(xticks=n, xticklabels=names, xlabel="people", ylabel="peak memory (GB)")
    right.set_ylim(bottom=0)
    right.minorticks_off()
    right.legend(fontsize="x-small", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _volumes() -> tuple[np.ndarray, np.ndarray]:
    """Where the brain is, and the affine."""
    from nilearn.datasets import load_mni152_brain_mask

    mask = load_mni152_brain_mask(resolution=2)
    return mask.get_fdata() > 0, mask.affine


def _tiny() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((3, 3, 3), dtype=bool), np.eye(4)


def make_people(folder: Path, n: int, brain: tuple[np.ndarray, np.ndarray], n_maps: int = 1) -> None:
    """Write a BIDS dataset of n people with first-level maps, and the mask of the brain."""
    import nibabel as nib
    import pandas as pd

    try:
        from isal.isal_zlib import compress
    except ImportError:
        from zlib import compress
    derived, (inside, affine) = folder / "bids" / "derivatives" / "firstlevel", brain
    head = nib.Nifti1Image(np.zeros(inside.shape, dtype=np.float32), affine).to_bytes()[:352]
    base, rng = inside.ravel(order="F"), np.random.default_rng(0)
    n_inside = int(base.sum())
    noise = rng.normal(0.1, 1, 2 * n_inside + n * n_maps).astype(np.float32)
    volume = np.zeros(base.size, dtype="<f4")
    for number in range(n):
        target = derived / f"sub-{number:05d}" / "func"
        target.mkdir(parents=True)
        for which in range(n_maps):
            shift = 211 * (n_maps * number + which) % (noise.size - n_inside)
            volume[base] = noise[shift : shift + n_inside] * np.float32(1 + number % 17 / 40)
            payload = compress(head + volume.tobytes(), 1, wbits=31)
            (target / MAP.format(number, "abcd"[which])).write_bytes(payload)
    rng = np.random.default_rng(1)
    people = pd.DataFrame({"age": rng.normal(0, 10, n).round(2), "group": rng.integers(0, 2, n)})
    people.insert(0, "participant_id", [f"sub-{number:05d}" for number in range(n)])
    people.to_csv(folder / "bids" / "participants.tsv", sep="\t", index=False)
    description = {"Name": "benchmark", "BIDSVersion": "1.10.0"}
    (folder / "bids" / "dataset_description.json").write_text(json.dumps(description))
    description |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": "benchmark"}]}
    (derived / "dataset_description.json").write_text(json.dumps(description))
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), folder / "mask.nii.gz")


def _maps(folder: Path) -> list[Path]:
    return sorted(folder.glob("bids/derivatives/firstlevel/sub-*/func/*_statmap.nii.gz"))


def _floor(arguments: argparse.Namespace) -> None:
    """Inflate and smooth each map once, as the app does."""
    from bids_group.elements import Smoother, read_map

    paths = _maps(arguments.folder)
    image = read_map(paths[0])
    smoother = Smoother(image.grid, FWHM_MM)
    smoother.smooth(image.data)  # which loads what is compiled
    start = time.process_time()
    for path in paths:
        smoother.smooth(read_map(path).data)
    print(json.dumps({"cpu": time.process_time() - start}))


def _app(arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Run the app in this process; print the processor time of each stage as the last line."""
    from importlib import import_module

    taken: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    seen: dict[str, Any] = {}
    for stage, parts in STAGES.items():
        for module, name in parts:
            owner = import_module(f"bids_group.{module}")
            setattr(owner, name, _timed(getattr(owner, name), stage, taken, seen))
    from bids_group.cli import main

    folder = arguments.folder
    command = [str(folder / "bids"), str(folder / f"app-{arguments.mem_gb:g}{len(more)}"), "group"]
    command += ["--formula", "~ age + group", "--numeric", "age", "group", "--contrast", *CONTRASTS]
    command += ["--mask", str(folder / "mask.nii.gz"), "--smoothing-fwhm", str(FWHM_MM)]
    command += ["--nprocs", str(arguments.nprocs), *(more or ("--correction", "none"))]
    command += ["--mem-gb", str(arguments.mem_gb), "--no-sensitivity"]
    command += [] if arguments.report else ["--no-report"]
    code = main(command)
    if code != 0:
        raise SystemExit(code)
    stack = seen["read, smooth, pool"]
    n, n_elements = len(stack.stack.labels), stack.elements.n_elements
    return {"stages": taken, "n": n, "n_elements": n_elements}


def _timed(
    do: Callable[..., Any], stage: str, taken: dict[str, float], seen: dict[str, Any]
) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            seen[stage] = do(*args, **kwargs)
            return seen[stage]
        finally:
            taken[stage] += time.process_time() - start

    return timed


def _shuffled(arguments: argparse.Namespace) -> None:
    """Shuffle voxelwise after a measurement of sgemm; a nuisance column that moves is one more product."""
    from bids_group.inference.shuffling import engine

    peak, do_shuffles = _sgemm(), engine.do_shuffles
    parts: list[tuple[float, float]] = []

    def timed(job: Any, rows: Any, n_shuffles: int, *others: Any) -> Any:
        start = time.thread_time()
        found = do_shuffles(job, rows, n_shuffles, *others)
        n_obs = job.residuals.tiles.shape[1]
        flops = 2.0 * job.statistic.n_products * n_shuffles * n_obs * job.n_elements
        parts.append((flops, time.thread_time() - start))
        return found

    engine.do_shuffles = timed
    told = _app(arguments, "--correction", "fwe-voxel", "--n-permutations", str(arguments.shuffles))
    flops, shuffling = (sum(each) for each in zip(*parts, strict=True))
    print(json.dumps(told | {"flops": flops, "shuffling": shuffling, "peak": peak}))


def _sgemm() -> float:
    """Single-precision operations a second of one processor, in a large product."""
    from threadpoolctl import threadpool_limits

    square = np.random.default_rng(0).standard_normal((SQUARE, SQUARE), dtype=np.float32)
    out, taken = np.empty_like(square), []
    with threadpool_limits(1, user_api="blas"):
        for _ in range(4):
            start = time.process_time()
            np.matmul(square, square, out=out)
            taken.append(time.process_time() - start)
    return 2.0 * SQUARE**3 / min(taken)


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
    """Find and name people and maps; say the time without that of the headers."""
    from bids_group.bids import cohort
    from bids_group.config import Inputs, Selection

    taken = {"headers": 0.0}
    cohort.read_headers = _timed(cohort.read_headers, "headers", taken, {})
    start = time.process_time()
    inputs = Inputs(bids_dir=arguments.folder / "bids")
    found = cohort.gather_cohort(inputs, Selection(), arguments.folder / "none")
    seconds = time.process_time() - start
    said = {"maps": len(found.maps), "people": len(found.everyone), "named": seconds - taken["headers"]}
    print(json.dumps(said | taken))


WAYS: dict[str, Callable[[argparse.Namespace], None]] = {
    "floor": _floor,
    "app": lambda arguments: print(json.dumps(_app(arguments))),
    "shuffles": _shuffled,
    "nilearn": _nilearn,
    "find": _find,
}

if __name__ == "__main__":
    main()
