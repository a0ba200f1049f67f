"""Site look, portable look, vendor processing, letterbox, JPEG, pixels, non-local means, compositions."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from srcmatters.confounders import (
    CentralLine,
    Composition,
    JpegCompression,
    Letterbox,
    NonLocalMeans,
    Pixelation,
    PortableLook,
    SiteLook,
    Sternotomy,
    VendorProcessing,
    create_confounder,
    known_confounders,
)
from srcmatters.confounders.site_look import reference_quantiles
from srcmatters.errors import InputError
from srcmatters.phantom import draw_patient, radiograph

CHEST = torch.from_numpy(radiograph(draw_patient(3, 0), 192)).float()[None] / 255


def test_an_image_gets_the_histogram_of_the_reference() -> None:
    other = torch.from_numpy(radiograph(draw_patient(4, 1), 192)).float()[None] / 255
    quantiles = reference_quantiles([other**2])
    result = SiteLook(reference=quantiles)(CHEST, "a")[0].numpy()
    inside = (CHEST[0].numpy() > 0) & (CHEST[0].numpy() < 1)
    places = np.linspace(0.02, 0.98, 49)
    expected = np.quantile((other**2)[(other > 0) & (other < 1)].numpy(), places)
    assert np.abs(np.quantile(result[inside], places) - expected).max() < 0.02
    half = SiteLook(reference=quantiles, strength=0.5)(CHEST, "a")[0].numpy()
    assert np.allclose(half, (result + CHEST[0].numpy()) / 2, atol=1e-5)
    assert (np.diff(result[inside][np.argsort(CHEST[0].numpy()[inside])]) >= -1e-6).all()  # order is kept


def test_a_tone_curve_is_followed_and_black_and_white_stay() -> None:
    ramp = torch.linspace(0, 1, 101).reshape(1, 1, 101)
    result = SiteLook(((0, 0), (0.3, 0.1), (1, 1)))(ramp, "a")[0, 0].numpy()
    assert np.allclose(result, np.interp(np.linspace(0, 1, 101), [0, 0.3, 1], [0, 0.1, 1]), atol=2e-3)
    assert result[0] == 0 and result[-1] == 1


def test_the_heart_is_larger_on_a_portable_film_and_the_apex_is_where_it_was() -> None:
    size = 400
    row, column = np.mgrid[:size, :size] / (size - 1)
    heart = np.hypot(row - 0.62, column - 0.56) < 0.08
    image = torch.from_numpy(np.where(heart, 0.8, 0.3)).float()[None]
    quiet = PortableLook(dose_factor=1, text="", leads=False)
    quiet._noise = create_confounder("noise", dose_factor=1)  # type: ignore[assignment]
    known = {**quiet.parameters((size, size), None), **quiet.draw(np.random.default_rng(0)), "degrees": 0.0}
    result = quiet.apply(image[None], [known])[0, 0].numpy()
    larger = (result > 0.6).sum() / heart.sum()
    assert 1.1 < larger < 1.21  # 10 % in width, less towards its edge
    assert result[10:60].std() < 0.01 and abs(result[10:60].mean() - 0.3) < 0.01
    assert (result.max() - 0.3) == pytest.approx(1.25 * 0.5, abs=0.02)  # lower latitude


def test_a_portable_film_has_its_text_its_leads_and_fewer_photons() -> None:
    film = torch.nn.functional.interpolate(CHEST[None], (512, 512), mode="bilinear")[0]
    result = PortableLook()(film, "case 7")
    written = create_confounder("tag", text="PORTABLE", height_mm=11, corner="upper left")
    ink = (written(torch.zeros_like(film), "a") > 0.99)[0]  # type: ignore[misc]
    assert bool((result[0][ink] > 0.99).all())
    fine = [float((part - torch.nn.functional.avg_pool2d(part, 3, 1, 1)).std()) for part in (film, result)]
    assert fine[1] > 1.2 * fine[0]


def test_unsharp_masking_is_its_formula() -> None:
    result = VendorProcessing(unsharp=1.5, radius_mm=6, power=1).batch(CHEST[None], ["a"], (2.0, 2.0))[0, 0]
    grey = CHEST[0].double().numpy()
    expected = np.clip(grey + 1.5 * (grey - ndimage.gaussian_filter(grey, 3, mode="mirror")), 0, 1)
    inside = (grey > 0) & (grey < 1)
    inside[:16], inside[-16:], inside[:, :16], inside[:, -16:] = False, False, False, False
    assert np.abs(result.numpy() - expected)[inside].max() < 3e-3


def test_a_power_law_lifts_faint_structure_more_than_strong_and_keeps_the_mean() -> None:
    stripes = torch.sin(torch.arange(256) * 2 * torch.pi / 8).expand(1, 256, 256)
    gains = []
    for amplitude in (0.01, 0.2):
        image = 0.5 + amplitude * stripes
        result = VendorProcessing(unsharp=0, power=0.7)(image, "a")
        assert float(result.mean()) == pytest.approx(0.5, abs=2e-3)
        gains.append(float(result.std() / image.std()))
    assert gains[0] > 1.5 * gains[1] > 1


def test_the_image_lies_unchanged_between_its_bars() -> None:
    result = Letterbox(rows=0.25, columns=0.5, value=0.2)(CHEST, "a")[0]
    expected = torch.nn.functional.interpolate(CHEST[None], (144, 96), mode="bilinear", antialias=True)[0, 0]
    assert torch.allclose(result[24:168, 48:144], expected, atol=1e-6)
    outside = torch.ones_like(result, dtype=torch.bool)
    outside[24:168, 48:144] = False
    assert (result[outside] == 0.2).all()


def test_jpeg_is_what_pillow_makes_of_it() -> None:
    grey = np.rint(CHEST[0].numpy() * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=20)
    result = JpegCompression(20)(CHEST, "a")[0].numpy() * 255
    assert np.array_equal(np.rint(result), np.asarray(Image.open(file)))
    errors = [float((JpegCompression(q)(CHEST, "a") - CHEST).std()) for q in (90, 50, 10)]
    assert errors == sorted(errors)


def test_pixels_are_means_of_their_cells_in_mm() -> None:
    image = torch.rand(1, 1, 60, 90, generator=torch.Generator().manual_seed(0))
    result = Pixelation(6.0).batch(image, ["a"], (1.0, 2.0))[0, 0].numpy()
    cells = image[0, 0].numpy().reshape(10, 6, 30, 3).mean((1, 3))
    assert np.allclose(result, np.repeat(np.repeat(cells, 6, 0), 3, 1), atol=1e-6)


def test_nonlocal_means_removes_noise_and_keeps_an_edge() -> None:
    stream = np.random.default_rng(0)
    step = np.where(np.arange(128) < 64, 0.3, 0.7) * np.ones((128, 1))
    image = torch.from_numpy(step + stream.normal(0, 0.04, step.shape)).float()[None]
    result = NonLocalMeans()(image, "a")[0].numpy()
    assert (result - step)[:, 10:50].std() < 0.02
    assert result[:, 65].mean() - result[:, 62].mean() > 0.38  # a Gaussian as strong leaves half of it
    assert torch.equal(NonLocalMeans()(CHEST * 0 + 0.5, "a"), CHEST * 0 + 0.5)


@pytest.mark.parametrize("device", [CentralLine(), CentralLine(port=True), Sternotomy()])
def test_new_devices_add_their_attenuation_once_and_touch_nothing_else(
    device: CentralLine | Sternotomy,
) -> None:
    image = torch.linspace(0, 0.9, 256 * 200).reshape(1, 1, 256, 200)
    known = [device.draw(np.random.default_rng(5))]
    shadow = device.shadow((256, 200), known[0])
    result = device.apply(image, known)
    assert torch.allclose(
        result[0, 0], (image[0, 0] + shadow.attenuation.clamp(min=0) / 4).clamp(max=1), atol=1e-6
    )
    assert 0.002 < float((shadow.attenuation > 0).float().mean()) < 0.1


def test_a_composition_is_its_parts_one_after_the_other() -> None:
    parts = [{"name": "denoise", "cutoff": 20}, {"name": "exposure", "gamma": 1.2}, "tag"]
    result = Composition(parts)(CHEST, "case 7")
    expected = CHEST
    for part in parts:
        arguments = {"name": part} if isinstance(part, str) else part
        expected = create_confounder(**arguments)(expected, "case 7")  # type: ignore[misc, arg-type]
    assert torch.equal(result, expected)


def test_a_part_at_the_end_changes_no_draw_before_it() -> None:
    one, two = (Composition(parts)(CHEST, "case 7") for parts in (["tube"], ["tube", "tag"]))
    tag = create_confounder("tag")
    assert tag is not None and torch.equal(tag(one, "case 7"), two)
    assert not torch.equal(one, Composition(["tube"])(CHEST, "case 8"))


def test_impossible_compositions_are_refused() -> None:
    for parts, message in (
        (["low_dose_ct", "tag"], "expected one unit"),
        (["none"], "changes nothing"),
        (["compose"], "composition inside"),
        ([3], "expected a confounder"),
    ):
        with pytest.raises(InputError, match=message):
            Composition(parts)  # type: ignore[arg-type]


def scanned_body() -> torch.Tensor:
    """A noisy chest in air, HU: lungs, muscle and a spine."""
    y, x = np.indices((192, 192)) - 96
    hu = np.where(np.hypot(y / 60, x / 80) < 1, 40.0, -1000.0)
    hu[(np.hypot(y / 36, (np.abs(x) - 40) / 25) < 1)] = -850
    hu[np.hypot(y - 40, x) < 10] = 500
    hu += ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 40, hu.shape), 0.7)
    return torch.from_numpy(np.rint(np.maximum(hu, -1024))).float()[None]


@pytest.mark.filterwarnings("ignore:low_dose_ct")
@pytest.mark.parametrize("name", sorted(known_confounders()))
def test_every_confounder_has_presets_and_stress_is_the_stronger(name: str) -> None:
    cls = known_confounders()[name]
    assert set(cls.presets) == {"plausible", "stress"}
    image = torch.nn.functional.interpolate(CHEST[None], (384, 384), mode="bilinear")[0]
    spacing: tuple[float, ...] = (1.0, 1.0)
    if cls.modalities == ("CT",):
        image, spacing = scanned_body(), (2.0, 2.0)
    if cls.spatial_dims == (3,):
        rolled = [image.roll(shift, 1) for shift in range(0, 24, 3)]
        image, spacing = torch.stack(rolled, dim=-1), (2.0, 2.0, 1.0)
    strengths = []
    for preset in ("plausible", "stress"):
        confounder = create_confounder(name, preset=preset)
        assert confounder is not None
        change = confounder.batch(image[None], ["a"], spacing) - image
        strengths.append(float(change.std()))
    assert strengths[1] > 1.1 * strengths[0] > 0
