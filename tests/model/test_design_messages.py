"""Wrong formulas, contrasts and centrings: the whole message that a user reads, and its exit code.

The messages stand in ``wrong_designs.txt``: a line ``>>> formula ;; contrast ;; centring ;; exit code``, then
the message.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from bids_group.config.typed import parse_contrast
from bids_group.errors import BidsGroupError, ContrastError, DesignError

TABLE = (Path(__file__).parent / "wrong_designs.txt").read_text()
CASES = [
    (*(part.strip() for part in head.removeprefix(">>> ").split(";;")), message.removesuffix("\n"))
    for head, message in re.findall(r"^(>>> .*)\n((?:(?!>>> ).*\n)+?)(?=\n>>> |\Z)", TABLE, re.MULTILINE)
]


def test_the_table_is_read_whole():
    assert len(CASES) == TABLE.count(">>> ") >= 70


@pytest.mark.parametrize(("formula", "contrast", "centering", "code", "message"), CASES)
def test_wrong_input_gets_its_message(formula, contrast, centering, code, message, people, design_of):
    rows = people.assign(**{"odd name": people["age"], "negative": -people["age"]})
    contrasts = () if contrast == "(default)" else (contrast,)
    with pytest.raises(BidsGroupError) as caught:
        design_of(rows, formula, *contrasts, centering=centering)
    assert [line.rstrip() for line in str(caught.value).splitlines()] == message.splitlines()
    assert caught.value.exit_code == int(code)


@pytest.mark.parametrize("name", ["ηλικία", "年齢", "***"])
def test_a_name_of_which_no_file_name_is_left_is_refused(name, people, design_of):
    """Its maps would be called as those of the mean are."""
    for expression in ("age", "equivalent(age, 0.3)", "conjunction(age, n_cigs)"):
        with pytest.raises(ContrastError, match=re.escape(f"'{name}' has no letter or digit")):
            design_of(people, "~ age + n_cigs", parse_contrast(f"{name} = {expression}"))
    design = design_of(people.rename(columns={"age": name}), f"~ `{name}` + n_cigs")
    assert [one.label for one in design.contrasts] == ["", "NCigs"]
    assert any(f"'{name}' has no letter or digit" in one.sentence for one in design.notices)


@pytest.mark.parametrize("call", ["poly(wave, 2)", "poly(wave, 3)", "scale(one)"])
def test_too_few_different_values_for_a_function_are_counted(call, people, design_of):
    rows = people.assign(wave=np.arange(len(people)) % 2 + 1.0, one=3.0)
    with pytest.raises(DesignError, match="cannot be computed from these rows") as caught:
        design_of(rows, f"~ {call}")
    assert caught.value.found == (
        "1 different value of one" if "one" in call else "2 different values of wave"
    )
