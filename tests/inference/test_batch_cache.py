"""A batch that the disk changed is done again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.inference.shuffling.batch_cache import BatchCache

VALUES = np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    cache = BatchCache(folder=tmp_path_factory.mktemp("work") / "shuffles-a")
    cache.write("batch-00000000", VALUES)
    return cache, cache.folder / "batch-00000000.npy"


def test_a_batch_comes_back_bit_for_bit(kept):
    cache, _ = kept
    assert cache.read("batch-00000000", VALUES.shape).tobytes() == VALUES.tobytes()
    assert cache.read("batch-00000000", (3, 5)) is None
    assert cache.read("batch-00000256", VALUES.shape) is None


def spoil(content: bytes, start: int, stop: int, fill: int) -> bytes:
    return content[:start] + bytes([fill]) * (stop - start) + content[stop:]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_change_of_the_content_is_seen(kept, data):
    cache, path = kept
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start, len(whole)))
    kind = data.draw(st.sampled_from(["zeros", "fill", "cut", "flip", "longer"]))
    changed = {
        "zeros": spoil(whole, start, stop, 0),
        "fill": spoil(whole, start, stop, data.draw(st.integers(0, 255))),
        "cut": whole[:start],
        "flip": spoil(whole, start, start + 1, whole[start] ^ (1 << data.draw(st.integers(0, 7)))),
        "longer": whole + b"\0" * (stop - start),
    }[kind]
    path.write_bytes(changed)
    try:
        found = cache.read("batch-00000000", VALUES.shape)
        assert found is None if changed != whole else found is not None
    finally:
        path.write_bytes(whole)


def test_a_batch_of_another_number_or_another_question_is_none(kept, tmp_path: Path):
    _, path = kept
    for folder, name in (("shuffles-a", "batch-00000256"), ("shuffles-b", "batch-00000000")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.npy").write_bytes(path.read_bytes())
        assert BatchCache(folder=tmp_path / folder).read(name, VALUES.shape) is None


def test_a_batch_of_release_0_1_which_has_no_checksum_is_done_again(tmp_path: Path):
    np.save(tmp_path / "batch-00000000.npy", VALUES)
    assert BatchCache(folder=tmp_path).read("batch-00000000", VALUES.shape) is None
