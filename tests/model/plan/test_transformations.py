"""Each instruction by its definition, with a missing value in its way."""

import numpy as np
import pandas as pd
import pytest

from bids_group.errors import DataError, UsageError
from bids_group.model.planning.transformations import INSTRUCTIONS, transform

NAN = np.nan


@pytest.fixture
def rows():
    index = [f"sub-{number}" for number in range(1, 7)]
    return pd.DataFrame(
        {
            "subject": pd.Categorical(list("123456")),
            "x": [1.0, 2, 3, 4, NAN, 6],
            "y": [2.0, -1, 0, 5, 1, NAN],
            "sex": pd.Categorical(["F", "M", "F", "M", None, "F"], categories=["M", "F", "other"]),
            "site": [1.0, 2, 2, 10, 1, NAN],
        },
        index=index,
    )


def do(rows, *steps):
    return transform(rows, steps, "group").rows


def expect(rows, step, **columns):
    done = do(rows, step)
    for name, values in columns.items():
        np.testing.assert_allclose(done[name], values, err_msg=name)


def test_factor_gives_a_column_per_level_and_keeps_missing_values(rows):
    done = do(rows, {"Name": "Factor", "Input": ["sex", "site"]})
    made = [name for name in done.columns if "." in name]
    assert made == ["sex.M", "sex.F", "sex.other", "site.1", "site.2", "site.10"]
    np.testing.assert_allclose(done["sex.F"], [1, 0, 1, 0, NAN, 1])
    np.testing.assert_allclose(done["site.2"], [0, 1, 1, 0, 0, NAN])
    np.testing.assert_allclose(done["sex.other"], [0, 0, 0, 0, NAN, 0])


def test_factor_can_leave_out_its_reference(rows):
    done = do(rows, {"Name": "Factor", "Input": "sex", "Constraint": "drop_one", "RefLevel": "F", "Sep": "_"})
    assert [name for name in done.columns if "_" in name] == ["sex_M", "sex_other"]
    done = do(rows, {"Name": "Factor", "Input": "sex", "Constraint": "mean_zero"})
    np.testing.assert_allclose(done["sex.F"], [1, -1, 1, -1, NAN, 1])
    done = do(rows, {"Name": "Factor", "Input": "site", "Constraint": "mean_zero"})
    np.testing.assert_allclose(done["site.2"], [-0.5, 1, 1, 0, -0.5, NAN])
    np.testing.assert_allclose(done["site.10"], [-0.5, 0, 0, 1, -0.5, NAN])


def test_demean_and_scale_use_the_values_that_are_there(rows):
    x = np.array([1.0, 2, 3, 4, NAN, 6])
    expect(rows, {"Name": "Demean", "Input": ["x"]}, x=list(x - 3.2))
    sd = np.sqrt(((x - 3.2) ** 2)[~np.isnan(x)].sum() / 4)
    expect(rows, {"Name": "Scale", "Input": ["x"], "Output": ["z"]}, z=list((x - 3.2) / sd), x=list(x))
    expect(rows, {"Name": "Scale", "Input": ["x"], "Rescale": False}, x=list(x - 3.2))
    expect(rows, {"Name": "Scale", "Input": ["x"], "Demean": False}, x=list(x / sd))


def test_products_and_sums(rows):
    expect(rows, {"Name": "Product", "Input": ["x", "y"], "Output": "p"}, p=[2, -2, 0, 20, NAN, NAN])
    expect(rows, {"Name": "Sum", "Input": ["x", "y"], "Output": "s"}, s=[3, 1, 3, 9, NAN, NAN])
    weighted = {"Name": "Sum", "Input": ["x", "y"], "Output": "s", "Weights": [2, -1]}
    expect(rows, weighted, s=[0, 5, 6, 3, NAN, NAN])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2, 0, 0, 5, 1, NAN]),
        ({"Threshold": 1}, [2, 0, 0, 5, 1, NAN]),
        ({"Threshold": 1, "Binarize": True}, [1, 0, 0, 1, 1, NAN]),
        ({"Threshold": 0, "Above": False}, [0, -1, 0, 0, 0, NAN]),
        ({"Threshold": 1, "Binarize": True, "Above": False}, [0, 1, 1, 0, 1, NAN]),
        ({"Threshold": -1, "Signed": False}, [2, 1, 0, 5, 1, NAN]),
    ],
)
def test_threshold(rows, options, expected):
    expect(rows, {"Name": "Threshold", "Input": ["y"], **options}, y=expected)


def test_logic_on_zero_and_what_is_not(rows):
    expect(rows, {"Name": "And", "Input": ["x", "y"], "Output": "a"}, a=[1, 1, 0, 1, NAN, NAN])
    expect(rows, {"Name": "Or", "Input": ["y", "y"], "Output": "o"}, o=[1, 1, 0, 1, 1, NAN])
    expect(rows, {"Name": "Not", "Input": ["y"], "Output": ["n"]}, n=[0, 0, 1, 0, 0, NAN])


def test_orthogonalize_leaves_nothing_of_the_others_and_keeps_the_mean(rows):
    done = do(rows, {"Name": "Orthogonalize", "Input": ["x"], "Wrt": ["y"], "Output": ["r"]})
    known = rows["x"].notna() & rows["y"].notna()
    y, r = rows["y"][known], done["r"][known]
    np.testing.assert_allclose(np.cov(y, r)[0, 1], 0, atol=1e-12)
    slope = np.polyfit(y, rows["x"][known], 1)[0]
    np.testing.assert_allclose(r, rows["x"][known] - slope * y)
    assert done["r"].isna().tolist() == [False] * 4 + [True, True]
    as_pybids = do(rows, {"Name": "Orthogonalize", "Input": ["x"], "Other": ["y"], "Output": ["r"]})
    pd.testing.assert_series_equal(as_pybids["r"], done["r"])


def test_replace_changes_values_by_their_text(rows):
    expect(
        rows,
        {"Name": "Replace", "Input": "site", "Replace": {"10": 3, "2": None}},
        site=[1, NAN, NAN, 3, 1, NAN],
    )
    done = do(rows, {"Name": "Replace", "Input": "sex", "Replace": {"F": "woman"}, "Output": "word"})
    assert done["word"].cat.categories.tolist() == ["M", "woman"]
    assert done["word"].astype(object).where(done["word"].notna(), "-").tolist() == [
        "woman",
        "M",
        "woman",
        "M",
        "-",
        "woman",
    ]
    mixed = do(rows, {"Name": "Replace", "Input": "site", "Replace": {"1": "one"}})["site"]
    assert mixed.cat.categories.tolist() == ["10", "2", "one"]


def test_numbers_are_replaced_however_they_are_written(rows):
    table = {"10.0": None, "1e0": 5, "2.00": 7}
    expect(rows, {"Name": "Replace", "Input": "site", "Replace": table}, site=[5, 7, 7, NAN, 5, NAN])


def test_words_that_are_replaced_by_numbers_are_numbers(rows):
    contrast_code = {"Name": "Replace", "Input": "sex", "Replace": {"F": -1, "M": 1}, "Output": "code"}
    expect(rows, contrast_code, code=[-1, 1, -1, 1, NAN, -1])
    words = do(rows, {**contrast_code, "Replace": {"F": "-1", "M": "1"}})["code"]
    assert words.cat.categories.tolist() == ["-1", "1"]
    some = do(rows, {**contrast_code, "Replace": {"F": -1}})["code"]
    assert some.cat.categories.tolist() == ["M", "-1"]


def test_columns_are_copied_renamed_selected_deleted_and_assigned(rows):
    copied = do(rows, {"Name": "Copy", "Input": ["x"], "Output": ["x2"]})
    pd.testing.assert_series_equal(copied["x2"], rows["x"], check_names=False)
    renamed = do(rows, {"Name": "Rename", "Input": ["x", "y"], "Output": ["y", "z"]})
    assert "x" not in renamed
    np.testing.assert_allclose(renamed["z"], rows["y"])
    np.testing.assert_allclose(renamed["y"], rows["x"])
    assert list(do(rows, {"Name": "Select", "Input": ["y"]}).columns) == ["subject", "y"]
    assert list(do(rows, {"Name": "Delete", "Input": ["y"]}).columns) == ["subject", "x", "sex", "site"]
    assigned = do(rows, {"Name": "Assign", "Input": ["x"], "Target": ["y"], "TargetAttr": "amplitude"})
    np.testing.assert_allclose(assigned["y"], rows["x"])


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("x > 2", [3, 4, 6]),
        ("x > 2 and sex == 'F'", [3, 6]),
        ("(x > 2) & ~(sex == 'F')", [4]),
        ("not x > 2", [1, 2]),
        ("2 <= x < 4", [2, 3]),
        ("sex in ['F', 'other'] or y == 1", [1, 3, 5, 6]),
        ("`site` not in (2, 10)", [1, 5]),
        ("x > y", [2, 3]),
    ],
)
def test_filter_keeps_rows_of_which_the_query_is_true(rows, query, kept):
    done = transform(rows, [{"Name": "Filter", "Input": ["x"], "Query": query}], "group")
    assert list(done.rows.index) == [f"sub-{number}" for number in kept]
    assert set(done.dropped) == set(rows.index) - set(done.rows.index)


def test_a_query_for_what_no_row_has_is_remarked_on(rows):
    """Nobody is left out, which a slip of the pen looks like."""
    new = {"Name": "Replace", "Input": "sex", "Replace": {"F": "woman"}, "Output": "word"}
    queries = ["sex != 'f' and sex != 'other'", "subject != '7'", "word != 'man' and x > 0"]
    steps = [new, *({"Name": "Filter", "Input": ["x"], "Query": query} for query in queries)]
    names = [one.partition(" names ")[2] for one in transform(rows, steps, "group").remarks]
    assert names == [
        "'f', which no row has as sex: M, F, other.",
        "'7', which no row has as subject: 1, 2, 3, 4, 5, 6.",
    ]


def test_dropna_leaves_out_rows_and_says_why(rows):
    done = transform(rows, [{"Name": "DropNa", "Input": ["x", "sex"]}], "group")
    assert list(done.rows.index) == ["sub-1", "sub-2", "sub-3", "sub-4", "sub-6"]
    assert done.dropped == {"sub-5": "no value (n/a) of x, sex (DropNA), node group"}


def test_later_instructions_see_the_results_and_the_rows_of_earlier_ones(rows):
    steps = [
        {"Name": "Filter", "Input": ["x"], "Query": "x <= 3"},
        {"Name": "Demean", "Input": "x", "Output": "d"},
        {"Name": "Product", "Input": ["d", "d"], "Output": "dd"},
    ]
    np.testing.assert_allclose(do(rows, *steps)["dd"], [1, 0, 1])


def test_labels_that_are_numbers_count_as_numbers(rows):
    expect(rows, {"Name": "Sum", "Input": ["subject"], "Output": "number"}, number=[1, 2, 3, 4, 5, 6])


def test_the_rows_given_are_left_as_they_are(rows):
    before = rows.copy(deep=True)
    do(rows, {"Name": "Demean", "Input": "x"}, {"Name": "Threshold", "Input": "y"})
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"Name": "Convolve", "Input": ["x"]}, "(Convolve) of the node 'group' is not supported"),
        ({"Name": "Demaen", "Input": ["x"]}, "(Demaen) of the node 'group' is not supported"),
        ({"Name": "Demean", "Input": ["z"]}, "names the column 'z', which does not exist"),
        ({"Name": "Demean"}, "needs Input: a list of names"),
        ({"Name": "Demean", "Input": ["x"], "Inpt": 1}, "has Inpt, which is not known"),
        ({"Name": "Demean", "Input": ["sex"]}, "computes with the column 'sex', which holds text"),
        ({"Name": "Demean", "Input": ["x", "y"], "Output": ["d"]}, "has 1 outputs for 2 results"),
        ({"Name": "Demean", "Input": ["x"], "Output": ["subject"]}, "would overwrite 'subject'"),
        ({"Name": "Product", "Input": ["x", "y"]}, "needs Output"),
        ({"Name": "Sum", "Input": ["x"], "Output": "s", "Weights": [1, 2]}, "one of Weights for each"),
        ({"Name": "Sum", "Input": ["x"], "Output": "s", "Weights": ["a"]}, "are no numbers"),
        (
            {"Name": "Filter", "Input": ["x"], "Query": "subject != 'sub-1'"},
            "Labels stand without sub-: '1'.",
        ),
        ({"Name": "Scale", "Input": ["x"], "ReplaceNa": "before"}, "would invent values"),
        ({"Name": "Scale", "Input": ["x"], "Demean": "yes"}, "needs true or false for Demean"),
        ({"Name": "Threshold", "Input": ["x"], "Threshold": "1"}, "needs a number for Threshold"),
        ({"Name": "Factor", "Input": ["sex"], "Constraint": "x"}, "Constraint that is not known"),
        ({"Name": "Factor", "Input": ["sex"], "Constraint": "drop_one", "RefLevel": "X"}, "RefLevel 'X'"),
        ({"Name": "Factor", "Input": ["sex"], "Output": ["s"]}, "names its columns after the levels"),
        ({"Name": "Replace", "Input": ["x"]}, "needs Replace"),
        ({"Name": "Replace", "Input": ["x"], "Replace": {"1": 2}, "Attribute": "onset"}, "Attribute"),
        ({"Name": "Copy", "Input": ["x"]}, "needs Output"),
        ({"Name": "Delete", "Input": ["subject"]}, "would remove 'subject'"),
        ({"Name": "Assign", "Input": ["x"], "Target": ["y"], "InputAttr": "onset"}, "InputAttr of events"),
        ({"Name": "Orthogonalize", "Input": ["x"]}, "needs Wrt"),
        ({"Name": "Orthogonalize", "Input": ["x"], "Wrt": ["y"], "Other": "y"}, "has both"),
        ({"Name": "Filter", "Input": ["x"]}, "needs Query"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x >"}, "The query 'x >' cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "z > 1"}, "names the column 'z'"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x > 'a'"}, "cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x"}, "cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x > __import__('os').getpid()"}, "cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x.mean() > 1"}, "cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "@x > 1"}, "cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x is 1"}, "cannot be used"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x > [1]"}, "a list stands after in"),
        ({"Name": "Filter", "Input": ["x"], "Query": "x == [1]"}, "a list stands after in"),
        ({"Name": "Filter", "Input": ["x"], "Query": "[1] in x"}, "a list stands after in"),
        ({"Name": "Filter", "Input": ["x"], "Query": "sex in 'F, M'"}, "a list stands after in"),
        ({"Name": "Filter", "Input": ["x"], "Query": f"x > {'-' * 900}1"}, "100 levels deep"),
        ({"Name": "Filter", "Input": ["x"], "Query": f"{'~' * 2000}(x > 1)"}, "levels deep"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(rows, step, sentence):
    with pytest.raises(UsageError) as error:
        do(rows, step)
    assert sentence in str(error.value)


def test_a_constant_cannot_be_scaled(rows):
    with pytest.raises(DataError, match="'x' cannot be scaled in the node 'group'"):
        do(rows.assign(x=2.0), {"Name": "Scale", "Input": ["x"]})


def test_the_manual_lists_every_instruction():
    from bids_group.model.planning import transformations

    assert all(f"``{name}``" in str(transformations.__doc__) for name in INSTRUCTIONS)
