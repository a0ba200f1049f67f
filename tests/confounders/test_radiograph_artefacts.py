"""Motion, grid lines and dead pixels, against filters and formulas of NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from srcmatters.confounders import MotionBlur

TEXTURE = torch.from_numpy(
    ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 1, (120, 160)), 2.5)
).float()


@pytest.mark.parametrize(("degrees", "axis", "pixels"), [(0.0, 0, 9), (90.0, 1, 15)])
def test_motion_along_an_axis_is_a_mean_over_its_length(degrees: float, axis: int, pixels: int) -> None:
    spacing = (1.0, 0.6)  # 9 mm are 9 rows or 15 columns
    result = MotionBlur(9.0, degrees).batch(TEXTURE[None, None], ["a"], spacing)[0, 0].numpy()
    expected = ndimage.uniform_filter1d(TEXTURE.double().numpy(), pixels, axis=axis, mode="mirror")
    assert np.abs(result - expected)[12:-12, 12:-12].max() < 0.004  # its own spread is .06
    assert result.mean() == pytest.approx(float(TEXTURE.mean()), rel=1e-3)


def test_an_oblique_motion_spreads_a_point_along_its_direction_alone() -> None:
    y, x = np.indices((121, 121)) - 60
    blob = torch.from_numpy(np.exp(-(y**2 + x**2) / 18)).float()
    result = MotionBlur(20.0, 30.0).batch(blob[None, None], ["a"], (1.0, 1.0))[0, 0].double().numpy()
    weights = result / result.sum()
    angle = np.deg2rad(30)
    along, beside = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    assert (weights * along**2).sum() == pytest.approx(9 + 20**2 / 12, rel=0.02)
    assert (weights * beside**2).sum() == pytest.approx(9, rel=0.02)
