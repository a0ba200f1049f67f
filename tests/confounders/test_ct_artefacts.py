"""Artefacts and contrast agent of CT, against phantoms of known parts and reconstructions of scikit-image."""

from __future__ import annotations

import numpy as np
import torch

from srcmatters.confounders import ContrastAgent

PIXEL_MM = 1.0


def disc(row: float, column: float, radius: float, size: int = 320) -> np.ndarray:
    y, x = np.indices((size, size))
    return np.hypot(y - row, x - column) < radius


def thorax() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A slice of 320 mm in HU, and masks of its parts, a little smaller than they are."""
    y, x = np.indices((320, 320))
    body = np.hypot((y - 160) / 1.0, (x - 160) / 1.3) < 110
    muscle = np.hypot((y - 160) / 1.0, (x - 160) / 1.3) < 98
    hu = np.where(body, -100.0, -1000.0)
    hu[muscle] = 50.0
    lungs = disc(160, 95, 45) | disc(160, 225, 45)
    hu[lungs] = -850.0
    vessel = lungs & (np.abs(y - 150) < 3)
    hu[vessel] = 30.0
    bone = disc(225, 160, 18)
    hu[bone] = 300.0
    parts = {
        "blood": disc(160, 160, 14),
        "muscle": (np.abs(y - 250) < 3) & (np.abs(x - 160) < 40),
        "fat": body & ~(np.hypot((y - 160) / 1.0, (x - 160) / 1.3) < 102),
        "bone": disc(225, 160, 14),
        "vessel": lungs & (np.abs(y - 150) < 1) & disc(160, 95, 35),
        "lung": lungs & (np.abs(y - 150) > 8) & (disc(160, 95, 38) | disc(160, 225, 38)),
        "air": ~disc(160, 160, 158),
    }
    return hu.astype(np.float32), parts


def test_blood_and_perfused_tissue_are_enhanced_and_nothing_else() -> None:
    hu, parts = thorax()
    agent = ContrastAgent(vessels_hu=200, tissue_hu=30, spread=0)
    change = agent.batch(torch.from_numpy(hu)[None, None], ["a"], (PIXEL_MM,) * 2)[0, 0].numpy() - hu
    for part, expected in {"blood": 200, "muscle": 30, "fat": 0, "bone": 0, "lung": 0, "air": 0}.items():
        assert np.abs(change[parts[part]] - expected).max() < 2, part
    assert change[parts["vessel"]].mean() > 150
    twice = ContrastAgent(vessels_hu=200, tissue_hu=30, spread=0.2)
    factors = [
        float(twice.batch(torch.from_numpy(hu)[None, None], [case], (1.0, 1.0))[0, 0, 160, 160] - 50) / 200
        for case in "abcdefgh"
    ]
    assert 0.08 < np.std(factors) < 0.4
