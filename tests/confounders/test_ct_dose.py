"""Low-dose CT: the laws of its noise, its seeding, and what it refuses."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from monai.data import MetaTensor
from reconstruction import LINEAR_VARIANCE, filtered_back_projection, reconstruction_variance
from skimage.transform import iradon, resize
from torch.nn.functional import avg_pool2d

from srcmatters.confounders import Confounderd, LoDoPaB, LowDoseCT, create_confounder
from srcmatters.confounders.ct_dose_quanta import (
    added_variance,
    attenuation,
    hounsfield,
    hounsfield_per_attenuation,
    line_integral_noise,
    noisy_line_integrals,
)
from srcmatters.confounders.projection import ParallelBeam, project
from srcmatters.errors import InputError

DATA = Path(os.environ.get("SRCMATTERS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CT_SLICE = DATA / "dicom" / "ct-slice-512.dcm"


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ellipses(size: int, *shapes: tuple[float, float, float, float, float]) -> torch.Tensor:
    """(row, column, half height, half width, HU) in units of half the image, in air; (1, size, size)."""
    axis = (torch.arange(size) - (size - 1) / 2) / (size / 2)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    image = torch.full((size, size), -1000.0)
    for row, column, half_height, half_width, hu in shapes:
        image[((rows - row) / half_height) ** 2 + ((columns - column) / half_width) ** 2 < 1] = hu
    return image[None]


def water_disc(size: int, radius: float = 0.6) -> torch.Tensor:
    return ellipses(size, (0, 0, radius, radius, 0))


def thorax(size: int) -> torch.Tensor:
    return ellipses(
        size,
        (0, 0, 0.6, 0.9, 40),
        (-0.05, 0.42, 0.42, 0.3, -850),
        (-0.05, -0.42, 0.42, 0.3, -850),
        (0.2, 0, 0.13, 0.13, 500),
    )


# quanta


def chi_square(counts: np.ndarray, mean: float) -> float:
    """p-value of the hypothesis that integer counts are Poisson."""
    low, high = int(scipy.stats.poisson.ppf(0.001, mean)), int(scipy.stats.poisson.ppf(0.999, mean))
    edges = np.arange(low, high + 1)
    between = [(counts == k).sum() for k in edges[1:-1]]
    observed = np.array([(counts <= low).sum(), *between, (counts >= high).sum()])
    inner = scipy.stats.poisson.pmf(edges[1:-1], mean)
    expected = np.array([scipy.stats.poisson.cdf(low, mean), *inner, scipy.stats.poisson.sf(high - 1, mean)])
    return float(scipy.stats.chisquare(observed, expected * len(counts)).pvalue)


@pytest.mark.parametrize("mean", [3.0, 20.0, 400.0])
def test_counts_are_poisson(mean: float) -> None:
    p = math.log(1e4 / mean)
    noisy = noisy_line_integrals(torch.full((200, 500), p), 1e4, 0.0, stream())
    counts = (1e4 * (-noisy.double()).exp()).round().numpy().ravel()
    assert abs(counts.mean() / mean - 1) < 0.02
    assert abs(counts.var() / counts.mean() - 1) < 0.02  # variance equals mean
    assert chi_square(counts, mean) > 1e-3


@pytest.mark.parametrize("mean", [3.0, 20.0, 49.0])
def test_noise_of_few_counts_is_exactly_poisson(mean: float) -> None:
    noise = line_integral_noise(torch.full((200, 500), 1 / mean), stream(1))
    counts = (mean * (1 - noise.double())).round().numpy().ravel()
    assert chi_square(counts, mean) > 1e-3


def test_noise_of_many_counts_continues_that_of_few() -> None:
    """Mean (none), variance and skewness on both sides of the change at 50 counts."""
    moments = []
    for mean in (49.9, 50.1):
        noise = line_integral_noise(torch.full((1000, 1000), 1 / mean), stream(2)).numpy()
        moments.append((noise.mean(), noise.var(), scipy.stats.skew(noise.ravel())))
    few, many = moments
    assert abs(few[0]) < 1e-3 and abs(many[0]) < 1e-3  # whatever the counts: nothing gets brighter
    assert abs(few[1] / many[1] - 1) < 0.02
    assert abs(few[2] - many[2]) < 0.2


def test_a_starved_ray_counts_a_tenth_of_a_photon() -> None:
    noisy = noisy_line_integrals(torch.full((4, 4), 40.0), 4096, 0.0, stream())
    assert torch.allclose(noisy, torch.tensor(math.log(4096 / 0.1)).expand(4, 4))


def test_electronic_noise_adds_its_variance_to_the_counts() -> None:
    noisy = noisy_line_integrals(torch.full((400, 500), 2.0), 1e4, 900.0, stream(3))
    counts = 1e4 * (-noisy.double()).exp()
    assert abs(float(counts.var() / (1e4 * math.exp(-2) + 900)) - 1) < 0.02


def test_added_variance_is_what_the_low_dose_has_more() -> None:
    p, photons, electronics = torch.linspace(0, 8, 50, dtype=torch.float64), 1e5, 10.0

    def variance(share: float) -> torch.Tensor:
        counts = share * photons * (-p).exp()
        return 1 / counts + electronics / counts**2

    for share in (0.05, 0.25, 0.5, 1.0):
        expected = variance(share) - variance(1)
        assert torch.allclose(added_variance(p, photons, share, electronics), expected, atol=1e-15)


def test_attenuation_and_hounsfield_are_inverse() -> None:
    hu = torch.linspace(-1000, 3000, 9, dtype=torch.float64)
    assert torch.allclose(hounsfield(attenuation(hu)), hu)
    assert float(attenuation(torch.tensor(0.0))) == pytest.approx(0.02)
    assert float(attenuation(torch.tensor(3071.0))) == pytest.approx(0.08135858)  # LoDoPaB's maximum
    assert float(attenuation(torch.tensor(-1400.0))) == 0


# noise in the image


def test_linear_interpolation_has_464_thousandths_of_the_variance() -> None:
    assert pytest.approx(0.464, abs=1e-3) == LINEAR_VARIANCE


@pytest.mark.parametrize("interpolation", ["linear", "sinc"])
@pytest.mark.parametrize("dose_factor", [0.1, 0.5])
def test_noise_in_the_middle_of_water_follows_theory(interpolation: str, dose_factor: float) -> None:
    size, pixel_mm, photons = 192, 1.6, 2e5
    confounder = LowDoseCT(
        dose_factor=dose_factor,
        photons=photons,
        bin_mm=pixel_mm,
        interpolation=interpolation,  # type: ignore[arg-type]
        default_pixel_mm=pixel_mm,
    )
    water = water_disc(size)
    names = [f"case {number}" for number in range(24)]
    noise = confounder.batch(water.expand(24, -1, -1, -1), names) - water
    middle = slice(size // 2 - 8, size // 2 + 8)
    chord = 2 * 0.6 * size / 2 * pixel_mm
    expected = added_variance(torch.tensor([chord * 0.02]), photons, dose_factor, 10.0)
    theory = reconstruction_variance(float(expected), 1000, pixel_mm, interpolation)  # type: ignore[arg-type]
    measured = float(noise[..., middle, middle].std()) / hounsfield_per_attenuation()
    assert abs(measured / math.sqrt(theory) - 1) < 0.03


def quick_scanner(**changes: object) -> LowDoseCT:
    """A scanner whose full scan has as few views as the tests can bear."""
    arguments: dict = {"photons": 1e5, "electronic_noise": 0.0, "default_pixel_mm": 2.4, "bin_mm": 2.4}
    return LowDoseCT(**{**arguments, **changes})


def noise_fields(confounder: LowDoseCT, image: torch.Tensor, repeats: int) -> torch.Tensor:
    names = [f"case {number}" for number in range(repeats)]
    noisy = confounder.batch(image.expand(repeats, -1, -1, -1), names)[:, 0]
    return noisy - noisy.mean(0)


def radial_power(fields: torch.Tensor, bins: int = 24) -> torch.Tensor:
    power = torch.fft.fft2(fields).abs().square().mean(0)
    frequency = torch.fft.fftfreq(fields.shape[-1])
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt()
    index = (radius / 0.5 * bins).long()
    return torch.stack([power[index == number].sum() for number in range(bins)])


def anisotropy(fields: torch.Tensor, row: float, column: float) -> float:
    """Power at horizontal over power at vertical frequencies in a 20 x 20 region."""
    size = fields.shape[-1]
    top, left = (round(size / 2 * (1 + place)) - 10 for place in (row, column))
    region = fields[:, top : top + 20, left : left + 20]
    window = torch.hann_window(20)[:, None] * torch.hann_window(20)
    power = torch.fft.fft2(region * window).abs().square().mean(0)
    angle = torch.atan2(*torch.meshgrid(*2 * [torch.fft.fftfreq(20).abs()], indexing="ij"))
    return float(power[angle < math.pi / 8].sum() / power[angle > 3 * math.pi / 8].sum())


@pytest.fixture(scope="module")
def full_and_delta() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of the full simulation, and of the fast method asked for the same: 1e5 photons of 1e9."""
    image = thorax(144)
    full = noise_fields(quick_scanner(method="full", dose_factor=1.0), image, 60)
    delta = noise_fields(quick_scanner(photons=1e9, dose_factor=1e-4), image, 120)
    return full, delta


def test_fast_noise_has_the_strength_of_the_full_simulation(full_and_delta: tuple) -> None:
    full, delta = (avg_pool2d(fields.var(0)[None], 12)[0].sqrt() for fields in full_and_delta)
    body = avg_pool2d((thorax(144) > -990).float(), 12)[0] == 1
    assert ((full / delta)[body] - 1).abs().mean() < 0.03


def test_fast_noise_has_the_power_spectrum_of_the_full_simulation(full_and_delta: tuple) -> None:
    inner = slice(40, 104)
    full, delta = (radial_power(fields[:, inner, inner]) for fields in full_and_delta)
    assert (full - delta).abs().sum() / full.sum() < 0.05


@pytest.mark.parametrize(
    ("place", "where"), [("lung", (-0.05, 0.42)), ("vertebra", (0.2, 0.0)), ("flank", (0.0, 0.8))]
)
def test_fast_noise_has_the_direction_of_the_full_simulation(
    full_and_delta: tuple, place: str, where: tuple[float, float]
) -> None:
    full, delta = (anisotropy(fields, *where) for fields in full_and_delta)
    assert abs(delta / full - 1) < 0.12
    assert max(full, 1 / full) > 1.5, place  # there is a direction to agree on


def test_white_noise_would_not_pass(full_and_delta: tuple) -> None:
    full, _ = full_and_delta
    white = torch.randn(full.shape, generator=stream()) * full.std()
    inner = slice(40, 104)
    full_power, white_power = radial_power(full[:, inner, inner]), radial_power(white[:, inner, inner])
    assert (full_power - white_power).abs().sum() / full_power.sum() > 0.2


def test_number_of_simulated_views_does_not_change_the_noise() -> None:
    image = water_disc(96)
    strength = [
        float(noise_fields(quick_scanner(simulated_views=views), image, 60)[:, 32:64, 32:64].std())
        for views in (125, 500)
    ]
    assert abs(strength[0] / strength[1] - 1) < 0.03


def test_full_simulation_is_right_on_average() -> None:
    """Dose factor 1 changes nothing but quanta: their mean is the reconstruction without noise."""
    image = thorax(96)
    confounder = quick_scanner(method="full", dose_factor=1.0, default_pixel_mm=3.6, bin_mm=3.6, photons=1e6)
    mean = confounder.batch(image.expand(40, -1, -1, -1), [str(number) for number in range(40)]).mean((0, 1))
    scan = ParallelBeam.spanning(96, 3.6, 1000)
    noiseless = hounsfield(filtered_back_projection(project(attenuation(image), scan), scan, "linear"))[0]
    body = image[0] > -990
    assert abs(float((mean - noiseless)[body].mean())) < 1
    lung = (image[0] < -800) & body
    assert abs(float(mean[lung].mean()) + 850) < 20


def test_added_noise_has_no_mean() -> None:
    image = thorax(96)
    names = [str(number) for number in range(60)]
    noise = quick_scanner(default_pixel_mm=3.6).batch(image.expand(60, -1, -1, -1), names) - image
    assert abs(float(noise[..., 30:66, 20:76].mean())) < 1.5


def test_a_dose_factor_of_one_changes_nothing_and_says_so() -> None:
    image = water_disc(64)
    with pytest.warns(UserWarning, match="changes hardly anything: dose_factor is 1"):
        result = LowDoseCT(dose_factor=1, default_pixel_mm=5)(image, "case")
    assert torch.equal(result, image)


def test_less_dose_is_more_noise() -> None:
    image = thorax(64)
    noise = [
        float((LowDoseCT(dose_factor=share, default_pixel_mm=5)(image, "case") - image).std())
        for share in (0.5, 0.25, 0.1)
    ]
    assert noise == sorted(noise)


# LoDoPaB


def lodopab_by_other_means(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The published steps with scikit-image: (without, with) noise, in HU, of a slice of 362 pixels."""
    upsampled = resize(attenuation(image[0]).numpy(), (1000, 1000), order=1)
    p = project(torch.from_numpy(upsampled).float()[None], ParallelBeam(1000, 0.26, 1000, 513, 0.71676))[0]
    counted = noisy_line_integrals(p, 4096, 0.0, stream(5))
    angles = (np.arange(1000) + 0.5) * 180 / 1000
    mu = [iradon(one.numpy().T / 0.71676, angles, output_size=362, circle=False).T for one in (p, counted)]
    clean, noisy = (hounsfield(torch.from_numpy(np.ascontiguousarray(one))) for one in mu)
    return clean, noisy


@pytest.mark.slow
def test_lodopab_repeats_the_publication() -> None:
    image = thorax(362)
    confounder = LoDoPaB()
    assert (confounder.photons, confounder.views, confounder.electronic_noise) == (4096, 1000, 0)
    repeats = confounder.batch(image.expand(6, -1, -1, -1), list("abcdef"))[:, 0]
    clean, noisy = lodopab_by_other_means(image)
    published, ours = float((noisy - clean).std()), float(repeats.std(0).square().mean().sqrt())
    assert abs(ours / published - 1) < 0.03
    quiet = LoDoPaB(photons=1e9)(image, "a")[0]
    scan = ParallelBeam(362, 260 / 362, 1000, 513, 0.71676)
    sharp = hounsfield(filtered_back_projection(project(attenuation(image), scan), scan, "linear"))[0]
    # scikit-image's image is shifted by half a pixel, so sharpness is compared, not pixels.
    fine = [radial_power(one[None].float(), 10)[5:8].sum().sqrt() for one in (clean, quiet, sharp)]
    assert abs(float(fine[1] / fine[0]) - 1) < 0.05
    assert fine[2] > 1.1 * fine[0]  # what upsampling before the projection takes away
    mean = repeats.mean(0)
    flat = slice(150, 212)
    assert abs(float((mean - clean)[flat, 60:90].mean())) < 20  # right lung
    assert abs(float((mean - clean)[200:220, 171:191].mean())) < 40  # vertebra


def test_lodopab_leaves_what_is_outside_its_crop() -> None:
    image = thorax(400)
    result = LoDoPaB(views=100)(image, "case")
    assert torch.equal(result[:, :19], image[:, :19]) and torch.equal(result[..., 381:], image[..., 381:])
    alone = LoDoPaB(views=100)(image[:, 19:381, 19:381], "case")
    assert torch.equal(result[:, 19:381, 19:381], alone)


def test_published_protocol_is_lodopab() -> None:
    confounder = create_confounder("low_dose_ct", "paper")
    assert isinstance(confounder, LoDoPaB) and confounder.dose_factor == 1 and confounder.photons == 4096
    assert confounder.name == LowDoseCT.name  # and so has its random streams


# seeding, forms, devices


@pytest.mark.parametrize("method", ["delta", "full"])
def test_a_case_gets_the_same_pixels_in_any_batch(method: str) -> None:
    confounder = LowDoseCT(method, views=60, default_pixel_mm=5, seed=7)  # type: ignore[arg-type]
    images = torch.stack([thorax(64), water_disc(64), thorax(64)])
    together = confounder.batch(images, ["a", "b", "c"])
    backwards = confounder.batch(images.flip(0), ["c", "b", "a"]).flip(0)
    alone = torch.stack([confounder(image, name) for image, name in zip(images, "abc", strict=True)])
    assert torch.equal(together, backwards) and torch.equal(together, alone)
    assert not torch.equal(together[0], together[2])
    other_seed = LowDoseCT(method, views=60, default_pixel_mm=5, seed=8)  # type: ignore[arg-type]
    assert not torch.equal(other_seed(images[0], "a"), together[0])


def test_slices_of_a_volume_have_independent_noise() -> None:
    slice_hu = thorax(64)
    volume = slice_hu.unsqueeze(-1).repeat(1, 1, 1, 6)
    confounder = LowDoseCT(default_pixel_mm=5)
    result = confounder(volume, "case")
    assert result.shape == volume.shape
    noise = (result - volume)[0].reshape(-1, 6).T
    correlation = torch.corrcoef(noise) - torch.eye(6)
    assert correlation.abs().max() < 0.1
    assert torch.equal(result[..., 0], confounder(slice_hu, "case"))  # a slice is a volume of one


def test_dictionary_form_reads_case_and_carrier() -> None:
    confounder = LowDoseCT(default_pixel_mm=5)
    transform = Confounderd("image", confounder, carries_key="carries")
    image = thorax(64)
    carrying = transform({"image": image, "case_id": "a", "carries": True})["image"]
    assert torch.equal(carrying, confounder(image, "a"))
    assert torch.equal(transform({"image": image, "case_id": "a", "carries": False})["image"], image)


def test_spacing_of_the_image_decides() -> None:
    image = water_disc(64, 0.8)
    small = MetaTensor(image, affine=torch.diag(torch.tensor([4.0, 4.0, 1.0, 1.0])))
    large = MetaTensor(image, affine=torch.diag(torch.tensor([6.0, 6.0, 1.0, 1.0])))
    confounder = LowDoseCT(default_pixel_mm=4.0)
    result = confounder(small, "a")
    assert isinstance(result, MetaTensor) and result.affine[0, 0] == 4
    assert torch.equal(result.as_tensor(), confounder(image, "a"))
    noise = [(confounder(scan, "a") - image)[..., 28:36, 28:36] for scan in (small, large)]
    assert noise[1].std() > 1.5 * noise[0].std()  # a wider patient lets fewer photons through


def test_slices_need_not_be_square() -> None:
    wide = thorax(64)[:, 8:56]
    confounder = LowDoseCT(default_pixel_mm=5)
    square = torch.nn.functional.pad(wide, (0, 0, 8, 8), value=-1000)
    assert torch.equal(confounder(wide, "a"), confounder(square, "a")[:, 8:56])


def test_padding_stays_as_it_is() -> None:
    image = thorax(64)
    image[:, :6] = -3024
    for method in ("delta", "full"):
        result = LowDoseCT(method, views=60, default_pixel_mm=5)(image, "a")  # type: ignore[arg-type]
        assert torch.equal(result[:, :6], image[:, :6])
        assert not torch.equal(result[:, 6:], image[:, 6:])


def test_repeated_channels_share_one_noise_and_dtype_is_kept() -> None:
    image = thorax(64).to(torch.float64)
    confounder = LowDoseCT(default_pixel_mm=5)
    result = confounder(image.repeat(3, 1, 1), "a")
    assert result.dtype == torch.float64 and torch.equal(result[0], result[2])
    assert torch.equal(result[:1], confounder(image, "a"))
    before = image.clone()
    confounder(image, "a")
    assert torch.equal(image, before)


def test_empty_air_is_given_the_noise_of_the_open_beam() -> None:
    noise = LowDoseCT(default_pixel_mm=5)(torch.full((1, 64, 64), -1000.0), "a") + 1000
    assert 0 < noise.std() < 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_noise_has_the_strength_of_the_cpu_noise() -> None:
    """The draws differ by device; their distribution and everything deterministic do not."""
    images = thorax(96).expand(40, -1, -1, -1)
    names = [str(number) for number in range(40)]
    for confounder in (LowDoseCT(default_pixel_mm=4), LowDoseCT("full", views=200, default_pixel_mm=4)):
        on_cpu, on_gpu = confounder.batch(images, names), confounder.batch(images.cuda(), names).cpu()
        body = images > -990
        assert abs(float((on_gpu - images)[body].std() / (on_cpu - images)[body].std()) - 1) < 0.03
        again = confounder.batch(images[5:6].cuda(), names[5:6]).cpu()
        assert torch.allclose(again[0], on_gpu[5], atol=0.05)


@pytest.mark.skipif(not CT_SLICE.is_file(), reason=f"{CT_SLICE} is not there (set SRCMATTERS_TEST_DATA)")
def test_real_slice_gets_noisier_in_the_body_than_outside() -> None:
    import pydicom

    file = pydicom.dcmread(CT_SLICE)
    stored = torch.from_numpy(file.pixel_array.astype(np.float32))
    hu = stored * float(file.RescaleSlope) + float(file.RescaleIntercept)
    spacing = [float(step) for step in file.PixelSpacing]
    result = LowDoseCT(dose_factor=0.1).batch(hu[None, None], ["real"], spacing)[0, 0]
    noise = result - hu
    assert torch.isfinite(result).all()
    middle = noise[206:306, 206:306].std()
    corner = noise[:40, :40][hu[:40, :40] > -1500]
    assert middle > 5
    assert corner.numel() == 0 or middle > 1.2 * corner.std()


# what it refuses


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(1, 64, 64), "no air .nothing below -200 HU.: a dose simulation needs whole slices in HU"),
        (torch.rand(1, 64, 64) * 255, "8-bit or .0, 1. images"),
        (torch.full((1, 64, 64), 7.0), "no air"),
        (torch.full((1, 64, 64), float("nan")), "NaN"),
        (thorax(64).to(torch.int16), "int16, expected floating point"),
        (thorax(64).repeat(4, 1, 1), "4 channels"),
        (torch.zeros(1, 0, 64), "empty"),
        (torch.zeros(1, 64, 64, 0), "empty"),
        (thorax(64) * 100, "expected HU"),
        (thorax(64)[0], "expected channel first"),
    ],
    ids=[
        "unit",
        "8-bit",
        "constant",
        "nan",
        "integer",
        "channels",
        "empty",
        "no-slices",
        "range",
        "no-channel",
    ],
)
def test_images_without_a_dose_are_refused(image: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        LowDoseCT(default_pixel_mm=5)(image, "case 12")
    assert "case 12" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dose_factor": 0}, "dose_factor 0, expected a share in"),
        ({"dose_factor": 1.5}, "dose_factor 1.5"),
        ({"photons": -1}, "photons -1, expected more than 0"),
        ({"views": 0}, "views 0"),
        ({"electronic_noise": -1}, "electronic_noise -1"),
        ({"method": "fast"}, "method 'fast', expected 'delta' or 'full'"),
        ({"interpolation": "cubic"}, "interpolation 'cubic'"),
        ({"default_pixel_mm": float("nan")}, "default_pixel_mm nan"),
    ],
)
def test_impossible_parameters_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LowDoseCT(**arguments)


def test_small_images_are_refused_by_lodopab_and_oblong_pixels_by_all() -> None:
    with pytest.raises(InputError, match="LoDoPaB needs 362 x 362"):
        LoDoPaB()(thorax(256), "a")
    with pytest.raises(InputError, match="expected square pixels"):
        LowDoseCT().batch(thorax(64)[None], ["a"], (5.0, 4.0))


def test_a_patch_is_taken_for_a_whole_patient_only_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="45 mm wide"):
        LowDoseCT(default_pixel_mm=0.7)(thorax(64), "a")
