"""Hostile CIFTI files and tables of regions, and what hostile GIFTI files are made from."""

import gzip
import re
import shutil
import struct

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ParcelsAxis, ScalarAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from tests.faults.hostile.of_maps import replace, zeros
from tests.faults.hostile.trials import hostile

N, SHAPE = 24, (3, 4, 2)
SIDES = {"L": "CortexLeft", "R": "CortexRight"}
STEM = "{}_task-go_{}contrast-a_stat-effect_statmap{}"
PEOPLE = [f"sub-{number:02d}" for number in range(1, 7)]
LAUGHS = "<!DOCTYPE GIFTI [<!ENTITY a0 'ha'>{}]>".format(
    "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
)
"""A billion laughs: entities of entities, 10^11 times two letters."""

OUTSIDE = "<!DOCTYPE x [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"


def sphere():
    """Points and triangles of a ring of vertices between two poles."""
    angles = 2 * np.pi * np.arange(N - 2) / (N - 2)
    ring = np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
    points = 30 * np.vstack([ring, [[0, 0, 1], [0, 0, -1]]])
    at = np.arange(N - 2)
    beside = (at + 1) % (N - 2)
    sides = [
        np.column_stack([at, beside, np.full(N - 2, N - 2)]),
        np.column_stack([beside, at, np.full(N - 2, N - 1)]),
    ]
    return points.astype(np.float32), np.vstack(sides).astype(np.int32)


def values(person):
    return (1 + np.random.default_rng(PEOPLE.index(person)).normal(size=2 * N)).astype(np.float32)


def gifti(arrays, side):
    return GiftiImage(
        darrays=arrays, meta=GiftiMetaData({"AnatomicalStructurePrimary": SIDES[side]})
    ).to_bytes()


def number_array(row):
    return GiftiDataArray(np.float32(row), intent=0, datatype=16)


def dense():
    """The axis of both hemispheres and of a block of voxels."""
    cortex = [
        BrainModelAxis.from_surface(np.arange(N), N, name=f"CIFTI_STRUCTURE_CORTEX_{side}")
        for side in ("LEFT", "RIGHT")
    ]
    voxels = np.column_stack(np.unravel_index(np.arange(N), SHAPE))
    deep = BrainModelAxis(
        "CIFTI_STRUCTURE_THALAMUS_LEFT", voxel=voxels, affine=np.diag([2.0, 2, 2, 1]), volume_shape=SHAPE
    )
    return cortex[0] + cortex[1] + deep


def parcels():
    one = [f"region {number}" for number in range(N)]
    axis = dense()
    where = [("CIFTI_STRUCTURE_CORTEX_LEFT", axis[:N].vertex[number : number + 1]) for number in range(N)]
    return ParcelsAxis(
        one, [np.zeros((0, 3), int)] * N, [dict([each]) for each in where], np.diag([2.0, 2, 2, 1]), SHAPE,
        {"CIFTI_STRUCTURE_CORTEX_LEFT": N},
    )  # fmt: skip


def cifti(axis, row):
    image = Cifti2Image(np.atleast_2d(np.resize(row, len(axis))), (ScalarAxis(["a"]), axis))
    image.nifti_header.set_intent(
        "ConnDenseScalar" if isinstance(axis, BrainModelAxis) else "ConnParcelScalr"
    )
    return image.to_bytes()


def table(row):
    lines = [f"region {number}\t{value}" for number, value in enumerate(row[:N])]
    return ("\n".join(["region\teffect", *lines]) + "\n").encode()


FORMS = {
    "gifti": [("hemi-L_", ".func.gii"), ("hemi-R_", ".func.gii")],
    "dscalar": [("", ".dscalar.nii")],
    "pscalar": [("", ".pscalar.nii")],
    "table": [("", ".tsv")],
}


def content(form, entity, person):
    row = values(person)
    if form == "gifti":
        return gifti([number_array(row[:N] if entity == "hemi-L_" else row[N:])], entity[5])
    if form == "table":
        return table(row)
    return cifti(dense() if form == "dscalar" else parcels(), row)


def write(study, form):
    """Put maps of a form in the place of the volumes; give the (first) file of sub-03."""
    for person in PEOPLE:
        folder = study.first / person / "func"
        shutil.rmtree(folder)
        folder.mkdir()
        for entity, ending in FORMS[form]:
            (folder / STEM.format(person, entity, ending)).write_bytes(content(form, entity, person))
    entity, ending = FORMS[form][0]
    return study.first / "sub-03" / "func" / STEM.format("sub-03", entity, ending)


def as_map(form, make):
    """Spoil the map of sub-03: ``make`` gives other bytes of its bytes, or a kind of what is no file."""

    def spoil(study):
        put(write(study, form), make)

    return spoil


def put(path, make):
    made = make if isinstance(make, str) else make(path.read_bytes())
    if isinstance(made, str):
        replace(path, made)
    elif made is not None:
        path.write_bytes(made)
    else:
        with path.open("ab") as stream:
            stream.truncate(97 * 10**9)


def xml(make=lambda text: text, cut=None, **fields):
    """Change the axes of a CIFTI file, and fields of its header."""

    def spoilt(payload):
        at = struct.unpack_from("<q", payload, 168)[0]
        size = struct.unpack_from("<i", payload, 544)[0]
        axes = make(payload[552 : 544 + size].rstrip(b"\0").decode()).encode()
        length = -(-(len(axes) + 8) // 16) * 16
        header = nib.Nifti2Header(payload[:540], check=False)
        header["vox_offset"] = 544 + length
        for name, value in fields.items():
            header[name] = value
        start = header.binaryblock + payload[540:544] + struct.pack("<ii", length, 32)
        return (start + axes.ljust(length - 8, b"\0") + payload[at:])[:cut]

    return spoilt


def swap(old, new, n=1):
    def make(axes):
        assert old in axes, old
        return axes.replace(old, new, n)

    return make


def blanks(n_members):
    """A gzip file that unpacks to 16 MB of zeros for each member."""
    return zeros(16 * 2**20) * n_members


SUB = "sub-03"
SPECIAL = {
    "a FIFO": ("fifo", 66, "not a file"),
    "a device": ("/dev/zero", 66, "not a file"),
    "a folder": ("folder", 66, "folder"),
    "a link that points nowhere": ("nowhere", 66, "datalad get"),
    "empty": (lambda _: b"", 65),
    "text": (lambda _: b"hello", 65),
    "random": (lambda _: bytes(range(256)) * 8, 65),
    "cut in the middle": (lambda p: p[: len(p) // 2], 65),
    "of 97 GB": (lambda _: None, 65),
    "a pointer of git-annex": (lambda _: b"/annex/objects/MD5E-s1--0.gii\n", 66, "datalad get"),
}


CIFTI = {
    "CIFTI: nothing is wrong": hostile(as_map("dscalar", xml()), 0),
    "parcels: nothing is wrong": hostile(as_map("pscalar", xml()), 0),
    **{
        f"{form} is {kind}": hostile(as_map(form, one), code, SUB, *words)
        for form in ("dscalar", "pscalar")
        for kind, (one, code, *words) in SPECIAL.items()
    },
    **{
        f"CIFTI {kind}": hostile(as_map("dscalar", one), 65, SUB)
        for kind, one in {
            "cut in its header": lambda p: p[:300],
            "cut in its axes": lambda p: p[:700],
            "cut before its numbers": lambda p: p[:-288],
            "without its last byte": lambda p: p[:-1],
            "whose numbers start at 2^62": xml(vox_offset=2**62),
            "whose numbers start before it": xml(vox_offset=-(2**62)),
            "whose numbers start in its header": xml(vox_offset=100),
            "of 2^40 maps": xml(dim=[6, 1, 1, 1, 1, 2**40, 72, 1]),
            "of other elements than its axes": xml(dim=[6, 1, 1, 1, 1, 1, 71, 1]),
            "of a negative number": xml(dim=[6, 1, 1, 1, 1, -1, -72, 1]),
            "of an unknown type": xml(datatype=999),
            "without axes": xml(lambda _: ""),
            "whose axes are no XML": xml(lambda one: one[::-1]),
            "whose axes are cut short": xml(lambda one: one[: len(one) // 2]),
            "whose axes are nested deeply": xml(lambda one: "<CIFTI>" * 100_000 + one),
            "of a billion laughs": xml(
                lambda one: LAUGHS.replace("GIFTI", "CIFTI") + one.replace("<MapName>", "<MapName>&a11;")
            ),
            "of vertices that are none": xml(swap("<VertexIndices>0 ", "<VertexIndices>999 ")),
            "of negative vertices": xml(swap("<VertexIndices>0 ", "<VertexIndices>-1 ")),
            "of vertices twice": xml(swap("<VertexIndices>0 ", "<VertexIndices>1 ")),
            "of vertices by words": xml(swap("<VertexIndices>0 ", "<VertexIndices>zero ")),
            "of a vertex of 400 digits": xml(swap("<VertexIndices>0 ", f"<VertexIndices>{'9' * 400} ")),
            "of a mesh of no vertices": xml(
                swap('SurfaceNumberOfVertices="24"', 'SurfaceNumberOfVertices="0"')
            ),
            "of voxels outside": xml(swap('VolumeDimensions="3,4,2"', 'VolumeDimensions="1,1,1"')),
            "of a volume of words": xml(swap('VolumeDimensions="3,4,2"', 'VolumeDimensions="a,b,c"')),
            "of a volume of two axes": xml(swap('VolumeDimensions="3,4,2"', 'VolumeDimensions="3,4"')),
            "of structures twice": xml(
                swap("CIFTI_STRUCTURE_CORTEX_RIGHT", "CIFTI_STRUCTURE_CORTEX_LEFT", 9)
            ),
            "of more elements than it counts": xml(swap('IndexCount="24"', 'IndexCount="23"')),
            "of other offsets": xml(swap('IndexOffset="24"', 'IndexOffset="7"')),
            "of an unknown axis": xml(swap("CIFTI_INDEX_TYPE_SCALARS", "CIFTI_INDEX_TYPE_NOTHING")),
        }.items()
    },
    "CIFTI of a mesh of 10^12 vertices": hostile(
        as_map(
            "dscalar", xml(swap('SurfaceNumberOfVertices="24"', 'SurfaceNumberOfVertices="1000000000000"'))
        ),
        65,
        SUB,
    ),
    "CIFTI of a volume of 10^18 voxels": hostile(
        as_map(
            "dscalar", xml(swap('VolumeDimensions="3,4,2"', 'VolumeDimensions="1000000,1000000,1000000"'))
        ),
        65,
        SUB,
    ),
    "CIFTI with a slope of NaN": hostile(as_map("dscalar", xml(scl_slope=np.nan)), (0, 65)),
    "CIFTI with ESC in its name": hostile(as_map("dscalar", xml(swap("<MapName>a", "<MapName>a\u200e"))), 0),
    "packed CIFTI is a bomb": hostile(as_map("dscalar", lambda p: gzip.compress(p) + blanks(192)), 65, SUB),
    "packed CIFTI is zeros": hostile(as_map("dscalar", lambda _: blanks(192)), 65, SUB),
    "parcels twice": hostile(as_map("pscalar", xml(swap('Name="region 1"', 'Name="region 2"'))), 65, SUB),
    "parcels of other names": hostile(
        as_map("pscalar", xml(swap('Name="region 1"', 'Name="elsewhere"'))), (0, 65)
    ),
}
REGIONS = {
    "regions: nothing is wrong": hostile(as_map("table", lambda p: p), 0),
    **{
        f"regions are {kind}": hostile(as_map("table", one), code, SUB, *words)
        for kind, (one, code, *words) in SPECIAL.items()
        if kind != "cut in the middle"
    },
    **{
        f"regions {kind}": hostile(as_map("table", one), code, *([SUB] if code == 65 else []))
        for kind, (one, code) in {
            "cut in a line": (lambda p: p[:-9].rstrip(b"\n0123456789.-\t"), 65),
            "of no lines": (lambda p: b"region\teffect\n", 65),
            "without their column": (lambda p: p.replace(b"region\t", b"where\t", 1), 65),
            "without effects": (lambda p: p.replace(b"\teffect", b"\tmean\tother", 1), 65),
            "with a cell too many": (lambda p: p.replace(b"region 5\t", b"region 5\t1\t", 1), 65),
            "twice": (lambda p: p.replace(b"region 5\t", b"region 6\t", 1), 65),
            "without a name": (lambda p: p.replace(b"region 5\t", b"\t", 1), 65),
            "of words": (lambda p: p.replace(b"region 5\t", b"region 5\tx", 1), 65),
            "of a number of 400 digits": (
                lambda p: p.replace(b"region 5\t", b"region 5\t" + b"9" * 400, 1),
                65,
            ),
            "of 1e999": (lambda p: re.sub(rb"region 5\t.*", b"region 5\t1e999", p), 65),
            "of 1_000": (lambda p: re.sub(rb"region 5\t.*", b"region 5\t1_000", p), 65),
            "in UTF-16": (lambda p: p.decode().encode("utf-16"), 65),
            "with NUL": (lambda p: p.replace(b"region 5", b"region\0", 1), 65),
            "with ESC": (lambda p: p.replace(b"region 5", b"region\x1b[31m", 1), (0, 65)),
            "of a line of 20 MB": (lambda p: p + b"x" * 20_000_000, 65),
            "of a million columns": (lambda p: b"region\teffect\t" + b"x\t" * 10**6 + b"\n", 65),
            "with carriage returns": (lambda p: p.replace(b"\n", b"\r\n"), 0),
            "with a mark before them": (lambda p: b"\xef\xbb\xbf" + p, 0),
            "of another name": (lambda p: p.replace(b"region 5\t", b"elsewhere\t", 1), (0, 65)),
        }.items()
    },
}
