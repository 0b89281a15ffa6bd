"""New people among those who are pooled already cost their own pooling, and one look at the others."""

import shutil
from collections import Counter

import bids_group.elements.reading as reading
from bids_group import model
from bids_group.cli import main

NEW = ("03", "07", "11")


def test_new_people_cost_their_own_pooling_only(small_copy, tmp_path, monkeypatch, contents_of):
    inputs = small_copy / "derivatives"
    folders = {one: next(inputs.rglob(f"sub-{one}")) for one in NEW}
    for one in NEW:
        shutil.move(folders[one], tmp_path / one)
    job = ["group", "--smoothing-fwhm", "4", "--no-sensitivity", "--no-report", "-q"]
    assert main([str(small_copy), str(tmp_path / "out"), *job]) == 0
    assert len(list((tmp_path / "out").glob("sub-*"))) == 9
    for one in NEW:
        shutil.move(tmp_path / one, folders[one])

    pooled, opened, read_bytes, pool = [], Counter(), reading.read_bytes, model.pool
    monkeypatch.setattr(model, "pool", lambda one, *more: pooled.append(one.subject) or pool(one, *more))
    monkeypatch.setattr(reading, "read_bytes", lambda path: opened.update([path]) or read_bytes(path))
    assert main([str(small_copy), str(tmp_path / "out"), *job]) == 0
    assert sorted(pooled) == [*NEW]
    effects = Counter(
        {path: n for path, n in opened.items() if inputs in path.parents and "effect" in path.name}
    )
    others = sorted(inputs.rglob("*stat-effect*.nii.gz"))[1:]  # the first is measured before the work begins
    assert [effects[path] for path in others] == [1] * 11

    assert main([str(small_copy), str(tmp_path / "fresh"), *job]) == 0
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "fresh")
