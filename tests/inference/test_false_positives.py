"""Family-wise error under the null, in brief; `benchmarks/validation.py` does it at length."""

import numpy as np
import pytest

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group

N_DATASETS = 80
RANDOM = np.random.default_rng(6)
GROUP = np.repeat([0.0, 1.0], (6, 14))

SCHEMES = {
    "one sample": {"matrix": np.ones((12, 1)), "weights": [1]},
    "skewed covariate": {
        "matrix": np.column_stack([np.ones(14), RANDOM.exponential(size=14)]), "weights": [0, 1],
        "is_skewed": True,
    },
    "unequal variances": {
        "matrix": np.column_stack([np.ones(20), GROUP]), "weights": [0, 1], "groups": GROUP,
        "scale": np.where(GROUP == 0, 3, 1),
    },
    "whole blocks": {
        "matrix": np.column_stack([np.ones(24), np.repeat(RANDOM.normal(size=8), 3)]), "weights": [0, 1],
        "blocks": np.repeat(np.arange(8), 3), "shared": 0.7,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMES)
def test_findings_where_nothing_is_are_as_rare_as_alpha_says(make_problem, make_maps, check_rare, name):
    scheme = SCHEMES[name]
    n_obs, shape = len(scheme["matrix"]), (7, 7, 6)
    p = np.empty((N_DATASETS, 4))
    for seed in range(N_DATASETS):
        maps = make_maps(n_obs, shape, seed)
        if "shared" in scheme:
            common = make_maps(n_obs, shape, 10_000 + seed)[scheme["blocks"]]
            maps = np.sqrt(1 - scheme["shared"]) * maps + np.sqrt(scheme["shared"]) * common
        if scheme.get("is_skewed"):
            maps = np.expm1(maps)
        maps = maps * np.asarray(scheme.get("scale", np.ones(n_obs)))[:, None]
        data, results = make_problem(
            scheme["matrix"], [("t", scheme["weights"])], maps=maps, shape=shape, blocks=scheme.get("blocks"),
            groups=scheme.get("groups"),
        )  # fmt: skip
        spec = InferenceSpec(
            corrections=("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce"), n_permutations=99,
            cluster_forming_p=0.02, random_seed=seed,
        )  # fmt: skip
        verdicts = correct_group(data, results, spec)
        p[seed] = [verdict.p_corrected.min() for verdict in verdicts]
        assert [verdict.is_significant.any() for verdict in verdicts] == [*(p[seed] <= 0.05 + 1e-6)]
    check_rare(p, is_exact=[0, 3])
