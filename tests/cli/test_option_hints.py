"""Options typed the way other programs have them: what is wanted is said, and how to write it."""

import pandas as pd
import pytest
from scipy.stats import norm

from bids_group.bids import keep_complete
from bids_group.cli.parser import read_arguments, translate
from bids_group.config import InferenceSpec
from bids_group.errors import UsageError


def refusal(*options):
    with pytest.raises(UsageError) as caught:
        translate(read_arguments(["data", "out", "group", *options]))
    return caught.value


@pytest.mark.parametrize("z", [1.0, 2.3, 3.0, 3.1, 5.5])
@pytest.mark.parametrize("is_two_sided", [True, False])
def test_a_z_typed_as_the_cluster_forming_p_is_told_which_p_it_is(z, is_two_sided):
    said = refusal("--cluster-forming-p", str(z), *([] if is_two_sided else ["--one-sided"]))
    assert said.exit_code == 64
    assert "wants a p, not a threshold of z or t" in said.sentence
    p = norm.sf(z) * (2 if is_two_sided else 1)
    written = said.fix.split("--cluster-forming-p ")[1].split(" ")[0]
    assert float(written) == pytest.approx(p, rel=6e-3)
    if p < 0.5:
        InferenceSpec(cluster_forming_p=float(written))


@pytest.mark.parametrize("p", ["0.6", "0", "-1", "0.5"])
def test_other_numbers_out_of_range_are_plainly_out_of_range(p):
    assert "out of range" in refusal(f"--cluster-forming-p={p}").sentence


@pytest.mark.parametrize(
    "option", ["--exchangeability-blocks", "--exchangeability_blocks", "--variance-groups"]
)
def test_two_columns_where_one_is_taken(option):
    said = refusal(option, "site", "family")
    assert f"{option.replace('_', '-')} takes one column" in said.sentence
    assert said.found == "site family"


@pytest.mark.parametrize("typed", ["site,family", "site;family", "site family"])
def test_two_columns_written_as_one(typed):
    rows = pd.DataFrame({"site": ["a"], "family": ["b"]}, index=["sub-01"])
    with pytest.raises(UsageError, match=r"blocks within blocks(.|\n)*site and family"):
        keep_complete(rows, (typed,), "error")


@pytest.mark.parametrize(
    "options",
    [("--within-blocks", "--whole-blocks"), ("--two-sided", "--one-sided")],
    ids=["blocks", "sides"],
)
def test_options_that_contradict_each_other_are_both_named(options):
    assert refusal(*options).sentence == f"{options[0]} and {options[1]} contradict each other."
