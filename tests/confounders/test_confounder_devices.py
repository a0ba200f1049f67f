"""On a device: the same pixels where the draw is the same, the same statistics where it is the device's own.

Where there is no GPU, a fake one drives every confounder, and finds what is left behind on the CPU.
"""

from __future__ import annotations

import pytest
import torch
from fake_accelerator import OnAccelerator, accelerator

from srcmatters.confounders import Confounder, XrayQuantumNoise, create_confounder, known_confounders

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
#: Every registered confounder, radiograph or slice and volume, and the published one where it is another.
CASES = [
    (name, dims, protocol)
    for name, kind in known_confounders().items()
    for dims in kind.spatial_dims
    for protocol in ("corrected", "paper")
    if protocol == "corrected" or (kind.paper_parameters and dims == 2)
]


def scene(confounder: Confounder, dims: int) -> torch.Tensor:
    """Two images of noise with a dark border; of CT a body in air, in HU."""
    size = (24, 24) if dims == 2 else (24, 24, 2)
    images = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    air = torch.ones_like(images, dtype=torch.bool)
    air[:, :, 3:-3, 3:-3] = False
    in_hu = confounder.unit == "HU"
    return (images * 100 - 50 if in_hu else images).masked_fill(air, -1000.0 if in_hu else 0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "dims", "protocol"), CASES)
def test_a_batch_stays_on_its_device(
    name: str, dims: int, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    confounder = create_confounder(name, protocol)  # type: ignore[arg-type]
    assert confounder is not None
    images, spacing = scene(confounder, dims), (0.7, 0.7, 1.0)[:dims]
    here = confounder.batch(images, ["a", "b"], spacing)
    with accelerator(monkeypatch) as device:
        there = confounder.batch(images.to(device), ["a", "b"], spacing)
        clean = confounder.clean_batch(images.to(device), ["a", "b"], spacing)
        assert isinstance(there, OnAccelerator) and isinstance(clean, OnAccelerator)
        torch.testing.assert_close(
            there.cpu(), here, atol=2e-3 if confounder.unit == "HU" else 1e-5, rtol=1e-5
        )


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
