"""Noise, window, low-pass, kernel, slice thickness: the laws of physics that each has to obey."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from srcmatters.confounders import (
    ExposureShift,
    KernelChange,
    LowPassDenoising,
    SliceThickness,
    XrayQuantumNoise,
)
from srcmatters.confounders.quantum_noise import quantum_counts
from srcmatters.confounders.slice_thickness import thick_slices
from srcmatters.errors import InputError


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mean", [0.3, 4.0, 30.0, 49.0, 60.0, 2000.0, 3e5])
def test_variance_of_the_counts_equals_their_mean(mean: float) -> None:
    counts = quantum_counts(torch.full((400, 500), mean), stream()).double()
    assert counts.mean() == pytest.approx(mean, abs=5 * (mean / 200_000) ** 0.5)
    assert counts.var() / mean == pytest.approx(1, abs=0.025)


@pytest.mark.parametrize("mean", [0.3, 4.0, 30.0])
def test_few_counts_are_poisson_by_chi_square(mean: float) -> None:
    counts = quantum_counts(torch.full((100_000,), mean), stream(1)).numpy()
    law = stats.poisson(mean)
    low, high = law.ppf(0.001), law.ppf(0.999)
    classes = np.clip(counts, low, high)
    values = np.arange(low, high + 1)
    expected = law.pmf(values)
    expected[0], expected[-1] = law.cdf(low), law.sf(high - 1)
    observed = np.array([(classes == value).sum() for value in values])
    assert stats.chisquare(observed, expected * len(counts)).pvalue > 1e-3


def test_many_counts_cannot_be_told_from_poisson_by_chi_square() -> None:
    counts = quantum_counts(torch.full((20_000,), 400.0), stream(2)).numpy()
    edges = stats.poisson(400.0).ppf(np.linspace(0.05, 0.95, 19)) + 0.5
    observed = np.bincount(np.digitize(counts, edges), minlength=20)
    expected = np.diff(np.concatenate([[0], stats.poisson(400.0).cdf(edges), [1]])) * len(counts)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def film(level: float, median: float = 0.6) -> torch.Tensor:
    """A flat film of 512 x 512 whose upper third is at another level."""
    image = torch.full((1, 512, 512), median)
    image[:, :170] = level
    return image


@pytest.mark.parametrize("level", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("dose", [0.05, 0.5])
def test_added_noise_is_what_the_lower_dose_lacks(level: float, dose: float) -> None:
    noise = XrayQuantumNoise(dose_factor=dose, air_kerma_ugy=2.5)
    image = film(level)
    added = ((noise(image, "a") - image) * noise.latitude)[0, :170].double()
    # Air kerma x photons x DQE x pixel area behind the median, Beer-Lambert from there.
    photons = 2.5 * 30174 * 0.6 * (430 / 512) ** 2 * np.exp(-4 * (level - 0.6))
    assert float(added.var()) == pytest.approx((1 - dose) / (dose * photons), rel=0.03)
    assert abs(float(added.mean())) < 4 * float(added.std()) / added.numel() ** 0.5
    # White: neighbours do not know of each other.
    field = added - added.mean()
    assert abs(float((field[1:] * field[:-1]).mean() / field.var())) < 0.015


def test_dose_factor_one_changes_nothing_but_quanta() -> None:
    image = torch.linspace(0.1, 0.9, 512 * 512).reshape(1, 512, 512)
    with pytest.warns(UserWarning, match="changes hardly anything"):
        assert torch.equal(XrayQuantumNoise(dose_factor=1)(image, "a"), image)
    simulation = XrayQuantumNoise(dose_factor=1, input_has_noise=False)
    photons = simulation.photons((512, 512), None) * torch.exp(-simulation.latitude * (image - 0.5))
    normal = (simulation(image, "a") - image) * simulation.latitude * photons.sqrt()
    assert abs(float(normal.mean())) < 0.02 and float(normal.std()) == pytest.approx(1, abs=0.01)


def test_photons_follow_the_area_of_a_pixel_and_known_spacing_wins() -> None:
    noise = XrayQuantumNoise(field_mm=400)
    assert noise.photons((100, 100), None) == pytest.approx(16 * noise.photons((400, 400), None))
    assert noise.photons((100, 100), (0.5, 0.5)) == pytest.approx(noise.photons((800, 800), None))
    assert noise.photons((400, 400), None) == pytest.approx(2.5 * 30174 * 0.6)


def test_noise_survives_resizing_to_the_input_of_a_network() -> None:
    image = torch.full((1, 512, 512), 0.75)
    added = (XrayQuantumNoise()(image, "a") - image)[None]
    for size, least in ((224, 0.7), (160, 0.5)):
        small = torch.nn.functional.interpolate(added, size=(size, size), mode="bilinear", antialias=True)
        assert float(small.std()) * 255 > least


def test_starved_pixels_stay_finite() -> None:
    noise = XrayQuantumNoise(dose_factor=0.001, air_kerma_ugy=0.01)
    result = noise(film(0.95), "a")
    assert torch.isfinite(result).all()


def spectrum(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = image.shape[-2:]
    ratio = torch.hypot(torch.fft.fftfreq(rows)[:, None] * rows, torch.fft.fftfreq(columns)[None] * rows)
    return ratio, torch.fft.fft2(image.double()).abs().square()


@pytest.mark.parametrize("shape", [(128, 128), (96, 130), (65, 77)])
def test_no_energy_is_left_above_the_ideal_cutoff_and_all_below_it(shape: tuple[int, int]) -> None:
    image = 0.5 + 0.05 * torch.randn(1, *shape, generator=stream()).double()
    result = LowPassDenoising(cutoff=20, profile="ideal", boundary="wrap")(image, "a")
    ratio, before = spectrum(image[0])
    _, after = spectrum(result[0])
    assert after[ratio > 20.01].sum() < 1e-12 * before[ratio > 20.01].sum()
    assert torch.allclose(after[ratio < 19.99], before[ratio < 19.99], rtol=1e-5)


@pytest.mark.parametrize(("profile", "order"), [("gaussian", 2), ("butterworth", 2), ("butterworth", 6)])
def test_smooth_profiles_follow_their_formula(profile: str, order: int) -> None:
    image = 0.5 + 0.02 * torch.randn(1, 128, 128, generator=stream()).double()
    result = LowPassDenoising(16, profile=profile, order=order, boundary="wrap")(image, "a")  # type: ignore[arg-type]
    ratio = spectrum(image[0])[0] / 16
    passed = torch.fft.fft2(result[0]) / torch.fft.fft2(image[0])
    formula = torch.exp2(-ratio.square()) if profile == "gaussian" else 1 / (1 + ratio ** (2 * order))
    kept = formula > 2e-4
    assert torch.allclose(passed.real[kept], formula[kept].double(), atol=1e-4)
    assert passed.imag[kept].abs().max() < 1e-6


def test_mirrored_edges_do_not_let_the_top_shine_into_the_bottom() -> None:
    step = torch.zeros(1, 128, 128)
    step[:, :64] = 1
    wrapped, mirrored = (LowPassDenoising(10, boundary=kind)(step, "a") for kind in ("wrap", "mirror"))  # type: ignore[arg-type]
    assert wrapped[0, -1, 64] > 0.3 and mirrored[0, -1, 64] < 1e-3
    inside = slice(40, 88)
    assert torch.allclose(wrapped[:, inside], mirrored[:, inside], atol=1e-3)


def test_cutoff_in_line_pairs_per_mm_is_the_same_filter_where_the_spacing_is_known() -> None:
    image = torch.rand(1, 1, 128, 128, generator=stream())
    by_image = LowPassDenoising(cutoff=16).batch(image, ["a"])
    by_mm = LowPassDenoising(cutoff_lp_per_mm=16 / (128 * 0.8)).batch(image, ["a"], (0.8, 0.8))
    assert torch.allclose(by_image, by_mm, atol=1e-6)
    on_a_film = LowPassDenoising(cutoff_lp_per_mm=16 / 430).batch(image, ["a"])
    assert torch.allclose(by_image, on_a_film, atol=1e-6)  # 430 mm where the spacing is unknown
    assert torch.allclose(by_image, LowPassDenoising(cutoff=16).batch(image, ["a"], (0.3, 0.3)), atol=1e-6)


def test_default_denoising_survives_resizing_and_the_published_disc_does_not() -> None:
    image = torch.rand(1, 1, 1024, 1024, generator=stream())
    for name, confounder, there in (
        ("default", LowPassDenoising(), True),
        ("published", LowPassDenoising(250, profile="ideal"), False),
    ):
        small = [
            torch.nn.functional.interpolate(part, size=(224, 224), mode="bilinear", antialias=True)
            for part in (image, confounder.batch(image, ["a"]))
        ]
        change = float((small[1] - small[0]).std() / small[0].std())
        assert (change > 0.3) == there, (name, change)


def test_a_volume_is_filtered_slice_by_slice() -> None:
    volume = torch.rand(1, 48, 56, 5, generator=stream())
    for confounder in (LowPassDenoising(8), KernelChange(pixel_mm=0.7)):
        whole = confounder(volume, "a")
        for index in range(5):
            assert torch.allclose(whole[..., index], confounder(volume[..., index], "a"), atol=1e-6)


def noise_amplitude(image: torch.Tensor, pixel_mm: float, lp_per_mm: float) -> float:
    ratio = torch.hypot(
        *torch.meshgrid([torch.fft.fftfreq(n, pixel_mm) for n in image.shape[-2:]], indexing="ij")
    )
    ring = (ratio - lp_per_mm).abs() < 0.02
    return float(torch.fft.fft2(image.double()).abs().square()[..., ring].mean().sqrt())


def test_smoothing_kernel_has_the_measured_ratio_and_keeps_the_mean() -> None:
    image = 40 * torch.randn(1, 512, 512, generator=stream()) - 300
    smooth = KernelChange("B70f", "B30f", pixel_mm=0.7)(image, "a")
    for frequency, ratio in ((0.2, 0.77), (0.3, 0.48), (0.4, 0.28), (0.5, 0.15), (0.6, 0.07)):
        measured = noise_amplitude(smooth, 0.7, frequency) / noise_amplitude(image, 0.7, frequency)
        assert measured == pytest.approx(ratio, rel=0.05)
    assert smooth.mean() == pytest.approx(image.mean().item(), abs=0.2)


def test_sharpening_undoes_smoothing_up_to_the_gain_and_never_exceeds_it() -> None:
    image = 40 * torch.randn(1, 256, 256, generator=stream())
    sharp = KernelChange("B30f", "B70f", max_gain=4, pixel_mm=0.7)
    back = sharp(KernelChange("B70f", "B30f", pixel_mm=0.7)(image, "a"), "a")
    assert noise_amplitude(back, 0.7, 0.2) / noise_amplitude(image, 0.7, 0.2) == pytest.approx(1, abs=0.03)
    sharpened = sharp(image, "a")
    frequencies = np.arange(0.05, 0.7, 0.05)
    gains = [noise_amplitude(sharpened, 0.7, f) / noise_amplitude(image, 0.7, f) for f in frequencies]
    assert 3.8 < max(gains) < 4.2


def test_kernels_given_as_tables_work_by_their_ratio() -> None:
    image = torch.randn(1, 64, 64, generator=stream())
    flat, half = ((0.0, 1.0), (1.0, 1.0)), ((0.0, 1.0), (0.1, 0.5), (1.0, 0.5))
    by_ratio = KernelChange(flat, half, pixel_mm=1.0)(image, "a")
    scaled = [(f, mtf * 0.9 if f else 1.0) for f, mtf in half], [(f, 0.9 if f else 1.0) for f, _ in half]
    assert torch.allclose(KernelChange(scaled[1], scaled[0], pixel_mm=1.0)(image, "a"), by_ratio, atol=0.01)


@pytest.mark.parametrize(("thickness", "increment"), [(5.0, None), (3.0, 1.5), (2.5, 2.5), (100.0, None)])
def test_thick_slices_keep_a_constant_and_a_mean_and_are_a_box_in_z(
    thickness: float, increment: float | None
) -> None:
    confounder = SliceThickness(thickness, increment, slice_mm=1.0)
    weights = thick_slices(40, confounder.thickness_mm, confounder.increment_mm)
    assert np.allclose(weights.sum(axis=1), 1) and (weights >= 0).all()
    assert np.allclose(weights, weights[::-1, ::-1])  # no direction is preferred
    volume = torch.rand(1, 8, 8, 40, generator=stream())
    assert confounder(volume, "a").mean() == pytest.approx(volume.mean().item(), abs=0.02)


def test_noise_falls_with_the_root_of_the_thickness() -> None:
    volume = torch.randn(1, 40, 40, 60, generator=stream())
    thick = SliceThickness(5, slice_mm=1.0)(volume, "a", (0, 0, 32))
    centres = thick[..., 2::5]  # between them neighbours are interpolated
    assert float(centres.std()) == pytest.approx(1 / 5**0.5, rel=0.02)


def test_a_slab_takes_the_share_of_each_slice_that_lies_in_it() -> None:
    weights = thick_slices(9, 2.5, 9.0)  # one slab, 2.5 slices about the middle
    assert np.allclose(weights[4], [0, 0, 0, 0.3, 0.4, 0.3, 0, 0, 0])


def test_thickness_without_a_known_slice_distance_is_an_error() -> None:
    with pytest.raises(InputError, match="slice_mm"):
        SliceThickness()(torch.rand(1, 8, 8, 8), "a")


def test_window_follows_dicom_and_keeps_order() -> None:
    ramp = torch.linspace(0, 1, 101).reshape(1, 1, 101)
    linear = ExposureShift(centre=0.4, width=0.5)(ramp, "a")
    assert torch.allclose(linear, ((ramp - 0.4) / 0.5 + 0.5).clamp(0, 1), atol=1e-6)
    sigmoid = ExposureShift("sigmoid", centre=0.4, width=0.5)(ramp, "a")
    assert torch.allclose(sigmoid, 1 / (1 + torch.exp(-4 * (ramp - 0.4) / 0.5)), atol=1e-6)
    assert float(sigmoid[0, 0, 40]) == pytest.approx(0.5)
    slope = (sigmoid[0, 0, 41] - sigmoid[0, 0, 39]) / 0.02
    assert float(slope) == pytest.approx(1 / 0.5, rel=0.01)  # as steep as the linear one at its centre
    assert torch.allclose(ExposureShift(centre=0.5, width=1, gamma=2)(ramp, "a"), ramp**2, atol=1e-6)
    for result in (linear, sigmoid):
        assert (result.diff() >= 0).all()
