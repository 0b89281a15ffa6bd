"""What must not change a result: threads, memory, interruptions, coding, order of rows, sign."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bids_group.config import InferenceSpec
from bids_group.executor import Threads
from bids_group.inference import correct_group
from bids_group.inference.shuffling.pooled_variance import PooledVariance
from tests.inference.witnesses import all_bytes

FAMILYWISE = ("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce")
SPEC = InferenceSpec(corrections=FAMILYWISE, n_permutations=299, cluster_forming_p=0.05, random_seed=5)


@pytest.fixture
def problem(make_problem, make_maps):
    random = np.random.default_rng(2)
    matrix = np.column_stack([np.ones(14), random.normal(size=14), np.arange(14) % 2])
    maps = make_maps(14, (14, 12, 11), 1)
    maps[:, 300:340] += 1.5
    return make_problem(
        matrix,
        [("t", [1, 0, 0]), ("t", [0, 1, 0]), ("F", [[0, 1, 0], [0, 0, 1]])],
        maps=maps,
        shape=(14, 12, 11),
    )


@pytest.mark.parametrize("executor", [Threads(n_procs=2), Threads(n_procs=4), Threads(n_procs=3, mem_gb=0.0)])
def test_threads_and_memory_change_no_bit(problem, executor):
    assert all_bytes(correct_group(*problem, SPEC)) == all_bytes(
        correct_group(*problem, SPEC, executor=executor)
    )


def test_finished_batches_are_used_again(problem, tmp_path):
    first = correct_group(*problem, SPEC, work_dir=tmp_path)
    kept = sorted(tmp_path.rglob("*.npy"))
    assert len(kept) == 3 * 38  # contrasts × batches of 8 shuffles
    for path in kept[::2]:
        path.unlink()
    half = {path: path.stat().st_mtime_ns for path in kept[1::2]}
    again = correct_group(*problem, SPEC, work_dir=tmp_path)
    assert all_bytes(first) == all_bytes(again) == all_bytes(correct_group(*problem, SPEC))
    assert {path: path.stat().st_mtime_ns for path in half} == half


def test_a_torn_batch_is_done_again(problem, tmp_path):
    first = correct_group(*problem, SPEC, work_dir=tmp_path)
    torn = sorted(tmp_path.rglob("*.npy"))[3]
    torn.write_bytes(torn.read_bytes()[:-9])
    assert all_bytes(correct_group(*problem, SPEC, work_dir=tmp_path)) == all_bytes(first)


@pytest.mark.parametrize(
    "change", [{"random_seed": 6}, {"n_permutations": 298}, {"cluster_forming_p": 0.02}, {"connectivity": 26}]
)
def test_another_request_does_not_use_the_batches(problem, tmp_path, change):
    correct_group(*problem, SPEC, work_dir=tmp_path)
    changed = replace(SPEC, **change)
    expected = all_bytes(correct_group(*problem, changed))
    assert all_bytes(correct_group(*problem, changed, work_dir=tmp_path)) == expected


def test_other_maps_do_not_use_the_batches(problem, fit_by_hand, tmp_path):
    data, results = problem
    correct_group(data, results, SPEC, work_dir=tmp_path)
    maps = data.stack.data.copy()
    maps[3, 17] += 0.25
    other = replace(data, stack=replace(data.stack, data=maps))
    fitted = fit_by_hand(other)
    expected = all_bytes(correct_group(other, fitted, SPEC))
    assert all_bytes(correct_group(other, fitted, SPEC, work_dir=tmp_path)) == expected


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from conftest import build_problem, smooth_maps
from bids_group.config import InferenceSpec
from bids_group.inference import correct_group

data, results = build_problem(
    np.ones((12, 1)), [("t", [1])], maps=smooth_maps(12, (18, 18, 18), 1), shape=(18, 18, 18)
)
spec = InferenceSpec(corrections=("fwe-tfce",), n_permutations=639)
correct_group(data, results, spec, work_dir=Path(sys.argv[2]))
"""


def test_a_killed_run_goes_on_to_the_same_bytes(make_problem, make_maps, tmp_path, request):
    script, here = tmp_path / "run.py", str(request.path.parent)
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), here, str(tmp_path / "work")]
    victim = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("work/shuffles-*/batch-*.npy"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("work/shuffles-*/batch-*.npy")}
    assert 3 <= len(kept) < 80
    maps = make_maps(12, (18, 18, 18), 1)
    problem = make_problem(np.ones((12, 1)), [("t", [1])], maps=maps, shape=(18, 18, 18))
    spec = InferenceSpec(corrections=("fwe-tfce",), n_permutations=639)
    resumed = correct_group(*problem, spec, work_dir=tmp_path / "work")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert all_bytes(resumed) == all_bytes(correct_group(*problem, spec))


def test_recoding_the_design_changes_nothing(make_problem, make_maps):
    random = np.random.default_rng(3)
    group, age = np.arange(16) % 2, random.normal(size=16)
    maps = make_maps(16, (8, 7, 6), 2)
    treatment = np.column_stack([np.ones(16), group, age])
    means = np.column_stack([1 - group, group, (age - age.mean()) * 1000])
    first = correct_group(*make_problem(treatment, [("t", [0, 1, 0])], maps=maps), SPEC)
    second = correct_group(*make_problem(means, [("t", [-1, 1, 0])], maps=maps), SPEC)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.p_corrected, other.p_corrected, atol=1 / 300 + 1e-6)
        np.testing.assert_allclose(*(np.concatenate(list(v.null.values())) for v in (one, other)), rtol=1e-4)


def test_order_of_rows_does_not_matter_when_all_shuffles_are_done(make_problem, make_maps):
    group = np.repeat([0.0, 1.0], (4, 5))
    matrix, maps = np.column_stack([np.ones(9), group]), make_maps(9, (8, 7, 6), 4)
    order = np.random.default_rng(0).permutation(9)
    spec = replace(SPEC, n_permutations=500)
    first = correct_group(*make_problem(matrix, [("t", [0, 1])], maps=maps), spec)
    second = correct_group(*make_problem(matrix[order], [("t", [0, 1])], maps=maps[order]), spec)
    for one, other in zip(first, second, strict=True):
        assert one.details.is_exhaustive
        np.testing.assert_allclose(one.p_corrected, other.p_corrected, rtol=1e-6)


def test_two_sided_p_do_not_depend_on_the_sign_of_the_maps(make_problem, make_maps):
    maps = make_maps(12, (8, 7, 6), 6)
    maps[:, :30] += 1
    first = correct_group(*make_problem(np.ones((12, 1)), [("t", [1])], maps=maps), SPEC)
    second = correct_group(*make_problem(np.ones((12, 1)), [("t", [1])], maps=-maps), SPEC)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.p_corrected, other.p_corrected)
        assert [cluster.sign for cluster in one.clusters] == [-cluster.sign for cluster in other.clusters][
            ::1
        ]


def test_progress_counts_every_shuffle_of_every_contrast(problem):
    seen = []
    correct_group(*problem, SPEC, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (900, 900)
    assert all(later[0] > earlier[0] for earlier, later in pairwise(seen))


def scale_of(test, q, dof):
    return PooledVariance(columns=np.ones((1, q)), is_two_sided=True, name=test, q=q, dof=dof)


@pytest.mark.parametrize("scale", [scale_of(test="t", q=1, dof=dof) for dof in (1, 2, 7, 98, 5000)])
def test_table_of_t_is_exact_to_a_millionth(scale):
    check_table(scale)


@pytest.mark.parametrize(
    "scale", [scale_of(test="F", q=q, dof=dof) for q in (1, 3, 12) for dof in (2, 30, 1000)]
)
def test_table_of_f_is_exact_to_a_millionth(scale):
    check_table(scale)


def check_table(scale):
    random = np.random.default_rng(0)
    r = np.concatenate([random.uniform(0, 1, 20_000), 1 - 10.0 ** random.uniform(-6.5, -1, 20_000)])
    r = r.astype(np.float32)[None]
    z = np.empty_like(r)
    scale.fill_z(r, z)
    exact = scale.z_of(r)
    inside = exact > 0
    error = np.abs(z - exact)[inside]
    assert (error <= 1e-6 + np.abs(exact[inside]) * 1.2e-7).all()
