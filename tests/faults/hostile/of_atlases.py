"""Hostile atlases: images, labels of surfaces and CIFTI with their names, tables of names beside an image."""

import gzip
import os

import nibabel as nib
import numpy as np
from nibabel.cifti2 import Cifti2Image, LabelAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable, GiftiMetaData

from tests.faults.hostile.of_gifti import data, declared, text
from tests.faults.hostile.of_maps import bomb, change, content, huge, large, replace, special
from tests.faults.hostile.of_structures import (
    LAUGHS,
    OUTSIDE,
    SIDES,
    SPECIAL,
    N,
    blanks,
    dense,
    put,
    swap,
    write,
    xml,
)
from tests.faults.hostile.trials import hostile

DEEP = 100_000


def label_file(side):
    """Labels 0, 1 and 2 of the vertices of one hemisphere, and their names."""
    table = GiftiLabelTable()
    for key, name in enumerate(("???", "one", "two")):
        table.labels.append(label := GiftiLabel(key=key, red=1, green=0, blue=0, alpha=1))
        label.label = name
    numbers = GiftiDataArray(
        np.arange(N, dtype=np.int32) % 3, intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32"
    )
    about = GiftiMetaData({"AnatomicalStructurePrimary": SIDES[side]})
    return GiftiImage(darrays=[numbers], labeltable=table, meta=about).to_bytes()


def as_labels(make):
    """Give an atlas of both hemispheres, and spoil that of the left one."""

    def spoil(study):
        write(study, "gifti")
        for side in SIDES:
            (study.data / f"atlas_hemi-{side}.label.gii").write_bytes(label_file(side))
        put(study.data / "atlas_hemi-L.label.gii", make)
        return ["--atlas", str(study.data / "atlas_hemi-L.label.gii")]

    return spoil


def name(new):
    return text(">two<", f">{new}<")


def as_dlabel(make):
    """Give an atlas of CIFTI, and spoil it."""

    def spoil(study):
        write(study, "dscalar")
        axis = dense()
        names = LabelAxis(["atlas"], [{0: ("???", (0, 0, 0, 0)), 1: ("one", (1, 0, 0, 1))}])
        image = Cifti2Image(np.arange(len(axis), dtype=np.int32)[None] % 2, (names, axis))
        image.nifti_header.set_intent("ConnDenseLabel")
        path = study.data / "atlas.dlabel.nii"
        path.write_bytes(image.to_bytes())
        put(path, make)
        return ["--atlas", str(path)]

    return spoil


def as_atlas(spoil_effect, table=b"index\tname\n1\tone\n"):
    def spoil(study):
        good = study.effect.read_bytes()
        spoil_effect(study)
        study.effect.rename(study.data / "atlas.nii.gz")
        study.effect.write_bytes(good)
        (study.data / "atlas.tsv").write_bytes(table)
        return ["--atlas", str(study.data / "atlas.nii.gz")]

    return spoil


def ones(numbers, affine):
    return np.ones(numbers.shape, np.int16), affine


def atlas_table(kind):
    def spoil(study):
        options = as_atlas(change(ones))(study)
        replace(study.data / "atlas.tsv", kind)
        return options

    return spoil


def as_table(ending, content):
    """Give an image of one region, and a table of names beside it."""

    def spoil(study):
        numbers, affine = ones(study.image.get_fdata(), study.image.affine)
        nib.save(nib.Nifti1Image(numbers, affine), study.data / "atlas.nii.gz")
        (study.data / f"atlas{ending}").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        return ["--atlas", str(study.data / "atlas.nii.gz")]

    return spoil


def fsl(rows, start="", image=""):
    """A table of names in FSL's XML."""
    head = f"<header><type>Label</type>{image}</header>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{start}<atlas>{head}<data>{rows}</data></atlas>'


ROW = '<label index="1" x="0" y="0" z="0">one</label>'
_TWO = (b">two<", b">{}<")
GIFTI = {
    "nothing is wrong": (lambda p: p, 0),
    **{f"is {kind}": (one, code, "atlas", *words) for kind, (one, code, *words) in SPECIAL.items()},
    "of a billion laughs": (declared(LAUGHS, "&a11;", *_TWO), 65, "atlas", "amplification"),
    "of an entity in a file": (declared(OUTSIDE, "&x;", *_TWO), (0, 65)),
    "nested deeply": (text("<LabelTable", "<MD>" * DEEP + "<LabelTable"), 65, "atlas"),
    "of labels in labels": (text("<LabelTable>", "<LabelTable>" + '<Label Key="8">' * 999), 65),
    "that never ends": (text("</LabelTable>", ""), 65, "atlas"),
    "of a name that is empty": (name(""), 0),
    "of a name of 10 MB": (name("x" * 10**7), 0),
    "of a name with NUL": (name("\0"), 65, "atlas"),
    "of a name with ESC": (name("\x1b[31m"), 65, "atlas"),
    "of a name with an ESC of 8 bits": (name("&#155;31m&#133;"), 0),
    "of a key of 400 digits": (text('Key="2"', f'Key="{"9" * 400}"'), (0, 65)),
    "of a key of words": (text('Key="2"', 'Key="two"'), 65, "atlas"),
    "of no keys": (text('Key="2"', ""), (0, 65)),
    "of a key twice": (text('Key="2"', 'Key="1"'), 0),
    "of no table": (lambda p: p[: p.index(b"<LabelTable")] + p[p.index(b"<DataArray") :], 0),
    "of a color of words": (text('Red="1', 'Red="red'), (0, 65)),
    "of 30,000 labels": (text("</LabelTable>", "<Label Key='9'>x</Label>" * 30_000 + "</LabelTable>"), 0),
    "of damaged numbers": (data(lambda p: p[:-7]), 65, "atlas"),
    "packed, a bomb": (lambda p: gzip.compress(p) + blanks(192), 65, "atlas"),
}  # fmt: skip
CIFTI = {
    "nothing is wrong": (xml(), 0),
    "of a billion laughs": (
        xml(lambda one: LAUGHS.replace("GIFTI", "CIFTI") + one.replace(">one<", ">&a11;<")),
        65,
        "atlas",
    ),
    "of an entity in a file": (xml(lambda one: OUTSIDE + one.replace(">one<", ">&x;<")), (0, 65)),
    "nested deeply": (xml(swap("<LabelTable>", "<MetaData>" * DEEP + "<LabelTable>")), 65, "atlas"),
    "of a name that is empty": (xml(swap(">one<", "><")), 0),
    "of a name of 10 MB": (xml(swap(">one<", f">{'x' * 10**7}<")), 0),
    "of a name with ESC": (xml(swap(">one<", ">\x1b[31m<")), 65, "atlas"),
    "of a key of 400 digits": (xml(swap('Key="1"', f'Key="{"9" * 400}"')), (0, 65)),
    "of a key of words": (xml(swap('Key="1"', 'Key="one"')), 65, "atlas"),
    "of no table": (
        xml(lambda one: one[: one.index("<LabelTable")] + one[one.index("</LabelTable>") + 13 :]),
        65,
        "atlas",
    ),
    "cut short": (lambda p: p[:900], 65, "atlas"),
    "in metres": (xml(swap('MeterExponent="-3"', 'MeterExponent="0"')), 65, "atlas", "10^0 m"),
}
_BLANKS = " " * 100_000
TABLES = {
    "XML: nothing is wrong": (".xml", fsl(ROW), 0),
    "XML of a billion laughs": (
        ".xml", fsl('<label index="1">&a11;</label>', LAUGHS.replace("GIFTI", "atlas")), 65, "atlas.xml",
    ),
    "XML of an entity in a file": (
        ".xml", fsl('<label index="1">&x;</label>', OUTSIDE), (0, 65),
    ),
    "XML nested deeply": (".xml", fsl("<label>" * DEEP + ROW + "</label>" * DEEP), (0, 65)),
    "XML that never ends": (".xml", fsl(ROW)[:-9], 65, "atlas.xml"),
    "XML of an index of 400 digits": (".xml", fsl(f'<label index="{"9" * 400}">x</label>{ROW}'), 0),
    "XML of no labels": (".xml", fsl(""), 65, "atlas.xml"),
    "XML of a name that is empty": (".xml", fsl('<label index="1"/>'), 0),
    "XML of a name with ESC": (".xml", fsl('<label index="1">\x1b[31m</label>'), 65, "atlas.xml"),
    "XML of NUL": (".xml", fsl(ROW).encode() + bytes(1000), 65, "atlas.xml"),
    "XML in UTF-16": (".xml", fsl(ROW).encode("utf-16"), (0, 65)),
    "XML of 10,000 labels": (".xml", fsl(ROW * 10_000), 0),
    "XML of more labels than are read": (".xml", fsl(ROW * 100_000), 65, "bytes"),
    "XML of another name with blanks without end": (
        "_x.xml", f"<atlas><imagefile>{_BLANKS}", 66, "table of region names",
    ),
    "list of a line of 10 MB": (".txt", "1 " + "x" * 10**7, 65, "atlas.txt"),
    "list of a line of 4 MB": (".txt", "1 " + "'x" * 2_000_000, 0),
    "list of a quote that never ends": (".txt", '1 "' + "x y " * 900_000, 0),
    "list of NUL": (".txt", bytes(10**6), 65, "NUL"),
    "list of names with ESC": (".txt", "1 \x1b[31mone\x1b]0;title\x07\n", 0),
    "list of 10^6 lines": (".txt", "1 one\n" * 10**6, 65, "atlas.txt"),
    "list of 10^5 lines": (".txt", "1 'one'\n" * 10**5, 0),
    "AFNI's list of blanks without end": (".niml.lt", f'"1" {_BLANKS}' * 20, (0, 65)),
    "AFNI's list of quotes": (".niml.lt", '"1" "' * 10**6, (0, 65)),
    "CSV of a quote that never ends": (".csv", 'index,name\n1,"' + "x" * 10**6, 65, "atlas.csv"),
    "CSV of 10^6 columns": (".csv", "index,name" + ",x" * 10**6 + "\n1,one", 65, "columns"),
    "TSV of columns twice": (".tsv", "index\tname\tname\tindex\n1\tone\ttwo\t2\n", (0, 65)),
    "TSV of a label that is negative": (".tsv", "index\tname\n-1\tone\n", 65, "atlas.tsv"),
}  # fmt: skip

ATLASES = {
    **{f"labels {kind}": hostile(as_labels(make), *wanted) for kind, (make, *wanted) in GIFTI.items()},
    **{f"dlabel {kind}": hostile(as_dlabel(make), *wanted) for kind, (make, *wanted) in CIFTI.items()},
    **{kind: hostile(as_table(end, content), *wanted) for kind, (end, content, *wanted) in TABLES.items()},
    "atlas is a FIFO": hostile(as_atlas(special("fifo")), 66, "atlas.nii.gz", "not a file"),
    "atlas is a device": hostile(as_atlas(special("/dev/zero")), 66, "atlas.nii.gz", "not a file"),
    "atlas is a bomb": hostile(as_atlas(bomb), 65, "atlas.nii.gz"),
    "atlas of 1.4 GB of zeros": hostile(as_atlas(large), 65, "atlas.nii.gz", "voxels"),
    "atlas of 30000 cubed": hostile(as_atlas(huge(30_000)), 65, "atlas.nii.gz"),
    "atlas with an affine of zeros": hostile(
        as_atlas(content(sform_code=1, srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4)), 65, "affine"
    ),
    "atlas of 1e30": hostile(
        as_atlas(change(lambda n, a: (np.full(n.shape, 1e30, np.float32), a))), 65, "atlas.nii.gz"
    ),
    "atlas of NaN": hostile(
        as_atlas(change(lambda n, a: (np.full(n.shape, np.nan, np.float32), a))), (0, 65)
    ),
    "atlas of halves": hostile(
        as_atlas(change(lambda n, a: (np.full(n.shape, 0.5, np.float32), a))), (0, 65)
    ),
    "atlas whose table is a FIFO": hostile(atlas_table("fifo"), 66, "atlas.tsv", "not a file"),
    "atlas whose table is a device": hostile(atlas_table("/dev/zero"), 66, "atlas.tsv", "not a file"),
    "atlas whose table is a folder": hostile(atlas_table("folder"), 66, "atlas.tsv"),
    "atlas whose table is binary": hostile(as_atlas(change(ones), os.urandom(2000)), 65, "atlas.tsv"),
    "atlas whose table is empty": hostile(as_atlas(change(ones), b""), 65, "atlas.tsv"),
    "atlas whose table has numbers of 400 digits": hostile(
        as_atlas(change(ones), b"index\tname\n" + b"9" * 400 + b"\tone\n"), 65, "atlas.tsv"
    ),
    "atlas whose table has ESC": hostile(
        as_atlas(change(ones), b"index\tna\x1b[31mme\n1\t\x1b[2Jone\n"), (0, 65)
    ),
}
