"""Values and options as other programs have them: the line to write is what is meant."""

import pytest

from bids_group.cli.option_slips import guess_choice, guess_option, join_words, order_words, read_word
from bids_group.cli.parser import read_arguments
from bids_group.config.request import OPTIONS
from bids_group.errors import UsageError

BY_FLAG = {one.flag: one for one in OPTIONS}


@pytest.mark.parametrize(
    ("flag", "typed", "line"),
    [
        ("--alpha", "5%", "--alpha 0.05"),
        ("--alpha", "0,01", "--alpha 0.01"),
        ("--n-permutations", "1e5", "--n-permutations 100000"),
        ("--mem-gb", "8G", "--mem-gb 8"),
        ("--smoothing-fwhm", " 6.5 mm", "--smoothing-fwhm 6.5"),
        ("--n-permutations", "10.5", None),
        ("--alpha", "small", None),
    ],
)
def test_a_number_with_a_unit_a_percent_sign_or_a_decimal_comma_is_read_for_the_fix(flag, typed, line):
    with pytest.raises(UsageError) as caught:
        read_word(BY_FLAG[flag], typed)
    assert caught.value.sentence == f"{flag} takes a number, not '{typed}'."
    assert caught.value.fix == (None if line is None else f"Write {line}.")


@pytest.mark.parametrize(
    ("flag", "typed", "meant"),
    [
        ("--estimator", "OLS", ["ols"]),
        ("--missing", "listwise", ["drop"]),
        ("--pooling", "fixed", ["precision"]),
        ("--shuffle", "sign-flips", ["flips"]),
        ("--correction", "tfce", ["fwe-tfce"]),
        ("--correction", "FWE", ["fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce"]),
        ("--correction", "bonferoni", ["bonferroni"]),
        ("--correction", "zzz", []),
    ],
)
def test_a_choice_is_that_of_another_program_or_the_nearest(flag, typed, meant):
    wanted = f"Write {' or '.join(f'{flag} {one}' for one in meant)}." if meant else None
    assert guess_choice(BY_FLAG[flag], typed) == wanted
    assert not meant or set(meant) <= {str(one) for one in BY_FLAG[flag].choices}


def test_every_name_of_another_program_leads_to_options_that_exist():
    from bids_group.cli.option_slips import _NAMES

    for name, line in _NAMES.items():
        assert f"--{name}" not in BY_FLAG
        assert line.startswith("bids-group ") or line.split()[0] in BY_FLAG
        assert guess_option(f"--{name}", [], "") == f"Write {line}."
    assert guess_option("--tfce", [], "") == "Write --correction fwe-tfce."
    assert guess_option("--fdr", [], "") == "Write --correction fdr."


@pytest.mark.parametrize(
    ("option", "line"), [("--formula", '--formula "~ group + age"'), ("-w", "--work-dir DIR")]
)
def test_an_option_without_its_value_shows_one(option, line):
    with pytest.raises(UsageError) as caught:
        read_arguments(["data", "out", "group", option])
    assert caught.value.sentence == f"{line.split()[0]} lacks its value."
    assert caught.value.fix == f"Write {line}."


def test_words_without_quotes_are_joined():
    typed = ["data", "out", "group", "--formula", "~", "group", "+", "age", "--dry-run"]
    assert join_words(typed, 5) == 'Write --formula "~ group + age".'
    assert join_words(["data", "out", "group", "formula", "~ age"], 3) == 'Write --formula "~ age".'
    assert join_words(["data", "out", "group", "more"], 3) is None


@pytest.mark.parametrize(
    "words", [["group", "data", "out"], ["data", "group", "out"], ["data", "out", "grup"]]
)
def test_folders_and_level_are_put_in_order(words):
    assert order_words(words, ("participant", "group")) == "Write bids-group data out group."
