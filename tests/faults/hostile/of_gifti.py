"""Hostile GIFTI files, as maps and as surfaces of the analysis."""

import base64
import gzip
import re
import zlib

import numpy as np
from nibabel.gifti import GiftiDataArray

from tests.faults.hostile.of_structures import (
    LAUGHS,
    OUTSIDE,
    SIDES,
    SPECIAL,
    SUB,
    N,
    as_map,
    blanks,
    gifti,
    number_array,
    put,
    sphere,
    write,
)
from tests.faults.hostile.trials import hostile


def as_surface(make):
    """Spoil the left of two surfaces of the analysis."""

    def spoil(study):
        write(study, "gifti")
        paths = [study.data / f"hemi-{side}_midthickness.surf.gii" for side in SIDES]
        points, triangles = sphere()
        for path, side in zip(paths, SIDES, strict=True):
            arrays = [
                GiftiDataArray(points, intent=1008, datatype=16),
                GiftiDataArray(triangles, intent=1009, datatype=8),
            ]
            path.write_bytes(gifti(arrays, side))
        put(paths[0], make)
        return ["--surfaces", *map(str, paths), "--correction", "fdr"]

    return spoil


def text(old, new, n=1):
    """Replace text of the XML."""

    def make(payload):
        assert old.encode() in payload, old
        return payload.replace(old.encode(), new.encode(), n)

    return make


def declared(declaration, value, old=b"<Value>", new=b"<Value>{}"):
    """Declare entities in the XML of GIFTI, in place of what is declared there, and use one."""

    def make(payload):
        start = payload.index(b"<!DOCTYPE")
        end = payload.index(b">", start) + 1
        assert old in payload[end:], old
        used = payload[end:].replace(old, new.replace(b"{}", value.encode()), 1)
        return payload[:start] + declaration.encode() + used

    return make


def data(make):
    """Replace the packed numbers of the first array."""

    def spoilt(payload):
        start = payload.index(b"<Data>") + 6
        end = payload.index(b"</Data>")
        return payload[:start] + make(payload[start:end]) + payload[end:]

    return spoilt


def bomb(_):
    return base64.b64encode(zlib_zeros(1200))


def zlib_zeros(n_mb):
    packer, piece = zlib.compressobj(9), bytes(2**20)
    return b"".join([*(packer.compress(piece) for _ in range(n_mb)), packer.flush()])


def mesh_bytes(points=None, triangles=None, n_axes=3, n_corners=3):
    """A surface whose points and triangles are all one number, or have another number of columns."""
    where, corners = sphere()
    where = where if points is None else np.full_like(where, points)
    corners = corners if triangles is None else np.full_like(corners, triangles)
    corners = np.hstack([corners, corners[:, :1]])[:, :n_corners]
    arrays = [
        GiftiDataArray(np.ascontiguousarray(where[:, :n_axes]), intent=1008, datatype=16),
        GiftiDataArray(np.ascontiguousarray(corners), intent=1009, datatype=8),
    ]
    return gifti(arrays, "L")


_XML = {
    "nested deeply": text("<MetaData", "<MD>" * 100_000 + "<MetaData"),
    "that never ends": text("</GIFTI>", ""),
    "of an unknown encoding": text('encoding="UTF-8"', 'encoding="UTF-77"'),
    "that ends twice": text("</GIFTI>", "</GIFTI></GIFTI>"),
    "of arrays in arrays": text("<DataArray", "<DataArray><DataArray"),
    "of numbers in no array": lambda p: (
        b'<?xml version="1.0"?><GIFTI Version="1.0"><Data>AAAA</Data></GIFTI>'
    ),
    "of no arrays": lambda p: b'<?xml version="1.0"?><GIFTI Version="1.0"></GIFTI>',
    "of an unknown type": text("NIFTI_TYPE_FLOAT32", "NIFTI_TYPE_FLOAT99"),
    "of an unknown byte order": text("LittleEndian", "MiddleEndian"),
    "of an unknown packing": text("GZipBase64Binary", "Zip"),
    "in another file": text("GZipBase64Binary", "ExternalFileBinary"),
    "of numbers as words": text("GZipBase64Binary", "ASCII"),
    "of 30000 cubed": text('Dim0="24"', 'Dim0="27000000000000"'),
    "of a negative number": text('Dim0="24"', 'Dim0="-24"'),
    "of a number of words": text('Dim0="24"', 'Dim0="many"'),
    "of a number of 400 digits": text('Dim0="24"', f'Dim0="{"9" * 400}"'),
    "of no axes": text('Dimensionality="1"', 'Dimensionality="0"'),
    "of 2^40 axes": lambda p: re.sub(b'Dimensionality="."', b'Dimensionality="1099511627776"', p),
    "of no base64": data(lambda _: b"%%%%"),
    "of base64 cut short": data(lambda p: p[:-7]),
    "of damaged zlib": data(lambda p: base64.b64encode(b"xxxx" + base64.b64decode(p)[4:])),
    "of zlib cut short": data(lambda p: base64.b64encode(base64.b64decode(p)[:-9])),
    "that is a bomb": data(bomb),
}
GIFTI = {
    "surfaces: nothing is wrong": hostile(as_map("gifti", lambda p: p), 0),
    **{
        f"surface map is {kind}": hostile(as_map("gifti", one), code, SUB, *words)
        for kind, (one, code, *words) in SPECIAL.items()
    },
    **{
        f"surface map {kind}": hostile(as_map("gifti", one), 65, SUB)
        for kind, one in _XML.items()
        if "negative" not in kind
    },
    "surface map of a billion laughs": hostile(
        as_map("gifti", declared(LAUGHS, "&a11;")), 65, SUB, "amplification"
    ),
    "surface map of an entity in a file": hostile(as_map("gifti", declared(OUTSIDE, "&x;")), (0, 65)),
    "surface map of a negative number": hostile(as_map("gifti", _XML["of a negative number"]), (0, 65)),
    "surface map says that it holds 99 arrays": hostile(
        as_map("gifti", text('NumberOfDataArrays="1"', 'NumberOfDataArrays="99"')), (0, 65)
    ),
    "surface map of the other hemisphere": hostile(
        as_map("gifti", text("CortexLeft", "CortexRight")), 65, SUB
    ),
    "surface map of other vertices": hostile(
        as_map("gifti", lambda _: gifti([number_array(np.ones(N + 1))], "L")), 65, SUB
    ),
    "surface map of NaN": hostile(
        as_map("gifti", lambda _: gifti([number_array(np.full(N, np.nan))], "L")), (0, 65)
    ),
    "surface map of ESC": hostile(as_map("gifti", text("CortexLeft", "Cortex&#27;[31mLeft")), 65, SUB),
    "packed surface map is a bomb": hostile(
        as_map("gifti", lambda p: gzip.compress(p) + blanks(192)),
        65,
        SUB,
        "at most 268435456",
        "-metric-merge",
    ),
    "packed surface map is zeros": hostile(as_map("gifti", lambda _: blanks(192)), 65, SUB, "unpacked"),
}
SURFACES = {
    "mesh: nothing is wrong": hostile(as_surface(lambda p: p), 0),
    **{
        f"mesh is {kind}": hostile(
            as_surface(one), code, "midthickness", *(words if kind != "a folder" else ())
        )
        for kind, (one, code, *words) in SPECIAL.items()
    },
    **{
        f"mesh {kind}": hostile(as_surface(one), (64, 65), "midthickness")
        for kind, one in _XML.items()
        if kind not in ("of no axes", "of a negative number")
    },
    "mesh of a negative number": hostile(as_surface(_XML["of a negative number"]), (0, 65)),
    "mesh of a billion laughs": hostile(
        as_surface(
            lambda p: p.replace(b"<GIFTI", LAUGHS.encode() + b"<GIFTI", 1).replace(
                b"<Value>", b"<Value>&a11;", 1
            )
        ),
        65,
        "midthickness",
    ),
    "mesh of blanks without end": hostile(
        as_surface(lambda p: gzip.compress(p) + blanks(192)), 65, "midthickness"
    ),
    "mesh of NaN": hostile(as_surface(lambda _: mesh_bytes(points=np.nan)), 65, "midthickness"),
    "mesh of 1e38 mm": hostile(as_surface(lambda _: mesh_bytes(points=1e38)), (0, 65)),
    "mesh of one point": hostile(as_surface(lambda _: mesh_bytes(points=0)), (0, 65)),
    "mesh of triangles of no vertices": hostile(
        as_surface(lambda _: mesh_bytes(triangles=10**9)), 65, "midthickness"
    ),
    "mesh of negative triangles": hostile(as_surface(lambda _: mesh_bytes(triangles=-5)), 65, "midthickness"),
    "mesh of triangles of one vertex": hostile(as_surface(lambda _: mesh_bytes(triangles=0)), (0, 65)),
    "mesh of flat points": hostile(as_surface(lambda _: mesh_bytes(n_axes=2)), 65, "midthickness"),
    "mesh of four corners": hostile(as_surface(lambda _: mesh_bytes(n_corners=4)), 65, "midthickness"),
}
