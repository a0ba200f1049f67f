"""Lead marker, calipers, one's own picture and surgical clips, against drawings of Pillow and SciPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from srcmatters.confounders import CaliperCrosses, LeadMarker, OwnPicture, SurgicalClips
from srcmatters.confounders.laterality_marker import FONT
from srcmatters.errors import InputError

SHAPES = (((430, 430), (1.0, 1.0)), ((430, 860), (1.0, 0.5)), ((860, 430), (0.5, 1.0)))


def test_a_lead_letter_is_a_blurred_drawing_added_to_the_attenuation() -> None:
    marker = LeadMarker("L", height_mm=60, blur_mm=1.5, degrees=0, jitter=0, opacity=0.7, latitude=3.5)
    image = torch.linspace(0, 0.8, 430 * 430).reshape(1, 430, 430)
    result = marker.batch(image[None], ["a"], (1.0, 1.0))[0, 0].numpy()
    font = ImageFont.truetype(str(FONT), round(60 / 0.729), layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = (int(edge) for edge in font.getbbox("L"))
    canvas = Image.new("L", (430, 430))
    middle = (0.10 * 429 - (bottom - top - 1) / 2, 0.12 * 429 - (right - left - 1) / 2)
    ImageDraw.Draw(canvas).text((round(middle[1]) - left, round(middle[0]) - top), "L", fill=255, font=font)
    letter = ndimage.gaussian_filter(np.asarray(canvas) / 255, 1.5, mode="constant")
    expected = np.minimum(image[0].numpy() + 2.2 * 0.7 / 3.5 * letter, 1)
    assert np.abs(result - expected).max() < 2e-3
    assert (result - image[0].numpy()).max() > 0.4


def test_a_lead_letter_lies_near_its_corner_and_is_turned() -> None:
    image = torch.zeros(1, 1, 430, 430)
    for corner, rows, columns in (("upper right", slice(0, 120), slice(310, None)),
                                  ("lower left", slice(310, None), slice(0, 120))):  # fmt: skip
        changed = LeadMarker(corner=corner).batch(image, ["case 7"])[0, 0]  # type: ignore[arg-type]
        assert int((changed > 0).sum()) == int((changed[rows, columns] > 0).sum()) > 0
    places = [LeadMarker(corner="random").batch(image, [case])[0, 0].nonzero()[0].tolist() for case in "abcd"]
    assert len({(row > 215, column > 215) for row, column in places}) > 1


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_a_lead_letter_has_its_height_in_mm(shape: tuple[int, int], spacing: tuple[float, float]) -> None:
    marker = LeadMarker("I", height_mm=40, blur_mm=0, degrees=0)
    changed = marker.batch(torch.zeros(1, 1, *shape), ["a"], spacing)[0, 0] > 0.25
    assert int(changed.any(1).sum()) * spacing[0] == pytest.approx(40, abs=1.6)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_crosses_are_where_the_measurement_ends(shape: tuple[int, int], spacing: tuple[float, float]) -> None:
    calipers = CaliperCrosses(arm_mm=21, line_mm=3, dotted=False, intensity=0.8)
    case = {**calipers.draw(np.random.default_rng(0)), "spacing_mm": spacing}
    case |= {"middles": np.array([[0.5, 0.5]]), "angles": np.array([0.0]), "lengths": np.array([100.0])}
    image = torch.full((1, 1, *shape), 0.2)
    changed = calipers.apply(image, [case])[0, 0].numpy()
    row, column = np.indices(shape)
    down = (row - (shape[0] - 1) / 2) * spacing[0]
    across = np.abs((column - (shape[1] - 1) / 2) * spacing[1]) - 50  # both crosses at once
    plus = ((np.abs(down) < 1.5) & (np.abs(across) < 10.5)) | ((np.abs(down) < 10.5) & (np.abs(across) < 1.5))
    edge = ndimage.binary_dilation(plus, iterations=2) & ~ndimage.binary_erosion(plus, iterations=1)
    assert np.allclose(changed[plus & ~edge], 0.8, atol=1e-6)
    assert np.allclose(changed[~plus & ~edge], 0.2, atol=1e-6)
    area = (changed - 0.2).sum() / 0.6 * spacing[0] * spacing[1]
    assert area == pytest.approx(2 * (2 * 3 * 21 - 9), rel=0.03)


def test_a_dotted_line_joins_the_crosses() -> None:
    image = torch.zeros(1, 1, 430, 430)
    with_dots, without = (CaliperCrosses(dotted=dotted).batch(image, ["a"])[0, 0] for dotted in (True, False))
    dots = ndimage.label((with_dots > without + 0.3).numpy())[1]
    assert 5 <= dots <= 16 and bool((with_dots >= without).all())


def png(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A picture of 80 x 40 pixels, half of it transparent."""
    stream = np.random.default_rng(0)
    grey = stream.integers(0, 256, (40, 80), dtype=np.uint8)
    alpha = np.where(np.arange(80) < 40, 255, 64).astype(np.uint8) * np.ones((40, 1), np.uint8)
    path = folder / "marker.png"
    Image.fromarray(np.stack([grey, grey, grey, alpha], -1), "RGBA").save(path)
    return path, grey / 255, alpha / 255


def test_a_picture_is_blended_with_its_transparency_at_its_own_resolution(tmp_path: Path) -> None:
    path, grey, alpha = png(tmp_path)
    image = torch.rand(1, 1, 200, 240, generator=torch.Generator().manual_seed(0))
    picture = OwnPicture(path, width_mm=40, position=(0.5, 0.25), opacity=0.8)
    result = picture.batch(image, ["a"], (0.5, 0.5))[0, 0].numpy()
    expected = image[0, 0].numpy().copy()
    rows, columns = slice(80, 120), slice(20, 100)
    expected[rows, columns] = expected[rows, columns] * (1 - 0.8 * alpha) + 0.8 * alpha * grey
    assert np.abs(result - expected).max() < 1e-5
    beam = OwnPicture(path, 40, (0.5, 0.25), opacity=1.5, attenuates=True, latitude=3.0)
    added = image[0, 0].numpy().copy()
    added[rows, columns] = np.minimum(added[rows, columns] + 1.5 * alpha * grey / 3, 1)
    assert np.abs(beam.batch(image, ["a"], (0.5, 0.5))[0, 0].numpy() - added).max() < 1e-5


def test_a_picture_is_averaged_where_it_has_more_pixels(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(path)
    result = OwnPicture(path, width_mm=16, position=(0.5, 0.5)).batch(
        torch.zeros(1, 1, 64, 64), ["a"], (1, 1)
    )
    inside = result[0, 0, 26:38, 26:38]
    assert float(inside.mean()) == pytest.approx(0.5, abs=0.02) and float(inside.std()) < 0.05


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_a_picture_has_its_size_in_mm_and_may_lie_across_the_edge(
    shape: tuple[int, int], spacing: tuple[float, float], tmp_path: Path
) -> None:
    path = tmp_path / "white.png"
    Image.new("L", (60, 30), 255).save(path)
    image = torch.zeros(1, 1, *shape)
    inside = OwnPicture(path, 60, (0.5, 0.5)).batch(image, ["a"], spacing)[0, 0]
    assert float(inside.sum()) * spacing[0] * spacing[1] == pytest.approx(60 * 30, rel=0.01)
    corner = OwnPicture(path, 60, (0.0, 1.0)).batch(image, ["a"], spacing)[0, 0]
    assert float(corner.sum()) * spacing[0] * spacing[1] == pytest.approx(30 * 15, rel=0.08)
    assert corner[0, -1] == 1


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        OwnPicture(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png, expected a PNG"):
        OwnPicture(tmp_path / "text.png")


def test_a_clip_has_the_same_metal_at_any_angle() -> None:
    device = SurgicalClips(clips=1)
    masses, lengths = [], []
    for cosine in (1.0, 0.6, 0.5):
        case = {"places": np.array([[0.5, 0.5]]), "angles": np.array([0.0]), "cosines": np.array([cosine])}
        shadow = device.shadow((200, 200), case | {"spacing_mm": (0.1, 0.1)}).on_image()
        masses.append(float(shadow.sum()) * 0.01)
        lengths.append(int((shadow > 0.7).any(0).sum()) * 0.1)
    assert masses == pytest.approx([6 * np.pi * 0.6**2 * 1.4 / 1.2] * 3, rel=0.02)
    assert lengths == pytest.approx([6.4, 4.0, 3.4], abs=0.3)


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("axilla", (0.2, 0.5), (0, 0.25)),
        ("neck", (0, 0.2), (0.35, 0.65)),
        ("upper abdomen", (0.8, 1), (0.2, 0.5)),
    ],
)
def test_clips_lie_where_the_operation_was(place: str, rows: tuple, columns: tuple) -> None:
    image = torch.full((1, 1, 400, 400), 0.3)
    changed = SurgicalClips(place, clips=8).batch(image, ["a"])[0, 0] - 0.3  # type: ignore[arg-type]
    inside = torch.zeros_like(changed)
    box = tuple(slice(round(400 * low), round(400 * high)) for low, high in (rows, columns))
    inside[box] = changed[box]
    assert torch.equal(inside, changed)
    assert 3 <= ndimage.label((changed > 0.05).numpy())[1] <= 8
