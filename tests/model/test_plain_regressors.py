"""Regressors without functions: formulaic makes the same, to the last bit, and is asked where it must be."""

import numpy as np
import pandas as pd
import pytest

from bids_group.errors import FormulaError
from bids_group.model.formula import functions
from bids_group.model.formula.coding import CodedDesign, code_design
from bids_group.model.formula.parser import read_formula
from bids_group.model.formula.plain import make_regressors

FACTORS = ("group", "sex", "site", "only", "age", "n_cigs", "volume", "C(scanner)", "C(group)")
NAMED = (
    "~ 1",
    "~ group*n_cigs + age",
    "~ 0 + group:age",
    "~ 0 + age + group:sex",
    "~ sex:group + site",
    "~ only*age - age",
    "~ age:n_cigs:volume",
    "~ site:group:sex - 1",
    "~ group + C(group)",
    "~ group/sex + group:site",
)


def draw_formulas(n, seed=0):
    draw = np.random.default_rng(seed)
    for _ in range(n):
        terms = [
            draw.choice([":", "*"]).join(draw.choice(FACTORS, draw.integers(1, 4), replace=False))
            for _ in range(draw.integers(1, 4))
        ]
        yield f"~ {draw.choice(['0', '1'])} + {' + '.join(terms)}"


def code(text, rows):
    """Code a formula: the design, the symbols that formulaic would get, and those of the last three rows."""
    seen = []

    def keep(formula, symbols):
        seen.append(symbols)
        return make_regressors(formula, symbols)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_group.model.formula.coding.make_regressors", keep)
        design = code_design(read_formula(text, rows.columns), rows, "grand")
        few = design.evaluate(rows.iloc[-3:])
    return design, seen[0], seen[1], few


@pytest.mark.parametrize("text", [*NAMED, *draw_formulas(60)])
def test_regressors_are_those_of_formulaic_to_the_last_bit(text, people):
    rows = people.assign(only=pd.Categorical(["one"] * len(people)))
    design, symbols, of_few, few = code(text, rows)
    numbers, names, spec = functions.evaluate(design.formula, None, symbols, "these rows")
    assert design.spec is None
    assert design.columns == tuple(design.formula.display(name) for of_term in names for name in of_term)
    assert [len(at) for at in design.positions.values()] == [len(of_term) for of_term in names]
    assert list(design.positions) == list(design.formula.terms)
    assert [at for positions in design.positions.values() for at in positions] == [*range(numbers.shape[1])]
    assert design.X.tobytes() == numbers.tobytes()  # signs of zeros too
    assert design.X.flags.f_contiguous == numbers.flags.f_contiguous  # another order sums otherwise in BLAS
    assert design.X.flags.c_contiguous == numbers.flags.c_contiguous
    assert few.tobytes() == functions.evaluate(design.formula, spec, of_few, "them")[0].tobytes()


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("~ poly(age, 2)", {}),
        ("~ C(site, contr.sum)", {}),
        ("~ age", {"age": np.nan}),
        ("~ sex", {"sex": None}),
    ],
)
def test_formulaic_is_asked_for_functions_and_values_that_are_missing(text, change, people):
    people.loc[3, list(change)] = list(change.values())
    formula = read_formula(text, people.columns)
    symbols = pd.DataFrame({use.symbol: people[use.column] for use in formula.uses})
    assert make_regressors(formula, symbols) is None


def test_levels_with_underscores_keep_their_columns_or_are_refused():
    """Formulaic leaves out columns whose names begin with two: two groups would be one, without a word."""
    rows = pd.DataFrame({"group": ["__a", "__b", "c", "__b", "c", "__a"], "age": np.arange(6.0) + 20})
    design: CodedDesign = code_design(read_formula("~ 0 + group", rows.columns), rows, "grand")
    assert design.columns == ("group[__a]", "group[__b]", "group[c]")
    np.testing.assert_array_equal(design.X.sum(axis=0), [2, 2, 2])
    with pytest.raises(FormulaError, match="'__a' of 'group' cannot be used together with functions"):
        code_design(read_formula("~ group + poly(age, 2)", rows.columns), rows, "grand")
