"""Motion, grid lines and dead pixels, against filters and formulas of NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from srcmatters.confounders import DeadPixels, GridLines, PatientMotion

TEXTURE = torch.from_numpy(
    ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 1, (120, 160)), 2.5)
).float()


@pytest.mark.parametrize(("degrees", "axis", "pixels"), [(0.0, 0, 9), (90.0, 1, 15)])
def test_motion_along_an_axis_is_a_mean_over_its_length(degrees: float, axis: int, pixels: int) -> None:
    spacing = (1.0, 0.6)  # 9 mm are 9 rows or 15 columns
    result = PatientMotion(9.0, degrees).batch(TEXTURE[None, None], ["a"], spacing)[0, 0].numpy()
    expected = ndimage.uniform_filter1d(TEXTURE.double().numpy(), pixels, axis=axis, mode="mirror")
    assert np.abs(result - expected)[12:-12, 12:-12].max() < 0.004  # its own spread is .06
    assert result.mean() == pytest.approx(float(TEXTURE.mean()), rel=1e-3)


def test_an_oblique_motion_spreads_a_point_along_its_direction_alone() -> None:
    y, x = np.indices((121, 121)) - 60
    blob = torch.from_numpy(np.exp(-(y**2 + x**2) / 18)).float()
    result = PatientMotion(20.0, 30.0).batch(blob[None, None], ["a"], (1.0, 1.0))[0, 0].double().numpy()
    weights = result / result.sum()
    angle = np.deg2rad(30)
    along, beside = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    assert (weights * along**2).sum() == pytest.approx(9 + 20**2 / 12, rel=0.02)
    assert (weights * beside**2).sum() == pytest.approx(9, rel=0.02)


@pytest.mark.parametrize(("degrees", "axis"), [(0.0, 1), (90.0, 0)])
def test_grid_lines_modulate_the_exposure_of_each_pixel(degrees: float, axis: int) -> None:
    spacing, latitude, modulation = (1.5, 0.5), 3.5, 0.2
    image = torch.full((1, 1, 60, 90), 0.5)
    image[..., 10, 10], image[..., 20, 20] = 0.0, 1.0
    grid = GridLines(7.0, modulation, degrees, latitude)
    result = grid.batch(image, ["case 7"], spacing)[0, 0].double().numpy()
    assert result[10, 10] == 0 and result[20, 20] == 1
    profile = result[30] if axis == 1 else result[:, 30]
    assert np.ptp(result, axis=1 - axis)[25:].max() < 1e-6  # nothing changes along a line
    phase = grid.parameters_of(["case 7"], (60, 90), spacing)[0]["phase"]
    fine = (np.arange(len(profile) * 200) + 0.5) / 200 - 0.5
    stripes = 1 + modulation * np.cos(2 * np.pi * fine * spacing[axis] / 7.0 + phase)
    exposure = stripes.reshape(-1, 200).mean(1)
    assert np.abs(profile - (0.5 - np.log(exposure) / latitude)).max() < 1e-5


def test_stripes_that_pixels_average_out_are_reported() -> None:
    with pytest.warns(UserWarning, match="changes hardly anything: pixels leave"):
        GridLines(period_mm=1.0).batch(torch.full((1, 1, 32, 32), 0.5), ["a"], (1.0, 1.0))


@pytest.mark.parametrize(("shape", "spacing"), [((40, 50), (1.0, 1.0)), ((40, 100), (1.0, 0.5))])
def test_defects_are_the_area_average_of_a_fine_drawing(
    shape: tuple[int, int], spacing: tuple[float, float]
) -> None:
    detector = DeadPixels(clusters=5, cluster_mm=3.3, lines=2, line_mm=0.7, detector=5)
    result = detector.batch(torch.full((1, 1, *shape), 0.4), ["a"], spacing)[0, 0].numpy()
    finer = 50
    fine = np.full((shape[0] * finer, shape[1] * finer), 0.4)
    y = (np.arange(fine.shape[0]) + 0.5) / finer
    x = (np.arange(fine.shape[1]) + 0.5) / finer
    for (down, across), value in zip(detector.places, detector.values, strict=False):
        rows = np.abs(y - down * shape[0]) * spacing[0] < 3.3 / 2
        columns = np.abs(x - across * shape[1]) * spacing[1] < 3.3 / 2
        fine[np.ix_(rows, columns)] = value
    for across, value in zip(detector.columns, detector.values[5:], strict=True):
        fine[:, np.abs(x - across * shape[1]) * spacing[1] < 0.7 / 2] = value
    expected = fine.reshape(shape[0], finer, shape[1], finer).mean((1, 3))
    assert np.abs(result - expected).max() < 0.07 and np.abs(result - expected).mean() < 2e-3


def test_one_detector_has_its_defects_at_one_place() -> None:
    image = torch.full((2, 1, 64, 64), 0.4)
    both = DeadPixels(clusters=20).batch(image, ["a", "b"])
    assert torch.equal(both[0], both[1])
    assert not torch.equal(both, DeadPixels(clusters=20, detector=1).batch(image, ["a", "b"]))
