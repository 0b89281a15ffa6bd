"""Effect sizes of a change within people stand in the cluster table and on the card."""

import re

import numpy as np
import pandas as pd

from bids_group.cli import main
from bids_group.demo import write_demo


def test_a_change_has_d_z_and_d_av_on_the_card(tmp_path):
    write_demo(tmp_path / "data", kind="paired", size_mm=16)
    out = tmp_path / "out"
    change = "change = mean(session=followup) - mean(session=baseline)"
    asked = ["--pooling", "none", "--formula", "~ session + subject", "--contrast", change]
    more = ["--correction", "bonferroni", "--no-sensitivity", "-q"]
    assert main([str(tmp_path / "data"), str(out), "group", *asked, *more]) == 0
    table = pd.read_csv(next(out.glob("group/*_clusters.tsv")), sep="\t")
    assert len(table)
    np.testing.assert_allclose(table["d_z"], table["t"] / 4, rtol=1e-5)  # sixteen people
    assert (table["d_av_lower"] < table["d_av"]).all()
    assert table["partial_r"].isna().all()
    peak = table.loc[table["t"].abs().idxmax()]
    (card,) = re.findall(r'<p class="strongest-peak">([^<]*)</p>', (out / "report.html").read_text("utf-8"))
    limits = f"[{peak['d_av_lower']:.4g} to {peak['d_av_upper']:.4g}]"
    assert f"; d_av {peak['d_av']:.4g} {limits}; d_z {peak['d_z']:.4g}; " in card
    assert "standardised slope" not in card


def test_a_slope_has_sizes_without_units_on_the_card(tmp_path):
    """Its g is per unit of the covariate, and stands in the table alone."""
    write_demo(tmp_path / "data", kind="association", size_mm=16)
    out = tmp_path / "out"
    asked = ["--formula", "~ reading_speed", "--missing", "drop", "--contrast", "slope(reading_speed)"]
    more = ["--correction", "fdr", "--no-sensitivity", "-q"]
    assert main([str(tmp_path / "data"), str(out), "group", *asked, *more]) == 0
    table = pd.read_csv(next(out.glob("group/*_clusters.tsv")), sep="\t")
    peak = table.loc[table["t"].abs().idxmax()]
    (card,) = re.findall(r'<p class="strongest-peak">([^<]*)</p>', (out / "report.html").read_text("utf-8"))
    assert (
        f"; standardised slope {peak['standardised_slope']:.4g}; partial r {peak['partial_r']:.4g} [" in card
    )
    assert np.isfinite(table["g"]).all()
    assert "Hedges" not in card
