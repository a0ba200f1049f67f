"""Tag, tube, pacemaker, collimation: they touch what they are made of, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from srcmatters.confounders import CollimationBorder, LateralityMarker, Pacemaker, Tube
from srcmatters.confounders.curves import bezier, chord, distance, solid, spline
from srcmatters.confounders.devices import Shadow

IMAGE = torch.linspace(0, 0.9, 256 * 200).reshape(1, 256, 200)


def outside(box: tuple[slice, slice]) -> torch.Tensor:
    mask = torch.ones(256, 200, dtype=torch.bool)
    mask[box] = False
    return mask


@pytest.mark.parametrize("corner", [None, "upper left", "upper right", "lower left", "lower right"])
def test_tag_leaves_every_pixel_outside_its_box_and_paints_inside(corner: str | None) -> None:
    tag = LateralityMarker("PORTABLE", height=0.05, corner=corner)  # type: ignore[arg-type]
    result = tag(IMAGE, "a")
    mask = outside(tag.box((256, 200)))
    assert torch.equal(result[0][mask], IMAGE[0][mask])
    assert result[0][~mask].max() == 1 and (result >= IMAGE).all()


def test_tag_lies_in_the_corner_it_is_told() -> None:
    for corner in ("upper left", "upper right", "lower left", "lower right"):
        rows, columns = LateralityMarker(corner=corner).box((256, 200))  # type: ignore[arg-type]
        assert (rows.start < 128) == corner.startswith("upper")
        assert (columns.start < 100) == corner.endswith("left")


def test_random_corner_is_the_cases_own_and_takes_all_four() -> None:
    tag = LateralityMarker(corner="random")
    ids = [f"case {index}" for index in range(40)]
    batch = tag.batch(IMAGE.repeat(40, 1, 1, 1), ids) != IMAGE
    where = {(bool(change[0, :128].any()), bool(change[0, :, :100].any())) for change in batch}
    assert len(where) == 4
    assert torch.equal(tag(IMAGE, "case 3") != IMAGE, batch[3])


def test_tag_is_on_every_slice_and_at_half_intensity_half_as_bright() -> None:
    volume = torch.zeros(1, 64, 64, 5)
    white, grey = LateralityMarker()(volume, "a"), LateralityMarker(intensity=0.5)(volume, "a")
    assert torch.equal(white[..., 0], white[..., 4]) and white.max() > 0.9
    assert torch.allclose(grey, white / 2)


@pytest.mark.parametrize("radius", [0.3, 0.5, 2.0, 7.3])
def test_a_wire_keeps_its_cross_section_however_thin_it_is_against_a_pixel(radius: float) -> None:
    for column in (20.0, 20.25, 20.5):
        shadow = Shadow((64, 41))
        shadow.line(np.array([[-20.0, column], [90.0, column]]), radius, opacity=1.0)
        path = shadow.attenuation * 2 * radius  # opacity 1 is a ray through the diameter
        assert torch.allclose(path[5:-5].sum(dim=1), torch.tensor(math.pi * radius**2), rtol=2e-3)


def test_distance_is_that_to_the_nearest_point_of_the_curve() -> None:
    curve = bezier(np.array([[5.0, 5.0], [60.0, 10.0], [10.0, 50.0], [58.0, 60.0]]), 200)
    (rows, columns), apart = distance(curve, (64, 64), 6.0)
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), -1)[rows, columns]
    brute = np.linalg.norm(
        grid[:, :, None] - bezier(np.array([[5.0, 5.0], [60.0, 10.0], [10.0, 50.0], [58.0, 60.0]]), 4000),
        axis=-1,
    ).min(-1)
    near = brute < 5.9
    assert np.allclose(apart.numpy()[near], brute[near], atol=0.08)
    assert np.isinf(apart.numpy()[brute > 6.2]).all()


def test_spline_runs_through_its_knots() -> None:
    knots = np.array([[0.0, 0.0], [10.0, 3.0], [12.0, 30.0], [40.0, 31.0]])
    curve = spline(knots)
    assert all(np.linalg.norm(curve - knot, axis=1).min() < 1e-9 for knot in knots)


def test_a_solid_covers_its_area_wherever_it_is_turned() -> None:
    for angle in (0.0, 0.4, 1.2):
        _, coverage = solid(np.array([40.3, 50.7]), (11.5, 20.25), angle, 0.0, (90, 100))
        assert coverage.sum() == pytest.approx(4 * 11.5 * 20.25, rel=5e-3)
    _, circle = solid(np.array([40.3, 50.7]), (15.0, 15.0), 0.3, 15.0, (90, 100))
    assert circle.sum() == pytest.approx(math.pi * 15**2, rel=5e-3)
    assert chord(torch.tensor([0.0]), 1.0) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    "device",
    [
        Tube(),
        Tube("nasogastric tube"),
        Tube("endotracheal tube"),
        Tube("ECG leads"),
        Pacemaker(),
        Pacemaker(1),
    ],
)
def test_a_device_adds_its_attenuation_once_and_touches_nothing_else(device: Tube | Pacemaker) -> None:
    parameters = [device.draw(np.random.default_rng(5))]
    shadow = device.shadow((256, 200), parameters[0])
    result = device.apply(IMAGE.unsqueeze(0), parameters)[0]
    mask = outside(shadow.box)
    assert torch.equal(result[0][mask], IMAGE[0][mask])
    assert torch.equal(result[0][shadow.attenuation == 0], IMAGE[0][shadow.attenuation == 0])
    # Beer-Lambert: attenuations add up, t' = t + p / L, whatever is behind the device; white stays white.
    assert torch.allclose(
        result[0], (IMAGE[0] + shadow.attenuation / device.latitude).clamp(max=1), atol=1e-6
    )
    assert 0.003 < float((shadow.attenuation > 0).float().mean()) < 0.2


def test_a_tube_is_hollow_and_has_a_stripe() -> None:
    tube = Tube("endotracheal tube", diameter_mm=34.4, jitter=0)
    shadow = tube.shadow((512, 512), tube.draw(np.random.default_rng(0))).attenuation
    profile = shadow[60][shadow[60] > 0]
    middle, edge = profile[len(profile) // 2], profile[2:8].max()
    assert edge > 1.4 * middle
    assert profile.max() > 1.5 * edge  # the stripe


def test_opacity_and_latitude_scale_the_shadow() -> None:
    dark = torch.zeros(1, 256, 256)
    usual = Tube()(dark, "a")
    assert torch.allclose(Tube(opacity=2)(dark, "a"), 2 * usual, atol=1e-6)
    assert torch.allclose(Tube(latitude=8)(dark, "a"), usual / 2, atol=1e-6)


def test_a_device_survives_resizing_to_the_input_of_a_network() -> None:
    for device in (Tube(), Tube("ECG leads"), Pacemaker()):
        image = torch.full((1, 1, 512, 512), 0.4)
        small = torch.nn.functional.interpolate(
            device(image[0], "a")[None], size=(160, 160), antialias=True, mode="bilinear"
        )
        assert (small - 0.4).max() * 255 > 8


def test_collimation_changes_nothing_inside_the_field_and_everything_outside() -> None:
    border = CollimationBorder(margin=0.1, value=0.95)
    drawn = border.draw(np.random.default_rng(2))
    field = border.field((256, 200), drawn)
    result = border.apply(IMAGE.unsqueeze(0), [drawn])[0, 0]
    assert torch.equal(result[field == 1], IMAGE[0][field == 1])
    assert torch.allclose(result[field == 0], torch.tensor(0.95), atol=1e-6)
    width = 1 - field.mean(dim=1)[100:150].mean()
    assert float(width) == pytest.approx(drawn["sides"][2] + drawn["sides"][3], abs=0.03)


def test_pacemaker_leads_run_from_the_can_into_the_heart() -> None:
    shadows = {}
    for leads in (1, 2):
        device = Pacemaker(leads, jitter=0)
        drawn = device.draw(np.random.default_rng(0))
        shadows[leads] = device.shadow((512, 512), drawn).attenuation
        can = shadows[leads][100:156, 380:440]
        assert can.mean() > 1  # metal
        ventricle = shadows[leads][345:362, 305:330]  # apex, left of the midline and far below the can
        assert ventricle.max() > 1.5  # the tip electrode
    atrium = slice(260, 300), slice(185, 225)
    assert shadows[1][atrium].max() == 0 and shadows[2][atrium].max() > 1.5
