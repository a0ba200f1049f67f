"""Detectability: the probe sees what is there, and nothing where there is nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from srcmatters.errors import InputError
from srcmatters.evaluation.detectability import (
    MINIMUM_DETECTABILITY,
    Detectability,
    describe,
    detectability,
    require_detectable,
)

CASES, SIZE = 120, 160


def textures(cases: int, size: int, seed: int, depth: int = 0) -> torch.Tensor:
    """Images with a power spectrum like that of radiographs, each of its own contrast, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    shape = (cases, 1, size, size, *([depth] if depth else []))
    white = torch.randn(shape, generator=generator)
    frequency = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt()
    frequency = frequency.clamp(min=1 / size)
    if depth:
        frequency = frequency[..., None]
    images = torch.fft.irfftn(torch.fft.rfftn(white, dim=(2, 3)) / frequency**1.5, dim=(2, 3), s=(size, size))
    spread = images.flatten(1).std(1).view(-1, *[1] * (images.ndim - 1))
    contrast = 0.1 + 0.1 * torch.rand(spread.shape, generator=generator)
    grain = 0.005 + 0.01 * torch.rand(spread.shape, generator=generator)
    noise = grain * torch.randn(shape, generator=generator)
    return (0.5 + contrast * images / spread + noise).clamp(0, 1)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return textures(CASES, SIZE, 0)


@pytest.fixture(scope="module")
def patients() -> list[str]:
    return [f"p{case // 2}" for case in range(CASES)]


def low_passed(images: torch.Tensor, cutoff: float) -> torch.Tensor:
    size = images.shape[-1]
    radius = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt()
    return torch.fft.irfft2(torch.fft.rfft2(images) * (radius < cutoff), s=images.shape[-2:])


def tagged(images: torch.Tensor, top: int = 31, left: int = 31) -> torch.Tensor:
    """A letter of 64 / 1024 of the height: at 160 pixels 10 by 7."""
    result = images.clone()
    result[:, :, top : top + 10, left : left + 2] = 1
    result[:, :, top : top + 2, left : left + 7] = 1
    result[:, :, top + 4 : top + 6, left : left + 7] = 1
    return result


def test_identical_states_give_chance(images: torch.Tensor, patients: list[str]) -> None:
    result = detectability(images, images.clone(), patients)
    assert result.auc == 0.5 and result.low <= 0.5 <= result.high
    assert result.cases == CASES


def test_states_that_differ_by_chance_alone_give_chance(images: torch.Tensor, patients: list[str]) -> None:
    generator = torch.Generator().manual_seed(1)
    one, two = (images + 0.02 * torch.randn(images.shape, generator=generator) for _ in range(2))
    result = detectability(one, two, patients)
    assert result.low <= 0.5 <= result.high and result.high - result.low < 0.3
    with pytest.raises(InputError):
        require_detectable(result, "noise")


@pytest.mark.slow
def test_chance_is_covered_at_the_promised_rate() -> None:
    """Of 20 null comparisons about one interval misses .5; more than four would be a probe that cheats."""
    missed = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)  # not that of the textures
        base = textures(60, 32, 1000 + seed)
        one, two = (base + 0.02 * torch.randn(base.shape, generator=generator) for _ in range(2))
        result = detectability(one, two, [str(case) for case in range(60)], seed=seed)
        missed += not result.low <= 0.5 <= result.high
    assert missed <= 4


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tag", tagged),
        (
            "mild noise",
            lambda x: x + 0.015 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)),
        ),
        ("low-pass", lambda x: low_passed(x, 0.3)),
        ("gamma", lambda x: x**1.4),
        ("inversion", lambda x: 1 - x**0.7),
    ],
)
def test_what_is_there_is_seen(
    images: torch.Tensor, patients: list[str], name: str, change: Callable
) -> None:
    result = detectability(images, change(images), patients)
    assert result.auc > 0.75 and result.low > MINIMUM_DETECTABILITY, name
    require_detectable(result, name)


def test_a_tag_is_seen_wherever_it_is(images: torch.Tensor, patients: list[str]) -> None:
    stream = np.random.default_rng(0)
    places = stream.integers(0, SIZE - 12, (CASES, 2))
    moving = torch.stack([tagged(one[None], *place)[0] for one, place in zip(images, places, strict=True)])
    assert detectability(images, moving, patients).auc > 0.7


def test_a_low_pass_above_the_nyquist_frequency_is_not_seen(
    images: torch.Tensor, patients: list[str]
) -> None:
    """The paper's disc of 250 cycles per image at an input of 160 pixels."""
    result = detectability(images, low_passed(images, 250 / SIZE), patients)
    assert abs(result.auc - 0.5) < 0.05
    with pytest.raises(
        InputError, match=r"denoise: not detectable after the preprocessing.*larger image_size"
    ):
        require_detectable(result, "denoise")
    require_detectable(result, "denoise", force=True)


def test_volumes_and_channels(patients: list[str]) -> None:
    volumes = textures(40, 32, 3, depth=4)
    noisy = volumes + 0.05 * torch.randn(volumes.shape, generator=torch.Generator().manual_seed(0))
    assert detectability(volumes, noisy, patients[:40]).auc > 0.8
    image = volumes[0, :, :, :, 0]
    assert torch.allclose(describe(image.repeat(3, 1, 1)), describe(image), atol=1e-4)
    assert torch.allclose(describe(image.unsqueeze(-1)), describe(image))


def test_numpy_and_metatensors_give_the_same(images: torch.Tensor, patients: list[str]) -> None:
    small, noisy = images[:40, :, :32, :32], images[:40, :, :32, :32] ** 1.2
    expected = detectability(small, noisy, patients[:40])
    assert detectability(small.numpy(), noisy.numpy(), patients[:40]) == expected
    assert detectability(MetaTensor(small), MetaTensor(noisy), patients[:40]) == expected
    assert detectability(small, noisy, patients[:40], seed=0) == expected


def test_a_patient_is_never_scored_by_a_probe_that_saw_it() -> None:
    """Ten copies of each patient's images: a probe split by image would recognise them."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(12, 1, 24, 24, generator=generator)
    odd = torch.rand(12, 1, 24, 24, generator=generator)  # nothing in common between patients
    clean, confounded = base.repeat_interleave(10, 0), odd.repeat_interleave(10, 0)
    result = detectability(clean, confounded, [str(case // 10) for case in range(120)])
    assert result.auc < 0.9
    assert result.high - result.low > 0.2  # twelve patients, not a hundred and twenty


def test_many_cases_are_reduced_and_in_time() -> None:
    images = textures(440, SIZE, 5)
    start = time.process_time()
    result = detectability(images, tagged(images), [str(case) for case in range(440)])
    assert time.process_time() - start < 10
    assert result.cases == 400 and result.auc > 0.9


@pytest.mark.parametrize(
    ("clean", "confounded", "patients", "message"),
    [
        (torch.rand(9, 1, 32, 32), torch.rand(9, 1, 32, 16), 9, "differ"),
        (torch.rand(9, 32, 32), torch.rand(9, 32, 32), 9, r"expected \(N, C, H, W\)"),
        (torch.rand(0, 1, 32, 32), torch.rand(0, 1, 32, 32), 0, "expected"),
        (torch.rand(9, 1, 8, 8), torch.rand(9, 1, 8, 8), 9, "more than 8 pixels"),
        (torch.rand(9, 1, 32, 32), torch.rand(9, 1, 32, 32), 7, "7 patients for 9 cases"),
        (torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32), 4, "expected 5 .one per fold. or more"),
        (
            torch.rand(9, 1, 32, 32),
            torch.full((9, 1, 32, 32), torch.nan),
            9,
            "the confounded images hold NaN",
        ),
    ],
)
def test_bad_input_is_refused(
    clean: torch.Tensor, confounded: torch.Tensor, patients: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        detectability(clean, confounded, [str(number) for number in range(patients)])


def test_constant_images_give_chance() -> None:
    flat = torch.full((12, 1, 32, 32), 0.5)
    assert detectability(flat, flat, [str(number) for number in range(12)]).auc == 0.5


def test_the_limit_is_the_documented_one() -> None:
    require_detectable(Detectability(0.6, 0.5, 0.7, 100), "tag")
    with pytest.raises(InputError, match=r"AUC 0.59 \(95 % interval 0.50 to 0.70, 100 cases\)"):
        require_detectable(Detectability(0.59, 0.5, 0.7, 100), "tag")
