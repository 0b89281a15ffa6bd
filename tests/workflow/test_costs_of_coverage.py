"""Elements that incomplete coverage costs: the total is told, with the rows that could give some back."""

from types import SimpleNamespace

import pandas as pd
import pytest

from bids_group.model import tell_costs


def told(*lost_alone, n_analysed=1000, n_lost=0, n_needed=None):
    costs = pd.DataFrame(
        {
            "observation": [f"sub-{number:02d}" for number, _ in enumerate(lost_alone)],
            "n_lost_by_this_row_alone": lost_alone,
        }
    )
    elements = SimpleNamespace(n_elements=n_analysed)
    return tell_costs(
        SimpleNamespace(costs=costs, elements=elements, n_lost=n_lost, n_needed=n_needed or len(costs))
    )


def test_one_is_said_as_one():
    (notice,) = told(1, 0, n_lost=1, n_analysed=1)
    assert notice.sentence.startswith("1 element is analysed; 1 more is lost because a single row lacks it")


def test_nothing_lost_is_not_told():
    assert told(0, 0, 0) == []


@pytest.mark.parametrize(
    ("lost_alone", "n_lost", "sentence"),
    [
        (
            (0, 20, 7),
            27,
            "1000 elements are analysed; 27 more are lost because a single row lacks them: "
            "sub-01 (20), sub-02 (7).",
        ),
        (
            (0, 20, 0),
            27,
            "1000 elements are analysed; 27 more, observed in some of the 3 rows, are lost: "
            "20 because a single row lacks them, sub-01 (20); 7 because several rows do.",
        ),
        (
            (0, 0, 0),
            27,
            "1000 elements are analysed; 27 more, observed in some of the 3 rows, are lost because several "
            "rows lack them.",
        ),
        (
            (0, 0, 0),
            1,
            "1000 elements are analysed; 1 more, observed in some of the 3 rows, is lost because several "
            "rows lack it.",
        ),
    ],
)
def test_the_total_is_told_with_what_single_rows_cost(lost_alone, n_lost, sentence):
    (notice,) = told(*lost_alone, n_lost=n_lost)
    assert (notice.severity, notice.sentence) == ("note", sentence)
    assert "--min-coverage" in notice.fix


def test_with_a_lower_coverage_rows_do_not_add_up_to_the_total():
    (notice,) = told(20, 25, 0, 0, n_lost=30, n_needed=3)
    assert notice.sentence == (
        "1000 elements are analysed; 30 more are lost because they are observed in fewer than 3 of the 4 "
        "rows. Without one of these rows, so many would be gained: sub-01 (25), sub-00 (20)."
    )


@pytest.mark.parametrize(
    ("alone", "n_lost", "severity"), [(49, 49, "note"), (50, 50, "warning"), (0, 250, "warning")]
)
def test_a_large_loss_is_a_warning(alone, n_lost, severity):
    (notice,) = told(alone, 0, 0, n_lost=n_lost)
    assert notice.severity == severity
