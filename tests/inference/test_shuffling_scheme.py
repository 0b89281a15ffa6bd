"""Which shuffles are chosen, and what is refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bids_group.config import InferenceSpec
from bids_group.config.estimators import FIXED_EFFECTS
from bids_group.elements import Elements, Grid
from bids_group.errors import DataError, UsageError
from bids_group.inference import check_inference, correct_group
from bids_group.inference.shuffling.shuffles import SHUFFLES_PER_STREAM, Shuffles, Units
from tests.inference.witnesses import scheme_of

VOXEL = InferenceSpec(corrections=("fwe-voxel",), n_permutations=999)
GROUP = np.repeat([0.0, 1.0], (5, 7))
COVARIATE = np.random.default_rng(1).normal(size=12)
ONES = np.ones(12)
SLOPES = np.column_stack([1 - GROUP, GROUP, (1 - GROUP) * COVARIATE, GROUP * COVARIATE])
PAIRS = np.repeat(np.arange(6), 2)


def shuffling(make_problem, matrix, weights, spec=VOXEL, test="t", **rows):
    return scheme_of(make_problem(matrix, [(test, weights)], **rows)[0], spec)


@pytest.mark.parametrize(
    "matrix, weights, expected",
    [
        (ONES[:, None], [1], "sign flips"),
        (np.column_stack([ONES, COVARIATE]), [1, 0], "sign flips"),
        (np.column_stack([ONES, COVARIATE]), [0, 1], "permutations"),
        (np.column_stack([ONES, GROUP]), [0, 1], "permutations"),
        (np.column_stack([1 - GROUP, GROUP]), [-1, 1], "permutations"),
        (np.column_stack([1 - GROUP, GROUP]), [1, 0], "sign flips"),
        (np.column_stack([1 - GROUP, GROUP]), [0.5, 0.5], "sign flips"),
        (SLOPES, [0, 0, 1, -1], "permutations"),
    ],
)  # fmt: skip
def test_flips_where_the_constant_is_tested_permutations_where_it_is_nuisance(
    make_problem, matrix, weights, expected
):
    assert shuffling(make_problem, matrix, weights).shuffling == expected


def test_a_request_overrides_the_choice(make_problem):
    matrix = np.column_stack([ONES, GROUP])
    flips = shuffling(make_problem, matrix, [0, 1], replace(VOXEL, shuffle="flips"))
    both = shuffling(make_problem, matrix, [0, 1], replace(VOXEL, shuffle="both"))
    assert (flips.shuffling, both.shuffling) == ("sign flips", "permutations and sign flips")


def test_blocks_are_permuted_within_where_the_contrast_varies_there(make_problem):
    matrix = np.column_stack([ONES, np.tile([0.0, 1.0], 6)])
    assert "rows within blocks of 'family'" in shuffling(make_problem, matrix, [0, 1], blocks=PAIRS).words
    between = np.column_stack([ONES, np.repeat(COVARIATE[:6], 2)])
    assert "whole blocks of 'family'" in shuffling(make_problem, between, [0, 1], blocks=PAIRS).words
    assert "whole blocks of 'family'" in shuffling(make_problem, ONES[:, None], [1], blocks=PAIRS).words


def test_variance_groups_are_flipped_where_they_are_compared_and_permuted_within_otherwise(make_problem):
    matrix = np.column_stack([1 - GROUP, GROUP, COVARIATE])
    compared = shuffling(make_problem, matrix, [-1, 1, 0], groups=GROUP)
    inside = shuffling(make_problem, matrix, [0, 0, 1], groups=GROUP)
    assert (compared.shuffling, inside.shuffling) == ("sign flips", "permutations")
    sources = inside.shuffles.batch(0, 200).sources
    assert (GROUP[sources] == GROUP).all()


def test_shuffle_number_k_depends_on_seed_and_k_only(make_problem):
    shuffles = shuffling(
        make_problem, np.column_stack([ONES, COVARIATE]), [0, 1], replace(VOXEL, shuffle="both")
    ).shuffles
    whole = shuffles.batch(0, 1000)
    for start, stop in ((0, 7), (31, 33), (500, 756), (990, 1000)):
        part = shuffles.batch(start, stop)
        np.testing.assert_array_equal(part.sources, whole.sources[start:stop])
        np.testing.assert_array_equal(part.signs, whole.signs[start:stop])
    np.testing.assert_array_equal(whole.sources[0], np.arange(12))
    assert (whole.signs[0] == 1).all()
    other = replace(shuffles, seed=1).batch(0, 1000)
    assert (other.sources[1:] != whole.sources[1:]).any(axis=1).mean() > 0.99


def test_drawn_permutations_are_uniform():
    units = Units(unit_of_row=np.arange(4), cell_of_unit=np.zeros(4, dtype=np.intp))
    n = 24 * 500
    shuffles = Shuffles(
        units=units, kinds=np.arange(4), has_permutations=True, has_flips=True, n_requested=n, seed=3
    )
    assert not replace(shuffles, n_requested=100).is_exhaustive
    drawn = replace(shuffles, n_requested=383 - 1).batch(SHUFFLES_PER_STREAM, 383)
    assert len(drawn.sources) == 383 - SHUFFLES_PER_STREAM
    many = [replace(shuffles, n_requested=300, seed=seed).batch(1, 301) for seed in range(40)]
    counts = Counter(tuple(row) for batch in many for row in batch.sources)
    assert len(counts) == 24
    expected = 300 * 40 / 24
    assert (
        sum((count - expected) ** 2 / expected for count in counts.values()) < 49.7
    )  # chi², 23 dof, p = 0.001
    signs = np.concatenate([batch.signs for batch in many])
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)


def test_smallest_p_of_drawn_shuffles_is_not_counted_out(make_problem, monkeypatch):
    scheme = shuffling(make_problem, ONES[:, None], [1])
    monkeypatch.setattr(Shuffles, "batch", None)
    assert scheme.smallest_p(is_two_sided=True) == 1 / 1000


# --------------------------------------------------------------------------------------------
# Refusals


def refused(make_problem, error, pattern, matrix, weights, spec=VOXEL, test="t", **rows):
    """Before any map is read, and where it is not asked before."""
    data, results = make_problem(matrix, [(test, weights)], **rows)
    labels = {"blocks": data.blocks, "variance_groups": data.variance_groups, "subjects": data.subjects}
    with pytest.raises(error, match=f"(?s){pattern}"):
        check_inference(data.design, spec, **labels)
    with pytest.raises(error, match=f"(?s){pattern}"):
        correct_group(data, results, spec)


SITES, KIND = np.repeat([0, 1, 2], 8), np.array([0, 1] * 8 + [2] * 8)
UNEVEN, ALONE = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5]), np.r_[0, np.ones(11)]
BY_BLOCK = np.column_stack([ONES, np.repeat(COVARIATE[:6], 2)])
THREES = np.column_stack([np.ones(6), np.repeat([0.0, 1.0], 3)])
REFUSED = {
    "four people are too few": (
        (DataError, "too few ways.*'c0'.*smallest possible p is 0.125", np.ones((4, 1)), [1]), {}
    ),
    "equal groups count their exchange": (
        (DataError, "all 20 distinct ones; the smallest possible p is 0.1", THREES, [0, 1]), {}
    ),
    "too few permutations for alpha": (
        (UsageError, "too few permutations.*at least 19", ONES[:, None], [1]),
        {"spec": replace(VOXEL, n_permutations=18)},
    ),
    "whole blocks of unequal size": (
        (DataError, "equal sizes.*blocks of 1, 2, 3 rows", np.c_[ONES, COVARIATE[UNEVEN]], [0, 1]),
        {"spec": replace(VOXEL, block_scheme="whole"), "blocks": UNEVEN},
    ),
    "what does not vary within blocks": (
        (DataError, "does not vary within blocks.*--whole-blocks", BY_BLOCK, [0, 1]),
        {"spec": replace(VOXEL, block_scheme="within"), "blocks": PAIRS},
    ),
    "a joint F of which a part is constant in every block": (
        (DataError, "within blocks cannot test all of .*'c0'", np.eye(3)[KIND], [[1, -1, 0], [0, 1, -1]]),
        {"spec": replace(VOXEL, block_scheme="within"), "test": "F", "blocks": SITES},
    ),
    "permutations cannot test a mean": (
        (DataError, "Permutations cannot test.*flips", ONES[:, None], [1]),
        {"spec": replace(VOXEL, shuffle="permutations")},
    ),
    "a row without a block": (
        (DataError, "'family'.*sub-01", ONES[:, None], [1]), {"blocks": [1.0, np.nan, *ONES[2:]]}
    ),
    "a variance group without degrees of freedom": (
        (DataError, "0 residual degrees of freedom", np.column_stack([1 - ALONE, ALONE]), [-1, 1]),
        {"groups": ALONE},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shuffled_is_refused(make_problem, name):
    asked, options = REFUSED[name]
    refused(make_problem, *asked, **options)


def test_six_people_are_too_few_for_two_sides_but_not_for_one(make_problem):
    five, spec = np.ones((5, 1)), replace(VOXEL, is_two_sided=False)
    refused(make_problem, DataError, "too few ways", five, [1])
    data, results = make_problem(five, [("t", [1])])
    (verdict,) = correct_group(data, results, spec)
    assert verdict.p_corrected.min() >= np.float32(1 / 32)


def test_no_permutations_are_refused():
    with pytest.raises(UsageError, match="--n-permutations"):
        InferenceSpec(corrections=("fwe-voxel",), n_permutations=0)


@pytest.mark.parametrize("row", ["sub-{}_ses-{}", "sub-{}_contrast-{}", "{}{}"])
@pytest.mark.parametrize("kind, column", [("blocks", "family"), ("groups", "scanner")])
def test_blocks_and_variance_groups_that_split_a_person(make_problem, row, kind, column):
    """Whose rows they are is told, never read from their labels."""
    subjects = [f"{number:02d}" for number in range(6) for _ in "ab"]
    rows = {
        kind: [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4],
        "labels": [row.format(one, part) for one, part in zip(subjects, "ab" * 6, strict=True)],
        "subjects": subjects,
    }
    matrix = np.column_stack([ONES, np.tile([0.0, 1.0], 6)])
    refused(
        make_problem,
        DataError,
        f"'{column}' divides the rows of one person.*sub-01",
        matrix,
        [0, 1],
        **rows,
    )


def test_weighted_models_are_refused(make_problem):
    data, _ = make_problem(ONES[:, None], [("t", [1])])
    with pytest.raises(UsageError, match="weighted model"):
        check_inference(data.design, VOXEL, estimator=FIXED_EFFECTS)


def test_one_sided_f_is_said_to_have_no_direction(make_problem):
    matrix = np.column_stack([ONES, COVARIATE])
    data, results = make_problem(matrix, [("F", [[1, 0], [0, 1]])])
    spec = InferenceSpec(is_two_sided=False, corrections=("fdr", "fwe-voxel"), n_permutations=99)
    notices, _ = check_inference(data.design, spec)
    assert any(
        "An F test has no direction" in notice.sentence and "'c0'" in notice.sentence for notice in notices
    )
    one = correct_group(data, results, spec)
    two = correct_group(data, results, replace(spec, is_two_sided=True))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.p_corrected, b.p_corrected)


def test_a_mask_of_one_slice_is_said_to_make_flat_clusters(make_problem, make_maps):
    data, results = make_problem(
        ONES[:, None], [("t", [1])], maps=make_maps(12, (9, 8, 1), 0), shape=(9, 8, 1)
    )
    spec = InferenceSpec(corrections=("fdr", "fwe-size"), n_permutations=99)
    fdr, size = correct_group(data, results, spec)
    assert not any(notice.topic == "clusters" for notice in fdr.notices)
    assert any("one voxel thick along z: clusters are flat" in notice.sentence for notice in size.notices)


def test_dry_run_says_how_each_contrast_is_shuffled(make_problem):
    data, _ = make_problem(np.column_stack([ONES, COVARIATE]), [("t", [1, 0]), ("t", [0, 1])])
    sentences = [notice.sentence for notice in check_inference(data.design, VOXEL)[0]]
    drawn = "999 drawn at random (seed 0) beside the unshuffled data."
    assert sentences == [
        f"The contrast 'c0' is judged by sign flips of rows: {drawn}",
        f"The contrast 'c1' is judged by permutations of rows: {drawn}",
    ]
    assert check_inference(data.design, InferenceSpec()) == ((), ())


def test_elements_of_the_mask_alone_decide_what_is_flat():
    from bids_group.inference.checks import check_geometry

    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[:, 2, 2] = True
    elements = Elements.from_mask(Grid(shape=(5, 5, 5), affine=np.eye(4)), mask)
    (notice,) = check_geometry(elements, InferenceSpec(corrections=("fwe-tfce",)))
    assert "along y and z: clusters are runs along a line" in notice.sentence


def test_a_contrast_that_varies_little_within_blocks_is_warned_of(make_problem):
    scheme = shuffling(make_problem, np.eye(3)[KIND], [-1, 0, 1], blocks=SITES)
    told, warned = scheme.notices
    assert (told.severity, warned.severity) == ("note", "warning")
    assert "rows within blocks are shuffled" in told.sentence
    assert "only the scheme taken has shuffles enough" in told.sentence  # 3 blocks: p is 1/6 at least
    others = shuffling(make_problem, np.eye(3)[KIND], [-1, 1, 0], blocks=SITES).notices
    assert not [one for one in others if one.severity == "warning"]


def test_a_map_of_uncorrected_p_is_held_against_no_alpha(make_problem):
    data, results = make_problem(np.ones((4, 1)), [("t", [1])])
    spec = InferenceSpec(corrections=("fdr",), has_permutation_p=True)
    (verdict,) = correct_group(data, results, spec)
    assert verdict.by_shuffling.p.min() >= 2 / 16
    with pytest.raises(DataError, match="too few ways"):
        correct_group(data, results, replace(spec, corrections=("fwe-voxel",)))


def test_more_people_are_the_way_out_where_all_shuffles_are_done(make_problem):
    matrix = np.column_stack([np.ones(7), np.repeat([0, 1], (3, 4))])
    data, _ = make_problem(matrix, [("t", [1, 0]), ("t", [0, 1])])
    spec = replace(VOXEL, familywise="across-contrasts")
    with pytest.raises(DataError) as caught:
        check_inference(data.design, spec)
    assert caught.value.fix.startswith("Include more people")


def test_single_precision_is_confessed_where_statistics_crowd(make_problem):
    matrix = np.column_stack([np.ones(8), np.random.default_rng(0).normal(size=(8, 5))])
    data, _ = make_problem(matrix, [("t", [0, 1, 0, 0, 0, 0])])
    warnings = [one.sentence for one in check_inference(data.design, VOXEL)[0] if one.severity == "warning"]
    assert any("2 residual degrees of freedom, single precision" in sentence for sentence in warnings)
