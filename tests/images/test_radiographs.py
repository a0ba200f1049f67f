"""Radiographs come out as they are displayed: upright, bright bone, scaled by their bit depth."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from malformed_files import chunk
from PIL import Image
from radiograph_files import write_dicom

from srcmatters.errors import InputError
from srcmatters.images import LoadRadiographd, load_radiograph


def gradient(rows: int = 6, columns: int = 10) -> np.ndarray:
    """Brighter downwards, and each column different: a transposition cannot hide."""
    return (np.arange(rows)[:, None] * 20 + np.arange(columns)[None, :]).astype(np.uint8)


def test_a_png_keeps_its_orientation_and_its_grey_values(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "image.png")
    image = load_radiograph(tmp_path / "image.png")
    assert image.shape == (1, 6, 10) and image.dtype == torch.float32
    np.testing.assert_allclose(image[0].numpy(), gradient() / 255, atol=1e-7)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_grey_picture_stored_in_colour_is_the_same_picture(tmp_path: Path, mode: str) -> None:
    Image.fromarray(gradient()).convert(mode).save(tmp_path / "image.png")
    np.testing.assert_allclose(
        load_radiograph(tmp_path / "image.png")[0].numpy(), gradient() / 255, atol=1 / 255
    )


def test_sixteen_bits_are_scaled_by_sixteen_bits(tmp_path: Path) -> None:
    pixels = gradient().astype(np.uint16) * 257
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    np.testing.assert_allclose(load_radiograph(tmp_path / "deep.png")[0].numpy(), gradient() / 255, atol=1e-6)


def test_png_and_dicom_of_one_image_agree(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "image.png")
    write_dicom(tmp_path / "image.dcm", gradient())
    torch.testing.assert_close(
        load_radiograph(tmp_path / "image.png").as_tensor(),
        load_radiograph(tmp_path / "image.dcm").as_tensor(),
    )


def test_the_pixel_spacing_arrives_in_row_and_column_order(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "spaced.dcm", gradient(), PixelSpacing=[0.2, 0.5])
    assert load_radiograph(path).pixdim.tolist()[:2] == pytest.approx([0.2, 0.5])


def test_a_single_spacing_is_an_unknown_one(tmp_path: Path) -> None:
    stored = np.arange(60).reshape(6, 10)
    image = load_radiograph(write_dicom(tmp_path / "one.dcm", stored, PixelSpacing="0.1"))
    assert image.meta["spacing_known"] is False


def test_a_spacing_of_zero_is_an_unknown_one(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "zero.dcm", gradient(), PixelSpacing=[0, 0])
    assert load_radiograph(path).pixdim.tolist()[:2] == [1, 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.png", b""), ("text.png", b"not an image"), ("cut.dcm", b"\0" * 128 + b"DICM" + b"\x08\x00")],
)
def test_an_unreadable_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_radiograph(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_png_is_refused_not_filled_with_grey(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.png"):
        load_radiograph(tmp_path / "cut.png")


def test_pixels_of_an_unknown_scale_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)).save(tmp_path / "float.tiff")
    with pytest.raises(InputError, match=r"float\.tiff: TIFF pixels are floats"):
        load_radiograph(tmp_path / "float.tiff")


def test_twelve_bits_in_a_file_of_sixteen_are_warned_of(tmp_path: Path) -> None:
    Image.fromarray(gradient().astype(np.uint16) * 16).save(tmp_path / "deep.png")
    with pytest.warns(UserWarning, match=r"deep\.png: 16 bit"):
        load_radiograph(tmp_path / "deep.png")


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_twelve_bits_in_sixteen_of_colour_or_transparency_are_warned_of(
    tmp_path: Path, colour: int, channels: int
) -> None:
    """Pillow writes no such PNG, and of what it reads it keeps the upper 8 bits."""
    grey = np.arange(4096).reshape(64, 64)
    rows = np.stack([grey] * channels, -1).astype(">u2")
    rows[..., channels - 1] = grey if channels == 3 else 65535
    header = struct.pack(">IIBBBBB", 64, 64, 16, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    (tmp_path / "deep.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)
    )
    with pytest.warns(UserWarning, match="its brightest pixel is 4095 of 65535"):
        load_radiograph(tmp_path / "deep.png")


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(gradient()), Image.fromarray(255 - gradient())]
    frames[0].save(tmp_path / "film.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 frames"):
        load_radiograph(tmp_path / "film.tiff")


def test_real_radiographs_load_with_bright_bone(shared_data: Path) -> None:
    # The third chest in this folder, chest-dx-monochrome1.dcm, is the lateral view of a dog.
    for name in ("chest-cr-jpeg", "chest-cr-monochrome1-jpeg2000"):
        image = load_radiograph(shared_data / "dicom" / f"{name}.dcm")
        assert 0 <= image.min() < image.max() <= 1
        _, rows, columns = image.shape
        middle = image[0, rows // 4 : rows * 3 // 4, columns * 9 // 20 : columns * 11 // 20].mean()
        lungs = torch.cat(
            [
                image[0, rows * 3 // 10 : rows // 2, columns // 5 : columns * 2 // 5].flatten(),
                image[0, rows * 3 // 10 : rows // 2, columns * 3 // 5 : columns * 4 // 5].flatten(),
            ]
        ).mean()
        assert middle > lungs, f"{name}: mediastinum {middle:.2f} is not brighter than lungs {lungs:.2f}"


def test_the_dictionary_form_leaves_its_input_alone(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "image.png")
    data = {"image": str(tmp_path / "image.png"), "label": 1}
    loaded = LoadRadiographd("image")(data)
    assert isinstance(data["image"], str) and loaded["label"] == 1 and loaded["image"].shape == (1, 6, 10)
