"""Contrasts that a dry run proposes: each can be pasted as it stands, and is what its sentence says."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_group.config.typed import parse_contrast
from bids_group.model import propose_contrasts
from bids_group.words import quote_for_shell

ASKED = {
    "~ 1": {"mean()": "mean"},
    "~ group + age": {
        "mean(group=patient) - mean(group=control)": "mean in patient minus mean in control, at age 42.92",
        "test(group)": "whether the mean differs between control, patient, relative, at age 42.92",
        "slope(age)": "slope of age, averaged over group",
    },
    "~ group * n_cigs": {
        "slope(n_cigs, group=patient) - slope(n_cigs, group=control)": (
            "slope of n_cigs in patient minus slope of n_cigs in control"
        ),
        "slope(n_cigs, group=relative)": "slope of n_cigs in relative",
        "mean(group=patient, n_cigs=17) - mean(group=control, n_cigs=17)": (
            "mean in patient, n_cigs 17 minus mean in control, n_cigs 17"
        ),
        "test(group:n_cigs)": "whether the slope of n_cigs differs between control, patient, relative",
        "mean(group=patient) - mean(group=control)": "mean in patient minus mean in control, at n_cigs 11.51",
    },
    "~ group * sex": {
        "(mean(group=patient, sex=M) - mean(group=control, sex=M)) - "
        "(mean(group=patient, sex=F) - mean(group=control, sex=F))": (
            "mean in patient, M minus mean in control, M minus mean in patient, F plus mean in control, F"
        ),
        "mean(group=relative, sex=F) - mean(group=control, sex=F)": (
            "mean in relative, F minus mean in control, F"
        ),
        "mean(sex=M) - mean(sex=F)": "mean in M minus mean in F, averaged over group",
    },
    "~ age + I(age ** 2)": {
        "slope(age, age=53)": "slope of age at 53",
        "test(I(age ** 2))": "slope of I(age ** 2) against zero",
    },
}
MORE = ["~ site + group * age * sex", "~ 0 + group", "~ C(scanner) * sex"]


@pytest.mark.parametrize(("formula", "asked"), ASKED.items())
def test_what_a_formula_answers_is_proposed_with_what_it_asks(formula, asked, people, analyse):
    proposed = {one.expression: one.words for one in propose_contrasts(analyse(people, formula))}
    assert asked.items() <= proposed.items()


@pytest.mark.parametrize("formula", [*ASKED, *MORE])
def test_all_that_is_proposed_can_be_pasted_together(formula, people, analyse, design_of):
    """The words of a shell are the contrasts again, each with a file name of its own."""
    proposed = propose_contrasts(analyse(people, formula))
    line = " ".join(f"--contrast {quote_for_shell(f'{one.name} = {one.expression}')}" for one in proposed)
    pasted = [parse_contrast(word) for word in shlex.split(line) if word != "--contrast"]
    design = design_of(people, formula, *pasted)
    assert len(design.contrasts) == len(proposed) > 0
    for made, one in zip(design.contrasts, proposed, strict=True):
        np.testing.assert_array_equal(made.weights, one.weights)
        assert (made.name, made.words) == (one.name, one.words)
        assert one.name.isalnum()


def test_names_with_blanks_and_quotes_come_through_a_shell(people, analyse, design_of):
    rows = people.assign(**{"odd name": people["age"]})
    rows["group"] = rows["group"].cat.rename_categories({"patient": 'drug "A" (6 m)', "relative": "$HOME"})
    for one in propose_contrasts(analyse(rows, "~ group * `odd name`")):
        [word] = shlex.split(quote_for_shell(f"{one.name} = {one.expression}"))
        [made] = design_of(rows, "~ group * `odd name`", parse_contrast(word)).contrasts
        np.testing.assert_array_equal(made.weights, one.weights)


def test_people_with_several_rows_are_asked_about_what_changes_within_them(pairs, analyse):
    proposed = {one.expression for one in propose_contrasts(analyse(pairs, "~ session * group + subject"))}
    assert "mean(session=post) - mean(session=pre)" in proposed
    assert any("group=patient" in one and "session=post" in one for one in proposed)
    assert "mean(group=patient) - mean(group=control)" not in proposed


def test_of_a_design_of_ones_own_its_columns_are_proposed(people, analyse):
    rows = people[["subject", "age", "n_cigs"]].assign(one=1.0)
    own = replace(
        analyse(rows, "~ 0 + one + age + n_cigs", centering="none"), design_matrix=Path("design.tsv")
    )
    assert [one.expression for one in propose_contrasts(own)] == ["one", "age", "n_cigs"]
