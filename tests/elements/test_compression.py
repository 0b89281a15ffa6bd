"""gzip, beside Python's own."""

import gzip
import zlib

import numpy as np
import pytest

from bids_group.elements import compression

RNG = np.random.default_rng(0)
CONTENTS = {
    "nothing": b"",
    "a byte": b"a",
    "zeros": bytes(300_000),
    "noise": RNG.bytes(200_000),
    "a map": np.where(RNG.random(100_000) < 0.3, RNG.normal(size=100_000), 0).astype(np.float32).tobytes(),
}


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(compression, "isal_zlib", None)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_packed_is_what_python_unpacks_and_the_other_way_round(library, content):
    packed = compression.gzip_bytes(content)
    assert gzip.decompress(packed) == content
    assert compression.inflate(packed) == compression.inflate(gzip.compress(content, 6)) == content
    assert compression.checksum(content) == zlib.crc32(content)


@pytest.mark.parametrize("size", [compression.SMALL, compression.SMALL + 1])
def test_packed_bytes_do_not_depend_on_what_unpacks(size, monkeypatch):
    content = (CONTENTS["a map"] * 3)[:size]
    packed = compression.gzip_bytes(content)
    monkeypatch.setattr(compression, "isal_zlib", None)
    assert compression.gzip_bytes(content) == packed
    assert gzip.decompress(packed) == compression.inflate(packed) == content


def test_what_is_small_is_packed_by_zlib():
    for content in CONTENTS.values():
        stream = zlib.compressobj(compression.LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        assert compression.gzip_bytes(content)[10:-8] == stream.compress(content) + stream.flush()


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
    assert str(ours.value) == str(theirs.value)
