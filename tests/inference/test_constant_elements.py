"""Elements that are the same in everybody cannot be judged, by no correction, and disturb no other."""

import numpy as np
import pytest

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group
from bids_group.model.fitting.group_fit import fit_group

SHUFFLED = ("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce")
GROUP = np.repeat([0, 1], (8, 9))
CONSTANT = slice(0, 20)


def verdicts(make_problem, maps, matrix, contrast, groups):
    data, _ = make_problem(matrix, [contrast], maps=maps, shape=(6, 5, 4), groups=groups)
    corrections = SHUFFLED if groups and contrast[0] == "F" else (*SHUFFLED, "bonferroni", "fdr", "ari")
    spec = InferenceSpec(
        corrections=corrections,
        n_permutations=99,
        cluster_forming_p=0.05,
        variance_groups=groups and "scanner",
    )
    return correct_group(data, fit_group(data).results, spec)


@pytest.mark.parametrize("groups", [None, GROUP.tolist()], ids=["one variance", "variance groups"])
@pytest.mark.parametrize(
    "matrix, contrast",
    [
        (np.ones((17, 1)), ("t", [1])),
        (np.eye(2)[GROUP], ("t", [0.5, 0.5])),
        (np.eye(2)[GROUP], ("F", [[1, 0], [0, 1]])),
    ],
    ids=["one sample", "mean", "both means"],
)
def test_an_element_constant_in_everybody_is_not_tested(make_problem, make_maps, matrix, contrast, groups):
    maps = make_maps(17, (6, 5, 4), 3)
    maps[:, 60:75] += 2
    constant, zero = maps.copy(), maps.copy()
    constant[:, CONSTANT], zero[:, CONSTANT] = 2.5, 0
    expected = verdicts(make_problem, zero, matrix, contrast, groups)
    for verdict, same in zip(
        verdicts(make_problem, constant, matrix, contrast, groups), expected, strict=True
    ):
        assert not verdict.is_significant[CONSTANT].any()
        assert verdict.threshold == same.threshold
        np.testing.assert_array_equal(verdict.is_significant, same.is_significant)
        if verdict.p_corrected is not None:
            assert (verdict.p_corrected[CONSTANT] == 1).all()
            np.testing.assert_array_equal(verdict.p_corrected, same.p_corrected)
        assert verdict.details.number_of_tests in (None, 100)


def test_nothing_is_found_where_all_elements_are_constant(make_problem):
    maps = np.full((17, 120), 2.5, dtype=np.float32)
    for verdict in verdicts(make_problem, maps, np.ones((17, 1)), ("t", [1]), None):
        assert not verdict.is_significant.any()
