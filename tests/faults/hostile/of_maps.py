"""Hostile images: maps, variances, masks and atlases."""

import gzip
import os
import socket
import struct
import zlib

import nibabel as nib
import numpy as np

from tests.faults.hostile.trials import hostile

_GB = 2**30


def header_of(study, **fields):
    """The header of sub-03's map (352 bytes) with fields that no library would write."""
    header = study.image.header.copy()
    header["vox_offset"] = 352
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + b"\0\0\0\0"


def numbers_of(study):
    return np.asarray(study.image.dataobj, np.float32).tobytes(order="F")


def content(**fields):
    def spoil(study):
        study.effect.write_bytes(gzip.compress(header_of(study, **fields) + numbers_of(study)))

    return spoil


def payload(make):
    def spoil(study):
        study.effect.write_bytes(make(study.effect.read_bytes()))

    return spoil


def change(function):
    def spoil(study):
        numbers, affine = function(study.image.get_fdata(), study.image.affine.copy())
        nib.save(nib.Nifti1Image(numbers, affine), study.effect)

    return spoil


def special(kind, where="effect"):
    def spoil(study):
        replace(getattr(study, where), kind)

    return spoil


def replace(path, kind):
    """Put what is no file in the place of one."""
    if path.exists():
        path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()  # noqa: PTH109
        os.chdir(path.parent)  # names of sockets are short
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind("s")
        finally:
            os.chdir(here)
        path.with_name("s").rename(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "itself":
        path.symlink_to(path.name)
    elif kind == "two links":
        path.symlink_to("other")
        path.with_name("other").symlink_to(path.name)
    else:
        path.symlink_to(kind)


def bare(make):
    """Write an uncompressed ``.nii`` in place of the map."""

    def spoil(study):
        image = study.image
        image.get_fdata()
        path = study.effect.with_name(study.effect.name.removesuffix(".gz"))
        study.effect.unlink()
        make(study, path, image)

    return spoil


def sparse(study, path, image):
    """A file with holes that really is as long as its header says: 7 TB on no disk."""
    n = 12_000
    with path.open("wb") as stream:
        stream.write(header_of(study, dim=[3, n, n, n, 1, 1, 1, 1]))
        stream.truncate(352 + 4 * n**3)


def zeros(n_bytes, level=9):
    """A gzip member of zeros, made without holding them."""
    packer, piece, parts = zlib.compressobj(level, wbits=31), bytes(2**20), []
    for _ in range(n_bytes // 2**20):
        parts.append(packer.compress(piece))
    return b"".join([*parts, packer.flush()])


def bomb(study):
    """The header promises 4 kB, and 3 GB of zeros follow."""
    packer, piece = zlib.compressobj(9, wbits=31), bytes(2**20)
    parts = [packer.compress(header_of(study) + numbers_of(study))]
    parts += [packer.compress(piece) for _ in range(3 * 1024)]
    study.effect.write_bytes(b"".join([*parts, packer.flush()]))


def bomb_of_members(study):
    """The same as many members of a gzip file, each with a small length at its end."""
    study.effect.write_bytes(gzip.compress(header_of(study) + numbers_of(study)) + zeros(16 * 2**20) * 192)


def bomb_before_header(study):
    study.effect.write_bytes(zeros(3 * _GB))


def huge(n, file_bytes=1000):
    def spoil(study):
        study.effect.write_bytes(
            gzip.compress(header_of(study, dim=[3, n, n, n, 1, 1, 1, 1]) + os.urandom(file_bytes))
        )

    return spoil


def nifti2(**fields):
    def spoil(study):
        image = nib.Nifti2Image(study.image.get_fdata(dtype=np.float32), study.image.affine)
        header = image.header.copy()
        header["vox_offset"] = 544
        for name, value in fields.items():
            header[name] = value
        study.effect.write_bytes(gzip.compress(header.binaryblock + b"\0\0\0\0" + numbers_of(study)))

    return spoil


def extension(size, code=4, n=1):
    def spoil(study):
        body = struct.pack("<ii", size, code) * n
        header = header_of(study, vox_offset=352 + max(16, len(body)))[:348] + b"\1\0\0\0"
        study.effect.write_bytes(gzip.compress(header + body.ljust(16, b"\0") + numbers_of(study)))

    return spoil


def large(study):
    """The header honestly promises 1.4 GB of zeros, on a grid of its own."""
    n = 700
    start = header_of(study, dim=[3, n, n, n, 1, 1, 1, 1]) + numbers_of(study)
    left = 352 + 4 * n**3 - len(start)
    end = gzip.compress(bytes(left % (16 * 2**20)))
    study.effect.write_bytes(gzip.compress(start) + zeros(16 * 2**20) * (left // (16 * 2**20)) + end)


def analyze(kind):
    """A pair of Analyze whose parts are spoilt."""

    def spoil(study):
        stem = study.effect.name.removesuffix(".nii.gz")
        image = nib.Nifti1Pair(study.image.get_fdata(dtype=np.float32), study.image.affine)
        study.effect.unlink()
        path = study.effect.with_name(f"{stem}.img")
        nib.save(image, path)
        header, mat = path.with_suffix(".hdr"), path.with_suffix(".mat")
        if kind == "fifo":
            replace(header, "fifo")
        elif kind == "data fifo":
            replace(path, "fifo")
        elif kind == "no data":
            path.unlink()
        elif kind == "short data":
            path.write_bytes(b"1234")
        elif kind == "mat":
            mat.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + bytes(range(200)))
        elif kind == "mat of zeros":
            mat.write_bytes(bytes(5000))
        elif kind == "huge":
            header.write_bytes(header_of(study, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])[:348])
        lines = ["participant_id\tcontrast\teffect", f"sub-03\tc\t{path}"]
        lines += [f"sub-0{n}\tc\t{next((study.first / f'sub-0{n}').rglob('*effect*.gz'))}" for n in (1, 2, 4)]
        (study.data / "maps.tsv").write_text("\n".join(lines) + "\n")
        return ["--maps", str(study.data / "maps.tsv")]

    return spoil


def afni(text):
    def spoil(study):
        head = study.data / "stats+tlrc.HEAD"
        head.write_bytes(text)
        (study.data / "stats+tlrc.BRIK").write_bytes(bytes(4096))
        lines = ["participant_id\tcontrast\teffect"]
        lines += [f"sub-0{number}\tc\tstats+tlrc.HEAD" for number in (1,)]
        (study.data / "maps.tsv").write_text("\n".join(lines) + "\n")
        return ["--maps", str(study.data / "maps.tsv")]

    return spoil


_AFNI = b"""
type = integer-attribute
name = DATASET_RANK
count = 2
3 1 0 0 0 0 0 0
"""

FIXES = "sub-03"
MAPS = {
    "map is a FIFO": hostile(special("fifo"), 66, FIXES, "not a file"),
    "map is /dev/zero": hostile(special("/dev/zero"), 66, FIXES, "not a file"),
    "map is /dev/urandom": hostile(special("/dev/urandom"), 66, FIXES, "not a file"),
    "map is /dev/null": hostile(special("/dev/null"), 66, FIXES, "not a file"),
    "map is a socket": hostile(special("socket"), 66, FIXES, "not a file"),
    "map is a folder": hostile(special("folder"), 66, FIXES, "folder"),
    "map is a link to itself": hostile(special("itself"), 66, FIXES),
    "map is one of two links to each other": hostile(special("two links"), 66, FIXES),
    "map is a link that points nowhere": hostile(special("nowhere"), 66, FIXES, "datalad get"),
    "map links to a proc file": hostile(special("/proc/self/environ"), (65, 66), FIXES),
    "map links to a folder of devices": hostile(special("/dev"), 66, FIXES, "folder"),
    "map of no bytes": hostile(payload(lambda _: b""), 65, FIXES),
    "map of one byte": hostile(payload(lambda _: b"\x1f"), 65, FIXES),
    "map cut in the middle": hostile(payload(lambda p: p[: len(p) // 2]), 65, FIXES),
    "map without its last byte": hostile(payload(lambda p: p[:-1]), 65, FIXES),
    "map with a wrong checksum": hostile(payload(lambda p: p[:-8] + bytes(4) + p[-4:]), 65, FIXES),
    "map with a wrong length": hostile(payload(lambda p: p[:-4] + b"\xff\xff\xff\x7f"), 65, FIXES),
    "map with garbage behind it": hostile(payload(lambda p: p + b"garbage"), 65, FIXES),
    "map with zeros behind it": hostile(payload(lambda p: p + bytes(1000)), 0),
    "map in two members": hostile(
        payload(lambda p: gzip.compress(gzip.decompress(p)[:700]) + gzip.compress(gzip.decompress(p)[700:])),
        0,
    ),
    "map behind ten thousand empty members": hostile(
        payload(lambda p: gzip.compress(b"") * 10_000 + p), (0, 65)
    ),
    "map packed twice": hostile(payload(gzip.compress), 65, FIXES),
    "map whose gzip name never ends": hostile(
        payload(lambda _: b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 10**6), 65, FIXES
    ),
    "map whose gzip name is long": hostile(
        payload(lambda p: p[:3] + b"\x08" + p[4:10] + b"n" * 50_000 + b"\0" + p[10:]), 0
    ),
    "map is text": hostile(payload(lambda _: b"hello"), 65, FIXES),
    "map is a web page": hostile(payload(lambda _: b"<!DOCTYPE html><html>" + b" " * 999), 65, FIXES),
    "map is a picture": hostile(payload(lambda _: b"\x89PNG\r\n\x1a\n" + bytes(999)), 65, FIXES),
    "map is a pointer of git-annex": hostile(
        payload(lambda _: b"/annex/objects/MD5E-s1--0.nii.gz\n"), 66, FIXES, "datalad get"
    ),
    "map is a pointer of Git LFS": hostile(
        payload(lambda _: b"version https://git-lfs.github.com/spec/v1\n"), 66, FIXES, "git lfs"
    ),
    "map is a bomb": hostile(bomb, 65, FIXES, "more"),
    "map is a bomb of many members": hostile(bomb_of_members, 65, FIXES),
    "map is a bomb of zeros": hostile(bomb_before_header, 65, FIXES),
    "map of 30000 cubed": hostile(huge(30_000), 65, FIXES, "promises"),
    "map of 30000 cubed, of a megabyte": hostile(huge(30_000, 10**6), 65, FIXES, "promises"),
    "map of 1500 cubed": hostile(huge(1500), 65, FIXES, "promises"),
    "map with holes, of 7 TB": hostile(bare(sparse), 65, FIXES, "memory"),
    "map whose numbers start at 1e30": hostile(content(vox_offset=1e30), 65, FIXES),
    "map whose numbers start at 1e9": hostile(content(vox_offset=1e9), 65, FIXES),
    "map whose numbers start at NaN": hostile(content(vox_offset=np.nan), 65, FIXES),
    "map whose numbers start at infinity": hostile(content(vox_offset=np.inf), 65, FIXES),
    "map whose numbers start before it": hostile(content(vox_offset=-1000), 65, FIXES),
    "map whose numbers start in its header": hostile(content(vox_offset=100), (0, 65)),
    "map without axes": hostile(content(dim=[0, 1, 1, 1, 1, 1, 1, 1]), 65, FIXES),
    "map of eight axes": hostile(content(dim=[8, 10, 10, 10, 1, 1, 1, 1]), 65, FIXES),
    "map of a negative number of axes": hostile(content(dim=[-3, 10, 10, 10, 1, 1, 1, 1]), 65, FIXES),
    "map of negative size": hostile(content(dim=[3, -10, 10, 10, 1, 1, 1, 1]), 65, FIXES),
    "map of no voxels": hostile(content(dim=[3, 0, 10, 10, 1, 1, 1, 1]), 65, FIXES),
    "map of one axis": hostile(content(dim=[1, 5, 1, 1, 1, 1, 1, 1]), 65, FIXES),
    "map of seven axes of one": hostile(content(dim=[7, 1, 1, 1, 1, 1, 1, 1]), 65, FIXES),
    "map of an unknown type": hostile(content(datatype=999), 65, FIXES),
    "map of type 0": hostile(content(datatype=0), 65, FIXES),
    "map of bits": hostile(content(datatype=1, bitpix=1), 65, FIXES),
    "map of complex numbers": hostile(
        content(datatype=32, bitpix=64, dim=[3, 5, 5, 5, 1, 1, 1, 1]), 65, FIXES
    ),
    "map of colours": hostile(content(datatype=128, bitpix=24), 65, FIXES),
    "map whose bits are another number": hostile(content(bitpix=8), 0),
    "map with a slope of NaN": hostile(content(scl_slope=np.nan, scl_inter=0), (0, 65)),
    "map with a slope of infinity": hostile(content(scl_slope=np.inf, scl_inter=0), (0, 65)),
    "map with a slope of 3e38": hostile(content(scl_slope=3e38, scl_inter=0), 65, FIXES),
    "map with an intercept of NaN": hostile(content(scl_slope=1, scl_inter=np.nan), 65, FIXES),
    "map with an affine of zeros": hostile(
        content(sform_code=1, srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4), 65, FIXES, "affine"
    ),
    "map with a flat affine": hostile(
        content(sform_code=1, srow_x=[1, 0, 0, 0], srow_y=[2, 0, 0, 0], srow_z=[0, 0, 1, 0]), 65, "affine"
    ),
    "map with an affine of NaN": hostile(content(sform_code=1, srow_x=[np.nan] * 4), 65, FIXES, "affine"),
    "map with an affine of infinity": hostile(
        content(sform_code=1, srow_y=[np.inf] * 4), 65, FIXES, "affine"
    ),
    "map with an affine of 1e30": hostile(content(sform_code=1, srow_z=[0, 0, 1e30, 0]), 65, FIXES),
    "map with voxels of no size": hostile(
        content(sform_code=0, qform_code=1, pixdim=[1, 0, 0, 0, 1, 1, 1, 1]), 65, FIXES
    ),
    "map with voxels of NaN": hostile(
        content(sform_code=0, qform_code=1, pixdim=[1, np.nan, 2, 2, 1, 1, 1, 1]), 65, FIXES
    ),
    "map with a rotation of NaN": hostile(content(sform_code=0, qform_code=1, quatern_b=np.nan), 65, FIXES),
    "map with a rotation beyond one": hostile(content(sform_code=0, qform_code=1, quatern_b=9), 65, FIXES),
    "map with a wrong mark": hostile(content(magic=b"n+9"), 65, FIXES),
    "map with a header of another size": hostile(content(sizeof_hdr=7), (0, 65)),
    "map of many volumes": hostile(content(dim=[4, 5, 5, 5, 8, 1, 1, 1]), 0, "several volumes"),
    "map with ESC in its description": hostile(content(descrip=b"\x1b[2J\x1b]0;owned\x07spmT_0001"), 0),
    "map that is a z map by ESC": hostile(content(intent_code=5, descrip=b"\x1b[31mSPM{Z_[1]}"), 65, FIXES),
    "map of NIfTI-2 of 2^62": hostile(nifti2(dim=[3, 2**62, 1, 1, 1, 1, 1, 1]), 65, FIXES),
    "map of NIfTI-2 of 2^40 volumes": hostile(nifti2(dim=[4, 10, 10, 10, 2**40, 1, 1, 1]), 65, FIXES),
    "map of NIfTI-2 whose numbers start at 2^62": hostile(nifti2(vox_offset=2**62), 65, FIXES),
    "map of NIfTI-2 whose numbers start before it": hostile(nifti2(vox_offset=-(2**62)), 65, FIXES),
    "map that is CIFTI": hostile(nifti2(intent_code=3006), (64, 65), FIXES),
    "extension of 2 GB": hostile(extension(2**31 - 16), (0, 65)),
    "extension of negative size": hostile(extension(-16), (0, 65)),
    "extension of no size": hostile(extension(0), (0, 65)),
    "extension of odd size": hostile(extension(17), (0, 65)),
    "map of NaN": hostile(change(lambda n, a: (np.full(n.shape, np.nan, np.float32), a)), 65, FIXES),
    "map of infinity": hostile(change(lambda n, a: (np.full(n.shape, np.inf, np.float32), a)), 65, FIXES),
    "map of 1.4 GB of zeros, on another grid": hostile(large, 65, FIXES, "grid"),
    "map of zeros": hostile(change(lambda n, a: (np.zeros(n.shape, np.float32), a)), 65, FIXES),
    "map of 1e300": hostile(change(lambda n, a: (n * 1e300, a)), 65, FIXES),
    "map of 1e-300": hostile(change(lambda n, a: ((n + 1) * 1e-300, a)), 65, FIXES),
    "map of 3e38": hostile(change(lambda n, a: (np.sign(n + 1e-9).astype(np.float32) * 3e38, a)), (0, 65)),
    "map of 1e-44": hostile(change(lambda n, a: (np.full(n.shape, 1e-44, np.float32), a)), (0, 65)),
    "map of another shape": hostile(change(lambda n, a: (n[1:].astype(np.float32), a)), 65, FIXES),
    "variance is a FIFO": hostile(special("fifo", "variance"), 66, "sub-03", "not a file"),
    "variance is a device": hostile(special("/dev/zero", "variance"), 66, "sub-03", "not a file"),
    "variance is a folder": hostile(special("folder", "variance"), 66, "sub-03", "folder"),
    "variance is text": hostile(lambda s: s.variance.write_text("none") and None, 65, "sub-03"),
    **{
        f"pair: {kind}": hostile(analyze(kind), code, "sub-03")
        for kind, code in {
            "fifo": 66,
            "data fifo": 66,
            "no data": 66,
            "short data": 65,
            "mat": (0, 65),
            "mat of zeros": (0, 65),
            "huge": 65,
        }.items()
    },
    "AFNI header of no attributes": hostile(afni(b""), 65, "stats+tlrc.HEAD"),
    "AFNI header of garbage": hostile(afni(os.urandom(3000)), 65, "stats+tlrc.HEAD"),
    "AFNI header cut short": hostile(afni(_AFNI), 65, "stats+tlrc.HEAD"),
    "AFNI header of a huge count": hostile(
        afni(_AFNI.replace(b"count = 2", b"count = 999999999999")), 65, "stats+tlrc.HEAD"
    ),
    "AFNI header of words for numbers": hostile(afni(_AFNI.replace(b"3 1", b"a b")), 65, "stats+tlrc.HEAD"),
    "AFNI header of one line of a megabyte": hostile(afni(b"x" * 10**6), 65, "stats+tlrc.HEAD"),
    "map in metres": hostile(content(xyzt_units=1), (0, 65)),
    "map in metres, voxels of 16 mm": hostile(
        content(
            xyzt_units=1,
            sform_code=1,
            srow_x=[0.016, 0, 0, 0],
            srow_y=[0, 0.016, 0, 0],
            srow_z=[0, 0, 0.016, 0],
        ),
        65,
        "sub-03",
        "metres",
        "xyzt_units",
    ),
    "map in micrometres": hostile(content(xyzt_units=3 + 16), 65, "sub-03", "micrometres"),
    "map of an unknown unit": hostile(content(xyzt_units=255), 0),
}
