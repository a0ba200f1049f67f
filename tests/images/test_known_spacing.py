"""Loaders say whether a file knows its pixel spacing: an affine of 1 mm may be known, or a guess."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from ct_files import volume, write_nifti, write_series
from PIL import Image
from pydicom import Dataset
from radiograph_files import write_dicom

from srcmatters.confounders import KernelChange
from srcmatters.deployment.prediction.decoding_tasks import Recipe, prepare
from srcmatters.errors import InputError
from srcmatters.images import load_radiograph
from srcmatters.images.pixel_spacing import known_spacing
from srcmatters.preprocessing import ResamplePatchd

PIXELS = (np.arange(24)[:, None] * 5 + np.arange(20)).astype(np.uint8)
RADIOGRAPH = Recipe("radiograph", "", 16)


def write_nrrd(path: Path, spacing: str) -> Path:
    fields = "type: uchar\ndimension: 2\nsizes: 20 24\nencoding: raw\n"
    path.write_bytes(f"NRRD0004\n{fields}{spacing}\n".encode() + PIXELS.tobytes())
    return path


def write_itk(path: Path) -> Path:
    itk.imwrite(itk.image_from_array(PIXELS), str(path))
    return path


def write_picture(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path)
    return path


def write_plane(path: Path, affine: np.ndarray | None, step: float = 1) -> Path:
    image = nibabel.Nifti1Image(PIXELS.T, affine)
    image.header.set_zooms((step, step))
    nibabel.save(image, path)
    return path


def check(path: Path, expected: tuple[float, float] | None) -> None:
    image = load_radiograph(path)
    assert image.meta["spacing_known"] is (expected is not None)
    assert image.pixdim.tolist()[:2] == pytest.approx(expected or (1, 1))
    assert prepare(path, RADIOGRAPH).spacing == (None if expected is None else pytest.approx(expected))


def test_dicom_knows_its_spacing_if_either_field_is_above_zero(tmp_path: Path) -> None:
    for tags, expected in (
        ({"PixelSpacing": [1, 1]}, (1, 1)),
        ({"PixelSpacing": [0.2, 0.5], "ImagerPixelSpacing": [1, 1]}, (0.2, 0.5)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [1, 1]}, (1, 1)),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": None}, None),
        ({}, None),
    ):
        check(write_dicom(tmp_path / "image.dcm", PIXELS, **tags), expected)  # type: ignore[arg-type]


def test_a_picture_knows_none(tmp_path: Path) -> None:
    check(write_picture(tmp_path / "image.png"), None)


def test_nifti_knows_its_spacing_unless_it_is_unplaced_and_one_millimetre(tmp_path: Path) -> None:
    check(write_plane(tmp_path / "placed.nii", np.diag([-1, -1, 1, 1])), (1, 1))
    check(write_plane(tmp_path / "unplaced.nii", None), None)
    check(write_plane(tmp_path / "half.nii", None, step=0.5), (0.5, 0.5))


def test_itk_knows_its_spacing_if_a_field_says_it(tmp_path: Path) -> None:
    check(write_nrrd(tmp_path / "silent.nrrd", ""), None)
    check(write_nrrd(tmp_path / "stated.nrrd", "spacings: 1 1\n"), (1, 1))
    check(write_itk(tmp_path / "image.mha"), (1, 1))


def test_a_ct_of_unknown_spacing_is_not_taken_for_one_millimetre(tmp_path: Path) -> None:
    def forget(dataset: Dataset, _: int) -> None:
        del dataset.PixelSpacing

    recipe = Recipe("CT", "", 16, unit="HU", window="lung")
    one = volume((6, 8, 1))
    silent = next(write_series(tmp_path / "silent", one, change=forget).iterdir())
    assert prepare(silent, recipe).spacing is None
    stated = next(write_series(tmp_path / "stated", one).iterdir())
    assert prepare(stated, recipe).spacing == pytest.approx((1.5, 2.0))
    assert prepare(write_nifti(tmp_path / "ct.nii", volume()), recipe).spacing == pytest.approx((1.5, 2.0))


@pytest.mark.parametrize("file_format", ["dicom", "nifti"])
def test_one_millimetre_that_a_file_says_is_known_to_confounders_and_patches(
    tmp_path: Path, file_format: str
) -> None:
    if file_format == "dicom":
        stated = write_dicom(tmp_path / "stated.dcm", PIXELS, PixelSpacing=[1, 1])
        silent = write_dicom(tmp_path / "silent.dcm", PIXELS)
    else:
        stated = write_plane(tmp_path / "stated.nii", np.diag([-1, -1, 1, 1]))
        silent = write_plane(tmp_path / "silent.nii", None)
    image = load_radiograph(stated)
    assert np.array_equal(image.affine, np.eye(4)), "as that of an image whose spacing nobody knows"
    assert known_spacing(image) == (1, 1)
    smoothing = KernelChange("B70f", "B30f")
    assert smoothing(image, "a").std() < image.std()
    patch = ResamplePatchd("image", (8, 8), 8)({"image": image})["image"]
    assert np.allclose(patch, image.as_tensor()[:, 8:16, 6:14], atol=1e-6)
    unknown = load_radiograph(silent)
    assert known_spacing(unknown) is None and known_spacing(unknown.as_tensor()) is None
    for use in (
        lambda: smoothing(unknown, "a"),
        lambda: ResamplePatchd("image", (8, 8), 8)({"image": unknown}),
    ):
        with pytest.raises(InputError, match="spacing"):
            use()
