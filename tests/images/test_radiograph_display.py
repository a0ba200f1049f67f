"""What of a DICOM radiograph is black and white: its window, its tables, or what is there but padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import Dataset, dcmread
from radiograph_files import write_dicom

from srcmatters.export.bundle_scripts.radiographs import displayed
from srcmatters.images import load_radiograph

#: 14 bits of which the device uses a few.
EXPOSED = np.array([[300, 900, 400], [1500, 2300, 2300]])
AS_EXPOSED = (EXPOSED - 300) / 2000
MONOCHROMES = ("MONOCHROME1", "MONOCHROME2")
BORDER = np.array([[True, False, False], [False, False, True]])


def shown(path: Path, pixels: np.ndarray, bits: int = 14, **tags: object) -> np.ndarray:
    """The image that is made of these stored pixels."""
    return load_radiograph(write_dicom(path / "image.dcm", pixels, bits, **tags))[0].numpy()


def table(entries: list[int], bits: int) -> list[Dataset]:
    """A look-up table for stored values from 0."""
    made = Dataset()
    made.LUTDescriptor = [len(entries), 0, bits]
    made.add_new("LUTData", "US", entries)
    return [made]


# Windows and tables


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    stored = np.arange(60).reshape(6, 10)
    inverted = shown(tmp_path, 255 - stored, bits=8, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(inverted, shown(tmp_path, stored, bits=8), atol=1e-6)


def test_a_window_decides_what_is_black_and_white(tmp_path: Path) -> None:
    pixels = np.array([[0, 1000, 2000], [3000, 4000, 4095]])
    window = {"WindowCenter": 2000, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"}
    expected = [[0.0, 0.0, 0.5], [1.0, 1.0, 1.0]]
    np.testing.assert_allclose(shown(tmp_path, pixels, bits=12, **window), expected, atol=1e-3)


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 8192},
        {"WindowCenter": 8192, "WindowWidth": None},
        {"WindowCenter": None, "WindowWidth": 16384},
        {"WindowWidth": 16384},
        {"WindowCenter": 8192, "WindowWidth": 0},
        {"WindowCenter": [0, 0], "WindowWidth": [0, 0]},
    ],
)
def test_a_window_that_lacks_a_part_or_has_no_width_is_none(
    tmp_path: Path, window: dict[str, object]
) -> None:
    np.testing.assert_allclose(shown(tmp_path, EXPOSED, **window), AS_EXPOSED, atol=1e-6)


def test_a_centre_of_zero_is_a_centre(tmp_path: Path) -> None:
    window = {"WindowCenter": 0, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(tmp_path, EXPOSED, **window)[0].tolist() == pytest.approx([0.8, 1, 0.9])


def test_a_table_of_the_display_decides_and_an_empty_one_is_none(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 2], [3, 3, 9]])
    falling = shown(tmp_path, stored, VOILUTSequence=table([255, 170, 85, 0], bits=8))
    np.testing.assert_allclose(falling, [[1, 2 / 3, 1 / 3], [0, 0, 0]], atol=1e-6)
    for nothing in ([], [Dataset()]):
        np.testing.assert_allclose(shown(tmp_path, EXPOSED, VOILUTSequence=nothing), AS_EXPOSED, atol=1e-6)


@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": 1, "RescaleIntercept": -0.25}])
@pytest.mark.parametrize("first", [0, -100])
def test_a_table_of_8_bits_has_as_many_entries_as_it_says(
    tmp_path: Path, first: int, rescale: dict[str, object]
) -> None:
    entries = (np.arange(4096) // 16).tolist()
    voi = table(entries, bits=8)
    voi[0].add_new("LUTDescriptor", "SS", [4096, first, 8])
    stored = np.array([[0, 300, 4000], [1600, 4095, 9000]])
    expected = np.array(entries)[np.clip(stored - first, 0, 4095)] / 255
    np.testing.assert_allclose(shown(tmp_path, stored, VOILUTSequence=voi, **rescale), expected, atol=1e-6)


def test_a_window_over_a_negative_slope_shows_high_values_bright(tmp_path: Path) -> None:
    falling = {"RescaleSlope": -1, "RescaleIntercept": 16383}
    window = {"WindowCenter": 16383 - 1300, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"}
    np.testing.assert_allclose(
        shown(tmp_path, EXPOSED, **falling, **window), np.clip(1 - AS_EXPOSED, 0, 1), atol=1e-3
    )


def test_an_empty_table_of_the_modality_is_none(tmp_path: Path) -> None:
    stored = np.array([[0, 51], [102, 255]])
    image = shown(tmp_path, stored, bits=8, ModalityLUTSequence=[])
    np.testing.assert_allclose(image, stored / 255, atol=1e-6)


def test_half_a_rescale_is_none(tmp_path: Path) -> None:
    stored = np.array([[0, 51], [102, 255]])
    for half in (
        {"RescaleSlope": 2},
        {"RescaleIntercept": 50},
        {"RescaleSlope": None, "RescaleIntercept": 0},
    ):
        np.testing.assert_allclose(shown(tmp_path, stored, bits=8, **half), stored / 255, atol=1e-6)


# Padding


@pytest.mark.parametrize("photometric", MONOCHROMES)
@pytest.mark.parametrize("slope", [1, -2])
@pytest.mark.parametrize("value", [0, 500, 16383])
def test_padding_is_black_and_changes_nothing_of_the_rest(
    tmp_path: Path, photometric: str, slope: int, value: int
) -> None:
    tags = {"PhotometricInterpretation": photometric, "RescaleSlope": slope, "RescaleIntercept": 7}
    plain = shown(tmp_path, np.where(BORDER, 900, EXPOSED), **tags)
    padded = shown(tmp_path, np.where(BORDER, value, EXPOSED), **tags, PixelPaddingValue=value)
    np.testing.assert_array_equal(padded[~BORDER], plain[~BORDER])
    assert (padded[BORDER] == 0).all()


@pytest.mark.parametrize(
    ("bits", "stored", "tags"),
    [
        (16, -2000, {"PixelPaddingValue": -2000}),
        (16, -2000, {"PixelPaddingValue": ("US", 63536)}),
        (12, -2000, {"PixelPaddingValue": ("US", 63536)}),
        (12, -2000, {"PixelPaddingValue": ("US", 2096)}),
        (12, -2000, {"PixelPaddingValue": -2048, "PixelPaddingRangeLimit": -1990}),
        (12, -2000, {"PixelPaddingValue": ("US", 63546), "PixelPaddingRangeLimit": ("US", 63488)}),
        (12, 2047, {"PixelPaddingValue": 2047}),
    ],
)
def test_padding_of_signed_pixels_is_found_whichever_sign_is_written(
    tmp_path: Path, bits: int, stored: int, tags: dict[str, object]
) -> None:
    pixels = np.where(BORDER, stored, EXPOSED - 900)
    image = shown(tmp_path, pixels, bits, **tags, PixelRepresentation=1)
    np.testing.assert_allclose(image, np.where(BORDER, 0, (EXPOSED - 400) / 1900), atol=1e-6)


def test_padding_of_unsigned_pixels_is_found_though_a_sign_is_written(tmp_path: Path) -> None:
    pixels = np.where(BORDER, 63536, EXPOSED)
    image = shown(tmp_path, pixels, bits=16, PixelPaddingValue=("SS", -2000))
    np.testing.assert_allclose(image, np.where(BORDER, 0, (EXPOSED - 400) / 1900), atol=1e-6)


@pytest.mark.parametrize(
    "tags", [{"PixelPaddingValue": None}, {"PixelPaddingValue": 16383}, {"PixelPaddingRangeLimit": 2300}]
)
def test_padding_that_is_not_said_or_not_there_changes_nothing(
    tmp_path: Path, tags: dict[str, object]
) -> None:
    np.testing.assert_allclose(shown(tmp_path, EXPOSED, **tags), AS_EXPOSED, atol=1e-6)


def test_padding_of_a_whole_image_is_taken_for_a_mistake(tmp_path: Path) -> None:
    image = shown(tmp_path, EXPOSED, PixelPaddingValue=0, PixelPaddingRangeLimit=16383)
    np.testing.assert_allclose(image, AS_EXPOSED, atol=1e-6)


def test_a_window_shows_padding_as_it_shows_the_rest(tmp_path: Path) -> None:
    window = {"WindowCenter": 1300, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"}
    pixels = np.where(BORDER, 16383, EXPOSED)
    image = shown(tmp_path, pixels, **window, PixelPaddingValue=16383)
    np.testing.assert_array_equal(image, shown(tmp_path, pixels, **window))


# Bundles, which load radiographs without this package


@pytest.mark.parametrize("photometric", MONOCHROMES)
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"WindowCenter": 1300, "WindowWidth": 2000},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 8192},
        {"VOILUTSequence": []},
        {"ModalityLUTSequence": []},
        {"VOILUTSequence": table(list(range(0, 2400)), bits=12)},
        {"PixelPaddingValue": 2300},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 400},
        {"PixelPaddingValue": 2300, "WindowCenter": 1300, "WindowWidth": 2000},
        {"PixelPaddingValue": 16383, "RescaleSlope": -2, "RescaleIntercept": 7},
        {"WindowCenter": -1300, "WindowWidth": 2000, "RescaleSlope": -1, "RescaleIntercept": 0},
        {"VOILUTSequence": table([entry // 10 for entry in range(2400)], bits=8)},
    ],
)
def test_an_exported_bundle_shows_the_same(tmp_path: Path, photometric: str, tags: dict[str, object]) -> None:
    tags = {**tags, "PhotometricInterpretation": photometric}
    path = write_dicom(tmp_path / "image.dcm", EXPOSED, 14, **tags)
    own = load_radiograph(path)[0].as_tensor()
    torch.testing.assert_close(torch.as_tensor(displayed(dcmread(path))), own, atol=1e-6, rtol=0)
