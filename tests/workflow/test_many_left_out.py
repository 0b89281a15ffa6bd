"""The log names a few people who are out, and counts a crowd (the ledger names everybody)."""

import re

import pandas as pd
import pytest

from bids_group.cli import main
from bids_group.demo import write_demo


@pytest.mark.parametrize("n_people", [20, 21])
def test_people_who_are_out_are_named_up_to_twenty_for_one_reason(tmp_path, capsys, n_people):
    data, out = tmp_path / "data", tmp_path / "out"
    write_demo(data, kind="one-sample", size_mm=16, n_people=6)
    table = pd.read_csv(data / "participants.tsv", sep="\t", dtype=str)
    more = pd.DataFrame({"participant_id": [f"sub-x{k:03d}" for k in range(n_people)]})
    pd.concat([table, more]).to_csv(data / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    assert main([str(data), str(out), "group", "--dry-run", "--output-format", "json"]) == 0
    lines = re.findall("not in the analysis: .*", capsys.readouterr().err)
    if n_people > 20:
        assert lines == [f"not in the analysis: no first-level map ({n_people})"]
    else:
        assert lines == [f"not in the analysis: sub-x{k:03d}, no first-level map" for k in range(n_people)]
