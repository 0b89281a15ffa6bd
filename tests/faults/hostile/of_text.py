"""Hostile tables (participants, phenotype, maps; text, CSV, workbooks)."""

import io
import os
import zipfile

from tests.faults.hostile.of_maps import replace, special
from tests.faults.hostile.trials import hostile

AGE = ("--formula", "~ age")


def rows(first="age", cells=("43", "36", "58", "51", "21", "28"), people=None):
    people = people or [f"sub-0{number}" for number in range(1, 7)]
    lines = [f"participant_id\t{first}", *(f"{one}\t{cell}" for one, cell in zip(people, cells, strict=True))]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def people(content):
    def spoil(study):
        study.people.write_bytes(content)

    return spoil


def cell(text):
    """The age of sub-03 is something else."""
    return people(rows(cells=["43", "36", text, "51", "21", "28"]))


def more(name, content):
    """A table of ``--phenotype``; ``content`` None: what ``replace`` makes of the name."""

    def spoil(study):
        path = study.data / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            replace(path, content[0])
        return ["--phenotype", str(path), "--formula", "~ dose"]

    return spoil


def workbook(**parts):
    """A workbook of one sheet, whose parts are replaced by name (``_`` for ``/``)."""

    def spoil(study):
        import openpyxl

        book = openpyxl.Workbook()
        for line in rows("dose").decode().splitlines():
            book.active.append(line.split("\t"))
        good = io.BytesIO()
        book.save(good)
        path = study.data / "dose.xlsx"
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                target.writestr(name, parts.pop(name.replace("/", "_").split(".")[0], source.read(name)))
            for name, content in parts.items():
                target.writestr(name, content)
        return ["--phenotype", str(path), "--formula", "~ dose"]

    return spoil


def bomb_book(study):
    """A sheet of 2 GB of blanks between its cells."""
    path = study.data / "dose.xlsx"
    options = workbook()(study)
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in parts.items():
            with target.open(name, "w", force_zip64=True) as stream:
                if "sheet1" in name:
                    start, end = content.split(b"<sheetData>")
                    stream.write(start + b"<sheetData>")
                    for _ in range(2048):
                        stream.write(b" " * 2**20)
                    content = end
                stream.write(content)
    return options


_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><worksheet><sheetData><row><c><v>&j;</v></c></row></sheetData></worksheet>"
)
_NS = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_FAR = (
    b"<worksheet " + _NS + b'><sheetData><row r="1048576"><c r="XFD1048576" t="n"><v>1</v></c></row>'
    b"</sheetData></worksheet>"
)
_WIDE = (
    b"<worksheet "
    + _NS
    + b"><sheetData>"
    + b"".join(b'<row r="%d"><c r="XFD%d" t="n"><v>1</v></c></row>' % (n, n) for n in range(1, 3000))
    + b"</sheetData></worksheet>"
)
_DEEP = b"<worksheet " + _NS + b"><sheetData>" + b"<row>" * 100_000


def maps_table(line=None, header="participant_id\tcontrast\teffect", content=None, name="maps.tsv"):
    """A table of ``--maps`` in which one line is not as others."""

    def spoil(study):
        path = study.data / name
        good = [
            f"sub-0{n}\tc\t{next((study.first / f'sub-0{n}').rglob('*stat-effect*.nii.gz'))}"
            + "\tn/a" * (header.count("\t") - 2)
            for n in (1, 2, 4, 5)
        ]
        effect = str(study.effect)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            replace(path, content)
        else:
            text = "\n".join([header, *good, line.replace("MAP", effect)]) + "\n"
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
        return ["--maps", str(path)]

    return spoil


def named(kind):
    """A line of ``--maps`` that names what is no file."""

    def spoil(study):
        replace(study.data / "odd.nii.gz", kind)
        return maps_table("sub-03\tc\todd.nii.gz")(study)

    return spoil


_DOF = "participant_id\tcontrast\teffect\tdof"
_SCALED = "participant_id\tcontrast\teffect\tvariance\tvariance_scale"
_MASKED = "participant_id\tcontrast\teffect\tmask"

TABLES = {
    "participants.tsv is a FIFO": hostile(special("fifo", "people"), 66, "participants.tsv", "not a file"),
    "participants.tsv is a device": hostile(special("/dev/zero", "people"), 66, "participants.tsv"),
    "participants.tsv is a folder": hostile(special("folder", "people"), 66, "participants.tsv"),
    "participants.tsv links to itself": hostile(special("itself", "people"), 66, "participants.tsv"),
    "participants.tsv is empty": hostile(people(b""), 65, "participants.tsv", options=AGE),
    "participants.tsv has NUL": hostile(people(rows() + b"\0\0"), 65, "participants.tsv", options=AGE),
    "participants.tsv is UTF-16": hostile(people(rows().decode().encode("utf-16")), 65, "iconv", options=AGE),
    "participants.tsv is random": hostile(people(b"\xff" + os.urandom(4000)), 65, "participants.tsv"),
    "participants.tsv is one line of 20 MB": hostile(people(b"participant_id" + b"x" * 20_000_000), (0, 65)),
    "participants.tsv has a cell of 2 MB": hostile(cell("4" * 2_000_000), 65, "age", options=AGE),
    "participants.tsv has 3,000 columns": hostile(
        people(rows("\t".join(f"c{n}" for n in range(3000)), ["\t".join("1" * 3000)] * 6)),
        64,
        "age",
        options=AGE,
    ),
    "participants.tsv has 100,000 people": hostile(
        people(rows(people=[f"sub-{n}" for n in range(10**5)], cells=["3"] * 10**5)), (64, 65), options=AGE
    ),
    "participants.tsv has every person twice": hostile(
        people(rows() + rows().partition(b"\n")[2]), 65, "sub-01", options=AGE
    ),
    "age of 400 digits": hostile(cell("9" * 400), 65, "age", options=AGE),
    "age of 1e999999999": hostile(cell("1e999999999"), 65, "age", options=AGE),
    "age of infinity": hostile(cell("inf"), 65, "age", options=AGE),
    "age of 1e300": hostile(cell("1e300"), (0, 65), options=AGE),
    "age of 1e-320": hostile(cell("1e-320"), (0, 65), options=AGE),
    "age in Arabic digits": hostile(cell("٥٨"), (0, 65), options=AGE),
    "age of ESC": hostile(cell("\x1b[2J\x1b]0;owned\x07"), 65, "age", options=AGE),
    "age of C1 controls": hostile(cell("\x9b2J\x85\u2028"), 65, "age", options=AGE),
    "age that turns the line around": hostile(cell("\u202e58"), 65, "age", options=AGE),
    "age of bytes that are no UTF-8": hostile(cell("\udcff\udcfe"), 65, "participants.tsv", options=AGE),
    "column name of ESC": hostile(people(rows("\x1b[31mage")), 64, "age", options=AGE),
    "column name of 50,000 characters": hostile(people(rows("a" * 50_000)), 64, "age", options=AGE),
    "column of 50,000 characters in the formula": hostile(
        people(rows("a" * 50_000)), (0, 64), options=("--formula", "~ " + "a" * 50_000)
    ),
    "column name of code": hostile(
        people(rows("__class__")), (0, 64, 65), options=("--formula", "~ `__class__`")
    ),
    "column called Intercept": hostile(
        people(rows("Intercept")), (0, 64, 65), options=("--formula", "~ Intercept")
    ),
    "label that leads out": hostile(
        people(rows(people=["../../etc", *(f"sub-0{n}" for n in range(2, 7))])), (0, 65), options=AGE
    ),
    "level names of ESC": hostile(
        people(rows("group", ["\x1b[31ma", "b"] * 3)), (0, 64, 65), options=("--formula", "~ group")
    ),
    "level names of 5,000 characters": hostile(
        people(rows("group", ["a" * 5000, "b"] * 3)), (0, 64), options=("--formula", "~ 0 + group")
    ),
    "level names of slashes": hostile(
        people(rows("group", ["../../a", "b"] * 3)), (0, 64), options=("--formula", "~ group")
    ),
    "phenotype table is a FIFO": hostile(more("dose.tsv", ["fifo"]), 66, "dose.tsv", "not a file"),
    "phenotype table is a device": hostile(more("dose.tsv", ["/dev/zero"]), 66, "dose.tsv", "not a file"),
    "phenotype table is a folder": hostile(more("dose.tsv", ["folder"]), 66, "dose.tsv"),
    "phenotype CSV has quotes that never end": hostile(
        more("dose.csv", b'participant_id,dose\nsub-01,"' + b"x" * 200_000), 65, "dose.csv"
    ),
    "phenotype CSV has a cell of 200,000 characters": hostile(
        more("dose.csv", b"participant_id,dose\nsub-01," + b"x" * 200_000), 65, "dose.csv"
    ),
    "phenotype CSV of CR alone": hostile(more("dose.csv", b"participant_id,dose\rsub-01,1\r"), 65, "dose"),
    "workbook is a FIFO": hostile(more("dose.xlsx", ["fifo"]), 66, "dose.xlsx", "not a file"),
    "workbook is a device": hostile(more("dose.xlsx", ["/dev/zero"]), 66, "dose.xlsx", "not a file"),
    "workbook is text": hostile(more("dose.xlsx", rows("dose")), 65, "dose.xlsx"),
    "workbook with a password": hostile(
        more("dose.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(9000)), 65, "dose.xlsx"
    ),
    "workbook is a bomb": hostile(bomb_book, 65, "dose.xlsx"),
    "workbook of a billion laughs": hostile(workbook(xl_worksheets_sheet1=_LAUGHS), 65, "dose.xlsx"),
    "workbook with a far cell": hostile(workbook(xl_worksheets_sheet1=_FAR), 65, "dose"),
    "workbook with far cells": hostile(workbook(xl_worksheets_sheet1=_WIDE), 65, "dose"),
    "workbook of deep XML": hostile(workbook(xl_worksheets_sheet1=_DEEP), 65, "dose.xlsx"),
    "workbook without a list of sheets": hostile(workbook(xl_workbook=b"<workbook/>"), 65, "dose.xlsx"),
    "workbook with a name that leads out": hostile(workbook(**{"../../owned": b"x"}), 0),
    "table of maps is a FIFO": hostile(maps_table(content="fifo"), 66, "maps.tsv", "not a file"),
    "table of maps is a device": hostile(maps_table(content="/dev/zero"), 66, "maps.tsv", "not a file"),
    "table of maps is a folder": hostile(maps_table(content="folder"), 66, "maps.tsv"),
    "table of maps is random": hostile(maps_table(content=b"\xff" + os.urandom(3000)), 65, "maps.tsv"),
    "table of maps is empty": hostile(maps_table(content=b""), 65, "maps.tsv"),
    "table of maps names a FIFO": hostile(named("fifo"), 66, "odd.nii.gz", "not a file"),
    "table of maps names a device": hostile(named("/dev/zero"), 66, "odd.nii.gz", "not a file"),
    "table of maps names a folder": hostile(named("folder"), 66, "odd.nii.gz", "sub-03", "folder"),
    "table of maps names a link to itself": hostile(named("itself"), 66, "odd.nii.gz"),
    "table of maps names 5,000 characters": hostile(
        maps_table("sub-03\tc\t" + "a" * 5000 + ".nii.gz"), (64, 66), "maps.tsv"
    ),
    "table of maps names ESC": hostile(maps_table("sub-03\tc\t\x1b[2J.nii.gz"), 66, "line 6"),
    "table of maps names 1,000 folders up": hostile(
        maps_table("sub-03\tc\t" + "../" * 1000 + "x.nii.gz"), 66, "maps.tsv"
    ),
    "contrast of 5,000 characters": hostile(maps_table("sub-03\t" + "c" * 5000 + "\tMAP"), (64, 65)),
    "contrast of ESC": hostile(maps_table("sub-03\t\x1b[31mc\tMAP"), (0, 64, 65)),
    "contrast of slashes": hostile(maps_table("sub-03\t../../c\tMAP"), (0, 64, 65)),
    "label of 5,000 characters": hostile(maps_table("sub-" + "a" * 5000 + "\tc\tMAP"), (64, 66), "name"),
    "label with a slash": hostile(maps_table("sub-../a\tc\tMAP"), 64, "../a"),
    "dof of 1e999999999": hostile(maps_table("sub-03\tc\tMAP\t1e999999999", _DOF), 64, "1e999999999"),
    "dof of 400 digits": hostile(maps_table("sub-03\tc\tMAP\t" + "9" * 400, _DOF), 64, "line 6"),
    "dof of infinity": hostile(maps_table("sub-03\tc\tMAP\tinf", _DOF), (64, 65)),
    "dof is a FIFO": hostile(
        lambda s: (replace(s.data / "dof.nii.gz", "fifo"), maps_table("sub-03\tc\tMAP\tdof.nii.gz", _DOF)(s))[
            1
        ],
        66,
        "dof.nii.gz",
    ),
    "own mask is a FIFO": hostile(
        lambda s: (replace(s.data / "m.nii.gz", "fifo"), maps_table("sub-03\tc\tMAP\tm.nii.gz", _MASKED)(s))[
            1
        ],
        66,
        "m.nii.gz",
    ),
    "variance_scale of 1e999999999": hostile(
        maps_table("sub-03\tc\tMAP\tMAP\t1e999999999", _SCALED), 65, "variance_scale"
    ),
}
