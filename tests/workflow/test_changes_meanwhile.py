"""Files that change, or that the disk spoils, between one moment of a run and the next."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import bids_group.elements.reading as reading
from bids_group.cli import main
from bids_group.elements import hash_map
from bids_group.model import pool
from bids_group.output import pooling_key, read_pooled
from bids_group.records import FirstLevelMap, Observation
from bids_group.workflow.one_analysis import pool_one

SHUFFLED = [
    "--correction",
    "fwe-voxel",
    "fwe-size",
    "--n-permutations",
    "60",
    "--permutation-p",
    "--no-report",
    "-q",
]


@pytest.fixture
def person(tmp_path: Path) -> Observation:
    """Two runs with their variances and one mask of both."""

    def image(name: str, seed: int) -> Path:
        values = np.abs(np.random.default_rng(seed).normal(size=(3, 4, 2))) + 0.1
        nib.Nifti1Image(values.astype(np.float32), np.eye(4)).to_filename(tmp_path / name)
        return tmp_path / name

    nib.Nifti1Image(np.ones((3, 4, 2), np.uint8), np.eye(4)).to_filename(tmp_path / "mask.nii.gz")
    maps = [
        FirstLevelMap(
            subject="01",
            contrast="c",
            run=str(run),
            effect=image(f"e{run}.nii.gz", run),
            variance=image(f"v{run}.nii.gz", 10 + run),
            dof=30.0,
            mask=tmp_path / "mask.nii.gz",
            dataset=tmp_path,
        )
        for run in (1, 2)
    ]
    return Observation(subject="01", contrast="c", sources=tuple(maps))


@pytest.fixture
def reads(monkeypatch):
    """The files read, in order; ``changes`` holds what a file becomes right after its n-th reading."""
    read_bytes, seen, changes = reading.read_bytes, [], {}

    def watched(path: Path) -> bytes:
        content = read_bytes(path)
        seen.append(path.name)
        if (path.name, seen.count(path.name)) in changes:
            path.write_bytes(changes[path.name, seen.count(path.name)])
        return content

    monkeypatch.setattr(reading, "read_bytes", watched)
    return seen, changes


def test_inputs_are_read_once(person, tmp_path, reads):
    seen, _ = reads
    first = pool_one(person, tmp_path / "out", {})
    assert sorted(seen) == ["e1.nii.gz", "e2.nii.gz", "mask.nii.gz", "mask.nii.gz", "v1.nii.gz", "v2.nii.gz"]
    again = pool_one(person, tmp_path / "out", {})
    assert np.array_equal(first.effect, again.effect)
    assert [seen.count(name) for name in ("e1.nii.gz", "v2.nii.gz")] == [2, 2]


@pytest.mark.parametrize("name", ["e1.nii.gz", "v2.nii.gz"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("has_earlier", [False, True])
def test_a_map_that_changes_is_never_kept_under_another_key(
    person, tmp_path, reads, name, number, has_earlier
):
    """Whenever a file changes, what stands in OUTPUT_DIR under the key of its bytes is what they give."""
    seen, changes = reads
    old, new = (tmp_path / name).read_bytes(), (tmp_path / "e2.nii.gz").read_bytes()
    if has_earlier:
        (tmp_path / name).write_bytes((tmp_path / "v1.nii.gz").read_bytes())
        pool_one(person, tmp_path / "out", {})
        (tmp_path / name).write_bytes(old)
    seen.clear()
    changes[name, number] = new
    pool_one(person, tmp_path / "out", {})
    changes.clear()
    for content in (old, new):
        (tmp_path / name).write_bytes(content)
        kept = read_pooled(tmp_path / "out", person, pooling_key(person), dataset_names={})
        assert kept is None or np.array_equal(kept.effect, pool(person).effect, equal_nan=True)
        assert np.array_equal(pool_one(person, tmp_path / "out", {}).effect, pool(person).effect)


def test_a_file_that_has_two_contents_in_one_map_is_refused(person, tmp_path, reads):
    _, changes = reads
    half = np.ones((3, 4, 2), np.uint8)
    half[0] = 0
    nib.Nifti1Image(half, np.eye(4)).to_filename(tmp_path / "other.nii.gz")
    changes["mask.nii.gz", 1] = (tmp_path / "other.nii.gz").read_bytes()
    with pytest.raises(Exception, match=r"mask\.nii\.gz changed while it was read") as caught:
        pool_one(person, tmp_path / "out", {})
    assert caught.value.exit_code == 74


def test_the_key_of_bytes_that_were_read_is_that_of_the_files(person):
    assert pooling_key(person, pool(person).input_hashes) == pooling_key(person)
    assert pool(person).input_hashes[str(person.maps[0].effect)] == hash_map(person.maps[0].effect)


@pytest.fixture
def interrupted(small, tmp_path, monkeypatch):
    """A run that stopped after its shuffles, before its results were written; and its batches."""
    import bids_group.output

    arguments = [str(small), str(tmp_path / "out"), "group", *SHUFFLED]
    with monkeypatch.context() as patched:

        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(bids_group.output, "write_group", stop)
        assert main(arguments) == 130
    batches = sorted((tmp_path / "out" / ".work").rglob("batch-*.npy"))
    assert len(batches) >= 2
    return arguments, batches


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory, contents_of):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main([str(small), str(out), "group", *SHUFFLED]) == 0
    return contents_of(out)


@pytest.mark.parametrize("how", ["zeroed", "one bit", "untouched"])
def test_spoiled_batches_of_shuffles_change_no_p(interrupted, undisturbed, tmp_path, contents_of, how):
    arguments, batches = interrupted
    for path in batches:
        content = bytearray(path.read_bytes())
        if how == "zeroed":
            content[128:-16] = bytes(len(content) - 144)
        elif how == "one bit":
            content[len(content) // 2] ^= 0x40
        path.write_bytes(content)
    assert main(arguments) == 0
    assert contents_of(tmp_path / "out") == undisturbed
