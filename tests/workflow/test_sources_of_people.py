"""What pooled maps stand on is told in log, report, sidecar and ledger, from cached maps too."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from bids_group.demo import write_demo


@pytest.fixture
def study(tmp_path):
    """Sixteen people with two sessions; sub-02 lacks one, one of sub-03 has a hundredth of the variance."""
    folder = tmp_path / "data"
    write_demo(folder, kind="paired", size_mm=16)
    maps = sorted((folder / "derivatives").rglob("sub-0[23]_*stat-*_statmap.nii.gz"))
    second = max(path.name.split("_ses-")[1].split("_")[0] for path in maps)
    for path in maps:
        if f"_ses-{second}_" in path.name and path.name.startswith("sub-02"):
            path.unlink()
        elif f"_ses-{second}_" in path.name and "stat-variance" in path.name:
            image = nib.load(path)
            nib.save(
                nib.Nifti1Image(image.get_fdata(dtype=np.float32) / 100, image.affine, image.header), path
            )
    return folder, second


def test_missing_sessions_and_one_map_with_all_the_weight(study, tmp_path, capsys):
    folder, second = study
    out = tmp_path / "out"
    command = [str(folder), str(out), "group", "--formula", "~ group", "--correction", "fdr"]
    for again in ([], ["--overwrite"]):
        assert main([*command, *again]) == 0
        said = capsys.readouterr().err
        (path,) = out.glob("group/*_design.json")
        notices = {one["topic"]: one for one in json.loads(path.read_text(encoding="utf-8"))["Notices"]}
        sources, weights = notices["sources"]["sentence"], notices["weights"]["sentence"]
        assert "(15 rows)" in sources
        assert sources.endswith("(sub-02).")
        assert "1 of 16 row has one map" in weights
        assert f"sub-03 (ses-{second}: 99%)" in weights
        page = (out / "report.html").read_text(encoding="utf-8")
        for sentence in (sources, weights):
            assert sentence in said
            assert sentence in page
        notes = pd.read_csv(out / "ledger.tsv", sep="\t").set_index("participant_id")["note"].dropna()
        assert set(notes.loc[["sub-03"]]) == {f"ses-{second} has 99% of the weight of its maps"}
    pooled = [json.loads(one.read_text()) for one in out.glob("sub-*/**/*stat-effect_statmap.json")]
    assert [one["LargestWeight"]["Share"] > 0.98 for one in pooled if "LargestWeight" in one] == [True]
