"""The methods paragraph names what was done, and nothing that was not."""

from __future__ import annotations

from typing import Any

import pytest

from bids_group.output.report import citations, methods_text
from bids_group.output.report.methods import references

FDR = {"name": "fdr", "alpha": 0.05}
VOXEL = {"name": "fweVoxel", "alpha": 0.05, "number_of_permutations": 500}
MASS = {
    "name": "fweMass",
    "alpha": 0.05,
    "number_of_permutations": 500,
    "cluster_forming_z": 3.29053,
    "cluster_forming_p": 0.001,
    "connectivity": 6,
}


def _facts(**changes: Any) -> dict[str, Any]:
    facts = {
        "version": "1.2.3",
        "versions": {"nilearn": "0.14.1"},
        "n_people": 12,
        "n_rows": 12,
        "formula": "~ 1",
        "estimator": "ordinary least squares",
        "n_elements": 235_375,
        "is_two_sided": True,
        "corrections": [FDR],
    }
    return facts | changes


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"pooling": "precision", "has_pooled_maps": True}, "weighted by the inverse of their variances"),
        ({"pooling": "mean", "has_pooled_maps": True}, "pooled by their unweighted mean"),
        ({"input_stat": "z"}, "z statistics in place of effects"),
        ({"n_rows": 24, "kept_apart": ["sessions"]}, "as 24 rows, sessions kept apart,"),
        ({"n_rows": 24, "kept_apart": ["first-level contrasts"]}, "as 24 rows, first-level contrasts kept"),
        ({"dof": 9.0}, "(9 residual degrees of freedom)"),
        ({"centers": {"age": 30.512345}, "centering": "grand"}, "mean over the analysed rows (age: 30.51)"),
        (
            {"centers": {"age": {"a": 1, "b": 2}}, "centering": "within:group"},
            "mean within each level of group (age: 1 in a, 2 in b)",
        ),
        ({"smoothing_mm": 5.0}, "Gaussian kernel of 5 mm full width at half maximum"),
        ({"smoothing_mm": 0.0}, "No smoothing was added before the group model."),
        ({"versions": {"pybids": "0.22.0"}}, "BIDS (Gorgolewski et al., 2016) and were found with PyBIDS"),
        ({"has_figures": True}, "faintly instead of hiding them (Taylor et al., 2023)"),
        (
            {"estimator": "sandwich", "estimator_variant": "CR2"},
            "of rows (Liang & Zeger, 1986; CR2), with the degrees of freedom and F tests of Pustejovsky",
        ),
        (
            {"estimator": "sandwich", "estimator_variant": "homogeneous"},
            "(Liang & Zeger, 1986; homogeneous: one covariance of the visits for each group, Guillaume",
        ),
        (
            {
                "estimator": "sandwich",
                "corrections": [FDR | {"number_of_permutations": 99}],
                "schemes": {"wild cluster bootstrap, 9 clusters: 99": ["mean"]},
            },
            "given random signs (Cameron et al., 2008): wild cluster bootstrap, 9 clusters: 99.",
        ),
        ({"min_coverage": 0.8}, "observed in at least 80 % of the rows"),
        ({"mask_name": "gm_mask.nii.gz"}, "of the mask gm_mask.nii.gz"),
        ({"is_two_sided": False}, "one-sided"),
        (
            {"corrections": [FDR, {"name": "none", "alpha": 0.001, "cluster_extent_mm3": 200.0}]},
            "clusters of less than 200 mm³ were left out, which controls no error rate",
        ),
        ({"corrections": [MASS], "schemes": {"sign flips of rows": ["mean"]}}, "largest cluster mass"),
        (
            {"corrections": [MASS], "schemes": {"sign flips of rows": ["mean"]}},
            "|z| > 3.291 (uncorrected p < 0.001), 6 neighbours",
        ),
        (
            {"corrections": [VOXEL], "schemes": {"sign flips of rows": ["mean"]}},
            "shuffled (Freedman & Lane, 1983; Winkler et al., 2014): sign flips of rows.",
        ),
        (
            {"corrections": [VOXEL | {"exchangeability_blocks": "family"}], "schemes": {"x": ["m"]}},
            "blocks were given by family",
        ),
        (
            {"corrections": [VOXEL | {"variance_groups": "site"}], "schemes": {"x": ["m"]}},
            "Welch's v or G of the levels of site",
        ),
        (
            {"corrections": [VOXEL | {"tail_approximation": True}], "schemes": {"x": ["m"]}},
            "generalised Pareto",
        ),
        (
            {"permutation_p": VOXEL | {"name": "permutation"}, "schemes": {"sign flips of rows": ["mean"]}},
            "2014): sign flips of rows. Uncorrected p-values by shuffling are given for each element.",
        ),
        (
            {"corrections": [FDR, FDR | {"name": "bonferroni", "number_of_contrasts_together": 6}]},
            "Family-wise errors were counted over 6 contrasts together.",
        ),
        ({"has_g": True}, "Hedges' g"),
        ({"has_partial_r2": True}, "partial R²"),
        ({"has_marginal_means": True, "contrasts": ["mean of a"]}, "Searle et al., 1980"),
    ],
)
def test_a_sentence_comes_and_goes_with_its_setting(changes: dict[str, Any], phrase: str) -> None:
    assert phrase in methods_text(_facts(**changes))
    assert phrase not in methods_text(_facts())


def test_surfaces_are_told_apart_from_volumes() -> None:
    tfce = {"name": "fweTfce", "alpha": 0.05, "number_of_permutations": 500}
    area, volume = {"cortex": "area in mm2"}, {"subcortex": "volume in mm3"}
    assert "(E = 0.5, H = 2;" in methods_text(_facts(corrections=[tfce]))
    assert "(E = 1, H = 2;" in methods_text(_facts(corrections=[tfce | {"extent": area}]))
    both = tfce | {"extent": area | volume, "familywise_parts": "joint"}
    text = methods_text(_facts(corrections=[both], elements="elements", smoothing_mm=6.0))
    assert "At each element the model" in text
    assert "voxel the" not in text
    assert "(E = 1 on surfaces and 0.5 in the subcortex, H = 2;" in text
    assert "by the smallest p that either has (Westfall & Troendle, 2008)" in text
    assert "along surfaces and within each structure" in text
    assert "voxels count by their volume" in text
    alone = methods_text(_facts(corrections=[both | {"familywise_parts": "each"}]))
    assert "each alone" in alone
    assert "smallest p" not in alone


def test_nothing_about_shuffling_is_said_where_nothing_was_shuffled() -> None:
    text = methods_text(_facts())
    assert not any(word in text for word in ("shuffle", "permutation", "Freedman", "random seed", "cluster"))
    keys = {entry.key for entry in citations(_facts())}
    assert "benjamini1995" in keys
    assert keys.isdisjoint({"freedman1983", "winkler2014", "smith2009", "hedges1981"})


def test_schemes_that_differ_between_contrasts_are_told_apart() -> None:
    schemes = {"permutations of rows": ["slope", "group"], "sign flips of rows": ["mean"]}
    text = methods_text(_facts(corrections=[VOXEL], schemes=schemes))
    assert "for slope and group, permutations of rows; for mean, sign flips of rows." in text


def test_every_citation_of_the_paragraph_is_in_the_list() -> None:
    facts = _facts(corrections=[FDR, VOXEL, MASS], schemes={"x": ["m"]}, has_g=True)
    short = {entry.short for entry in citations(facts)}
    text = methods_text(facts)
    assert all(one in text for one in short)
    for author in (
        "Benjamini & Hochberg, 1995",
        "Nichols & Holmes, 2002",
        "Hedges, 1981",
        "Bullmore et al., 1999",
    ):
        assert author in text
        assert author in short


def test_braces_in_names_do_no_harm() -> None:
    text = methods_text(_facts(formula="~ {hedges1981}", contrasts=["{nobody}"], first_level_contrast="{x}"))
    assert "~ (hedges1981)" in text
    assert "(nobody)" in text


def test_facts_that_are_not_known_leave_no_trace() -> None:
    assert methods_text({}) == "The group analysis was done with bids_group."


def test_references_are_whole() -> None:
    for key, entry in references().items():
        assert entry.bibtex.startswith(f"@article{{{key},")
        assert entry.bibtex.count("{") == entry.bibtex.count("}")
        assert f"({entry.year})" in entry.text
        assert entry.doi.startswith("10.")
