"""On a GPU: the same pixels where the draw is the same, the same statistics where it is the device's own."""

from __future__ import annotations

import pytest
import torch

from srcmatters.confounders import XrayQuantumNoise, create_confounder

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@cuda
@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("tag", "corrected"),
        ("tag", "paper"),
        ("tube", "corrected"),
        ("pacemaker", "corrected"),
        ("collimation", "corrected"),
        ("exposure", "corrected"),
        ("denoise", "corrected"),
        ("denoise", "paper"),
        ("kernel", "corrected"),
        ("noise", "paper"),
    ],
)
def test_cuda_and_cpu_agree_where_the_draw_is_the_same(name: str, protocol: str) -> None:
    confounder = create_confounder(name, protocol)  # type: ignore[arg-type]
    assert confounder is not None
    images = torch.rand(3, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    ids = ["a", "b", "c"]
    here = confounder.batch(images, ids, (0.7, 0.7))
    there = confounder.batch(images.cuda(), ids, (0.7, 0.7))
    assert there.is_cuda
    # Truncation to 8 bit turns a rounding error into one grey level.
    tolerance = 1.01 / 255 if protocol == "paper" else 2e-5
    assert (there.cpu() - here).abs().max() <= tolerance
    assert ((there.cpu() - here).abs() > 2e-5).float().mean() < 0.02


@cuda
def test_cuda_volume_agrees_with_cpu() -> None:
    confounder = create_confounder("slice_thickness")
    assert confounder is not None
    volumes = torch.rand(2, 1, 32, 32, 20)
    here = confounder.batch(volumes, ["a", "b"], (1, 1, 1))
    assert torch.allclose(confounder.batch(volumes.cuda(), ["a", "b"], (1, 1, 1)).cpu(), here, atol=1e-4)


@cuda
def test_cuda_noise_is_the_cases_own_and_as_strong_as_on_the_cpu() -> None:
    noise = XrayQuantumNoise()
    images = torch.full((4, 1, 256, 256), 0.6)
    here = noise.batch(images, list("abcd")) - images
    there = noise.batch(images.cuda(), list("abcd")) - images.cuda()
    assert float(there.std()) == pytest.approx(float(here.std()), rel=0.02)
    alone = noise.batch(images[:1].cuda(), ["c"]) - images[:1].cuda()
    assert torch.equal(alone[0], there[2])
