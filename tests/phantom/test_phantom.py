"""The phantom cohort: laws of the projection, of the counterfactual, of the draw and of the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from srcmatters.cohorts import phantom_cohort as cohort
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.phantom import (
    PhantomPatient,
    ct_volume,
    detector_field,
    draw_patient,
    radiograph,
    voxel_axes,
)
from srcmatters.phantom.computed_tomography import noiseless_volume
from srcmatters.phantom.geometry import Interval, deposit, union_length
from srcmatters.phantom.organs import chest_organs
from srcmatters.phantom.parenchyma import lesion
from srcmatters.phantom.radiography import MU_WATER, attenuation, background_integral, cloud_integral

COARSE = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def positive() -> PhantomPatient:
    return draw_patient(3, seed=11, difficulty=0.0, label=1, side="left")


def centroid_of_change(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    change = np.abs(after.astype(float) - before.astype(float))
    places = np.indices(change.shape).reshape(change.ndim, -1)
    return (places * change.ravel()).sum(axis=1) / change.sum()


def shade(image: np.ndarray, patient: PhantomPatient, x: float, z: float) -> float:
    """Mean grey level about a point given in mm for a patient of size 1."""
    scale = patient.anatomy.size
    row, column = (round(at) for at in detector_field(patient).pixel(x * scale, z * scale, len(image)))
    return float(image[row - 3 : row + 4, column - 3 : column + 4].mean())


# The draw


def test_the_same_seed_gives_the_same_image_and_another_seed_another() -> None:
    first, again, other = (radiograph(draw_patient(5, seed), 64) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 2


def test_a_patient_depends_on_neither_order_nor_number_of_others() -> None:
    forwards = [draw_patient(index, 0) for index in range(12)]
    backwards = [draw_patient(index, 0) for index in reversed(range(40))][::-1]
    assert forwards == backwards[:12]


def test_neighbouring_patients_differ_in_anatomy() -> None:
    hearts = {draw_patient(index, 0).anatomy.heart_size for index in range(30)}
    assert len(hearts) == 30


def test_label_is_balanced_and_independent_of_sex_view_maker_and_agent() -> None:
    drawn = [draw_patient(index, 4) for index in range(160)]
    table = pd.DataFrame([vars(one) for one in drawn])
    assert table.label.mean() == 0.5
    for column in ("sex", "view", "manufacturer", "contrast_agent"):
        assert table[column].nunique() > 1
        counts = pd.crosstab(table[column], table.label)
        assert (counts[0] == counts[1]).all(), column
    assert (pd.crosstab(table.sex, table.view) == 40).all().all()


def test_harder_lesions_are_smaller_and_fainter_patient_by_patient() -> None:
    for index in range(8):
        lesions = [draw_patient(index, 0, difficulty, label=1).nodule for difficulty in (0.0, 0.5, 1.0)]
        diameters = [one.diameter_mm for one in lesions if one]
        contrasts = [one.contrast for one in lesions if one]
        assert diameters == sorted(diameters, reverse=True) and diameters[0] > diameters[2]
        assert contrasts == sorted(contrasts, reverse=True) and contrasts[0] > contrasts[2]


# Physics


def test_a_slab_of_water_attenuates_by_mu_times_thickness() -> None:
    water = Interval(np.full((3, 3), -50.0), np.full((3, 3), 70.0))
    np.testing.assert_allclose(water.length() * attenuation(0), 120 * MU_WATER, rtol=1e-6)
    assert attenuation(-1000) == 0


def test_overlapping_organs_count_once_on_a_ray() -> None:
    within = Interval(np.zeros(1), np.full(1, 100.0))
    spans = [(10, 40), (30, 60), (35, 38), (90, 130), (70, 65)]
    parts = [Interval(np.full(1, float(a)), np.full(1, float(b))) for a, b in spans]
    assert union_length(parts, within)[0] == pytest.approx(50 + 10)
    assert union_length(parts[::-1], within)[0] == pytest.approx(50 + 10)


def test_depositing_points_conserves_their_excess_in_two_and_three_dimensions() -> None:
    generator = np.random.default_rng(0)
    points, weights = generator.uniform(1, 8, (3, 500)), generator.uniform(1, 2, 500)
    volume = deposit(list(points), weights, (10, 10, 10))
    np.testing.assert_allclose(volume.sum(), weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(volume.sum(1), deposit([points[0], points[2]], weights, (10, 10)), atol=1e-3)


def test_the_radiograph_is_the_projection_of_the_ct() -> None:
    patient = draw_patient(4, seed=0, label=1)
    assert patient.view == "PA"
    patient = PhantomPatient(**{**vars(patient), "contrast_agent": False})
    spacing = (2.0, 2.0, 2.0)
    columns, _, slices = voxel_axes(spacing)
    volume = noiseless_volume(patient, spacing)
    summed = (MU_WATER * (1 + volume / 1000)).sum(axis=0) * spacing[0]
    field = detector_field(patient)
    size = round(field.width_mm / 2.0)
    projected = background_integral(patient, size) + cloud_integral(lesion(patient), patient, size)
    x, z = field.axes(size)
    rows, across = np.abs(z) < 125, np.abs(x) < 125
    nearest = np.ix_(
        np.abs(columns[:, None] - x[across]).argmin(0), np.abs(slices[:, None] - z[rows]).argmin(0)
    )
    difference = summed[nearest].T - projected[np.ix_(rows, across)]
    assert abs(np.median(difference)) < 0.03
    assert np.percentile(np.abs(difference), 90) < 0.35
    correlation = np.corrcoef(summed[nearest].T.ravel(), projected[np.ix_(rows, across)].ravel())[0, 1]
    assert correlation > 0.98


def test_lungs_are_dark_and_spine_and_liver_bright() -> None:
    for index in range(4):
        patient = draw_patient(index, seed=2, label=0)
        image, lung = radiograph(patient, 128), [(-85.0, 0.0), (85.0, 20.0)]
        darkest = min(shade(image, patient, *place) for place in lung)
        assert max(shade(image, patient, *place) for place in lung) - darkest < 60
        assert shade(image, patient, 0, -60) - darkest > 50
        assert shade(image, patient, -60, -130) - darkest > 50


def test_ct_tissues_have_plausible_hounsfield_units() -> None:
    patient = draw_patient(1, seed=5, label=0)
    patient = PhantomPatient(**{**vars(patient), "contrast_agent": False})
    volume = ct_volume(patient, COARSE)
    columns, depths, slices = voxel_axes(COARSE)
    assert volume.dtype == np.int16 and volume.shape == (len(depths), len(columns), len(slices))
    assert abs(np.median(volume[0]) + 1000) < 10
    lung = volume[(volume > -950) & (volume < -600)]
    assert -880 < np.median(lung) < -750
    soft = volume[(volume > 0) & (volume < 120)]
    assert 30 < np.median(soft) < 60
    fat = volume[(volume > -150) & (volume < -60)]
    assert -115 < np.median(fat) < -85
    assert 300 < np.percentile(volume[volume > 250], 90) < 1500


def test_organs_are_nested_as_the_projection_assumes() -> None:
    for index in range(6):
        anatomy = draw_patient(index, seed=3).anatomy
        x, z = np.meshgrid(np.linspace(-180, 180, 90), np.linspace(-160, 160, 80))
        organs = chest_organs(anatomy, x.astype(np.float32), z.astype(np.float32))
        for inner, outer in ((organs.muscle, organs.body), (organs.lung, organs.muscle)):
            filled = inner.length() > 0
            assert (inner.front >= outer.front - 1e-3)[filled].all()
            assert (inner.back <= outer.back + 1e-3)[filled].all()
        assert organs.breast.clipped(organs.body).length().max() == 0


# The counterfactual


def test_a_positive_differs_from_its_counterfactual_only_at_the_lesion(positive: PhantomPatient) -> None:
    lesion = positive.nodule
    assert lesion is not None
    size, field = 128, detector_field(positive)
    change = radiograph(positive, size).astype(int) - radiograph(positive.without_nodule(), size)
    rows, columns = np.nonzero(change)
    row, column = field.pixel(lesion.centre_mm[0], lesion.centre_mm[2], size)
    distance = np.hypot(rows - row, columns - column) * field.width_mm / size
    assert np.abs(change).max() > 15
    assert distance.max() < lesion.diameter_mm + 8

    volume = ct_volume(positive, COARSE).astype(int) - ct_volume(positive.without_nodule(), COARSE)
    x, y, z = voxel_axes(COARSE)
    depth, across, up = np.nonzero(np.abs(volume) > 1)
    offset = np.stack([x[across], y[depth], z[up]], axis=1) - np.array(lesion.centre_mm)
    assert np.abs(volume).max() > 400
    assert np.linalg.norm(offset, axis=1).max() < lesion.diameter_mm + 8


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_lesion_is_on_the_same_side_in_radiograph_and_ct(side: str) -> None:
    patient = draw_patient(2, seed=7, difficulty=0.0, label=1, side=side)
    healthy, lesion = patient.without_nodule(), patient.nodule
    assert lesion is not None and (lesion.centre_mm[0] > 0) == (side == "left")
    row, column = centroid_of_change(radiograph(patient, 128), radiograph(healthy, 128))
    expected = detector_field(patient).pixel(lesion.centre_mm[0], lesion.centre_mm[2], 128)
    assert np.hypot(row - expected[0], column - expected[1]) < 2
    assert (column > 64) == (side == "left")
    depth, across, up = centroid_of_change(
        noiseless_volume(patient, COARSE), noiseless_volume(healthy, COARSE)
    )
    x, y, z = voxel_axes(COARSE)
    position = [np.interp(i, np.arange(len(a)), a) for i, a in ((across, x), (depth, y), (up, z))]
    np.testing.assert_allclose(position, lesion.centre_mm, atol=3)


def test_the_stomach_is_left_and_the_right_dome_is_higher() -> None:
    patient = draw_patient(0, seed=0, label=0)
    volume = noiseless_volume(patient, COARSE)
    x, y, z = voxel_axes(COARSE)
    bubble = patient.anatomy.dome_left - 20 * patient.anatomy.size
    near, level = np.abs(y + 14) < 9, np.abs(z - bubble) < 9
    left, right = (volume[np.ix_(near, np.abs(x - at) < 14, level)] for at in (62, -62))
    assert left.min() < -800
    assert 40 < np.median(right) < 70 and right.min() > 30
    assert patient.anatomy.dome_right > patient.anatomy.dome_left


def test_repeated_images_keep_the_anatomy_and_change_the_acquisition(tmp_path: Path) -> None:
    table = write_phantom_cohort(tmp_path / "twice", patients=2, image_size=64, images_per_patient=2)
    assert list(table.patient_id) == ["PHANTOM-0001"] * 2 + ["PHANTOM-0002"] * 2
    assert table.case_id.is_unique
    assert (tmp_path / "twice" / table.image[0]).read_bytes() != (
        tmp_path / "twice" / table.image[1]
    ).read_bytes()


# Files


def test_a_cohort_is_byte_identical_when_written_again(tmp_path: Path) -> None:
    table = write_phantom_cohort(tmp_path / "a", patients=4, image_size=64)
    write_phantom_cohort(tmp_path / "b", patients=4, image_size=64)
    larger = write_phantom_cohort(tmp_path / "c", patients=6, image_size=64)
    pd.testing.assert_frame_equal(table, larger[:4])
    for name in ["cases.csv", *table.image]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in table.image:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
        image = Image.open(tmp_path / "a" / name)
        assert image.mode == "L" and image.size == (64, 64)
    expected = {"case_id", "image", "patient_id", "label", "sex", "age", "view", "manufacturer", "mask"}
    assert set(table.columns) == expected


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(patient: PhantomPatient, image_size: int) -> np.ndarray:
        calls.append(patient)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.zeros((image_size, image_size), np.uint8)

    monkeypatch.setattr(cohort, "radiograph", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantom_cohort(tmp_path / "cohort", patients=4, image_size=64)
    assert len(calls) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="exists already"):
        write_phantom_cohort(tmp_path, patients=2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("patients", 0),
        ("seed", -1),
        ("modality", "mri"),
        ("file_format", "nifti"),
        ("image_size", 8),
        ("difficulty", 1.5),
        ("difficulty", float("nan")),
        ("images_per_patient", 0),
    ],
)
def test_an_invalid_argument_is_refused_by_name(tmp_path: Path, argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{argument}: got {value!r}, expected"):
        write_phantom_cohort(tmp_path / "x", **{argument: value})  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_a_radiograph_in_dicom_has_the_tags_of_a_chest_dx(tmp_path: Path) -> None:
    table = write_phantom_cohort(tmp_path / "dx", patients=2, file_format="dicom", image_size=64)
    dataset = pydicom.dcmread(tmp_path / "dx" / table.image[0])
    patient = draw_patient(0, 0)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1"
    assert (dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition) == ("DX", "CHEST", patient.view)
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    assert str(dataset.PatientName) == "PHANTOM^0001" and dataset.PatientID == "PHANTOM-0001"
    assert list(dataset.PatientOrientation) == ["L", "F"]
    assert float(dataset.PixelSpacing[0]) * 64 == pytest.approx(detector_field(patient).width_mm, rel=1e-3)
    np.testing.assert_array_equal(dataset.pixel_array, radiograph(patient, 64))


def test_left_is_left_in_nifti_and_dicom_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "PIXEL_SPACING_MM", 4.0)
    table = write_phantom_cohort(
        tmp_path / "nifti", patients=2, modality="ct", file_format="nifti", difficulty=0.0
    )
    series = write_phantom_cohort(
        tmp_path / "dicom", patients=2, modality="ct", file_format="dicom", difficulty=0.0
    )
    assert {"diameter_mm", "slice_thickness_mm", "contrast"} <= set(table.columns)
    case = int(table.label.to_numpy().argmax())
    patient = draw_patient(case, 0, 0.0)
    assert patient.nodule is not None
    assert table.diameter_mm[case] == patient.nodule.diameter_mm and np.isnan(table.diameter_mm[1 - case])
    left, back, up = patient.nodule.centre_mm
    spacing = (4.0, 4.0, float(table.slice_thickness_mm[case]))
    truth = ct_volume(patient, spacing)

    image: Any = nibabel.load(tmp_path / "nifti" / table.image[case])
    index = np.linalg.inv(image.affine) @ [-left, -back, up, 1]
    i, j, k = np.rint(index[:3]).astype(int)
    stored = np.asarray(image.dataobj)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    assert stored[i, j, k] > -300
    np.testing.assert_array_equal(stored, truth.transpose(1, 0, 2))

    paths = sorted((tmp_path / "dicom" / series.image[case]).iterdir())
    slices = [pydicom.dcmread(path) for path in paths]
    assert len(slices) == truth.shape[2]
    assert len({one.SeriesInstanceUID for one in slices}) == 1
    assert len({one.SOPInstanceUID for one in slices}) == len(slices)
    nearest = min(slices, key=lambda one: abs(float(one.ImagePositionPatient[2]) - up))
    assert (nearest.SOPClassUID.name, nearest.Modality) == ("CT Image Storage", "CT")
    assert float(nearest.SliceThickness) == spacing[2]
    row = round((back - nearest.ImagePositionPatient[1]) / nearest.PixelSpacing[0])
    column = round((left - nearest.ImagePositionPatient[0]) / nearest.PixelSpacing[1])
    hounsfield = nearest.pixel_array * float(nearest.RescaleSlope) + float(nearest.RescaleIntercept)
    assert hounsfield[row, column] > -300
    heights = np.array([float(one.ImagePositionPatient[2]) for one in slices])
    assert (np.diff(heights) > 0).all()
    np.testing.assert_array_equal(hounsfield, truth[:, :, slices.index(nearest)])


def test_thumbnails_do_not_tell_hard_positives_from_negatives() -> None:
    drawn = [draw_patient(index, 9, difficulty=1.0) for index in range(8)]
    means = np.array([radiograph(patient, 64).mean() for patient in drawn])
    labels = np.array([patient.label for patient in drawn])
    healthy = np.array([radiograph(patient.without_nodule(), 64).mean() for patient in drawn])
    assert np.abs(means - healthy)[labels == 1].max() < 1.0
    np.testing.assert_array_equal(means[labels == 0], healthy[labels == 0])
