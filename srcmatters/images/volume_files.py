"""Volumes in NIfTI and in whatever ITK reads, with the axes as the file stores them."""

from __future__ import annotations

import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from srcmatters.errors import InputError
from srcmatters.images.orientation import LPS_TO_RAS
from srcmatters.images.reading import has_ending
from srcmatters.images.volumes import Crop, StoredVolume

_META, _NRRD = (b"ElementSpacing", b"ElementSize"), (b"spacings:", b"space directions:")
_SPACING_FIELDS = {".mha": _META, ".mhd": _META, ".nrrd": _NRRD, ".nhdr": _NRRD}
#: By their endings: by the content ITK would read HDF5 in any of them, which may name other files.
_READERS = {
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mgh": "MGHImageIO",
    ".mgz": "MGHImageIO",
    ".gipl": "GiplImageIO",
    ".vtk": "VTKImageIO",
    ".hdr": "NiftiImageIO",
    ".img": "NiftiImageIO",
}
#: Units of length that NIfTI knows, in mm; where it says nothing, mm is what everybody means.
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_SMALLEST_MM, _LARGEST_MM = 0.005, 60.0
_TEXT_HEADER = 4096  # bytes of a file in which such a field is looked for


def open_nifti(path: Path) -> StoredVolume:
    """A NIfTI volume (x, y, z); its planes are read one after the other, when they are asked for.

    Raises:
        InputError: not three-dimensional, or not of real numbers.
    """
    # An open file makes going forward in a compressed one cheap.
    image: Any = nibabel.load(path, keep_file_open=True)
    if not isinstance(image, nibabel.Nifti1Image):
        raise InputError(f"{path}: {type(image).__name__}, expected NIfTI")
    _check_real(path, image.get_data_dtype())
    shape = _three_dimensional(path, image.shape)
    placed = bool(image.header["qform_code"] or image.header["sform_code"])
    if not placed:
        warnings.warn(f"{path}: qform_code and sform_code are 0, so left and right are a guess", stacklevel=2)
    fill = partial(_fill_from_proxy, image)
    affine = nifti_affine(path, image)
    return StoredVolume(path, shape, affine, fill, spacing_known=nifti_knows_spacing(image.header))


def nifti_affine(path: Path, image: Any) -> np.ndarray:
    """(4, 4) from the stored indices of a NIfTI image to RAS+ mm, whatever unit the file is in.

    Raises:
        InputError: the steps of its sform are not those of pixdim.
    """
    unit = image.header.get_xyzt_units()[0]
    affine = np.array(image.affine, dtype=np.float64)
    if image.header["sform_code"]:
        axes = min(3, len(image.shape))
        steps = np.linalg.norm(affine[:3, :axes], axis=0)
        zooms = np.array(image.header.get_zooms()[:axes], dtype=np.float64)
        if not np.allclose(steps, zooms, rtol=0.01, atol=1e-6):
            raise InputError(
                f"{path}: its sform has steps of {_listed(steps)} and its pixdim of {_listed(zooms)},"
                " expected the same: which one is right only its maker knows"
            )
    affine[:3] *= _MILLIMETRES.get(unit, 1.0)
    return affine


def check_spacing(path: Path, affine: np.ndarray) -> None:
    """Refuse voxels that no scanner has, which are those of another unit.

    Args:
        path: named in the message.
        affine: (4, 4), from indices to mm.

    Raises:
        InputError: a step below .005 mm or above 60 mm.
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if (steps < _SMALLEST_MM).any() or (steps > _LARGEST_MM).any():
        raise InputError(
            f"{path}: steps of {_listed(steps)} mm, expected {_SMALLEST_MM:g} to {_LARGEST_MM:g} mm; is its"
            " unit (xyzt_units, spacing) another?"
        )


def _listed(steps: np.ndarray) -> str:
    return " x ".join(f"{step:g}" for step in steps)


def nifti_knows_spacing(header: Any) -> bool:
    """Whether a NIfTI header says the spacing: 1 mm is also what is written where nobody knows."""
    placed = bool(header["qform_code"] or header["sform_code"])
    return placed or any(float(step) != 1 for step in header.get_zooms()[:3])


def _fill_from_proxy(image: Any, out: np.ndarray, planes: range, crop: Crop) -> None:
    rest = (0,) * max(len(image.shape) - 3, 0)
    for at, plane in enumerate(planes):
        where = (slice(None), slice(None), plane, *rest)
        out[:, :, at] = np.asarray(image.dataobj[where[: len(image.shape)]])[crop]


def open_itk(path: Path) -> StoredVolume:
    """A volume that ITK reads (x, y, z).

    Raises:
        InputError: not two- or three-dimensional, or not grey.
    """
    array, affine = read_itk(path)
    shape, fill = _three_dimensional(path, array.shape), partial(_fill_from_array, array)
    return StoredVolume(path, shape, affine, fill, spacing_known=itk_knows_spacing(path, affine))


def itk_knows_spacing(path: Path, affine: np.ndarray) -> bool:
    """Whether a file of ITK says the spacing: ITK makes 1 mm of none.

    Args:
        path: the file.
        affine: as :func:`read_itk` returns it.
    """
    return not np.array_equal(np.abs(affine), np.eye(4)) or _names_spacing(path)


def _names_spacing(path: Path) -> bool:
    """Whether a header in text has a field of spacing; other formats always have one.

    ITK reports 1 mm where there is none.
    """
    if not has_ending(path, tuple(_SPACING_FIELDS)):
        return True
    with path.open("rb") as file:
        start = file.read(_TEXT_HEADER)
    return any(field in start for field in _SPACING_FIELDS[path.suffix.lower()])


def _fill_from_array(array: np.ndarray, out: np.ndarray, planes: range, crop: Crop) -> None:
    whole = array.reshape((*array.shape[:2], -1))
    out[...] = whole[(*crop, slice(planes.start, planes.stop))]


@cache
def load_itk() -> None:
    """Load what reads volumes of ITK, which takes seconds; again it takes none."""
    import itk  # its parts are loaded when they are asked for

    for reader in ("ImageFileReader", *_READERS.values()):
        getattr(itk, reader, None)


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Stored values (x, y[, z]) and the affine (4, 4) from their indices to RAS+ mm, of any grey ITK file.

    Raises:
        InputError: several components per pixel.
    """
    import itk  # takes a second, and few need it

    reader = _READERS.get(path.suffix.lower())
    if reader and not hasattr(itk, reader):
        raise InputError(f"{path}: the installed ITK has no {reader}, expected another format")
    image = itk.imread(str(path), imageio=getattr(itk, reader).New() if reader else None)
    components = image.GetNumberOfComponentsPerPixel()
    if components != 1:
        raise InputError(f"{path}: {components} components per pixel, expected 1 (grey)")
    # ITK's own index runs x, y, z; its arrays are the other way round.
    array = itk.array_view_from_image(image).T
    dims = array.ndim
    affine = np.eye(4)
    direction = itk.array_from_matrix(image.GetDirection())
    if dims in (2, 3):
        affine[:dims, :dims] = direction * np.array(image.GetSpacing())
        affine[:dims, 3] = np.array(image.GetOrigin())
    return array, LPS_TO_RAS @ affine


def _check_real(path: Path, dtype: np.dtype) -> None:
    if dtype.kind not in "iuf":
        raise InputError(f"{path}: pixels of type {dtype}, expected real numbers")


def _three_dimensional(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape with three axes; those of length 1 behind them do not count."""
    first = (*shape, 1)[:3]
    if len(shape) < 2 or any(length != 1 for length in shape[3:]) or 0 in shape:
        raise InputError(f"{path}: shape {tuple(shape)}, expected a volume of three dimensions")
    return int(first[0]), int(first[1]), int(first[2])
