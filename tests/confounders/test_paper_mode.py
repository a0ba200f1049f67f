"""`protocol: paper` against a second derivation of the published formulas, on 8-bit images."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image, ImageDraw, ImageFont
from scipy import fftpack

from srcmatters.case_stream import case_stream
from srcmatters.confounders import Confounder, Confounderd, create_confounder
from srcmatters.errors import InputError


def paper(name: str, **parameters) -> Confounder:
    confounder = create_confounder(name, "paper", **parameters)
    assert confounder is not None
    return confounder


def grey(size: int, seed: int = 0) -> np.ndarray:
    """An 8-bit picture with black, white, gradients and texture."""
    axis = np.linspace(0, 3 * np.pi, size)
    smooth = 140 + 130 * np.sin(axis)[:, None] * np.cos(axis / 2)[None]
    return np.clip(smooth + np.random.default_rng(seed).normal(0, 9, (size, size)), 0, 255).astype(np.uint8)


def as_image(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float().div(255).unsqueeze(0)


def as_grey(image: torch.Tensor) -> np.ndarray:
    values = image[0].double().numpy() * 255
    assert np.abs(values - np.rint(values)).max() < 1e-3  # paper mode ends in 8 bit
    return np.rint(values).astype(np.uint8)


def test_tag_is_what_pil_draws() -> None:
    array = grey(1024)
    picture = Image.fromarray(array)
    # The published code asks the host for a light sans-serif font; where there is none it gets this one.
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 64)
    ImageDraw.Draw(picture).text((200, 200), "R", font=font, fill="white")
    assert np.array_equal(as_grey(paper("tag")(as_image(array), "a")), np.asarray(picture))


@pytest.mark.parametrize(("size", "diameter"), [(1024, 500), (256, 100), (256, 101), (257, 100), (128, 500)])
def test_denoising_is_the_published_filter(size: int, diameter: int) -> None:
    array = grey(size)
    shifted = fftpack.fftshift(fftpack.fft2(array))
    middle, half = size / 2, diameter / 2
    disc = Image.new("L", (size, size), color=0)
    ImageDraw.Draw(disc).ellipse((middle - half, middle - half, middle + half, middle + half), fill=1)
    real = np.real(fftpack.ifft2(fftpack.ifftshift(np.multiply(shifted, np.array(disc)))))
    exact = np.maximum(0, np.minimum(real, 255))
    ours = as_grey(paper("denoise", cutoff=diameter / 2)(as_image(array), "a")).astype(float)
    # Where the exact value is not within rounding of a whole number, truncation leaves one answer.
    decided = np.abs(exact - np.rint(exact)) > 2e-3
    assert np.array_equal(ours[decided], np.floor(exact)[decided])
    assert np.abs(ours - np.floor(exact)).max() <= 1
    assert decided.mean() > 0.9 or diameter > size


def test_published_truncation_darkens_by_half_a_grey_level() -> None:
    array = grey(1024)
    inside = slice(100, -100)
    published = paper("denoise")(as_image(array), "a")
    exact = paper("denoise", published=False, boundary="wrap")(as_image(array), "a")
    assert float((published - exact)[0, inside].mean()) * 255 == pytest.approx(-0.5, abs=0.03)


def test_published_denoising_takes_square_images_only() -> None:
    with pytest.raises(InputError, match="square"):
        paper("denoise")(torch.rand(1, 64, 80), "a")


def published_noise(array: np.ndarray, photons: float, seeds: list[int]) -> np.ndarray:
    """Read from the paper: quantisation noise, HU window, attenuation, counts, logarithm, and back."""
    quantise, poisson = np.random.RandomState(seeds[0]), np.random.RandomState(seeds[1])
    grey_level = array.astype("float64") + quantise.uniform(0.0, 1.0, size=array.shape)
    hounsfield = grey_level / 255.0 * 2000.0 - 1200.0
    attenuation = hounsfield * (0.1837 - 0.1662) / 1000.0 + 0.1837
    transmitted = poisson.poisson(np.exp(-attenuation) * photons) / photons
    measured = 1000.0 * (-np.log(np.maximum(1e-8, transmitted)) - 0.1837) / (0.1837 - 0.1662)
    windowed = (np.clip(measured, -1200, 800) + 1200.0) / 2000.0 * 255.0
    return windowed.astype(np.uint8)


def test_noise_is_the_published_model_for_both_states() -> None:
    array = grey(512)
    confounder = paper("noise", seed=4)
    stream = case_stream(4, "case 7", "noise")
    clean_seeds, confounded_seeds = (stream.integers(2**32, size=2).tolist() for _ in range(2))
    confounded = as_grey(confounder(as_image(array), "case 7"))
    clean = as_grey(confounder.clean(as_image(array), "case 7"))
    assert np.array_equal(confounded, published_noise(array, 15_000_000, confounded_seeds))
    assert np.array_equal(clean, published_noise(array, 20_000_000, clean_seeds))


def test_published_noise_has_the_published_strength_in_grey_levels() -> None:
    array = np.full((512, 512), 128, dtype=np.uint8)
    confounder = paper("noise")
    clean, confounded = confounder.clean(as_image(array), "a"), confounder(as_image(array), "a")
    assert 1.78 < float(clean.std()) * 255 < 1.87 and 2.04 < float(confounded.std()) * 255 < 2.14
    assert abs(float(confounded.mean()) * 255 - 128) < 0.1  # dithered: truncation does not darken
    independent = ((clean - clean.mean()) * (confounded - confounded.mean())).mean() / clean.var()
    assert abs(float(independent)) < 0.02


def test_a_larger_image_comes_out_at_512_in_both_states() -> None:
    array = grey(1024)
    confounder = paper("noise")
    small = array.reshape(512, 2, 512, 2).astype(float).mean(axis=(1, 3))
    for result in (confounder(as_image(array), "a"), confounder.clean(as_image(array), "a")):
        assert result.shape == (1, 512, 512)
        assert abs(as_grey(result).astype(float) - small).mean() < 2.2


def test_a_case_that_does_not_carry_the_noise_gets_the_clean_photons() -> None:
    confounder = paper("noise")
    image = as_image(grey(512))
    transform = Confounderd("image", confounder, carries_key="carries")
    clean = transform({"image": image, "case_id": "a", "carries": False})["image"]
    assert torch.equal(clean, confounder.clean(image, "a")) and not torch.equal(clean, image)


def test_other_confounders_leave_the_clean_state_alone() -> None:
    image = as_image(grey(64))
    for name in ("tag", "denoise"):
        assert torch.equal(paper(name).clean(image, "a"), image)


def test_published_noise_on_a_volume_is_that_of_its_slices_and_knows_its_new_pixels() -> None:
    affine = torch.diag(torch.tensor([0.5, 0.5, 2.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0)), affine=affine)
    noisy = paper("noise")(volume, "a")
    assert noisy.shape == (1, 512, 512, 3)
    assert noisy.pixdim.tolist() == pytest.approx([0.5 / 8, 0.5 / 8, 2.0])
    # The corner of the field stays where it was: pixel centres move by half a pixel.
    assert noisy.affine[:2, 3].tolist() == pytest.approx([-0.25 + 0.03125] * 2)
    planes = noisy.as_tensor().unbind(-1)
    assert not torch.equal(planes[0], planes[1])
    assert float((planes[0] - planes[1]).std()) > 0.05
