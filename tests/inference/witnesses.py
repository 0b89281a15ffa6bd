"""What several tests of shuffling compare with: fits and clusters by hand, jobs that were run, bytes."""

import numpy as np
from scipy.ndimage import label

from bids_group.distributions import exact_z
from bids_group.executor import Threads
from bids_group.inference import correct_group
from bids_group.inference.corrections import nulls
from bids_group.inference.shuffling import engine
from bids_group.inference.shuffling.scheme import choose_scheme
from tests.groups import statistics_by_hand


def z_by_hand(X, weights, maps, test):
    """z of every column of ``maps`` by least squares."""
    found, dof = statistics_by_hand(X, weights, maps, test), len(X) - np.linalg.matrix_rank(X)
    z = exact_z(test, len(weights), np.abs(found), dof)
    return np.copysign(z, found) if test == "t" else z


def largest_mass(z, shape, threshold, is_two_sided):
    """Mass of the largest cluster; z is −9 where nothing is tested."""
    most = 0.0
    for sign in (1, -1) if is_two_sided else (1,):
        heights = np.where(z > -9, sign * z, -9).reshape(shape)
        labels, n = label(heights > threshold)
        most = max([most, *((heights[labels == k] - threshold).sum() for k in range(1, n + 1))])
    return most


def scheme_of(data, spec, contrast=None):
    """How the rows of group data are shuffled for a contrast, or for the first."""
    return choose_scheme(
        data.design, contrast or data.design.contrasts[0], spec, blocks=data.blocks, estimator=data.estimator,
        variance_groups=data.variance_groups, is_complete=data.is_complete,
    )  # fmt: skip


def record_jobs(monkeypatch):
    """Give the list that gets the jobs of what is run from now on."""
    jobs, original = [], engine.run_null

    def spy(job, **options):
        jobs.append(job)
        return original(job, **options)

    monkeypatch.setattr(nulls, "run_null", spy)
    return jobs


def all_bytes(verdicts):
    """Every number of each verdict."""
    numbers = []
    for one in verdicts:
        numbers += [one.p_corrected, *one.null.values()]
        numbers += [] if one.by_shuffling is None else [one.by_shuffling.p]
    return [each.tobytes() for each in numbers]


def check_bits(data, results, spec, folder, **room):
    """Neither threads nor a folder to work in nor an interruption change a bit."""
    whole = correct_group(data, results, spec)
    beside = correct_group(data, results, spec, executor=Threads(n_procs=2, **room), work_dir=folder)
    kept = sorted(folder.rglob("batch-*.npy"))
    assert len(kept) > 1
    for one in kept[::2]:
        one.unlink()
    resumed = correct_group(data, results, spec, work_dir=folder)
    assert all_bytes(whole) == all_bytes(beside) == all_bytes(resumed)
