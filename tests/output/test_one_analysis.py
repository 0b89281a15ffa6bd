from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bids_group.errors import OutputError
from bids_group.output import (
    check_same_analysis,
    find_other_analysis,
    finish_outputs,
    record_outputs,
    write_named,
)

IDENTITY = {"Formula": "~ 1", "Inference": {"alpha": 0.05, "corrections": ["fdr"]}, "Labels": ["01", "02"]}


def run(
    folder: Path, *names: str, identity: Any = None, is_overwrite: bool = False, is_killed: bool = False
) -> None:
    check_same_analysis(folder, identity or IDENTITY, is_overwrite=is_overwrite)
    paths = [Path("group") / name for name in names]
    record_outputs(folder, paths)
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("written")
    if not is_killed:
        finish_outputs(folder)


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in (folder / "group").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "name", "found", "expected"),
    [
        ({"Formula": "~ age"}, "Formula", 'Formula "~ 1"', 'Formula "~ age"'),
        (
            {"Inference": {"alpha": 0.01, "corrections": ["fdr"]}},
            "Inference.alpha",
            "Inference.alpha 0.05",
            "Inference.alpha 0.01",
        ),
        ({"Labels": ["01", "03"]}, "Labels", "Labels 01 02", "Labels 01 03"),
        ({"Mask": "m.nii"}, "Mask", "no Mask", "Mask m.nii"),
    ],
)
def test_another_analysis_is_refused_with_both_values_of_what_differs(
    tmp_path: Path, changes: dict[str, Any], name: str, found: str, expected: str
) -> None:
    run(tmp_path, "a.nii.gz")
    with pytest.raises(OutputError) as caught:
        check_same_analysis(tmp_path, {**IDENTITY, **changes}, is_overwrite=False)
    error = caught.value
    assert error.exit_code == 73
    assert error.sentence.endswith(f"what differs is {name}.")
    assert error.found == f"{found} (the earlier run: code/analysis.json)"
    assert error.expected == f"{expected} (this run)"
    assert "--overwrite" in str(error.fix)
    assert str(find_other_analysis(tmp_path, {**IDENTITY, **changes})) == str(error)
    assert find_other_analysis(tmp_path, IDENTITY) is None
    assert below(tmp_path) == {"group/a.nii.gz"}


def test_a_setting_that_is_gone_counts_as_a_difference(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz", identity={**IDENTITY, "Mask": "m.nii"})
    with pytest.raises(OutputError, match="differs is Mask"):
        check_same_analysis(tmp_path, IDENTITY, is_overwrite=False)


def test_the_order_of_settings_does_not_matter(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz")
    check_same_analysis(tmp_path, dict(reversed(IDENTITY.items())), is_overwrite=False)


def test_overwriting_removes_the_earlier_run_below_group_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz", "node-x/b.tsv", "figures/c.svg")
    write_named(tmp_path, Path("code/model-first_smdl.json"), "{}")
    for name in ("group/notes.txt", "group/figures/mine.png", "sub-01/func/pooled.nii.gz", "report.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("stays")
    check_same_analysis(tmp_path, {"Formula": "~ age"}, is_overwrite=True)
    assert below(tmp_path) == {"group/notes.txt", "group/figures/mine.png"}
    assert not (tmp_path / "group" / "node-x").exists()
    assert (tmp_path / "sub-01/func/pooled.nii.gz").exists()
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "code/model-first_smdl.json").exists()
    assert json.loads((tmp_path / "code/analysis.json").read_text()) == {"Formula": "~ age"}


def test_overwriting_with_the_same_analysis_removes_nothing(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz")
    check_same_analysis(tmp_path, IDENTITY, is_overwrite=True)
    assert below(tmp_path) == {"group/a.nii.gz"}


def test_what_a_killed_run_wrote_is_removed_too(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz", is_killed=True)
    run(tmp_path, "b.nii.gz", is_killed=True)
    run(tmp_path, "c.nii.gz", identity={"Formula": "~ age"}, is_overwrite=True)
    assert below(tmp_path) == {"group/c.nii.gz"}


def test_a_run_that_wrote_nothing_does_not_bind(tmp_path: Path) -> None:
    check_same_analysis(tmp_path, IDENTITY, is_overwrite=False)
    check_same_analysis(tmp_path, {"Formula": "~ age"}, is_overwrite=False)


def test_a_run_that_stopped_before_its_first_result_does_not_bind(tmp_path: Path) -> None:
    """A mask that is not there is found after the model was written: the mended command just runs."""
    check_same_analysis(tmp_path, IDENTITY, is_overwrite=False)
    write_named(tmp_path, Path("code/model-first_smdl.json"), "{}")
    run(tmp_path, "a.nii.gz", identity={**IDENTITY, "Mask": "m.nii"})
    assert below(tmp_path) == {"group/a.nii.gz"}
    assert not (tmp_path / "code/model-first_smdl.json").exists()


def test_files_of_an_earlier_run_of_the_same_analysis_go_when_the_new_one_is_done(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz", "figures/old.svg")
    run(tmp_path, "a.nii.gz", "b.nii.gz", is_killed=True)
    assert below(tmp_path) == {"group/a.nii.gz", "group/b.nii.gz", "group/figures/old.svg"}
    run(tmp_path, "a.nii.gz", "b.nii.gz")
    assert below(tmp_path) == {"group/a.nii.gz", "group/b.nii.gz"}


def test_a_killed_and_repeated_run_leaves_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "x", "a.nii.gz", is_killed=True)
    run(tmp_path / "x", "a.nii.gz", "b.nii.gz")
    run(tmp_path / "y", "a.nii.gz", "b.nii.gz")
    for name in ("code/analysis.json", "code/outputs.json"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_a_list_that_somebody_changed_removes_nothing_outside(tmp_path: Path) -> None:
    run(tmp_path / "out", "a.nii.gz")
    (tmp_path / "mine.txt").write_text("stays")
    about = json.loads((tmp_path / "out/code/outputs.json").read_text())
    lists = {
        **about,
        "Files": ["../mine.txt", "group/../../mine.txt", str(tmp_path / "mine.txt"), "group/a.nii.gz"],
    }
    (tmp_path / "out/code/outputs.json").write_text(json.dumps(lists))
    check_same_analysis(tmp_path / "out", {"Formula": "~ age"}, is_overwrite=True)
    assert (tmp_path / "mine.txt").exists()
    assert below(tmp_path / "out") == set()


def test_results_of_an_unknown_analysis_are_not_mixed_with_others(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz")
    (tmp_path / "code/analysis.json").unlink()
    with pytest.raises(OutputError, match="another analysis"):
        check_same_analysis(tmp_path, IDENTITY, is_overwrite=False)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    run(tmp_path, "a.nii.gz")
    (tmp_path / "code/analysis.json").write_text("{")
    with pytest.raises(OutputError, match=r"analysis\.json"):
        check_same_analysis(tmp_path, IDENTITY, is_overwrite=False)


def test_the_new_identity_is_written_before_anything_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "a.nii.gz", "b.nii.gz")
    unlink = Path.unlink

    def die(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".gz":
            raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            check_same_analysis(tmp_path, {"Formula": "~ age"}, is_overwrite=True)
    assert json.loads((tmp_path / "code/analysis.json").read_text()) == {"Formula": "~ age"}
    assert below(tmp_path) == {"group/a.nii.gz", "group/b.nii.gz"}
    run(tmp_path, "c.nii.gz", identity={"Formula": "~ age"})
    assert below(tmp_path) == {"group/c.nii.gz"}


def test_overwriting_follows_no_link_below_group(tmp_path: Path) -> None:
    run(tmp_path / "out", "a.nii.gz", "node-x/b.tsv")
    (tmp_path / "out/group/node-x").rename(tmp_path / "elsewhere")
    (tmp_path / "out/group/node-x").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out/group/a.nii.gz").rename(tmp_path / "a.nii.gz")
    (tmp_path / "out/group/a.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    check_same_analysis(tmp_path / "out", {"Formula": "~ age"}, is_overwrite=True)
    assert (tmp_path / "elsewhere/b.tsv").exists()
    assert (tmp_path / "a.nii.gz").exists()
    assert not (tmp_path / "out/group/a.nii.gz").is_symlink()
