"""What each imaging confounder is calibrated to, against references in NumPy and SciPy."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage

from srcmatters.confounders import (
    ClipDisplayd,
    Confounderd,
    ExposureShift,
    KernelChange,
    LowDoseCT,
    LowPassDenoising,
    SliceThickness,
    XrayQuantumNoise,
    create_confounder,
)
from srcmatters.confounders.ct_dose_slices import padding
from srcmatters.errors import InputError
from srcmatters.images import Windowd, load_ct, load_radiograph
from srcmatters.preprocessing import AntialiasedResized, confounder_place

PIXEL_MM = 0.8


def head(size: int = 256, pixel_mm: float = PIXEL_MM, radius_mm: float = 80) -> np.ndarray:
    """A water disc in air, HU."""
    axis = (np.arange(size) - (size - 1) / 2) * pixel_mm
    return np.where(np.hypot(axis[:, None], axis) < radius_mm, 30.0, -1000.0)


def scanner_noise(size: int, pixel_mm: float, deviation: float, softness: float, seed: int = 0) -> np.ndarray:
    """Noise with the power spectrum of filtered back-projection, |f| exp(-f^2 / s^2)."""
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size, pixel_mm)] * 2, indexing="ij"))
    shape = np.sqrt(f) * np.exp(-(f**2) / (2 * softness**2))
    white = np.random.default_rng(seed).standard_normal((size, size))
    noise = np.fft.ifft2(np.fft.fft2(white) * shape).real
    return noise * deviation / noise.std()


def mean_frequency(field: np.ndarray, pixel_mm: float) -> float:
    window = np.outer(*[np.hanning(len(field))] * 2)
    power = np.abs(np.fft.fft2((field - field.mean()) * window)) ** 2
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(len(field), pixel_mm)] * 2, indexing="ij"))
    return float((power * f).sum() / power.sum())


@pytest.mark.parametrize(("deviation", "softness"), [(4.0, 0.25), (20.0, 0.25), (12.0, 0.5)])
@pytest.mark.parametrize("dose", [0.25, 0.5])
def test_low_dose_adds_to_the_noise_of_the_scan_in_its_texture(
    deviation: float, softness: float, dose: float
) -> None:
    own = scanner_noise(256, PIXEL_MM, deviation, softness)
    slice_hu = torch.from_numpy(np.rint(head() + own)).float()[None, None]
    confounder = LowDoseCT(dose_factor=dose)
    added = (confounder.batch(slice_hu, ["a"], (PIXEL_MM, PIXEL_MM)) - slice_hu)[0, 0].numpy()
    inside = ndimage.binary_erosion(
        head() > 0, iterations=8
    )  # as a whole: CT noise is strongest in the middle
    expected = math.sqrt(1 / dose - 1) * own[inside].std()
    assert added[inside].std() == pytest.approx(expected, rel=0.1)
    middle = slice(96, 160)
    texture = mean_frequency(added[middle, middle], PIXEL_MM) / mean_frequency(own[middle, middle], PIXEL_MM)
    assert texture == pytest.approx(1, abs=0.12)
    record = confounder.records[0]
    assert record.own_hu == pytest.approx(deviation, rel=0.1)
    assert record.added_hu == pytest.approx(math.sqrt(1 / dose - 1) * deviation, rel=0.12)


def test_low_dose_of_a_scan_without_noise_is_that_of_1e5_photons() -> None:
    slice_hu = torch.from_numpy(head()).float()[None, None]
    confounder = LowDoseCT()
    confounder.batch(slice_hu, ["a"], (PIXEL_MM, PIXEL_MM))
    assert confounder.records[0].own_hu is None and confounder.records[0].photons == 1e5


@pytest.mark.parametrize("pixel_mm", [0.6, 0.9, 1.0])
def test_pixels_wider_than_the_detector_keep_the_noise(pixel_mm: float) -> None:
    """s^2 = pi^2 / (12 tau^2 views) 3 e^p / N_0, times .464 for linear interpolation, whatever the pixel."""
    size = round(230 / pixel_mm / 2) * 2
    slice_hu = torch.from_numpy(head(size, pixel_mm) - 30 * (head(size, pixel_mm) > 0)).float()[None, None]
    confounder = LowDoseCT(photons=1e6, electronic_noise=0, simulated_views=125)
    repeats = confounder.batch(slice_hu.expand(5, -1, -1, -1), list("abcde"), (pixel_mm, pixel_mm))
    middle = slice(size // 2 - 12, size // 2 + 12)
    measured = float((repeats - slice_hu)[..., middle, middle].std())
    variance = math.pi**2 / (12 * 0.71676**2 * 1000) * 3 * math.exp(160 * 0.02) / 1e6 * 0.464
    assert measured / (math.sqrt(variance) * 1000 / (0.999 * 0.02)) == pytest.approx(1, abs=0.04)


def test_low_dose_leaves_no_stamp() -> None:
    hu = np.rint(head() + scanner_noise(256, PIXEL_MM, 15, 0.4))
    axis = np.arange(256) - 127.5
    hu[np.hypot(axis[:, None], axis) > 125] = -1024  # outside the field of the reconstruction
    slice_hu = torch.from_numpy(np.maximum(hu, -1024)).float()[None, None]
    result = LowDoseCT(dose_factor=0.1).batch(slice_hu, ["a"], (PIXEL_MM, PIXEL_MM))
    assert float(result.min()) == -1024
    assert torch.equal(result, result.round())
    outside = padding(slice_hu[0])
    assert outside.float().mean() > 0.2 and torch.equal(result[0][outside], slice_hu[0][outside])
    assert not padding(slice_hu[0] + 24).any()  # air at -1000 HU is no padding


def test_starved_rays_are_said() -> None:
    axis = (np.arange(256) - 127.5) * 1.6
    large = np.where(np.hypot(axis[:, None] * 1.4, axis) < 190, 40.0, -1000.0)
    with pytest.warns(UserWarning, match="fewer than 20 quanta"):
        LowDoseCT().batch(torch.from_numpy(large).float()[None, None], ["a"], (1.6, 1.6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LowDoseCT().batch(torch.from_numpy(head()).float()[None, None], ["a"], (PIXEL_MM, PIXEL_MM))


def levels(size: int) -> np.ndarray:
    """Half a film at .6, the rest at .3, .9 and 1."""
    image = np.full((size, size), 0.6, np.float32)
    third = size // 6
    for at, level in enumerate((0.3, 0.9, 0.97)):
        image[at * third : (at + 1) * third] = level
    return image


@pytest.mark.parametrize("native", [512, 1024, 3000])
def test_xray_noise_shifts_no_brightness_and_is_as_strong_at_any_native_size(native: int) -> None:
    """A tenth of the dose with 2.5 uGy behind black: the s.d. of the published calibration at 224 pixels."""
    image = torch.from_numpy(levels(native))[None]
    confounder = XrayQuantumNoise(dose_factor=0.1, air_kerma_ugy=2.5 * math.exp(-4 * 0.6))
    steps = Compose(
        [Confounderd("image", confounder), AntialiasedResized("image", (224, 224)), ClipDisplayd("image")]
    )
    small = steps({"image": image, "case_id": "a"})["image"][0].numpy() * 255
    for rows, level, deviation in (
        (slice(3, 34), 0.3, 0.57),
        (slice(120, 220), 0.6, 1.04),
        (slice(40, 71), 0.9, 1.89),
    ):
        assert small[rows].mean() - 255 * level == pytest.approx(0, abs=0.08)
        assert small[rows].std() == pytest.approx(deviation, rel=0.1)


def test_shutters_and_letters_are_left_alone() -> None:
    image = torch.from_numpy(levels(256))[None].clone()
    image[:, :, :20] = 0
    image[:, 200:230, 100:110] = 1
    image[:, 60, 60] = 0  # a single black pixel is noise of its own
    result = XrayQuantumNoise()(image, "a")
    assert torch.equal(result[:, :, :20], image[:, :, :20])
    assert torch.equal(result[:, 200:230, 100:110], image[:, 200:230, 100:110])
    assert result[0, 60, 60] != 0


def test_presets_have_their_deviation_index() -> None:
    plausible, stress = (create_confounder("noise", preset=preset) for preset in ("plausible", "stress"))
    assert isinstance(plausible, XrayQuantumNoise) and isinstance(stress, XrayQuantumNoise)
    assert plausible.deviation_index == pytest.approx(-3.01, abs=0.01)
    assert stress.deviation_index == pytest.approx(-16.99, abs=0.01)
    assert stress.facts == {"deviation index": "-17.0"}
    with pytest.raises(InputError, match=r"preset 'plausibel' is unknown.*'plausible'"):
        create_confounder("noise", preset="plausibel")


@pytest.mark.parametrize("depth", [10, 11])
def test_a_thick_slice_is_centred_on_the_case(depth: int) -> None:
    """A nodule of 50 HU in one slice of 2.5 mm of lung: a box of 5 mm about it holds half of it."""
    volume = torch.full((1, 2, 2, depth), -800.0)
    volume[..., 4] = 50
    thick = SliceThickness(5.0, slice_mm=2.5)
    assert float(thick(volume, "a", (0, 0, 4))[0, 0, 0, 4]) == pytest.approx(-375)
    drawn = [
        SliceThickness(5.0, slice_mm=2.5, phase="random")(volume, f"case {n}", (0, 0, 4))[0, 0, 0, 4]
        for n in range(40)
    ]
    assert min(drawn) >= -800 and max(drawn) <= -374 and np.std(drawn) > 20


def test_the_thickness_that_a_scan_has_counts() -> None:
    """The variance of the profile is that of a box of 5 mm, for slices of 1 and of 3 mm every mm."""
    volume = torch.zeros(1, 1, 1, 41)
    volume[..., 20] = 1
    for own in (1.0, 3.0):
        image = MetaTensor(
            volume,
            affine=torch.diag(torch.tensor([0.7, 0.7, 1.0, 1.0])),
            meta={"acquisition": {"SliceThickness": own}},
        )
        # The weights of slices at the case: the response to a thin slice at every distance from it.
        weights = np.array(
            [
                float(SliceThickness(5.0)(image, "a", (0, 0, centre))[0, 0, 0, centre])
                for centre in range(12, 29)
            ]
        )
        z = np.arange(12, 29) - 20
        variance = (weights * z**2).sum() / weights.sum() + own**2 / 12
        assert variance == pytest.approx(25 / 12, rel=0.12)


def test_denoising_and_window_on_ct_act_before_the_window_cuts_off() -> None:
    hu = np.where(
        np.add.outer(np.arange(64), np.arange(64)) % 16 < 8, 400.0, 0.0
    )  # half of it above a lung window
    image = MetaTensor(
        torch.from_numpy(hu).float()[None], affine=torch.diag(torch.tensor([0.7, 0.7, 1.0, 1.0]))
    )
    image.meta["unit"] = "HU"
    low, high = -1350.0, 150.0

    def shown(confounder: LowPassDenoising | ExposureShift) -> np.ndarray:
        assert confounder_place(confounder) == "scan"
        steps = Compose([Confounderd("image", confounder, window="lung"), Windowd("image", "lung")])
        return steps({"image": image, "case_id": "a"})["image"][0].numpy()

    wide = shown(ExposureShift(centre=0.6, width=1.4))
    assert np.allclose(wide, np.clip(((hu - low) / (high - low) - 0.6) / 1.4 + 0.5, 0, 1), atol=1e-5)
    smooth = shown(LowPassDenoising(cutoff_lp_per_mm=0.1))
    padded = np.pad(hu, 64, mode="reflect")
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n, 0.7) for n in padded.shape], indexing="ij"))
    filtered = np.fft.ifft2(np.fft.fft2(padded) * 2.0 ** -((f / 0.1) ** 2)).real[64:-64, 64:-64]
    expected = np.clip((filtered - low) / (high - low), 0, 1)
    assert np.abs(smooth - expected)[8:-8, 8:-8].max() < 2e-3
    assert confounder_place(ExposureShift(), "display") == "windowed"


def test_the_kernel_of_the_header_is_looked_at() -> None:
    affine = torch.diag(torch.tensor([0.7, 0.7, 1.0, 1.0]))
    values = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)) * 30

    def scan(kernel: str) -> MetaTensor:
        return MetaTensor(values, affine=affine, meta={"acquisition": {"ConvolutionKernel": kernel}})

    with pytest.warns(UserWarning, match="ConvolutionKernel 'STANDARD'"):
        KernelChange()(scan("STANDARD"), "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_header = KernelChange("header")(scan("B70s"), "a")
        assert torch.equal(by_header.as_tensor(), KernelChange("B70f")(scan("B70s"), "a").as_tensor())
    with pytest.raises(InputError, match="names none of B70f, B30f"):
        KernelChange("header")(scan("STANDARD"), "a")


def test_real_scans_get_their_own_noise_once_more(shared_data: Path) -> None:
    for name, own in (("ct-slice-512.dcm", 2.9), ("ct-bad-sequence.dcm", 12.5)):
        scan = load_ct(shared_data / "dicom" / name)
        confounder = LowDoseCT()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one is a field of 147 mm
            result = confounder(scan, "a")
        record = confounder.records[0]
        assert record.own_hu == pytest.approx(own, rel=0.1)
        assert record.added_hu == pytest.approx(math.sqrt(3) * own, rel=0.15)
        assert float(result.min()) >= -1024 and torch.equal(result, result.round())
        assert isinstance(result, MetaTensor) and result.meta.keys() == scan.meta.keys()


def test_no_tile_of_a_real_film_gets_brighter(shared_data: Path) -> None:
    """A native film of 1955 x 1841 pixels at 224: brightness in 16 x 16 tiles, with and without noise."""
    film = load_radiograph(shared_data / "dicom" / "chest-cr-monochrome1-jpeg2000.dcm")
    small = Compose([AntialiasedResized("image", (224, 224)), ClipDisplayd("image")])
    noisy = small({"image": create_confounder("noise")(film, "a")})["image"][0].numpy()  # type: ignore[misc]
    change = 255 * (noisy - small({"image": film})["image"][0].numpy())
    tiles = ndimage.uniform_filter(change, 14)[7::14, 7::14]
    assert abs(change.mean()) < 0.1
    assert 0.3 < (tiles > 0).mean() < 0.7
