"""Maps packed by our own deflate: every reader unpacks them, and equal content gives equal bytes."""

import gzip
import hashlib
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.elements import compression
from bids_group.elements.deflate import BLOCK, deflate

RNG = np.random.default_rng(0)


def _map(seed, size=200_000):
    rng = np.random.default_rng(seed)
    return np.where(np.arange(size) % 90 < 40, rng.normal(size=size), 0).astype(np.float32)


def _rare():
    """Noise of one block in which some bytes come once, twice, 4 times …: codes of 19, 18, … bits."""
    rare = np.repeat(np.arange(200, 210, dtype=np.uint8), 2 ** np.arange(10))
    common = RNG.integers(0, 128, 4 * BLOCK - rare.size, dtype=np.uint8)
    return RNG.permutation(np.concatenate((rare, common))).tobytes()


def _repeated_at(distance):
    """Numbers that come once, and again after ``distance`` numbers."""
    return np.tile(np.arange(distance, dtype=np.uint32) * 2654435761, 2).astype(np.uint32).tobytes()


CONTENTS = {
    "nothing": b"",
    "one byte": b"a",
    "one number": b"abcd",
    "one number and three bytes": b"abcdefg",
    "one byte again and again": b"\x07" * 1003,
    "zeros": bytes(4 * BLOCK + 2),
    "just a block": _map(1, BLOCK).tobytes(),
    "a block and a number": _map(2, BLOCK + 1).tobytes(),
    "three blocks": _map(3, 2 * BLOCK + 5).tobytes() + b"xyz",
    "ones outside": np.where(_map(4) == 0, 1, _map(4)).astype(np.float32).tobytes(),
    "noise": RNG.bytes(300_001),
    "every byte once": bytes(range(256)),
    "few values": RNG.integers(0, 50, 100_000).astype(np.float32).tobytes(),
    "a mask": (_map(5) != 0).astype(np.uint8).tobytes(),
    "NaN outside": np.where(_map(6) == 0, np.nan, _map(6)).astype(np.float32).tobytes(),
    "a deep tree": _rare(),
    "blocks of zeros and noise": bytes(4 * BLOCK) + RNG.bytes(4 * BLOCK) + bytes(4 * BLOCK),
    **{f"again after {distance}": _repeated_at(distance) for distance in (1, 2, 3, 4097, 8191, 8192, 8193)},
}


def _packed(content):
    return bytes(deflate(content))


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_packed_is_what_others_unpack(content):
    packed = _packed(content)
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    assert reader.decompress(packed) == content
    assert reader.eof
    assert reader.unused_data == b""
    if compression.isal_zlib is not None:
        assert compression.isal_zlib.decompress(packed, -zlib.MAX_WBITS) == content
    assert _packed(memoryview(bytearray(content + b"other"))[: len(content)]) == packed


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12),
    shape=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 200)), max_size=60),
    rest=st.binary(max_size=3),
)
def test_any_numbers_in_any_runs_come_back(values, shape, rest):
    runs = [np.full(n, values[which % len(values)], np.uint32) for which, n in shape]
    content = b"".join(run.tobytes() for run in runs) + rest
    assert zlib.decompress(_packed(content), -zlib.MAX_WBITS) == content


def test_the_bytes_are_the_same_in_every_thread_on_every_processor():
    contents = [np.arange(BLOCK * 2, dtype=np.uint32) // n * 40503 for n in (1, 2, 3, 7)]
    first = [_packed(one.tobytes()) for one in contents]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(lambda one: _packed(one.tobytes()), contents * 8))
    assert again == first * 8
    assert hashlib.sha256(b"".join(first)).hexdigest()[:16] == "d91e09a35313f158"


def test_maps_become_about_as_small_as_by_zlib():
    for content in (_map(7).tobytes(), CONTENTS["ones outside"]):
        assert len(_packed(content)) < 1.02 * len(zlib.compress(content, compression.LEVEL))


def test_what_is_changed_in_a_file_is_found():
    packed = bytearray(compression.gzip_bytes(_map(8, compression.SMALL // 4 + 1).tobytes()))
    packed[len(packed) // 2] ^= 1
    with pytest.raises((OSError, EOFError, zlib.error)):
        compression.inflate(bytes(packed))
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(bytes(packed))
