"""Regions of clusters: the app's own atlas in adult MNI spaces, none elsewhere, else the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bids_group.cli import main
from bids_group.demo.dataset import write_demo


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people with an effect in the right fusiform gyrus, on a coarse grid."""
    folder = tmp_path_factory.mktemp("regions") / "data"
    write_demo(folder, kind="one-sample", size_mm=10, n_people=8)
    return folder


def _clusters(dataset: Path, out: Path, *options: str) -> tuple[pd.DataFrame, dict[str, object]]:
    quick = ("--correction", "fdr", "--no-report", "--no-sensitivity", "-q")
    main([str(dataset), str(out), "group", *quick, *options])
    (table,) = (out / "group").glob("*_desc-fdr_clusters.tsv")
    return pd.read_csv(table, sep="\t"), json.loads(table.with_suffix(".json").read_text())


def test_maps_in_mni_space_have_regions_and_others_have_none(dataset: Path, tmp_path: Path) -> None:
    table, sidecar = _clusters(dataset, tmp_path / "mni")
    strongest = table.loc[table["t"].idxmax()]
    assert strongest["region"] == "fusiform R"
    assert strongest["cluster_regions"].startswith("fusiform R ")
    assert sidecar["Atlas"] == "Desikan–Killiany atlas"
    assert not list((tmp_path / "mni/group").glob("*_desc-regions_effects.tsv"))  # of --atlas alone
    noted = json.loads((tmp_path / "mni/code/command.json").read_text())
    assert noted["Dataset"] == "bids-group demo, one-sample"
    assert noted["FirstLevelPrograms"] == ["firstlevel 0.1.0"]
    for path in sorted(dataset.rglob("*space-MNI152NLin2009cAsym*")):
        path.rename(path.with_name(path.name.replace("MNI152NLin2009cAsym", "MNIPediatricAsym")))
    table, sidecar = _clusters(dataset, tmp_path / "child")
    assert "region" not in table
    assert "Atlas" not in sidecar
