"""One map, read once: its header, or its numbers, its grid and the hash of its bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy
from nibabel.brikhead import AFNIHeader, AFNIImage
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from bids_group.elements.compression import inflate
from bids_group.elements.file_content import DAMAGED, NIFTI2_SIZES, check_promise, read_bytes, read_start
from bids_group.elements.image_files import FORMATS, ImageFiles, form_of, locate
from bids_group.elements.loaded import LoadedMap, MapHeader, hash_bytes, narrowed
from bids_group.elements.space import Grid, Space
from bids_group.elements.sub_bricks import find_volume, labels_of, read_nifti_labels, statistic_of
from bids_group.errors import DataError, UsageError


def read_header(path: Path) -> MapHeader:
    """Read the header of an image alone: of a compressed file, its beginning.

    Raises
    ------
    MissingInputError, UsageError, DataError
        As `read_map`, as far as a header tells.
    """
    files = locate(path)
    if form_of(files.header.name) != "volume":
        from bids_group.elements.structured import read_structured_header

        with _telling_damage(path):
            return read_structured_header(path, files)
    checksum = size = None
    is_one_file = files.data is files.header
    with _telling_damage(path):
        if is_one_file:
            start, checksum, size = read_start(files.header)
        else:
            start = inflate(read_bytes(files.header), _LONGEST_HEADER)
        kind = _image_class(files, start)
        if is_one_file and files.volume is None:
            said = _interpret_start(kind, start[: kind.header_class.template_dtype.itemsize])
        else:
            said = _interpret(*_parse_header(files, start), files)
    _check_affine(path, said["space"])
    _check_unit(path, _unit_of(kind, start), said["space"])
    check_promise(files, said["n_bytes"], size=size, is_packed=checksum is not None)
    return MapHeader(path=path, files=files, checksum=checksum, **said)


@lru_cache(maxsize=1000)
def _interpret_start(kind: Any, start: bytes) -> Mapping[str, Any]:
    """Interpret a NIfTI header; the maps of a dataset often have the same, which is read and checked once."""
    if len(start) < kind.header_class.template_dtype.itemsize:
        raise EOFError("the header is cut short")
    header = kind.header_class(start)
    return _interpret(header, header.get_best_affine())


def _interpret(
    header: Any, affine: npt.NDArray[np.float64], files: ImageFiles | None = None
) -> Mapping[str, Any]:
    """Say in the fields of `MapHeader` what a header says, of the volume that ``files`` name."""
    stored = tuple(int(size) for size in header.get_data_shape())
    if not stored or min(stored) < 1:
        raise ValueError(f"its header says that it has {' × '.join(map(str, stored)) or 'no'} voxels")
    shape = _trimmed(stored)
    labels = labels_of(files, header)
    volume = None if files is None else find_volume(files, shape, labels)
    shape = shape if volume is None else shape[:3]
    code, texts = statistic_of(header, volume, labels)
    return {
        "space": _grid((shape[0], shape[1], shape[2]), np.asarray(affine, dtype=np.float64).tobytes()),
        "shape": shape,
        "statistic": code,
        "texts": texts,
        "labels": labels,
        "is_integer": header.get_data_dtype().kind in "iu",
        "n_bytes": header.get_data_offset() + math.prod(stored) * header.get_data_dtype().itemsize,
    }


@lru_cache(maxsize=1000)
def _grid(shape: tuple[int, int, int], affine: bytes) -> Grid:
    """Give all maps on a grid the same record: whether they lie on one is seen at once then."""
    return Grid(shape=shape, affine=np.frombuffer(affine).reshape(4, 4).copy())


def read_map(path: Path) -> LoadedMap:
    """Read an image from its bytes, once; of several volumes the one that is named (`locate`).

    Trailing axes of length one are dropped. NaN and infinities are kept as they are. The hash is that of all
    files of the image, one behind the other.

    Raises
    ------
    MissingInputError
        The file is not there (a link that points nowhere is named with ``datalad get``).
    UsageError
        It is a CIFTI file that is not called so, a surface, or it holds labels or a series.
    DataError
        The file is truncated or has no format that is read, is bare Analyze, has no such volume, promises
        more than can be in it or in the machine's memory, has an affine that is none, or holds a number that
        float32 does not (beyond 3.4e38, or not 0 and below 1.4e-45): as infinity or 0 it would count as not
        observed.
    """
    files = locate(path)
    if form_of(files.header.name) != "volume":
        from bids_group.elements.structured import read_structured

        with _telling_damage(path):
            found = read_structured(path, files)
        return found.load()
    header = read_header(path)
    payloads = [read_bytes(one) for one in files.all]
    with _telling_damage(path, f"{sum(map(len, payloads))} bytes; "):
        parts = [inflate(one, max(header.n_bytes, _LONGEST_HEADER)) for one in payloads]
        image = _open(files, parts)
        shape = _trimmed(image.shape)
        volume = find_volume(files, shape, labels_of(files, image.header))
        numbers = _in_place(image.dataobj, parts[0]) if len(parts) == 1 else image.dataobj
        if volume is not None and len(image.shape) > 3:
            numbers = numbers[(..., *map(int, np.unravel_index(volume, image.shape[3:], order="F")))]
        data = _zero_restored(image.dataobj, narrowed(np.asarray(numbers), path))
    data = data.reshape(shape if volume is None else shape[:3])
    grid = _grid(data.shape[:3], np.asarray(image.affine, dtype=np.float64).tobytes())
    return LoadedMap(path=path, space=grid, data=np.asfortranarray(data), sha256=hash_bytes(payloads))


@contextmanager
def _telling_damage(path: Path, size: str = "") -> Iterator[None]:
    """Make a `DataError` of what goes wrong where a file is read."""
    try:
        yield
    except _UNREADABLE as error:
        raise DataError(
            f"The image {path} cannot be read.",
            found=f"{size}{str(error) or type(error).__name__}",
            expected=f"a whole image: {FORMATS}",
            fix="Copy or compute the file again.",
        ) from error


def hash_map(path: Path) -> str:
    """Hash the bytes of a map file as `read_map` does, without looking at the numbers."""
    return hash_bytes([read_bytes(one) for one in locate(path).all])


def _check_affine(path: Path, grid: Space) -> None:
    """Refuse an affine that is not finite, has no inverse, or gives voxels of an impossible size."""
    if not grid.grid.is_sound:
        affine = grid.grid.affine
        rows = "; ".join(" ".join(f"{value:.4g}" for value in row) for row in affine[:3])
        raise DataError(
            f"The affine of the image {path} places no voxels.",
            found=rows,
            expected="finite numbers, and three directions of which none lies in the plane of the others",
            fix="Write the affine of the image that it was made from into its header.",
        )


def _unit_of(kind: Any, start: bytes) -> int:
    """Read the code of the unit of length from a NIfTI header: 1 m, 2 mm, 3 µm; 0 where nothing says it."""
    if kind is AFNIImage or "xyzt_units" not in kind.header_class.template_dtype.names:
        return 0
    if start[:4] in NIFTI2_SIZES:
        return int.from_bytes(start[500:504], "little" if start[0] else "big") % 8
    return start[123] % 8


def _check_unit(path: Path, unit: int, grid: Space) -> None:
    """Refuse lengths in metres and micrometres; voxels of 10 cm and more are of mm, whatever is said."""
    if unit not in _UNITS:
        return
    sizes = np.linalg.norm(grid.grid.affine[:3, :3], axis=0)
    if _UNITS[unit] == "metres" and sizes.max() > _LARGEST_M:
        return
    raise DataError(
        f"The affine of the image {path} is not in mm, as its header says.",
        found=f"voxels of {' × '.join(f'{size:.4g}' for size in sizes)} {_UNITS[unit]} (xyzt_units)",
        expected="mm, in which distances, volumes and coordinates are told",
        fix="Write the affine in mm, and xyzt_units 2 (mm); if it is in mm already, xyzt_units alone.",
    )


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop trailing axes of length one; at least three axes."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape + (1,) * (3 - len(shape))


# --------------------------------------------------------------------------------------------
# Formats


def _image_class(files: ImageFiles, start: bytes) -> Any:
    """Choose nibabel's class; refuse CIFTI, and Analyze without SPM's affine."""
    is_single = files.data is files.header
    if files.is_afni:
        return AFNIImage
    if start[:4] in NIFTI2_SIZES:
        code = int.from_bytes(start[504:508], "little" if start[0] else "big")
        if code // 100 == _CIFTI_INTENTS:
            raise UsageError(
                f"{files.header} is a CIFTI file, and its name does not say so.",
                expected="a name that ends in .dscalar.nii or .pscalar.nii",
                fix="Rename the file.",
            )
        return nib.Nifti2Image if is_single else nib.Nifti2Pair
    if is_single:
        return nib.Nifti1Image
    if start[344:347] in (b"ni1", b"n+1"):
        return nib.Nifti1Pair
    if files.mat is None:
        raise DataError(
            f"{files.header} is an Analyze image without an affine: its left and right would be a guess.",
            found=f"neither NIfTI's mark in the header nor {files.header.with_suffix('.mat').name} beside it",
            expected=FORMATS,
            fix="Put SPM's .mat beside it, or convert it to NIfTI with a program that knows its orientation.",
        )
    return nib.Spm2AnalyzeImage


def _parse_header(files: ImageFiles, start: bytes) -> tuple[Any, npt.NDArray[np.float64]]:
    """Header and affine, as the image of them has it."""
    kind = _image_class(files, start)
    if files.is_afni:
        header = AFNIHeader.from_fileobj(StringIO(start.decode("latin-1")))
        return header, header.get_affine()
    size = kind.header_class.template_dtype.itemsize
    if len(start) < size:
        raise EOFError("the header is cut short")
    if files.mat is None:
        header = kind.header_class(start[:size])
        return header, header.get_best_affine()
    image = _open(files, [start, b"", read_bytes(files.mat)])
    return image.header, image.affine


def _open(files: ImageFiles, parts: Sequence[bytes]) -> Any:
    """Make nibabel's image of the bytes of its files; of one file perhaps without its numbers."""
    kind = _image_class(files, parts[0])
    if len(parts) == 1:
        size = kind.header_class.template_dtype.itemsize
        is_bare = parts[0][size : size + 1] in (b"", b"\0")  # no extensions of the header
        return _open_start(kind, parts[0][:size]) if is_bare else kind.from_bytes(parts[0])
    header = StringIO(parts[0].decode("latin-1")) if files.is_afni else BytesIO(parts[0])
    holders = {"header": FileHolder(fileobj=header), "image": FileHolder(fileobj=BytesIO(parts[1]))}
    if files.mat is None:
        return kind.from_file_map(holders)
    if kind is nib.Spm2AnalyzeImage:
        return kind.from_file_map({**holders, "mat": FileHolder(fileobj=BytesIO(parts[2]))})
    image = kind.from_file_map(holders)
    _check_affines(files, image.affine, parts[2])
    return image


@lru_cache(maxsize=100)
def _open_start(kind: Any, start: bytes) -> Any:
    """Make an image of its header alone, which is checked once for all maps of a dataset that have it."""
    return kind.from_bytes(start)


def _check_affines(files: ImageFiles, affine: npt.NDArray[np.float64], mat: bytes) -> None:
    """Refuse a NIfTI pair whose ``.mat``, which SPM would follow, says another affine."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        stored = loadmat(BytesIO(mat))
    except MatReadError as error:
        raise ValueError(f"{files.mat}: {error}") from error
    from_1 = np.eye(4)
    from_1[:3, 3] = 1
    theirs = np.array(stored.get("mat", stored.get("M")), dtype=np.float64).reshape(4, 4, -1)[..., 0] @ from_1
    if not np.allclose(theirs, affine, rtol=0, atol=1e-3):
        raise DataError(
            f"{files.header} and {files.mat} say different affines.",
            found=f"up to {np.abs(theirs - affine).max():.3g} apart",
            expected="one affine",
            fix="Write the right one into the header (spm_get_space), and remove the .mat.",
        )


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of the sub-bricks of a file, in their order; none where it has none."""
    return read_header(path).labels or read_nifti_labels(locate(path).header)


def _in_place(stored: Any, content: bytes) -> Any:
    """View of the numbers in the bytes of the file, without a copy; scaled numbers are left to nibabel."""
    end = stored.offset + stored.dtype.itemsize * int(np.prod(stored.shape))
    if (stored.slope, stored.inter) != (1, 0) or end > len(content):
        said = stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter
        return ArrayProxy(BytesIO(content), said)
    return np.ndarray(stored.shape, stored.dtype, buffer=content, offset=stored.offset, order="F")


def _zero_restored(stored: Any, data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Set to exactly 0 what a scale with an intercept has left next to 0.

    Exact zeros mark elements outside the brain.
    """
    slope, intercept = getattr(stored, "slope", 1), getattr(stored, "inter", 0)
    if stored.dtype.kind not in "iu" or not np.isscalar(intercept) or intercept == 0:
        return data
    return np.where(np.abs(data) < 1e-2 * abs(slope), np.float32(0), data)


_UNREADABLE = (*DAMAGED, ImageFileError, HeaderDataError, WrapStructError)
_UNITS = {1: "metres", 3: "micrometres"}
_LARGEST_M = 0.1
_LONGEST_HEADER = 2**24
"""Bytes of a header with its extensions."""
_CIFTI_INTENTS = 30
"""Hundreds of the intent codes that CIFTI files have."""
