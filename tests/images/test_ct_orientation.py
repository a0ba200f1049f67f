"""A CT comes out the same way round, and in the same place, whatever file and axes it was stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ct_files import SHAPE, SPACING, volume, write_enhanced, write_itk, write_nifti, write_series

from srcmatters.images import load_ct
from srcmatters.phantom import files
from srcmatters.phantom.computed_tomography import ct_volume, voxel_axes
from srcmatters.phantom.patient import draw_patient

AXES = ["PLS", "PLI", "ARS", "ALI", "ILP", "SRA", "IPL", "SAR", "LPS"]
#: Of (H, W, D) with the first voxel at the origin: H is +y of LPS, W is +x.
AFFINE = np.array([[0, -SPACING[1], 0, 0], [-SPACING[0], 0, 0, 0], [0, 0, SPACING[2], 0], [0, 0, 0, 1]])


def check(path: Path, **options: object) -> None:
    image = load_ct(path, **options)  # type: ignore[arg-type]
    assert image.shape == (1, *SHAPE) and image.dtype == torch.float32
    np.testing.assert_array_equal(image[0].numpy(), volume())
    np.testing.assert_allclose(image.affine.numpy(), AFFINE, atol=1e-5)
    assert image.pixdim.tolist() == pytest.approx(SPACING)


@pytest.mark.parametrize("axes", AXES)
def test_axial_coronal_sagittal_and_flipped_series_are_one_volume(tmp_path: Path, axes: str) -> None:
    check(write_series(tmp_path / "series", volume(), axes))


@pytest.mark.parametrize("axes", AXES)
def test_nifti_in_any_axes_is_the_same_volume(tmp_path: Path, axes: str) -> None:
    check(write_nifti(tmp_path / "ct.nii.gz", volume(), axes))


@pytest.mark.parametrize(("name", "axes"), [("ct.mha", "LPS"), ("ct.nrrd", "RIP"), ("ct.mhd", "SAL")])
def test_what_itk_reads_is_the_same_volume(tmp_path: Path, name: str, axes: str) -> None:
    check(write_itk(tmp_path / name, volume(), axes))


def test_frames_of_an_enhanced_ct_are_the_same_volume(tmp_path: Path) -> None:
    check(
        write_enhanced(
            tmp_path / "enhanced.dcm", volume(), [3, 0, 4, 1, 2], [-1024, -1000, -1100, -1024, -1001]
        )
    )


def test_an_oblique_ct_keeps_its_direction_in_the_affine(tmp_path: Path) -> None:
    tilt = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])

    def tilted(dataset: object, number: int) -> None:
        across, down = np.array([1, 0, 0]), turn @ [0, 1, 0]
        dataset.ImageOrientationPatient = [*across, *down]  # type: ignore[attr-defined]
        dataset.ImagePositionPatient = list(turn @ [5, 6, number * SPACING[2]])  # type: ignore[attr-defined]

    image = load_ct(write_series(tmp_path / "series", volume(), change=tilted))
    np.testing.assert_array_equal(image[0].numpy(), volume())
    lps = np.diag([-1, -1, 1]) @ (image.affine.numpy() @ [2, 3, 4, 1])[:3]
    np.testing.assert_allclose(
        lps, turn @ [5 + 3 * SPACING[1], 6 + 2 * SPACING[0], 4 * SPACING[2]], atol=1e-5
    )
    assert image.pixdim.tolist() == pytest.approx(SPACING)


def test_a_point_in_the_patient_is_found_through_the_affine(tmp_path: Path) -> None:
    image = load_ct(write_series(tmp_path / "series", volume(), "SRA"))
    x, y, z = 3 * SPACING[1], 4 * SPACING[0], 2 * SPACING[2]
    index = torch.linalg.inv(image.affine) @ torch.tensor([-x, -y, z, 1], dtype=torch.float64)
    assert index[:3].round().tolist() == [4, 3, 2]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mass_is_on_its_side_in_every_format(tmp_path: Path, side: str) -> None:
    patient = draw_patient(1, seed=3, difficulty=0.0, label=1, side=side)
    spacing = (4.0, 4.0, 6.0)
    hu = ct_volume(patient, spacing)
    files.write_nifti(tmp_path / "ct.nii.gz", hu, spacing)
    files.write_ct_series(tmp_path / "series", hu, patient, spacing)
    loaded = [load_ct(tmp_path / name) for name in ("ct.nii.gz", "series")]
    np.testing.assert_array_equal(loaded[0].numpy(), loaded[1].numpy())
    np.testing.assert_allclose(loaded[0].affine.numpy(), loaded[1].affine.numpy(), atol=1e-4)
    assert patient.nodule is not None
    x, y, z = patient.nodule.centre_mm
    index = np.linalg.inv(loaded[0].affine.numpy()) @ [-x, -y, z, 1]
    # On a screen the patient's left is on the right.
    assert (index[1] > loaded[0].shape[2] / 2) == (side == "left")
    height, width, depth = (round(float(number)) for number in index[:3])
    mass = loaded[0][0, height - 1 : height + 2, width - 1 : width + 2, depth].mean()
    mirrored = loaded[0].shape[2] - 1 - width
    other = loaded[0][0, height - 1 : height + 2, mirrored - 1 : mirrored + 2, depth].mean()
    assert mass > -200 > other, f"mass {mass:.0f} HU, the other lung {other:.0f}"
    columns, depths, slices = voxel_axes(spacing)
    assert (len(depths), len(columns), len(slices)) == tuple(loaded[0].shape[1:])


def test_a_slice_without_a_position_is_shown_as_it_is_stored(tmp_path: Path) -> None:
    def unplaced(dataset: object, number: int) -> None:
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient  # type: ignore[attr-defined]

    one = volume()[:, :, :1]
    image = load_ct(next(write_series(tmp_path / "one", one, change=unplaced).iterdir()))
    np.testing.assert_array_equal(image[0].numpy(), one)
    assert image.pixdim.tolist()[:2] == pytest.approx(SPACING[:2])
