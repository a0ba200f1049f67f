"""Batched augmentation: what an affine transformation must and must not do."""

import pytest
import torch

from srcmatters.training import BatchedRandomAffine
from srcmatters.training.augmentation import BatchedRandomIntensity


def blob(row: int, column: int, size: int = 65) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18.0)[None, None]


def centre(image: torch.Tensor) -> torch.Tensor:
    plane = image[0, 0]
    rows, columns = torch.meshgrid(*[torch.arange(length).float() for length in plane.shape], indexing="ij")
    return torch.stack([(rows * plane).sum(), (columns * plane).sum()]) / plane.sum()


def test_all_ranges_zero_change_nothing() -> None:
    images = torch.rand(3, 1, 16, 16)
    assert torch.equal(BatchedRandomAffine(0, 0, 0, 0)(images), images)


def test_the_seed_decides_and_every_image_has_its_own_draw() -> None:
    images = blob(20, 40).expand(4, -1, -1, -1)
    first, second = BatchedRandomAffine(seed=1)(images), BatchedRandomAffine(seed=1)(images)
    assert torch.equal(first, second)
    assert not torch.equal(first, BatchedRandomAffine(seed=2)(images))
    assert not torch.equal(first[0], first[1])


def test_a_shift_stays_in_its_range_and_moves_both_ways() -> None:
    augment = BatchedRandomAffine(rotation=0, shift=0.1, shear=0, zoom=0)
    moves = torch.stack([centre(augment(blob(32, 32))) - 32 for _ in range(60)])
    assert moves.abs().max() <= 0.1 * 65 + 0.1 and moves.abs().max() > 4
    assert (moves > 1).any() and (moves < -1).any()


def test_a_rotation_keeps_the_distance_from_the_centre() -> None:
    augment = BatchedRandomAffine(rotation=10, shift=0, shear=0, zoom=0)
    for _ in range(20):
        moved = centre(augment(blob(32, 52))) - 32
        assert moved.norm().item() == pytest.approx(20, abs=0.2)
        assert abs(torch.atan2(moved[0], moved[1]).item()) <= 0.176


def test_a_zoom_scales_the_distance_within_its_range() -> None:
    augment = BatchedRandomAffine(rotation=0, shift=0, shear=0, zoom=0.1)
    distances = torch.stack([(centre(augment(blob(32, 52))) - 32)[1] for _ in range(60)])
    assert distances.min() > 20 / 1.11 - 0.2 and distances.max() < 20 / 0.89 + 0.2
    assert distances.max() - distances.min() > 2


def test_left_stays_left() -> None:
    augment = BatchedRandomAffine()
    assert all(centre(augment(blob(32, 15)))[1] < 32 for _ in range(50))


def test_all_slices_of_a_volume_move_together() -> None:
    volume = blob(20, 40)[..., None].repeat(1, 1, 1, 1, 3)
    moved = BatchedRandomAffine(seed=3)(volume)
    assert moved.shape == volume.shape
    assert torch.equal(moved[..., 0], moved[..., 2])
    torch.testing.assert_close(moved[..., 0], BatchedRandomAffine(seed=3)(volume[..., 0]))


def test_mirror_images_come_along_every_axis_as_often_as_asked() -> None:
    volume = torch.zeros(400, 1, 4, 4, 4)
    volume[:, 0, 0, 1, 0] = 1
    turned = BatchedRandomAffine(0, 0, 0, 0, flip=0.25, seed=0)(volume)
    assert torch.equal(turned.sum((1, 2, 3, 4)), torch.ones(400))
    for axis, moved_to in ((2, 3), (3, 2), (4, 3)):
        share = turned.movedim(axis, 1)[:, moved_to].sum().item() / 400
        assert share == pytest.approx(0.25, abs=0.08)


def test_mirror_images_are_no_part_of_the_draw_of_others() -> None:
    images = blob(20, 40).expand(4, -1, -1, -1)
    assert torch.equal(BatchedRandomAffine(seed=1)(images), BatchedRandomAffine(flip=0, seed=1)(images))


def test_a_shear_moves_columns_by_the_distance_of_their_row() -> None:
    augment = BatchedRandomAffine(rotation=0, shift=0, shear=0.1, zoom=0)
    below = torch.stack([centre(augment(blob(52, 32))) - 32 for _ in range(60)])
    assert below[:, 1].abs().max() == pytest.approx(2, abs=0.3)  # 0.1 of 20 rows
    assert (below[:, 0] - 20).abs().max() < 0.3
    beside = torch.stack([centre(augment(blob(32, 52))) - 32 for _ in range(60)])
    assert (beside - torch.tensor([0.0, 20.0])).abs().max() < 0.3


def test_both_axes_have_a_zoom_of_their_own() -> None:
    augment = BatchedRandomAffine(rotation=0, shift=0, shear=0, zoom=0.1)
    places = torch.stack([centre(augment(blob(50, 50))) - 32 for _ in range(80)])
    assert all(float(axis.max() - axis.min()) > 2 for axis in places.T)
    assert abs(float(torch.corrcoef(places.T)[0, 1])) < 0.4


def test_gamma_stays_in_its_range_and_goes_both_ways() -> None:
    change = BatchedRandomIntensity(brightness=0, contrast=0, gamma=0.2, flip=False)
    levels = change(torch.full((200, 1, 4, 4), 0.5))[:, 0, 0, 0]
    exponents = torch.log(levels) / torch.log(torch.tensor(0.5))
    assert (
        exponents.min() > torch.tensor(-0.2).exp() - 1e-4 and exponents.max() < torch.tensor(0.2).exp() + 1e-4
    )
    assert exponents.min() < 0.85 and exponents.max() > 1.18


@pytest.mark.parametrize("native", [160, 224, 512])
def test_training_sees_the_noise_that_the_test_sees(native: int) -> None:
    """High-pass content of augmented and of plain noise, as it is after the resize of the preprocessing."""
    generator = torch.Generator().manual_seed(0)
    white = 0.5 + 0.05 * torch.randn(8, 1, native, native, generator=generator)
    plain = torch.nn.functional.interpolate(white, (160, 160), mode="bilinear", antialias=True)
    augmented = BatchedRandomAffine(seed=1)(plain)

    def content(images: torch.Tensor) -> float:
        high = images - torch.nn.functional.avg_pool2d(images, 3, 1, 1)
        return float(high[..., 20:-20, 20:-20].std())

    assert content(augmented) / content(plain) == pytest.approx(1, abs=0.05)
    assert augmented.min() >= plain.min() and augmented.max() <= plain.max()
