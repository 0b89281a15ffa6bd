"""A random intercept with very many rows: a slab of voxels of 10,000 people with two visits each.

Run from the repository's root; prints what the whole app took, and what follows for a brain::

    OMP_NUM_THREADS=1 python benchmarks/many_rows.py                  # 20,000 maps of 1,000 voxels
    OMP_NUM_THREADS=1 python benchmarks/many_rows.py --n-people 500   # a quick look

The app runs in a process of its own, told ``--mem-gb 2``, with ``~ group * time + age + (1 | subject)``. Then
rows of noise are fitted in memory, without files, for the time of a voxel and the memory beside the maps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE, BRAIN = 10, 235_375
FORMULA = "~ group * time + age + (1 | subject)"
MAP = "{}_{}_task-x_space-MNI152NLin2009cAsym_contrast-a_stat-effect_statmap.nii"


def make_people(folder: Path, n_people: int) -> None:
    """Write two maps of each person: noise that people share in part, uncompressed."""
    import nibabel as nib
    import pandas as pd

    random, shape = np.random.default_rng(0), (SIDE, SIDE, SIDE)
    head = nib.Nifti1Image(np.zeros(shape, np.float32), np.diag([2.0, 2, 2, 1])).to_bytes()[:352]
    derived = folder / "bids" / "derivatives" / "firstlevel"
    people = pd.DataFrame({"participant_id": [f"sub-{number:05d}" for number in range(n_people)]})
    people["group"] = random.choice(["control", "patient"], n_people)
    people["age"] = random.normal(40, 9, n_people).round(1)
    for name in people["participant_id"]:
        level = random.standard_normal(SIDE**3, np.float32)
        sessions = pd.DataFrame(
            {"session_id": ["ses-1", "ses-2"], "time": [0.0, round(random.uniform(4, 9), 1)]}
        )
        (folder / "bids" / name).mkdir(parents=True)
        sessions.to_csv(folder / "bids" / name / f"{name}_sessions.tsv", sep="\t", index=False)
        for session in sessions["session_id"]:
            target = derived / name / session / "func"
            target.mkdir(parents=True)
            values = level + random.standard_normal(SIDE**3, np.float32)
            (target / MAP.format(name, session)).write_bytes(head + values.tobytes())
    people.to_csv(folder / "bids" / "participants.tsv", sep="\t", index=False)
    description: dict[str, object] = {"Name": "benchmark", "BIDSVersion": "1.10.0"}
    (folder / "bids" / "dataset_description.json").write_text(json.dumps(description))
    description |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": "benchmark"}]}
    (derived / "dataset_description.json").write_text(json.dumps(description))
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.diag([2.0, 2, 2, 1])), folder / "mask.nii.gz")


def run_app(folder: Path) -> None:
    """Run the app here, and print processor time and memory."""
    from bids_group.cli import main

    options = ["--pooling", "none", "--formula", FORMULA, "--mask", str(folder / "mask.nii.gz")]
    options += ["--correction", "fdr", "--mem-gb", "2", "--nprocs", "1", "--no-report", "-q"]
    code = main([str(folder / "bids"), str(folder / "out"), "group", *options])
    if code:
        raise SystemExit(code)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"cpu": time.process_time(), "peak": peak}))


def time_fit(n_people: int) -> tuple[float, float]:
    """Processor time of an element, and memory in GB beside the maps, of rows in memory."""
    sys.path.insert(0, str(Path(__file__).parent))
    from dataclasses import replace

    from repeated_measures import as_group_data

    from bids_group.config.estimators import MIXED
    from bids_group.model import fit_group

    random = np.random.default_rng(0)
    person, visit = np.repeat(np.arange(n_people), 2), np.tile([0, 2], n_people)
    group = (person % 2).astype(float)

    def fit(n_elements: int) -> float:
        maps = random.standard_normal((2 * n_people, n_elements), np.float32)
        data = as_group_data(person, visit, group, maps)
        kept = [0, 1, 3, 5]
        matrix = data.design.matrix.iloc[:, kept]
        contrasts = tuple(replace(one, weights=one.weights[:, kept]) for one in data.design.contrasts[:2])
        design = replace(data.design, matrix=matrix, contrasts=contrasts, rank=4)
        start = time.process_time()
        fit_group(replace(data, design=design, estimator=MIXED), is_two_sided=True)
        return time.process_time() - start

    fit(64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = fit(2048)
    held = 4 * 2 * n_people * 2048 / 1e9
    return taken / 2048, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6 - held


def main() -> None:
    """Make the people, run the app on them, and time the fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-people", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the maps are made for the time of the run")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run_app(given.folder)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        make_people(Path(name), given.n_people)
        command = [sys.executable, __file__, "--way", "app", "--folder", name]
        told = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
    print(
        f"{2 * given.n_people:,} maps of {SIDE**3:,} voxels, the whole app: {told['cpu']:.0f} s of processor "
        f"time, at most {told['peak']:.2f} GB.",
        flush=True,
    )
    each, memory = time_fit(given.n_people)
    print(
        f"A voxel takes {1e3 * each:.2f} ms: {BRAIN:,} voxels {each * BRAIN / 60:.0f} minutes of one "
        f"processor, in {memory:.2f} GB beside the maps."
    )


if __name__ == "__main__":
    main()
