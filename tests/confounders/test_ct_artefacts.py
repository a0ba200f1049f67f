"""Artefacts and contrast agent of CT, against phantoms of known parts and reconstructions of scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.transform import iradon, radon

from srcmatters.confounders import (
    ContrastAgent,
    MetalArtefact,
    PatientMotion,
    Pixelation,
    RingArtefact,
    TruncatedField,
)
from srcmatters.confounders.scan_motion import moved_during_scan, patient_share

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


def test_a_drifting_channel_is_the_ring_that_scikit_image_reconstructs() -> None:
    rings = RingArtefact(rings=1, channel_mm=2.0)
    case = {"radii_mm": np.array([50.25]), "errors": np.array([0.02]), "axis": np.zeros(2), "pixel_mm": 1.0}
    ring = rings.ring_hu((201, 201), case).numpy()
    sinogram = np.zeros((201, 720))
    for side in (-1, 1):  # a channel of 2 mm at 50.25 mm over bins of 1 mm
        for place in range(201):
            low, high = place - 100.5, place - 99.5
            covered = min(high, side * 50.25 + 1) - max(low, side * 50.25 - 1)
            sinogram[place] -= 0.02 * max(covered, 0)
    expected = iradon(sinogram, np.arange(720) / 4, filter_name="ramp", circle=True) / 0.02 * 1000 / 0.999
    y, x = np.indices((201, 201)) - 100
    radius = np.hypot(y, x)
    around = [((radius > low) & (radius < low + 2)) for low in (10, 20, 30, 40, 44, 56, 60, 70)]
    for zone in around:  # beside the ring itself, whose profile depends on the kernel
        assert ring[zone].mean() == pytest.approx(expected[zone].mean(), abs=1.5)
    whole = (radius > 44) & (radius < 56)
    assert ring[whole].sum() == pytest.approx(expected[whole].sum(), rel=0.1)
    assert ring[(radius > 49) & (radius < 51)].mean() < -10  # too much signal: less attenuation


def test_rings_are_round_about_their_axis_and_the_same_in_all_slices() -> None:
    air = torch.full((1, 1, 128, 96, 3), -1000.0)
    air[:, :, 40:90, 30:70] = 0.25  # not whole numbers, so nothing is rounded
    change = RingArtefact().batch(air, ["a"], (2.0, 2.0, 1.0)) - air
    assert torch.allclose(change[..., 40:90, 30:70, 0], change[..., 40:90, 30:70, 2], atol=1e-3)
    case = RingArtefact().draw(np.random.default_rng(0)) | {"pixel_mm": 2.0, "axis": np.zeros(2)}
    ring = RingArtefact().ring_hu((128, 128), case)
    assert torch.allclose(ring, ring.T) and torch.allclose(ring, ring.flip(0)) and float(ring.std()) > 1


@pytest.mark.parametrize("most", [6, 60])
def test_a_truncated_field_is_what_scikit_image_reconstructs_of_the_views_that_are_left(most: int) -> None:
    size, middle = 201, 100
    y, x = np.indices((size, size)) - middle
    body = np.hypot(y / 50, x / 80) < 1
    hu = np.where(body, 0.25, -1000.0).astype(np.float32)
    known = {"pixel_mm": 1.0, "middle": np.zeros(2)}
    field = TruncatedField(share=0.75, extrapolation_mm=most)
    result = field.changed(torch.from_numpy(hu), known).numpy()
    angles = np.arange(360) / 2
    sinogram = radon(body.astype(float), angles, circle=True)
    places = np.abs(np.arange(size) - middle)[:, None]
    width = x[body].max() - x[body].min() + 1
    radius = 0.75 * width / 2
    last = sinogram[[middle - round(radius), middle + round(radius)]]
    edges = np.where(np.arange(size)[:, None] < middle, last[0], last[1])
    reach = np.clip(edges**2 / (6 * radius), 1e-6, most)
    fading = np.cos(np.pi / 2 * np.clip((places - radius) / reach, 0, 1)) ** 2
    kept = np.where(places > radius, edges * fading, sinogram)
    expected = iradon(kept, angles, filter_name="ramp", circle=True) * 1000 - 1000
    inside = np.hypot(y, x) < radius - 6
    for zone in (np.hypot(y, x) < 10, (np.abs(y) < 5) & inside & (x > 40), inside & body & (np.abs(x) < 5)):
        assert result[zone].mean() == pytest.approx(expected[zone].mean(), abs=15)
    assert (result[np.hypot(y, x) > radius + 1] == -1024).all()
    edge = (np.abs(y) < 3) & (x > radius - 10) & (x < radius - 3)
    if most > 6:  # continued far enough
        return
    assert result[edge].mean() > result[np.hypot(y, x) < 10].mean() + 30  # bright rim


def test_a_patient_in_the_field_stays_as_he_is() -> None:
    y, x = np.indices((121, 121)) - 60
    disc_hu = np.where(np.hypot(y, x) < 30, 40.0, -1000.0)
    hu = torch.from_numpy(ndimage.gaussian_filter(disc_hu, 1.5)).float()
    result = TruncatedField(share=1.3).changed(hu, {"pixel_mm": 1.0, "middle": np.zeros(2)})
    inside = torch.from_numpy(np.hypot(y, x) < 26)
    assert (result - hu)[inside].abs().max() < 3


def test_metal_is_a_polychromatic_scan_that_scikit_image_reconstructs() -> None:
    size = 181
    y, x = np.indices((size, size)) - 90
    hu = np.where(np.hypot(y / 60, x / 75) < 1, 0.25, -1000.0).astype(np.float32)
    metal = MetalArtefact("steel", diameter_mm=8, apart_mm=50, photons=1e30)
    known = {"pixel_mm": 1.0, "shift_mm": np.zeros((2, 2)), "noise_seed": 0}
    result = metal.changed(torch.from_numpy(hu), known).numpy()
    rods = metal.rods(torch.from_numpy(hu), known).double().numpy()
    assert rods.sum() == pytest.approx(2 * np.pi * 16, rel=0.02)
    angles = np.arange(360) / 2
    water = radon((hu > -500) * (1 - rods), angles, circle=True)
    iron = radon(rods, angles, circle=True)
    signal, calibration, lengths = np.zeros_like(water), np.zeros(1001), np.arange(1001) / 2
    for share, of_water, of_iron in zip(
        (0.13, 0.32, 0.28, 0.19, 0.08),
        (0.0268, 0.0206, 0.0184, 0.0171, 0.0161),
        (2.857, 0.949, 0.469, 0.293, 0.211),
        strict=True,
    ):
        signal += share * np.exp(-of_water * water - of_iron * iron)
        calibration += share * np.exp(-of_water * lengths)
    measured = np.interp(-np.log(signal), -np.log(calibration), lengths)
    own = metal.measured_water(water, iron, np.zeros_like(water))
    assert np.allclose(own, measured, atol=0.05)
    expected = iradon(measured, angles, filter_name="ramp", circle=True) * 1000 - 1000
    row, column = (int(place) for place in np.argwhere(rods > 0.9).mean(0).round())
    between = (np.abs(y + 90 - row) < 3) & (np.abs(x + 90 - column) < 14)
    front = np.hypot(y + 30, x) < 12
    assert expected[between].mean() < -60  # the dark band is there
    assert result[between].mean() == pytest.approx(expected[between].mean(), rel=0.15)
    assert result[front].mean() == pytest.approx(expected[front].mean(), abs=15)
    assert result[rods > 0.99].min() > 2500


def test_few_photons_make_streaks_along_the_rods_alone() -> None:
    hu = torch.full((121, 121), -1000.0)
    hu[30:90, 20:100] = 0.25
    known = {"pixel_mm": 3.0, "shift_mm": np.zeros((2, 2)), "noise_seed": 0}
    quiet, noisy = (MetalArtefact("steel", 14, photons=n).changed(hu, known) for n in (1e30, 3e4))
    assert float((noisy - quiet)[40:80, 30:90].std()) > 10
    measured = MetalArtefact(photons=1e4).measured_water(
        np.array([0.0, 100.0, 300.0]), np.zeros(3), np.ones(3)
    )
    assert np.allclose(measured, [0, 100, 300], atol=0.01)


def test_a_patient_who_moves_is_what_scikit_image_reconstructs_of_views_that_do_not_agree() -> None:
    """Two rods of bone in water that move by 8 mm down and 6 mm across; each view sees them elsewhere."""
    size, views, start = 161, 180, 0.3
    y, x = np.indices((size, size)) - 80

    def seen(down: float, across: float) -> np.ndarray:
        body = np.hypot((y - down) / 50, (x - across) / 62) < 1
        rods = sum(np.hypot(y - down - 5, x - across - side) < 9 for side in (-30, 30))
        return ndimage.gaussian_filter(body + 0.8 * rods, 1.2)

    hu = torch.from_numpy(seen(0, 0) * 999.75 - 999.75).float()
    result = moved_during_scan(hu, 1.0, (8.0, 6.0), start).numpy()
    sinogram = []
    for view in range(views):
        share = (view + 0.5) / views  # of half a turn; the angles of scikit-image start at the columns
        when = (share - start) % 1 - 0.5
        pair = seen(8 * when, 6 * when), seen(0, 0)
        sinogram.append(np.subtract(*[radon(one, [180 * share - 90], circle=True)[:, 0] for one in pair]))
    angles = 180 * (np.arange(views) + 0.5) / views - 90
    expected = iradon(np.array(sinogram).T, angles, filter_name="ramp", circle=True) * 1000
    inside = np.hypot(y / 50, x / 62) < 1  # beyond it streaks are cut off at -1024 HU
    inside &= result > -1024
    change = (result - hu.numpy())[inside]
    assert expected[inside].std() > 80
    assert np.corrcoef(expected[inside], change)[0, 1] > 0.97
    assert (change - expected[inside]).std() < 0.25 * change.std()


def test_the_table_stands_still_and_a_radiograph_is_blurred() -> None:
    hu = torch.full((1, 160, 160), -1000.0)
    hu[:, 40:110, 30:130] = 40
    hu[:, 135:139, 20:140] = 200
    assert patient_share(hu[0].numpy(), 1.0)[134:140].max() < 0.01
    moved = PatientMotion(10, 90.0).batch(hu[None], ["a"], (1.0, 1.0))[0]
    change = (moved - hu).abs()
    ends = change[:, 135:139, 17:23].amax(), change[:, 135:139, 137:143].amax()
    assert change[:, 60, 27:33].max() > 300 > 2 * max(ends)  # of the patient, and of the table under him
    assert torch.equal(moved, moved.round()) and float(moved.min()) >= -1024
    display = (hu + 1000) / 1300
    cases = [PatientMotion(10, 90.0).batch(display[None], [case], (1.0, 1.0)) for case in "ab"]
    scans = [PatientMotion(10, 90.0).batch(hu[None], [case], (1.0, 1.0)) for case in "ab"]
    assert torch.equal(*cases) and not torch.equal(*scans)


def test_rings_lie_at_the_same_millimetres_whatever_the_field() -> None:
    cylinder = torch.full((1, 1, 400, 400), -1000.0)
    cylinder[..., 1:-1, 1:-1] = 0.25
    small, large = (
        RingArtefact(rings=20).batch(cylinder[..., :pixels, :pixels], ["a"], (0.5, 0.5))[0, 0]
        - cylinder[0, 0, :pixels, :pixels]
        for pixels in (300, 400)
    )
    assert float(large[100:300, 100:300].std()) > 2
    assert torch.allclose(small[50:250, 50:250], large[100:300, 100:300], atol=0.5)


def test_streaks_of_metal_are_as_strong_on_any_pixel() -> None:
    strengths = []
    for pixel_mm in (0.6, 1.0):
        size = round(300 / pixel_mm)
        y, x = (np.indices((size, size)) - (size - 1) / 2) * pixel_mm
        hu = torch.from_numpy(np.where(np.hypot(y / 90, x / 120) < 1, 0.25, -1000.0)).float()
        known = {"pixel_mm": pixel_mm, "shift_mm": np.zeros((2, 2)), "noise_seed": 0}
        noisy, quiet = (
            MetalArtefact("steel", 12, photons=photons).changed(hu, known) for photons in (3e4, 1e30)
        )
        zone = torch.from_numpy((np.abs(y + 20) < 40) & (np.abs(x) < 60))
        smooth = ndimage.gaussian_filter((noisy - quiet).numpy(), 2 / pixel_mm)
        strengths.append(float(smooth[zone.numpy()].std()))
    assert strengths[1] == pytest.approx(strengths[0], rel=0.08)


def test_cells_that_do_not_divide_the_image_keep_its_mean() -> None:
    ramp = torch.linspace(0, 1, 101).repeat(1, 53, 1)
    shown = Pixelation(8.0).batch(ramp[None], ["a"], (1.0, 1.0))[0]
    assert float(shown.mean()) == pytest.approx(float(ramp.mean()), abs=1e-5)
    cells = [cell for cell in shown[0, 0].unique(return_counts=True)[1].tolist()]
    assert sum(cells) == 101 and set(cells) <= {7, 8}


def test_the_border_of_the_field_does_not_streak_where_it_cuts_a_patient_who_moves() -> None:
    y, x = np.indices((260, 260)) - 129.5
    seen = (np.hypot(y / 90, x / 120) < 1) + 0.5 * (np.hypot(y, x) < 15)
    seen = seen - 0.8 * (np.hypot(y / 25, (np.abs(x) - 45) / 20) < 1)
    hu = torch.from_numpy(ndimage.gaussian_filter(seen, 1.2) * 1000 - 1000).float()
    part = (slice(60, 200), slice(60, 200))
    whole, cut = (moved_during_scan(one, 1.0, (6.0, 0.0), 0.2) - one for one in (hu, hu[part].contiguous()))
    inside = (slice(3, -3), slice(3, -3))
    assert (cut - whole[part])[inside].abs().max() < 90 and whole[part][inside].std() > 50
