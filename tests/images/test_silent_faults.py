"""Files that were read as something else without a word: each gives its right value, or one line."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from srcmatters.errors import InputError
from srcmatters.images import load_ct, load_radiograph
from srcmatters.images.reading import may_be_dicom

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
HU = np.random.default_rng(1).integers(-1000, 900, (20, 24, 6)).astype(np.float32)


def expected(picture: np.ndarray = PICTURE) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 255)[None]


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_in_the_file_is_applied(tmp_path: Path, ending: str, orientation: int) -> None:
    smooth = np.linspace(0, 255, 40 * 32).reshape(40, 32).astype(np.uint8)
    # What is stored so that the orientation makes the picture of it again (EXIF 2.32, table of tag 0112).
    stored = {
        1: smooth, 2: smooth[:, ::-1], 3: smooth[::-1, ::-1], 4: smooth[::-1],
        5: smooth.T, 6: np.rot90(smooth), 7: smooth[::-1, ::-1].T, 8: np.rot90(smooth, -1),
    }[orientation]  # fmt: skip
    picture = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    picture.save(path, exif=exif, **({"quality": 100} if ending == "jpg" else {}))
    if ending == "tif" and orientation >= 5:
        with pytest.raises(InputError, match=f"Orientation {orientation} that is not square"):
            load_radiograph(path)
    else:
        assert float((load_radiograph(path) - expected(smooth)).abs().max()) < 0.02


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_white_is_zero_is_not_read_as_its_negative(tmp_path: Path, dtype: type) -> None:
    white = np.iinfo(dtype).max
    deep = PICTURE.astype(dtype) * (257 if white > 255 else 1)
    tifffile.imwrite(tmp_path / "a.tif", white - deep, photometric="miniswhite")
    torch.testing.assert_close(load_radiograph(tmp_path / "a.tif").as_tensor(), expected())


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (PICTURE.view(np.int8), {}, "signed integers"),
        (PICTURE.astype(np.int16), {}, "signed integers"),
        (PICTURE.astype(np.uint32), {}, "32 bits"),
        (PICTURE.astype(np.float32), {}, "floats"),
        (np.stack([PICTURE] * 3), {"photometric": "rgb", "planarconfig": "separate"}, "separate planes"),
    ],
)
def test_a_tiff_whose_range_is_not_known_is_refused(
    tmp_path: Path, pixels: np.ndarray, options: dict, reason: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(InputError, match=rf"a\.tif: .*{reason}"):
        load_radiograph(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_that_shows_nothing_is_refused(tmp_path: Path, value: int) -> None:
    Image.fromarray(np.full((40, 40), value, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: every pixel is [01], expected an image"):
        load_radiograph(tmp_path / "a.png")


def test_an_image_in_the_transparency_alone_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([np.zeros_like(PICTURE), PICTURE]), "LA").save(tmp_path / "a.png")
    with pytest.raises(InputError, match="transparency alone"):
        load_radiograph(tmp_path / "a.png")


def nifti(path: Path, values: np.ndarray, steps: tuple[float, float, float], unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image(values, np.diag([*steps, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1000.0), ("meter", 0.001)])
def test_nifti_is_placed_in_mm_whatever_its_unit(tmp_path: Path, unit: str, factor: float) -> None:
    steps = (0.8 * factor, 0.9 * factor, 2.5 * factor)
    scan = load_ct(nifti(tmp_path / "a.nii.gz", HU, steps, unit))
    assert sorted(scan.pixdim.tolist()) == pytest.approx([0.8, 0.9, 2.5])


def test_steps_that_no_scanner_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"steps of 800 x 800 x 2500 mm.*xyzt_units"):
        load_ct(nifti(tmp_path / "a.nii.gz", HU, (800, 800, 2500)))


def test_an_sform_that_contradicts_pixdim_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(HU, np.diag([0.8, 0.8, 2.5, 1]))
    image.header["pixdim"][1:4] = (0.4, 0.4, 2.5)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"sform has steps of 0\.8 x 0\.8 x 2\.5 and its pixdim of 0\.4"):
        load_ct(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((HU - HU.mean()) / HU.std(), "standardised"),
        (HU / 1000, "standardised"),
        (HU + 1024, "offset"),
        (np.full_like(HU, -1000), "every pixel is -1000"),
    ],
)
def test_values_that_are_no_hu_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_ct(nifti(tmp_path / "a.nii.gz", values, (1, 1, 2)))


def test_padding_of_converters_is_that_of_scanners(tmp_path: Path) -> None:
    padded = HU.copy()
    padded[:3] = -3024
    plain = HU.copy()
    plain[:3] = -1024
    scans = [load_ct(nifti(tmp_path / f"{n}.nii", v, (1, 1, 2))) for n, v in (("a", padded), ("b", plain))]
    assert torch.equal(*(scan.as_tensor() for scan in scans))


def test_real_faults_give_their_right_values(shared_data: Path) -> None:
    faults = shared_data / "faults"
    for folder, names in (
        ("01-exif-orientation", ("exif6.jpg", "orient6.tif")),
        ("02-tiff-white-is-zero-16bit", ("miniswhite16.tif", "miniswhite8.tif")),
        ("04-palette-color-dicom", ("palette_cr.dcm",)),
    ):
        right = load_radiograph(faults / folder / "upright.png")
        for name in names:
            tolerance = 0.02 if name.endswith("jpg") else 1e-6
            assert float((load_radiograph(faults / folder / name) - right).abs().max()) <= tolerance, name
    padded = load_ct(faults / "05-ds-padded-with-nul" / "ct1_rle_frags.dcm")
    assert (padded.shape[1:3], float(padded.min()), float(padded.max())) == ((512, 512), -1024, 1254)
    listed = faults / "06-directory-record-not-called-DICOMDIR" / "series"
    assert load_ct(listed).shape == (1, 48, 64, 8)
    assert not any(may_be_dicom(path) for path in listed.iterdir() if path.name == "DIRFILE")
    with pytest.raises(InputError, match=r"009\.dcm and .*010\.dcm ImagePositionPatient jumps by 40 mm"):
        load_ct(faults / "07-slices-shifted-in-plane" / "series")
    units = faults / "08-nifti-in-microns"
    right, micron = load_ct(units / "mm.nii.gz"), load_ct(units / "micron.nii.gz")
    torch.testing.assert_close(micron.affine, right.affine)
    with pytest.raises(InputError, match="standardised"):
        load_ct(faults / "09-nifti-that-is-no-hu" / "zscore.nii.gz")
    padding = faults / "10-nifti-padding-below-minus-1024"
    body = load_ct(padding / "mm.nii.gz").as_tensor() > -900
    assert torch.equal(
        load_ct(padding / "pad3024.nii.gz").as_tensor()[body],
        load_ct(padding / "mm.nii.gz").as_tensor()[body],
    )
