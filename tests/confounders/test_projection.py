"""Parallel-beam projection: adjointness, line integrals, reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reconstruction import filtered_back_projection
from skimage.transform import iradon, resize

from srcmatters.confounders.projection import (
    ParallelBeam,
    back_project,
    back_project_filtered,
    project,
    ramp_filter,
)
from srcmatters.errors import InputError

GAUSSIANS = ((0.02, 15.0, 5.0, -8.0), (0.01, 20.0, -3.0, 7.0))  # mu per mm, width, row, column in mm


def millimetres(size: int, pixel_mm: float) -> tuple[torch.Tensor, ...]:
    axis = (torch.arange(size) - (size - 1) / 2) * pixel_mm
    return torch.meshgrid(axis, axis, indexing="ij")


def smooth_phantom(size: int, pixel_mm: float) -> torch.Tensor:
    rows, columns = millimetres(size, pixel_mm)
    image = torch.zeros(size, size)
    for mu, width, row, column in GAUSSIANS:
        image += mu * torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width**2)
    return image


def disc(size: int, pixel_mm: float, radius: float) -> torch.Tensor:
    """Area of each pixel inside the disc, by 8 x 8 samples."""
    rows, columns = millimetres(size * 8, pixel_mm / 8)
    return torch.nn.functional.avg_pool2d(((rows**2 + columns**2) < radius**2).float()[None], 8)[0]


@pytest.mark.parametrize(("size", "bin_mm"), [(64, None), (65, None), (96, 1.7), (50, 0.6)])
@pytest.mark.parametrize("pixel", ["sinc", "linear"])
def test_back_projection_is_the_adjoint(size: int, bin_mm: float | None, pixel: str) -> None:
    scan = ParallelBeam.spanning(size, 1.2, 37, bin_mm, pixel)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(size)
    images = torch.rand(3, size, size, generator=generator)
    sinograms = torch.rand(3, scan.views, scan.bins, generator=generator)
    forward = (project(images, scan).double() * sinograms).sum()
    adjoint = (images.double() * back_project(sinograms, scan)).sum()
    assert abs(forward - adjoint) / abs(forward) < 1e-5


@pytest.mark.parametrize("bins", [98, 498, 726, 1450, 1470])
def test_ramp_is_the_absolute_frequency_for_every_length_of_the_detector(bins: int) -> None:
    """1450 bins are those of a slice of 512 pixels of more than .717 mm."""
    scan = ParallelBeam(bins // 2, 1.0, 1, bins, 1.0)
    impulse = torch.zeros(1, 1, bins)
    impulse[0, 0, bins // 2] = 1
    response = torch.fft.rfft(ramp_filter(impulse, scan)[0, 0]).abs()
    frequency = torch.fft.rfftfreq(bins)
    assert torch.allclose(response, frequency, rtol=0, atol=0.6 / bins)


def test_odd_detector_is_adjoint_too() -> None:
    scan = ParallelBeam(48, 1.0, 20, 69, 1.0)
    images, sinograms = torch.randn(1, 48, 48), torch.randn(1, 20, 69)
    forward = (project(images, scan).double() * sinograms).sum()
    adjoint = (images.double() * back_project(sinograms, scan)).sum()
    size = images.norm() * back_project(sinograms, scan).norm()
    assert abs(forward - adjoint) / size < 1e-5


@pytest.mark.parametrize("bin_mm", [None, 0.5, 1.1])
def test_line_integral_of_a_disc_is_its_chord(bin_mm: float | None) -> None:
    radius, mu = 40.0, 0.02
    scan = ParallelBeam.spanning(160, 0.7, 24, bin_mm)
    sinogram = project(mu * disc(160, 0.7, radius)[None], scan)[0]
    s = (torch.arange(scan.bins) - (scan.bins - 1) / 2) * scan.bin_mm
    chord = 2 * mu * (radius**2 - s**2).clamp(min=0).sqrt()
    inside = s.abs() < radius - 4  # the band-limited disc rings at its edge
    assert (sinogram - chord)[:, inside].abs().max() < 0.01 * chord.max()
    assert (sinogram - chord)[:, s.abs() > radius + 4].abs().max() < 0.01 * chord.max()


def test_line_integrals_follow_the_stated_geometry() -> None:
    scan = ParallelBeam.spanning(128, 0.9, 11)
    sinogram = project(smooth_phantom(128, 0.9)[None], scan)[0]
    s = (torch.arange(scan.bins) - (scan.bins - 1) / 2) * scan.bin_mm
    for view in range(scan.views):
        angle = (view + 0.5) * np.pi / scan.views
        expected = torch.zeros(scan.bins)
        for mu, width, row, column in GAUSSIANS:
            apart = s - row * np.cos(angle) - column * np.sin(angle)
            expected += mu * width * np.sqrt(np.pi) * torch.exp(-(apart**2) / width**2)
        assert (sinogram[view] - expected).abs().max() < 0.003 * expected.max()


@pytest.mark.parametrize("interpolation", ["sinc", "linear"])
def test_smooth_phantom_is_reconstructed_within_10_hu(interpolation: str) -> None:
    size, pixel_mm = 192, 0.7
    scan = ParallelBeam.spanning(size, pixel_mm, 250)
    phantom = smooth_phantom(size, pixel_mm)
    result = filtered_back_projection(project(phantom[None], scan), scan, interpolation)[0]  # type: ignore[arg-type]
    rows, columns = millimetres(size, pixel_mm)
    inside = rows**2 + columns**2 < (size * pixel_mm / 2) ** 2
    rmse_hu = (result - phantom)[inside].square().mean().sqrt() * 1000 / 0.02
    assert rmse_hu < 2  # the promise is 10


def test_reconstruction_has_no_offset() -> None:
    scan = ParallelBeam.spanning(128, 1.0, 180)
    result = filtered_back_projection(project(0.02 * disc(128, 1.0, 50)[None], scan), scan)[0]
    assert abs(float(result[56:72, 56:72].mean()) / 0.02 - 1) < 2e-3


def test_linear_pixels_are_what_upsampling_first_gives() -> None:
    image = torch.zeros(60, 60)
    image[20:41, 25:37] = 0.02
    image[30, 10] = 0.05
    coarse = ParallelBeam(60, 1.0, 18, 90, 1.0, pixel="linear")
    fine = ParallelBeam(300, 0.2, 18, 90, 1.0)
    upsampled = torch.from_numpy(resize(image.numpy(), (300, 300), order=1, mode="constant")).float()
    direct, after = project(image[None], coarse), project(upsampled[None], fine)
    plain = project(image[None], ParallelBeam(60, 1.0, 18, 90, 1.0))
    assert (direct - after).norm() / after.norm() < 0.01
    assert (plain - after).norm() > 5 * (direct - after).norm()


def test_scans_of_different_scale_share_an_operator() -> None:
    small, large = ParallelBeam.spanning(40, 0.5, 10), ParallelBeam.spanning(40, 1.0, 10)
    assert small.gridding() is large.gridding()
    image = torch.rand(1, 40, 40)
    assert torch.allclose(2 * project(image, small), project(image, large))


def test_a_slice_is_the_same_alone_and_in_a_batch() -> None:
    scan = ParallelBeam.spanning(40, 1.0, 10)
    images = torch.rand(5, 40, 40)
    assert torch.equal(project(images, scan)[3], project(images[3:4], scan)[0])


def test_linear_noise_has_the_strength_and_spectrum_of_a_program_that_interpolates() -> None:
    """scikit-image interpolates linearly between the bins, at every pixel."""
    size, views = 96, 90
    scan = ParallelBeam(size, 1.0, views, 136, 1.0)
    noise = torch.randn(12, views, 136, generator=torch.Generator().manual_seed(0))
    ours = back_project_filtered(ramp_filter(noise, scan, "linear", noise=True), scan)
    angles = (np.arange(views) + 0.5) * 180 / views
    theirs = np.stack([iradon(one.numpy().T, angles, output_size=size, circle=False) for one in noise])
    inner = slice(16, 80)
    power = [np.abs(np.fft.fft2(np.asarray(fields)[:, inner, inner])) ** 2 for fields in (ours, theirs)]
    assert abs(power[0].sum() / power[1].sum() - 1) < 0.03
    frequency = np.fft.fftfreq(64)
    ring = (np.hypot(frequency[:, None], frequency) * 24).astype(int)
    spectra = [np.bincount(ring.ravel(), one.mean(0).ravel()) for one in power]
    low = spectra[0][:9] / spectra[1][:9]  # up to 3/4 of the Nyquist frequency
    assert np.abs(low - 1).max() < 0.12
    assert np.abs(spectra[0] - spectra[1]).sum() / spectra[1].sum() < 0.2  # what folds back lands elsewhere


def test_a_wider_detector_is_imitated_by_the_filter() -> None:
    """Noise of half-width bins, filtered for whole ones, has their power spectrum."""
    wide, narrow = ParallelBeam.spanning(96, 0.5, 60, 1.0), ParallelBeam.spanning(96, 0.5, 60)
    noise = torch.randn(40, 60, narrow.bins, generator=torch.Generator().manual_seed(0)) * 2**0.5
    imitated = back_project_filtered(ramp_filter(noise, narrow, "linear", True, detector_mm=1.0), narrow)
    noise = torch.randn(40, 60, wide.bins, generator=torch.Generator().manual_seed(1))
    real = back_project_filtered(ramp_filter(noise, wide, "linear", True), wide)
    inner = slice(24, 72)
    assert abs(float(imitated[:, inner, inner].std() / real[:, inner, inner].std()) - 1) < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((64, 0.0, 10, 100, 1.0), "pixel_mm is 0.0"),
        ((64, 1.0, 10, 60, 1.0), "expected at least the diagonal"),
        ((64, 1.0, -1, 100, 1.0), "views is -1"),
        ((64, 1.0, 10, 100, 1.0, "nearest"), "expected 'sinc' or 'linear'"),
    ],
)
def test_impossible_scans_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParallelBeam(*arguments)


def test_wrong_shapes_and_types_are_refused() -> None:
    scan = ParallelBeam.spanning(32, 1.0, 8)
    with pytest.raises(InputError, match=r"images: shape \(32, 32\)"):
        project(torch.zeros(32, 32), scan)
    with pytest.raises(InputError, match="with B > 0"):
        project(torch.zeros(0, 32, 32), scan)
    with pytest.raises(InputError, match="expected floating point"):
        project(torch.zeros(1, 32, 32, dtype=torch.int16), scan)
    with pytest.raises(InputError, match="sinograms: shape"):
        filtered_back_projection(torch.zeros(1, 8, 3), scan)
    with pytest.raises(InputError, match="interpolation"):
        filtered_back_projection(torch.zeros(1, 8, scan.bins), scan, "cubic")  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu() -> None:
    scan = ParallelBeam.spanning(128, 0.8, 90)
    images = torch.rand(20, 128, 128)
    on_cpu, on_gpu = project(images, scan), project(images.cuda(), scan).cpu()
    assert (on_cpu - on_gpu).abs().max() < 1e-4 * on_cpu.abs().max()
    back = filtered_back_projection(on_cpu, scan)
    assert (back - filtered_back_projection(on_cpu.cuda(), scan).cpu()).abs().max() < 1e-4 * back.abs().max()
