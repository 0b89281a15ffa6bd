"""The worked designs of the documentation: every command is run, and the page says what the program says."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.groups import statistics_by_hand

DOCS = Path(__file__).parents[2] / "docs"


def load_script():
    spec = importlib.util.spec_from_file_location("draw_designs", DOCS / "draw_designs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_designs"] = module
    spec.loader.exec_module(module)
    return module


script = load_script()
SCENARIOS = {scenario.name: scenario for scenario in script.read_scenarios((DOCS / "designs.md").read_text())}


def design_of(name: str):
    return script.build_scenario(SCENARIOS[name])


def t_values(name: str, y: np.ndarray) -> dict[str, float]:
    design = design_of(name)
    X = design.matrix.to_numpy()
    return {
        contrast.name: statistics_by_hand(X, contrast.weights, y[:, None], "t").item()
        for contrast in design.contrasts
        if contrast.test == "t"
    }


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=n)


def test_every_command_of_the_page_has_a_table():
    page = (DOCS / "designs.md").read_text()
    assert page.count("```bash\nbids-group ") == len(SCENARIOS) == page.count("](images/design-")


@pytest.mark.parametrize("name", SCENARIOS)
def test_table_of_the_page_is_what_the_program_says(name):
    assert script.tabulate(design_of(name)) == SCENARIOS[name].table


@pytest.mark.parametrize("name", SCENARIOS)
def test_picture_of_the_page_belongs_to_the_command(name, tmp_path):
    """Compare the size: it follows the design; pixels differ between versions of matplotlib."""
    from matplotlib.image import imread

    script.draw(design_of(name), tmp_path / "drawn.png")
    kept, drawn = imread(DOCS / "images" / f"design-{name}.png"), imread(tmp_path / "drawn.png")
    assert kept.shape == drawn.shape


def test_expression_and_vector_answer_the_slope_question_alike():
    y = noise(24)
    by_meaning, by_vector = t_values("slopes", y), t_values("slopes_vector", y)
    assert by_vector["slopeDiff"] == pytest.approx(by_meaning["slopeDiff"], abs=1e-9)
    assert by_vector["sameByName"] == pytest.approx(by_meaning["slopeDiff"], abs=1e-9)


def test_samples_pairs_and_changes_are_the_t_tests_of_the_textbook():
    people, y = script.read_rows(script.read_command(SCENARIOS["two_samples"].command)), noise(24)
    is_patient = (people["group"] == "patient").to_numpy()
    assert t_values("one_sample", y)["mean"] == pytest.approx(stats.ttest_1samp(y, 0).statistic)
    expected = stats.ttest_ind(y[is_patient], y[~is_patient]).statistic
    assert t_values("two_samples", y)["patientMinusControl"] == pytest.approx(expected)
    assert t_values("covariate", y)["test(age)"] == pytest.approx(_slope_t(people["age"].to_numpy(), y))
    y = noise(48)
    first, second = y[0::2], y[1::2]
    assert t_values("paired", y)["change"] == pytest.approx(stats.ttest_rel(second, first).statistic)
    change = second - first
    expected = stats.ttest_ind(change[is_patient], change[~is_patient]).statistic
    assert t_values("mixed", y)["changeDiff"] == pytest.approx(expected)


def _slope_t(x: np.ndarray, y: np.ndarray) -> float:
    fit = stats.linregress(x, y)
    return fit.slope / fit.stderr
