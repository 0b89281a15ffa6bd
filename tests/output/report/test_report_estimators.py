"""The page says what an estimator assumed, what varies between people, and shows each person's rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.output.report import build_report
from bids_group.output.report.influence import Focus, add_visits, draw_peaks
from bids_group.output.report.marks import Line
from bids_group.output.report.methods import citations, methods_text
from bids_group.output.report.tables import show_number
from bids_group.output.results import Results


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text())


@pytest.mark.usefixtures("placeholders")
def test_variances_are_listed_and_the_share_is_drawn(
    write_outputs: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_outputs(tmp_path / "out", n_people=8, corrections=("fdr",), space="T1w", step_mm=16.0)
    stem = str(next((root / "group").glob("*_design.tsv"))).removesuffix("_design.tsv")
    mask = nib.load(f"{stem}_desc-analysis_mask.nii.gz")
    inside, rng = mask.get_fdata() > 0, np.random.default_rng(0)
    planted = {}
    for ending in ("stat-icc", "stat-variance_desc-subjectIntercept", "stat-variance_desc-residual"):
        volume = rng.gamma(2, 0.1, mask.shape).astype(np.float32) * inside
        volume[np.flatnonzero(inside)[0] // volume[0].size] = 0
        nib.Nifti1Image(volume, mask.affine).to_filename(f"{stem}_{ending}_statmap.nii.gz")
        planted[ending] = volume[inside].astype(float)
    for path in (root / "group").glob("*_stat-t_statmap.nii.gz"):
        dof = nib.Nifti1Image(np.where(inside, 7.25, 0).astype(np.float32), mask.affine)
        dof.to_filename(str(path).replace("stat-t", "stat-dof"))
    sidecar = Path(f"{stem}_design.json")
    told = {"Estimator": "mixed", "EstimatorVariant": "satterthwaite", "RandomTerms": "(1 | subject)"}
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | told))
    image = Results(output_dir=root).image("slopeDiff", "variance", "subjectIntercept")
    values = np.asarray(image.dataobj)[inside]
    np.testing.assert_array_equal(values, planted["stat-variance_desc-subjectIntercept"].astype(np.float32))
    page = build_report(root)
    table = page.read_text().split('_variances.tsv"')[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL)
    for row, values in zip(rows, planted.values(), strict=True):
        cells = re.findall(r">([^<]+)</td>", row)
        expected = [show_number(str(one)) for one in np.quantile(values, (0.05, 0.5, 0.95))]
        assert cells[1:] == [*expected, f"{100 * (values == 0).mean():.1f} %"]
    text = text_of(page)
    assert "variance of subjectIntercept" in rows[1]
    assert "variance of rows of one subject" in rows[2]
    assert "share of the variance that rows of one subject have in common" in text_of(page)
    assert "that rows are alike as the random terms say" in text
    assert "(1 | subject)" in text
    assert (root / "group" / "figures" / f"{Path(stem).name}_stat-icc_statmap.png").is_file()
    assert ">7.25</td>" in page.read_text()


PEOPLE = pd.Series(["sub-1", "sub-1", "sub-2", "sub-2", "sub-3"], index=list("abcde"))
VISITS = pd.DataFrame(
    {"group": list("ccppp"), "time": [0.0, 1, 0, 2, 1], "visit": list("xyxyx"), "subject": list("11223")},
    index=list("abcde"),
)


@pytest.mark.parametrize(
    ("columns", "focus", "expected"),
    [
        (["group", "time"], (None, ("group",)), ("time", ("group",))),
        (["group", "visit"], (None, ("group",)), (None, ("group", "visit"))),
        (["group", "subject"], (None, ("group",)), (None, ("group",))),
        (["group", "visit"], (None, ("visit",)), (None, ("visit",))),
        (["group", "time"], ("time", ()), ("time", ())),
        (["group"], (None, ()), (None, ())),
        (["visit"], (None, ()), (None, ("visit",))),
    ],
)
def test_people_with_several_rows_are_seen_over_what_differs_between_these(
    columns: list[str], focus: Focus, expected: Focus
) -> None:
    assert add_visits(focus, VISITS[columns], PEOPLE) == expected
    assert add_visits(focus, VISITS[columns], pd.Series(list("abcde"), index=list("abcde"))) == focus


def test_the_rows_of_a_person_are_joined_over_time_in_the_colour_of_the_group() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    columns = {
        "peak": 1,
        "label": list("abcde"),
        "effect": values,
        "fitted": values,
        "partial_residual": values,
    }
    turned = VISITS.assign(time=[1.0, 0, 0, 2, 1])
    (panel,) = draw_peaks(pd.DataFrame(columns), {1: "p"}, ("time", ("group",)), turned, PEOPLE).panels
    thin = [one for one in panel.marks if isinstance(one, Line) and one.opacity < 1]
    fitted = [one.colour for one in panel.marks if isinstance(one, Line) and one.opacity == 1]
    assert [one.colour for one in thin] == fitted
    np.testing.assert_array_equal(thin[0].x, [0, 1, np.nan])
    np.testing.assert_array_equal(thin[0].y, [0.2, 0.1, np.nan])
    np.testing.assert_array_equal(thin[1].x, [0, 2, np.nan])


@pytest.mark.parametrize(
    ("facts", "words", "cited"),
    [
        (
            {"estimator": "mixed", "estimator_variant": "satterthwaite"},
            "linear mixed model '~ x' was fitted by restricted maximum likelihood; tests have the degrees "
            "of freedom of Satterthwaite (Giesbrecht & Burns, 1985).",
            "giesbrecht1985",
        ),
        (
            {"estimator": "mixed", "estimator_variant": "kenward-roger"},
            "tests have the degrees of freedom of Kenward & Roger, 1997.",
            "kenward1997",
        ),
        (
            {"estimator": "weighted", "dof": 12},
            "which was estimated by restricted maximum likelihood (Woolrich et al., 2004); tests are those "
            "of Knapp & Hartung, 2003 with 12 degrees of freedom.",
            "knapp2003",
        ),
        (
            {"estimator": "sandwich", "estimator_variant": "CR2", "dof": "see stat-dof"},
            "the model '~ x' was fitted by least squares with robust variances. Effects are those of "
            "ordinary least squares; their variances come from clusters of rows (Liang & Zeger, 1986; CR2)",
            "liang1986",
        ),
    ],
)  # fmt: skip
def test_the_paragraph_names_the_estimator_and_its_source(
    facts: dict[str, object], words: str, cited: str
) -> None:
    told = {"formula": "~ x", "has_d_total": facts["estimator"] == "mixed", **facts}
    text = methods_text(told)
    assert words in text
    assert "stat-dof" not in text
    assert ("in units of the standard deviation of a row" in text) == (facts["estimator"] == "mixed")
    assert cited in {one.key for one in citations(told)}
