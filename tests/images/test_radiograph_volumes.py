"""Radiographs in NIfTI and ITK's files look as the PNG of the same phantom; strangers stay out."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from srcmatters.errors import InputError
from srcmatters.images import LoadRadiographd, load_radiograph
from srcmatters.phantom import files
from srcmatters.phantom.patient import draw_patient
from srcmatters.phantom.radiography import radiograph

#: Axes of stored (columns, rows) in the patient, RAS+: a converted picture, and three placed in the patient.
PLACED = {
    "picture": np.diag([-0.5, -0.25, 1, 1]),
    "coronal": np.array([[-0.5, 0, 0, 3], [0, 0, 1, 4], [0, -0.25, 0, 5], [0, 0, 0, 1]]),
    "lateral": np.array([[0, 0, 1, 3], [-0.5, 0, 0, 4], [0, -0.25, 0, 5], [0, 0, 0, 1]]),
}


@pytest.fixture(scope="module")
def patients() -> dict[str, np.ndarray]:
    """Radiographs (96 x 96, 8 bit) of patients with a mass on one side."""
    drawn = {side: draw_patient(1, seed=3, difficulty=0.0, label=1, side=side) for side in ("left", "right")}
    return {side: radiograph(patient, 96) for side, patient in drawn.items()}


def write(path: Path, pixels: np.ndarray, affine: np.ndarray) -> Path:
    """NIfTI of (rows, columns), stored as columns and rows."""
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(pixels.T)[:, :, None], affine), path)
    return path


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["chest.dcm", "chest.nii.gz", "chest.mha", "chest.nrrd"])
def test_a_mass_is_on_its_side_in_every_format(
    tmp_path: Path, patients: dict[str, np.ndarray], side: str, name: str
) -> None:
    pixels, path = patients[side], tmp_path / name
    Image.fromarray(pixels).save(tmp_path / "chest.png")
    if name == "chest.dcm":
        files.write_digital_xray(path, pixels, draw_patient(1, seed=3, difficulty=0.0, label=1, side=side))
    elif name == "chest.nii.gz":
        write(path, pixels, PLACED["coronal"])
    else:
        itk.imwrite(itk.image_from_array(pixels), str(path))
    picture = load_radiograph(tmp_path / "chest.png")
    torch.testing.assert_close(load_radiograph(path).as_tensor(), picture.as_tensor())
    # Whiter than the mirrored place: the patient's left is on the right of the picture.
    other = patients["right" if side == "left" else "left"].astype(float)
    whiter = (pixels.astype(float) - other).clip(0)
    columns = (whiter * (whiter > whiter.max() / 2)).sum(0)
    assert (columns @ np.arange(96) / columns.sum() > 48) == (side == "left")


@pytest.mark.parametrize("placed", PLACED)
@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1)])
def test_nifti_is_turned_by_its_axes(tmp_path: Path, placed: str, flip: tuple[int, int]) -> None:
    pixels = (np.arange(6)[:, None] * 20 + np.arange(10)).astype(np.uint8)
    affine = PLACED[placed].astype(float)
    affine[:, 0] *= flip[1]
    affine[:, 1] *= flip[0]
    image = load_radiograph(write(tmp_path / "image.nii", pixels[:: flip[0], :: flip[1]], affine))
    np.testing.assert_allclose(image[0].numpy(), pixels / 255, atol=1e-7)
    assert image.pixdim.tolist()[:2] == pytest.approx([0.25, 0.5])


def test_nifti_without_an_orientation_is_a_picture_of_columns_and_rows(tmp_path: Path) -> None:
    pixels = (np.arange(6)[:, None] * 20 + np.arange(10)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(pixels.T, None), tmp_path / "image.nii")
    np.testing.assert_allclose(load_radiograph(tmp_path / "image.nii")[0].numpy(), pixels / 255, atol=1e-7)


@pytest.mark.parametrize(("kind", "white"), [("u1", 255), ("u2", 65535), ("i2", 32767), ("f4", 1.0)])
def test_pixels_are_scaled_by_their_type(tmp_path: Path, kind: str, white: float) -> None:
    pixels = np.array([[0, white], [white / 5, white / 3]]).astype(kind)
    image = load_radiograph(write(tmp_path / "image.nii", pixels, PLACED["picture"]))
    np.testing.assert_allclose(image[0].numpy(), pixels / white, atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (np.array([[0, 200.0], [3, 4]], np.float32), "float32 values from 0 to 200"),
        (np.array([[0, -5], [3, 4]], np.int16), "int16 values from -5 to 4"),
        (np.array([[0, 5], [3, 4]], np.int32), "int32 values"),
        (np.array([[0, np.nan], [0.3, 0.4]], np.float32), "float32 values from nan"),
    ],
)
def test_values_of_an_unknown_scale_are_refused(tmp_path: Path, pixels: np.ndarray, complaint: str) -> None:
    with pytest.raises(InputError, match=rf"image\.nii: {complaint}"):
        load_radiograph(write(tmp_path / "image.nii", pixels, PLACED["picture"]))


def test_a_volume_is_no_radiograph(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "volume.nii")
    with pytest.raises(InputError, match=r"shape \(4, 5, 6\), expected one plane"):
        load_radiograph(tmp_path / "volume.nii")
    with pytest.raises(InputError, match="not a readable radiograph"):
        load_radiograph(tmp_path)


# What a chest radiograph is not


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("extremity-cr.dcm", "BodyPartExamined is EXTREMITY, expected CHEST or nothing"),
        ("wholebody-nm-jpeg-lossless.dcm", "Modality is NM, expected CR or DX or RG (radiograph)"),
        ("ct-slice-512.dcm", "Modality is CT, expected CR or DX or RG (radiograph)"),
        ("ct-enhanced-two-frames.dcm", "Modality is CT, expected CR or DX or RG (radiograph)"),
    ],
)
def test_real_files_that_are_no_chest_radiograph_are_refused(
    shared_data: Path, name: str, reason: str
) -> None:
    path = shared_data / "dicom" / name
    with pytest.raises(InputError) as caught:
        load_radiograph(path, "radiograph", "CHEST")
    assert str(caught.value) == f"{path}: {reason}"


def test_real_chest_radiographs_pass_the_door_of_a_chest_bundle(shared_data: Path) -> None:
    load = LoadRadiographd("image", modality="radiograph", body_part="CHEST")
    for name in ("chest-cr-jpeg", "chest-cr-monochrome1-jpeg2000", "chest-dx-monochrome1"):
        assert load({"image": shared_data / "dicom" / f"{name}.dcm"})["image"].shape[0] == 1


def test_without_a_declaration_any_frame_is_taken(shared_data: Path) -> None:
    assert load_radiograph(shared_data / "dicom" / "extremity-cr.dcm").shape == (1, 1760, 1760)
    path = shared_data / "dicom" / "extremity-cr.dcm"
    assert load_radiograph(path, "radiograph", "extremity").shape == (1, 1760, 1760)


def test_phantoms_pass_and_other_parts_of_a_phantom_do_not(
    tmp_path: Path, patients: dict[str, np.ndarray]
) -> None:
    import pydicom

    path = tmp_path / "chest.dcm"
    files.write_digital_xray(path, patients["left"], draw_patient(1, seed=3))
    assert load_radiograph(path, "radiograph", "CHEST").shape == (1, 96, 96)
    dataset = pydicom.dcmread(path)
    dataset.BodyPartExamined = "SKULL"
    dataset.save_as(path)
    with pytest.raises(InputError, match="BodyPartExamined is SKULL"):
        load_radiograph(path, "radiograph", "CHEST")
    del dataset.BodyPartExamined  # the code of the region is there still
    dataset.AnatomicRegionSequence[0].CodeMeaning = "Knee"
    dataset.save_as(path)
    with pytest.raises(InputError, match="BodyPartExamined is Knee"):
        load_radiograph(path, "radiograph", "CHEST")
    del dataset.AnatomicRegionSequence, dataset.Modality
    dataset.save_as(path)
    assert load_radiograph(path, body_part="CHEST").shape == (1, 96, 96)
    with pytest.raises(InputError, match="Modality is missing, expected CR or DX or RG"):
        load_radiograph(path, "radiograph")
