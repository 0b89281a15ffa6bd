"""gzip by zlib-ng, beside Python's own."""

import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.elements import compression, zero_runs

RNG = np.random.default_rng(0)
NOISE = RNG.bytes(70_000)
IS_BRAIN = np.arange(120_000) % 90 < 30


def _outside(value, inside):
    return np.where(IS_BRAIN, inside, value)


Z = RNG.normal(size=IS_BRAIN.size).astype(np.float32)
CONTENTS = {
    "nothing": b"",
    "a byte": b"a",
    "zeros": bytes(300_000),
    "noise": RNG.bytes(200_000),
    "a map": _outside(0, Z).astype(np.float32).tobytes(),
    "p": _outside(1, np.abs(Z) % 1).astype(np.float32).tobytes(),
    "p of 1,000 shuffles": _outside(1, np.ceil(np.abs(Z) % 1 * 1000) / 1000).astype(np.float32).tobytes(),
    "dof": _outside(0, 97.5).astype(np.float32).tobytes(),
    "NaN outside": _outside(np.nan, Z).astype(np.float32).tobytes(),
    "a mask": IS_BRAIN.astype(np.uint8).tobytes(),
    "a map in 8 bytes": _outside(0, Z.astype(np.float64)).tobytes(),
    "a large map": np.tile(_outside(0, Z).astype(np.float32), 10).tobytes(),
}


@pytest.fixture(params=["zlib_ng", "zlib"])
def library(request, monkeypatch):
    if request.param == "zlib_ng":
        pytest.importorskip("zlib_ng")
    else:
        monkeypatch.setattr(compression, "quick", zlib)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_packed_is_what_python_unpacks_and_the_other_way_round(library, content):
    packed = compression.gzip_bytes(content)
    assert gzip.decompress(packed) == content
    assert compression.inflate(packed) == compression.inflate(gzip.compress(content, 6)) == content
    assert compression.checksum(content) == zlib.crc32(content)


def _pack_by(library, content):
    stream = library.compressobj(compression.LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_RLE)
    return stream.compress(content) + stream.flush()


@settings(max_examples=500, deadline=None)
@given(
    runs=st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=8),
            st.one_of(st.integers(1, 300), st.sampled_from([257, 258, 259, 260, 515, 516, 517, 40_000])),
        ),
        max_size=30,
    ),
    n_noise=st.sampled_from([0, 1, 16_382, 16_383, 16_384, 70_000]),
)
def test_zlib_ng_finds_the_same_runs_as_zlib(runs, n_noise):
    """Files must not depend on whether it is installed; a version of either that differs is found here."""
    zlib_ng = pytest.importorskip("zlib_ng.zlib_ng")
    content = b"".join(what * n for what, n in runs)
    content = content + NOISE[:n_noise] + content
    assert _pack_by(zlib_ng, content) == _pack_by(zlib, content)


def test_packed_bytes_are_the_same_by_each_library_whoever_packs_beside_it(monkeypatch):
    pytest.importorskip("zlib_ng")
    first = [compression.gzip_bytes(content) for content in CONTENTS.values()]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(compression.gzip_bytes, list(CONTENTS.values()) * 8))
    assert again == first * 8
    monkeypatch.setattr(compression, "quick", zlib)
    assert [compression.gzip_bytes(content) for content in CONTENTS.values()] == first


@pytest.mark.parametrize("name", CONTENTS)
def test_nothing_is_larger_than_by_zlib_alone(name):
    content = CONTENTS[name]
    assert len(compression.gzip_bytes(content)) <= len(gzip.compress(content, compression.LEVEL)) + 2


def test_several_members_and_zeros_behind_the_last_are_read(library):
    a, b = gzip.compress(b"a" * 1000), gzip.compress(b"b" * 3000)
    assert compression.inflate(a + b) == b"a" * 1000 + b"b" * 3000
    assert compression.inflate(a + bytes(20)) == b"a" * 1000
    assert compression.inflate(b"no gzip") == b"no gzip"


def _spoilt():
    packed = gzip.compress(CONTENTS["a map"], 1)
    for length in (
        2,
        9,
        100,
        len(packed) // 2,
        len(packed) - 9,
        len(packed) - 8,
        len(packed) - 4,
        len(packed) - 1,
    ):
        yield f"first {length}", packed[:length]
    for place in (50, 5000, len(packed) - 8, len(packed) - 1):
        yield f"byte {place}", packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :]
    yield "text behind it", packed + b"text"
    yield "second cut short", packed + packed[:-3]


@pytest.mark.parametrize("payload", [one for _, one in _spoilt()], ids=[name for name, _ in _spoilt()])
def test_what_is_cut_short_or_corrupt_is_refused_in_pythons_words(library, payload):
    with pytest.raises((EOFError, OSError, zlib.error)) as theirs:
        gzip.decompress(payload)
    with pytest.raises(type(theirs.value)) as ours:
        compression.inflate(payload)
    assert str(ours.value).startswith(str(theirs.value))


def test_no_more_is_kept_than_wanted_and_what_goes_on_for_long_is_refused(library):
    """A member more of zeros after those of the map, and a length at its end that is a small number."""
    packed = gzip.compress(b"a" * 5000)
    assert compression.inflate(packed, 700) == b"a" * 700
    longer = packed + gzip.compress(bytes(100))
    assert compression.inflate(longer, 5000) == b"a" * 5000
    for bomb in (gzip.compress(bytes(5 * 2**20)), packed + gzip.compress(bytes(2**20)) * 5):
        with pytest.raises(OSError, match="promises 5000"):
            compression.inflate(bomb, 5000)


def _with_runs(lengths):
    """Stretches of numbers and of zeros, by turns."""
    parts = [RNG.bytes(4 * n) if i % 2 == 0 else bytes(4 * n) for i, n in enumerate(lengths)]
    return b"".join(parts)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_cache_is_unpacked_by_zlib(monkeypatch, content):
    monkeypatch.setattr(compression, "_WORTH_NUMBA", 0)
    packed = compression.gzip_bytes(content, is_cache=True)
    assert gzip.decompress(packed) == compression.inflate(packed) == content


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 40), st.integers(16_000, 17_000)), max_size=12))
def test_stretches_of_any_length_are_unpacked_by_zlib(lengths):
    content = _with_runs(lengths)
    assert zlib.decompress(zero_runs.deflate_zero_runs(content), -zlib.MAX_WBITS) == content


@pytest.mark.parametrize("n_zeros", range(14, 300))
def test_every_length_of_a_repetition_is_unpacked_by_zlib(n_zeros):
    content = _with_runs([1, n_zeros, 1])
    assert zlib.decompress(zero_runs.deflate_zero_runs(content), -zlib.MAX_WBITS) == content


@pytest.mark.parametrize("n_zeros", [16, 17, 31, 32, 33, 100])
def test_a_run_is_found_whole_wherever_it_begins(n_zeros):
    sizes = [len(zero_runs.deflate_zero_runs(_with_runs([n, n_zeros, 5]))) - 4 * n for n in range(1, 50)]
    assert set(sizes) == {sizes[0]}
    assert sizes[0] < 4 * n_zeros + 4 * 5  # and one word less is none
    assert len(zero_runs.deflate_zero_runs(_with_runs([20, 15, 5]))) > 4 * 40


def test_the_worst_content_fits():
    content = _with_runs([1, 16] * 20_000)
    packed = zero_runs.deflate_zero_runs(content)
    assert zlib.decompress(packed, -zlib.MAX_WBITS) == content
    assert len(packed) < len(content)


def test_a_map_in_a_cache_is_an_eighth_larger_and_zeros_take_hardly_any_room():
    content = CONTENTS["a large map"]
    assert len(content) >= compression._WORTH_NUMBA
    packed = compression.gzip_bytes(content, is_cache=True)
    assert len(packed) < 1.15 * len(compression.gzip_bytes(content))
    assert len(zero_runs.deflate_zero_runs(bytes(2**20))) < 2**20 / 100
