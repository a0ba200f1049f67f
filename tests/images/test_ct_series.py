"""A series is a volume only if it is whole: gaps, copies, strangers and damaged files are named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from ct_files import SPACING, item, new_slice, store, volume, write_enhanced, write_series
from pydicom.uid import RLELossless, generate_uid

from srcmatters.errors import InputError
from srcmatters.images import file_digest, file_signature, load_ct
from srcmatters.phantom import ct_volume, draw_patient
from srcmatters.phantom.files import write_ct_series


def refusal(path: Path, **options: object) -> str:
    """The one line with which a CT is refused."""
    with pytest.raises(InputError) as caught:
        load_ct(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def file_of(folder: Path, number: int) -> Path:
    """The file of slice ``number``."""
    return next(folder.glob(f"*-{number}.dcm"))


def edit(path: Path, change: Callable[[pydicom.Dataset], object]) -> None:
    """Change one file in place."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "series", volume())


def test_a_missing_slice_is_refused_and_its_neighbours_named(series: Path) -> None:
    file_of(series, 2).unlink()
    message = refusal(series)
    assert file_of(series, 1).name in message and file_of(series, 3).name in message
    assert "2.5 mm and" in message and "at 7.5 mm: they are 5 mm apart, expected 2.5 mm" in message
    assert message.endswith("(--gaps warn loads it all the same)")
    with pytest.warns(UserWarning, match="slices are missing"):
        assert load_ct(series, gaps="warn").shape[3] == 4
    assert refusal(series, gaps="ignore").startswith("gaps: 'ignore' is unknown")


def test_positions_that_are_rounded_are_no_gap(tmp_path: Path) -> None:
    def rounded(dataset: pydicom.Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [0, 0, [0, 2, 5, 7, 10][number]]  # 2.5 mm in whole ones
        dataset.ImagePositionPatient[2] += 0.25 * (number % 2)

    assert load_ct(write_series(tmp_path / "series", volume(), change=rounded)).shape[3] == 5


def test_of_two_steps_the_wide_one_is_the_gap(tmp_path: Path) -> None:
    def placed(dataset: pydicom.Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [0, 0, [0, 8, 80][number]]

    message = refusal(write_series(tmp_path / "series", volume((3, 4, 3)), change=placed))
    assert "slices are missing" in message and "72 mm apart, expected 8 mm" in message


def test_a_copy_of_a_slice_is_left_out_and_another_one_in_its_place_refused(series: Path) -> None:
    copy = series / "copy.dcm"
    copy.write_bytes(file_of(series, 3).read_bytes())
    with pytest.warns(UserWarning, match=r"the same slice as"):
        np.testing.assert_array_equal(load_ct(series)[0].numpy(), volume())
    edit(copy, lambda dataset: store(dataset, dataset.pixel_array + 1))
    (series / "another").touch()  # the folder has changed
    message = refusal(series)
    assert "copy.dcm" in message and file_of(series, 3).name in message and "ImagePositionPatient" in message


def test_several_series_in_a_folder_are_counted_and_one_can_be_chosen(series: Path, tmp_path: Path) -> None:
    other = write_series(tmp_path / "other", volume() + 1)
    uid = str(pydicom.dcmread(file_of(other, 0)).SeriesInstanceUID)
    for path in other.iterdir():
        path.rename(series / f"other-{path.name}")
    message = refusal(series)
    assert message.endswith("2 different SeriesInstanceUID, expected one series per folder")
    np.testing.assert_array_equal(load_ct(series, series=uid)[0].numpy(), volume() + 1)
    assert "SeriesInstanceUID '1.2.3' is unknown" in refusal(series, series="1.2.3")


def test_localizers_and_other_files_are_passed_over(series: Path) -> None:
    scout = new_slice(np.zeros((30, 20), int), generate_uid())
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(series / "scout.dcm", enforce_file_format=True)
    report = new_slice(np.zeros((2, 2), int), generate_uid())
    report.Modality = "SR"
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    report.save_as(series / "report.dcm", enforce_file_format=True)
    (series / "annotations.xml").write_text("<xml/>")
    (series / "._0.dcm").write_bytes(b"resource fork")
    np.testing.assert_array_equal(load_ct(series)[0].numpy(), volume())
    for path in series.glob("*-?.dcm"):
        path.unlink()
    assert "no DICOM image in it but 1 localizers" in refusal(series)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("Rows and Columns", lambda dataset: store(dataset, np.zeros((4, 4), int))),
        ("PixelSpacing", lambda dataset: setattr(dataset, "PixelSpacing", [1.5, 2.1])),
        (
            "ImageOrientationPatient",
            lambda dataset: setattr(dataset, "ImageOrientationPatient", [0, 1, 0, 1, 0, 0]),
        ),
        ("ImagePositionPatient", lambda dataset: delattr(dataset, "ImagePositionPatient")),
    ],
)
def test_a_slice_unlike_the_others_is_named(
    series: Path, field: str, change: Callable[[pydicom.Dataset], object]
) -> None:
    edit(file_of(series, 4), change)
    message = refusal(series)
    assert field in message and file_of(series, 4).name in message and "expected" in message


def test_slices_without_any_position_are_no_series(tmp_path: Path) -> None:
    def unplaced(dataset: pydicom.Dataset, number: int) -> None:
        del dataset.ImagePositionPatient

    assert "ImagePositionPatient" in refusal(write_series(tmp_path / "series", volume(), change=unplaced))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("PixelSpacing", [1, 2, 3]),
    ],
)
def test_geometry_that_is_none_is_named(series: Path, field: str, value: list[float]) -> None:
    edit(file_of(series, 0), lambda dataset: setattr(dataset, field, value))
    assert f"{field} is" in refusal(file_of(series, 0))


def test_every_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def rescaled(dataset: pydicom.Dataset, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + number, -900 + number * 7
        store(dataset, np.full((3, 4), 100 + number))

    image = load_ct(write_series(tmp_path / "series", volume((3, 4, 5)), change=rescaled))
    expected = [(100 + number) * (0.5 + number) - 900 + number * 7 for number in range(5)]
    assert image[0, 1, 2].tolist() == pytest.approx(expected)


def test_nothing_is_below_air_and_padding_above_the_scale_is_air_too(tmp_path: Path) -> None:
    def padded(value: int) -> Callable[[pydicom.Dataset, int], None]:
        def change(dataset: pydicom.Dataset, number: int) -> None:
            dataset.RescaleIntercept = 0
            store(dataset, np.array([[value, -2000, 40], [50, 60, 70]]), bits=16)
            dataset.PixelPaddingValue = value

        return change

    one = volume((2, 3, 1))
    far = load_ct(write_series(tmp_path / "far", one, change=padded(-2000)))
    assert far[0, 0, :, 0].tolist() == [-1024, -1024, 40]
    near = load_ct(write_series(tmp_path / "near", one, change=padded(0)))
    assert near[0, 0, :, 0].tolist() == [0, -1024, 40]
    above = load_ct(write_series(tmp_path / "above", one, change=padded(4000)))
    assert above[0, 0, :, 0].tolist() == [-1024, -1024, 40]
    assert above[0, 1, :, 0].tolist() == [50, 60, 70]


def test_what_is_no_hu_keeps_its_low_values(tmp_path: Path) -> None:
    def resonance(dataset: pydicom.Dataset, number: int) -> None:
        dataset.Modality = "MR"
        dataset.RescaleIntercept = -3000

    folder = write_series(tmp_path / "series", volume((2, 3, 1)), change=resonance)
    assert load_ct(folder, modality=None).min() == -2976


def test_twelve_of_sixteen_bits_are_read_without_a_word(
    series: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_ct(series)[0].numpy(), volume())
    assert caplog.records == []


def test_a_compressed_series_has_the_same_values(tmp_path: Path) -> None:
    def compressed(dataset: pydicom.Dataset, number: int) -> None:
        dataset.compress(RLELossless)

    folder = write_series(tmp_path / "series", volume((8, 40, 3)), change=compressed)
    np.testing.assert_array_equal(load_ct(folder)[0].numpy(), volume((8, 40, 3)))


# Files of several frames


def test_frames_in_one_position_are_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "two.dcm", volume(), [0, 1, 1, 2, 3], [-1024] * 5)
    edit(path, lambda dataset: store(dataset, np.arange(5 * 48).reshape(5, 6, 8), bits=16))
    assert "frame 3" in refusal(path) and "ImagePositionPatient" in refusal(path)


def test_a_missing_frame_is_a_gap(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "gap.dcm", volume(), [0, 1, 2, 4], [-1024] * 5)
    assert "slices are missing" in refusal(path) and "frame 4" in refusal(path)


def test_frames_without_positions_are_refused(tmp_path: Path) -> None:
    dataset = new_slice(np.zeros((3, 4, 4), int), generate_uid())
    dataset.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    message = refusal(tmp_path / "film.dcm")
    assert "3 frames without PerFrameFunctionalGroupsSequence" in message


def test_the_body_part_of_frames_counts(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "brain.dcm", volume(), [0, 1], [-1024] * 5)

    def brain(dataset: pydicom.Dataset) -> None:
        del dataset.BodyPartExamined
        anatomy = item(AnatomicRegionSequence=[item(CodeMeaning="Brain")])
        dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]

    edit(path, brain)
    assert "BodyPartExamined is Brain, expected CHEST" in refusal(path, body_part="CHEST")


# Parts of a volume


@pytest.mark.parametrize("axes", ["PLS", "ALI", "SRA"])
@pytest.mark.parametrize("slab", [(2.4, 5.1), (5, 5), (-100, 3), (8.9, 100)])
def test_a_slab_is_a_part_of_the_whole(tmp_path: Path, axes: str, slab: tuple[float, float]) -> None:
    folder = write_series(tmp_path / "series", volume(), axes)
    whole = load_ct(folder)
    height = np.arange(5) * SPACING[2]
    inside = np.flatnonzero((height >= slab[0] - SPACING[2] / 2) & (height <= slab[1] + SPACING[2] / 2))
    part = load_ct(folder, slab_mm=slab)
    np.testing.assert_array_equal(part[0].numpy(), whole[0, :, :, inside[0] : inside[-1] + 1].numpy())
    origin = whole.affine.numpy() @ [0, 0, inside[0], 1]
    np.testing.assert_allclose(part.affine.numpy()[:, 3], origin, atol=1e-5)
    np.testing.assert_allclose(part.affine.numpy()[:, :3], whole.affine.numpy()[:, :3], atol=1e-5)


def test_of_a_slab_only_its_slices_are_decoded(series: Path) -> None:
    # Pixel data of the other slices is not even there.
    for number in (0, 1, 4):
        edit(file_of(series, number), lambda dataset: delattr(dataset, "PixelData"))
    np.testing.assert_array_equal(load_ct(series, slab_mm=(5, 7.5))[0].numpy(), volume()[:, :, 2:4])
    assert "without pixel data" in refusal(series)


def test_a_gap_beyond_the_slab_does_no_harm(series: Path) -> None:
    file_of(series, 1).unlink()
    np.testing.assert_array_equal(load_ct(series, slab_mm=(5, 10))[0].numpy(), volume()[:, :, 2:])


def test_a_slab_beside_the_volume_is_refused_with_where_it_lies(series: Path) -> None:
    assert "expected a part of z 0 to 10 mm" in refusal(series, slab_mm=(30, 40))
    assert refusal(series, slab_mm=(4, 1)).startswith("slab_mm: got (4, 1), expected (low, high)")


# Headers are read once, damaged files are named


def test_headers_are_read_again_only_if_the_folder_has_changed(
    series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    real = pydicom.dcmread

    def counted(path: Path, **options: object) -> pydicom.Dataset:
        if options.get("stop_before_pixels"):
            opened.append(path)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("srcmatters.images.dicom_slices.pydicom.dcmread", counted)
    for _ in range(3):
        load_ct(series, slab_mm=(5, 5))
    assert len(opened) == 5
    file_of(series, 4).unlink()
    assert load_ct(series).shape[3] == 4
    assert len(opened) == 9


def test_a_damaged_file_of_a_series_is_named(series: Path) -> None:
    path = file_of(series, 2)
    path.write_bytes(path.read_bytes()[:-20])
    assert path.name in refusal(series)
    path.write_bytes(path.read_bytes()[:200])
    (series / "another").touch()
    assert path.name in refusal(series)


def test_the_digest_of_a_series_is_that_of_the_content_of_its_files(series: Path, tmp_path: Path) -> None:
    before = file_digest(series)
    moved = series.rename(tmp_path / "moved")
    (moved / "folder").mkdir()
    (moved / ".hidden").touch()
    assert file_digest(moved) == before
    edit(file_of(moved, 3), lambda dataset: store(dataset, dataset.pixel_array + 1))
    assert file_digest(moved) != before


# Real files


def test_a_real_series_of_seventeen_is_one_volume(shared_data: Path) -> None:
    with pytest.warns(UserWarning, match=r"IMG0001\.dcm: RescaleType is US \(unspecified\), taken for HU"):
        image = load_ct(shared_data / "dicom" / "ct-series")
    assert image.shape == (1, 128, 88, 17) and image.meta["spacing_known"]
    assert image.pixdim.tolist() == pytest.approx([2, 2, 2])
    first = pydicom.dcmread(shared_data / "dicom" / "ct-series" / "IMG0001.dcm")
    # Rows and columns of this file run to anterior and to the right.
    np.testing.assert_array_equal(image[0, :, :, 0].numpy(), first.pixel_array[::-1, ::-1])
    last_corner = image.affine.numpy() @ [127, 87, 0, 1]
    np.testing.assert_allclose([-last_corner[0], -last_corner[1]], first.ImagePositionPatient[:2], atol=1e-3)


def test_a_real_enhanced_ct_is_two_slices_from_below(shared_data: Path) -> None:
    with pytest.warns(UserWarning, match="RescaleType is US"):
        image = load_ct(shared_data / "dicom" / "ct-enhanced-two-frames.dcm")
    stored = pydicom.dcmread(shared_data / "dicom" / "ct-enhanced-two-frames.dcm").pixel_array
    assert image.shape == (1, 512, 512, 2) and image.pixdim[2] == 10
    for at in (0, 1):  # this file runs to the right
        np.testing.assert_array_equal(image[0, :, :, at].numpy(), stored[at, :, ::-1] - 1024.0)


def test_a_real_file_with_a_broken_sequence_loads(shared_data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says that its UIDs are none
        image = load_ct(shared_data / "dicom" / "ct-bad-sequence.dcm")
    assert image.shape == (1, 512, 512, 1)
    assert -1024 <= image.min() < -900 and 1000 < image.max() < 3072
    assert image.pixdim.tolist() == pytest.approx([0.287109375, 0.287109375, 1])


def test_a_real_slice_has_hounsfield_units(shared_data: Path) -> None:
    image = load_ct(shared_data / "dicom" / "ct-slice-512.dcm")
    assert image.shape == (1, 512, 512, 1)
    assert 0 < image[0, 200:300, 200:300].median() < 80  # a head
    assert image.min() == -1024  # specks of lossy compression reach -3995
    assert image.pixdim.tolist() == pytest.approx([0.478516, 0.478516, 5])


def test_a_slice_that_is_overwritten_in_place_is_read_anew(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    patient = draw_patient(1, 0, 0.5, label=1)
    spacing = (8.0, 8.0, 8.0)
    write_ct_series(folder, ct_volume(patient, spacing), patient, spacing)
    before, digest, signature = load_ct(folder), file_digest(folder), file_signature(folder)
    path = sorted(folder.iterdir())[3]
    header = pydicom.dcmread(path)
    header.PixelData = bytes(len(header.PixelData))
    header.save_as(path)
    assert file_signature(folder) != signature and file_digest(folder) != digest
    assert not torch.equal(load_ct(folder).as_tensor(), before.as_tensor())


def test_a_header_and_its_data_file_are_one_image(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = a.raw\n")
    (tmp_path / "a.raw").write_bytes(b"one")
    digest, signature = file_digest(tmp_path / "a.mhd"), file_signature(tmp_path / "a.mhd")
    (tmp_path / "a.raw").write_bytes(b"three")
    assert file_digest(tmp_path / "a.mhd") != digest and file_signature(tmp_path / "a.mhd") != signature
