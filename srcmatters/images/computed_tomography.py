"""CT from DICOM, NIfTI, ITK's formats or a picture: HU or grey values, the usual way round, placed in mm."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from srcmatters.errors import InputError, did_you_mean
from srcmatters.images.declarations import check_declared
from srcmatters.images.dicom_pixels import LOWEST_HU
from srcmatters.images.dicom_series import open_file, open_series
from srcmatters.images.dicom_slices import DicomSlice
from srcmatters.images.hounsfield import (
    GREY,
    check_highest,
    check_hounsfield,
    check_range,
    warn_if_unspecified,
    what_speaks_for_hu,
)
from srcmatters.images.pictures import check_not_constant, read_picture
from srcmatters.images.reading import NIFTI, PICTURES, as_input_error, has_ending, is_dicom
from srcmatters.images.volume_files import check_spacing, open_itk, open_nifti
from srcmatters.images.volumes import Slab, StoredVolume, assemble, check_slab

UNITS = ("HU", "display")
_ACQUISITION = ("ConvolutionKernel", "SliceThickness")


def load_ct(
    path: str | Path,
    unit: str = "HU",
    slab_mm: Slab | None = None,
    *,
    modality: str | None = "CT",
    body_part: str | None = None,
    series: str | None = None,
    gaps: str = "fail",
) -> MetaTensor:
    """Read a CT volume or slice, whatever axes it was acquired or stored in.

    Args:
        path: a DICOM file (one slice, or an enhanced CT with many), the folder of one DICOM series, NIfTI,
            a file that ITK reads (.mha, .nrrd, ...), or a PNG, JPEG or TIFF of one slice. DICOM is
            recognised by its content.
        unit: "HU", or "display" for 8-bit grey values that are no HU: these become [0, 1].
        slab_mm: (low, high) along z, mm: only slices that reach into it are read, half a slice of margin
            included; None reads all.
        modality: what a DICOM file must be; None for any.
        body_part: what a DICOM file must show if it says so, "CHEST" for instance; None or empty for any.
        series: SeriesInstanceUID, where a folder holds several.
        gaps: "fail" where slices are missing, or "warn".

    Returns:
        (1, H, W, D) float32, HU or [0, 1]. H runs from the patient's anterior to posterior, W from the
        patient's right to left, D from inferior to superior, so that [0, :, :, k] is a slice as it is usually
        shown. ``affine`` leads from (H, W, D) indices to RAS+ mm, oblique where the acquisition was.
        ``meta["spacing_known"]`` is False where the file knows no spacing within a slice (a picture, DICOM
        without PixelSpacing, ...): the affine then counts a voxel as 1 mm. ``meta["unit"]`` is the unit,
        ``meta["acquisition"]`` holds ConvolutionKernel and SliceThickness where a DICOM header does.
        In HU there is no value below -1024: what scanners and converters write there is padding.

    Raises:
        InputError: not readable, no CT, incomplete, or not in that unit (DICOM without RescaleSlope or
            RescaleIntercept, or of another RescaleType, is not in HU; one of more than 8 bits whose header
            leads to HU holds no grey values); one line that names the file.
    """
    path = Path(path)
    if unit not in UNITS:
        raise InputError(f"unit: {unit!r} is unknown{did_you_mean(str(unit), UNITS)}")
    slab = check_slab(slab_mm)
    acquisition: dict[str, Any] = {}
    with as_input_error(path, "CT"):
        dicom = path.is_dir() or is_dicom(path)
        if dicom:
            stored, first = (
                open_series(path, series, slab, gaps) if path.is_dir() else open_file(path, slab, gaps)
            )
            check_declared(first.header, first.path, modality, body_part)
            _check_rescale(stored, first, unit)
            acquisition = {name: first.header[name] for name in _ACQUISITION if first.header[name]}
        elif has_ending(path, PICTURES):
            return _load_picture(path, unit, slab)
        else:
            stored = open_nifti(path) if has_ending(path, NIFTI) else open_itk(path)
            check_spacing(path, stored.affine)
        image = assemble(stored, slab)
        _convert(image, stored, unit, dicom)
    image.meta["unit"] = unit
    image.meta["acquisition"] = acquisition
    return image


def _load_picture(path: Path, unit: str, slab: Slab | None) -> MetaTensor:
    if unit != "display":
        raise InputError(
            f"{path}: a picture has no HU, expected DICOM, NIfTI or ITK; pictures need `unit: display`"
        )
    if slab is not None:
        raise InputError(f"{path}: a picture has no position along z, expected no slab_mm")
    image = torch.from_numpy(read_picture(path))[None, :, :, None]
    return MetaTensor(image, meta={"filename_or_obj": str(path), "spacing_known": False, "unit": unit})


def _check_rescale(stored: StoredVolume, first: DicomSlice, unit: str) -> None:
    """Refuse DICOM as HU if its own header says something else, and as grey values if it says HU."""
    if unit != "HU":
        if first.in_hounsfield and (reason := what_speaks_for_hu(first.intercept, first.rescale_type)):
            raise InputError(f"{first.name}: {reason}, expected 8-bit grey values; HU need `unit: HU`")
        return
    if stored.against_hu:
        raise InputError(stored.against_hu)
    warn_if_unspecified(first.name, first.rescale_type)


def _convert(image: MetaTensor, stored: StoredVolume, unit: str, dicom: bool) -> None:
    """Check the values against the unit, and scale grey ones to [0, 1], in place."""
    values = image.as_tensor()
    if unit == "HU" and stored.in_hounsfield:  # whole numbers that the file itself rescales
        low, high = (float(edge) for edge in torch.aminmax(values))
        check_not_constant(stored.path, low, high)
        check_highest(stored.path, high)
        return
    low, high = (float(edge) for edge in torch.aminmax(values))
    whole = low >= 0 and high <= GREY and _whole(values)
    check_range(stored.path, low, high, whole, unit)
    check_not_constant(stored.path, low, high)
    if unit == "HU":
        check_highest(stored.path, high)
        if not dicom:
            check_hounsfield(stored.path, low, high)
            values.clamp_(min=LOWEST_HU)  # as in DICOM: what converters write below is padding
        return
    if high > 1 or whole:
        values.div_(GREY)
    if stored.inverted:
        values.neg_().add_(1)


def _whole(values: torch.Tensor) -> bool:
    """Whether all values are whole numbers, slice by slice to spare memory."""
    return all(bool((part == part.round()).all()) for part in values.unbind(-1))


class LoadCTd(MapTransform):
    """Dictionary form of :func:`load_ct`: replaces the paths under ``keys`` by volumes.

    Args:
        keys: which items are paths.
        unit: "HU" or "display".
        slab_mm: extent along z in mm: of an item with ``x_mm``, ``y_mm`` and ``z_mm`` (LPS, mm) only the slab
            of this extent around z_mm is read; None or 0, and for an item without them: everything.
        modality: see :func:`load_ct`.
        body_part: see :func:`load_ct`.
        gaps: see :func:`load_ct`.
        allow_missing_keys: skip keys that are absent.

    Raises:
        InputError: ``slab_mm`` is negative or no number, and see :func:`load_ct`.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        unit: str = "HU",
        slab_mm: float | None = None,
        modality: str | None = "CT",
        body_part: str | None = None,
        gaps: str = "fail",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if slab_mm is not None and not (isinstance(slab_mm, int | float) and 0 <= slab_mm < math.inf):
            raise InputError(f"slab_mm: got {slab_mm!r}, expected a number of mm; 0: the whole scan")
        self.slab_mm = slab_mm or None
        self.unit = unit
        self.modality = modality
        self.body_part = body_part
        self.gaps = gaps

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the volumes loaded."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = load_ct(
                result[key],
                self.unit,
                self._slab(result),
                modality=self.modality,
                body_part=self.body_part,
                gaps=self.gaps,
            )
        return result

    def _slab(self, data: Mapping[Hashable, Any]) -> tuple[float, float] | None:
        point = [data.get(name) for name in ("x_mm", "y_mm", "z_mm")]
        if self.slab_mm is None or any(value is None or math.isnan(float(value)) for value in point):
            return None
        middle = float(data["z_mm"])
        return middle - self.slab_mm / 2, middle + self.slab_mm / 2
