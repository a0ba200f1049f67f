"""Units, windows and declarations: what an image is not is said, in one line that helps."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from ct_files import (
    SHAPE,
    SPACING,
    item,
    new_slice,
    store,
    volume,
    write_enhanced,
    write_itk,
    write_nifti,
    write_series,
)
from monai.data import MetaTensor
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from srcmatters.cohorts import find_images
from srcmatters.errors import InputError
from srcmatters.images import WINDOWS, LoadCTd, Windowd, load_ct, window
from srcmatters.images.orientation import place
from srcmatters.images.pixel_spacing import known_spacing


def refusal(path: Path, **options: object) -> str:
    """The one line with which a CT is refused."""
    with pytest.raises(InputError) as caught:
        load_ct(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def grey(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Whole numbers from 0 to 239."""
    return np.arange(np.prod(shape)).reshape(shape) % 240


# Units


def test_eight_bit_grey_is_no_hu_and_hu_is_no_grey(tmp_path: Path) -> None:
    display = write_nifti(tmp_path / "grey.nii.gz", grey(), dtype=np.uint8)
    hu = write_nifti(tmp_path / "hu.nii.gz", volume())
    assert "whole numbers from 0 to 239, expected HU" in refusal(display)
    assert "`unit: display`" in refusal(display)
    assert "values from -1000 to -283" in refusal(hu, unit="display")
    assert "`unit: HU`" in refusal(hu, unit="display")
    image = load_ct(display, "display")
    np.testing.assert_allclose(image[0].numpy(), grey() / 255, atol=1e-7)
    assert image.meta["unit"] == "display" and load_ct(hu).meta["unit"] == "HU"
    with pytest.raises(InputError, match="unit: 'hu' is unknown, expected one of: HU, display"):
        load_ct(hu, "hu")


def test_fractions_from_zero_to_one_are_grey_values_already(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "grey.nii", grey() / 255, dtype=np.float32)
    np.testing.assert_allclose(load_ct(path, "display")[0].numpy(), grey() / 255, atol=1e-7)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("RescaleType", "HU", "RescaleType is HU"),
        ("RescaleIntercept", -1024, "RescaleIntercept is -1024, which leads to HU"),
    ],
)
def test_soft_tissue_alone_is_no_grey_image_if_the_file_says_hu(
    tmp_path: Path, field: str, value: object, reason: str
) -> None:
    def change(dataset: Dataset, _: int) -> None:
        stored = dataset.pixel_array.astype(int) + int(dataset.RescaleIntercept)
        dataset.RescaleIntercept = 0
        setattr(dataset, field, value)
        store(dataset, stored - int(dataset.RescaleIntercept))

    folder = write_series(tmp_path / "series", grey().astype(np.int16), change=change)
    np.testing.assert_array_equal(load_ct(folder)[0].numpy(), grey())
    assert f"{reason}, expected 8-bit grey values; HU need `unit: HU`" in refusal(folder, unit="display")


def test_soft_tissue_alone_is_hu_if_the_file_says_so(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", grey().astype(np.int16))
    np.testing.assert_array_equal(load_ct(folder)[0].numpy(), grey())


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("RescaleSlope", None, "RescaleSlope is missing"),
        ("RescaleIntercept", None, "RescaleIntercept is missing"),
        ("RescaleSlope", 0, "RescaleSlope is 0, expected another number"),
        ("RescaleType", "Z_EFF", "RescaleType is Z_EFF, expected HU or nothing"),
    ],
)
def test_dicom_that_leads_to_no_hu_is_refused(
    tmp_path: Path, field: str, value: object, complaint: str
) -> None:
    def change(dataset: Dataset, number: int) -> None:
        if number == 3:  # one slice is enough
            setattr(dataset, field, value)

    folder = write_series(tmp_path / "series", volume(), change=change)
    message = refusal(folder)
    assert complaint in message and "-3.dcm" in message
    path = write_enhanced(tmp_path / "enhanced.dcm", volume(), [0, 1, 2, 3, 4], [-1024] * 5)
    dataset = dcmread(path)
    values = dataset.PerFrameFunctionalGroupsSequence[3].PixelValueTransformationSequence[0]
    setattr(values, field, value)
    dataset.save_as(path)
    message = refusal(path)
    assert complaint in message and "frame 4" in message


def test_padding_that_no_header_declares_is_not_the_brightest_metal(tmp_path: Path) -> None:
    def pad(dataset: Dataset, _: int) -> None:
        pixels = dataset.pixel_array.astype(np.uint16)
        pixels[:2] = 65535
        dataset.BitsStored, dataset.HighBit, dataset.PixelData = 16, 15, pixels.tobytes()

    padded = write_series(tmp_path / "padded", volume(), change=pad)
    assert "values up to 6" in refusal(padded) and "PixelPaddingValue" in refusal(padded)

    def declared(dataset: Dataset, place: int) -> None:
        pad(dataset, place)
        dataset.PixelPaddingValue = 65535

    image = load_ct(write_series(tmp_path / "declared", volume(), change=declared))[0].numpy()
    assert image.max() < 3072 and image.min() == -1024
    metal = volume().astype(np.float32)
    metal[0, 0, 0] = 30710
    assert load_ct(write_nifti(tmp_path / "metal.nii.gz", metal, dtype=np.float32))[0].max() == 30710
    metal[0, 0, 0] = 64511
    assert "values up to 64511" in refusal(write_nifti(tmp_path / "padded.nii.gz", metal, dtype=np.float32))


@pytest.mark.parametrize("rescale_type", ["HU", "hu ", ""])
def test_a_rescale_type_of_hu_or_none_is_hu(tmp_path: Path, rescale_type: str) -> None:
    folder = write_series(
        tmp_path / "series", volume(), change=lambda ds, _: setattr(ds, "RescaleType", rescale_type)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_ct(folder)[0].numpy(), volume())


def test_a_look_up_table_takes_the_place_of_a_rescale(tmp_path: Path) -> None:
    dataset = new_slice(np.zeros((2, 2), int), generate_uid())
    store(dataset, np.array([[0, 1], [2, 3]]))
    del dataset.RescaleSlope, dataset.RescaleIntercept
    table = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="HU")
    table.add_new("LUTData", "US", [0, 300, 500, 1000])
    dataset.ModalityLUTSequence = [table]
    dataset.save_as(tmp_path / "table.dcm", enforce_file_format=True)
    assert load_ct(tmp_path / "table.dcm")[0, :, :, 0].tolist() == [[0, 300], [500, 1000]]


def test_fractions_are_no_hu(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "grey.nii", grey() / 239, dtype=np.float32)
    assert "grey.nii: fractions from 0 to 1, expected HU" in refusal(path)
    assert "`unit: display`" in refusal(path)
    deep = write_nifti(tmp_path / "deep.nii", volume() + 1000)  # 12 bits from 0
    assert "none below 0, expected HU; these look stored with an offset" in refusal(deep)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, wrong: float) -> None:
    values = volume().astype(np.float32)
    values[2, 3, 1] = wrong
    assert "NaN or infinite" in refusal(write_nifti(tmp_path / "ct.nii", values, dtype=np.float32))


def test_scaled_nifti_is_scaled(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume().astype(np.float64) * 0.5 - 3.25, np.diag([-1, -1, 1, 1]))
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    assert nibabel.load(tmp_path / "ct.nii.gz").dataobj.slope != 1
    np.testing.assert_allclose(
        load_ct(tmp_path / "ct.nii.gz")[0].numpy(), volume().transpose(1, 0, 2) * 0.5 - 3.25, atol=0.02
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome1_is_inverted_on_display_and_means_nothing_for_hu(
    tmp_path: Path, photometric: str
) -> None:
    dataset = new_slice(np.zeros((2, 2), int), generate_uid())
    store(dataset, grey((6, 8)), bits=8)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.PhotometricInterpretation = photometric
    dataset.save_as(tmp_path / "grey.dcm", enforce_file_format=True)
    values = grey((6, 8)) / 255
    shown = load_ct(tmp_path / "grey.dcm", "display")[0, :, :, 0].numpy()
    np.testing.assert_allclose(shown, 1 - values if photometric == "MONOCHROME1" else values, atol=1e-6)
    hu = new_slice(volume()[:, :, 0], generate_uid())
    hu.PhotometricInterpretation = photometric
    hu.save_as(tmp_path / "hu.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(load_ct(tmp_path / "hu.dcm")[0, :, :, 0].numpy(), volume()[:, :, 0])


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_picture_is_one_slice_in_display_units_without_spacing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"slice.{ending}"
    Image.fromarray(grey((6, 8)).astype(np.uint8)).save(path)
    image = load_ct(path, "display")
    np.testing.assert_allclose(image[0, :, :, 0].numpy(), grey((6, 8)) / 255, atol=1e-7)
    assert known_spacing(image) is None and image.meta["spacing_known"] is False
    assert "`unit: display`" in refusal(path)
    assert "no position along z" in refusal(path, unit="display", slab_mm=(0, 1))


def test_a_volume_says_whether_its_spacing_is_known(tmp_path: Path) -> None:
    def known(path: Path) -> bool:
        return bool(load_ct(path).meta["spacing_known"])

    assert known(write_series(tmp_path / "series", volume()))
    one = write_series(tmp_path / "one", volume((2, 3, 1)), change=lambda ds, _: delattr(ds, "PixelSpacing"))
    assert not known(one)
    assert load_ct(one).pixdim.tolist()[:2] == [1, 1]
    assert known(write_nifti(tmp_path / "placed.nii", volume()))
    nibabel.save(nibabel.Nifti1Image(volume(), np.eye(4)), tmp_path / "millimetre.nii")
    assert known(tmp_path / "millimetre.nii")
    with pytest.warns(UserWarning, match="are a guess"):
        nibabel.save(nibabel.Nifti1Image(volume(), None), tmp_path / "unknown.nii")
        assert not known(tmp_path / "unknown.nii")


def test_a_header_of_itk_without_a_spacing_knows_none(tmp_path: Path) -> None:
    fields = "type: short\ndimension: 3\nsizes: 6 8 5\nencoding: raw\nendian: little\n"
    for name, spacing in (("silent", ""), ("stated", "spacings: 1 1 1\n")):
        content = f"NRRD0004\n{fields}{spacing}\n".encode() + volume().tobytes()
        (tmp_path / f"{name}.nrrd").write_bytes(content)
    assert load_ct(tmp_path / "stated.nrrd").meta["spacing_known"] is True
    assert load_ct(tmp_path / "silent.nrrd").meta["spacing_known"] is False
    assert load_ct(write_itk(tmp_path / "ct.mha", volume())).meta["spacing_known"] is True


# Windows


@pytest.mark.parametrize(
    ("name", "low", "high"), [("lung", -1350, 150), ("mediastinum", -150, 250), ("bone", -500, 1300)]
)
def test_a_window_is_black_below_white_above_and_straight_between(name: str, low: float, high: float) -> None:
    hu = torch.tensor([[[low - 500.0, low, (3 * low + high) / 4, high, high + 500]]])
    expected = torch.tensor([[[0, 0, 0.25, 1, 1]]])
    torch.testing.assert_close(window(hu, name), expected)
    torch.testing.assert_close(window(hu, WINDOWS[name]), expected)
    torch.testing.assert_close(Windowd("image", name)({"image": hu})["image"].as_tensor(), expected)


@pytest.mark.parametrize("wrong", ["lungs", (1, 2, 3), (0, -5), (float("nan"), 5), 7, ("a", "b")])
def test_a_window_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match=r"^window: "):
        window(torch.zeros(1, 2, 2), wrong)  # type: ignore[arg-type]


def test_a_window_keeps_the_place_of_the_image_and_refuses_grey_values(tmp_path: Path) -> None:
    image = load_ct(write_series(tmp_path / "series", volume()))
    seen = Windowd("image", "lung")({"image": image})["image"]
    assert isinstance(seen, MetaTensor) and torch.equal(seen.affine, image.affine)
    path = write_nifti(tmp_path / "grey.nii", grey(), dtype=np.uint8)
    with pytest.raises(InputError, match=r"grey\.nii: in display units, expected HU"):
        Windowd("image", "lung")({"image": load_ct(path, "display")})


# Declarations


def test_what_is_no_ct_or_of_another_part_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", volume(), change=lambda ds, _: setattr(ds, "Modality", "MR"))
    assert refusal(next(folder.iterdir())).endswith("Modality is MR, expected CT")
    with pytest.raises(InputError, match="Modality is MR"):
        load_ct(folder)
    assert load_ct(folder, modality=None).shape == (1, *SHAPE)
    knee = write_series(
        tmp_path / "knee", volume(), change=lambda ds, _: setattr(ds, "BodyPartExamined", "KNEE")
    )
    with pytest.raises(InputError, match="BodyPartExamined is KNEE, expected CHEST or nothing"):
        load_ct(knee, body_part="CHEST")
    assert load_ct(knee, body_part="").shape == load_ct(knee, body_part="KNEE").shape == (1, *SHAPE)
    for body_part in ("Thorax^1_ROUTINE (Adult)", "LUNG", "CHESTABDPELVIS", ""):
        scan = write_series(
            tmp_path / f"s{body_part[:3]}",
            volume(),
            change=lambda ds, _, part=body_part: setattr(ds, "BodyPartExamined", part[:16]),
        )
        assert load_ct(scan, body_part="CHEST").shape == (1, *SHAPE)
    with pytest.raises(InputError, match="modality: 'ct' is unknown"):
        load_ct(knee, modality="ct")


def test_a_real_chest_door_lets_no_neck_in(shared_data: Path) -> None:
    assert "BodyPartExamined is NECK" in refusal(
        shared_data / "dicom" / "ct-bad-sequence.dcm", body_part="CHEST"
    )
    brain = shared_data / "dicom" / "ct-enhanced-two-frames.dcm"
    assert "BodyPartExamined is Brain" in refusal(brain, body_part="CHEST")
    for name in ("extremity-cr", "wholebody-nm-jpeg-lossless", "chest-cr-jpeg"):
        assert "Modality is" in refusal(shared_data / "dicom" / f"{name}.dcm")


# The dictionary form


def test_the_dictionary_form_reads_a_slab_around_the_point_of_an_item(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", volume())
    item = {"image": str(folder), "x_mm": 1.0, "y_mm": 2.0, "z_mm": 5.0}
    part = LoadCTd("image", slab_mm=1.9 * SPACING[2])(item)["image"]
    np.testing.assert_array_equal(part[0].numpy(), volume()[:, :, 1:4])
    narrow = LoadCTd("image", slab_mm=1)(item)["image"]
    np.testing.assert_array_equal(narrow[0].numpy(), volume()[:, :, 2:3])
    for without in ({"image": str(folder)}, {**item, "z_mm": float("nan")}):
        assert LoadCTd("image", slab_mm=1)(without)["image"].shape == (1, *SHAPE)
    assert LoadCTd("image")(item)["image"].shape == (1, *SHAPE)
    assert isinstance(item["image"], str)
    assert LoadCTd("image", slab_mm=0)(item)["image"].shape == (1, *SHAPE)
    with pytest.raises(InputError, match="slab_mm: got -1, expected a number of mm"):
        LoadCTd("image", slab_mm=-1)


# Files that are none


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.dcm", b""),
        ("cut.dcm", bytes(128) + b"DICM" + b"\x08\x00\x05\x00CS\xff\xff"),
        ("text.nii", b"not a volume"),
        ("text.nii.gz", b"not a volume"),
        ("text.mha", b"not a volume"),
        ("text.nrrd", b"NRRD0004\nnot a volume"),
        ("other.xyz", b"not a volume"),
        ("text.png", b"not a picture"),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    unit = "display" if name.endswith("png") else "HU"
    message = refusal(tmp_path / name, unit=unit)
    assert "not a readable CT" in message or "DICOM without pixel data" in message


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.mha"])
def test_a_volume_that_was_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_nifti(path, volume()) if "nii" in name else write_itk(path, volume())
    path.write_bytes(path.read_bytes()[:-30])
    assert "not a readable CT" in refusal(path)


@pytest.mark.parametrize(
    ("shape", "dtype", "complaint"),
    [
        ((4, 4, 3, 2), np.int16, r"shape \(4, 4, 3, 2\)"),
        ((4, 4, 3), np.complex64, "pixels of type complex64"),
    ],
)
def test_what_is_no_volume_of_numbers_is_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: type, complaint: str
) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, dtype), np.eye(4)), tmp_path / "other.nii")
    with pytest.raises(InputError, match=complaint):
        load_ct(tmp_path / "other.nii")


def test_a_volume_without_axes_is_refused_and_one_without_an_orientation_warned_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"flat\.nii: orientation and spacing span no volume"):
        place("flat.nii", np.diag([1.0, 1.0, 0.0, 1.0]), SHAPE)
    unknown = nibabel.Nifti1Image(volume(), None)
    nibabel.save(unknown, tmp_path / "unknown.nii")
    with pytest.warns(UserWarning, match="left and right are a guess"):
        load_ct(tmp_path / "unknown.nii")


def test_nothing_there_is_said(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.nii")
    assert "no DICOM image in it" in refusal(tmp_path)


# Finding them


def test_a_folder_with_a_series_is_one_image_and_lone_slices_are_one_each(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "scan", volume())
    for number in range(3):
        alone = write_series(tmp_path / f"work-{number}", volume((2, 3, 1)))
        (tmp_path / "slices").mkdir(exist_ok=True)
        next(alone.iterdir()).rename(tmp_path / "slices" / f"1.2.{number}")
        alone.rmdir()
    write_nifti(tmp_path / "b.nii.gz", volume())
    write_itk(tmp_path / "c.mhd", volume())
    (tmp_path / "cases.csv").touch()
    expected = ["a/scan", "b.nii.gz", "c.mhd", "slices/1.2.0", "slices/1.2.1", "slices/1.2.2"]
    images = find_images(tmp_path, "ct")
    assert images == [str(tmp_path / name) for name in expected]
    assert all(load_ct(path).shape[0] == 1 for path in images)
    assert find_images(tmp_path / "a" / "scan", "ct") == [str(tmp_path / "a" / "scan")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no CT"):
        find_images(tmp_path / "empty", "ct")
    with pytest.raises(InputError, match="modality: 'mr' is unknown"):
        find_images(tmp_path, "mr")


def test_of_a_medium_only_what_may_be_a_scan_is_found(tmp_path: Path) -> None:
    def lone(name: str, **fields: object) -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        dataset = new_slice(volume((2, 3, 1))[:, :, 0], generate_uid())
        for field, value in fields.items():
            setattr(dataset, field, value)
        if "DICOMDIR" in name or "report" in name:
            for field in ("Rows", "Columns", "PixelData"):
                delattr(dataset, field)
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    lone("DICOMDIR", Modality=None)
    lone("a/report.dcm", Modality="SR")
    lone("b/scout.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(InputError, match="holds no CT"):
        find_images(tmp_path, "ct")
    slices = [lone("c/one.IMA"), lone("d/two.dcm")]
    (tmp_path / "e").mkdir()
    damaged = tmp_path / "e" / "no.dcm"
    damaged.write_bytes(b"no DICOM")
    expected = [str(path) for path in (*slices, damaged)]  # the loader says what is wrong
    assert find_images(tmp_path, "ct") == expected


def test_every_format_that_the_loader_reads_is_found_and_a_pair_once(tmp_path: Path) -> None:
    for name in ("a.gipl", "b.hdr", "b.img", "c.img", "d.MGZ", "e.txt"):
        (tmp_path / name).touch()
    expected = [str(tmp_path / name) for name in ("a.gipl", "b.hdr", "c.img", "d.MGZ")]
    assert find_images(tmp_path, "ct") == expected == find_images(tmp_path, "xray")


# Memory


@pytest.mark.parametrize("kind", ["series", "nii.gz"])
def test_a_volume_exists_in_memory_once(tmp_path: Path, kind: str) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (160, 160, 40), dtype=np.int16)
    path = tmp_path / f"ct.{kind}"
    write_series(path, hu) if kind == "series" else write_nifti(path, hu)
    load_ct(path, slab_mm=(0, 0))  # imports and headers
    tracemalloc.start()
    image = load_ct(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(image[0].numpy(), hu)
    assert 4 * image.numel() < peak < 1.3 * 4 * image.numel()
