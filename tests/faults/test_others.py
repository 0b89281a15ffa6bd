"""What belongs to others stays byte for byte, in OUTPUT_DIR and beside it, whatever happens to a run."""

import errno
import shutil

import pytest

FOREIGN = {
    "out/README.md": b"Our own words\n",
    "out/notes.txt": b"mine\n",
    "out/.hidden": b"\x00\x01",
    "out/code/script.py": b"print()\n",
    "out/logs/mine.log": b"12:00\n",
    "out/.work/other/precious.npy": b"not of bids_group",
    "out/sub-01/func/sub-01_task-faces_contrast-mine_stat-effect_statmap.nii.gz": b"1",
    "out/sub-01/anat/sub-01_T1w.json": b"{}",
    "out/sub-99/func/.part-0-1-2": b"of another machine, new",
    "out/group/.DS_Store": b"\x00",
    "beside/group/results.tsv": b"a\tb\n",
}  # fmt: skip
OVER = ("--formula", "~ age")
"""Words of another analysis, over which the run is made."""

SCENARIOS = [
    (level, over, fault, share)
    for level, over, faults, shares in (
        ("group", (), ("any kill", "write onward ENOSPC"), (0.2, 0.4, 0.6, 0.8, 0.95)),
        ("group", (), ("rename once EIO", "unlink once EIO"), (0.3, 0.6, 0.9)),
        ("group", OVER, ("any kill", "any onward EIO"), (0.2, 0.45, 0.7, 0.95)),
        ("participant", (), ("any kill", "write once EIO"), (0.3, 0.6, 0.9)),
    )
    for fault in faults
    for share in shares
]
"""Level, words of what stands there already, fault, and at which share of its calls."""


def plant(folder):
    for name, content in FOREIGN.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def spoiled(folder):
    """List what is no more as it was."""
    return [
        name
        for name, content in FOREIGN.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != content
    ]


@pytest.fixture(scope="module")
def totals():
    """How many calls an undisturbed run makes, by level and what stands there already."""
    return {}


@pytest.mark.parametrize("level, over, fault, share", SCENARIOS)
def test_files_of_others(
    level, over, fault, share, disturbed, few, job, contents_of, tmp_path, tally, totals
):
    call, how, *error = fault.split()
    out, before = tmp_path / "out", contents_of(few)
    plant(tmp_path)
    words = [*job] if level == "group" else ["participant", "-q"]
    if over:
        assert disturbed.run(few, out, *job, *over).code == 0
        words += ["--overwrite"]
    if (level, over) not in totals:
        shutil.copytree(out, tmp_path / "counted")
        counted = disturbed.run(few, tmp_path / "counted", *words, folders=[few, tmp_path / "counted"])
        totals[level, over] = counted.counts
    n, number = max(1, round(share * totals[level, over][call])), getattr(errno, "".join(error), 0)
    first = disturbed.run(few, out, *words, folders=[few, out], fault=(call, n, how, number))
    failures = [f"after the fault: {one}" for one in spoiled(tmp_path)]
    again = disturbed.run(few, out, *words)
    failures += [f"after the next run: {one}" for one in spoiled(tmp_path)]
    if first.complaint or again.code or again.complaint or contents_of(few) != before:
        failures.append(f"{first.code}, {again.code}: {first.said} {again.said}")
    tally("files of others", failures[:1], 1)
